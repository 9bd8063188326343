// The quality report's scan: every picture read once, equal ones grouped, properties counted. Rule: see quality.h.
#include "runtime/data/quality.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/cpu.h"
#include "runtime/base/mem.h"
#include "runtime/base/text.h"
#include "runtime/data/quality_internal.h"

enum { EXTREME = 8, FLAT = 16, CLIP_LOW = 2, CLIP_HIGH = 253 };

const char *ig_quality_turn_name(int turn) {
  static const char *const names[IG_QUALITY_TURNS] = {"as it is",
                                                      "mirrored left-right",
                                                      "mirrored upside down",
                                                      "turned by 180 degrees",
                                                      "mirrored across the diagonal",
                                                      "turned clockwise by 90 degrees",
                                                      "turned anticlockwise by 90 degrees",
                                                      "mirrored across the other diagonal"};
  return names[turn & (IG_QUALITY_TURNS - 1)];
}

const char *ig_likeness_name(ig_likeness likeness) {
  static const char *const names[] = {"same file", "same pixels", "nearly the same"};
  return (unsigned)likeness <= IG_NEARLY_SAME ? names[likeness] : "unknown";
}

const char *ig_quality_classes_noun(const ig_dataset *d) {
  const unsigned n = (unsigned)d->n_classes;
  return d->task == IG_TASK_REGRESS      ? ig_plural(n, "number", "numbers")
         : d->task == IG_TASK_MULTILABEL ? ig_plural(n, "label", "labels")
                                         : ig_plural(n, "class", "classes");
}

const char *ig_oddity_name(ig_oddity oddity) {
  static const char *const names[IG_N_ODDITIES] = {"constant", "nearly black", "nearly white", "clipped"};
  return (unsigned)oddity < IG_N_ODDITIES ? names[oddity] : "unknown";
}

const char *ig_property_name(ig_property property) {
  static const char *const names[IG_N_PROPERTIES] = {"size", "channels", "bits", "format"};
  return (unsigned)property < IG_N_PROPERTIES ? names[property] : "unknown";
}

const char *ig_quality_value_text(char out[32], const ig_quality_value *v) {
  switch (v->property) {
    case IG_PROPERTY_SIZE:
      snprintf(out, 32, "%d x %d", v->a, v->b);
      break;
    case IG_PROPERTY_FORMAT:
      snprintf(out, 32, "%s",
               v->a == IG_IMAGE_N_FORMATS ? "CIFAR record" : ig_image_format_name((ig_image_format)v->a));
      break;
    case IG_PROPERTY_CHANNELS:
      snprintf(out, 32, "%s", v->a == 1 ? "grey" : v->a == 2 ? "grey + alpha" : v->a == 3 ? "colour" : "4 channels");
      break;
    default:
      snprintf(out, 32, "%d %s", v->a, ig_plural((unsigned)v->a, "bit", "bits"));
  }
  return out;
}

void ig_quality_skip(void *quality, const char *name, const char *reason) {
  ig_quality *q = quality;
  ig_quality_skipped s = {0};
  if (q->pending != IG_OK)
    return;
  q->pending = ig_grow(&q->skipped, &q->skipped_capacity, q->n_skipped, q->n_skipped + 1, sizeof s, "skipped files");
  if (q->pending == IG_OK)
    q->pending = ig_strdup(name, &s.name);
  if (q->pending == IG_OK)
    q->pending = ig_strdup(reason, &s.reason);
  if (q->pending == IG_OK) {
    q->skipped[q->n_skipped++] = s;
  } else {
    ig_free(s.name);
    ig_free(s.reason);
  }
}

typedef struct scan {
  const ig_quality_options *o;
  ig_quality *q;
  quality_marks *marks;
} scan;

