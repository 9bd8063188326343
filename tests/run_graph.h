// Runs a small graph through a plan on the CPU, or on a GPU: buffers by tensor, flat spaces by enum. Rule: a failure
// throws with the library's message, so that a test reads like its formula.
#ifndef INGOT_TESTS_RUN_GRAPH_H
#define INGOT_TESTS_RUN_GRAPH_H

#include <cstdlib>
#include <cstring>
#include <iterator>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/kernels.h"
#include "runtime/graph/plan.h"

namespace run_graph {

inline void must(ig_status status) {
  if (status != IG_OK)
    throw std::runtime_error(std::string(ig_status_name(status)) + ": " + ig_error_message());
}

// How a plan is made: highest instruction set and forced implementations, or (cuda) on the first GPU; in which type its
// graph computes, and whether products may round fp32 to tf32.
struct Way {
  const char *name;
  ig_isa isa;
  const char *force;
  bool cuda = false;
  ig_dtype compute = IG_F32;
  bool tf32 = false;

  bool exact() const { return compute == IG_F32 && !tf32; }
  // Largest relative error of one rounding of a product's operand: 8 bits of bf16, 11 of fp16 and tf32.
  double rounding() const { return compute == IG_BF16 ? 0x1p-8 : exact() ? 0x1p-24 : 0x1p-11; }
  // What gradients are multiplied by on their way through fp16, whose least normal number is 6e-5.
  float loss_scale() const { return compute == IG_F16 ? 1024.0f : 1.0f; }
};
static const Way ways[] = {{"cpu", IG_ISA_AMX, nullptr},
                           {"base", IG_ISA_BASE, nullptr},
                           {"ref", IG_ISA_AMX, "*=ref"},
                           {"avx2", IG_ISA_AVX2, nullptr}};

// The ways of golden_test: those, until device=cuda puts others in their place.
inline std::vector<Way> &chosen() {
  static std::vector<Way> all(std::begin(ways), std::end(ways));
  return all;
}

class Graph {
 public:
  explicit Graph(ig_dtype compute = IG_F32, ig_mode mode = IG_MODE_TRAIN) {
    ig_params_init(&params);
    ig_graph_options o = {};
    o.size = sizeof o;
    o.ops = ig_op_lists;
    o.params = &params;
    o.mode = mode;
    o.compute_dtype = compute;
    must(ig_graph_create(&o, &g));
  }
  Graph(const Graph &) = delete;
  ~Graph() {
    ig_plan_destroy(plan_);
    for (auto &p : there_)
      device_->ops->free(device_, p.second, bytes_.at(p.first));
    ig_device_destroy(device_);
    free(arena_);
    ig_graph_destroy(g);
    ig_params_fini(&params);
  }

  // An input with its contents.
  template <class T>
  ig_tensor *input(const char *name, ig_dtype dtype, ig_shape shape, const std::vector<T> &data) {
    ig_tensor *t = ig_graph_input(g, name, dtype, shape);
    if (!t || data.size() != (size_t)ig_shape_count(&shape) || sizeof(T) != ig_dtype_bytes(dtype))
      throw std::runtime_error(std::string("input ") + name + ": " + ig_error_message());
    set(t, data.data(), data.size() * sizeof(T));
    return t;
  }
  void set(const ig_tensor *t, const void *data, size_t bytes) {
    std::vector<uint8_t> &b = io_[t];
    b.resize(bytes);
    if (data)
      memcpy(b.data(), data, bytes);
  }
  template <class T>
  void set(const ig_tensor *t, const std::vector<T> &data) {
    set(t, data.data(), data.size() * sizeof(T));
  }
  void output(ig_tensor *t, const char *name) {
    ig_graph_output(g, t, name);
    must(ig_graph_status(g));
    set(t, nullptr, (size_t)ig_shape_count(&t->shape) * ig_dtype_bytes(t->dtype));
  }
  // A tensor that was already made an input or output by a builder.
  void add(const ig_tensor *t) { set(t, nullptr, (size_t)ig_shape_count(&t->shape) * ig_dtype_bytes(t->dtype)); }

  std::vector<float> &space(ig_space s) { return spaces_[s]; }

