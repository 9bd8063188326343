// What ops_test and mutants_test share: sample cases as data, one node through a plan on a device, the comparison with
// the fp64 reference, and gradients by central differences. Rule: both tests judge by compare() and check_gradients()
// of this file alone, so that what mutants_test proves holds for ops_test.
#ifndef INGOT_TESTS_OPS_HARNESS_H
#define INGOT_TESTS_OPS_HARNESS_H

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/kernels.h"
#include "kernels/reduce/reduce.h"
#include "kernels/reduce/reduce_attr.h"
#include "runtime/base/rng.h"
#include "runtime/graph/plan.h"

namespace ops {

using Values = std::vector<double>;

inline void must(ig_status status) {
  if (status != IG_OK)
    throw std::runtime_error(std::string(ig_status_name(status)) + ": " + ig_error_message());
}

// ---- the table ----
inline std::vector<const ig_op *> all_rows() {
  std::vector<const ig_op *> rows;
  for (const ig_op *const *const *list = ig_op_lists; *list; list++)
    for (const ig_op *const *row = *list; *row; row++)
      rows.push_back(*row);
  return rows;
}

inline bool has_gradient(const ig_op *op) { return op->grad && op->grad != ig_no_grad && op->grad != ig_zero_grad; }

// ---- devices ----
class Device {
 public:
  Device(ig_isa isa, int threads, const ig_impl *const *lists = ig_cpu_impl_lists) {
    ig_cpu_options o = {};
    o.size = sizeof o;
    o.isa = isa;
    o.threads = threads;
    o.winograd = true;  // forced implementations only: the less exact ones are tested too
    o.impl_lists = lists;
    must(ig_device_create_cpu(&o, &device_));
  }
  explicit Device(ig_device *device) : device_(device) {}  // takes it over
  Device(const Device &) = delete;
  ~Device() { ig_device_destroy(device_); }
  ig_device *get() const { return device_; }

 private:
  ig_device *device_ = nullptr;
};

// ---- values ----
inline double rounded(double v, ig_dtype type) {
  char element[8];
  ig_store_f64(element, type, 0, v);
  return ig_load_f64(element, type, 0);
}

// The numbers of operand `stream` of a case; the same in every type before rounding.
inline Values fill(const ig_case_input &x, uint64_t stream, double kink) {
  Values v((size_t)ig_shape_count(&x.shape));
  ig_rng r = ig_rng_make(2024, stream, 0);
  for (size_t i = 0; i < v.size(); i++) {
    double u = ig_rng_uniform(&r), last = (double)v.size() - 1;
    switch (x.fill) {
      case IG_FILL_UNIFORM:
        v[i] = x.lo + u * (x.hi - x.lo);
        break;
      case IG_FILL_POSITIVE:
      case IG_FILL_SIMPLEX:
        v[i] = 0.5 + u;
        break;
      case IG_FILL_INDEX:
        v[i] = std::floor(u * x.hi);
        break;
      case IG_FILL_BINARY:
        v[i] = i == 0 || u < 0.5;
        break;
      case IG_FILL_OFFSETS:
        v[i] = i == 0 ? 0 : (double)i == last ? x.hi : std::floor(x.hi * ((double)i + 0.8 * (u - 0.5)) / last);
        break;
      default:
        v[i] = ig_rng_normal(&r);
        if (std::fabs(v[i]) < kink)
          v[i] = v[i] < 0 ? -kink : kink;
    }
  }
  if (x.fill == IG_FILL_SIMPLEX) {
    size_t row = (size_t)x.shape.d[x.shape.n - 1];
    for (size_t at = 0; at < v.size(); at += row) {
      double sum = 0;
      for (size_t i = 0; i < row; i++)
        sum += v[at + i];
      for (size_t i = 0; i < row; i++)
        v[at + i] /= sum;
    }
  }
  return v;
}

// ---- a graph with its buffers ----
class Net {
 public:
  explicit Net(ig_dtype compute) {
    ig_params_init(&params_);
    ig_graph_options o = {};
    o.size = sizeof o;
    o.ops = ig_op_lists;
    o.params = &params_;
    o.mode = IG_MODE_TRAIN;
    o.compute_dtype = compute;
    must(ig_graph_create(&o, &g));
  }
  Net(const Net &) = delete;
  ~Net() {
    ig_plan_destroy(plan_);
    for (auto &t : there_)
      device_->ops->free(device_, t.second, io_.at(t.first).size());
    if (device_ && device_->caps.kind != IG_DEVICE_CPU)
      device_->ops->free(device_, arena_, arena_bytes_);
    else
      free(arena_);
    ig_graph_destroy(g);
    ig_params_fini(&params_);
  }

