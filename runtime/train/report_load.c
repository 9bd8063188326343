// A run folder, read. Rule: only a missing folder or one without any result is an error; all else that is missing or
// damaged becomes a note, and the report is made from what is left.
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/base/text.h"
#include "runtime/train/report_internal.h"

enum { MAX_FILE = 1 << 30 };

double ig_report_number(const json_t *object, const char *key) {
  const json_t *v = json_object_get(object, key);
  return json_is_number(v) ? json_number_value(v) : NAN;
}

const char *ig_report_arg(const report_run *r, const char *key) {
  for (size_t i = 0; i < r->n_args; i++)
    if (strcmp(r->args[i].key, key) == 0)
      return r->args[i].value;
  return NULL;
}

// NULL in *text, and a note, where the file cannot be read.
static ig_status read_text(report_run *r, const char *name, char **text, size_t *n) {
  char *path = NULL;
  uint8_t *data = NULL;
  *text = NULL, *n = 0;
  IG_TRY(ig_path_join(&path, r->folder, name));
  ig_status status = IG_OK;
  if (!ig_path_exists(path))
    status = ig_text_addf(&r->notes, "%s is missing.\n", name);
  else if (ig_file_read(path, MAX_FILE, &data, n) != IG_OK)
    status = ig_text_addf(&r->notes, "%s cannot be read: %s.\n", name, ig_error_message());
  else
    *text = (char *)data;
  ig_free(path);
  return status;
}

static ig_status read_json(report_run *r, const char *name, json_t **out) {
  char *text;
  size_t n;
  json_error_t error;
  IG_TRY(read_text(r, name, &text, &n));
  if (!text)
    return IG_OK;
  *out = json_loadb(text, n, JSON_REJECT_DUPLICATES, &error);
  ig_free(text);
  if (json_is_object(*out))
    return IG_OK;
  bool parsed = *out != NULL;
  json_decref(*out);
  *out = NULL;
  if (parsed)
    return ig_text_addf(&r->notes, "%s is not a JSON object.\n", name);
  return ig_text_addf(&r->notes, "%s is damaged: line %d: %s.\n", name, error.line, error.text);
}

static ig_status read_log(report_run *r) {
  char *text;
  size_t n, bad = 0, first_bad = 0, line = 0;
  IG_TRY(read_text(r, "log.jsonl", &text, &n));
  ig_status status = IG_OK;
  for (size_t at = 0; at < n;) {
    const char *end = memchr(text + at, '\n', n - at);
    size_t length = end ? (size_t)(end - text) - at : n - at;
    line++;
    if (length) {
      json_t *record = json_loadb(text + at, length, 0, NULL);
      if (json_is_object(record)) {
        status = ig_grow(&r->log, &r->log_capacity, r->n_log, r->n_log + 1, sizeof *r->log, "the log");
        if (status != IG_OK) {
          json_decref(record);
          break;
        }
        r->log[r->n_log++] = record;
      } else {
        json_decref(record);
        first_bad = bad++ ? first_bad : line;
      }
    }
    at += length + 1;
  }
  if (status == IG_OK && bad)
    status = ig_text_addf(&r->notes, "log.jsonl: %zu damaged %s left out, the first is line %zu.\n", bad,
                          ig_plural(bad, "line", "lines"), first_bad);
  ig_free(text);
  return status;
}

// A finished run that goes on, with more epochs, has its former result until it ends again.
static ig_status compare_steps(report_run *r) {
  double last = 0;
  const double of = ig_report_number(r->result, "steps");
  for (size_t i = 0; i < r->n_log; i++) {
    const double step = ig_report_number(r->log[i], "step");
    last = step > last ? step : last;
  }
  if (!(last > of))
    return IG_OK;
  return ig_text_addf(&r->notes,
                      "The run has gone on to step %.0f and has not ended; result.json and predictions.csv are of step "
                      "%.0f.\n",
                      last, of);
}

static ig_status add_arg(report_run *r, const char *key, const char *value) {
  IG_TRY(ig_grow(&r->args, &r->args_capacity, r->n_args, r->n_args + 1, sizeof *r->args, "the arguments"));
  report_arg *a = &r->args[r->n_args++];
  *a = (report_arg){0};
  IG_TRY(ig_strdup(key, &a->key));
  return ig_strdup(value, &a->value);
}

