// What the tests of the op table share: sample cases as data, one node through a plan on a device, its fp64 reference.
#ifndef INGOT_TESTS_OPS_HARNESS_H
#define INGOT_TESTS_OPS_HARNESS_H

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/kernels.h"
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

}  // namespace ops

#endif