// Mean, contrast and clipping over all samples of the decoded picture.
static void measure(const ig_image *m, ig_quality_picture *p) {
  size_t pixels = (size_t)m->w * (size_t)m->h;
  uint64_t sum[3] = {0}, squares[3] = {0}, dark = 0, light = 0;
  for (size_t i = 0; i < pixels; i++)
    for (size_t c = 0; c < 3; c++) {
      unsigned v = m->data[3 * i + c];
      sum[c] += v;
      squares[c] += v * v;
      dark += v <= CLIP_LOW;
      light += v >= CLIP_HIGH;
    }
  double n = (double)pixels, mean = 0, variance = 0;
  for (int c = 0; c < 3; c++) {
    double one = (double)sum[c] / n;
    mean += one / 3;
    variance += ((double)squares[c] / n - one * one) / 3;
  }
  p->mean = (float)mean;
  p->contrast = (float)sqrt(variance > 0 ? variance : 0);
  p->dark = (float)((double)dark / (3 * n));
  p->light = (float)((double)light / (3 * n));
}

static ig_status scan_one(void *shared, quality_work *w, size_t i) {
  scan *s = shared;
  ig_quality_picture *p = &s->q->pictures[i];
  quality_marks *m = &s->marks[i];
  ig_status status = ig_quality_read(s->o->data, i, w, m->bytes, &p->info);
  if (status == IG_ERR_MEMORY || status == IG_ERR_INTERNAL)
    return status;
  if (status != IG_OK)
    return ig_strdup(ig_error_message(), &p->reason);
  measure(&w->image, p);
  IG_TRY(ig_quality_pixels(w, m->pixels));
  return ig_quality_mark(w, m);
}

// ---- Groups ----
typedef struct ranked {
  const quality_marks *marks;
  uint32_t sample;
} ranked;

static int by_pixels(const void *pa, const void *pb) {
  const ranked *a = pa, *b = pb;
  int order = memcmp(a->marks[a->sample].pixels, b->marks[b->sample].pixels, 32);
  return order ? order : (a->sample > b->sample) - (a->sample < b->sample);
}

// Whether two pictures are labelled differently. Numbers of pictures that only resemble each other may well differ.
static bool labels_differ(const ig_dataset *d, ig_likeness kind, size_t a, size_t b) {
  size_t k = (size_t)d->n_classes;
  if (!d->targets)
    return d->samples[a].label != d->samples[b].label;
  if (d->task == IG_TASK_REGRESS && kind == IG_NEARLY_SAME)
    return false;
  for (size_t c = 0; c < k; c++)
    if (d->targets[a * k + c] != d->targets[b * k + c])
      return true;
  return false;
}

static ig_status add_member(ig_quality *q, ig_quality_member m) {
  IG_TRY(ig_grow(&q->members, &q->members_capacity, q->n_members, q->n_members + 1, sizeof m, "equal pictures"));
  q->members[q->n_members++] = m;
  return IG_OK;
}

// Closes the group of the members from `first` on.
static ig_status add_group(ig_quality *q, ig_likeness kind, size_t first) {
  ig_quality_group g = {.kind = kind, .first = first, .n = q->n_members - first};
  const ig_sample *s = q->data->samples;
  for (size_t i = first; i < q->n_members; i++) {
    g.parts |= 1u << s[q->members[i].sample].part;
    g.labels_differ |= labels_differ(q->data, kind, q->members[i].sample, q->members[first].sample);
    g.difference = i == first ? q->members[i].difference : fminf(g.difference, q->members[i].difference);
  }
  IG_TRY(ig_grow(&q->groups, &q->groups_capacity, q->n_groups, q->n_groups + 1, sizeof g, "equal pictures"));
  q->groups[q->n_groups++] = g;
  return IG_OK;
}

// Pictures with the same pixels. twin[i]: the first sample with i's pixels; use: those that are such a first and can be
// compared, in order.
static ig_status group_equal(ig_quality *q, const quality_marks *marks, uint32_t *twin, uint32_t *use, size_t *n_use) {
  ig_status status = IG_OK;
  ranked *order;
  size_t n = 0;
  IG_TRY(ig_alloc_array(q->data->n, sizeof *order, "the order of pictures", &order));
  for (size_t i = 0; i < q->data->n; i++) {
    twin[i] = (uint32_t)i;
    if (!q->pictures[i].reason)
      order[n++] = (ranked){marks, (uint32_t)i};
  }
  if (n)
    qsort(order, n, sizeof *order, by_pixels);
  for (size_t from = 0, to; from < n; from = to) {
    const quality_marks *first = &marks[order[from].sample];
    ig_likeness kind = IG_SAME_BYTES;
    size_t at = q->n_members;
    for (to = from + 1; to < n && !memcmp(first->pixels, marks[order[to].sample].pixels, 32); to++) {
      twin[order[to].sample] = order[from].sample;
      if (memcmp(first->bytes, marks[order[to].sample].bytes, 32))
        kind = IG_SAME_PIXELS;
    }
    if (to == from + 1)
      continue;
    for (size_t i = from; i < to; i++)
      IG_GOTO(add_member(q, (ig_quality_member){order[i].sample, order[i == from ? from + 1 : from].sample, 0, 0}));
    IG_GOTO(add_group(q, kind, at));
  }
  *n_use = 0;
  for (size_t i = 0; i < q->data->n; i++)
    if (!q->pictures[i].reason && twin[i] == i && !marks[i].plain)
      use[(*n_use)++] = (uint32_t)i;
done:
  ig_free(order);
  return status;
}

