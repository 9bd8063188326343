// tokenizer train | encode | decode. Rule: encode and decode answer each line by a line, in order; a line that cannot
// be decoded is named and has an error in place of its text.
#include <stdlib.h>
#include <string.h>

#include "bindings/c/options.h"
#include "bindings/c/path_list.h"
#include "bindings/c/text_lines.h"
#include "bindings/c/text_model.h"
#include "runtime/base/cpu.h"
#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/data/table.h"
#include "runtime/tokenizer/tokenizer.h"

typedef struct work {
  ig_call_state *c;
  ig_tokenizer *tokenizer;
  ig_encode_options options;
  bool pairs, special;
  ig_encoding encoding;
  ig_text out;
  int32_t *ids;
  size_t ids_capacity, n_lines, n_failed, n_invalid;
} work;

static void show(work *w, const char *text, bool json) {
  const ig_callbacks *b = &w->c->callbacks;
  if (json ? b->result != NULL : b->table != NULL)
    (json ? b->result : b->table)(b->user, text);
}

// --- encode ---

static ig_status add_numbers(ig_text *out, const char *name, const int32_t *numbers, size_t n) {
  IG_TRY(ig_text_addf(out, "\"%s\": [", name));
  for (size_t i = 0; i < n; i++)
    IG_TRY(ig_text_addf(out, i ? ", %d" : "%d", numbers[i]));
  return ig_text_add(out, "]", 1);
}

