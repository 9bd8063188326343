// Timing implementations once a shape and remembering the choice. Rule: a choice is a name; a cache that names what
// this build lacks, or that cannot be read, is ignored, never an error.
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

struct ig_tuner {
  char *path;
  json_t *choices;  // key -> implementation name
  bool changed;
};

static ig_status out_of_memory(void) { return ig_fail(IG_ERR_MEMORY, "tuner: out of memory"); }

ig_status ig_tuner_create(const char *path, ig_tuner **out) {
  *out = NULL;
  ig_tuner *t;
  IG_TRY(ig_alloc(sizeof *t, "tuner", &t));
  if (path && ig_strdup(path, &t->path) != IG_OK) {
    ig_free(t);
    return out_of_memory();
  }
  uint8_t *text = NULL;
  size_t n = 0;
  if (path && ig_path_exists(path) && ig_file_read(path, CACHE_BYTES, &text, &n) == IG_OK)
    t->choices = json_loadb((const char *)text, n, JSON_REJECT_DUPLICATES, NULL);
  ig_free(text);
  if (!json_is_object(t->choices)) {
    json_decref(t->choices);
    t->choices = json_object();
  }
  if (!t->choices) {
    ig_tuner_destroy(t);
    return out_of_memory();
  }
  *out = t;
  return IG_OK;
}

void ig_tuner_destroy(ig_tuner *t) {
  if (!t)
    return;
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
  char *text;
  IG_TRY(ig_tuner_export(t, &text));
  char *slash = strrchr(t->path, '/');
  ig_status status = IG_OK;
  if (slash) {
    *slash = 0;
    status = ig_make_dirs(t->path);
    *slash = '/';
  }
  if (status == IG_OK)
    status = ig_file_write_atomic(t->path, text, strlen(text));
  if (status == IG_OK)
    t->changed = false;
  ig_free(text);
  return status;
}

// Everything a timing depends on. Attributes enter as bytes: rows keep them free of pointers and padding noise.
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
  char machine[256];
  snprintf(machine, sizeof machine, "%s|%s|%d|%d|%d", caps->name, caps->libraries, (int)caps->isa, caps->threads,
           caps->winograd);
  if (at < 440)
    snprintf(key + at, 512 - at, "|%016llx|%016llx", (unsigned long long)h, (unsigned long long)ig_hash_str(machine));
}

typedef struct scratch {
  void *memory;
  size_t bytes;
} scratch;

static size_t round_up(size_t n) { return (n + 255) / 256 * 256; }

// Best of a few runs of one candidate on random data, in ns.
static ig_status time_one(ig_plan *p, const ig_node *n, const ig_layout *offered, const ig_impl *impl, uint64_t *ns) {
  ig_layout in[n->n_in + 1], out[IG_MAX_OUT] = {{0}};
  void *in_address[n->n_in + 1], *out_address[IG_MAX_OUT];
  scratch s = {NULL, 0};
  size_t workspace = 0;
  void *state = NULL;
  ig_status status = IG_OK;
  memcpy(in, offered, (size_t)n->n_in * sizeof *in);
  IG_TRY(ig_plan_prepare_node(p, n, impl, in, out, &workspace, &state));
  for (int i = 0; i < n->n_in; i++)
    if (n->in[i])
      s.bytes += round_up(ig_layout_bytes(p->layouts, in[i], &n->in[i]->shape, n->in[i]->dtype));
  for (int i = 0; i < n->n_out; i++)
    s.bytes += round_up(ig_layout_bytes(p->layouts, out[i], &n->out[i]->shape, n->out[i]->dtype));
  s.bytes += round_up(workspace);
  IG_GOTO(p->device->ops->alloc(p->device, s.bytes, "timing of implementations", &s.memory));
  size_t at = 0;
  for (int i = 0; i < n->n_in; i++) {
    in_address[i] = n->in[i] ? (char *)s.memory + at : NULL;
    if (!n->in[i])
      continue;
    size_t bytes = ig_layout_bytes(p->layouts, in[i], &n->in[i]->shape, n->in[i]->dtype);
    // Bytes that make small floats of every type, neither zero nor denormal; indices stay zero.
    if (ig_dtype_is_float(n->in[i]->dtype))
      IG_GOTO(p->device->ops->fill(p->device, in_address[i], 0x3c, bytes, NULL));
    at += round_up(bytes);
  }
  for (int i = 0; i < n->n_out; i++) {
    out_address[i] = (char *)s.memory + at;
    at += round_up(ig_layout_bytes(p->layouts, out[i], &n->out[i]->shape, n->out[i]->dtype));
  }
  ig_launch launch = {.node = n,
                      .state = state,
                      .in = in_address,
                      .out = out_address,
                      .in_layout = in,
                      .out_layout = out,
                      .layouts = p->layouts,
                      .workspace = workspace ? (char *)s.memory + at : NULL,
                      .workspace_bytes = workspace,
                      .device = p->device};
  *ns = UINT64_MAX;
  uint64_t spent = 0;
  for (int run = 0; run <= TIMED_RUNS && spent < ENOUGH_NS; run++) {
    uint64_t start = ig_now_ns();
    IG_GOTO(impl->run(&launch));
    IG_GOTO(p->device->ops->stream_wait(p->device, NULL));
    uint64_t took = ig_now_ns() - start;
    spent += took;
    if (run > 0 && took < *ns)  // the first run warms up
      *ns = took;
  }
  if (*ns == UINT64_MAX)
    *ns = spent;
done:
  if (s.memory)
    p->device->ops->free(p->device, s.memory, s.bytes);
  if (state && impl->destroy)
    impl->destroy(state);
  return status;
}

ig_status ig_tuner_choose(ig_tuner *t, ig_plan *p, const ig_node *n, const ig_layout *offered,
                          const ig_impl *const *candidates, int count, bool may_time, const ig_impl **chosen) {
  char key[512];
  make_key(p, n, key);
  const char *stored = json_string_value(json_object_get(t->choices, key));
  *chosen = candidates[0];
  for (int i = 0; stored && i < count; i++)
    if (!strcmp(candidates[i]->name, stored)) {
      *chosen = candidates[i];
      return IG_OK;
    }
  if (!may_time)
    return IG_OK;
  uint64_t best = UINT64_MAX;
  for (int i = 0; i < count; i++) {
    uint64_t ns = 0;
    IG_TRY(time_one(p, n, offered, candidates[i], &ns));
    if (ns < best) {
      best = ns;
      *chosen = candidates[i];
    }
  }
  t->changed = true;
  return json_object_set_new(t->choices, key, json_string((*chosen)->name)) ? out_of_memory() : IG_OK;
}
