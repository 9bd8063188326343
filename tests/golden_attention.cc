// Case attention_varlen: attention over packed sequences, plain and causal, and all its gradients (TEXT.md), through
// plans of each kind, on one thread and three; and in bf16, on a GPU also in tf32 and fp16, which must stay near.
#include "kernels/attention/attention.h"
#include "kernels/eltwise/eltwise.h"
#include "kernels/reduce/reduce.h"
#include "kernels/reorder/reorder.h"
#include "tests/golden.h"
#include "tests/run_graph.h"
#include "tests/st_reader.h"

namespace {

using run_graph::Graph;
using run_graph::must;

struct Setup {
  ig_attention_attr attr = {};
  int64_t T, D;
};

// d sum(o dout) / d q, k, v; in `compute` the operands are rounded first.
void run_one(const st::File &io, const Setup &s, const run_graph::Way &way, int threads, ig_dtype compute,
             golden::Report &r) {
  const std::string suffix = s.attr.causal ? "_causal" : "";
  const std::string label =
      suffix + " (" + way.name + ", " + std::to_string(threads) + " threads, " + ig_dtype_name(compute) + ")";
  const ig_shape shape = IG_SHAPE2(s.T, s.D);
  Graph g(compute);
  ig_tensor *in[3], *narrow[3], *din[3];
  const char *const names[] = {"q", "k", "v"};
  for (int i = 0; i < 3; i++) {
    in[i] = g.input(names[i], IG_F32, shape, io.f32(names[i]));
    narrow[i] = ig_reorder(g.g, names[i], in[i], compute);
  }
  const std::vector<int32_t> offsets = io.i32("cu_seqlens");
  ig_tensor *cu = g.input("cu_seqlens", IG_I32, IG_SHAPE1((int64_t)offsets.size()), offsets);
  ig_tensor *o = ig_attention(g.g, "attention", narrow[0], narrow[1], narrow[2], cu, &s.attr, nullptr, nullptr);
  must(ig_graph_status(g.g));
  ig_tensor *lse = o->producer->out[1], *wide = ig_reorder(g.g, "wide", o, IG_F32);
  ig_tensor *loss =
      ig_sum(g.g, "loss", ig_mul(g.g, "product", wide, g.input("dout", IG_F32, shape, io.f32("dout"))), 0);
  must(ig_graph_status(g.g));
  must(ig_params_layout(&g.params));
  must(ig_graph_differentiate(g.g, 1, &loss, nullptr, 3, in, din));
  ig_tensor *shown = ig_scale(g.g, "shown", wide, 1), *lse_shown = ig_scale(g.g, "lse", lse, 1);
  g.output(shown, "o");
  g.output(lse_shown, "lse");
  for (int i = 0; i < 3; i++)
    g.output(din[i], ("d" + std::string(names[i])).c_str());
  g.plan(way, threads);
  g.run();
  // Of the largest value. A score is a sum of rounded products, and what it is off moves every probability of its row:
  // about two roundings of the largest value that are alike in bf16 (8 bits) as in fp16 and tf32 (11). A log-sum is a
  // score where a sequence has one token, whose gradients are exactly 0: rounding leaves a trace of dO there.
  run_graph::Way rounded = way;
  rounded.compute = compute;
  const bool exact = rounded.exact();
  const double u = rounded.rounding();
  r.compare("out" + label, g.get<float>(shown), io.f32("out" + suffix), {0, exact ? 1e-5 : 5 * u});
  r.compare("lse" + label, g.get<float>(lse_shown), io.f32("lse" + suffix), {0, exact ? 1e-5 : 2 * u});
  for (int i = 0; i < 3; i++)
    r.compare("d" + std::string(names[i]) + label, g.get<float>(din[i]), io.f32("d" + std::string(names[i]) + suffix),
              {exact ? 0 : 1e-3 * u, exact ? 2e-5 : 5 * u});
}

void run(const std::string &path, golden::Report &r) {
  const st::File io(path + "/io.safetensors");
  const golden::Json config = golden::load_json(path + "/config.json");
  const std::vector<int64_t> &shape = io.shape("q");
  Setup s;
  s.attr.heads = (int)golden::number(config.get(), "heads");
  s.attr.scale = (float)golden::number(config.get(), "scale");
  if (shape.size() != 3 || shape[1] != s.attr.heads)
    throw std::runtime_error("q is not [T, heads, head_size]");
  s.T = shape[0];
  s.D = shape[1] * shape[2];
  const run_graph::Way avx2 = {"avx2", IG_ISA_AVX2, nullptr}, avx512 = {"avx512", IG_ISA_AVX512, nullptr};
  for (bool causal : {false, true}) {
    s.attr.causal = causal;
    if (causal && !io.has("out_causal"))
      continue;
    for (const run_graph::Way &way : run_graph::chosen())
      run_one(io, s, way, 1, way.compute, r);
    if (run_graph::chosen()[0].cuda)
      continue;
    run_one(io, s, run_graph::chosen()[0], 2, IG_BF16, r);
    run_one(io, s, avx2, 1, IG_F32, r);
    run_one(io, s, avx512, 1, IG_F32, r);
    run_one(io, s, run_graph::chosen()[0], 3, IG_F32, r);
    run_one(io, s, avx2, 2, IG_BF16, r);
  }
}

GOLDEN_DEVICE_CASE("attention_varlen", run)

}  // namespace
