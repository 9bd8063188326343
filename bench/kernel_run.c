// One node on its own memory; see kernel.h.
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bench/kernel.h"
#include "kernels/kernels.h"
#include "runtime/base/cpu.h"
#include "runtime/base/mem.h"
#include "runtime/base/rng.h"
#include "runtime/graph/plan_internal.h"

enum { MIN_SAMPLES = 5, MAX_SAMPLES = 200, MAX_SETS = 64, POOL = 65521 };  // the pool's size is prime: no pattern
#define ENOUGH_NS     250000000ull
#define TINY_NS       20000ull  // below, several launches make one sample
#define MAX_SET_BYTES (2ull << 30)
// On a GPU: of one sample, and of all of them; the host's time is bounded, too.
#define REPLAY_NS        200000ull
#define REPLAY_ENOUGH_NS 40000000ull
#define REPLAY_WALL_NS   400000000ull

struct ig_kernel {
  ig_params params;
  ig_graph *graph;
  ig_plan *plan;
  ig_node *node;
  const step *step;  // of the plan
  void **in, **out;  // [sets][n_in], [sets][n_out]
  char *memory;      // of the plan's device
  size_t bytes;
  int n_sets, next;
};

static size_t padded(size_t n) { return (n + 4095) / 4096 * 4096; }

// ---- numbers ----
static double draw(const ig_kernel_input *x, ig_rng *r, size_t i, size_t n) {
  double u = ig_rng_uniform(r);
  switch (x->fill) {
    case IG_FILL_UNIFORM:
      return x->lo + u * (x->hi - x->lo);
    case IG_FILL_POSITIVE:
      return 0.5 + u;
    case IG_FILL_SIMPLEX:
      return (0.5 + u) / (double)(x->shape.n ? x->shape.d[x->shape.n - 1] : 1);
    case IG_FILL_INDEX:
      return floor(u * x->hi);
    case IG_FILL_BINARY:
      return i == 0 || u < 0.5;
    case IG_FILL_OFFSETS:  // increasing from 0 to hi
      return floor(x->hi * (double)i / (double)(n > 1 ? n - 1 : 1));
    default:
      return ig_rng_normal(r);
  }
}

// Fills `bytes` at p, which may be more than x takes: offsets exactly, all else from a pool of random numbers again and
// again.
static ig_status fill(void *p, size_t bytes, const ig_kernel_input *x, uint64_t stream) {
  size_t size = ig_dtype_bytes(x->dtype), n = bytes / size, pool = n < POOL ? n : POOL;
  if (x->fill == IG_FILL_OFFSETS)
    n = pool = (size_t)ig_shape_count(&x->shape);
  ig_rng r = ig_rng_make(2024, stream, 0);
  for (size_t i = 0; i < pool; i++)
    ig_store_f64(p, x->dtype, i, draw(x, &r, i, n));
  for (size_t at = pool; at < n; at += pool) {
    size_t more = n - at < pool ? n - at : pool;
    memcpy((char *)p + at * size, p, more * size);
  }
  return IG_OK;
}

// ---- building ----
static ig_status build_node(ig_kernel *k, const ig_kernel_case *c) {
  ig_tensor *in[c->n_in + 1];
  char name[32];
  ig_params_init(&k->params);
  IG_TRY(ig_graph_create(&(ig_graph_options){.size = sizeof(ig_graph_options),
                                             .ops = ig_op_lists,
                                             .params = &k->params,
                                             .mode = IG_MODE_TRAIN,
                                             .compute_dtype = c->compute},
                         &k->graph));
  for (int i = 0; i < c->n_in; i++) {
    snprintf(name, sizeof name, "operand%d", i);
    in[i] = c->in[i].absent ? NULL : ig_graph_input(k->graph, name, c->in[i].dtype, c->in[i].shape);
  }
  k->node = ig_graph_node(k->graph, c->op->name, c->name, c->n_in, in, c->attr);
  IG_TRY(ig_graph_status(k->graph));
  for (int i = 0; i < k->node->n_out; i++)
    ig_graph_output(k->graph, k->node->out[i], k->node->out[i]->name);
  return ig_graph_status(k->graph);
}

static ig_status plan_node(ig_kernel *k, const ig_kernel_case *c, ig_device *device, const char *impl) {
  char force[160];
  snprintf(force, sizeof force, "%s=%s", c->op->name, impl);
  IG_TRY(ig_plan_create(k->graph, &(ig_plan_options){.size = sizeof(ig_plan_options), .device = device, .force = force},
                        &k->plan));
  for (size_t i = 0; i < k->plan->n_steps; i++)
    if (k->plan->steps[i].node == k->node)
      k->step = &k->plan->steps[i];
  return k->step ? IG_OK : ig_fail(IG_ERR_INTERNAL, "%s: the plan lost the node", c->op->name);
}

