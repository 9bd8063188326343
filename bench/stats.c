// Times and the answer's frame. Rule: the median is the figure, the deciles say how far to trust it.
#include <math.h>
#include <stdlib.h>

#include "bench/bench.h"
#include "bench/rival.h"
#include "bindings/c/ingot.h"
#include "runtime/base/mem.h"

ig_status ig_times_add(ig_times *t, uint64_t ns) {
  IG_TRY(ig_grow(&t->ns, &t->capacity, t->n, t->n + 1, sizeof *t->ns, "times"));
  t->ns[t->n++] = ns;
  return IG_OK;
}

void ig_times_fini(ig_times *t) {
  ig_free(t->ns);
  *t = (ig_times){0};
}

static int by_value(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

uint64_t ig_times_quantile(ig_times *t, double q) {
  if (!t->n)
    return 0;
  qsort(t->ns, t->n, sizeof *t->ns, by_value);
  return t->ns[(size_t)lround(q * (double)(t->n - 1))];
}

ig_ratios ig_times_ratios(const ig_times *ours, const ig_times *theirs) {
  ig_ratios r = {INFINITY, 0};
  for (size_t i = 0; i < ours->n && i < theirs->n; i++) {
    const double ratio = (double)theirs->ns[i] / (double)ours->ns[i];
    r.low = fmin(r.low, ratio);
    r.high = fmax(r.high, ratio);
  }
  return r;
}

void ig_put_number(json_t *row, const char *key, double value) {
  if (isfinite(value))
    json_object_set_new(row, key, json_real(value));
}

ig_status ig_times_put(ig_times *t, json_t *row) {
  if (json_object_set_new(row, "ns", json_integer((json_int_t)ig_times_quantile(t, 0.5))) ||
      json_object_set_new(row, "ns_min", json_integer((json_int_t)ig_times_quantile(t, 0))) ||
      json_object_set_new(row, "ns_low", json_integer((json_int_t)ig_times_quantile(t, 0.1))) ||
      json_object_set_new(row, "ns_high", json_integer((json_int_t)ig_times_quantile(t, 0.9))) ||
      json_object_set_new(row, "samples", json_integer((json_int_t)t->n)))
    return ig_no_json();
  return IG_OK;
}

ig_status ig_bench_libraries(const char *const *names, size_t n_names, struct ig_rival *const *rivals, size_t n_rivals,
                             json_t **out) {
  json_t *environment = NULL, *libraries = json_pack("{s:s}", "ingot", ig_version());
  IG_TRY(ig_environment_json(&environment));
  const json_t *known = json_object_get(environment, "libraries");
  for (size_t i = 0; i < n_names; i++)
    if (json_object_get(known, names[i]))
      json_object_set(libraries, names[i], json_object_get(known, names[i]));
  for (size_t i = 0; i < n_rivals; i++)
    if (rivals[i])
      json_object_set(libraries, ig_rival_name(rivals[i]), json_object_get(ig_rival_greeting(rivals[i]), "version"));
  json_decref(environment);
  *out = json_pack("{s:o}", "libraries", libraries);
  return *out ? IG_OK : ig_no_json();
}

ig_status ig_bench_answer(ig_call_state *c, json_t *rows, json_t *more, const ig_machine *machine) {
  json_t *answer = json_object(), *environment = NULL;
  ig_status status = ig_environment_json(&environment);
  json_object_set_new(answer, "rows", rows);
  json_object_update(answer, more);
  json_decref(more);
  if (machine)
    json_object_set_new(answer, "machine", ig_machine_json(machine));
  json_object_set_new(answer, "environment", environment);
  if (status == IG_OK)
    status = ig_answer(c, answer, NULL);
  json_decref(answer);
  return status;
}
