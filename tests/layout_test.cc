// floor: ig_kernels
// The CPU implementations that take activations in several layouts, launched directly: every case of the rows, in every
// layout, instruction set, both dtypes, 1 to 3 threads and in place, against the reference in fp64. Padding lanes of
// the results must be zero, nothing may be written behind a result or the workspace, threads may change no bit.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "kernels/kernels.h"
#include "runtime/base/rng.h"

extern "C" {
extern const ig_op *const ig_ops_eltwise[],
    *const ig_ops_batchnorm[], *const ig_ops_pool2d[], *const ig_ops_shape_ops[], *const ig_ops_dropout[];
}

namespace {

const ig_layout layouts[] = {IG_PLAIN, IG_BLOCKED_C(1), IG_BLOCKED_C(8), IG_BLOCKED_C(16)};
const size_t guard = 64;

// Memory with a guard behind it.
struct Memory {
  std::vector<uint64_t> words;
  size_t bytes;
  Memory(size_t n, int byte) : words((n + guard) / 8 + 2, 0), bytes(n) {
    memset(words.data(), byte, n);
    memset(data() + n, 0x5a, guard);
  }
  char *data() { return (char *)words.data(); }
  bool intact() {
    for (size_t i = 0; i < guard; i++)
      if (data()[bytes + i] != 0x5a)
        return false;
    return true;
  }
};

// Place of row-major element i in memory.
size_t place_of(const ig_shape &s, ig_layout layout, int64_t i) {
  if (layout.kind != IG_LAYOUT_BLOCKED_C)
    return (size_t)i;
  ig_view4 v = ig_view4_of(&s, layout);
  int64_t c = i % v.C, p = i / v.C % v.P, n = i / v.C / v.P;
  return (size_t)(n * v.stride_n + c / v.block * v.stride_b + p * v.stride_p + c % v.block);
}

struct Outcome {
  std::vector<std::vector<double>> out;  // results, then operands that the row updates in place
  bool intact = true, padding_is_zero = true;
};

using Values = std::vector<std::vector<double>>;

Outcome launch(ig_node *n, const ig_impl *impl, ig_device *device, ig_layout offered, const Values &values,
               bool in_place) {
  std::vector<ig_layout> in_layout(n->n_in, IG_PLAIN), out_layout(n->n_out, IG_PLAIN);
  for (int i = 0; i < n->n_in; i++)
    if (n->in[i] && n->in[i]->shape.n == 4)
      in_layout[i] = offered;
  ig_prepare prepare = {};
  prepare.node = n;
  prepare.device = device;
  prepare.shards = 1;
  prepare.in_layout = in_layout.data();
  prepare.out_layout = out_layout.data();
  if (impl->prepare)
    EXPECT_EQ(impl->prepare(&prepare), IG_OK) << ig_error_message();
  else
    in_layout.assign(n->n_in, IG_PLAIN);
  std::vector<Memory> memory;
  std::vector<void *> in(n->n_in, nullptr), out(n->n_out, nullptr);
  std::vector<int> owner(n->n_out, -1);
  memory.reserve(n->n_in + n->n_out + 1);
  for (int i = 0; i < n->n_in; i++) {
    if (!n->in[i])
      continue;
    const ig_tensor *t = n->in[i];
    memory.emplace_back(ig_layout_bytes(nullptr, in_layout[i], &t->shape, t->dtype), 0);
    in[i] = memory.back().data();
    for (size_t k = 0; k < values[i].size(); k++)
      ig_store_f64(in[i], t->dtype, place_of(t->shape, in_layout[i], (int64_t)k), values[i][k]);
  }
  for (int i = 0; i < n->n_out; i++) {
    const ig_tensor *t = n->out[i];
    size_t bytes = ig_layout_bytes(nullptr, out_layout[i], &t->shape, t->dtype);
    int j = n->op->in_place[i] - 1;
    if (in_place && j >= 0 && in[j] && ig_layout_equal(in_layout[j], out_layout[i]) &&
        bytes == ig_layout_bytes(nullptr, in_layout[j], &n->in[j]->shape, n->in[j]->dtype)) {
      out[i] = in[j];
      continue;
    }
    memory.emplace_back(bytes, 0xff);
    out[i] = memory.back().data();
  }
  memory.emplace_back(prepare.workspace_bytes, 0xff);
  ig_launch l = {};
  l.node = n;
  l.state = prepare.state;
  l.in = in.data();
  l.out = out.data();
  l.in_layout = in_layout.data();
  l.out_layout = out_layout.data();
  l.workspace = memory.back().data();
  l.workspace_bytes = prepare.workspace_bytes;
  l.device = device;
  EXPECT_EQ(impl->run(&l), IG_OK) << ig_error_message();
  Outcome r;
  for (Memory &m : memory)
    r.intact &= m.intact();
  for (int i = 0; i < n->n_out + n->n_in; i++) {
    bool is_out = i < n->n_out;
    if (!is_out && !(n->op->mutates_in >> (i - n->n_out) & 1))
      continue;
    const ig_tensor *t = is_out ? n->out[i] : n->in[i - n->n_out];
    ig_layout layout = is_out ? out_layout[i] : in_layout[i - n->n_out];
    void *p = is_out ? out[i] : in[i - n->n_out];
    size_t total = ig_layout_bytes(nullptr, layout, &t->shape, t->dtype) / ig_dtype_bytes(t->dtype);
    std::vector<bool> real(total, false);
    std::vector<double> v((size_t)ig_shape_count(&t->shape));
    for (size_t k = 0; k < v.size(); k++) {
      size_t at = place_of(t->shape, layout, (int64_t)k);
      v[k] = ig_load_f64(p, t->dtype, at);
      real[at] = true;
    }
    for (size_t k = 0; k < total; k++)
      if (!real[k] && ig_load_f64(p, t->dtype, k) != 0)
        r.padding_is_zero = false;
    r.out.push_back(v);
  }
  return r;
}

std::vector<double> fill(const ig_case_input &x, uint64_t stream, double kink) {
  std::vector<double> v((size_t)ig_shape_count(&x.shape));
  ig_rng r = ig_rng_make(11, stream, 0);
  for (size_t i = 0; i < v.size(); i++) {
    double u = ig_rng_uniform(&r);
    switch (x.fill) {
      case IG_FILL_UNIFORM:
        v[i] = x.lo + u * (x.hi - x.lo);
        break;
      case IG_FILL_POSITIVE:
        v[i] = 0.5 + u;
        break;
      case IG_FILL_INDEX:
        v[i] = std::floor(u * x.hi);
        break;
      case IG_FILL_BINARY:
        v[i] = i == 0 || u < 0.5;
        break;
      default:
        v[i] = ig_rng_normal(&r);
        if (std::fabs(v[i]) < kink)
          v[i] = v[i] < 0 ? -kink : kink;
    }
  }
  return v;
}

ig_node *build(ig_graph *g, const ig_op *op, const ig_op_case &c, ig_dtype type) {
  ig_tensor *in[IG_MAX_CASE_IN] = {};
  for (int i = 0; i < c.n_in; i++) {
    const ig_case_input &x = c.in[i];
    if (x.fill == IG_FILL_ABSENT)
      continue;
    ig_dtype t = x.dtype != IG_F32 ? x.dtype : x.fixed_f32 && type != IG_F64 ? IG_F32 : type;
    in[i] = ig_graph_tensor(g, "operand", t, x.shape, IG_SPACE_IO);
  }
  ig_node *n = ig_graph_node(g, op->name, c.name, c.n_in, in, c.attr);
  if (n)
    n->key = 7;  // the same draws for every node of the case
  return n;
}

const ig_impl *find(const std::string &name, ig_isa most) {
  const ig_impl *best = nullptr;
  for (const ig_impl *const *list = ig_cpu_impl_lists; *list; list++)
    for (const ig_impl *i = *list; i->name; i++)
      if (name == i->name && i->isa <= most && (!best || i->isa > best->isa))
        best = i;
  return best;
}

struct Device {
  ig_device *device = nullptr;
  explicit Device(int threads) {
    ig_cpu_options o = {};
    o.size = sizeof o;
    o.isa = IG_ISA_AMX;
    o.threads = threads;
    o.impl_lists = ig_cpu_impl_lists;
    EXPECT_EQ(ig_device_create_cpu(&o, &device), IG_OK);
  }
  ~Device() { ig_device_destroy(device); }
};

// Largest difference over the largest wanted value.
double error(const std::vector<double> &got, const std::vector<double> &want) {
  double worst = 0, largest = 1e-30;
  for (size_t i = 0; i < got.size(); i++) {
    if (!(std::fabs(got[i] - want[i]) <= 1e300))
      return INFINITY;
    worst = std::max(worst, std::fabs(got[i] - want[i]));
    largest = std::max(largest, std::fabs(want[i]));
  }
  return worst / largest;
}

void check_case(ig_graph *g, const ig_op *op, const ig_op_case &c, ig_dtype type, int *n_launches) {
  static const Device devices[] = {Device(1), Device(2), Device(3)};
  std::string what = std::string(op->name) + " " + c.name + " " + ig_dtype_name(type);
  ig_node *n = build(g, op, c, type), *wide = build(g, op, c, IG_F64);
  ASSERT_TRUE(n && wide) << what << ": " << ig_error_message();
  Values values(c.n_in);
  for (int i = 0; i < c.n_in; i++) {
    if (!n->in[i])
      continue;
    values[i] = fill(c.in[i], (uint64_t)i, c.kink);
    for (double &v : values[i]) {
      char element[8];
      ig_store_f64(element, n->in[i]->dtype, 0, v);
      v = ig_load_f64(element, n->in[i]->dtype, 0);
    }
  }
  const ig_impl *reference = find(std::string(op->name) + "_ref", IG_ISA_BASE);
  ASSERT_NE(reference, nullptr) << what;
  Outcome want = launch(wide, reference, devices[0].device, IG_PLAIN, values, false);
  for (int isa = IG_ISA_BASE; isa <= IG_ISA_AVX512 && isa <= ig_isa_detect(); isa++)
    for (ig_layout layout : layouts) {
      const ig_impl *impl = find(std::string(op->name) + "_cpu", (ig_isa)isa);
      ASSERT_NE(impl, nullptr) << what;
      char why[160];
      if (impl->supports && !impl->supports(n, &devices[0].device->caps, why, sizeof why))
        continue;
      Outcome first;
      for (int variant = 0; variant < 4; variant++) {  // 1, 2, 3 threads, and in place
        Outcome got = launch(n, impl, devices[variant % 3].device, layout, values, variant == 3);
        char label[32];
        std::string where = what + " " + ig_isa_name((ig_isa)isa) + " " + ig_layouts_label(nullptr, layout, label) +
                            " variant " + std::to_string(variant);
        (*n_launches)++;
        EXPECT_TRUE(got.intact) << where;
        EXPECT_TRUE(got.padding_is_zero) << where;
        ASSERT_EQ(got.out.size(), want.out.size()) << where;
        for (size_t i = 0; i < got.out.size(); i++) {
          bool narrow = i < (size_t)n->n_out ? n->out[i]->dtype == IG_BF16 : type == IG_BF16;
          EXPECT_LE(error(got.out[i], want.out[i]), narrow ? 0.005 : 3e-6) << where << " result " << i;
        }
        if (variant == 0)
          first = got;
        else
          EXPECT_EQ(got.out, first.out) << where;
      }
    }
}

// A row of GPUs alone has nothing but its reference here.
bool is_vectorised(const ig_op *op) {
  for (int i = 0; i < IG_MAX_IMPLS && op->impls[IG_DEVICE_CPU][i]; i++)
    if (op->impls[IG_DEVICE_CPU][i] == std::string(op->name) + "_cpu")
      return true;
  return false;
}

void check_rows(const ig_op *const *rows) {
  int n_launches = 0;
  for (; *rows; rows++)
    for (int i = 0; i < (*rows)->n_cases; i++) {
      if ((*rows)->cases[i].bench || !is_vectorised(*rows))
        continue;
      for (ig_dtype type : {IG_F32, IG_BF16}) {
        ig_params params;
        ig_params_init(&params);
        ig_graph_options o = {};
        o.size = sizeof o;
        o.ops = ig_op_lists;
        o.params = &params;
        ig_graph *g = nullptr;
        ASSERT_EQ(ig_graph_create(&o, &g), IG_OK);
        check_case(g, *rows, (*rows)->cases[i], type, &n_launches);
        ig_graph_destroy(g);
        ig_params_fini(&params);
      }
    }
  EXPECT_GT(n_launches, 0);
}

TEST(Layouts, Eltwise) { check_rows(ig_ops_eltwise); }
TEST(Layouts, BatchNorm) { check_rows(ig_ops_batchnorm); }
TEST(Layouts, Pool2d) { check_rows(ig_ops_pool2d); }
TEST(Layouts, ShapeOps) { check_rows(ig_ops_shape_ops); }
TEST(Layouts, Dropout) { check_rows(ig_ops_dropout); }

}  // namespace
