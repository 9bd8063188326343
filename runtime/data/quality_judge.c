// The quality report's findings. Rule: a finding says what was found with its figures, why it matters and what to do;
// severity is by what it does to a result: serious spoils the figures that come out, care may cost accuracy, note is
// worth knowing.
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/mem.h"
#include "runtime/base/text.h"
#include "runtime/data/quality.h"

enum { FEW = 20, RATIO_CARE = 10, RATIO_NOTE = 3 };

const char *ig_severity_name(ig_severity severity) {
  static const char *const names[IG_N_SEVERITIES] = {"serious", "care", "note"};
  return (unsigned)severity < IG_N_SEVERITIES ? names[severity] : "unknown";
}

__attribute__((format(printf, 5, 6))) static ig_status find(ig_quality *q, ig_severity severity, const char *code,
                                                            size_t count, const char *format, ...) {
  char text[1024];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  ig_quality_finding f = {.severity = severity, .code = code, .count = count};
  IG_TRY(ig_grow(&q->findings, &q->findings_capacity, q->n_findings, q->n_findings + 1, sizeof f, "findings"));
  IG_TRY(ig_strdup(text, &f.text));
  q->findings[q->n_findings++] = f;
  q->n_severity[severity]++;
  return IG_OK;
}

static bool in_parts(const ig_quality *q, const ig_quality_group *g) {
  unsigned parts = g->parts;
  if (!q->data->val_was_given && parts & 1u << IG_PART_VAL)  // held out of the training part by us
    parts = (parts & ~(1u << IG_PART_VAL)) | 1u << IG_PART_TRAIN;
  return (parts & (parts - 1)) != 0;
}

static bool held_out_apart(const ig_quality *q, const ig_quality_group *g) {
  unsigned both = 1u << IG_PART_TRAIN | 1u << IG_PART_VAL;
  return !q->data->val_was_given && (g->parts & both) == both;
}

static const char *s_of(size_t n) { return ig_plural(n, "", "s"); }

static ig_status judge_files(ig_quality *q) {
  size_t n = q->n_skipped + (q->data->n - q->n_readable), all = q->n_skipped + q->data->n;
  const ig_quality_skipped *s = q->skipped;
  if (n == 0)
    return IG_OK;
  const char *first = n && q->n_skipped ? s->name : NULL, *reason = q->n_skipped ? s->reason : NULL;
  for (size_t i = 0; i < q->data->n && !first; i++)
    if (q->pictures[i].reason) {
      first = q->data->samples[i].name;
      reason = q->pictures[i].reason;
    }
  char quoted[IG_QUOTE_BYTES];
  return find(q, IG_SEVERITY_SERIOUS, "unreadable", n,
              "%zu of %zu file%s cannot be read (first: %s: %.300s). Training skips a few such; repair or remove them.",
              n, all, s_of(all), ig_quote(quoted, first), reason);
}

