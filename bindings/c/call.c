// Answers of a verb: notes, progress, results. Rule: JSON and table say the same.
#include "bindings/c/call.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"

enum { NOTE_BYTES = 4096, MAX_COLUMNS = 32, MAX_MATRIX = 24 };

void ig_note_text(void *call_state, const char *text) {
  ig_call_state *c = call_state;
  if (!c->quiet && c->callbacks.line)
    c->callbacks.line(c->callbacks.user, text);
}

void ig_note(ig_call_state *c, const char *format, ...) {
  char text[NOTE_BYTES];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  ig_note_text(c, text);
}

void ig_show_progress(void *call_state, const char *text) {
  ig_call_state *c = call_state;
  if (!c->quiet && c->callbacks.progress)
    c->callbacks.progress(c->callbacks.user, text);
}

int ig_asked_to_stop(void *call_state) {
  ig_call_state *c = call_state;
  return c->callbacks.should_stop ? c->callbacks.should_stop(c->callbacks.user) : 0;
}

void ig_warn_text(void *call_state, const char *text) {
  ig_call_state *c = call_state;
  ig_note_text(c, text);
  if (!c->warnings)
    c->warnings = json_array();
  json_array_append_new(c->warnings, ig_json_text(text));
}

ig_status ig_answer_warnings(const ig_call_state *c, json_t *object) {
  json_t *list = c->warnings ? json_incref(c->warnings) : json_array();
  return json_object_set_new(object, "warnings", list) ? ig_no_json() : IG_OK;
}

ig_status ig_no_json(void) { return ig_fail(IG_ERR_MEMORY, "no memory for the JSON of an answer"); }

json_t *ig_json_text(const char *text) {
  json_t *j = json_string(text);
  if (j)
    return j;
  ig_text clean = {0};
  for (const char *p = text; *p;) {
    size_t n = ig_utf8_length(p);
    ig_status status = n ? ig_text_add(&clean, p, n) : ig_text_addf(&clean, "\\x%02x", (unsigned char)*p);
    if (status != IG_OK)
      break;
    p += n ? n : 1;
  }
  j = json_string(clean.data ? clean.data : "");
  ig_free(clean.data);
  return j;
}

// A scalar as people read it; "" for objects and lists.
static void cell(const json_t *v, char *out, size_t n) {
  *out = 0;
  if (json_is_string(v))
    snprintf(out, n, "%s", json_string_value(v));
  else if (json_is_integer(v))
    snprintf(out, n, "%lld", (long long)json_integer_value(v));
  else if (json_is_real(v))
    snprintf(out, n, "%.6g", json_real_value(v));
  else if (json_is_boolean(v))
    snprintf(out, n, "%s", json_is_true(v) ? "yes" : "no");
  else if (json_is_null(v))
    snprintf(out, n, "-");
}

// Rows [n] of objects with the same keys: a header and aligned columns.
static ig_status add_rows(const json_t *rows, ig_text *out) {
  const char *names[MAX_COLUMNS];
  int width[MAX_COLUMNS], n = 0;
  char text[512];
  const char *key;
  json_t *value, *row;
  size_t i;
  json_object_foreach(json_array_get(rows, 0), key, value) {
    if (n == MAX_COLUMNS || json_is_array(value) || json_is_object(value))
      continue;
    names[n] = key;
    width[n++] = (int)strlen(key);
  }
  json_array_foreach(rows, i, row) for (int k = 0; k < n; k++) {
    cell(json_object_get(row, names[k]), text, sizeof text);
    if ((int)strlen(text) > width[k])
      width[k] = (int)strlen(text);
  }
  for (int k = 0; k < n; k++)
    IG_TRY(ig_text_addf(out, "%s%-*s", k ? "  " : "", k + 1 < n ? width[k] : 0, names[k]));
  IG_TRY(ig_text_add(out, "\n", 1));
  json_array_foreach(rows, i, row) {
    for (int k = 0; k < n; k++) {
      cell(json_object_get(row, names[k]), text, sizeof text);
      IG_TRY(ig_text_addf(out, "%s%-*s", k ? "  " : "", k + 1 < n ? width[k] : 0, text));
    }
    IG_TRY(ig_text_add(out, "\n", 1));
  }
  return IG_OK;
}

