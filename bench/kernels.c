// `ingot bench kernels`: every op row on its sample cases and on the shapes of models, with each implementation. Rule:
// references are oracles: they are timed only where impl= names them, and a model's plan that uses one is a failure.
#include "kernels/kernels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"
#include "bench/kernel.h"
#include "bindings/c/options.h"
#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"

enum { MAX_MODELS = 16 };
#define SLOWER 0.9  // against=: below this ratio of times a row counts as slower

typedef struct kernel_bench {
  ig_call_state *call;
  ig_device *device;
  ig_dtype compute;
  ig_stepper *models[MAX_MODELS];
  int n_models;
  ig_kernel_cases cases;
  ig_machine machine;
  bool cold;
  int64_t launches;         // 0: time
  json_t *rows, *failures;  // failures: {"name", "case", "impl", "error"}
} kernel_bench;

// ---- what is chosen ----
static bool op_is_chosen(const ig_config *k, const char *name) {
  size_t n = 0;
  const char *const *patterns = ig_config_list(k, "op", &n);
  for (size_t i = 0; i < n; i++)
    if (ig_name_matches(patterns[i], name))
      return true;
  return n == 0;
}

// impl=: names or their last parts (dnnl, cpu, ref), * stands for any text. Without it all but the references.
static bool impl_is_chosen(const ig_config *k, const ig_impl *impl) {
  const char *list = ig_config_str(k, "impl");
  if (!list)
    return !(impl->flags & IG_IMPL_REF);
  while (*list) {
    char one[128];
    size_t n = strcspn(list, ",");
    snprintf(one, sizeof one, "%.*s", (int)n, list);
    size_t a = strlen(impl->name), b = strlen(one);
    if (ig_name_matches(one, impl->name) ||
        (a > b && impl->name[a - b - 1] == '_' && strcmp(impl->name + a - b, one) == 0))
      return true;
    list += n + (list[n] == ',');
  }
  return false;
}

static bool case_is_chosen(const ig_config *k, const ig_kernel_case *c) {
  const char *shape = ig_config_str(k, "shape");
  char text[256];
  return !shape || ig_name_matches(shape, c->name) || ig_name_matches(shape, ig_kernel_shape(c, text));
}

// Rows that op= names must exist.
static ig_status check_ops(const ig_config *k) {
  size_t n = 0;
  const char *const *patterns = ig_config_list(k, "op", &n);
  for (size_t i = 0; i < n; i++) {
    bool any = false;
    for (const ig_op *const *const *list = ig_op_lists; *list; list++)
      for (const ig_op *const *row = *list; *row; row++)
        any = any || ig_name_matches(patterns[i], (*row)->name);
    if (!any)
      return ig_fail(IG_ERR_USAGE, "op=%s names no row (ingot bench kernels list=1 names them)", patterns[i]);
  }
  return IG_OK;
}

// ---- list=1 ----
// The names that take one of the row's cases in this type, best first.
static ig_status implementations(kernel_bench *b, const ig_op *op, ig_dtype type, json_t **names) {
  ig_kernel_cases cases = {0};
  ig_status status = IG_OK;
  *names = json_array();
  IG_GOTO(ig_kernel_cases_of_row(&cases, op, type, true));
  for (int i = 0; i < IG_MAX_IMPLS && op->impls[b->device->caps.kind][i]; i++) {
    const char *name = op->impls[b->device->caps.kind][i];
    const ig_impl *impl = ig_device_find_impl(b->device, name);
    if (!impl || (ig_config_str(b->call->config, "impl") && !impl_is_chosen(b->call->config, impl)))
      continue;
    for (size_t j = 0; j < cases.n; j++)
      if (ig_kernel_supported(&cases.items[j], b->device, name)) {
        json_array_append_new(*names, json_string(name));
        break;
      }
  }
done:
  ig_kernel_cases_fini(&cases);
  return status;
}

// The names of a row for GPUs where none is here: by the row's table, since nobody can be asked what it takes.
static ig_status gpu_names(const ig_op *op, ig_dtype type, json_t **names) {
  ig_kernel_cases cases = {0};
  *names = json_array();
  ig_status status = ig_kernel_cases_of_row(&cases, op, type, true);
  for (int i = 0; cases.n && i < IG_MAX_IMPLS && op->impls[IG_DEVICE_CUDA][i]; i++)
    json_array_append_new(*names, json_string(op->impls[IG_DEVICE_CUDA][i]));
  ig_kernel_cases_fini(&cases);
  return status;
}

// What never occurs on a CPU, or not in this type, has no row there.
static bool occurs(const ig_op *op, const ig_device_caps *caps, ig_dtype type) {
  if (caps->kind != IG_DEVICE_CPU)
    return true;
  return type == IG_F32 ? op->on_cpu == IG_CPU_ANY || op->on_cpu == IG_CPU_F32 : op->on_cpu == IG_CPU_ANY && caps->bf16;
}

