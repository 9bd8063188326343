// Timing implementations once a shape and remembering the choice. Rule: a choice is a name; a cache that names what
// this build lacks, or that cannot be read, is ignored, never an error. What an implementation chose inside itself (a
// library's engine) is kept beside it.
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/cpu.h"
#include "runtime/base/fileop.h"
#include "runtime/base/rng.h"
#include "runtime/graph/plan_internal.h"

#define CACHE_BYTES (16u << 20)
#define TIMED_RUNS  5
#define ENOUGH_NS   200000000u  // stop repeating a candidate after this much time
// Timed runs take turns through this much memory, more than the caches of two cores keep: in a step, too, operands come
// from memory and weights were last read a step ago. On warm operands the wrong ones won (docs/performance.md).
#define COLD_BYTES ((size_t)96 << 20)
#define MOST_SLOTS 16u

struct ig_tuner {
  char *path;
  json_t *choices;  // key -> implementation name, "key|ns" -> its time, "key|library" -> a choice inside
  bool changed;
  ig_device *device;  // of the memory that timing takes, NULL while there is none
  void *memory;
  size_t memory_bytes;
};

static ig_status out_of_memory(void) { return ig_fail(IG_ERR_MEMORY, "tuner: out of memory"); }

// What the cache file holds; an empty object where that is nothing of use. NULL: no memory.
static json_t *read_choices(const char *path) {
  json_t *choices = NULL;
  uint8_t *text = NULL;
  size_t n = 0;
  if (path && ig_path_exists(path) && ig_file_read(path, CACHE_BYTES, &text, &n) == IG_OK)
    choices = json_loadb((const char *)text, n, JSON_REJECT_DUPLICATES, NULL);
  ig_free(text);
  if (json_is_object(choices))
    return choices;
  json_decref(choices);
  return json_object();
}

ig_status ig_tuner_create(const char *path, ig_tuner **out) {
  *out = NULL;
  ig_tuner *t;
  IG_TRY(ig_alloc(sizeof *t, "tuner", &t));
  if (path && ig_strdup(path, &t->path) != IG_OK) {
    ig_free(t);
    return out_of_memory();
  }
  t->choices = read_choices(path);
  if (!t->choices) {
    ig_tuner_destroy(t);
    return out_of_memory();
  }
  *out = t;
  return IG_OK;
}

void ig_tuner_release_memory(ig_tuner *t) {
  if (t && t->memory)
    t->device->ops->free(t->device, t->memory, t->memory_bytes);
  if (t)
    t->memory = NULL;
}

// Memory stays until the plan is made: most of its cost is the first touch.
static ig_status reserve(ig_tuner *t, ig_device *device, size_t bytes) {
  if (t->memory && t->memory_bytes >= bytes)
    return IG_OK;
  ig_tuner_release_memory(t);
  IG_TRY(device->ops->alloc(device, bytes, "timing of implementations", &t->memory));
  t->device = device;
  t->memory_bytes = bytes;
  return IG_OK;
}

void ig_tuner_destroy(ig_tuner *t) {
  if (!t)
    return;
  ig_tuner_release_memory(t);
  json_decref(t->choices);
  ig_free(t->path);
  ig_free(t);
}

ig_status ig_tuner_export(const ig_tuner *t, char **json) {
  char *text = json_dumps(t->choices, JSON_SORT_KEYS | JSON_INDENT(0));
  *json = NULL;
  ig_status status = text ? ig_strdup(text, json) : out_of_memory();
  free(text);
  return status;
}

ig_status ig_tuner_import(ig_tuner *t, const char *json) {
  json_t *more = json_loads(json, JSON_REJECT_DUPLICATES, NULL);
  if (!json_is_object(more)) {
    json_decref(more);
    return ig_fail(IG_ERR_FORMAT, "stored implementation choices: not a JSON object");
  }
  int failed = json_object_update(t->choices, more);
  json_decref(more);
  return failed ? out_of_memory() : IG_OK;
}

ig_status ig_tuner_save(ig_tuner *t) {
  if (!t->path || !t->changed)
    return IG_OK;
  json_t *others = read_choices(t->path);  // what another process has stored meanwhile stays
  const int failed = !others || json_object_update_missing(t->choices, others);
  json_decref(others);
  if (failed)
    return out_of_memory();
  char *text;
  IG_TRY(ig_tuner_export(t, &text));
  ig_status status = ig_make_parent(t->path);
  if (status == IG_OK)
    status = ig_file_write_atomic(t->path, text, strlen(text));
  if (status == IG_OK)
    t->changed = false;
  ig_free(text);
  return status;
}