// A list of numbers or texts in one line.
static ig_status add_list(const json_t *list, const char *between, ig_text *out) {
  char text[512];
  const json_t *value;
  size_t i;
  json_array_foreach(list, i, value) {
    cell(value, text, sizeof text);
    IG_TRY(ig_text_addf(out, "%s%s", i ? between : "", text));
  }
  return ig_text_add(out, "\n", 1);
}

// An object within an object: (a 1, b 2); nothing of others.
static ig_status add_inner(const json_t *object, ig_text *out) {
  const char *key;
  json_t *value;
  char text[512];
  bool some = false;
  json_object_foreach((json_t *)object, key, value) {
    cell(value, text, sizeof text);
    IG_TRY(ig_text_addf(out, "%s%s %s", some ? ", " : "(", key, text));
    some = true;
  }
  return some ? ig_text_add(out, ")", 1) : IG_OK;
}

ig_status ig_json_table(const json_t *object, ig_text *out) {
  const char *key, *inner_key;
  json_t *value, *inner;
  int width = 0;
  char text[4096];
  size_t i;
  json_object_foreach((json_t *)object, key, value) if ((int)strlen(key) > width) width = (int)strlen(key);
  json_object_foreach((json_t *)object, key, value) {
    const json_t *first = json_array_get(value, 0);
    if (json_is_object(first) || json_is_array(first))
      continue;
    IG_TRY(ig_text_addf(out, "%-*s  ", width, key));
    if (json_is_array(value)) {
      IG_TRY(add_list(value, ", ", out));
      continue;
    }
    bool some = false;
    json_object_foreach(value, inner_key, inner) {
      cell(inner, text, sizeof text);
      IG_TRY(ig_text_addf(out, "%s%s %s", some ? ", " : "", inner_key, text));
      IG_TRY(add_inner(inner, out));
      some = true;
    }
    cell(value, text, sizeof text);
    IG_TRY(ig_text_addf(out, "%s\n", text));
  }
  json_object_foreach((json_t *)object, key, value) {
    const json_t *first = json_array_get(value, 0);
    if (json_is_object(first)) {
      IG_TRY(ig_text_addf(out, "\n%s\n", key));
      IG_TRY(add_rows(value, out));
    } else if (json_is_array(first)) {
      IG_TRY(ig_text_addf(out, "\n%s\n", key));
      if (json_array_size(value) > MAX_MATRIX) {
        IG_TRY(ig_text_addf(out, "%zu %s: see --json\n", json_array_size(value),
                            ig_plural(json_array_size(value), "row", "rows")));
        continue;
      }
      json_array_foreach(value, i, inner) IG_TRY(add_list(inner, "\t", out));
    }
  }
  return IG_OK;
}

ig_status ig_answer(ig_call_state *c, json_t *object, const char *table) {
  ig_status status = IG_OK;
  ig_text text = {0};
  char *json = NULL;
  if (!object && !table)
    return ig_no_json();
  if (c->callbacks.table && !c->json) {
    if (!table)
      IG_GOTO(ig_json_table(object, &text));
    c->callbacks.table(c->callbacks.user, table ? table : text.data ? text.data : "");
  } else if (c->callbacks.result) {
    json = json_dumps(object, JSON_COMPACT);
    if (!json)
      IG_GOTO(ig_no_json());
    c->callbacks.result(c->callbacks.user, json);
  }
done:
  free(json);  // jansson's own
  ig_free(text.data);
  return status;
}

ig_status ig_want_paths(const ig_call_state *c, size_t min, size_t max) {
  size_t n = ig_config_n_paths(c->config), v = 0;
  char quoted[IG_QUOTE_BYTES];
  while (strcmp(ig_keys.verbs[v], c->verb) != 0)
    v++;
  if (n < min)
    return ig_fail(IG_ERR_USAGE, "%s: %s; usage: %s", c->verb, n ? "a word is missing" : "nothing to work on is named",
                   ig_verb_usage[v]);
  if (n > max)
    return ig_fail(IG_ERR_USAGE, "%s: %s is one word too many; usage: %s", c->verb,
                   ig_quote(quoted, ig_config_path(c->config, max)), ig_verb_usage[v]);
  return IG_OK;
}