static uint32_t root(uint32_t *up, uint32_t i) {
  while (up[i] != i)
    i = up[i] = up[up[i]];
  return i;
}

// The turn that undoes `turn`: mirrorings undo themselves; with a transposition the two mirrorings change places.
static int inverse(int turn) { return turn & 4 ? 4 | (turn & 1) << 1 | (turn & 2) >> 1 : turn; }

typedef struct linked {
  uint32_t group, sample, first;  // first: the twin that was compared
} linked;

static int by_link(const void *pa, const void *pb) {
  const linked *a = pa, *b = pb;
  if (a->group != b->group)
    return a->group < b->group ? -1 : 1;
  return (a->sample > b->sample) - (a->sample < b->sample);
}

// Groups of nearly equal pictures with all their twins, from pairs sorted by difference.
static ig_status group_near(ig_quality *q, const quality_pair *pairs, size_t n_pairs, const uint32_t *twin) {
  ig_status status = IG_OK;
  uint32_t *up = NULL;
  const quality_pair **best = NULL;  // of each compared picture, the pair with the smallest difference
  linked *order = NULL;
  size_t n = 0, samples = q->data->n;
  if (n_pairs == 0)
    return IG_OK;
  IG_GOTO(ig_alloc_array(samples, sizeof *up, "groups of pictures", &up));
  IG_GOTO(ig_alloc_array(samples, sizeof *best, "groups of pictures", &best));
  IG_GOTO(ig_alloc_array(samples, sizeof *order, "groups of pictures", &order));
  for (size_t i = 0; i < samples; i++)
    up[i] = (uint32_t)i;
  for (size_t k = 0; k < n_pairs; k++) {
    uint32_t a = root(up, pairs[k].a), b = root(up, pairs[k].b);
    up[a < b ? b : a] = a < b ? a : b;
    if (!best[pairs[k].a])
      best[pairs[k].a] = &pairs[k];
    if (!best[pairs[k].b])
      best[pairs[k].b] = &pairs[k];
  }
  for (size_t i = 0; i < samples; i++)
    if (best[twin[i]])
      order[n++] = (linked){root(up, twin[i]), (uint32_t)i, twin[i]};
  qsort(order, n, sizeof *order, by_link);
  for (size_t from = 0, to; from < n; from = to) {
    size_t at = q->n_members;
    for (to = from; to < n && order[to].group == order[from].group; to++) {
      const quality_pair *p = best[order[to].first];
      ig_quality_member m = {order[to].sample, p->a, p->turn, p->difference};
      if (order[to].first == p->a) {
        m.like = p->b;
        m.turn = inverse(p->turn);
      }
      IG_GOTO(add_member(q, m));
    }
    IG_GOTO(add_group(q, IG_NEARLY_SAME, at));
  }
done:
  ig_free(up);
  ig_free(best);
  ig_free(order);
  return status;
}

static int by_weight(const void *pa, const void *pb) {
  const ig_quality_group *a = pa, *b = pb;
  bool near_a = a->kind == IG_NEARLY_SAME, near_b = b->kind == IG_NEARLY_SAME;
  if (near_a != near_b)
    return (int)near_a - (int)near_b;
  // What spoils a result first: two parts, two labels.
  int bad_a = 2 * ((a->parts & (a->parts - 1)) != 0) + a->labels_differ;
  int bad_b = 2 * ((b->parts & (b->parts - 1)) != 0) + b->labels_differ;
  if (bad_a != bad_b)
    return bad_b - bad_a;
  if (a->difference < b->difference || a->difference > b->difference)
    return a->difference < b->difference ? -1 : 1;
  if (a->n != b->n)
    return a->n > b->n ? -1 : 1;
  return (a->first > b->first) - (a->first < b->first);
}