// What a choice belongs to. Attributes enter as bytes: rows keep them free of pointers and padding noise. The names of
// the row's implementations enter, too: one that a build has new is timed. The number of threads is left out though a
// timing depends on it: another number must find the same kernels, or bits would change.
static void make_key(const ig_plan *p, const ig_node *n, char key[512]) {
  const ig_device_caps *caps = &p->device->caps;
  char shape[96];
  size_t at = (size_t)snprintf(key, 512, "%s|", n->op->name);
  for (int i = 0; i < n->n_in && at < 400; i++)
    if (n->in[i])
      at += (size_t)snprintf(key + at, 512 - at, "%s%s", ig_dtype_name(n->in[i]->dtype),
                             ig_shape_text(&n->in[i]->shape, shape));
  uint64_t h = 0xCBF29CE484222325ull;
  for (size_t i = 0; i < n->op->attr_bytes; i++)
    h = (h ^ ((const uint8_t *)n->attr)[i]) * 0x100000001B3ull;
  for (int i = 0; i < IG_MAX_IMPLS && n->op->impls[caps->kind][i]; i++)
    h = (h ^ ig_hash_str(n->op->impls[caps->kind][i])) * 0x100000001B3ull;
  char machine[256];
  snprintf(machine, sizeof machine, "%s|%s|%d|%d|cold%s", caps->name, caps->libraries, (int)caps->isa, caps->winograd,
           caps->tf32 ? "|tf32" : "");
  if (at < 440)
    snprintf(key + at, 512 - at, "|%016llx|%016llx", (unsigned long long)h, (unsigned long long)ig_hash_str(machine));
}

// ---- choices inside an implementation: "key|library" -> its own text ----
const char *ig_tuner_recall(const ig_tuner *t, const ig_plan *p, const ig_node *n, const char *what) {
  char key[512], inner[560];
  if (!t)
    return NULL;
  make_key(p, n, key);
  snprintf(inner, sizeof inner, "%s|%.40s", key, what);
  return json_string_value(json_object_get(t->choices, inner));
}

ig_status ig_tuner_keep(ig_tuner *t, const ig_plan *p, const ig_node *n, const char *what, const char *choice) {
  char key[512], inner[560];
  if (!t)
    return IG_OK;
  make_key(p, n, key);
  snprintf(inner, sizeof inner, "%s|%.40s", key, what);
  t->changed = true;
  return json_object_set_new(t->choices, inner, json_string(choice)) ? out_of_memory() : IG_OK;
}

static size_t round_up(size_t n) { return (n + 255) / 256 * 256; }

// One candidate, prepared. Each has its own part of a slot of memory, at `offset`: what others leave behind is never
// read as an index.
typedef struct trial {
  const ig_impl *impl;
  ig_layout *in, *out;  // n_in and IG_MAX_OUT entries
  size_t workspace, bytes, offset;
  void *state;
  uint64_t best_ns, spent_ns;
  bool out_of_it;  // it failed
} trial;

// Whether result i lies where operand j lay, as the plan has it where the operand dies.
static bool takes_over(const ig_node *n, const trial *t, int i, int j) {
  return !(t->impl->flags & IG_IMPL_APART) && j >= 0 && j < n->n_in && n->in[j] &&
         n->in[j]->dtype == n->out[i]->dtype && ig_shape_equal(&n->in[j]->shape, &n->out[i]->shape) &&
         ig_layout_equal(t->in[j], t->out[i]);
}

// Walks the operands' places in the scratch memory; in_address and out_address may be NULL. Returns the bytes.
static size_t place(const ig_plan *p, const ig_node *n, const trial *t, char *memory, void **in_address,
                    void **out_address) {
  size_t at = 0;
  for (int i = 0; i < n->n_in; i++) {
    if (in_address)
      in_address[i] = n->in[i] ? memory + at : NULL;
    if (n->in[i])
      at += round_up(ig_layout_bytes(p->layouts, t->in[i], &n->in[i]->shape, n->in[i]->dtype));
  }
  for (int i = 0; i < n->n_out; i++) {
    const int j = n->op->in_place[i] - 1;
    if (out_address)
      out_address[i] = in_address && takes_over(n, t, i, j) ? in_address[j] : memory + at;
    at += round_up(ig_layout_bytes(p->layouts, t->out[i], &n->out[i]->shape, n->out[i]->dtype));
  }
  return at;
}

