// `ingot bench step`: a model's training step or inference as a whole, beside rivals. Rule: the first steps warm up and
// give the losses that both sides must agree on; only later ones are timed, in turns, one side at a time.
#include <math.h>
#include <string.h>

#include "bench/bench.h"
#include "bench/detail.h"
#include "bench/rival.h"
#include "bench/startup.h"
#include "bench/step_spec.h"
#include "bench/stepper.h"
#include "bindings/c/options.h"
#include "runtime/base/cpu.h"
#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"

enum { WARM_UP = 3, MAX_RIVALS = 8 };

// Losses that differ by more are not the same work.
#define FP32_TOLERANCE   1e-3
#define TF32_TOLERANCE   1e-2
#define NARROW_TOLERANCE 5e-2

typedef struct side {
  ig_rival *rival;          // NULL: ingot itself
  ig_times times, medians;  // of steps, and of each round
  ig_times cpu;             // of steps: processor time of all threads
  double losses[WARM_UP];
} side;

typedef struct step_bench {
  ig_stepper *stepper;
  side sides[1 + MAX_RIVALS];  // [0] is ingot
  int n_sides;
  int64_t steps, rounds;
  uint64_t peak_bytes, idle_bytes;  // of the host, or of the GPU what was allocated; idle: before there was a model
  json_t *skipped;                  // rivals that cannot do this: {"rival", "reason"}
  char *folder;                     // weights and batch for the rivals
} step_bench;

static ig_device *device_of(const step_bench *b) { return b->stepper->session->device; }
static bool on_gpu(const step_bench *b) { return device_of(b)->caps.kind == IG_DEVICE_CUDA; }
static bool is_narrow(const step_bench *b) { return b->stepper->session->compute != IG_F32; }

// ---- ingot's side ----
static void reset_peak(const step_bench *b) {
  device_of(b)->peak_bytes = device_of(b)->held_bytes;
  ig_file_append("/proc/self/clear_refs", "5", 1);  // where it may not, the peak since the start is told
  ig_error_clear();
}

static ig_status warm_up(step_bench *b) {
  for (int i = 0; i < WARM_UP; i++)
    IG_TRY(ig_stepper_run(b->stepper, &b->sides[0].losses[i]));
  return IG_OK;
}

// ---- rivals ----
static ig_status run_rival(side *s, int64_t steps, ig_times *times, double *losses) {
  json_t *answer, *ns, *loss;
  size_t i;
  ig_status status = IG_OK;
  IG_TRY(ig_rival_ask(s->rival, &answer, "run %lld", (long long)steps));
  if (times) {
    json_array_foreach(json_object_get(answer, "ns"), i, ns)
        IG_GOTO(ig_times_add(times, (uint64_t)json_integer_value(ns)));
    json_array_foreach(json_object_get(answer, "cpu_ns"), i, ns)
        IG_GOTO(ig_times_add(&s->cpu, (uint64_t)json_integer_value(ns)));
  }
  if (losses)
    json_array_foreach(json_object_get(answer, "losses"), i, loss) losses[i] = json_number_value(loss);
done:
  json_decref(answer);
  return status;
}

static ig_status start_rivals(ig_call_state *c, step_bench *b) {
  size_t n = 0;
  const char *const *names = ig_config_list(c->config, "rivals", &n);
  json_t *spec = NULL;
  ig_status status = IG_OK;
  b->n_sides = 1;
  if (!n)
    return IG_OK;
  if (n > MAX_RIVALS)
    return ig_fail(IG_ERR_USAGE, "rivals=: at most %d", MAX_RIVALS);
  for (size_t i = 0; i < n; i++)
    if (strcmp(names[i], "pytorch") && strcmp(names[i], "pytorch-tuned") && strcmp(names[i], "pytorch-compile"))
      return ig_fail(IG_ERR_USAGE, "rivals=%s: bench step knows pytorch, pytorch-tuned and pytorch-compile", names[i]);
  IG_TRY(ig_bench_folder(&b->folder));
  IG_TRY(ig_step_spec(b->stepper, b->folder, &spec));
  for (size_t i = 0; i < n; i++) {
    side *s = &b->sides[b->n_sides];
    ig_note(c, "%s: starting", names[i]);
    status = ig_rival_start(names[i], ig_step_script(b->stepper), spec, &s->rival);
    if (status == IG_ERR_UNSUPPORTED) {
      ig_note(c, "%s: skipped: %s", names[i], ig_error_message());
      json_array_append_new(b->skipped, json_pack("{s:s, s:s}", "rival", names[i], "reason", ig_error_message()));
      ig_error_clear();
      status = IG_OK;
      continue;
    }
    IG_GOTO(status);
    b->n_sides++;
    IG_GOTO(run_rival(s, WARM_UP, NULL, s->losses));
    ig_bench_pause();
  }
done:
  json_decref(spec);
  return status;
}