// ---- Properties ----
static void values_of(const ig_quality_picture *p, ig_quality_value out[IG_N_PROPERTIES]) {
  out[IG_PROPERTY_SIZE] = (ig_quality_value){IG_PROPERTY_SIZE, p->info.w, p->info.h, 1};
  out[IG_PROPERTY_CHANNELS] = (ig_quality_value){IG_PROPERTY_CHANNELS, p->info.channels, 0, 1};
  out[IG_PROPERTY_BITS] = (ig_quality_value){IG_PROPERTY_BITS, p->info.bits, 0, 1};
  out[IG_PROPERTY_FORMAT] = (ig_quality_value){IG_PROPERTY_FORMAT, (int)p->info.format, 0, 1};
}

static int by_value(const void *pa, const void *pb) {
  const ig_quality_value *a = pa, *b = pb;
  if (a->property != b->property)
    return (int)a->property - (int)b->property;
  return a->a != b->a ? (a->a > b->a) - (a->a < b->a) : (a->b > b->b) - (a->b < b->b);
}

static int by_frequency(const void *pa, const void *pb) {
  const ig_quality_value *a = pa, *b = pb;
  if (a->property == b->property && a->n != b->n)
    return a->n > b->n ? -1 : 1;
  return by_value(pa, pb);
}

static ig_status count_values(ig_quality *q) {
  IG_TRY(ig_grow(&q->values, &q->values_capacity, 0, q->n_readable * IG_N_PROPERTIES + 1, sizeof *q->values,
                 "properties of pictures"));
  size_t n = 0, kept = 0;
  for (size_t i = 0; i < q->data->n; i++)
    if (!q->pictures[i].reason) {
      values_of(&q->pictures[i], q->values + n);
      n += IG_N_PROPERTIES;
    }
  if (n)
    qsort(q->values, n, sizeof *q->values, by_value);
  for (size_t i = 0; i < n; i++)
    if (kept && by_value(&q->values[kept - 1], &q->values[i]) == 0)
      q->values[kept - 1].n++;
    else
      q->values[kept++] = q->values[i];
  q->n_values = kept;
  if (kept)
    qsort(q->values, kept, sizeof *q->values, by_frequency);
  return IG_OK;
}

static ig_status add_odd(ig_quality *q, size_t sample, ig_oddity oddity) {
  IG_TRY(ig_grow(&q->odd, &q->odd_capacity, q->n_odd, q->n_odd + 1, sizeof *q->odd, "odd pictures"));
  q->odd[q->n_odd++] = (ig_quality_odd){sample, oddity};
  return IG_OK;
}

// Clipping counts only where it is not the set's habit (binary pictures, white backgrounds): in at most a tenth.
static ig_status find_odd(ig_quality *q) {
  size_t clipped = 0;
  for (int pass = 0; pass < IG_N_ODDITIES; pass++)
    for (size_t i = 0; i < q->data->n; i++) {
      const ig_quality_picture *p = &q->pictures[i];
      if (p->reason)
        continue;
      bool constant = (double)p->contrast<IG_QUALITY_PLAIN, clips = p->dark + p->light> 0.5f;
      // A black picture with one bright spot has something to show; without contrast it has not.
      bool flat = p->contrast < FLAT;
      ig_oddity is = constant                                   ? IG_ODD_CONSTANT
                     : flat && p->mean < EXTREME                ? IG_ODD_BLACK
                     : flat && p->mean > (float)(255 - EXTREME) ? IG_ODD_WHITE
                     : clips                                    ? IG_ODD_CLIPPED
                                                                : IG_N_ODDITIES;
      clipped += pass == 0 && is == IG_ODD_CLIPPED;
      if ((int)is == pass && (is != IG_ODD_CLIPPED || clipped * 10 <= q->n_readable))
        IG_TRY(add_odd(q, i, is));
    }
  return IG_OK;
}