// Takes the names.
static ig_status list_row(kernel_bench *b, const ig_op *op, const char *device, const char *precision, json_t *names,
                          ig_text *table) {
  json_t *name;
  size_t i;
  json_array_append_new(
      b->rows, json_pack("{s:s, s:s, s:s, s:s, s:o}", "name", op->name, "summary", op->summary ? op->summary : "",
                         "device", device, "precision", precision, "implementations", names));
  IG_TRY(ig_text_addf(table, "%-24s %-4s %s ", op->name, device, precision));
  json_array_foreach(names, i, name) IG_TRY(ig_text_addf(table, " %s", json_string_value(name)));
  return ig_text_add(table, "\n", 1);
}

static ig_status list_rows(kernel_bench *b) {
  static const ig_dtype types[] = {IG_F32, IG_BF16, IG_F16};
  const ig_device_caps *caps = &b->device->caps;
  const bool gpu = caps->kind == IG_DEVICE_CUDA,
             both = !gpu && ig_config_is(b->call->config, "device", "auto") && !ig_config_str(b->call->config, "impl");
  ig_text table = {0};
  json_t *answer = NULL, *names;
  ig_status status = IG_OK;
  for (const ig_op *const *const *list = ig_op_lists; *list; list++)
    for (const ig_op *const *row = *list; *row; row++) {
      if (!op_is_chosen(b->call->config, (*row)->name))
        continue;
      for (int t = 0; t < (caps->fp16 ? 3 : 2); t++) {
        if (!occurs(*row, caps, types[t]))
          continue;
        status = implementations(b, *row, types[t], &names);
        ig_status listed = list_row(b, *row, gpu ? "cuda" : "cpu", ig_bench_precision(caps, types[t]), names, &table);
        IG_GOTO(status != IG_OK ? status : listed);
      }
      for (int t = 0; both && t < 3; t++) {
        status = gpu_names(*row, types[t], &names);
        ig_status listed = list_row(b, *row, "cuda", ig_bench_precision(&(ig_device_caps){0}, types[t]), names, &table);
        IG_GOTO(status != IG_OK ? status : listed);
      }
    }
  answer = json_pack("{s:O}", "rows", b->rows);
  status = ig_answer(b->call, answer, table.data ? table.data : "");
done:
  json_decref(answer);
  ig_free(table.data);
  return status;
}

// ---- measuring ----
static ig_status add_row(kernel_bench *b, const ig_kernel_case *c, ig_kernel *k) {
  char shape[256];
  ig_times times = {0};
  const ig_impl *impl = ig_kernel_impl(k);
  ig_cost cost = ig_kernel_cost(k);
  ig_status status = IG_OK;
  json_t *row = json_pack("{s:s, s:s, s:s, s:s, s:s, s:i, s:b}", "name", c->op->name, "case", c->name, "shape",
                          ig_kernel_shape(c, shape), "precision", ig_bench_precision(&b->device->caps, c->compute),
                          "impl", impl->name, "threads", b->device->caps.threads, "cold", (int)b->cold);
  if (!row)
    return ig_no_json();
  if (b->device->caps.kind == IG_DEVICE_CUDA)
    json_object_set_new(row, "device", json_string(b->device->caps.name));
  if (c->model) {
    json_object_set_new(row, "model", json_string(c->model));
    json_object_set_new(row, "uses", json_integer(c->uses));
  }
  if (b->launches) {
    for (int64_t i = 0; i < b->launches; i++)
      IG_GOTO(ig_kernel_launch(k));
    json_object_set_new(row, "launches", json_integer((json_int_t)b->launches));
  } else {
    IG_GOTO(ig_kernel_time(k, &times));
    IG_GOTO(ig_times_put(&times, row));
    double ns = (double)ig_times_quantile(&times, 0.5);
    ig_put_number(row, "gbps", cost.bytes / ns);
    ig_put_number(row, "gflops", cost.flops / ns);
    ig_put_number(row, "roofline",
                  ig_machine_roofline_ns(&b->machine, cost.flops, cost.bytes, c->compute != IG_F32) / ns);
  }
  json_object_set_new(row, "workspace_bytes", json_integer((json_int_t)ig_kernel_workspace(k)));
  json_array_append(b->rows, row);
done:
  json_decref(row);
  ig_times_fini(&times);
  return status;
}