  ig_tensor *input(const std::string &name, ig_dtype type, ig_shape shape, const Values &values) {
    ig_tensor *t = ig_graph_input(g, name.c_str(), type, shape);
    if (!t)
      throw std::runtime_error(ig_error_message());
    allocate(t);
    set(t, values);
    return t;
  }
  void output(ig_tensor *t) {
    if (t->space != IG_SPACE_ARENA)
      return;
    ig_graph_output(g, t, t->name);
    allocate(t);
  }
  // Every result of every node becomes readable.
  void expose_all() {
    for (size_t i = 0; i < g->n_tensors; i++)
      output(g->tensors[i]);
  }
  void set(const ig_tensor *t, const Values &values) {
    std::vector<uint8_t> &b = io_.at(t);
    for (size_t i = 0; i < values.size(); i++)
      ig_store_f64(b.data(), t->dtype, i, values[i]);
  }
  Values get(const ig_tensor *t) const {
    const std::vector<uint8_t> &b = io_.at(t);
    Values v((size_t)ig_shape_count(&t->shape));
    for (size_t i = 0; i < v.size(); i++)
      v[i] = ig_load_f64(b.data(), t->dtype, i);
    return v;
  }
  // False when no implementation takes a node (why says which); throws on every other error.
  bool plan(ig_device *device, const std::string &force, std::string *why) {
    must(ig_graph_status(g));
    force_ = force;
    ig_plan_options o = {};
    o.size = sizeof o;
    o.device = device;
    o.force = force_.c_str();
    o.deterministic = shards > 0;
    o.shards = shards;
    ig_status status = ig_plan_create(g, &o, &plan_);
    if (status == IG_ERR_UNSUPPORTED) {
      *why = ig_error_message();
      return false;
    }
    must(status);
    ig_plan_bytes bytes;
    ig_plan_get_bytes(plan_, &bytes);
    device_ = device;
    arena_bytes_ = bytes.arena + 256;
    if (device->caps.kind != IG_DEVICE_CPU)
      must(device->ops->alloc(device, arena_bytes_, "test", &arena_));
    else if (posix_memalign(&arena_, 256, arena_bytes_))  // small: no pages of its own
      throw std::bad_alloc();
    must(device->ops->fill(device, arena_, 0xFF, arena_bytes_,
                           nullptr));  // NaN: what is read before it is written shows
    must(ig_plan_bind(plan_, IG_SPACE_ARENA, arena_));
    for (auto &b : io_) {
      void *place = b.second.data();
      if (device->caps.kind != IG_DEVICE_CPU) {
        must(device->ops->alloc(device, b.second.size(), "test", &place));
        there_[b.first] = place;
      }
      must(ig_plan_set_io(plan_, b.first, place));
    }
    return true;
  }
  void run() {
    for (auto &t : there_)
      must(device_->ops->copy_in(device_, t.second, io_.at(t.first).data(), io_.at(t.first).size(), nullptr));
    must(ig_plan_run(plan_, nullptr));
    for (auto &t : there_)
      must(device_->ops->copy_out(device_, io_.at(t.first).data(), t.second, io_.at(t.first).size(), nullptr));
    must(device_->ops->stream_wait(device_, nullptr));
    for (auto &b : io_)
      for (size_t i = 0; i < guard; i++)
        if (b.second[b.second.size() - guard + i] != 0x5a)
          throw std::runtime_error(std::string(b.first->name) + ": written behind its end");
  }
  ig_plan *planned() const { return plan_; }