static ig_status judge_copies(ig_quality *q) {
  size_t same = 0, groups = 0, near = 0, near_groups = 0, leaks = 0, near_leaks = 0, apart = 0, labels = 0,
         near_labels = 0;
  for (size_t i = 0; i < q->n_groups; i++) {
    const ig_quality_group *g = &q->groups[i];
    bool is_near = g->kind == IG_NEARLY_SAME, leaks_here = in_parts(q, g);
    *(is_near ? &near : &same) += g->n - 1;
    *(is_near ? &near_groups : &groups) += 1;
    *(is_near ? &near_leaks : &leaks) += leaks_here;
    *(is_near ? &near_labels : &labels) += g->labels_differ;
    apart += !leaks_here && held_out_apart(q, g);
  }
  if (leaks)
    IG_TRY(find(q, IG_SEVERITY_SERIOUS, "leak", leaks,
                "%zu picture%s in two parts: what is trained on is also tested on, so the test looks better than it "
                "is. Keep each picture in one part.",
                leaks, leaks == 1 ? " stands" : "s stand"));
  if (labels)
    IG_TRY(find(q, IG_SEVERITY_SERIOUS, "label_conflict", labels,
                "%zu picture%s under two labels: one of them is wrong, and no model can learn it. Decide and remove "
                "the other.",
                labels, labels == 1 ? " stands" : "s stand"));
  if (near_leaks)
    IG_TRY(find(q, IG_SEVERITY_CARE, "near_leak", near_leaks,
                "%zu group%s of nearly equal pictures stand%s in two parts: the test is easier than reality. Look at "
                "them; keep copies, and pictures of the same part, in one part (a column group in the split file does "
                "that).",
                near_leaks, s_of(near_leaks), near_leaks == 1 ? "s" : ""));
  if (near_labels)
    IG_TRY(find(q, IG_SEVERITY_CARE, "near_label_conflict", near_labels,
                "%zu group%s of nearly equal pictures ha%s different labels: look whether they are right.", near_labels,
                s_of(near_labels), near_labels == 1 ? "s" : "ve"));
  if (apart)
    IG_TRY(find(q, IG_SEVERITY_CARE, "held_out_apart", apart,
                "%zu group%s of equal or nearly equal pictures would be torn apart by the validation part that a "
                "training holds out by itself (this split and seed): the validation looks better than it is. Remove "
                "the copies, or give a split file with a column group.",
                apart, s_of(apart)));
  if (groups)
    IG_TRY(find(q, IG_SEVERITY_CARE, "duplicates", same,
                "%zu picture%s can go: %s exact cop%s of others (%zu group%s). Copies count double in training.", same,
                s_of(same), same == 1 ? "it is an" : "they are", same == 1 ? "y" : "ies", groups, s_of(groups)));
  if (near_groups)
    IG_TRY(find(q, IG_SEVERITY_NOTE, "near_duplicates", near,
                "%zu picture%s %s nearly equal to others, also mirrored or turned (%zu group%s).%s", near, s_of(near),
                near == 1 ? "is" : "are", near_groups, s_of(near_groups),
                near * 10 > q->n_readable
                    ? " That is so many that the pictures may be alike by nature (a fixed camera, "
                      "frames of a film): then only the parts matter."
                    : ""));
  if (q->n_torn)
    IG_TRY(find(q, IG_SEVERITY_SERIOUS, "group_in_two_parts", q->n_torn,
                "%zu group%s of the split file stand%s in two parts (first: %.100s): training refuses that. Put each "
                "group into one part.",
                q->n_torn, s_of(q->n_torn), q->n_torn == 1 ? "s" : "", q->torn[0].group));
  return IG_OK;
}

static ig_status judge_classes(ig_quality *q) {
  const ig_dataset *d = q->data;
  ig_status status = IG_OK;
  int64_t *n = NULL, *part = NULL;
  bool labelled = false;
  const bool several = d->task == IG_TASK_MULTILABEL;
  if (d->task == IG_TASK_REGRESS && d->targets)
    return find(q, IG_SEVERITY_NOTE, "numbers", (size_t)d->n_classes,
                "What is learned are numbers: there are no classes whose balance could be judged.");
  labelled = several && d->targets;
  for (size_t i = 0; i < d->n; i++)
    labelled |= d->samples[i].label >= 0;
  if (!labelled)
    return find(q, IG_SEVERITY_NOTE, "no_labels", d->n,
                "The pictures stand in no class folders: labels, parts and balance were not judged.");
  IG_TRY(ig_alloc_array((size_t)d->n_classes, sizeof *n, "class counts", &n));
  IG_GOTO(ig_alloc_array((size_t)d->n_classes, sizeof *part, "class counts", &part));
  ig_dataset_class_counts(d, IG_PART_ALL, n);
  int least = 0, most = 0, present = 0;
  size_t few = 0, absent = 0;
  for (int c = 0; c < d->n_classes; c++) {
    least = n[c] < n[least] ? c : least;
    most = n[c] > n[most] ? c : most;
    present += n[c] > 0;
    few += n[c] < FEW;
  }
  char quoted[IG_QUOTE_BYTES], other[IG_QUOTE_BYTES];
  if (present < 2 && !several)
    IG_GOTO(find(q, IG_SEVERITY_SERIOUS, "one_class", 1,
                 "All pictures are of one class (%s): there is nothing to tell apart. Expected one folder a class.",
                 ig_quote(quoted, d->classes[most])));
  for (int p = IG_PART_TRAIN; p < IG_N_PARTS; p++) {
    ig_dataset_class_counts(d, (ig_part)p, part);
    absent = 0;
    int first = -1;
    for (int c = 0; c < d->n_classes; c++)
      if (d->count[p] > 0 && part[c] == 0 && n[c] > 0) {
        absent++;
        first = first < 0 ? c : first;
      }
    if (absent)
      IG_GOTO(find(q, p == IG_PART_TRAIN ? IG_SEVERITY_SERIOUS : IG_SEVERITY_CARE, "class_not_in_part", absent,
                   "%zu of %d classes ha%s no picture in the %s part (first: %s).", absent, d->n_classes,
                   absent == 1 ? "s" : "ve", ig_part_name((ig_part)p), ig_quote(quoted, d->classes[first])));
  }
  if (few)
    IG_GOTO(
        find(q, IG_SEVERITY_CARE, "few_pictures", few,
             "%zu class%s ha%s fewer than %d pictures (fewest: %s, %lld): collect more, start from trained weights, "
             "and trust the interval of a result rather than its figure.",
             few, few == 1 ? "" : "es", few == 1 ? "s" : "ve", FEW, ig_quote(quoted, d->classes[least]),
             (long long)n[least]));
  if (present > 1 && n[most] >= RATIO_NOTE * n[least] && n[least] > 0)
    IG_GOTO(find(q, n[most] >= RATIO_CARE * n[least] ? IG_SEVERITY_CARE : IG_SEVERITY_NOTE, "imbalance",
                 (size_t)(n[most] / n[least]),
                 "Class %s has %lld picture%s, class %s %lld (%.1f times as many): look at the recall of each class, "
                 "not at accuracy alone; class_weights=balanced helps.",
                 ig_quote(quoted, d->classes[most]), (long long)n[most], s_of((size_t)n[most]),
                 ig_quote(other, d->classes[least]), (long long)n[least], (double)n[most] / (double)n[least]));
done:
  ig_free(n);
  ig_free(part);
  return status;
}

