// Attention by cuDNN beyond what the op table compares: what it declines and why, that a library which refuses, fails
// or answers wrongly leaves the node to the hand-written kernel, and that each failed call ends in a clear message with
// nothing left. Rule: on the stand-ins of tests/sim/fakes alone; elsewhere "skipped" (77) and why.
#include <gtest/gtest.h>

#include "kernels/attention/attention.h"
#include "runtime/graph/plan_internal.h"
#include "tests/fake_cudnn.h"
#include "tests/ops_harness.h"

namespace {

using namespace ops;

FakeCudnn fake;

ig_device *cuda = nullptr;

struct Outcome {
  ig_status status;
  std::string message, impl;
};

// Plans attention over 24 rows of which 21 belong to three sequences, and runs it.
Outcome attend(ig_attention_attr attr, ig_dtype type, int64_t width, const char *force, bool tuned) {
  Outcome o = {IG_OK, "", ""};
  const int64_t T = 24;
  ig_params params;
  ig_params_init(&params);
  ig_graph_options go = {};
  go.size = sizeof go, go.ops = ig_op_lists, go.params = &params, go.compute_dtype = type;
  ig_graph *g = nullptr;
  must(ig_graph_create(&go, &g));
  ig_tensor *in[6] = {};
  for (int i = 0; i < 3; i++)
    in[i] = ig_graph_input(g, ("operand" + std::to_string(i)).c_str(), type, IG_SHAPE2(T, width));
  in[3] = ig_graph_input(g, "offsets", IG_I32, IG_SHAPE1(4));
  if (attr.dropout > 0)
    in[4] = ig_graph_input(g, "state", IG_U64, IG_SHAPE1(4));
  ig_node *n = ig_graph_node(g, "attention", "attention", 6, in, &attr);
  must(ig_graph_status(g));
  ig_graph_output(g, n->out[0], "o");
  ig_graph_output(g, n->out[1], "lse");
  ig_tuner *tuner = nullptr;
  if (tuned)
    must(ig_tuner_create(nullptr, &tuner));
  ig_plan_options po = {};
  po.size = sizeof po, po.device = cuda, po.tuner = tuner, po.force = force;
  ig_plan *plan = nullptr;
  void *memory[7] = {};
  o.status = ig_plan_create(g, &po, &plan);
  if (o.status == IG_OK) {
    o.impl = plan->steps[0].impl->name;
    ig_plan_bytes bytes;
    ig_plan_get_bytes(plan, &bytes);
    ig_tensor *tensors[] = {in[0], in[1], in[2], in[3], n->out[0], n->out[1]};
    must(cuda->ops->alloc(cuda, bytes.arena + 256, "test", &memory[6]));
    must(ig_plan_bind(plan, IG_SPACE_ARENA, memory[6]));
    const int32_t offsets[4] = {0, 5, 5, 21};
    for (int i = 0; i < 6; i++) {
      const size_t n_bytes = (size_t)ig_shape_count(&tensors[i]->shape) * ig_dtype_bytes(tensors[i]->dtype);
      must(cuda->ops->alloc(cuda, n_bytes, "test", &memory[i]));
      must(cuda->ops->fill(cuda, memory[i], 0x3c, n_bytes, nullptr));
      must(ig_plan_set_io(plan, tensors[i], memory[i]));
    }
    must(cuda->ops->copy_in(cuda, memory[3], offsets, sizeof offsets, nullptr));
    o.status = ig_plan_run(plan, nullptr);
    must(cuda->ops->stream_wait(cuda, nullptr));
  }
  o.message = o.status == IG_OK ? "" : ig_error_message();
  for (void *m : memory)
    if (m)
      cuda->ops->free(cuda, m, 0);
  ig_plan_destroy(plan);
  ig_tuner_destroy(tuner);
  ig_graph_destroy(g);
  ig_params_fini(&params);
  return o;
}

const ig_attention_attr plain = {2, false, 0, 0};
const char *const library = "attention=attention_cudnn";

class CudaSdpa : public testing::Test {
 protected:
  ~CudaSdpa() override {
    fake.fail(nullptr, 0);
    fake.wrong(0);
  }
};

TEST_F(CudaSdpa, TakesWhatItSays) {
  for (ig_dtype type : {IG_BF16, IG_F16}) {
    const Outcome o = attend(plain, type, 32, library, false);
    EXPECT_EQ(o.status, IG_OK) << o.message;
    EXPECT_EQ(o.impl, "attention_cudnn");
  }
}

TEST_F(CudaSdpa, DeclinesWithAReason) {
  const struct {
    ig_attention_attr attr;
    ig_dtype type;
    int64_t width;
    const char *why;
  } cases[] = {{{2, false, 0, 0.1f}, IG_F16, 32, "dropout's masks are draws of the row's own keys"},
               {{2, true, 0, 0}, IG_F16, 32, "it is causal"},
               {plain, IG_F32, 32, "neither bf16 nor f16"},
               {plain, IG_F16, 40, "no multiple of 8"},
               {plain, IG_F16, 272, "up to 128"}};
  for (auto &c : cases) {
    const Outcome o = attend(c.attr, c.type, c.width, library, false);
    EXPECT_EQ(o.status, IG_ERR_UNSUPPORTED) << c.why;
    EXPECT_NE(o.message.find(c.why), std::string::npos) << o.message;
  }
}

TEST_F(CudaSdpa, AWrongAnswerLeaves) {
  fake.wrong(0.1);  // its log-sums
  const Outcome forced = attend(plain, IG_F16, 32, library, false);
  EXPECT_EQ(forced.status, IG_ERR_UNSUPPORTED);
  EXPECT_NE(forced.message.find("cuDNN's attention differs from attention_cuda: element"), std::string::npos)
      << forced.message;
  EXPECT_NE(forced.message.find("of lse"), std::string::npos) << forced.message;
  for (const char *force : {"auto", "library"})
    for (bool tuned : {true, false}) {
      const Outcome free = attend(plain, IG_F16, 32, force, tuned);
      EXPECT_EQ(free.status, IG_OK) << free.message;
      EXPECT_EQ(free.impl, "attention_cuda");
    }
  EXPECT_EQ(fake.live(), 0);
}

TEST_F(CudaSdpa, ALibraryThatRefusesLeaves) {
  for (const char *function :
       {"cudnnBackendFinalize", "cudnnBackendFinalize of a plan", "cudnnBackendSetAttribute", "cudnnBackendExecute"}) {
    fake.fail(function, -1);
    const Outcome o = attend(plain, IG_F16, 32, nullptr, true);
    EXPECT_GT(fake.failed(), 0) << function;
    EXPECT_EQ(o.status, IG_OK) << function << ": " << o.message;
    EXPECT_EQ(o.impl, "attention_cuda") << function;
    EXPECT_EQ(fake.live(), 0) << function;
  }
}

TEST_F(CudaSdpa, EachFailedCallIsClear) {
  char before[2000], after[2000];
  const size_t had = fake.leaks(before, sizeof before);
  int ended = 0;
  for (const char *function : {"cudnnSetStream", "cudnnBackendCreateDescriptor", "cudnnBackendSetAttribute",
                               "cudnnBackendFinalize", "cudnnBackendGetAttribute", "cudnnBackendExecute"}) {
    fake.fail(function, 0);
    ASSERT_EQ(attend(plain, IG_F16, 32, library, false).status, IG_OK) << ig_error_message();
    const long all = fake.calls();
    EXPECT_GT(all, 0) << function;
    for (long at : {1L, all / 3, all / 2, all - 1, all}) {
      if (at < 1)
        continue;
      fake.fail(function, (int)at);
      const Outcome o = attend(plain, IG_F16, 32, library, false);
      const std::string where = std::string(function) + ", call " + std::to_string(at) + ": '" + o.message + "'";
      EXPECT_EQ(fake.failed(), 1) << where;
      EXPECT_EQ(fake.live(), 0) << where;
      EXPECT_EQ((size_t)fake.leaks(after, sizeof after), had) << where << after;
      if (o.status == IG_OK)
        continue;  // another engine was there
      ended++;
      EXPECT_NE(o.message.find(function), std::string::npos) << where;
      EXPECT_NE(o.message.find("CUDNN_STATUS_INTERNAL_ERROR"), std::string::npos) << where;
    }
  }
  EXPECT_GT(ended, 15);
}

}  // namespace

int main(int argc, char **argv) {
  testing::InitGoogleTest(&argc, argv);
  if (!fake.open()) {
    printf("skipped: no stand-in of cuDNN (INGOT_CUDA_LIBRARIES), or no simulator\n");
    return 77;
  }
  ig_cuda_options o = {};
  o.size = sizeof o;
  if (ig_device_create_cuda(&o, &cuda) != IG_OK) {
    printf("skipped: %s\n", ig_error_message());
    return 77;
  }
  const int failed = RUN_ALL_TESTS();
  ig_device_destroy(cuda);
  return failed;
}