  // shards > 0: a deterministic plan; stable: spaces that do not change between runs.
  void plan(const Way &way, int threads = 0, bool winograd = false, int shards = 0, uint32_t stable = 0) {
    must(ig_graph_status(g));
    open(way, threads, winograd);
    ig_plan_options p = {};
    p.size = sizeof p;
    p.device = device_;
    p.force = way.force;
    p.deterministic = shards > 0;
    p.shards = shards;
    p.stable_spaces = stable;
    must(ig_plan_create(g, &p, &plan_));
    ig_plan_bytes bytes;
    ig_plan_get_bytes(plan_, &bytes);
    void *arena;
    if (way.cuda)
      arena = place(&arena_, bytes.arena + 256);
    else if (posix_memalign(&arena_, 256, bytes.arena + 256))
      throw std::bad_alloc();
    else
      arena = arena_;
    must(device_->ops->fill(device_, arena, 0xFF, bytes.arena, nullptr));  // NaN: what reads before writing is seen
    must(ig_plan_bind(plan_, IG_SPACE_ARENA, arena));
  }
  void run() {
    if (device_->caps.kind != IG_DEVICE_CPU)
      return run_there();
    for (auto &s : spaces_)
      must(ig_plan_bind(plan_, s.first, s.second.data()));
    for (auto &b : io_)
      must(ig_plan_set_io(plan_, b.first, b.second.data()));
    must(ig_plan_run(plan_, nullptr));
  }
  template <class T>
  std::vector<T> get(const ig_tensor *t) const {
    const std::vector<uint8_t> &b = io_.at(t);
    std::vector<T> v(b.size() / sizeof(T));
    memcpy(v.data(), b.data(), b.size());
    return v;
  }
  float scalar(const ig_tensor *t) const { return get<float>(t).at(0); }
  const ig_plan *planned() const { return plan_; }

  ig_params params;
  ig_graph *g = nullptr;

 private:
  void open(const Way &way, int threads, bool winograd) {
    ig_cuda_options cuda = {};
    cuda.size = sizeof cuda;
    cuda.tf32 = way.tf32;
    if (way.cuda)
      return must(ig_device_create_cuda(&cuda, &device_));
    ig_cpu_options c = {};
    c.size = sizeof c;
    c.isa = way.isa;
    c.threads = threads;
    c.winograd = winograd;
    c.impl_lists = ig_cpu_impl_lists;
    must(ig_device_create_cpu(&c, &device_));
  }
  // Memory of the device for what `key` names.
  void *place(const void *key, size_t bytes) {
    void *&p = there_[key];
    if (!p) {
      must(device_->ops->alloc(device_, bytes, "test", &p));
      bytes_[key] = bytes;
    }
    return p;
  }
  // Everything to the device, and what it became back.
  void run_there() {
    auto in = [&](const void *key, const void *host, size_t bytes) {
      void *p = place(key, bytes);
      must(device_->ops->copy_in(device_, p, host, bytes, nullptr));
      return p;
    };
    auto out = [&](const void *key, void *host, size_t bytes) {
      must(device_->ops->copy_out(device_, host, there_.at(key), bytes, nullptr));
    };
    for (auto &s : spaces_)
      must(ig_plan_bind(plan_, s.first, in(&s.second, s.second.data(), s.second.size() * sizeof(float))));
    for (auto &b : io_)
      must(ig_plan_set_io(plan_, b.first, in(&b.second, b.second.data(), b.second.size())));
    must(ig_plan_run(plan_, nullptr));
    for (auto &s : spaces_)
      out(&s.second, s.second.data(), s.second.size() * sizeof(float));
    for (auto &b : io_)
      out(&b.second, b.second.data(), b.second.size());
    must(device_->ops->stream_wait(device_, nullptr));
  }

  ig_device *device_ = nullptr;
  ig_plan *plan_ = nullptr;
  void *arena_ = nullptr;
  std::map<const void *, void *> there_;  // a GPU's memory: of the arena, of spaces and of buffers
  std::map<const void *, size_t> bytes_;
  std::map<const ig_tensor *, std::vector<uint8_t>> io_;
  std::map<ig_space, std::vector<float>> spaces_;
};

}  // namespace run_graph

#endif