// Implementations of one case, rows from `first` on, are each other's rivals: beside each stands the fastest other one.
static void put_rivals(json_t *rows, size_t first) {
  for (size_t i = first; i < json_array_size(rows); i++) {
    json_t *row = json_array_get(rows, i), *best = NULL;
    for (size_t j = first; j < json_array_size(rows); j++) {
      json_t *other = json_array_get(rows, j);
      if (j != i &&
          (!best || json_integer_value(json_object_get(other, "ns")) < json_integer_value(json_object_get(best, "ns"))))
        best = other;
    }
    if (!best)
      return;
    double ns = json_number_value(json_object_get(row, "ns")), rival = json_number_value(json_object_get(best, "ns"));
    json_object_set(row, "rival", json_object_get(best, "impl"));
    json_object_set(row, "rival_ns", json_object_get(best, "ns"));
    ig_put_number(row, "ratio", rival / ns);
  }
}

// Measures one implementation; one that fails is kept for the end, so that the others have their rows.
static ig_status measure_one(kernel_bench *b, const ig_kernel_case *c, const char *name) {
  ig_kernel *k = NULL;
  ig_status status = ig_kernel_create(c, b->device, name, b->cold, &k);
  if (status == IG_ERR_UNSUPPORTED) {
    ig_error_clear();
    return IG_OK;
  }
  ig_note(b->call, "%s %s: %s", c->op->name, c->name, name);
  if (status == IG_OK)
    status = add_row(b, c, k);
  ig_kernel_destroy(k);
  if (status == IG_OK)
    return IG_OK;
  json_t *failure = json_pack("{s:s, s:s, s:s, s:s, s:i}", "name", c->op->name, "case", c->name, "impl", name, "error",
                              ig_error_message(), "status", (int)status);
  if (!failure || json_array_append_new(b->failures, failure))
    return ig_no_json();
  ig_error_clear();
  return IG_OK;
}

static ig_status measure_case(kernel_bench *b, const ig_kernel_case *c) {
  const size_t first = json_array_size(b->rows);
  for (int i = 0; i < IG_MAX_IMPLS && c->op->impls[b->device->caps.kind][i]; i++) {
    const char *name = c->op->impls[b->device->caps.kind][i];
    const ig_impl *impl = ig_device_find_impl(b->device, name);
    if (impl && impl_is_chosen(b->call->config, impl))
      IG_TRY(measure_one(b, c, name));
  }
  if (!b->launches)
    put_rivals(b->rows, first);
  return IG_OK;
}

// ---- against=FILE ----
static bool same_row(const json_t *a, const json_t *b) {
  static const char *const keys[] = {"name",    "case", "shape", "precision", "impl",
                                     "threads", "cold", "model", "device"};
  for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
    const json_t *x = json_object_get(a, keys[i]), *y = json_object_get(b, keys[i]);
    if ((x || y) && !json_equal(x, y))
      return false;
  }
  return true;
}

static ig_status compare(kernel_bench *b, const json_t *earlier, json_t *more) {
  size_t i, j;
  int matched = 0, slower = 0;
  json_t *row, *old;
  json_array_foreach(b->rows, i, row) {
    json_array_foreach(json_object_get(earlier, "rows"), j, old) {
      double before = json_number_value(json_object_get(old, "ns")),
             now = json_number_value(json_object_get(row, "ns"));
      if (!same_row(row, old) || before <= 0 || now <= 0)
        continue;
      matched++;
      slower += before / now < SLOWER;
      json_object_set_new(row, "against_ns", json_integer((json_int_t)before));
      ig_put_number(row, "against_ratio", before / now);
      break;
    }
  }
  if (!matched)
    return ig_fail(IG_ERR_MISMATCH,
                   "against=: no row of the file is of the same operation, shape, precision, "
                   "implementation and threads as one of these");
  json_object_set_new(more, "against", json_pack("{s:i, s:i}", "matched", matched, "slower", slower));
  return IG_OK;
}

static ig_status read_earlier(const ig_config *k, json_t **out) {
  const char *path = ig_config_str(k, "against");
  uint8_t *data;
  size_t n;
  *out = NULL;
  if (!path)
    return IG_OK;
  IG_TRY(ig_file_read(path, 1u << 28, &data, &n));
  *out = json_loadb((const char *)data, n, 0, NULL);
  ig_free(data);
  if (json_is_array(json_object_get(*out, "rows")))
    return IG_OK;
  json_decref(*out);
  *out = NULL;
  return ig_fail(IG_ERR_FORMAT, "against=%s: no JSON object with rows, as bench kernels --json writes it", path);
}

// ---- the whole ----
static ig_status open_models(kernel_bench *b) {
  const char *list = ig_config_str(b->call->config, "model");
  while (list && *list && strcmp(list, "none") != 0) {
    char one[128];
    size_t n = strcspn(list, ",");
    snprintf(one, sizeof one, "%.*s", (int)n, list);
    if (b->n_models == MAX_MODELS)
      return ig_fail(IG_ERR_USAGE, "model=: at most %d models", MAX_MODELS);
    IG_TRY(ig_stepper_create(b->call, one, true, &b->models[b->n_models]));
    b->n_models++;
    list += n + (list[n] == ',');
  }
  return IG_OK;
}

