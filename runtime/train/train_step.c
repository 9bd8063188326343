// A step on the device: inputs there, forward and backward of the micro-batches, update, result back. Rule: the host
// starts a step without waiting for the one before; what decides a step is in device memory (kernels/train_step).
//
// On a GPU a batch is written to one of two page-locked buffers, so that the loader has its memory back at once, copied
// from there to `staged` on a stream of its own while the step before computes, taken over into `inputs` on the main
// stream, and the step itself is one captured graph from its second time on. Each is one block, so that a batch is one
// copy. A page-locked buffer is written again when its copy is over, which was the batch before the last: nobody waits.
// On a CPU there are no copies: the loader's memory is the input.
#include <stdio.h>
#include <string.h>

#include "kernels/dropout/dropout.h"
#include "runtime/train/trainer_internal.h"

typedef struct input {
  const ig_tensor *tensor;
  const void *host;
} input;

#define ALIGN 256  // of each input in its block

static void range(const ig_trainer *t, const char *name) {
  const ig_device_ops *ops = t->session->device->ops;
  if (name && ops->range_begin)
    ops->range_begin(t->session->device, name);
  else if (!name && ops->range_end)
    ops->range_end(t->session->device);
}
static bool on_cpu(const ig_trainer *t) { return t->session->device->caps.kind == IG_DEVICE_CPU; }
static ig_device *device_of(const ig_trainer *t) { return t->session->device; }

static size_t bytes_of(const ig_tensor *t) { return (size_t)ig_shape_count(&t->shape) * ig_dtype_bytes(t->dtype); }

ig_status ig_trainer_step_create(ig_trainer *t) {
  ig_device *dev = device_of(t);
  if (t->words.device)
    return IG_OK;
  IG_TRY(ig_mirror_create(dev, sizeof(ig_step_words), false, "scalars of a step", &t->words));
  for (int i = 0; i < IG_IN_FLIGHT; i++) {
    IG_TRY(dev->ops->host_alloc(dev, sizeof(ig_step_words), (void **)&t->sent[i]));
    IG_TRY(dev->ops->event_create(dev, &t->came[i]));
    IG_TRY(dev->ops->event_create(dev, &t->copied[i]));
  }
  IG_TRY(dev->ops->stream_create(dev, &t->copies));
  return dev->ops->event_create(dev, &t->used);
}

static void drop_captures(ig_trainer *t) {
  for (int i = 0; i < t->n_rungs; i++) {
    if (t->rungs[i].captured)
      device_of(t)->ops->capture_destroy(device_of(t), t->rungs[i].captured);
    t->rungs[i].captured = NULL;
    t->rungs[i].ran = false;
  }
}

void ig_trainer_step_destroy(ig_trainer *t) {
  ig_device *dev = device_of(t);
  if (t->words.device)
    (void)!dev->ops->stream_wait(dev, NULL);  // nothing here is in use any more; what went wrong was told before
  drop_captures(t);
  ig_mirror_destroy(dev, &t->words);
  ig_mirror_destroy(dev, &t->class_weights);
  for (int i = 0; i < IG_IN_FLIGHT; i++) {
    if (t->sent[i])
      dev->ops->host_free(dev, t->sent[i], sizeof(ig_step_words));
    if (t->came[i])
      dev->ops->event_destroy(dev, t->came[i]);
    if (t->copied[i])
      dev->ops->event_destroy(dev, t->copied[i]);
    if (t->pinned[i])
      dev->ops->host_free(dev, t->pinned[i], t->inputs.bytes);
  }
  ig_mirror_destroy(dev, &t->inputs);
  ig_mirror_destroy(dev, &t->staged);
  if (t->used)
    dev->ops->event_destroy(dev, t->used);
  if (t->copies)
    dev->ops->stream_destroy(dev, t->copies);
}

// Where fp16's loss scale begins: what 2^16, the usual start, or the fixed one, is to a mean loss. Ours is a sum, whose
// gradients are as many times larger as it has terms: samples, words with a tag, masked words of a micro-batch (rounded
// up to a power of two). One that moves is never below 1.
static float first_scale(const ig_trainer *t) {
  const ig_rung *r = &t->rungs[0];
  const double fixed = t->o->loss_scale;
  double terms = t->micro, scale = fixed > 0 ? fixed : 65536;
  if (t->head.task == IG_TASK_MLM)
    terms = (double)r->masked;
  else if (t->head.task == IG_TASK_TAG)
    terms = (double)r->capacity;
  for (; terms > 1 && (fixed > 0 || scale > 1); terms /= 2)
    scale /= 2;
  return (float)scale;
}

