// YAML to values and back. Rule: a file is a flat mapping and hostile until proven so; whatever is written reads back
// as the same bytes.
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "runtime/base/config_value.h"
#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/base/text.h"

enum { MAX_FILE_BYTES = 1 << 20, MAX_ITEMS = 4096 };

typedef struct reader {
  ig_config *config;
  const char *file;
  yaml_parser_t parser;
  yaml_event_t event;
  bool has_event;
  bool *seen;    // [n_keys] keys of this file
  char *where;   // file:line:column of the present event
  char **items;  // of the present sequence
  size_t n_items, items_capacity;
} reader;

static ig_status set_where(reader *r, yaml_mark_t mark) {
  ig_free(r->where);
  r->where = NULL;
  return ig_asprintf(&r->where, "%s:%zu:%zu", r->file, mark.line + 1, mark.column + 1);
}

// Refuses what a scalar, sequence or mapping must not carry.
static ig_status refuse_decoration(reader *r, const yaml_char_t *anchor, const yaml_char_t *tag) {
  if (anchor)
    return ig_fail(IG_ERR_FORMAT, "%s: anchors (&name) are not accepted; write the value itself", r->where);
  if (tag)
    return ig_fail(IG_ERR_FORMAT, "%s: tags (!name) are not accepted; write the value itself", r->where);
  return IG_OK;
}

static ig_status next_event(reader *r) {
  if (r->has_event)
    yaml_event_delete(&r->event);
  r->has_event = false;
  if (!yaml_parser_parse(&r->parser, &r->event)) {
    const yaml_parser_t *p = &r->parser;
    if (p->error == YAML_MEMORY_ERROR)
      return ig_fail(IG_ERR_MEMORY, "out of host memory while reading %s", r->file);
    if (p->error == YAML_READER_ERROR)
      return ig_fail(IG_ERR_FORMAT, "%s: byte %zu: not valid YAML: %s", r->file, p->problem_offset, p->problem);
    return ig_fail(IG_ERR_FORMAT, "%s:%zu:%zu: not valid YAML: %s", r->file, p->problem_mark.line + 1,
                   p->problem_mark.column + 1, p->problem ? p->problem : "unknown problem");
  }
  r->has_event = true;
  IG_TRY(set_where(r, r->event.start_mark));
  switch (r->event.type) {
    case YAML_ALIAS_EVENT:
      return ig_fail(IG_ERR_FORMAT, "%s: aliases (*name) are not accepted; write the value itself", r->where);
    case YAML_SCALAR_EVENT:
      return refuse_decoration(r, r->event.data.scalar.anchor, r->event.data.scalar.tag);
    case YAML_SEQUENCE_START_EVENT:
      return refuse_decoration(r, r->event.data.sequence_start.anchor, r->event.data.sequence_start.tag);
    case YAML_MAPPING_START_EVENT:
      return refuse_decoration(r, r->event.data.mapping_start.anchor, r->event.data.mapping_start.tag);
    default:
      return IG_OK;
  }
}

// Bytes that are no UTF-8 (file names may be anything) are written as the code points U+10FF80..U+10FFFF, one a byte;
// in UTF-8 F4 8F BE/BF xx. Turns them back in place.
static void restore_bytes(char *text) {
  uint8_t *in = (uint8_t *)text, *out = in;
  while (*in) {
    if (in[0] == 0xf4 && in[1] == 0x8f && in[2] >= 0xbe && in[2] <= 0xbf) {
      *out++ = (uint8_t)(0x80 + ((in[2] - 0xbe) << 6) + (in[3] - 0x80));
      in += 4;
    } else {
      *out++ = *in++;
    }
  }
  *out = 0;
}

// The present event's text, borrowed from it.
static ig_status scalar_text(reader *r, const char **out) {
  char *text = (char *)r->event.data.scalar.value;
  size_t n = r->event.data.scalar.length;
  if (memchr(text, 0, n))
    return ig_fail(IG_ERR_FORMAT, "%s: the value contains a NUL character", r->where);
  if (r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE && (n == 0 || !strcmp(text, "~") || !strcmp(text, "null")))
    return ig_fail(IG_ERR_FORMAT, "%s: the value is missing; leave the key out to keep its default, or write \"\"",
                   r->where);
  restore_bytes(text);
  *out = text;
  return IG_OK;
}

static void drop_items(reader *r) {
  while (r->n_items)
    ig_free(r->items[--r->n_items]);
}