static ig_status check_references(const kernel_bench *b) {
  for (int i = 0; i < b->n_models; i++) {
    ig_plan *plans[2];
    int n = ig_stepper_plans(b->models[i], plans);
    for (int p = 0; p < n; p++) {
      const char *first = NULL;
      int nodes = ig_plan_reference_nodes(plans[p], &first);
      if (nodes)
        return ig_fail(IG_ERR_INTERNAL, "%s: its plan runs %d nodes by references, the first is %s",
                       b->models[i]->model->name, nodes, first);
    }
  }
  return IG_OK;
}

static ig_status collect(kernel_bench *b) {
  for (const ig_op *const *const *list = ig_op_lists; *list; list++)
    for (const ig_op *const *row = *list; *row; row++)
      if (op_is_chosen(b->call->config, (*row)->name))
        IG_TRY(ig_kernel_cases_of_row(&b->cases, *row, b->compute, false));
  for (int i = 0; i < b->n_models; i++)
    IG_TRY(ig_kernel_cases_of_step(&b->cases, b->models[i]));
  return IG_OK;
}

// seconds=: cases behind that are counted in the answer.
static ig_status measure_cases(kernel_bench *b, json_t *more) {
  const ig_config *k = b->call->config;
  const uint64_t start = ig_now_ns(), most = (uint64_t)ig_config_int(k, "seconds") * 1000000000u;
  int left_out = 0;
  for (size_t i = 0; i < b->cases.n; i++) {
    const ig_kernel_case *c = &b->cases.items[i];
    if (!op_is_chosen(k, c->op->name) || !case_is_chosen(k, c))
      continue;
    if (most && ig_now_ns() - start > most)
      left_out++;
    else
      IG_TRY(measure_case(b, c));
  }
  if (left_out)
    json_object_set_new(more, "left_out", json_integer(left_out));
  if (json_array_size(b->failures))
    json_object_set(more, "failures", b->failures);
  return IG_OK;
}

// After the answer.
static ig_status check_failures(const kernel_bench *b) {
  const json_t *first = json_array_get(b->failures, 0);
  if (!first)
    return IG_OK;
  return ig_fail((ig_status)json_integer_value(json_object_get(first, "status")),
                 "%zu of the implementations failed, the first is %s, %s: %s", json_array_size(b->failures),
                 json_string_value(json_object_get(first, "impl")), json_string_value(json_object_get(first, "case")),
                 json_string_value(json_object_get(first, "error")));
}

static ig_status measure(kernel_bench *b) {
  const ig_config *k = b->call->config;
  json_t *earlier = NULL, *more = json_object();
  ig_status status = IG_OK;
  IG_GOTO(read_earlier(k, &earlier));
  IG_GOTO(open_models(b));
  IG_GOTO(collect(b));
  if (!b->launches)
    IG_GOTO(ig_machine_measure_device(b->device, &b->machine));
  IG_GOTO(measure_cases(b, more));
  if (!json_array_size(b->rows) && !json_array_size(b->failures))
    IG_GOTO(ig_fail(IG_ERR_USAGE, "op=, shape= and impl= leave nothing to measure"));
  if (earlier)
    IG_GOTO(compare(b, earlier, more));
  status = ig_bench_answer(b->call, json_incref(b->rows), more, b->launches ? NULL : &b->machine);
  more = NULL;
  if (status == IG_OK)
    status = check_failures(b);
  if (status == IG_OK)
    status = check_references(b);
done:
  json_decref(earlier);
  json_decref(more);
  return status;
}

ig_status ig_bench_kernels(ig_call_state *c) {
  const ig_config *k = c->config;
  kernel_bench b = {.call = c, .launches = ig_config_int(k, "launches")};
  ig_session_options session;
  char *cache_dir = NULL;
  ig_status status = IG_OK;
  b.rows = json_array();
  b.failures = json_array();
  IG_GOTO(check_ops(k));
  IG_GOTO(ig_session_keys(c, &session, &cache_dir));
  IG_GOTO(ig_session_device(&session, &b.device));
  IG_GOTO(ig_session_compute(&b.device->caps, session.precision, &b.compute));
  b.cold = ig_config_is(k, "cold", "1") || (ig_config_is(k, "cold", "auto") && b.device->caps.kind == IG_DEVICE_CUDA);
  status = ig_config_bool(k, "list") ? list_rows(&b) : measure(&b);
done:
  ig_kernel_cases_fini(&b.cases);
  for (int i = 0; i < b.n_models; i++)
    ig_stepper_destroy(b.models[i]);
  ig_device_destroy(b.device);
  ig_free(cache_dir);
  json_decref(b.rows);
  json_decref(b.failures);
  return status;
}