// Offsets of sequences (the row's cases say which operand that is): all of one length, over the rows of operand 0. With
// zeros there would be nothing to time.
static ig_status fill_offsets(const ig_plan *p, const ig_node *n, int i, void *to) {
  const ig_op *op = n->op;
  const int64_t count = ig_shape_count(&n->in[i]->shape);
  int32_t *offsets;
  if (!op->n_cases || i >= op->cases[0].n_in || op->cases[0].in[i].fill != IG_FILL_OFFSETS ||
      n->in[i]->dtype != IG_I32 || count < 2)
    return IG_OK;
  IG_TRY(ig_alloc_array((size_t)count, sizeof *offsets, "timing of implementations", &offsets));
  for (int64_t k = 0; k < count; k++)
    offsets[k] = (int32_t)(n->in[0]->shape.d[0] * k / (count - 1));
  ig_status status = p->device->ops->copy_in(p->device, to, offsets, (size_t)count * sizeof *offsets, NULL);
  if (status == IG_OK)
    status = p->device->ops->stream_wait(p->device, NULL);
  ig_free(offsets);
  return status;
}

// Bytes that make small floats of every type, neither zero nor denormal; indices are zero. All of it is touched.
static ig_status fill(const ig_plan *p, const ig_node *n, const trial *t, char *memory) {
  void *in[n->n_in + 1];
  const size_t operands = place(p, n, t, memory, in, NULL);
  IG_TRY(p->device->ops->fill(p->device, memory, 0x3c, operands + t->workspace, NULL));
  for (int i = 0; i < n->n_in; i++)
    if (n->in[i] && !ig_dtype_is_float(n->in[i]->dtype)) {
      IG_TRY(p->device->ops->fill(p->device, in[i], 0,
                                  ig_layout_bytes(p->layouts, t->in[i], &n->in[i]->shape, n->in[i]->dtype), NULL));
      IG_TRY(fill_offsets(p, n, i, in[i]));
    }
  return IG_OK;
}

// By the device's own clock: a launch from the host costs more than many a kernel.
static ig_status time_once(ig_plan *p, const ig_node *n, trial *t, char *memory, ig_event *const events[2]) {
  const ig_device_ops *ops = p->device->ops;
  void *in[n->n_in + 1], *out[IG_MAX_OUT];
  size_t operands = place(p, n, t, memory, in, out);
  ig_launch launch = {.node = n,
                      .state = t->state,
                      .in = in,
                      .out = out,
                      .in_layout = t->in,
                      .out_layout = t->out,
                      .layouts = p->layouts,
                      .workspace = t->workspace ? memory + operands : NULL,
                      .workspace_bytes = t->workspace,
                      .device = p->device};
  uint64_t took;
  IG_TRY(ops->event_record(p->device, events[0], NULL));
  IG_TRY(t->impl->run(&launch));
  IG_TRY(ops->event_record(p->device, events[1], NULL));
  IG_TRY(ops->event_elapsed(p->device, events[0], events[1], &took));
  t->spent_ns += took;
  if (took < t->best_ns)
    t->best_ns = took;
  return IG_OK;
}

// What a candidate's failure means: the device's or a library's takes it out while others are left.
static ig_status leaves(trial *t, ig_status status, int *left) {
  if ((status != IG_ERR_DEVICE && status != IG_ERR_UNSUPPORTED) || --*left == 0)
    return status;
  t->out_of_it = true;
  return IG_OK;
}

// On the host memory is promised first and missed later, by a killed process.
static bool has_room(const ig_device *device, size_t bytes) {
  return device->caps.kind != IG_DEVICE_CPU || bytes + ig_memory_resident() < ig_memory_limit() / 10 * 9;
}

static uint64_t least_time(const trial *trials, int count) {
  uint64_t least = UINT64_MAX;
  for (int i = 0; i < count; i++)
    if (!trials[i].out_of_it && trials[i].best_ns < least)
      least = trials[i].best_ns;
  return least;
}

// Best of a few runs of each candidate, in turns, so that what else the machine does at a moment hits all of them. One
// that took twice as long as the best is not repeated.
static ig_status run_turns(ig_plan *p, const ig_node *n, trial *trials, int count, int *left, char *memory,
                           size_t slot_bytes, size_t slots, ig_event *const events[2]) {
  for (size_t s = 0; s < slots; s++)
    for (int i = 0; i < count; i++)
      if (!trials[i].out_of_it)
        IG_TRY(fill(p, n, &trials[i], memory + s * slot_bytes + trials[i].offset));
  for (int run = 0; run <= TIMED_RUNS; run++) {
    const uint64_t least = least_time(trials, count);
    for (int i = 0; i < count; i++) {
      trial *t = &trials[i];
      if (t->out_of_it || (run > 1 && (t->spent_ns > ENOUGH_NS || t->best_ns / 2 > least)))
        continue;
      char *at = memory + (size_t)run % slots * slot_bytes + t->offset;
      IG_TRY(leaves(t, time_once(p, n, t, at, events), left));
      if (t->out_of_it || (run == 0 && t->spent_ns < ENOUGH_NS))  // the first run warms up
        t->best_ns = UINT64_MAX;
    }
  }
  return IG_OK;
}