// A flat mapping of scalars and sequences of scalars; whatever else there is ends the reading with a note.
static ig_status read_args(report_run *r) {
  size_t n;
  IG_TRY(read_text(r, "args.yaml", &r->args_text, &n));
  if (!r->args_text)
    return IG_OK;
  yaml_parser_t parser;
  if (!yaml_parser_initialize(&parser))
    return ig_fail(IG_ERR_MEMORY, "no memory for the reader of args.yaml");
  yaml_parser_set_input_string(&parser, (const unsigned char *)r->args_text, n);
  ig_status status = IG_OK;
  char *key = NULL;
  ig_text list = {0};
  bool in_list = false, ended = false, good = true;
  int depth = 0;
  while (!ended && good && status == IG_OK) {
    yaml_event_t e;
    if (!yaml_parser_parse(&parser, &e)) {
      good = false;
      break;
    }
    const char *text = e.type == YAML_SCALAR_EVENT ? (const char *)e.data.scalar.value : NULL;
    if (e.type == YAML_STREAM_END_EVENT) {
      ended = true;
    } else if (e.type == YAML_MAPPING_START_EVENT) {
      good = ++depth == 1;
    } else if (e.type == YAML_SEQUENCE_START_EVENT) {
      good = key && !in_list;
      in_list = true, list.n = 0;
      if (good)
        status = ig_text_add(&list, "", 0);
    } else if (e.type == YAML_SEQUENCE_END_EVENT) {
      status = add_arg(r, key, list.data);
      ig_free(key);
      key = NULL, in_list = false;
    } else if (text && in_list) {
      status = ig_text_addf(&list, "%s%s", list.n ? "," : "", text);
    } else if (text && depth == 1 && key) {
      status = add_arg(r, key, text);
      ig_free(key);
      key = NULL;
    } else if (text) {
      status = ig_strdup(text, &key);
    }
    yaml_event_delete(&e);
  }
  if (status == IG_OK && !good)
    status = ig_text_addf(&r->notes, "args.yaml is damaged near line %zu; its later keys are left out.\n",
                          parser.mark.line + 1);
  yaml_parser_delete(&parser);
  ig_free(key);
  ig_free(list.data);
  return status;
}

// One CSV field from *at into `to` (without quotes). False at the end of the line, whose end is passed over.
static ig_status csv_field(const char **at, ig_text *to, bool *last) {
  const char *p = *at;
  to->n = 0;
  IG_TRY(ig_text_add(to, "", 0));
  if (*p == '"') {
    for (p++; *p && (*p != '"' || p[1] == '"'); p++) {
      p += *p == '"';
      IG_TRY(ig_text_add(to, p, 1));
    }
    p += *p == '"';
  }
  size_t rest = strcspn(p, ",\n");
  IG_TRY(ig_text_add(to, p, rest));
  p += rest;
  *last = *p != ',';
  *at = *p ? p + 1 : p;
  return IG_OK;
}

static double number(const char *text) {
  char *end;
  double x = strtod(text, &end);
  return end == text ? NAN : x;
}

bool ig_report_nothing_held_out(const report_run *r) { return json_is_null(json_object_get(r->result, "best_epoch")); }

// A finished run without a validation part, or of pre-training, writes no predictions.csv.
static bool needs_no_predictions(const report_run *r) {
  char *path = NULL;
  bool none = ig_report_nothing_held_out(r) || json_object_get(r->result, "perplexity");
  if (none && ig_path_join(&path, r->folder, "predictions.csv") == IG_OK)
    none = !ig_path_exists(path);
  ig_free(path);
  return none;
}

static ig_status read_predictions(report_run *r) {
  char *text;
  size_t n, line = 1;
  if (needs_no_predictions(r))
    return IG_OK;
  IG_TRY(read_text(r, "predictions.csv", &text, &n));
  if (!text)
    return IG_OK;
  ig_status status = IG_OK;
  ig_text f = {0};
  const char header[] = "path,label,predicted,p,loss", *at = text;
  if (strncmp(text, header, sizeof header - 1) != 0) {
    status = ig_text_addf(&r->notes, "predictions.csv is damaged: its first line does not start with %s.\n", header);
    at = text + n;
  }
  // Of pictures the last column is a label or a number, whatever its name.
  const char *samples = json_string_value(json_object_get(r->result, "samples"));
  const bool pictures = samples && !strcmp(samples, "pictures");
  int text_column = -1, n_columns = 0;
  for (bool last = *at == 0; !last; n_columns++) {
    IG_GOTO(csv_field(&at, &f, &last));
    if (last && n_columns > 4 && !pictures && !strcmp(f.data, "text"))
      text_column = n_columns;
  }
  while (*at && status == IG_OK) {
    IG_GOTO(ig_grow(&r->samples, &r->samples_capacity, r->n_samples, r->n_samples + 1, sizeof *r->samples,
                    "the predictions"));
    report_sample *s = &r->samples[r->n_samples++];
    *s = (report_sample){.p = NAN, .loss = NAN};
    int column = 0;
    for (bool last = false; !last; column++) {
      IG_GOTO(csv_field(&at, &f, &last));
      if (column < 3)
        IG_GOTO(ig_strdup(f.data, column == 0 ? &s->path : column == 1 ? &s->label : &s->predicted));
      else if (column == 3)
        s->p = number(f.data);
      else if (column == 4)
        s->loss = number(f.data);
      else if (column == text_column)
        IG_GOTO(ig_strdup(f.data, &s->text));
    }
    line++;
    if (column < 5) {
      ig_free(s->path), ig_free(s->label), ig_free(s->predicted);
      r->n_samples--;
      IG_GOTO(ig_text_addf(&r->notes, "predictions.csv is damaged: row %zu has %d %s; the rest is left out.\n", line,
                           column, ig_plural((unsigned)column, "field", "fields")));
      break;
    }
  }
done:
  ig_free(f.data);
  ig_free(text);
  return status;
}