static ig_status judge_odd(ig_quality *q) {
  size_t n[IG_N_ODDITIES] = {0};
  for (size_t i = 0; i < q->n_odd; i++)
    n[q->odd[i].oddity]++;
  if (n[IG_ODD_CONSTANT])
    IG_TRY(find(q, IG_SEVERITY_CARE, "constant", n[IG_ODD_CONSTANT],
                "%zu picture%s %s practically one colour: there is nothing to see (a failed exposure, a closed cap?).",
                n[IG_ODD_CONSTANT], s_of(n[IG_ODD_CONSTANT]), n[IG_ODD_CONSTANT] == 1 ? "is" : "are"));
  size_t extreme = n[IG_ODD_BLACK] + n[IG_ODD_WHITE];
  if (extreme)
    IG_TRY(find(q, IG_SEVERITY_CARE, "extreme", extreme, "%zu picture%s %s nearly black (%zu) or nearly white (%zu).",
                extreme, s_of(extreme), extreme == 1 ? "is" : "are", n[IG_ODD_BLACK], n[IG_ODD_WHITE]));
  if (n[IG_ODD_CLIPPED])
    IG_TRY(find(q, IG_SEVERITY_NOTE, "clipped", n[IG_ODD_CLIPPED],
                "In %zu picture%s more than half of all values are at black or white: exposure?", n[IG_ODD_CLIPPED],
                s_of(n[IG_ODD_CLIPPED])));
  return IG_OK;
}

// ---- Properties, and whether one gives the label away ----
static bool has(const ig_quality_picture *p, const ig_quality_value *v) {
  switch (v->property) {
    case IG_PROPERTY_SIZE:
      return p->info.w == v->a && p->info.h == v->b;
    case IG_PROPERTY_CHANNELS:
      return p->info.channels == v->a;
    case IG_PROPERTY_BITS:
      return p->info.bits == v->a;
    default:
      return (int)p->info.format == v->a;
  }
}

// Share of labels right when each value of the property is answered by its commonest label, less that of always
// answering the commonest label. Only the MAX_VALUES most frequent values count, and of each answer the picture that it
// takes to know it does not: a value of one picture tells nothing.
static ig_status give_away(const ig_quality *q, const ig_quality_value *values, size_t n_values, double *gain) {
  enum { MAX_VALUES = 16 };
  const ig_dataset *d = q->data;
  int64_t *n;
  int64_t right = 0, all = 0, commonest = 0;
  *gain = 0;
  IG_TRY(ig_alloc_array((size_t)d->n_classes * (MAX_VALUES + 1), sizeof *n, "class counts", &n));
  n_values = n_values > MAX_VALUES ? MAX_VALUES : n_values;
  for (size_t i = 0; i < d->n; i++) {
    int32_t label = d->samples[i].label;
    if (label < 0 || q->pictures[i].reason)
      continue;
    n[(size_t)d->n_classes * MAX_VALUES + (size_t)label]++;
    all++;
    for (size_t v = 0; v < n_values; v++)
      if (has(&q->pictures[i], &values[v]))
        n[(size_t)d->n_classes * v + (size_t)label]++;
  }
  for (size_t v = 0; v <= MAX_VALUES; v++) {
    int64_t top = 0;
    for (int c = 0; c < d->n_classes; c++) {
      int64_t k = n[(size_t)d->n_classes * v + (size_t)c];
      top = k > top ? k : top;
    }
    top -= top > 0;
    if (v < MAX_VALUES)
      right += top;
    else
      commonest = top;
  }
  if (all > 0)
    *gain = (double)(right - commonest) / (double)all;
  ig_free(n);
  return IG_OK;
}