static size_t operand_bytes(const ig_kernel *k, int i, bool is_out) {
  const ig_tensor *t = is_out ? k->node->out[i] : k->node->in[i];
  ig_layout layout = is_out ? k->step->out_layout[i] : k->step->in_layout[i];
  return t ? padded(ig_layout_bytes(k->plan->layouts, layout, &t->shape, t->dtype)) : 0;
}

static size_t cache_bytes(const ig_device *device) {
  long n = device->caps.kind == IG_DEVICE_CPU ? sysconf(_SC_LEVEL3_CACHE_SIZE) : (long)device->caps.cache_bytes;
  return n > 0 ? (size_t)n : (size_t)32 << 20;
}

static size_t set_bytes(const ig_kernel *k) {
  size_t set = 0;
  for (int i = 0; i < k->node->n_in; i++)
    set += operand_bytes(k, i, false);
  for (int i = 0; i < k->node->n_out; i++)
    set += operand_bytes(k, i, true);
  return set;
}

static ig_status make_memory(ig_kernel *k, bool cold) {
  const ig_node *n = k->node;
  ig_device *device = k->plan->device;
  size_t set = set_bytes(k), at = padded(k->step->workspace_bytes);
  size_t wanted = cold ? 2 * cache_bytes(device) / (set + 1) + 2 : 1;
  wanted = wanted < MAX_SETS ? wanted : MAX_SETS;
  while (wanted > 2 && wanted * set > MAX_SET_BYTES)
    wanted--;
  k->n_sets = (int)wanted;
  k->bytes = set * wanted + at + 4096;
  IG_TRY(device->ops->alloc(device, k->bytes, "operands", (void **)&k->memory));
  IG_TRY(ig_alloc_array(wanted * (size_t)n->n_in + 1, sizeof *k->in, "operands", &k->in));
  IG_TRY(ig_alloc_array(wanted * (size_t)n->n_out, sizeof *k->out, "operands", &k->out));
  for (size_t s = 0; s < wanted; s++) {
    for (int i = 0; i < n->n_in; i++) {
      k->in[s * (size_t)n->n_in + (size_t)i] = n->in[i] ? k->memory + at : NULL;
      at += operand_bytes(k, i, false);
    }
    for (int i = 0; i < n->n_out; i++) {
      k->out[s * (size_t)n->n_out + (size_t)i] = k->memory + at;
      at += operand_bytes(k, i, true);
    }
  }
  return IG_OK;
}

// Operand i of every set: made once on the host, copied from the first set to the others.
static ig_status fill_operand(ig_kernel *k, int i, const ig_kernel_input *x) {
  ig_device *device = k->plan->device;
  const size_t bytes = operand_bytes(k, i, false), n_in = (size_t)k->node->n_in;
  char *host = k->in[i];
  ig_status status = IG_OK;
  if (device->caps.kind != IG_DEVICE_CPU)
    IG_TRY(ig_alloc_pages(bytes, "operands", &host));
  IG_GOTO(fill(host, bytes, x, (uint64_t)i));
  IG_GOTO(host == k->in[i] ? IG_OK : device->ops->copy_in(device, k->in[i], host, bytes, NULL));
  for (int s = 1; s < k->n_sets; s++)
    IG_GOTO(device->ops->copy(device, k->in[(size_t)s * n_in + (size_t)i], k->in[i], bytes, NULL));
done:
  if (host != k->in[i]) {
    ig_status waited = device->ops->stream_wait(device, NULL);
    status = status == IG_OK ? waited : status;
    ig_free_pages(host, bytes);
  }
  return status;
}

ig_status ig_kernel_create(const ig_kernel_case *c, ig_device *device, const char *impl, bool cold, ig_kernel **out) {
  ig_kernel *k;
  ig_status status = IG_OK;
  *out = NULL;
  IG_TRY(ig_alloc(sizeof *k, "kernel", &k));
  IG_GOTO(build_node(k, c));
  IG_GOTO(plan_node(k, c, device, impl));
  IG_GOTO(make_memory(k, cold));
  for (int i = 0; i < k->node->n_in; i++)
    if (k->node->in[i])
      IG_GOTO(fill_operand(k, i, &c->in[i]));
  *out = k;
done:
  if (status != IG_OK)
    ig_kernel_destroy(k);
  return status;
}

void ig_kernel_destroy(ig_kernel *k) {
  if (!k)
    return;
  if (k->memory)
    k->plan->device->ops->free(k->plan->device, k->memory, k->bytes);
  ig_plan_destroy(k->plan);
  ig_graph_destroy(k->graph);
  ig_params_fini(&k->params);
  ig_free(k->in);
  ig_free(k->out);
  ig_free(k);
}

bool ig_kernel_supported(const ig_kernel_case *c, ig_device *device, const char *impl) {
  ig_kernel *k;
  if (ig_alloc(sizeof *k, "kernel", &k) != IG_OK)
    return false;
  bool yes = build_node(k, c) == IG_OK && plan_node(k, c, device, impl) == IG_OK;
  ig_kernel_destroy(k);
  ig_error_clear();
  return yes;
}