// A file that was cut off at the end of a field looks whole.
static ig_status compare_rows(report_run *r) {
  const double of = ig_report_number(r->result, "n");
  if (r->n_samples == 0 || !(of > (double)r->n_samples))
    return IG_OK;
  return ig_text_addf(&r->notes,
                      "predictions.csv is cut off: it has %zu %s, result.json counts %.0f; mistakes among the others "
                      "are not shown.\n",
                      r->n_samples, ig_plural(r->n_samples, "sample", "samples"), of);
}

ig_status ig_report_run_load(const char *folder, report_run *r) {
  char quoted[IG_QUOTE_BYTES];
  *r = (report_run){0};
  if (!ig_path_is_dir(folder))
    return ig_fail(IG_ERR_NOT_FOUND, "no run folder %s; expected a folder that `ingot train` wrote (out=)",
                   ig_quote(quoted, folder));
  IG_TRY(ig_strdup(folder, &r->folder));
  for (size_t n = strlen(r->folder); n > 1 && r->folder[n - 1] == '/'; n--)
    r->folder[n - 1] = 0;
  const char *slash = strrchr(r->folder, '/');
  r->name = slash && slash[1] ? slash + 1 : r->folder;
  IG_TRY(read_args(r));
  IG_TRY(read_json(r, "environment.json", &r->environment));
  IG_TRY(read_json(r, "result.json", &r->result));
  IG_TRY(read_log(r));
  IG_TRY(compare_steps(r));
  IG_TRY(read_predictions(r));
  IG_TRY(compare_rows(r));
  if (!r->result && r->n_log == 0)
    return ig_fail(IG_ERR_NOT_FOUND,
                   "%s has no usable log.jsonl and no usable result.json; expected a run folder that "
                   "`ingot train` wrote",
                   ig_quote(quoted, folder));
  return IG_OK;
}

void ig_report_run_fini(report_run *r) {
  for (size_t i = 0; i < r->n_args; i++)
    ig_free(r->args[i].key), ig_free(r->args[i].value);
  for (size_t i = 0; i < r->n_log; i++)
    json_decref(r->log[i]);
  for (size_t i = 0; i < r->n_samples; i++)
    ig_free(r->samples[i].path), ig_free(r->samples[i].label), ig_free(r->samples[i].predicted),
        ig_free(r->samples[i].text);
  ig_free(r->args);
  ig_free(r->log);
  ig_free(r->samples);
  ig_free(r->args_text);
  ig_free(r->folder);
  ig_free(r->notes.data);
  json_decref(r->environment);
  json_decref(r->result);
  *r = (report_run){0};
}

const char *ig_report_noun(const report_run *r) {
  const char *noun = json_string_value(json_object_get(r->result, "samples"));
  return noun && !strcmp(noun, "texts") ? "texts" : noun && !strcmp(noun, "text windows") ? "text windows" : "pictures";
}

const char *ig_report_noun_of(const report_run *r, double n) {
  const char *task = ig_report_arg(r, "task"), *many = ig_report_noun(r);
  if (task && !strcmp(task, "tag"))
    many = "words";
  const char *one = !strcmp(many, "words")          ? "word"
                    : !strcmp(many, "texts")        ? "text"
                    : !strcmp(many, "text windows") ? "text window"
                                                    : "picture";
  return ig_plural(n >= 0 && n < 1e18 ? (unsigned long long)n : 0, one, many);
}

ig_status ig_report_series(const report_run *r, const char *split, const char *key, report_series *s) {
  for (size_t i = 0; i < r->n_log; i++) {
    const json_t *at = json_object_get(r->log[i], "split");
    const char *of = json_is_string(at) ? json_string_value(at) : "train";
    double x = ig_report_number(r->log[i], "step"), y = ig_report_number(r->log[i], key);
    if ((*split && strcmp(of, split) != 0) || !isfinite(x) || !isfinite(y))
      continue;
    if (s->n == s->capacity) {  // two arrays of one capacity
      size_t capacity_x = s->capacity, capacity_y = s->capacity;
      IG_TRY(ig_grow(&s->x, &capacity_x, s->n, s->n + 1, sizeof *s->x, "a curve"));
      IG_TRY(ig_grow(&s->y, &capacity_y, s->n, s->n + 1, sizeof *s->y, "a curve"));
      s->capacity = capacity_x < capacity_y ? capacity_x : capacity_y;
    }
    s->x[s->n] = x, s->y[s->n++] = y;
  }
  return IG_OK;
}