static ig_status read_sequence(reader *r, size_t index, const char *key_where) {
  const char *text;
  drop_items(r);
  for (;;) {
    IG_TRY(next_event(r));
    if (r->event.type == YAML_SEQUENCE_END_EVENT)
      break;
    if (r->event.type != YAML_SCALAR_EVENT)
      return ig_fail(IG_ERR_FORMAT, "%s: an item of a sequence must be a plain value", r->where);
    if (r->n_items == MAX_ITEMS)
      return ig_fail(IG_ERR_FORMAT, "%s: the sequence has more than %d items", r->where, MAX_ITEMS);
    IG_TRY(scalar_text(r, &text));
    IG_TRY(ig_grow(&r->items, &r->items_capacity, r->n_items, r->n_items + 1, sizeof *r->items, "items of a sequence"));
    IG_TRY(ig_strdup(text, &r->items[r->n_items]));
    r->n_items++;
  }
  static const char *const no_items[1] = {NULL};
  return ig_config_put(r->config, index, NULL, r->n_items ? (const char *const *)r->items : no_items, r->n_items,
                       IG_FROM_FILE, key_where);
}

// After a key: its value.
static ig_status read_value(reader *r, size_t index) {
  const ig_key *key = &r->config->table->keys[index];
  ig_status status = IG_OK;
  const char *text;
  char *at = NULL;
  IG_TRY(next_event(r));
  switch (r->event.type) {
    case YAML_SCALAR_EVENT:
      IG_TRY(scalar_text(r, &text));
      return ig_config_put(r->config, index, text, NULL, 0, IG_FROM_FILE, r->where);
    case YAML_SEQUENCE_START_EVENT:
      IG_TRY(ig_strdup(r->where, &at));
      status = read_sequence(r, index, at);
      ig_free(at);
      return status;
    default:
      return ig_fail(IG_ERR_FORMAT, "%s: %s is a nested mapping; keys are flat, as on the command line", r->where,
                     key->name);
  }
}

static ig_status read_mapping(reader *r) {
  for (;;) {
    size_t index;
    IG_TRY(next_event(r));
    if (r->event.type == YAML_MAPPING_END_EVENT)
      return IG_OK;
    if (r->event.type != YAML_SCALAR_EVENT)
      return ig_fail(IG_ERR_FORMAT, "%s: a key must be a plain name", r->where);
    const char *name = (const char *)r->event.data.scalar.value;
    IG_TRY(ig_config_find(r->config, name, r->event.data.scalar.length, r->where, &index));
    if (r->seen[index])
      return ig_fail(IG_ERR_FORMAT, "%s: key %s stands twice in this file", r->where,
                     r->config->table->keys[index].name);
    if (r->config->table->keys[index].type == IG_KEY_CONFIG)
      return ig_fail(IG_ERR_USAGE, "%s: key %s may stand on the command line only", r->where,
                     r->config->table->keys[index].name);
    r->seen[index] = true;
    IG_TRY(read_value(r, index));
  }
}

static ig_status read_stream(reader *r) {
  IG_TRY(next_event(r));  // stream start
  IG_TRY(next_event(r));
  if (r->event.type == YAML_STREAM_END_EVENT)
    return IG_OK;
  if (r->event.data.document_start.tag_directives.start != r->event.data.document_start.tag_directives.end)
    return ig_fail(IG_ERR_FORMAT, "%s: %%TAG directives are not accepted", r->where);
  IG_TRY(next_event(r));
  if (r->event.type == YAML_MAPPING_START_EVENT)
    IG_TRY(read_mapping(r));
  else if (r->event.type != YAML_SCALAR_EVENT || r->event.data.scalar.length != 0)
    return ig_fail(IG_ERR_FORMAT, "%s: expected lines of the form `key: value`", r->where);
  IG_TRY(next_event(r));  // document end
  IG_TRY(next_event(r));
  if (r->event.type != YAML_STREAM_END_EVENT)
    return ig_fail(IG_ERR_FORMAT, "%s: a second document starts here; one is expected", r->where);
  return IG_OK;
}

ig_status ig_config_load_text(ig_config *c, const char *text, size_t n, const char *where) {
  ig_status status = IG_OK;
  reader r = {.config = c, .file = where};
  if (n >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) {  // a byte order mark, which the parser takes for content
    text += 3;
    n -= 3;
  }
  if (n > MAX_FILE_BYTES)
    return ig_fail(IG_ERR_FORMAT, "%s: %zu bytes; at most %d are accepted", where, n, MAX_FILE_BYTES);
  if (!yaml_parser_initialize(&r.parser))
    return ig_fail(IG_ERR_MEMORY, "out of host memory while reading %s", where);
  yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
  yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, n);
  IG_GOTO(ig_alloc_array(c->table->n_keys, sizeof *r.seen, "keys of a file", &r.seen));
  status = read_stream(&r);