ig_status ig_want_key(const ig_call_state *c, const char *name) {
  size_t v = 0;
  while (strcmp(ig_keys.verbs[v], c->verb) != 0)
    v++;
  if (ig_config_has_value(c->config, name) && *ig_config_str(c->config, name))
    return IG_OK;
  return ig_fail(IG_ERR_USAGE, "%s: %s= is missing; usage: %s", c->verb, name, ig_verb_usage[v]);
}

static bool is_same_file(const struct stat *a, const char *path) {
  struct stat b;
  return path && ig_fileops_get()->stat(path, &b) == 0 && a->st_dev == b.st_dev && a->st_ino == b.st_ino;
}

// Whether this call reads the file.
static bool is_input(const ig_call_state *c, const struct stat *st) {
  static const char *const keys[] = {"data", "val", "split", "weights", "tokenizer"};
  for (size_t i = 0; i < ig_config_n_paths(c->config); i++)
    if (is_same_file(st, ig_config_path(c->config, i)))
      return true;
  for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
    if (ig_config_known(c->config, keys[i]) && is_same_file(st, ig_config_str(c->config, keys[i])))
      return true;
  return false;
}

// Results are text or .npy: bytes that neither has are somebody's picture, weights or archive.
static bool may_be_result(const char *path) {
  const ig_fileops *ops = ig_fileops_get();
  unsigned char head[512];
  const int fd = ops->open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC, 0);
  const ssize_t n = fd < 0 ? 0 : ops->read(fd, head, sizeof head);
  if (fd >= 0)
    ops->close(fd);
  if (n >= 6 && !memcmp(head, "\x93NUMPY", 6))
    return true;
  for (ssize_t i = 0; i < n; i++)
    if (head[i] < 32 && !strchr("\t\n\r\f\x1b", head[i] ? head[i] : 1))
      return false;
  return true;
}

// What train wrote into a run's folder stays; `report` alone writes its report anew.
static ig_status keep_run_files(const ig_call_state *c, const char *key, const char *path) {
  static const char *const own[] = {"args.yaml",   "environment.json", "log.jsonl", "best",           "result.json",
                                    "config.json", "predictions.csv",  "vocab.txt", "tokenizer.json", "report.html"};
  const char *name = ig_path_name(path);
  const int n = (int)(name - path);
  char *folder = NULL, q[IG_QUOTE_BYTES];
  bool is_own = false, is_run = false;
  for (size_t i = 0; i < sizeof own / sizeof *own; i++)
    is_own = is_own || !strcmp(name, own[i]);
  if (!is_own || (!strcmp(name, "report.html") && !strcmp(c->verb, "report")))
    return IG_OK;
  IG_TRY(n ? ig_asprintf(&folder, "%.*s", n, path) : ig_strdup(".", &folder));
  const ig_status status = ig_path_holds(folder, "args.yaml", &is_run);
  ig_free(folder);
  IG_TRY(status);
  return is_run ? ig_fail(IG_ERR_USAGE, "%s=%s is a file of that run; name another one", key, ig_shown(q, path))
                : IG_OK;
}

ig_status ig_want_writable(const ig_call_state *c, const char *name) {
  const char *path = ig_config_str(c->config, name);
  struct stat st;
  char q[IG_QUOTE_BYTES];
  if (!path || !*path)
    return IG_OK;
  if (ig_fileops_get()->stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0) {
    if (is_input(c, &st))
      return ig_fail(IG_ERR_USAGE, "%s=%s is a file that this command reads; name another one", name,
                     ig_shown(q, path));
    if (!may_be_result(path))
      return ig_fail(IG_ERR_USAGE,
                     "%s=%s is there already and is no result of ingot's (it is neither text nor .npy); name another "
                     "file, or remove it",
                     name, ig_shown(q, path));
    IG_TRY(keep_run_files(c, name, path));
  }
  return ig_file_check_writable(path) == IG_OK
             ? IG_OK
             : ig_fail_prefix(IG_ERR_USAGE, "%s=%s cannot be written", name, ig_shown(q, path));
}

ig_status ig_want_folder(const char *key, const char *path) {
  char q[IG_QUOTE_BYTES];
  return ig_folder_check_writable(path) == IG_OK
             ? IG_OK
             : ig_fail_prefix(IG_ERR_USAGE, "%s%s cannot be written", key, ig_shown(q, path));
}