static ig_status judge_properties(ig_quality *q) {
  static const char *const codes[IG_N_PROPERTIES] = {"mixed_sizes", "mixed_channels", "mixed_bits", "mixed_formats"};
  static const char *const why[IG_N_PROPERTIES] = {
      "training scales all to one size, so that equal things appear at different scale",
      "grey and colour pictures look different to a model", "they may come from different cameras or conversions",
      "harmless as such, but a sign of different sources"};
  double low = INFINITY, high = 0;
  for (size_t i = 0; i < q->data->n; i++) {
    if (q->pictures[i].reason)
      continue;
    double ratio = (double)q->pictures[i].info.w / (double)q->pictures[i].info.h;
    low = fmin(low, ratio), high = fmax(high, ratio);
  }
  for (size_t from = 0, to; from < q->n_values; from = to) {
    const ig_quality_value *v = &q->values[from];
    char a[32], b[32];
    double gain;
    for (to = from; to < q->n_values && q->values[to].property == v->property; to++) {
    }
    if (to - from < 2)
      continue;
    IG_TRY(find(
        q, v->property == IG_PROPERTY_CHANNELS || v->property == IG_PROPERTY_BITS ? IG_SEVERITY_CARE : IG_SEVERITY_NOTE,
        codes[v->property], to - from, "%zu different %s%s (%s: %zu, %s: %zu%s): %s.", to - from,
        ig_property_name(v->property), v->property == IG_PROPERTY_SIZE || v->property == IG_PROPERTY_FORMAT ? "s" : "",
        ig_quality_value_text(a, v), v->n, ig_quality_value_text(b, v + 1), v[1].n, to - from > 2 ? ", ..." : "",
        why[v->property]));
    IG_TRY(give_away(q, v, to - from, &gain));
    if (gain >= 0.1)
      IG_TRY(find(q, IG_SEVERITY_CARE, "gives_label_away", to - from,
                  "The %s alone tells the label better than chance (%.0f points above always answering the commonest "
                  "class): a model may learn that instead of what is to be seen. Take all classes with the same camera "
                  "and settings.",
                  ig_property_name(v->property), 100 * gain));
  }
  if (high > 1.5 * low)
    IG_TRY(find(q, IG_SEVERITY_NOTE, "mixed_aspects", 2,
                "Width to height goes from %.2f to %.2f: where training scales whole pictures to a square, shapes are "
                "distorted differently. Cut or pad them alike.",
                low, high));
  return IG_OK;
}

// ---- Labels that a model contradicts ----
ig_status ig_quality_suspects(ig_quality *q, const float *logits, const uint64_t *samples, size_t n, int classes) {
  q->asked_model = true;
  return ig_find_suspects(q->data, logits, samples, n, classes, &q->suspects, &q->n_suspects);
}

static ig_status judge_labels(ig_quality *q) {
  size_t seen = 0;
  for (size_t i = 0; i < q->n_suspects; i++)
    seen += q->suspects[i].seen;
  if (q->asked_model && q->n_suspects)
    IG_TRY(find(q, IG_SEVERITY_CARE, "suspicious_labels", q->n_suspects,
                "The model is confident of another class than the label in %zu picture%s (%zu of them in the training "
                "part). Some are wrong labels, some are the model's mistakes: look at them, the surest first.",
                q->n_suspects, s_of(q->n_suspects), seen));
  if (q->asked_model && q->data->count[IG_PART_TRAIN] > 0)
    IG_TRY(find(
        q, IG_SEVERITY_NOTE, "labels_by_heart", q->data->count[IG_PART_TRAIN],
        "If the model was trained on this data, it has seen the labels of the training part and may know wrong "
        "ones by heart: an empty list does not prove those labels. Other parts are judged fairly.%s",
        q->data->val_was_given ? "" : " Which pictures it held out depends on split and seed: give those of the run."));
  return IG_OK;
}

ig_status ig_quality_judge(ig_quality *q) {
  IG_TRY(judge_files(q));
  IG_TRY(judge_copies(q));
  IG_TRY(judge_classes(q));
  IG_TRY(judge_odd(q));
  IG_TRY(judge_properties(q));
  IG_TRY(judge_labels(q));
  // Stable: few findings, and the order within a severity is the order above.
  for (size_t i = 1; i < q->n_findings; i++) {
    ig_quality_finding f = q->findings[i];
    size_t k = i;
    for (; k > 0 && q->findings[k - 1].severity > f.severity; k--)
      q->findings[k] = q->findings[k - 1];
    q->findings[k] = f;
  }
  return IG_OK;
}
