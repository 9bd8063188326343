// What the report's files share. Rule: text reaches the page by ig_report_escape and ig_report_wrap
// only; ig_text_addf is for our own words and numbers.
#ifndef IG_TRAIN_REPORT_INTERNAL_H
#define IG_TRAIN_REPORT_INTERNAL_H

#include <jansson.h>
#include <stdbool.h>

#include "runtime/base/text.h"
#include "runtime/train/report.h"

// One line of args.yaml; a list is joined with commas.
typedef struct report_arg {
  char *key, *value;
} report_arg;

typedef struct report_sample {
  char *path, *label, *predicted;
  char *text;      // what was read; NULL for pictures
  double p, loss;  // NaN where the field is empty
} report_sample;

typedef struct report_run {
  char *folder;
  const char *name;  // last part of folder
  char *args_text;
  report_arg *args;
  size_t n_args, args_capacity;
  json_t *environment, *result;  // objects or NULL
  json_t **log;                  // objects in the order of the file
  size_t n_log, log_capacity;
  report_sample *samples;
  size_t n_samples, samples_capacity;
  ig_text notes;  // what is missing or damaged, a line each
} report_run;

// "pictures", "texts": what the run's samples are.
const char *ig_report_noun(const report_run *r);
// What n judged ones are called, "picture" for 1: the samples, or the words of texts that are tagged.
const char *ig_report_noun_of(const report_run *r, double n);
ig_status ig_report_run_load(const char *folder, report_run *out);  // fini in any case
void ig_report_run_fini(report_run *r);
// The run is finished, and no epoch of it was chosen: there was no validation part.
bool ig_report_nothing_held_out(const report_run *r);
const char *ig_report_arg(const report_run *r, const char *key);  // or NULL

// Number of an object's field, NaN where it is none; also of a record or NULL.
double ig_report_number(const json_t *object, const char *key);

// A series of a chart, owned points.
typedef struct report_series {
  const char *name;
  double *x, *y;
  size_t n, capacity;
  int colour;  // 0..7
} report_series;
// Points (step, field) of the log's records of a split ("" = any); non-finite ones are left out.
ig_status ig_report_series(const report_run *r, const char *split, const char *key, report_series *out);
ig_status ig_report_chart(ig_text *t, const char *title, const char *x_name, const report_series *s, size_t n,
                          bool from_zero);
ig_status ig_report_calibration(ig_text *t, const json_t *bins);

// Escaped for text and attributes; invalid UTF-8, control and direction characters as \xNN or \u{N}.
ig_status ig_report_escape(ig_text *t, const char *text);
// `before` and `after` as they are, text escaped between them.
ig_status ig_report_wrap(ig_text *t, const char *before, const char *text, const char *after);
// A word for a POSIX shell, quoted where it must be, then escaped.
ig_status ig_report_shell(ig_text *t, const char *word);
ig_status ig_report_page_begin(ig_text *t, const char *title);
ig_status ig_report_page_end(ig_text *t);
ig_status ig_report_row(ig_text *t, const char *name, const char *value);  // of a two-column table, escaped

// A thumbnail at most 160 pixels wide and high as a data: URL. IG_ERR_*: message says why not.
ig_status ig_report_thumb(const report_run *r, const char *path, ig_text *url, int *w, int *h);

// "2 min 31 s"; "1.5 GiB". Return out.
const char *ig_report_seconds(char out[48], double s);
const char *ig_report_bytes(char out[48], double bytes);

ig_status ig_report_summary(ig_text *t, const report_run *r);
#endif