ig_status ig_trainer_set_scaler(ig_trainer *t, const float saved[IG_N_SCALER]) {
  ig_device *dev = device_of(t);
  float *scaler = t->result.scaler, kept[IG_N_SCALER];
  memcpy(kept, saved, sizeof kept);  // it may be of the result that is cleared
  memset(&t->result, 0, sizeof t->result);
  memcpy(scaler, kept, sizeof kept);
  if (t->session->compute != IG_F16)
    scaler[IG_SCALER_SCALE] = 1;
  else if (!(scaler[IG_SCALER_SCALE] > 0))
    scaler[IG_SCALER_SCALE] = first_scale(t);
  scaler[IG_SCALER_UPDATES] = (float)t->updates;
  t->launched = t->taken = 0;
  IG_TRY(dev->ops->copy_in(dev, (char *)t->words.device + offsetof(ig_step_words, scaler), scaler,
                           sizeof t->result.scaler, NULL));
  return dev->ops->stream_wait(dev, NULL);
}

// What a micro-batch gives a rung's plan. `in` has room for IG_MAX_INPUTS; returns how many, the same for every rung.
static int list_inputs(const ig_trainer *t, const ig_rung *r, const ig_batch *b, const float *targets, input *in) {
  const ig_packed *p = b->packed;
  const int32_t *labels = p && p->labels ? p->labels : b->labels;
  const input pictures[] = {
      {r->io.pictures, b->pictures}, {r->io.aug, b->aug},      {r->io.partner, b->partner},
      {r->io.labels, labels},        {r->io.lam, b->lam},      {r->io.second_labels, b->second_labels},
      {r->io.weights, b->weights},   {r->io.targets, targets}, {r->io.step_state, t->step_state}};
  const int n = sizeof pictures / sizeof *pictures;
  memcpy(in, pictures, sizeof pictures);
  if (!p)
    return n;
  const input texts[] = {{r->io.text.ids, p->ids},
                         {r->io.text.types, p->types},
                         {r->io.text.positions, p->positions},
                         {r->io.text.cu_seqlens, p->cu_seqlens},
                         {r->io.text.first, p->first},
                         {r->io.text.row_keys, p->row_keys},
                         {r->io.text.masked, p->masked},
                         {r->io.masked_labels, p->masked_labels},
                         {r->io.masked_weights, p->masked_weights}};
  memcpy(in + n, texts, sizeof texts);
  return n + (int)(sizeof texts / sizeof *texts);
}

// Where the inputs of a rung lie in the block of inputs, and its bytes.
static int place_inputs(const ig_trainer *t, ig_rung *r, input *in) {
  const ig_packed no_texts = {0};
  const ig_batch none = {.packed = r->capacity > 0 ? &no_texts : NULL};
  const int n = list_inputs(t, r, &none, NULL, in);
  r->input_bytes = 0;
  for (int i = 0; i < n; i++)
    if (in[i].tensor) {
      r->input_at[i] = r->input_bytes;
      r->input_bytes += (bytes_of(in[i].tensor) + ALIGN - 1) / ALIGN * ALIGN;
    }
  return n;
}

// The blocks, as large as the largest rung needs them, and the plans' addresses in that of the device.
static ig_status bind_inputs(ig_trainer *t) {
  ig_device *dev = device_of(t);
  input in[IG_MAX_INPUTS];
  size_t bytes = 0;
  for (int k = 0; k < t->n_rungs; k++) {
    place_inputs(t, &t->rungs[k], in);
    bytes = t->rungs[k].input_bytes > bytes ? t->rungs[k].input_bytes : bytes;
  }
  IG_TRY(ig_mirror_create(dev, bytes, false, "inputs of a step", &t->inputs));
  IG_TRY(ig_mirror_create(dev, bytes, false, "inputs of the next step", &t->staged));
  for (int i = 0; i < IG_IN_FLIGHT; i++)
    if (!t->pinned[i])
      IG_TRY(dev->ops->host_alloc(dev, bytes, (void **)&t->pinned[i]));
  for (int k = 0; k < t->n_rungs; k++) {
    ig_rung *r = &t->rungs[k];
    const int n = place_inputs(t, r, in);
    for (int i = 0; i < n; i++)
      if (in[i].tensor)
        IG_TRY(ig_plan_set_io(r->plan, in[i].tensor, (char *)t->inputs.device + r->input_at[i]));
  }
  return IG_OK;
}