  ig_graph *g = nullptr;
  int shards = 0;  // > 0: a plan in deterministic mode

 private:
  static const size_t guard = 64;
  void allocate(const ig_tensor *t) {
    std::vector<uint8_t> &b = io_[t];
    b.assign((size_t)ig_shape_count(&t->shape) * ig_dtype_bytes(t->dtype) + guard, 0xFF);
    std::fill(b.end() - (long)guard, b.end(), 0x5a);
  }
  ig_params params_;
  ig_plan *plan_ = nullptr;
  ig_device *device_ = nullptr;
  void *arena_ = nullptr;
  size_t arena_bytes_ = 0;
  std::map<const ig_tensor *, void *> there_;  // on a device with memory of its own
  std::string force_;
  std::map<const ig_tensor *, std::vector<uint8_t>> io_;
};

// ---- one node on data ----
struct Operand {
  bool absent = true;
  ig_shape shape = {};
  ig_dtype dtype = IG_F32;
  bool narrow = false;          // takes the type under test
  ig_dtype wide = IG_N_DTYPES;  // its type in the oracle, where that is known
  Values values;
};

struct Job {
  const ig_op *op = nullptr;
  std::string name;
  uint64_t key = 0;
  const void *attr = nullptr;
  ig_dtype type = IG_F32;  // under test
  std::vector<Operand> in;
};

struct Result {
  struct Item {
    std::string name;
    ig_dtype dtype;
    double length;  // additions behind one element, from the row's cost
    Values values;
  };
  std::vector<Item> items;  // outputs, then operands that were updated in place
};

inline bool is_small_float(ig_dtype t) { return t == IG_F32 || t == IG_BF16 || t == IG_F16; }

inline ig_tensor *copy_of(Net &net, ig_tensor *t) {
  ig_node *n = ig_graph_node(net.g, "add", "copy", 1, &t, NULL);
  return n ? n->out[0] : NULL;
}

// Runs job's node alone with implementation `impl` ("relu_cpu"). in_place: float operands that the row may overwrite,
// and its results, lie in the arena between copies, so that the plan lets them share memory. False: refused.
inline bool run_job(const Job &job, ig_device *device, const std::string &impl, bool in_place, Result *result,
                    std::string *why) {
  Net net(job.type);
  std::vector<ig_tensor *> in(job.in.size() + 1, nullptr);
  for (size_t i = 0; i < job.in.size(); i++) {
    const Operand &x = job.in[i];
    if (x.absent)
      continue;
    in[i] = net.input("operand" + std::to_string(i), x.dtype, x.shape, x.values);
    for (int o = 0; in_place && o < job.op->n_out; o++)
      if (job.op->in_place[o] == (int)i + 1 && is_small_float(x.dtype))
        in[i] = copy_of(net, in[i]);
  }
  ig_node *n = ig_graph_node(net.g, job.op->name, job.name.c_str(), (int)job.in.size(), in.data(), job.attr);
  must(ig_graph_status(net.g));
  n->key = job.key;
  ig_cost cost = {0, 0};
  job.op->cost(n, &cost);
  std::vector<ig_tensor *> read;
  for (int i = 0; i < n->n_out; i++) {
    ig_tensor *t = n->out[i];
    if (in_place && job.op->in_place[i] && is_small_float(t->dtype))
      t = copy_of(net, t);
    must(ig_graph_status(net.g));
    net.output(t);
    read.push_back(t);
  }
  for (int i = 0; i < n->n_in; i++)
    if (n->in[i] && i < 32 && (job.op->mutates_in >> i & 1))
      read.push_back(n->in[i]);
  if (!net.plan(device, std::string(job.op->name) + "=" + impl, why))
    return false;
  net.run();
  result->items.clear();
  for (size_t i = 0; i < read.size(); i++)
    result->items.push_back({read[i]->name, read[i]->dtype,
                             std::max(1.0, cost.flops / (double)ig_shape_count(&read[i]->shape)), net.get(read[i])});
  return true;
}

// The same job in fp64: operands keep the numbers that the narrow type holds. Where the row insists on fp32 scalars
// and tables, those stay fp32.
inline Job widened(const Job &job, bool all) {
  Job wide = job;
  wide.type = IG_F64;
  for (Operand &x : wide.in)
    if (x.wide != IG_N_DTYPES)
      x.dtype = x.wide;
    else if (ig_dtype_is_float(x.dtype) && (x.narrow || all))
      x.dtype = IG_F64;
  return wide;
}

inline bool accepted(const Job &job) {
  Net net(job.type);
  std::vector<ig_tensor *> in(job.in.size() + 1, nullptr);
  for (size_t i = 0; i < job.in.size(); i++)
    if (!job.in[i].absent)
      in[i] = ig_graph_tensor(net.g, "operand", job.in[i].dtype, job.in[i].shape, IG_SPACE_IO);
  return ig_graph_node(net.g, job.op->name, job.name.c_str(), (int)job.in.size(), in.data(), job.attr) != NULL;
}

inline Result oracle(const Job &job, ig_device *device) {
  Job wide = widened(job, true);
  if (!accepted(wide))
    wide = widened(job, false);
  Result r;
  std::string why;
  if (!run_job(wide, device, "ref", false, &r, &why))
    throw std::runtime_error(why);
  return r;
}

// ---- comparison ----
inline double unit_roundoff(ig_dtype t) {
  switch (t) {
    case IG_F64:
      return std::ldexp(1, -53);
    case IG_BF16:
      return std::ldexp(1, -8);
    case IG_F16:
      return std::ldexp(1, -11);
    default:
      return std::ldexp(1, -24);
  }
}

// Cases whose intermediate values are far larger than their results, so that errors are, too.
struct Amplified {
  const char *row, *name;
  double factor;
  const char *why;
};
static const Amplified amplified[] = {
    {"picture", "wide_draws", 16, "brightness, contrast and saturation up to 9 multiply 255 before values are cut"},
};
inline double amplification(const Job &job) {
  for (const Amplified &a : amplified)
    if (!strcmp(a.row, job.op->name) && job.name == a.name)
      return a.factor;
  return 1;
}

// Allowed difference of one element: the rounding of the stored result, and the error of `length` additions of terms
// of the size of the tensor's largest value in fp32 (growing with the root of the length, as rounding errors have
// either sign), `amplify` times that (64 for Winograd's transforms), and `rounded` times the largest value (twice the
// unit of a 16-bit type in which Winograd's transformed operands, or what lies between two products, are rounded).
// Integers are exact.
inline double tolerance(ig_dtype stored, double length, double want, double largest, double amplify,
                        double rounded = 0) {
  if (!ig_dtype_is_float(stored))
    return 0;
  double sums = unit_roundoff(stored == IG_F64 ? IG_F64 : IG_F32);
  double rounding = unit_roundoff(stored) * std::fabs(want);
  if (stored == IG_F16)
    rounding = std::max(rounding, std::ldexp(1, -25));  // half of what lies between two subnormal numbers
  return 1.01 * rounding + 8 * amplify * sums * std::sqrt(length) * largest + rounded * largest;
}

// Rows that multiply matrices, and by how many units of tf32's roundoff (2^-11 of a result's largest value) an element
// may differ where operands are rounded to it: each product brings two roundings, of which sums let few meet. All
// others must have fp32's bits on a device that rounds (cuda_ops_test), so that none is forgotten here.
inline const std::map<std::string, double> &tf32_units() {
  static const std::map<std::string, double> units = {
      {"conv2d", 4},          {"conv2d_bwd_data", 4}, {"conv2d_bwd_weights", 4}, {"conv2d_fused", 4},
      {"linear", 4},          {"linear_bwd_data", 4}, {"linear_bwd_weights", 4}, {"linear_xent", 4},
      {"linear_xent_bwd", 8},  // two products in a row
      {"attention", 12},       // and between them exponentials of scores that are rounded
      {"attention_bwd", 12},
  };
  return units;
}

// By how much element i of item k may differ. units: of tf32's roundoff, where fp32 operands are rounded to it.
class Allowed {
 public:
  Allowed(const Job &job, const ig_impl *impl, const Result &want, double units)
      : want_(want),
        amplify_(amplification(job) * (impl->flags & IG_IMPL_INEXACT ? 64 : 1)),
        rounded_((impl->flags & (IG_IMPL_INEXACT | IG_IMPL_ROUNDED)) && ig_dtype_bytes(job.type) == 2
                     ? 2 * unit_roundoff(job.type)
                     : units * std::ldexp(1, -11)),
        unrounded_(!units && !strcmp(job.op->name, "attention") ? 1 : SIZE_MAX) {
    for (const Result::Item &b : want.items) {
      largest_.push_back(0);
      for (double v : b.values)
        largest_.back() = std::max(largest_.back(), std::fabs(v));
    }
  }
  double operator()(size_t k, size_t i, ig_dtype dtype) const {
    const Result::Item &b = want_.items[k];
    return tolerance(dtype, b.length, b.values[i], largest_[k], amplify_, k == unrounded_ ? 0 : rounded_);
  }