// ---- Groups of the user's (part or lot) ----
static int by_group(const void *pa, const void *pb) {
  const ig_sample *a = *(const ig_sample *const *)pa, *b = *(const ig_sample *const *)pb;
  int order = strcmp(a->group, b->group);
  return order ? order : (a > b) - (a < b);
}

static ig_status find_torn(ig_quality *q) {
  ig_status status = IG_OK;
  const ig_sample **order;
  size_t n = 0;
  IG_TRY(ig_alloc_array(q->data->n, sizeof *order, "groups", &order));
  for (size_t i = 0; i < q->data->n; i++)
    if (q->data->samples[i].group)
      order[n++] = &q->data->samples[i];
  if (n)
    qsort(order, n, sizeof *order, by_group);
  for (size_t from = 0, to; from < n; from = to) {
    ig_quality_torn t = {.group = order[from]->group};
    for (to = from; to < n && !strcmp(order[to]->group, t.group); to++)
      t.count[order[to]->part]++;
    int parts = 0;
    for (int p = 0; p < IG_N_PARTS; p++)
      parts += t.count[p] > 0;
    if (parts < 2)
      continue;
    IG_GOTO(ig_grow(&q->torn, &q->torn_capacity, q->n_torn, q->n_torn + 1, sizeof t, "groups"));
    q->torn[q->n_torn++] = t;
  }
done:
  ig_free(order);
  return status;
}

ig_status ig_quality_scan(const ig_quality_options *o, ig_quality *q) {
  ig_status status = IG_OK;
  scan s = {.o = o, .q = q};
  uint32_t *twin = NULL, *use = NULL;
  quality_pair *pairs = NULL;
  size_t n = o->data->n, n_use, n_pairs;
  uint64_t start = ig_now_ns();
  q->data = o->data;
  IG_TRY(q->pending);
  if (n >= UINT32_MAX)
    return ig_fail(IG_ERR_DATA, "%s holds %zu pictures; at most %u can be compared", o->data->path, n, UINT32_MAX - 1);
  IG_GOTO(ig_alloc_array(n, sizeof *q->pictures, "what is known of the pictures", &q->pictures));
  IG_GOTO(ig_alloc_array(n, sizeof *s.marks, "marks of pictures", &s.marks));
  IG_GOTO(ig_alloc_array(n, sizeof *twin, "twins", &twin));
  IG_GOTO(ig_alloc_array(n, sizeof *use, "pictures to compare", &use));
  IG_GOTO(ig_quality_each(o, "reading", n, &s, scan_one));
  for (size_t i = 0; i < n; i++)
    q->n_readable += q->pictures[i].reason == NULL;
  IG_GOTO(group_equal(q, s.marks, twin, use, &n_use));
  IG_GOTO(ig_quality_near(o, s.marks, use, n_use, &pairs, &n_pairs));
  IG_GOTO(group_near(q, pairs, n_pairs, twin));
  if (q->n_groups)
    qsort(q->groups, q->n_groups, sizeof *q->groups, by_weight);
  IG_GOTO(count_values(q));
  IG_GOTO(find_odd(q));
  IG_GOTO(find_torn(q));
  ig_error_clear();  // the messages of unreadable pictures are theirs
  q->seconds = (double)(ig_now_ns() - start) * 1e-9;
done:
  ig_free(s.marks);
  ig_free(twin);
  ig_free(use);
  ig_free(pairs);
  return status;
}

void ig_quality_fini(ig_quality *q) {
  for (size_t i = 0; q->pictures && i < q->data->n; i++)
    ig_free(q->pictures[i].reason);
  for (size_t i = 0; i < q->n_findings; i++)
    ig_free(q->findings[i].text);
  for (size_t i = 0; i < q->n_skipped; i++) {
    ig_free(q->skipped[i].name);
    ig_free(q->skipped[i].reason);
  }
  ig_free(q->pictures);
  ig_free(q->findings);
  ig_free(q->members);
  ig_free(q->groups);
  ig_free(q->odd);
  ig_free(q->values);
  ig_free(q->skipped);
  ig_free(q->torn);
  ig_free(q->suspects);
  *q = (ig_quality){0};
}
