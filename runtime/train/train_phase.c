// Where a run is: its epoch, and of pre-training in two phases the lengths of texts (Devlin et al. 2018: most steps at
// 128 tokens, the last at 512). Rule: the phase is a function of the position in the training order and of the options,
// so that a resume, or a return to a checkpoint, finds the same batches.
#include <math.h>

#include "runtime/base/text.h"
#include "runtime/data/mlm.h"
#include "runtime/data/text_batch.h"
#include "runtime/train/trainer_internal.h"

// The position from which a run of so many steps takes its samples from o->second; INT64_MAX without.
static int64_t switch_position(const ig_train_options *o, int64_t total_steps) {
  if (!o->second)
    return INT64_MAX;
  return (total_steps - (int64_t)llround(o->second_share * (double)total_steps)) * o->batch;
}

ig_status ig_trainer_set_phases(ig_trainer *t) {
  const ig_train_options *o = t->o;
  t->switch_position = switch_position(o, t->total_steps);
  if (!o->second)
    return IG_OK;
  t->n_second = (int64_t)ig_mlm_count(o->second, IG_PART_TRAIN);
  if (t->switch_position <= 0 || t->switch_position >= t->total_steps * o->batch)
    return ig_fail(IG_ERR_USAGE, "phase2=%g of %lld %s leaves no step for one of the two phases", o->second_share,
                   (long long)t->total_steps, ig_plural((unsigned long long)t->total_steps, "step", "steps"));
  return t->n_second >= o->batch
             ? IG_OK
             : ig_fail(IG_ERR_DATA, "%s: %lld training %s of max_length2 %s fewer than batch=%d", o->data->path,
                       (long long)t->n_second, ig_plural((unsigned long long)t->n_second, "window", "windows"),
                       ig_plural((unsigned long long)t->n_second, "is", "are"), o->batch);
}

ig_status ig_trainer_check_phases(const ig_trainer *t, int64_t stored_steps, int64_t position) {
  const int64_t before = switch_position(t->o, stored_steps), now = t->switch_position;
  if (before == now || position <= (before < now ? before : now))
    return IG_OK;
  return ig_fail(IG_ERR_MISMATCH,
                 "with %lld %s in place of %lld the second phase (max_length2) would begin at another step, which "
                 "this run has passed; keep the number of steps, or start a new run with weights=",
                 (long long)t->total_steps, ig_plural((unsigned long long)t->total_steps, "step", "steps"),
                 (long long)stored_steps);
}

int ig_trainer_phase(const ig_trainer *t) { return t->position >= t->switch_position; }

static int64_t epoch_at(const ig_trainer *t, int64_t position) {
  if (position < t->switch_position)
    return position / t->n_train;
  return (t->switch_position + t->n_train - 1) / t->n_train + (position - t->switch_position) / t->n_second;
}

int64_t ig_trainer_epoch(const ig_trainer *t) { return epoch_at(t, t->position); }

int64_t ig_trainer_epochs(const ig_trainer *t) {
  const int64_t epochs = epoch_at(t, t->total_steps * t->o->batch);
  return epochs > 0 ? epochs : 1;
}

ig_status ig_trainer_ladder(ig_trainer *t) {
  const ig_train_options *o = t->o;
  for (int phase = 0; phase < (o->second ? 2 : 1); phase++) {
    int64_t capacities[IG_MAX_RUNGS] = {0};
    int n = 1;
    if (phase)
      IG_TRY(ig_mlm_ladder(o->second, IG_PART_TRAIN, t->micro, o->session.seed, capacities, &n));
    else if (o->session.model->build_text)
      IG_TRY(ig_text_ladder(o->data, IG_PART_TRAIN, t->micro, o->session.seed, capacities, &n));
    for (int i = 0; i < n; i++)
      t->rungs[t->n_rungs + i] = (ig_rung){.capacity = capacities[i],
                                           .masked = phase ? ig_mlm_masked_rows(o->second, t->micro, capacities[i])
                                                           : ig_text_masked_rows(o->data, t->micro, capacities[i])};
    t->first_rung[phase] = t->n_rungs;
    t->n_rungs += n;
    t->first_rung[phase + 1] = t->n_rungs;
  }
  return IG_OK;
}

ig_rung *ig_trainer_rung_of(ig_trainer *t, const ig_batch *b) {
  int i = t->first_rung[t->phase];
  while (b->packed && i < t->first_rung[t->phase + 1] - 1 && t->rungs[i].capacity < b->packed->capacity)
    i++;
  return &t->rungs[i];
}

static ig_status open_loader(ig_trainer *t) {
  const ig_train_options *o = t->o;
  ig_loader_options l = {.size = sizeof(ig_loader_options),
                         .data = o->data,
                         .part = IG_PART_TRAIN,
                         .train = true,
                         .batch = t->micro,
                         .image_size = o->image_size,
                         .augment = o->augment,
                         .seed = o->session.seed,
                         .threads = o->loader_threads,
                         .mlm = t->phase ? o->second : NULL,
                         .cache_bytes = o->cache_bytes,
                         .strict = o->strict,
                         .max_unreadable = IG_MAX_UNREADABLE,
                         .warn = t->cb->line,
                         .warn_user = t->cb->user};
  const int first = t->first_rung[t->phase];
  l.n_rungs = t->rungs[first].capacity > 0 ? t->first_rung[t->phase + 1] - first : 0;
  for (int i = 0; i < l.n_rungs; i++)
    l.rungs[i] = t->rungs[first + i].capacity;
  return ig_loader_create(&l, &t->loader);
}

ig_status ig_trainer_seek(ig_trainer *t) {
  const int phase = ig_trainer_phase(t);
  if (!t->loader || phase != t->phase) {
    ig_loader_destroy(t->loader);
    t->loader = NULL;
    t->window_wait_ns = 0;
    t->phase = phase;
    IG_TRY(open_loader(t));
  }
  return ig_loader_seek(t->loader, phase ? t->position - t->switch_position : t->position);
}
