// Holds a validation part out of the training samples. Rule: which samples move is a function of seed, stratum (or
// group) and the number of samples only, and nothing but training samples ever moves.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/mem.h"
#include "runtime/base/rng.h"
#include "runtime/base/text.h"
#include "runtime/data/dataset_internal.h"

// Training items of one stratum are `rows[0..n)`: at least one of two stays, at least one moves.
static void hold_out_class(ig_builder *b, const size_t *rows, size_t n, double fraction) {
  size_t take = (size_t)floor(fraction * (double)n + 0.5);
  if (n < 2)
    return;
  take = take < 1 ? 1 : take > n - 1 ? n - 1 : take;
  uint64_t key = ig_hash_mix(b->options->seed, ig_hash_str("hold out"));
  key = ig_hash_mix(key, (uint64_t)b->items[rows[0]].stratum);
  for (size_t i = 0; i < take; i++)
    b->items[rows[ig_permute(key, n, i)]].part = IG_PART_VAL;
}

typedef struct member {
  const char *group;
  size_t item;
} member;

static int by_group(const void *pa, const void *pb) {
  const member *a = pa, *b = pb;
  int order = strcmp(a->group, b->group);
  return order ? order : (a->item > b->item) - (a->item < b->item);
}

// Whole groups in a drawn order, as long as no stratum has to give more than its share (at least one sample) or all.
static ig_status hold_out_groups(ig_builder *b, member *m, size_t n, double fraction) {
  ig_status status = IG_OK;
  size_t *starts = NULL, *total = NULL, *moved = NULL, *wanted = NULL, n_groups = 0;
  size_t classes = (size_t)b->n_strata;
  qsort(m, n, sizeof *m, by_group);
  IG_GOTO(ig_alloc_array(n + 1, sizeof *starts, "groups", &starts));
  IG_GOTO(ig_alloc_array(classes, sizeof *total, "groups", &total));
  IG_GOTO(ig_alloc_array(classes, sizeof *moved, "groups", &moved));
  IG_GOTO(ig_alloc_array(classes, sizeof *wanted, "groups", &wanted));
  for (size_t i = 0; i < n; i++) {
    if (i == 0 || strcmp(m[i].group, m[i - 1].group))
      starts[n_groups++] = i;
    total[b->items[m[i].item].stratum]++;
  }
  starts[n_groups] = n;
  uint64_t key = ig_hash_mix(b->options->seed, ig_hash_str("hold out groups"));
  for (size_t k = 0; k < n_groups; k++) {
    size_t g = ig_permute(key, n_groups, k);
    bool useful = false, fits = true;
    for (size_t i = starts[g]; i < starts[g + 1]; i++)
      wanted[b->items[m[i].item].stratum]++;
    for (size_t i = starts[g]; i < starts[g + 1]; i++) {
      size_t c = (size_t)b->items[m[i].item].stratum;
      double share = fraction * (double)total[c] < 1 ? 1 : fraction * (double)total[c];
      useful |= (double)moved[c] < share;
      // A group may overshoot the share by half of itself, but must leave training samples.
      fits &= moved[c] + wanted[c] < total[c] && ((double)moved[c] + 0.5 * (double)wanted[c] <= share || !moved[c]);
    }
    for (size_t i = starts[g]; i < starts[g + 1]; i++) {
      size_t c = (size_t)b->items[m[i].item].stratum;
      if (useful && fits) {
        b->items[m[i].item].part = IG_PART_VAL;
        moved[c]++;
      }
      wanted[c] = 0;
    }
  }
done:
  ig_free(starts);
  ig_free(total);
  ig_free(moved);
  ig_free(wanted);
  return status;
}

