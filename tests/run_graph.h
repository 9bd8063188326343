// Runs a small graph through a plan on the CPU: buffers by tensor, flat spaces by enum. Rule: a failure throws with the
// library's message, so that a test reads like its formula.
#ifndef INGOT_TESTS_RUN_GRAPH_H
#define INGOT_TESTS_RUN_GRAPH_H

#include <cstdlib>
#include <cstring>
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

// How a plan is made: highest instruction set and forced implementations.
struct Way {
  const char *name;
  ig_isa isa;
  const char *force;
};
static const Way ways[] = {{"cpu", IG_ISA_AMX, nullptr}, {"base", IG_ISA_BASE, nullptr}, {"ref", IG_ISA_AMX, "*=ref"}};

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
    ig_cpu_options c = {};
    c.size = sizeof c;
    c.isa = way.isa;
    c.threads = threads;
    c.winograd = winograd;
    c.impl_lists = ig_cpu_impl_lists;
    must(ig_device_create_cpu(&c, &device_));
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
    if (posix_memalign(&arena_, 256, bytes.arena + 256))
      throw std::bad_alloc();
    memset(arena_, 0xFF, bytes.arena);  // NaN: whatever reads before writing is seen
    must(ig_plan_bind(plan_, IG_SPACE_ARENA, arena_));
  }
  void run() {
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
  ig_device *device_ = nullptr;
  ig_plan *plan_ = nullptr;
  void *arena_ = nullptr;
  std::map<const ig_tensor *, std::vector<uint8_t>> io_;
  std::map<ig_space, std::vector<float>> spaces_;
};

}  // namespace run_graph

#endif