// Where memory is too short for timing all stay as they are: the plan's size will be refused, or the first one holds.
// One that fails here is out, as one that refuses the node is; the last one's failure is the answer, but where all
// leave as they are prepared, nothing is timed: the plan hears it from them (op.h).
static ig_status time_all(ig_tuner *tuner, ig_plan *p, const ig_node *n, const ig_layout *offered, trial *trials,
                          int count) {
  const ig_device_ops *ops = p->device->ops;
  ig_layout layouts[count][n->n_in + 1 + IG_MAX_OUT];
  ig_status status = IG_OK;
  ig_event *events[2] = {NULL, NULL};
  size_t bytes = 0;
  int left = count;
  for (int i = 0; i < count; i++) {
    trial *t = &trials[i];
    memset(layouts[i], 0, sizeof layouts[i]);
    t->in = layouts[i];
    t->out = layouts[i] + n->n_in + 1;
    memcpy(t->in, offered, (size_t)n->n_in * sizeof *offered);
    status = ig_plan_prepare_node(p, n, t->impl, t->in, t->out, &t->workspace, &t->state);
    if (status == IG_ERR_UNSUPPORTED && left == 1)
      left = 0, t->out_of_it = true;
    else
      IG_GOTO(leaves(t, status, &left));
    t->bytes = t->out_of_it ? 0 : place(p, n, t, NULL, NULL, NULL) + round_up(t->workspace);
    t->offset = bytes;
    bytes += t->bytes;
  }
  status = IG_OK;
  if (left == 0)
    goto done;
  size_t slots = bytes < COLD_BYTES ? (COLD_BYTES + bytes - 1) / (bytes + 1) : 1;
  slots = slots > MOST_SLOTS ? MOST_SLOTS : slots;  // small operands stay in the last cache, as they may in a step
  while (slots > 1 && !has_room(p->device, slots * bytes))
    slots--;
  if (!has_room(p->device, slots * bytes))
    goto done;
  for (int i = 0; i < 2; i++)
    IG_GOTO(ops->event_create(p->device, &events[i]));
  IG_GOTO(reserve(tuner, p->device, slots * bytes));
  IG_GOTO(run_turns(p, n, trials, count, &left, tuner->memory, bytes, slots, events));
done:
  for (int i = 0; i < 2; i++)
    if (events[i])
      ops->event_destroy(p->device, events[i]);
  for (int i = 0; i < count; i++)
    if (trials[i].state && trials[i].impl->destroy)
      trials[i].impl->destroy(trials[i].state);
  return status;
}

ig_status ig_tuner_choose(ig_tuner *t, ig_plan *p, const ig_node *n, const ig_layout *offered,
                          const ig_impl *const *candidates, int count, bool may_time, const ig_impl **chosen,
                          uint64_t *ns) {
  char key[512], time_key[520];
  make_key(p, n, key);
  snprintf(time_key, sizeof time_key, "%s|ns", key);
  const char *stored = json_string_value(json_object_get(t->choices, key));
  *chosen = candidates[0];
  for (int i = 0; stored && i < count; i++)
    if (!strcmp(candidates[i]->name, stored)) {
      *chosen = candidates[i];
      *ns = (uint64_t)json_integer_value(json_object_get(t->choices, time_key));
      return IG_OK;
    }
  if (!may_time || count < 2)
    return IG_OK;
  trial trials[count];
  for (int i = 0; i < count; i++)
    trials[i] = (trial){.impl = candidates[i], .best_ns = UINT64_MAX};
  IG_TRY(time_all(t, p, n, offered, trials, count));
  int best = 0;
  while (best < count && trials[best].out_of_it)
    best++;
  if (best == count)
    return IG_OK;
  for (int i = best + 1; i < count; i++)
    if (trials[i].best_ns < trials[best].best_ns)
      best = i;
  *chosen = candidates[best];
  if (trials[best].best_ns == UINT64_MAX)
    return IG_OK;  // not timed
  *ns = trials[best].best_ns;
  t->changed = true;
  return json_object_set_new(t->choices, key, json_string((*chosen)->name)) ||
                 json_object_set_new(t->choices, time_key, json_integer((json_int_t)*ns))
             ? out_of_memory()
             : IG_OK;
}