// A B A B: every round all sides take their turn.
static ig_status run_rounds(ig_call_state *c, step_bench *b) {
  for (int64_t round = 0; round < b->rounds; round++)
    for (int i = 0; i < b->n_sides; i++) {
      side *s = &b->sides[i];
      ig_times turn = {0};
      if (b->n_sides > 1)
        ig_bench_pause();
      ig_status status = s->rival ? run_rival(s, b->steps, &turn, NULL)
                                  : ig_stepper_time(b->stepper, b->steps, &turn, &b->sides[0].cpu);
      for (size_t k = 0; status == IG_OK && k < turn.n; k++)
        status = ig_times_add(&s->times, turn.ns[k]);
      if (status == IG_OK)
        status = ig_times_add(&s->medians, ig_times_quantile(&turn, 0.5));
      if (status == IG_OK)
        ig_note(c, "round %lld of %lld: %s %.1f ms a step", (long long)round + 1, (long long)b->rounds,
                s->rival ? ig_rival_name(s->rival) : "ingot", (double)ig_times_quantile(&turn, 0.5) / 1e6);
      ig_times_fini(&turn);
      IG_TRY(status);
    }
  return IG_OK;
}

// ---- rows ----
// Batch and size, "16x224x224x3"; of texts "8x128", or with real lengths "8x48 banking77": padded to the longest.
static const char *shape_text(const ig_stepper *s, char text[64]) {
  static const char *const lengths[] = {"", " banking77", " corpus"};
  if (s->texts)
    snprintf(text, 64, "%dx%d%s", s->batch, s->texts->longest, lengths[s->texts->o.lengths]);
  else
    snprintf(text, 64, "%dx%dx%dx3", s->batch, s->image_size, s->image_size);
  return text;
}

static void put_texts(const ig_stepper *s, json_t *row) {
  const ig_packed *p = &s->texts->packed;
  json_object_set_new(row, "task", json_string(s->texts->o.mlm ? "mlm" : "classify"));
  json_object_set_new(row, "dropout", json_real(s->dropout));
  json_object_set_new(row, "tokens", json_integer(p->n_tokens));
  json_object_set_new(row, "capacity", json_integer(p->capacity));
  json_object_set_new(row, "masked", json_integer(p->n_masked));
}

static json_t *ingot_row(step_bench *b, const ig_machine *m) {
  const ig_stepper *s = b->stepper;
  char shape[64], name[128];
  ig_step_cost cost = ig_bench_step_cost(s, m);
  double ns = (double)ig_times_quantile(&b->sides[0].times, 0.5);
  snprintf(name, sizeof name, "%s %s", s->model->name, s->train ? "train" : "infer");
  json_t *row = json_pack("{s:s, s:s, s:s, s:i}", "name", name, "shape", shape_text(s, shape), "precision",
                          ig_bench_precision(&s->session->device->caps, s->session->compute), "threads",
                          s->session->device->caps.threads);
  if (!row || ig_times_put(&b->sides[0].times, row) != IG_OK) {
    json_decref(row);
    return NULL;
  }
  if (on_gpu(b)) {
    json_object_set_new(row, "device", json_string(device_of(b)->caps.name));
    json_object_set_new(row, "host_peak_bytes", json_integer((json_int_t)ig_memory_peak()));
  }
  json_object_set_new(row, "cpu_ns", json_integer((json_int_t)ig_times_quantile(&b->sides[0].cpu, 0.5)));
  ig_put_number(row, "samples_per_second", s->batch / ns * 1e9);
  if (s->texts)
    put_texts(s, row);
  ig_put_number(row, "gflops", cost.flops / ns);
  ig_put_number(row, "gbps", cost.bytes / ns);
  ig_put_number(row, "roofline", cost.roofline_ns / ns);
  json_object_set_new(row, "plan_bytes", json_integer((json_int_t)ig_stepper_bytes(s)));
  json_object_set_new(row, "peak_bytes", json_integer((json_int_t)b->peak_bytes));
  json_object_set_new(row, "idle_bytes", json_integer((json_int_t)b->idle_bytes));
  json_t *list = json_array();
  for (int i = 0; i < WARM_UP; i++)
    json_array_append_new(list, json_real(b->sides[0].losses[i]));
  json_object_set_new(row, "losses", list);
  return row;
}