// ---- running ----
ig_status ig_kernel_launch(ig_kernel *k) {
  const step *s = k->step;
  int set = k->next;
  k->next = (set + 1) % k->n_sets;
  const ig_launch launch = {.node = k->node,
                            .state = s->state,
                            .in = k->in + (size_t)set * (size_t)k->node->n_in,
                            .out = k->out + (size_t)set * (size_t)k->node->n_out,
                            .in_layout = s->in_layout,
                            .out_layout = s->out_layout,
                            .layouts = k->plan->layouts,
                            .workspace = s->workspace_bytes ? k->memory : NULL,
                            .workspace_bytes = s->workspace_bytes,
                            .device = k->plan->device};
  return s->impl->run(&launch);
}

static ig_status timed(ig_kernel *k, int launches, uint64_t *ns) {
  ig_device *device = k->plan->device;
  uint64_t start = ig_now_ns();
  for (int i = 0; i < launches; i++)
    IG_TRY(ig_kernel_launch(k));
  IG_TRY(device->ops->stream_wait(device, NULL));
  *ns = ig_now_ns() - start;
  return IG_OK;
}

// A GPU: one round of all sets of operands is recorded and replayed, as a training step is, so that the host's part of
// a launch is not in it. events: before and after.
static ig_status replayed(ig_kernel *k, void *graph, int rounds, ig_event *const events[2], uint64_t *ns) {
  ig_device *device = k->plan->device;
  IG_TRY(device->ops->event_record(device, events[0], NULL));
  for (int i = 0; i < rounds; i++)
    IG_TRY(device->ops->capture_launch(device, graph, NULL));
  IG_TRY(device->ops->event_record(device, events[1], NULL));
  return device->ops->event_elapsed(device, events[0], events[1], ns);
}

static ig_status record(ig_kernel *k, void **graph) {
  ig_device *device = k->plan->device;
  ig_status status = IG_OK;
  IG_TRY(device->ops->capture_begin(device, NULL));
  for (int i = 0; i < k->n_sets && status == IG_OK; i++)
    status = ig_kernel_launch(k);
  ig_status ended = device->ops->capture_end(device, NULL, graph);
  return status == IG_OK ? ended : status;
}

static ig_status time_on_gpu(ig_kernel *k, ig_times *times) {
  ig_device *device = k->plan->device;
  ig_event *events[2] = {NULL, NULL};
  void *graph = NULL;
  uint64_t ns, spent = 0, start = ig_now_ns();
  ig_status status = IG_OK;
  IG_GOTO(device->ops->event_create(device, &events[0]));
  IG_GOTO(device->ops->event_create(device, &events[1]));
  IG_GOTO(record(k, &graph));
  IG_GOTO(replayed(k, graph, 1, events, &ns));
  const int rounds = ns < REPLAY_NS ? (int)(REPLAY_NS / (ns + 1)) + 1 : 1;
  for (int i = 0; i < MAX_SAMPLES && (i < MIN_SAMPLES || spent < REPLAY_ENOUGH_NS); i++) {
    if (i >= MIN_SAMPLES && ig_now_ns() - start > REPLAY_WALL_NS)
      break;
    IG_GOTO(replayed(k, graph, rounds, events, &ns));
    spent += ns;
    IG_GOTO(ig_times_add(times, ns / (uint64_t)(rounds * k->n_sets)));
  }
done:
  device->ops->capture_destroy(device, graph);
  for (int i = 0; i < 2; i++)
    device->ops->event_destroy(device, events[i]);
  return status;
}

ig_status ig_kernel_time(ig_kernel *k, ig_times *times) {
  uint64_t ns, spent = 0;
  for (int i = 0; i < k->n_sets; i++)  // every set's pages and the code
    IG_TRY(timed(k, 1, &ns));
  if (k->plan->device->ops->capture_begin)
    return time_on_gpu(k, times);
  IG_TRY(timed(k, 1, &ns));
  int launches = ns < TINY_NS ? (int)(TINY_NS / (ns + 1)) + 1 : 1;
  for (int i = 0; i < MAX_SAMPLES && (i < MIN_SAMPLES || spent < ENOUGH_NS); i++) {
    IG_TRY(timed(k, launches, &ns));
    spent += ns;
    IG_TRY(ig_times_add(times, ns / (uint64_t)launches));
  }
  return IG_OK;
}

ig_cost ig_kernel_cost(const ig_kernel *k) {
  ig_cost cost = {0, 0};
  if (k->node->op->cost)
    k->node->op->cost(k->node, &cost);
  return cost;
}

size_t ig_kernel_workspace(const ig_kernel *k) { return k->step->workspace_bytes; }
const ig_impl *ig_kernel_impl(const ig_kernel *k) { return k->step->impl; }