// Classes of which no sample could be spared: what is measured says nothing of them.
static ig_status tell_unmeasured(const ig_builder *b) {
  const ig_dataset *d = b->d;
  char q[IG_QUOTE_BYTES];
  bool *held;
  int missing = 0, first = 0;
  size_t n_held = 0;
  if (d->task != IG_TASK_CLASSIFY)
    return IG_OK;
  IG_TRY(ig_alloc_array((size_t)d->n_classes, sizeof *held, "a split", &held));
  for (size_t i = 0; i < b->n; i++)
    if (b->items[i].part == IG_PART_VAL && b->items[i].stratum >= 0) {
      held[b->items[i].stratum] = true;
      n_held++;
    }
  for (int c = d->n_classes - 1; c >= 0; c--)
    if (!held[c]) {
      missing++;
      first = c;
    }
  ig_free(held);
  if (n_held && missing)  // of nothing held out the trainer tells
    ig_builder_warn(b,
                    "the held-out validation part lacks %d of the %d classes (the first is %s), which have too few "
                    "samples or groups: what is measured says nothing of them",
                    missing, d->n_classes, ig_quote(q, d->classes[first]));
  return IG_OK;
}

ig_status ig_hold_out(ig_builder *b, double fraction) {
  ig_status status = IG_OK;
  member *m = NULL;
  size_t *rows = NULL, *offset = NULL, n = 0;
  size_t classes = (size_t)b->n_strata;
  bool grouped = false;
  for (size_t i = 0; i < b->n; i++)
    if (b->items[i].part == IG_PART_TRAIN && b->items[i].stratum >= 0) {
      n++;
      grouped |= b->items[i].sample.group != NULL;
    }
  if (grouped) {
    IG_GOTO(ig_alloc_array(n, sizeof *m, "groups", &m));
    size_t k = 0;
    for (size_t i = 0; i < b->n; i++) {
      const ig_sample *s = &b->items[i].sample;
      if (b->items[i].part == IG_PART_TRAIN && b->items[i].stratum >= 0)
        m[k++] = (member){s->group ? s->group : s->name, i};  // alone in its group
    }
    IG_GOTO(hold_out_groups(b, m, n, fraction));
    goto done;
  }
  // Rows by stratum, in order.
  IG_GOTO(ig_alloc_array(n, sizeof *rows, "a split", &rows));
  IG_GOTO(ig_alloc_array(classes + 1, sizeof *offset, "a split", &offset));
  for (size_t i = 0; i < b->n; i++)
    if (b->items[i].part == IG_PART_TRAIN && b->items[i].stratum >= 0)
      offset[b->items[i].stratum + 1]++;
  for (size_t c = 0; c < classes; c++)
    offset[c + 1] += offset[c];
  for (size_t i = 0; i < b->n; i++)
    if (b->items[i].part == IG_PART_TRAIN && b->items[i].stratum >= 0)
      rows[offset[b->items[i].stratum]++] = i;
  for (size_t c = 0, from = 0; c < classes; from = offset[c++])
    hold_out_class(b, rows + from, offset[c] - from, fraction);
done:
  ig_free(m);
  ig_free(rows);
  ig_free(offset);
  return status == IG_OK ? tell_unmeasured(b) : status;
}

ig_status ig_check_groups(const ig_builder *b, const char *csv, int column) {
  char q[IG_QUOTE_BYTES], place[32] = "";
  ig_status status = IG_OK;
  member *m;
  size_t n = 0;
  IG_TRY(ig_alloc_array(b->n, sizeof *m, "groups", &m));
  for (size_t i = 0; i < b->n; i++)
    if (b->items[i].sample.group)
      m[n++] = (member){b->items[i].sample.group, i};
  if (n)
    qsort(m, n, sizeof *m, by_group);
  if (column >= 0)
    snprintf(place, sizeof place, ":%d", column + 1);
  for (size_t i = 1; i < n && status == IG_OK; i++) {
    const ig_candidate *item = &b->items[m[i].item], *other = &b->items[m[i - 1].item];
    if (strcmp(m[i].group, m[i - 1].group) || item->part == other->part)
      continue;
    status = ig_fail(IG_ERR_DATA,
                     "%s:%zu%s: group %s is in the %s part here and in the %s part in row %zu%s%s; a group must not "
                     "stand in two parts",
                     csv ? csv : item->sample.path, item->row, place, ig_quote(q, m[i].group),
                     item->part == IG_PART_NONE ? "training" : ig_part_name((ig_part)item->part),
                     other->part == IG_PART_NONE ? "training" : ig_part_name((ig_part)other->part), other->row,
                     csv ? "" : " of ", csv ? "" : other->sample.path);
  }
  ig_free(m);
  return status;
}