static double loss_difference(const side *a, const side *b) {
  double worst = 0;
  for (int i = 0; i < WARM_UP; i++) {
    double size = fmax(fabs(a->losses[i]), 1e-6), d = fabs(a->losses[i] - b->losses[i]) / size;
    worst = d > worst || isnan(d) ? d : worst;
  }
  return worst;
}

// By processor time: where other work runs beside, the steadier of the two ratios.
static void put_cpu(step_bench *b, side *s, json_t *row) {
  double cpu = (double)ig_times_quantile(&b->sides[0].cpu, 0.5), rival = (double)ig_times_quantile(&s->cpu, 0.5);
  json_object_set_new(row, "rival_cpu_ns", json_integer((json_int_t)rival));
  ig_put_number(row, "cpu_ratio", rival / cpu);
}

// Adds what the rival did beside ours.
static ig_status add_rival(step_bench *b, side *s, json_t *row) {
  double ns = (double)ig_times_quantile(&b->sides[0].times, 0.5), rival_ns = (double)ig_times_quantile(&s->times, 0.5);
  const json_t *greeting = ig_rival_greeting(s->rival);
  json_t *peak, *losses = json_array();
  ig_rival_put(s->rival, ns, &s->times, ig_times_ratios(&b->sides[0].medians, &s->medians), row);
  ig_put_number(row, "rival_samples_per_second", b->stepper->batch / rival_ns * 1e9);
  put_cpu(b, s, row);
  ig_put_number(row, "loss_difference", loss_difference(&b->sides[0], s));
  for (int i = 0; i < WARM_UP; i++)
    json_array_append_new(losses, json_real(s->losses[i]));
  json_object_set_new(row, "rival_losses", losses);
  IG_TRY(ig_rival_ask(s->rival, &peak, "peak"));
  json_object_set(row, "rival_peak_bytes", json_object_get(peak, "peak_bytes"));
  if (json_object_get(peak, "reserved_bytes"))  // of a GPU: what PyTorch's allocator took from the driver
    json_object_set(row, "rival_reserved_bytes", json_object_get(peak, "reserved_bytes"));
  json_object_set(row, "rival_idle_bytes", json_object_get(greeting, "idle_bytes"));
  double rival_peak = json_number_value(json_object_get(peak, "peak_bytes"));
  double rival_idle = json_number_value(json_object_get(greeting, "idle_bytes"));
  ig_put_number(row, "memory_ratio", (double)b->peak_bytes / rival_peak);
  // Without what the libraries take by themselves.
  ig_put_number(row, "memory_ratio_net", (double)(b->peak_bytes - b->idle_bytes) / (rival_peak - rival_idle));
  json_decref(peak);
  json_object_set_new(row, "rival_start_ns", json_integer((json_int_t)ig_rival_start_ns(s->rival)));
  return IG_OK;
}

static ig_status make_rows(ig_call_state *c, step_bench *b, const ig_machine *m, json_t **out) {
  ig_status status = IG_OK;
  json_t *rows = json_array(), *first = ingot_row(b, m);
  if (!first)
    IG_GOTO(ig_no_json());
  if (ig_config_bool(c->config, "startup"))
    IG_GOTO(ig_bench_startup(c, first));
  if (b->n_sides == 1)
    json_array_append(rows, first);
  for (int i = 1; i < b->n_sides; i++) {
    json_t *row = json_copy(first);
    json_array_append_new(rows, row);
    IG_GOTO(add_rival(b, &b->sides[i], row));
  }
done:
  json_decref(first);
  *out = rows;
  return status;
}