done:
  if (r.has_event)
    yaml_event_delete(&r.event);
  yaml_parser_delete(&r.parser);
  drop_items(&r);
  ig_free(r.items);
  ig_free(r.where);
  ig_free(r.seen);
  return status;
}

ig_status ig_config_load(ig_config *c, const char *path) {
  uint8_t *data;
  size_t n;
  char printable[IG_QUOTE_BYTES];
  IG_TRY(ig_file_read(path, MAX_FILE_BYTES, &data, &n));
  // A name of ordinary characters stands in messages as it is, so that editors can jump to file:line:column.
  ig_quote(printable, path);
  size_t length = strlen(path);
  bool plain = strlen(printable) == length + 2 && memcmp(printable + 1, path, length) == 0;
  ig_status status = ig_config_load_text(c, (char *)data, n, plain || length > 100 ? path : printable);
  ig_free(data);
  return status;
}

static uint32_t code_point(const char *p, size_t n) {
  const uint8_t *s = (const uint8_t *)p;
  uint32_t code = n == 1 ? s[0] : s[0] & (0x7fu >> n);
  for (size_t i = 1; i < n; i++)
    code = code << 6 | (s[i] & 0x3f);
  return code;
}

// A double-quoted scalar that reads back as the same bytes.
static ig_status add_quoted(ig_text *out, const char *text) {
  IG_TRY(ig_text_add(out, "\"", 1));
  for (const char *p = text; *p;) {
    size_t n = ig_utf8_length(p);
    uint32_t code = n ? code_point(p, n) : 0;
    if (n == 0 || code >= 0x10ff80) {  // restore_bytes() undoes it
      IG_TRY(ig_text_addf(out, "\\U0010FF%02X", (uint8_t)*p));
      p++;
      continue;
    }
    if (code == '"' || code == '\\')
      IG_TRY(ig_text_addf(out, "\\%c", (int)code));
    else if (code < 0x20 || (code >= 0x7f && code <= 0xa0) || code == 0x2028 || code == 0x2029 || code == 0xfeff ||
             code == 0xfffe || code == 0xffff)
      IG_TRY(ig_text_addf(out, "\\u%04X", (unsigned)code));
    else
      IG_TRY(ig_text_add(out, p, n));
    p += n;
  }
  return ig_text_add(out, "\"", 1);
}

static ig_status add_value(ig_text *out, const ig_key *key, const ig_value *v) {
  // Checked words and numbers stand as they are; "null" and "~" would be read as nothing.
  if (key->type == IG_KEY_STRING || !strcmp(v->text, "null") || !strcmp(v->text, "~"))
    return add_quoted(out, v->text);
  if ((key->type != IG_KEY_LIST && key->type != IG_KEY_FLOATS) || v->choice >= 0)
    return ig_text_addf(out, "%s", v->text);
  IG_TRY(ig_text_add(out, "[", 1));
  for (size_t i = 0; i < v->n; i++) {
    if (i)
      IG_TRY(ig_text_add(out, ", ", 2));
    if (key->type == IG_KEY_FLOATS)
      IG_TRY(ig_text_addf(out, "%s", v->items[i]));
    else
      IG_TRY(add_quoted(out, v->items[i]));
  }
  return ig_text_add(out, "]", 1);
}

ig_status ig_config_yaml(const ig_config *c, char **out) {
  ig_status status = IG_OK;
  ig_text text = {0};
  *out = NULL;
  const char *verb = c->table->verbs[c->verb];
  IG_GOTO(ig_text_addf(&text, "# Resolved keys of `ingot %s`; the same again by: ingot %s --config THIS_FILE\n", verb,
                       verb));
  for (size_t i = 0; i < c->table->n_keys; i++) {
    const ig_key *key = &c->table->keys[i];
    const ig_value *v = &c->values[i];
    if (!v->text || key->type == IG_KEY_CONFIG || key->flags & IG_KEY_NOT_SAVED)
      continue;
    IG_GOTO(ig_text_addf(&text, "%s: ", key->name));
    IG_GOTO(add_value(&text, key, v));
    IG_GOTO(ig_text_add(&text, "\n", 1));
  }
  *out = text.data;
  return IG_OK;
done:
  ig_free(text.data);
  return status;
}

ig_status ig_config_save(const ig_config *c, const char *path) {
  char *text;
  IG_TRY(ig_config_yaml(c, &text));
  ig_status status = ig_file_write_atomic(path, text, strlen(text));
  ig_free(text);
  return status;
}