ig_status ig_trainer_step_bind(ig_trainer *t) {
  ig_device *dev = device_of(t);
  ig_step_words *w = t->words.device;
  const struct {
    const ig_tensor *tensor;
    void *address;
  } update[] = {{t->opt_io.hyper, w->hyper},
                {t->opt_io.totals, w->totals},
                {t->opt_io.scaler, w->scaler},
                {t->opt_io.state_before, t->state_before.device},
                {t->opt_io.seg_start, t->seg_start.device},
                {t->opt_io.seg_attr, t->seg_attr.device},
                {t->opt_io.norm, w->norm},
                {t->opt_io.gscale, w->gscale}};
  drop_captures(t);
  for (size_t i = 0; i < sizeof update / sizeof *update; i++)
    if (update[i].tensor)
      IG_TRY(ig_plan_set_io(t->update_plan, update[i].tensor, update[i].address));
  if (t->o->class_weights && !t->class_weights.device) {
    IG_TRY(ig_mirror_create(dev, (size_t)t->head.n * sizeof(float), true, "class weights", &t->class_weights));
    memcpy(t->class_weights.host, t->o->class_weights, t->class_weights.bytes);
    IG_TRY(ig_mirror_push(dev, &t->class_weights));
  }
  for (int i = 0; i < t->n_rungs; i++) {
    const ig_rung *r = &t->rungs[i];
    IG_TRY(ig_plan_set_io(r->plan, r->io.totals, w->totals));
    if (r->io.scale)
      IG_TRY(ig_plan_set_io(r->plan, r->io.scale, &w->scaler[IG_SCALER_SCALE]));
    if (r->io.class_weights)
      IG_TRY(ig_plan_set_io(r->plan, r->io.class_weights, t->class_weights.device));
  }
  if (!on_cpu(t))
    IG_TRY(bind_inputs(t));
  return ig_trainer_set_scaler(t, t->result.scaler);
}

// On a CPU the plan reads what the loader wrote.
static ig_status hand_over(ig_trainer *t, const input *in, int n) {
  for (int i = 0; i < n; i++)
    if (in[i].tensor)
      IG_TRY(ig_plan_set_io(t->rung->plan, in[i].tensor, (void *)in[i].host));
  return IG_OK;
}

// On a GPU it is sent ahead of the step. Nothing of `in` is read after this.
static ig_status stage(ig_trainer *t, const input *in, int n) {
  ig_device *dev = device_of(t);
  const int slot = (int)(t->batches++ % IG_IN_FLIGHT);
  const size_t bytes = t->rung->input_bytes;
  IG_TRY(dev->ops->event_wait(dev, t->copied[slot]));
  for (int i = 0; i < n; i++)
    if (in[i].tensor)
      memcpy(t->pinned[slot] + t->rung->input_at[i], in[i].host, bytes_of(in[i].tensor));
  IG_TRY(dev->ops->event_order(dev, t->copies, t->used));
  IG_TRY(dev->ops->copy_in(dev, t->staged.device, t->pinned[slot], bytes, t->copies));
  IG_TRY(dev->ops->event_record(dev, t->copied[slot], t->copies));
  IG_TRY(dev->ops->event_order(dev, NULL, t->copied[slot]));
  IG_TRY(dev->ops->copy(dev, t->inputs.device, t->staged.device, bytes, NULL));
  return dev->ops->event_record(dev, t->used, NULL);
}

// What goes before the first micro-batch.
static ig_status open_step(ig_trainer *t) {
  ig_device *dev = device_of(t);
  ig_step_words *w = t->words.device;
  const ig_mirror *state = &t->session->memory[IG_PARAM_STATE];
  IG_TRY(dev->ops->fill(dev, w->totals, 0, sizeof w->totals, NULL));
  if (t->accumulated.device)
    IG_TRY(dev->ops->fill(dev, t->accumulated.device, 0, t->accumulated.bytes, NULL));
  return dev->ops->copy(dev, t->state_before.device, state->device, state->bytes, NULL);
}

