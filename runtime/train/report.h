// The report of a run: one HTML file from the files of a run folder. Rule: it needs no network and no script, and every
// text that comes from outside is escaped.
#ifndef IG_TRAIN_REPORT_H
#define IG_TRAIN_REPORT_H

#include <stddef.h>
#include <stdint.h>

#include "runtime/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

// Writes predictions.csv (atomically): header `path,label,predicted,p,loss,p_<class>...`, then a line a sample; fields
// with a comma, quote or line end are quoted (RFC 4180). paths [n]: as the report shall find the picture (absolute, or
// relative to the data folder; "file.bin:17" for a CIFAR record); labels [n] in 0..k-1, or -1: unknown (label and loss
// stay empty); logits [n][k], the softmax is taken here; p is that of the predicted class (the lowest of the largest
// logits), loss = -log p_label in natural units. texts [n]: a last column `text`, what was read; NULL: none (pictures).
// IG_ERR_NUMERIC: a logit that is not finite; IG_ERR_DATA: a label out
// of range.
ig_status ig_report_predictions_csv(const char *path, size_t n, const char *const *paths, const int32_t *labels,
                                    const float *logits, int32_t k, const char *const *classes, char *const *texts);

// The same for other tasks: header `path,label,predicted,p,loss,p_<name>...`; label, predicted [n]: texts; p [n], or
// NULL for numbers (empty; predicted_<name> then: a number is often called label); loss [n]; values [n][k].
ig_status ig_report_values_csv(const char *path, size_t n, const char *const *paths, char *const *labels,
                               char *const *predicted, const double *p, const double *loss, const float *values,
                               int32_t k, const char *const *names, char *const *texts);

// Reads args.yaml, environment.json, log.jsonl, result.json (what ig_train_run returns) and predictions.csv of
// run_folder and writes one HTML file (atomically). What is missing or damaged is named in the report;
// IG_ERR_NOT_FOUND when there is no folder, or neither log.jsonl nor result.json in it. The same folder gives the same
// bytes.
ig_status ig_report_write(const char *run_folder, const char *out_path);

// The same for several runs, at least 2: a table, the settings in which they differ, and their curves in one chart.
ig_status ig_report_compare(size_t n, const char *const *run_folders, const char *out_path);

#ifdef __cplusplus
}
#endif
#endif