 private:
  const Result &want_;
  const double amplify_, rounded_;
  const size_t unrounded_;  // attention's log-sums of scores: sums of exact products, where weights are rounded after
  std::vector<double> largest_;
};

// Empty when every element agrees, else what differs most.
inline std::string compare(const Job &job, const ig_impl *impl, const Result &got, const Result &want,
                           size_t *n_compared = nullptr, double units = 0) {
  if (got.items.size() != want.items.size())
    return "number of results differs";
  const Allowed allowed(job, impl, want, units);
  std::string text;
  double worst = 1;
  for (size_t k = 0; k < got.items.size(); k++) {
    const Result::Item &a = got.items[k], &b = want.items[k];
    for (size_t i = 0; i < a.values.size(); i++) {
      double t = allowed(k, i, a.dtype);
      double d = std::fabs(a.values[i] - b.values[i]), ratio = d <= t ? 0 : t > 0 ? d / t : 1e300;
      if (d <= t || (std::isinf(b.values[i]) && a.values[i] == b.values[i]))
        continue;
      if (!(ratio <= worst) || text.empty()) {
        worst = ratio;
        char line[256];
        snprintf(line, sizeof line, "%s[%zu of %zu] = %.9g, expected %.9g: difference %.3g, allowed %.3g",
                 a.name.c_str(), i, a.values.size(), a.values[i], b.values[i], d, t);
        text = line;
      }
    }
    if (n_compared)
      *n_compared += a.values.size();
  }
  return text;
}

// The largest difference of two results as a share of what is allowed around `want`.
inline double share_of_allowed(const Job &job, const ig_impl *impl, const Result &a, const Result &b,
                               const Result &want, double units = 0) {
  const Allowed allowed(job, impl, want, units);
  double share = 0;
  for (size_t k = 0; k < a.items.size(); k++)
    for (size_t i = 0; i < a.items[k].values.size(); i++) {
      const double x = a.items[k].values[i], y = b.items[k].values[i];
      if (x != y)
        share = std::max(share, std::fabs(x - y) / allowed(k, i, a.items[k].dtype));
    }
  return share;
}

inline bool same_bits(const Result &a, const Result &b) {
  for (size_t k = 0; k < a.items.size(); k++)
    if (memcmp(a.items[k].values.data(), b.items[k].values.data(), a.items[k].values.size() * sizeof(double)))
      return false;
  return true;
}

// ---- cases as jobs ----
// all_wide: operands that a case holds in fp32 become fp64 too.
inline Job job_of(const ig_op *op, const ig_op_case &c, ig_dtype type, bool all_wide = true) {
  Job job;
  job.op = op;
  job.name = c.name;
  job.key = ig_hash_str(c.name);
  job.attr = c.attr;
  job.type = type;
  for (int i = 0; i < c.n_in; i++) {
    const ig_case_input &x = c.in[i];
    Operand o;
    o.absent = x.fill == IG_FILL_ABSENT;
    o.shape = x.shape;
    o.narrow = x.dtype == IG_F32 && !x.fixed_f32;
    o.dtype = x.dtype != IG_F32 ? x.dtype : o.narrow || (type == IG_F64 && all_wide) ? type : IG_F32;
    if (x.dtype == IG_BF16 || x.dtype == IG_F16)  // a case's own: not rounded in the oracle
      o.wide = IG_F64;
    if (!o.absent)
      o.values = fill(x, (uint64_t)i, c.kink);
    for (double &v : o.values)
      v = rounded(v, o.dtype);
    job.in.push_back(o);
  }
  return job;
}

// The case with its common first length cut, so that no operand has more than `limit` elements.
inline ig_op_case cut(const ig_op_case &whole, int64_t limit) {
  ig_op_case c = whole;
  int64_t most = 0, first = 0;  // of the largest operand: all its elements, its first length
  for (int i = 0; i < c.n_in; i++)
    if (c.in[i].fill != IG_FILL_ABSENT && ig_shape_count(&c.in[i].shape) > most) {
      most = ig_shape_count(&c.in[i].shape);
      first = c.in[i].shape.d[0];
    }
  const int64_t keep = std::max<int64_t>(1, first / std::max<int64_t>(1, most / limit));
  for (int i = 0; i < c.n_in; i++)
    if (c.in[i].fill != IG_FILL_ABSENT && c.in[i].shape.d[0] == first)
      c.in[i].shape.d[0] = keep;
    else if (c.in[i].fill == IG_FILL_OFFSETS && c.in[i].hi == (double)first)
      c.in[i].hi = (double)keep;  // segments of it
  return c;
}

// ---- forward and backward graph of a case ----
// total = sum_k seed_k sum(out_k * weights_k) over the results of the type under test.
struct Differentiated {
  std::unique_ptr<Net> net;
  ig_node *node = nullptr;
  std::vector<ig_tensor *> in, dinputs;
  std::vector<int> wanted;  // operand of dinputs[i]
  std::vector<ig_tensor *> totals;
  Values seeds;
  size_t n_forward = 0;