static ig_status run_micro_batch(ig_trainer *t, int index) {
  if (index == 0)
    IG_TRY(open_step(t));
  IG_TRY(ig_plan_run(t->rung->plan, NULL));
  return t->sum_plan ? ig_plan_run(t->sum_plan, NULL) : IG_OK;
}

// From a rung's second step on: the first is where lazy loading and stable weights have their place.
static bool replays(const ig_trainer *t) {
  return device_of(t)->ops->capture_begin && t->launched > 0 && t->rung->ran && !t->sum_plan && !t->eager;
}

ig_status ig_trainer_micro_batch(ig_trainer *t, const ig_batch *b, int index) {
  const float *targets = NULL;
  input in[IG_MAX_INPUTS];
  t->rung = ig_trainer_rung_of(t, b);
  if (b->packed && b->packed->capacity != t->rung->capacity)
    return ig_fail(IG_ERR_INTERNAL, "a batch of capacity %lld, which no plan has", (long long)b->packed->capacity);
  if (t->rung->io.targets)
    IG_TRY(ig_trainer_make_targets(t, b, &targets));
  t->step_state[IG_STEP_SEED] = t->o->session.seed;
  t->step_state[IG_STEP_STEP] = (uint64_t)t->step;
  t->step_state[IG_STEP_FIRST_SAMPLE] = (uint64_t)(t->position + (int64_t)index * t->micro);
  t->step_state[IG_STEP_EPOCH] = (uint64_t)ig_trainer_epoch(t);
  t->window_flops += ig_plan_flops(t->rung->plan);
  range(t, "inputs");
  const int n = list_inputs(t, t->rung, b, targets, in);
  ig_status status = on_cpu(t) ? hand_over(t, in, n) : stage(t, in, n);
  range(t, NULL);
  if (status != IG_OK || replays(t))  // the captured step holds it
    return status;
  range(t, "forward and backward");
  status = run_micro_batch(t, index);
  range(t, NULL);
  return status;
}

// A rung's step from its second time on, where nothing but memory changes between steps: recorded once, then replayed.
static ig_status replay(ig_trainer *t) {
  ig_device *dev = device_of(t);
  if (!t->rung->captured) {
    IG_TRY(dev->ops->capture_begin(dev, NULL));
    ig_status status = run_micro_batch(t, 0);
    if (status == IG_OK)
      status = ig_plan_run(t->update_plan, NULL);
    char why[1024];
    snprintf(why, sizeof why, "%s", ig_error_message());
    ig_status ended = dev->ops->capture_end(dev, NULL, &t->rung->captured);
    if (status != IG_OK)
      return ig_fail(status, "%s", why);
    IG_TRY(ended);
  }
  return dev->ops->capture_launch(dev, t->rung->captured, NULL);
}

ig_status ig_trainer_update(ig_trainer *t, double lr) {
  ig_device *dev = device_of(t);
  ig_step_words *w = t->words.device, *sent = t->sent[t->launched % IG_IN_FLIGHT];
  t->lr = lr;
  ig_optimizer_fill_hyper(lr, 0, 0, 0, sent->hyper);
  IG_TRY(dev->ops->copy_in(dev, w->hyper, sent->hyper, sizeof w->hyper, NULL));
  const bool whole = replays(t);
  range(t, whole ? t->rung->captured ? "step, replayed" : "step, captured" : "update");
  ig_status status = whole ? replay(t) : ig_plan_run(t->update_plan, NULL);
  range(t, NULL);
  IG_TRY(status);
  t->rung->ran = true;
  IG_TRY(dev->ops->copy_out(dev, sent, w, sizeof *w, NULL));
  IG_TRY(dev->ops->event_record(dev, t->came[t->launched % IG_IN_FLIGHT], NULL));
  t->launched++;
  return IG_OK;
}

ig_status ig_trainer_take(ig_trainer *t, int leave, bool *one) {
  ig_device *dev = device_of(t);
  *one = t->launched - t->taken > leave;
  if (!*one)
    return IG_OK;
  const int slot = (int)(t->taken % IG_IN_FLIGHT);
  IG_TRY(dev->ops->event_wait(dev, t->came[slot]));
  t->result = *t->sent[slot];
  t->taken++;
  return IG_OK;
}