// After the answer: unequal losses make every other figure void. With dropout both sides draw masks of their own, and
// losses say nothing.
static ig_status check_losses(const step_bench *b) {
  if (b->stepper->train && b->stepper->dropout > 0)
    return IG_OK;
  double tolerance = is_narrow(b) ? NARROW_TOLERANCE : device_of(b)->caps.tf32 ? TF32_TOLERANCE : FP32_TOLERANCE;
  for (int i = 1; i < b->n_sides; i++) {
    double d = loss_difference(&b->sides[0], &b->sides[i]);
    if (!(d <= tolerance))
      return ig_fail(IG_ERR_NUMERIC, "%s: its losses differ by %.2g, at most %.2g is expected: not the same work",
                     ig_rival_name(b->sides[i].rival), d, tolerance);
  }
  return IG_OK;
}

// A child of ig_bench_startup: the first step and nothing else.
static ig_status first_step(ig_call_state *c) {
  ig_stepper *s;
  IG_TRY(ig_stepper_create(c, ig_config_str(c->config, "model"), false, &s));
  ig_bench_child_says("begin");
  ig_status status = ig_stepper_run(s, NULL);
  if (status == IG_OK)
    ig_bench_child_says("end");
  ig_stepper_destroy(s);
  return status;
}

ig_status ig_bench_step(ig_call_state *c) {
  const ig_config *k = c->config;
  const char *trace = ig_config_str(k, "trace");
  step_bench b = {.steps = ig_config_int(k, "steps"),
                  .rounds = ig_config_int(k, "rounds"),
                  .idle_bytes = ig_memory_resident(),
                  .skipped = json_array()};
  json_t *rows = NULL, *more = json_object(), *nodes, *ops;
  ig_machine machine;
  ig_status status = IG_OK;
  if (trace && !*trace)
    trace = NULL;
  if (ig_bench_is_child()) {
    json_decref(more);
    json_decref(b.skipped);
    return first_step(c);
  }
  IG_GOTO(ig_want_writable(c, "trace"));
  IG_GOTO(ig_stepper_create(c, ig_config_str(k, "model"), false, &b.stepper));
  IG_GOTO(start_rivals(c, &b));
  reset_peak(&b);  // what timing of implementations took is not the step's
  IG_GOTO(warm_up(&b));
  IG_GOTO(run_rounds(c, &b));
  b.peak_bytes = on_gpu(&b) ? device_of(&b)->peak_bytes : ig_memory_peak();
  if (on_gpu(&b))
    b.idle_bytes = 0;
  IG_GOTO(ig_machine_measure_device(device_of(&b), &machine));
  IG_GOTO(make_rows(c, &b, &machine, &rows));
  if (trace || ig_config_bool(k, "detail")) {
    IG_GOTO(ig_bench_detail(b.stepper, (int)b.steps, &machine, trace, &nodes, &ops));
    if (ig_config_bool(k, "detail")) {
      json_object_set(more, "ops", ops);
      json_object_set(more, "nodes", nodes);
    }
    json_decref(ops);
    json_decref(nodes);
  }
  if (json_array_size(b.skipped))
    json_object_set(more, "skipped", b.skipped);
  status = ig_bench_answer(c, rows, more, &machine);
  rows = more = NULL;
  if (status == IG_OK)
    status = check_losses(&b);
done:
  json_decref(rows);
  json_decref(more);
  json_decref(b.skipped);
  for (int i = 0; i < b.n_sides; i++) {
    ig_rival_stop(b.sides[i].rival);
    ig_times_fini(&b.sides[i].times);
    ig_times_fini(&b.sides[i].medians);
    ig_times_fini(&b.sides[i].cpu);
  }
  if (b.folder)
    ig_remove_tree(b.folder);
  ig_free(b.folder);
  ig_stepper_destroy(b.stepper);
  return status;
}
