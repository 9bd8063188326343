// What the tests of the ops of text share: an expression of random inputs run on a device, with its gradients.
#ifndef INGOT_TESTS_TEXT_OPS_FIXTURE_H
#define INGOT_TESTS_TEXT_OPS_FIXTURE_H

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/eltwise/eltwise.h"
#include "kernels/reduce/reduce.h"
#include "kernels/reorder/reorder.h"
#include "runtime/base/rng.h"
#include "tests/run_graph.h"

namespace text_ops {

using run_graph::Graph;
using run_graph::must;
using run_graph::Way;
using run_graph::ways;
using Floats = std::vector<float>;
using Ints = std::vector<int32_t>;
using Keys = std::vector<uint64_t>;

inline const Keys state = {1, 2, 30, 0};

inline Floats normal(size_t n, uint64_t stream) {
  Floats v(n);
  ig_rng r = ig_rng_make(5, stream, 0);
  for (float &x : v)
    x = ig_rng_normal(&r);
  return v;
}

inline Floats rows_of(const Floats &x, int64_t width, int64_t first, int64_t last) {
  return Floats(x.begin() + first * width, x.begin() + last * width);
}

// y = build(inputs); gradients of sum(y dy) with dy from normal() for the first n_grads inputs.
struct Result {
  Floats y;
  std::vector<Floats> d;
};

struct Input {
  ig_shape shape;
  Floats values;
};

template <class Build>
Result run(const std::vector<Input> &inputs, size_t n_grads, const Way &way, int threads, Build build,
           ig_dtype compute = IG_F32, ig_mode mode = IG_MODE_TRAIN) {
  Graph g(compute, mode);
  std::vector<ig_tensor *> in, narrow, d(n_grads + 1);
  for (size_t i = 0; i < inputs.size(); i++) {
    in.push_back(g.input(("in" + std::to_string(i)).c_str(), IG_F32, inputs[i].shape, inputs[i].values));
    // Vectors are parameters: they stay fp32.
    narrow.push_back(inputs[i].shape.n == 1 ? in[i] : ig_reorder(g.g, "narrow", in[i], compute));
  }
  ig_tensor *y = build(g, narrow);
  must(ig_graph_status(g.g));
  y = ig_reorder(g.g, "wide", y, IG_F32);
  ig_tensor *dy = g.input("dy", IG_F32, y->shape, normal((size_t)ig_shape_count(&y->shape), 99));
  ig_tensor *loss = ig_sum(g.g, "loss", ig_mul(g.g, "product", y, dy), 0), *shown = ig_scale(g.g, "shown", y, 1);
  must(ig_graph_status(g.g));
  must(ig_params_layout(&g.params));
  if (n_grads)
    must(ig_graph_differentiate(g.g, 1, &loss, nullptr, (int)n_grads, in.data(), d.data()));
  g.output(shown, "y");
  for (size_t i = 0; i < n_grads; i++)
    g.output(d[i], "d");
  g.plan(way, threads);
  g.run();
  Result r = {g.get<float>(shown), {}};
  for (size_t i = 0; i < n_grads; i++)
    r.d.push_back(g.get<float>(d[i]));
  return r;
}

}  // namespace text_ops

#endif
