// What the tests of convolutions and of reorder share: one node of a row planned and run on the CPU in a setting, and
// how results are compared.
#ifndef INGOT_TESTS_CONV_FIXTURE_H
#define INGOT_TESTS_CONV_FIXTURE_H

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "kernels/kernels.h"
#include "runtime/base/rng.h"
#include "runtime/graph/plan.h"

namespace conv {

struct Setting {
  const char *force = nullptr;
  int threads = 2;
  bool deterministic = false;
  int shards = 1;
  ig_isa isa = IG_ISA_AMX;
  bool winograd = false;
};

struct Result {
  ig_status status = IG_OK;
  std::string message;
  std::string impl;                          // of the node under test
  std::vector<std::vector<float>> out, raw;  // per output, as f32
};

inline const ig_op *find_row(const char *name) {
  for (const ig_op *const *const *list = ig_op_lists; *list; list++)
    for (const ig_op *const *op = *list; *op; op++)
      if (!strcmp((*op)->name, name))
        return *op;
  return nullptr;
}

struct Machine {
  ig_device *device = nullptr;
  explicit Machine(const Setting &s) {
    ig_cpu_options o = {};
    o.size = sizeof o;
    o.threads = s.threads;
    o.isa = s.isa;
    o.winograd = s.winograd;
    o.impl_lists = ig_cpu_impl_lists;
    o.libraries = ig_cpu_libraries();
    EXPECT_EQ(ig_device_create_cpu(&o, &device), IG_OK);
  }
  ~Machine() { ig_device_destroy(device); }
};

inline ig_graph *graph_of(ig_params *params, ig_dtype compute) {
  ig_params_init(params);
  ig_graph_options o = {};
  o.size = sizeof o;
  o.ops = ig_op_lists;
  o.params = params;
  o.compute_dtype = compute;
  ig_graph *g = nullptr;
  EXPECT_EQ(ig_graph_create(&o, &g), IG_OK);
  return g;
}

// One node of the row with the case's operands (float ones in `type`), planned and run on the CPU.
inline Result run_case(const ig_op *op, const ig_op_case &c, ig_dtype type, const Setting &s) {
  Result r;
  Machine machine(s);
  ig_params params;
  ig_graph *g = graph_of(&params, type);
  std::vector<ig_tensor *> in(c.n_in, nullptr);
  std::vector<std::vector<char>> data(c.n_in);
  for (int i = 0; i < c.n_in; i++) {
    const ig_case_input &x = c.in[i];
    if (x.fill == IG_FILL_ABSENT)
      continue;
    bool is_float = ig_dtype_is_float(x.dtype);
    ig_dtype t = is_float ? (x.fixed_f32 && type != IG_F64 ? IG_F32 : type) : x.dtype;
    in[i] = ig_graph_input(g, ("in" + std::to_string(i)).c_str(), t, x.shape);
    int64_t n = ig_shape_count(&x.shape);
    std::vector<float> values(n);
    ig_rng rng = ig_rng_make(7, (uint64_t)i, 0);
    for (int64_t skip = 0; skip < (int64_t)x.lo; skip++)
      ig_rng_normal(&rng);
    for (float &v : values)
      v = is_float ? ig_rng_normal(&rng) : (float)(ig_rng_u32(&rng) % 1000);
    data[i].resize((size_t)n * ig_dtype_bytes(t));
    ig_convert(data[i].data(), t, values.data(), IG_F32, (size_t)n);
  }
  ig_node *node = ig_graph_node(g, op->name, "node", c.n_in, in.data(), c.attr);
  std::vector<std::vector<char>> out;
  for (int i = 0; node && i < node->n_out; i++) {
    ig_graph_output(g, node->out[i], ("out" + std::to_string(i)).c_str());
    out.emplace_back((size_t)ig_shape_count(&node->out[i]->shape) * ig_dtype_bytes(node->out[i]->dtype), (char)0x55);
  }
  ig_plan_options po = {};
  po.size = sizeof po;
  po.device = machine.device;
  po.deterministic = s.deterministic;
  po.shards = s.shards;
  po.force = s.force;
  ig_plan *plan = nullptr;
  void *arena = nullptr;
  ig_plan_bytes bytes = {};
  r.status = node ? ig_plan_create(g, &po, &plan) : ig_graph_status(g);
  if (r.status == IG_OK) {
    ig_plan_get_bytes(plan, &bytes);
    EXPECT_EQ(ig_alloc_pages(bytes.arena + 1, "arena", &arena), IG_OK);
    memset(arena, 0xff, bytes.arena);  // NaN: what is not written shows
    EXPECT_EQ(ig_plan_bind(plan, IG_SPACE_ARENA, arena), IG_OK);
    for (int i = 0; i < c.n_in; i++)
      if (in[i]) {
        EXPECT_EQ(ig_plan_set_io(plan, in[i], data[i].data()), IG_OK);
      }
    for (int i = 0; i < node->n_out; i++)
      EXPECT_EQ(ig_plan_set_io(plan, node->out[i], out[i].data()), IG_OK);
    r.status = ig_plan_run(plan, nullptr);
    for (int i = 0; i < ig_plan_n_rows(plan); i++)
      if (ig_plan_get_row(plan, i).node == node)
        r.impl = ig_plan_get_row(plan, i).impl;
  }
  if (r.status != IG_OK)
    r.message = ig_error_message();
  for (int i = 0; r.status == IG_OK && i < node->n_out; i++) {
    size_t n = (size_t)ig_shape_count(&node->out[i]->shape);
    r.out.emplace_back(n);
    ig_convert(r.out.back().data(), IG_F32, out[i].data(), node->out[i]->dtype, n);
  }
  ig_plan_destroy(plan);
  if (arena)
    ig_free_pages(arena, bytes.arena + 1);
  ig_graph_destroy(g);
  ig_params_fini(&params);
  return r;
}

// Largest difference over the root mean square of the wanted values.
inline double relative_error(const std::vector<float> &got, const std::vector<float> &want) {
  double worst = 0, squares = 0;
  for (size_t i = 0; i < want.size(); i++) {
    if (!std::isfinite(got[i]))
      return INFINITY;
    worst = std::max(worst, std::fabs((double)got[i] - want[i]));
    squares += (double)want[i] * want[i];
  }
  return squares > 0 ? worst / std::sqrt(squares / (double)want.size()) : worst;
}

inline void expect_same_bits(const Result &a, const Result &b) {
  ASSERT_EQ(a.status, IG_OK) << a.message;
  ASSERT_EQ(b.status, IG_OK) << b.message;
  for (size_t k = 0; k < a.out.size(); k++)
    EXPECT_EQ(0, memcmp(a.out[k].data(), b.out[k].data(), a.out[k].size() * sizeof(float))) << "output " << k;
}

inline bool has_bf16() {
  Machine machine{Setting()};
  if (!machine.device->caps.bf16)
    printf("  skipped: this processor has no bf16 products\n");
  return machine.device->caps.bf16;
}

}  // namespace conv

#endif
