// Labels that a model contradicts, of pictures and of texts. Rule: see ig_find_suspects in quality.h.
#include <math.h>
#include <stdlib.h>

#include "runtime/base/mem.h"
#include "runtime/data/quality.h"

enum { MIN_THRESHOLD = 5 };

static int by_certainty(const void *pa, const void *pb) {
  const ig_quality_suspect *a = pa, *b = pb;
  float x = a->p_said - a->p_label, y = b->p_said - b->p_label;
  if (x > y || x < y)
    return x > y ? -1 : 1;
  return (a->sample > b->sample) - (a->sample < b->sample);
}

static void softmax(const float *logits, int classes, double *p) {
  double largest = (double)logits[0], sum = 0;
  for (int c = 1; c < classes; c++)
    largest = fmax(largest, (double)logits[c]);
  for (int c = 0; c < classes; c++)
    sum += p[c] = exp((double)logits[c] - largest);
  for (int c = 0; c < classes; c++)
    p[c] /= sum;
}

// Means of the label's probability, of each class: of unseen samples, then of seen ones.
typedef struct thresholds {
  double *sum;
  size_t *count;
} thresholds;

// Few samples of a class give no mean to go by: half is asked for.
static double threshold(const thresholds *t, size_t at) {
  return t->count[at] >= MIN_THRESHOLD ? t->sum[at] / (double)t->count[at] : 0.5;
}

ig_status ig_find_suspects(const ig_dataset *d, const float *logits, const uint64_t *samples, size_t n, int classes,
                           ig_quality_suspect **out, size_t *n_out) {
  ig_status status = IG_OK;
  double *p = NULL;
  thresholds t = {0};
  size_t capacity = 0, k = (size_t)classes;
  *out = NULL;
  *n_out = 0;
  IG_GOTO(ig_alloc_array(k, sizeof *p, "probabilities", &p));
  IG_GOTO(ig_alloc_array(2 * k, sizeof *t.sum, "thresholds", &t.sum));
  IG_GOTO(ig_alloc_array(2 * k, sizeof *t.count, "thresholds", &t.count));
  for (size_t i = 0; i < n; i++) {
    const ig_sample *x = &d->samples[samples[i]];
    if (x->label < 0 || x->label >= classes)
      continue;
    softmax(logits + i * k, classes, p);
    size_t at = (x->part == IG_PART_TRAIN ? k : 0) + (size_t)x->label;
    t.sum[at] += p[x->label];
    t.count[at]++;
  }
  for (size_t i = 0; i < n; i++) {
    const ig_sample *x = &d->samples[samples[i]];
    const bool seen = x->part == IG_PART_TRAIN;
    int said = -1;
    if (x->label < 0 || x->label >= classes)
      continue;
    softmax(logits + i * k, classes, p);
    for (int c = 0; c < classes; c++)
      if (p[c] >= threshold(&t, (seen ? k : 0) + (size_t)c) && (said < 0 || p[c] > p[said]))
        said = c;
    if (said < 0 || said == x->label || p[said] <= p[x->label])
      continue;
    IG_GOTO(ig_grow(out, &capacity, *n_out, *n_out + 1, sizeof **out, "suspicious labels"));
    (*out)[(*n_out)++] = (ig_quality_suspect){(size_t)samples[i], said, (float)p[x->label], (float)p[said], seen};
  }
  if (*n_out)
    qsort(*out, *n_out, sizeof **out, by_certainty);
done:
  ig_free(p);
  ig_free(t.sum);
  ig_free(t.count);
  return status;
}
