// `ingot bench step`: a model's training step or inference as a whole. Rule: the first steps warm up and give the
// losses that rivals are held against; only later ones are timed.
#include <string.h>

#include "bench/bench.h"
#include "bench/detail.h"
#include "bench/stepper.h"
#include "bindings/c/options.h"
#include "runtime/base/cpu.h"
#include "runtime/base/mem.h"

enum { WARM_UP = 3 };

static ig_status time_steps(ig_stepper *s, int64_t steps, ig_times *times) {
  for (int64_t i = 0; i < steps; i++) {
    uint64_t start = ig_now_ns();
    IG_TRY(ig_stepper_run(s, NULL));
    IG_TRY(ig_times_add(times, ig_now_ns() - start));
  }
  return IG_OK;
}

static json_t *step_row(const ig_stepper *s, const ig_machine *m, ig_times *times, const double *losses) {
  char shape[64], name[128];
  ig_step_cost cost = ig_bench_step_cost(s, m);
  double ns = (double)ig_times_quantile(times, 0.5);
  snprintf(shape, sizeof shape, "%dx%dx%dx3", s->batch, s->image_size, s->image_size);
  snprintf(name, sizeof name, "%s %s", s->model->name, s->train ? "train" : "infer");
  json_t *row =
      json_pack("{s:s, s:s, s:s, s:i}", "name", name, "shape", shape, "precision",
                s->session->compute == IG_BF16 ? "bf16" : "fp32", "threads", s->session->device->caps.threads);
  if (!row || ig_times_put(times, row) != IG_OK) {
    json_decref(row);
    return NULL;
  }
  ig_put_number(row, "samples_per_second", s->batch / ns * 1e9);
  ig_put_number(row, "gflops", cost.flops / ns);
  ig_put_number(row, "gbps", cost.bytes / ns);
  ig_put_number(row, "roofline", cost.roofline_ns / ns);
  json_object_set_new(row, "plan_bytes", json_integer((json_int_t)ig_stepper_bytes(s)));
  json_object_set_new(row, "peak_bytes", json_integer((json_int_t)ig_memory_peak()));
  if (s->train) {
    json_t *list = json_array();
    for (int i = 0; i < WARM_UP; i++)
      json_array_append_new(list, json_real(losses[i]));
    json_object_set_new(row, "losses", list);
  }
  return row;
}

ig_status ig_bench_step(ig_call_state *c) {
  const ig_config *k = c->config;
  ig_stepper *s = NULL;
  ig_times times = {0};
  ig_machine machine;
  ig_isa isa;
  json_t *row = NULL, *more = json_object(), *nodes, *ops;
  double losses[WARM_UP];
  const char *trace = ig_config_str(k, "trace");
  int64_t steps = ig_config_int(k, "steps"), rounds = ig_config_int(k, "rounds");
  ig_status status = IG_OK;
  IG_GOTO(ig_isa_parse(ig_config_str(k, "isa"), &isa));
  ig_machine_measure(ig_thread_count(c), isa, &machine);
  IG_GOTO(ig_stepper_create(c, ig_config_str(k, "model"), &s));
  for (int i = 0; i < WARM_UP; i++)
    IG_GOTO(ig_stepper_run(s, &losses[i]));
  IG_GOTO(time_steps(s, steps * rounds, &times));
  row = step_row(s, &machine, &times, losses);
  if (!row)
    IG_GOTO(ig_no_json());
  if (trace || ig_config_bool(k, "detail")) {
    IG_GOTO(ig_bench_detail(s, (int)steps, &machine, trace, &nodes, &ops));
    json_object_set_new(more, "ops", ops);
    json_object_set_new(more, "nodes", nodes);
    if (!ig_config_bool(k, "detail"))
      json_object_clear(more);
  }
  IG_GOTO(ig_bench_answer(c, json_pack("[o]", row), more, &machine));
  row = more = NULL;
done:
  json_decref(row);
  json_decref(more);
  ig_times_fini(&times);
  ig_stepper_destroy(s);
  return status;
}