  double total() const {
    double sum = 0;
    for (size_t k = 0; k < totals.size(); k++)
      sum += seeds[k] * net->get(totals[k])[0];
    return sum;
  }
};

// NULL where the row refuses the type. backward false: the forward part alone.
inline std::unique_ptr<Differentiated> differentiated(const ig_op *op, const ig_op_case &c, ig_dtype type,
                                                      bool backward) {
  Job job = job_of(op, c, type);
  if (!accepted(job))
    job = job_of(op, c, type, false);
  if (!accepted(job))
    return nullptr;
  std::unique_ptr<Differentiated> d(new Differentiated);
  d->net.reset(new Net(type));
  Net &net = *d->net;
  d->in.assign(job.in.size() + 1, nullptr);
  for (size_t i = 0; i < job.in.size(); i++)
    if (!job.in[i].absent)
      d->in[i] = net.input("operand" + std::to_string(i), job.in[i].dtype, job.in[i].shape, job.in[i].values);
  d->node = ig_graph_node(net.g, op->name, c.name, c.n_in, d->in.data(), c.attr);
  must(ig_graph_status(net.g));
  std::vector<ig_tensor *> seeds;
  for (int k = 0; k < op->n_out; k++) {
    ig_tensor *y = d->node->out[k];
    if (!ig_dtype_is_float(y->dtype) || (type == IG_F64 && y->dtype != IG_F64))
      continue;
    ig_case_input like = {};
    like.shape = y->shape;
    std::string name = "weights" + std::to_string(k);
    ig_tensor *w = net.input(name, y->dtype, y->shape, fill(like, 100 + (uint64_t)k, 0));
    ig_tensor *factors[] = {y, w};
    ig_node *product = ig_graph_node(net.g, "mul", "product", 2, factors, NULL);
    ig_sum_attr all = {};
    ig_tensor *p = product ? product->out[0] : NULL;
    ig_node *sum = ig_graph_node(net.g, "sum", "total", 1, &p, &all);
    must(ig_graph_status(net.g));
    d->totals.push_back(sum->out[0]);
    d->seeds.push_back(0.75 + 0.5 * k);
    seeds.push_back(net.input("seed" + std::to_string(k), sum->out[0]->dtype, sum->out[0]->shape, {d->seeds.back()}));
  }
  d->n_forward = net.g->n_nodes;
  std::vector<ig_tensor *> inputs;
  for (int i = 0; i < c.n_in; i++)
    if (d->in[i] && ig_dtype_is_float(d->in[i]->dtype) && !c.in[i].no_grad) {
      inputs.push_back(d->in[i]);
      d->wanted.push_back(i);
    }
  if (backward) {
    d->dinputs.assign(inputs.size() + 1, nullptr);
    must(ig_graph_differentiate(net.g, (int)d->totals.size(), d->totals.data(), seeds.data(), (int)inputs.size(),
                                inputs.data(), d->dinputs.data()));
  }
  net.expose_all();
  return d;
}

// ---- central differences ----
struct Slope {
  int wanted;      // which of Differentiated::wanted
  long at;         // element, -1: along the random direction `stream`
  double numeric;  // d total
};

inline Values direction(size_t n, uint64_t stream) {
  Values d(n);
  ig_rng r = ig_rng_make(77, stream, 0);
  for (double &v : d)
    v = ig_rng_normal(&r);
  return d;
}

// Slopes of the total in fp64 by signed central differences: up to `n_coordinates` elements of every operand (first
// and last among them), and one direction that moves all elements.
inline std::vector<Slope> numeric_slopes(const ig_op *op, const ig_op_case &c, ig_device *device, int n_coordinates) {
  std::unique_ptr<Differentiated> d = differentiated(op, c, IG_F64, false);
  std::vector<Slope> slopes;
  std::string why;
  if (!d || d->totals.empty())
    return slopes;
  if (!d->net->plan(device, "*=ref", &why))
    throw std::runtime_error(why);
  const double h = 1e-6;
  for (size_t k = 0; k < d->wanted.size(); k++) {
    ig_tensor *x = d->in[(size_t)d->wanted[k]];
    const Values at = d->net->get(x), way = direction(at.size(), (uint64_t)k);
    long n = (long)at.size(), taken = std::min<long>(n, n_coordinates);
    for (long m = -1; m < taken; m++) {
      long i = m < 0 ? -1 : m * (n - 1) / std::max(1L, taken - 1);
      double total[2];
      for (int side = 0; side < 2; side++) {
        Values moved = at;
        for (long j = 0; j < n; j++)
          if (i < 0 || i == j)
            moved[(size_t)j] += (side ? -h : h) * (i < 0 ? way[(size_t)j] : 1);
        d->net->set(x, moved);
        d->net->run();
        total[side] = d->total();
      }
      slopes.push_back({(int)k, i, (total[0] - total[1]) / (2 * h)});
    }
    d->net->set(x, at);
  }
  return slopes;
}

// Empty when the gradient rule's graph, run in fp64 by references, has these slopes; signs count.
inline std::string check_gradients(const ig_op *op, const ig_op_case &c, ig_device *device,
                                   const std::vector<Slope> &slopes) {
  std::unique_ptr<Differentiated> d = differentiated(op, c, IG_F64, true);
  std::string why;
  if (!d)
    return "no fp64 graph";
  if (!d->net->plan(device, "*=ref", &why))
    throw std::runtime_error(why);
  d->net->run();
  double total = std::fabs(d->total());
  for (const Slope &s : slopes) {
    size_t k = (size_t)s.wanted;
    const ig_tensor *x = d->in[(size_t)d->wanted[k]];
    size_t n = (size_t)ig_shape_count(&x->shape);
    Values g = d->dinputs[k] ? d->net->get(d->dinputs[k]) : Values(n, 0.0), way = direction(n, (uint64_t)k);
    double analytic = 0, norm = 0;
    for (size_t i = 0; i < n; i++) {
      norm += g[i] * g[i];
      if (s.at < 0)
        analytic += g[i] * way[i];
    }
    if (s.at >= 0)
      analytic = g[(size_t)s.at];
    // Truncation and rounding of the differences: h^2 and eps / h of what is differenced.
    double allowed = 1e-6 * std::fabs(s.numeric) + 1e-7 * std::sqrt(norm) / (s.at < 0 ? 1 : std::sqrt((double)n)) +
                     1e-8 * (1 + total);
    if (!(std::fabs(analytic - s.numeric) <= allowed)) {
      char line[256];
      snprintf(line, sizeof line, "operand %d %s %ld: gradient %.10g, central difference %.10g, allowed %.3g",
               d->wanted[k], s.at < 0 ? "direction" : "element", s.at, analytic, s.numeric, allowed);
      return line;
    }
  }
  return "";
}

// The backward nodes of case c in `type`, as jobs on the fp64 reference's values rounded to their operands' types.
// n_unmatched counts nodes that the fp64 graph does not have (casts).
inline std::vector<Job> backward_jobs(const ig_op *op, const ig_op_case &c, ig_dtype type, ig_device *device,
                                      std::vector<std::unique_ptr<Differentiated>> *keep, int *n_unmatched) {
  std::vector<Job> jobs;
  std::unique_ptr<Differentiated> narrow = differentiated(op, c, type, true),
                                  wide = differentiated(op, c, IG_F64, true);
  std::string why;
  if (!narrow || !wide || wide->totals.empty())
    return jobs;
  if (!wide->net->plan(device, "*=ref", &why))
    throw std::runtime_error(why);
  wide->net->run();
  std::map<std::string, const ig_node *> by_name;
  for (size_t k = 0; k < wide->net->g->n_nodes; k++)
    by_name[wide->net->g->nodes[k]->name] = wide->net->g->nodes[k];
  for (size_t k = narrow->n_forward; k < narrow->net->g->n_nodes; k++) {
    const ig_node *n = narrow->net->g->nodes[k];
    if (n->key != narrow->node->key || n->phase != IG_PHASE_BACKWARD)
      continue;
    auto found = by_name.find(n->name);
    if (found == by_name.end() || found->second->op != n->op) {
      (*n_unmatched)++;
      continue;
    }
    Job job;
    job.op = n->op;
    job.name = n->name;
    job.key = n->key;
    job.attr = n->attr;
    job.type = type;
    for (int i = 0; i < n->n_in; i++) {
      Operand o;
      if ((o.absent = !n->in[i]) == false) {
        o.shape = n->in[i]->shape;
        o.dtype = n->in[i]->dtype;
        o.narrow = o.dtype == type;
        o.wide = found->second->in[i]->dtype;
        o.values = wide->net->get(found->second->in[i]);
        for (double &v : o.values)
          v = rounded(v, o.dtype);
      }
      job.in.push_back(o);
    }
    jobs.push_back(job);
  }
  keep->push_back(std::move(narrow));  // jobs point at its attributes
  return jobs;
}

}  // namespace ops

#endif
