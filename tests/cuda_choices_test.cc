// Engines and algorithms of NVIDIA's libraries across starts: what one start has timed the next one takes from the
// file of choices, and times nothing; another version of a library, or a choice that does not fit, is timed anew. And
// no start makes a plan of cuDNN's to learn whether it takes a node. Rule: timings are counted by the stand-ins of
// tests/sim/fakes; without them "skipped" (77) and why.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include "kernels/attention/attention.h"
#include "kernels/conv2d/conv2d.h"
#include "kernels/layernorm/layernorm.h"
#include "runtime/graph/plan_internal.h"
#include "tests/fake_cudnn.h"
#include "tests/fault_common.h"
#include "tests/ops_harness.h"

namespace {

using namespace ops;

// A stand-in, opened by its file.
struct Fake {
  Fake(const char *file, const char *function) : function(function) {
    const char *folder = getenv("INGOT_CUDA_LIBRARIES");
    void *library = folder ? dlopen((std::string(folder) + "/" + file).c_str(), RTLD_NOW) : nullptr;
    if (!library)
      return;
    fail = (decltype(fail))dlsym(library, "ig_fake_fail");
    calls = (decltype(calls))dlsym(library, "ig_fake_calls");
    live = (decltype(live))dlsym(library, "ig_fake_live");
    version = (decltype(version))dlsym(library, "ig_fake_version");
  }
  explicit operator bool() const { return fail && calls && live && version; }
  void (*fail)(const char *, int) = nullptr;
  long (*calls)() = nullptr, (*live)() = nullptr;
  void (*version)(long) = nullptr;
  const char *function;  // whose calls are counted: the one that runs an engine or an algorithm
  int failing = 0;       // -1: each of them fails
};
Fake cudnn("libcudnn.so.9", "cudnnBackendExecute"), cublaslt("libcublasLt.so.13", "cublasLtMatmul");
FakeCudnn simulator;  // says what is left on the device

std::string read(const std::string &path) {
  std::ifstream in(path);
  return std::string(std::istreambuf_iterator<char>(in), {});
}
void write(const std::string &path, const std::string &text) { std::ofstream(path) << text; }

struct Start {
  long convolutions, products;  // launches of cuDNN and of cuBLASLt that planning made
  size_t convolution, product;  // workspaces of the chosen ones
  std::string convolution_impl, layernorm_impl, attention_impl, message;
};

class CudaChoices : public testing::Test {
 protected:
  CudaChoices() : home_("ig_choices"), path_(home_ / "tuned.json") {}
  ~CudaChoices() override {
    cudnn.function = "cudnnBackendExecute", cudnn.failing = 0;
    cudnn.version(0);
    cublaslt.version(0);
  }
  // What a start does: device, choices, a plan of a folded convolution, layer normalisation, a linear layer and
  // attention in fp16, choices saved. (Attention by cuDNN is also compared with ours where it was timed.)
  Start start(const char *force) {
    char leaks[2000];
    const size_t had = (size_t)simulator.leaks(leaks, sizeof leaks);
    ig_cuda_options o = {};
    o.size = sizeof o;
    ig_device *device = nullptr;
    must(ig_device_create_cuda(&o, &device));
    ig_tuner *tuner = nullptr;
    must(ig_tuner_create(path_.c_str(), &tuner));
    ig_params params;
    ig_params_init(&params);
    ig_graph_options go = {};
    go.size = sizeof go, go.ops = ig_op_lists, go.params = &params, go.compute_dtype = IG_F16;
    ig_graph *g = nullptr;
    must(ig_graph_create(&go, &g));
    ig_tensor *x = ig_graph_input(g, "x", IG_F16, IG_SHAPE4(2, 5, 5, 8)),
              *w = ig_graph_input(g, "w", IG_F16, IG_SHAPE4(16, 8, 3, 3)),
              *bias = ig_graph_input(g, "bias", IG_F32, IG_SHAPE1(16)),
              *rows = ig_graph_input(g, "rows", IG_F16, IG_SHAPE2(6, 24)),
              *v = ig_graph_input(g, "v", IG_F16, IG_SHAPE2(8, 24));
    ig_conv2d_fused_attr fused;
    memset(&fused, 0, sizeof fused);
    fused.conv = {1, 1, 1, 1, 1, 1, 1, 1, 1};
    fused.relu = 1;
    ig_tensor *in[] = {x, w, bias, nullptr}, *linear_in[] = {rows, v, nullptr};
    ig_node *convolution = ig_graph_node(g, "conv2d_fused", "convolution", 4, in, &fused);
    const ig_op *linear = row("linear");
    ig_node *product = ig_graph_node(g, "linear", "product", 3, linear_in, linear->cases[0].attr);
    ig_tensor *scale = ig_graph_input(g, "scale", IG_F32, IG_SHAPE1(24)),
              *shift = ig_graph_input(g, "shift", IG_F32, IG_SHAPE1(24)),
              *normalised = ig_layernorm(g, "layernorm", rows, scale, shift, 1e-5f);
    ig_attention_attr heads;
    memset(&heads, 0, sizeof heads);  // padding is part of the key
    heads.heads = 2;
    ig_tensor *attention_in[6] = {};
    for (int i = 0; i < 3; i++)
      attention_in[i] = ig_graph_input(g, i ? i > 1 ? "v2" : "k" : "q", IG_F16, IG_SHAPE2(24, 32));
    attention_in[3] = ig_graph_input(g, "offsets", IG_I32, IG_SHAPE1(3));
    ig_node *attention = ig_graph_node(g, "attention", "attention", 6, attention_in, &heads);
    must(ig_graph_status(g));
    ig_graph_output(g, normalised, "normalised");
    ig_graph_output(g, attention->out[0], "o");
    ig_graph_output(g, attention->out[1], "lse");
    ig_graph_output(g, convolution->out[0], "y");
    ig_graph_output(g, product->out[0], "z");
    ig_plan_options po = {};
    po.size = sizeof po, po.device = device, po.tuner = tuner, po.force = force;
    ig_plan *plan = nullptr;
    cudnn.fail(cudnn.function, cudnn.failing);  // counts from here
    cublaslt.fail(cublaslt.function, 0);
    const ig_status status = ig_plan_create(g, &po, &plan);
    Start s = {cudnn.calls(), cublaslt.calls(), 0, 0, "", "", "", status == IG_OK ? "" : ig_error_message()};
    for (size_t i = 0; plan && i < plan->n_steps; i++) {
      if (plan->steps[i].node == convolution)
        s.convolution = plan->steps[i].workspace_bytes, s.convolution_impl = plan->steps[i].impl->name;
      if (plan->steps[i].node == normalised->producer)
        s.layernorm_impl = plan->steps[i].impl->name;
      if (plan->steps[i].node == attention)
        s.attention_impl = plan->steps[i].impl->name;
      if (plan->steps[i].node == product)
        s.product = plan->steps[i].workspace_bytes;
    }
    must(ig_tuner_save(tuner));
    ig_plan_destroy(plan);
    ig_graph_destroy(g);
    ig_params_fini(&params);
    ig_tuner_destroy(tuner);
    ig_device_destroy(device);
    EXPECT_EQ(cudnn.live(), 0) << "descriptors that nobody gave back";
    EXPECT_EQ((size_t)simulator.leaks(leaks, sizeof leaks), had) << leaks;
    EXPECT_EQ(s.message.empty(), status == IG_OK);
    EXPECT_TRUE(status == IG_OK || status == IG_ERR_UNSUPPORTED) << s.message;
    return s;
  }
  static const ig_op *row(const std::string &name) {
    for (const ig_op *op : all_rows())
      if (name == op->name)
        return op;
    throw std::runtime_error("no row " + name);
  }
  // What cuDNN serves is stored as choices of `library` ("cuda", "cudnn"), whatever the first start chose.
  void store(const std::string &library) {
    for (const std::string impl : {"\"conv2d_fused_", "\"layernorm_", "\"attention_"}) {
      for (const std::string other : {"cuda\"", "cudnn\""})
        if (read(path_).find(impl + other) != std::string::npos)
          edit(impl + other, impl + library + '"');
      EXPECT_NE(read(path_).find(impl + library + '"'), std::string::npos) << read(path_);
    }
  }
  // Whether all three are of `library`.
  static void expect_impls(const Start &s, const std::string &library, const std::string &where) {
    EXPECT_EQ(s.message, "") << where;
    EXPECT_EQ(s.convolution_impl, "conv2d_fused_" + library) << where;
    EXPECT_EQ(s.layernorm_impl, "layernorm_" + library) << where;
    EXPECT_EQ(s.attention_impl, "attention_" + library) << where;
  }
  // All of the file's `from` become `to`.
  void edit(const std::string &from, const std::string &to) {
    std::string text = read(path_);
    size_t at = text.find(from);
    ASSERT_NE(at, std::string::npos) << from << " is not in " << text;
    for (; at != std::string::npos; at = text.find(from, at + to.size()))
      text.replace(at, from.size(), to);
    write(path_, text);
  }
  fault::Folder home_;
  std::string path_;
};

TEST_F(CudaChoices, ASecondStartTimesNothing) {
  for (const char *force : {"library", "auto"}) {
    fault::fs::remove(path_);
    const Start first = start(force), second = start(force);
    EXPECT_GT(first.convolutions, 3) << force;
    EXPECT_GT(first.products, 3) << force;
    EXPECT_EQ(second.convolutions, 0) << force;
    EXPECT_EQ(second.products, 0) << force;
    EXPECT_EQ(second.convolution_impl, first.convolution_impl) << force;
    EXPECT_EQ(second.layernorm_impl, first.layernorm_impl) << force;
    EXPECT_TRUE(strcmp(force, "library") || first.layernorm_impl == "layernorm_cudnn") << first.layernorm_impl;
    EXPECT_EQ(second.convolution, first.convolution) << force;
    EXPECT_EQ(second.product, first.product) << force;
  }
}

TEST_F(CudaChoices, AnotherVersionIsTimedAnew) {
  const Start first = start("library");
  cudnn.version(91900);
  const Start other = start("library");
  EXPECT_GT(other.convolutions, 3);
  EXPECT_GT(other.products, 3) << "the key is of all libraries together";
  EXPECT_EQ(start("library").convolutions, 0);
  cublaslt.version(130300);
  EXPECT_GT(start("library").products, 3);
  cudnn.version(0);
  cublaslt.version(0);
  EXPECT_EQ(start("library").convolutions, 0) << "what was timed with the version of before is still there";
  EXPECT_GT(first.convolutions, 3);
}

// The stored one is what runs: the stand-ins' engine i has a workspace of 512 i bytes, its algorithm i of 4096 i.
TEST_F(CudaChoices, TheStoredOneIsTaken) {
  start("library");
  const std::string stored = read(path_);
  int seen = 0;
  for (int i : {0, 2}) {  // engine 1 is one that the chip does not have
    write(path_, stored);
    for (int k = 0; k < 3; k++) {
      const std::string was = std::to_string(k) + " of 3, workspace ";
      if (stored.find(was + std::to_string(k * 512) + "\"") != std::string::npos)
        edit(was + std::to_string(k * 512) + "\"",
             std::to_string(i) + " of 3, workspace " + std::to_string(i * 512) + "\"");
    }
    const Start s = start("library");
    EXPECT_EQ(s.convolutions, 0) << i;
    EXPECT_EQ(s.convolution, (size_t)i * 512);
    seen++;
  }
  EXPECT_EQ(seen, 2);
}

TEST_F(CudaChoices, WhatDoesNotFitIsTimedAnew) {
  start("library");
  const std::string stored = read(path_);
  for (const char *bad : {" of 4, workspace ", " of 3, workspace 7", " of 2, workspace ", " or 3, workspace "}) {
    write(path_, stored);
    edit(" of 3, workspace ", bad);
    const Start s = start("library");
    EXPECT_GT(s.convolutions, 3) << bad;
    EXPECT_GT(s.products, 3) << bad;
    EXPECT_EQ(read(path_).find(bad), std::string::npos) << bad << ": not repaired";
  }
  for (const char *bad : {"1 of 3, workspace 512", "-1 of 3, workspace 0", "3 of 3, workspace 0", "", "2 of 3"}) {
    write(path_, stored);
    for (const char *was : {"0 of 3, workspace 0", "2 of 3, workspace 1024"})
      if (stored.find(was) != std::string::npos)
        edit(std::string("\"") + was + "\"", std::string("\"") + bad + "\"");
    EXPECT_GT(start("library").convolutions, 3) << bad;
  }
}

const char *const plans = "cudnnBackendFinalize of a plan";

// Whether an implementation takes a node is asked of every one at every start; a plan may compile a kernel.
TEST_F(CudaChoices, OnlyWhatRunsHasAPlan) {
  cudnn.function = plans;
  EXPECT_GT(start("auto").convolutions, 3);
  store("cuda");
  const Start own = start("auto");
  expect_impls(own, "cuda", "own");
  EXPECT_EQ(own.convolutions, 0);
  store("cudnn");
  expect_impls(start("auto"), "cudnn", "library, timed");
  const Start library = start("auto");
  expect_impls(library, "cudnn", "library");
  EXPECT_EQ(library.convolutions, 3) << "one a node";
}

// The heuristics name engines, of which none has a plan.
TEST_F(CudaChoices, WhatHasNoPlanLeaves) {
  start("auto");
  const std::string stored = read(path_);
  cudnn.function = plans, cudnn.failing = -1;
  for (const char *force : {"auto", "library"}) {
    fault::fs::remove(path_);
    Start s = start(force);
    EXPECT_GT(s.convolutions, 8) << force;
    expect_impls(s, "cuda", std::string(force) + ", nothing stored");
    for (const char *library : {"cuda", "cudnn"}) {
      write(path_, stored);
      store(library);
      s = start(force);
      expect_impls(s, "cuda", std::string(force) + ", stored " + library);
      EXPECT_EQ(s.convolutions > 0, strcmp(force, "auto") || !strcmp(library, "cudnn"));
    }
  }
  const Start forced = start("cudnn,linear=cuda");
  for (const char *part : {"convolution (conv2d_fused): no implementation",
                           "cuDNN named 3 engines for it, none of which has a plan: CUDNN_STATUS_INTERNAL_ERROR",
                           "conv2d_fused_cuda: cudnn is forced"})
    EXPECT_NE(forced.message.find(part), std::string::npos) << forced.message;
}

}  // namespace

int main(int argc, char **argv) {
  testing::InitGoogleTest(&argc, argv);
  if (!cudnn || !cublaslt || !simulator.open()) {
    printf("skipped: timings are counted by the stand-ins of NVIDIA's libraries (INGOT_CUDA_LIBRARIES)\n");
    return 77;
  }
  return RUN_ALL_TESTS();
}