// A token as JSON: what jansson would write.
static ig_status add_token(ig_text *out, const char *token) {
  char *text = NULL;
  json_t *j = json_string(token);
  if (j)
    text = json_dumps(j, JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
  json_decref(j);
  ig_status status = text ? ig_text_add(out, text, strlen(text)) : ig_no_json();
  free(text);
  return status;
}

static ig_status line_of(work *w) {
  const ig_encoding *e = &w->encoding;
  ig_text *out = &w->out;
  out->n = 0;
  IG_TRY(ig_text_add(out, "{", 1));
  IG_TRY(add_numbers(out, "ids", e->ids, e->n));
  IG_TRY(ig_text_addf(out, ", \"tokens\": ["));
  for (size_t i = 0; i < e->n; i++) {
    IG_TRY(ig_text_add(out, ", ", i ? 2 : 0));
    IG_TRY(add_token(out, ig_tokenizer_token(w->tokenizer, e->ids[i])));
  }
  IG_TRY(ig_text_addf(out, "], \"offsets\": ["));
  for (size_t i = 0; i < e->n; i++)
    IG_TRY(ig_text_addf(out, i ? ", [%u, %u]" : "[%u, %u]", e->begin[i], e->end[i]));
  IG_TRY(ig_text_add(out, "]", 1));
  if (w->pairs) {
    IG_TRY(ig_text_addf(out, ", \"types\": ["));
    for (size_t i = 0; i < e->n; i++)
      IG_TRY(ig_text_addf(out, i ? ", %d" : "%d", e->types[i]));
    IG_TRY(ig_text_add(out, "]", 1));
  }
  if (e->truncated)
    IG_TRY(ig_text_addf(out, ", \"truncated\": true"));
  if (e->n_invalid)
    IG_TRY(ig_text_addf(out, ", \"invalid\": %zu", e->n_invalid));
  return ig_text_add(out, "}", 1);
}

static ig_status encode_line(void *user, const char *source, size_t number, const char *line, size_t n) {
  work *w = user;
  const char *tab = w->pairs ? memchr(line, '\t', n) : NULL;
  if (ig_asked_to_stop(w->c))
    return ig_fail(IG_STOPPED, "stopped after %zu %s", w->n_lines, ig_plural(w->n_lines, "text", "texts"));
  if (w->pairs && !tab)
    return ig_fail(IG_ERR_DATA, "%s: line %zu has no tab; pairs=1 takes two texts a line with a tab between", source,
                   number);
  const size_t first = tab ? (size_t)(tab - line) : n;
  ig_status status = ig_tokenizer_encode(w->tokenizer, line, first, tab ? tab + 1 : NULL, tab ? n - first - 1 : 0,
                                         &w->options, &w->encoding);
  if (status != IG_OK)
    return ig_fail_prefix(status, "%s: line %zu", source, number);
  w->n_lines++;
  w->n_invalid += w->encoding.n_invalid;
  IG_TRY(line_of(w));
  show(w, w->out.data, true);
  return IG_OK;
}

// --- decode ---

static bool is_between(char c) { return c == ' ' || c == '\t' || c == ',' || c == '[' || c == ']'; }

// Numbers with spaces, commas or brackets between.
static ig_status read_ids(work *w, const char *line, size_t n, size_t *n_ids) {
  const char *p = line, *end = line + n;
  char quoted[IG_QUOTE_BYTES], text[24];
  *n_ids = 0;
  while (p < end) {
    if (is_between(*p)) {
      p++;
      continue;
    }
    size_t length = 0;
    while (p + length < end && length < sizeof text - 1 && !is_between(p[length]))
      length++;
    memcpy(text, p, length);
    text[length] = 0;
    char *stop;
    long id = strtol(text, &stop, 10);
    if (*stop || length == sizeof text - 1 || id < 0 || id > INT32_MAX || strlen(text) != length)
      return ig_fail(IG_ERR_DATA, "%s is no id; ids with spaces or commas between are expected",
                     ig_quote(quoted, text));
    IG_TRY(ig_grow(&w->ids, &w->ids_capacity, *n_ids, *n_ids + 1, sizeof *w->ids, "ids"));
    w->ids[(*n_ids)++] = (int32_t)id;
    p += length;
  }
  return IG_OK;
}

static ig_status decode_line(void *user, const char *source, size_t number, const char *line, size_t n) {
  work *w = user;
  char *text = NULL;
  size_t n_ids;
  if (ig_asked_to_stop(w->c))
    return ig_fail(IG_STOPPED, "stopped after %zu %s", w->n_lines, ig_plural(w->n_lines, "text", "texts"));
  w->n_lines++;
  ig_status status = read_ids(w, line, n, &n_ids);
  if (status == IG_OK)
    status = ig_tokenizer_decode(w->tokenizer, w->ids, n_ids, !w->special, &text);
  if (status != IG_OK && status != IG_ERR_DATA)
    return status;
  const bool failed = status != IG_OK;
  if (failed) {
    ig_note(w->c, "%s: line %zu: %s", source, number, ig_error_message());
    w->n_failed++;
  }
  if (w->c->json || !w->c->callbacks.table) {
    json_t *j = json_pack("{s:o}", failed ? "error" : "text", ig_json_text(failed ? ig_error_message() : text));
    char *dumped = j ? json_dumps(j, JSON_ENSURE_ASCII) : NULL;
    json_decref(j);
    if (dumped)
      show(w, dumped, true);
    status = dumped ? IG_OK : ig_no_json();
    free(dumped);
  } else {
    w->out.n = 0;
    status = ig_text_addf(&w->out, "%s\n", failed ? "" : text);
    if (status == IG_OK)
      show(w, w->out.data, false);
  }
  ig_free(text);
  return status;
}

static void tell_invalid(ig_call_state *c, uint64_t n) {
  if (n)
    ig_note(c, "%llu byte %s not UTF-8 and %s read as U+FFFD", (unsigned long long)n,
            ig_plural(n, "sequence was", "sequences were"), ig_plural(n, "was", "were"));
}

static ig_status each_file(work *w, ig_line_fn each) {
  const size_t n = ig_config_n_paths(w->c->config);
  if (n == 1)
    return ig_each_line("-", each, w);
  for (size_t i = 1; i < n; i++)
    IG_TRY(ig_each_line(ig_config_path(w->c->config, i), each, w));
  return IG_OK;
}

static ig_status lines(ig_call_state *c, bool encode) {
  ig_status status = IG_OK;
  const ig_config *k = c->config;
  work w = {.c = c, .pairs = ig_config_bool(k, "pairs"), .special = ig_config_bool(k, "special")};
  w.options =
      (ig_encode_options){.special = w.special,
                          .max_length = (int)ig_config_int(k, "max_length"),
                          .truncation = ig_config_is(k, "truncation", "only_first")    ? IG_TRUNCATE_ONLY_FIRST
                                        : ig_config_is(k, "truncation", "only_second") ? IG_TRUNCATE_ONLY_SECOND
                                                                                       : IG_TRUNCATE_LONGEST_FIRST,
                          .offsets = true};
  IG_TRY(ig_want_key(c, "tokenizer"));
  IG_TRY(ig_open_tokenizer_file(c, ig_config_str(k, "tokenizer"), &w.tokenizer));
  IG_GOTO(each_file(&w, encode ? encode_line : decode_line));
  tell_invalid(c, w.n_invalid);
  if (w.n_failed)
    status = ig_fail(IG_ERR_PARTIAL, "%zu of %zu %s could not be decoded", w.n_failed, w.n_lines,
                     ig_plural(w.n_lines, "line", "lines"));
done:
  ig_encoding_fini(&w.encoding);
  ig_tokenizer_close(w.tokenizer);
  ig_free(w.out.data);
  ig_free(w.ids);
  return status;
}

// --- train ---

static ig_status answer_train(ig_call_state *c, const ig_tokenizer *t, const ig_path_list *files, uint64_t n_invalid,
                              double seconds) {
  ig_tokenizer_info info;
  ig_tokenizer_get_info(t, &info);
  json_t *result = json_pack("{s:o, s:i, s:I, s:I, s:s, s:f}", "out", ig_json_text(ig_config_str(c->config, "out")),
                             "vocabulary", info.vocabulary, "files", (json_int_t)files->n, "invalid",
                             (json_int_t)n_invalid, "fingerprint", info.fingerprint, "seconds", seconds);
  ig_status status = result ? ig_answer(c, result, NULL) : ig_no_json();
  json_decref(result);
  return status;
}

static ig_status train(ig_call_state *c) {
  ig_status status = IG_OK;
  const ig_config *k = c->config;
  const char *out = ig_config_str(k, "out");
  const uint64_t start = ig_now_ns();
  ig_path_list files = {0};
  ig_tokenizer *t = NULL;
  uint64_t n_invalid = 0;
  IG_TRY(ig_want_key(c, "out"));
  if (ig_config_n_paths(k) < 2)
    return ig_fail(IG_ERR_USAGE, "tokenizer train: name files of text, or folders of .txt files, to learn from");
  if (ig_path_exists(out))
    return ig_fail(IG_ERR_USAGE, "%s is there already: name a new folder", out);
  IG_TRY(ig_want_folder("out=", out));
  for (size_t i = 1; i < ig_config_n_paths(k); i++)
    IG_GOTO(ig_path_list_texts(ig_config_path(k, i), &files));
  for (size_t i = 0; i < files.n; i++)
    IG_GOTO(ig_table_refuse_as_text(files.paths[i]));
  IG_GOTO(ig_tokenizer_train(&(ig_tokenizer_train_options){.size = sizeof(ig_tokenizer_train_options),
                                                           .files = (const char *const *)files.paths,
                                                           .n_files = files.n,
                                                           .vocabulary = (int)ig_config_int(k, "vocabulary"),
                                                           .lowercase = ig_config_bool(k, "lowercase"),
                                                           .min_frequency = (int)ig_config_int(k, "min_frequency"),
                                                           .limit_alphabet = (int)ig_config_int(k, "alphabet"),
                                                           .threads = ig_thread_count(c),
                                                           .n_invalid = &n_invalid},
                             &t));
  tell_invalid(c, n_invalid);
  status = ig_tokenizer_write(t, out, (int)ig_config_int(k, "max_length"));
  if (status != IG_OK) {
    char *why = NULL;
    if (ig_strdup(ig_error_message(), &why) == IG_OK) {
      ig_remove_tree(out);  // it was not there before
      ig_fail(status, "%s", why);
    }
    ig_free(why);
    goto done;
  }
  status = answer_train(c, t, &files, n_invalid, (double)(ig_now_ns() - start) * 1e-9);
done:
  ig_tokenizer_close(t);
  ig_path_list_fini(&files);
  return status;
}

ig_status ig_verb_tokenizer(ig_call_state *c) {
  char quoted[IG_QUOTE_BYTES];
  IG_TRY(ig_want_paths(c, 1, SIZE_MAX));
  const char *action = ig_config_path(c->config, 0);
  if (!strcmp(action, "train"))
    return train(c);
  if (!strcmp(action, "encode") || !strcmp(action, "decode"))
    return lines(c, *action == 'e');
  return ig_fail(IG_ERR_USAGE, "tokenizer %s: train, encode and decode are what there is", ig_quote(quoted, action));
}
