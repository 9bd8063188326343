// Every allocation failed in turn, once and for good: plan, train, go on, evaluate, predict, convert, data sets.
// Rule: the answer is "out of memory" (exit 1) or a good one with a warning; nothing leaks, nothing crashes. Memory
// that libraries take themselves (HDF5, oneDNN, OpenMP, jansson, libyaml, picture codecs) is outside of the table of
// mem.h.
#include <random>

#include "tests/fault_train.h"

using namespace fault;

class FaultMemory : public ::testing::Test {
 protected:
  FaultMemory() : home("ig_memory"), data(home / "data") {
    make_pictures(data, 3, 1, 16);
    use_cache(home.path);
  }
  ~FaultMemory() override { ig_mem_fail_after(0, 0); }

  std::vector<std::string> train(const std::string &out, std::vector<std::string> more = {}) const {
    more.insert(more.end(), {"steps=2", "save_every=1", "resume=auto"});
    return train_words(data, out, more);
  }

  // Fails allocation after allocation of one call; `prepare` comes before each, `holds` after it.
  void each(
      const char *verb, const std::vector<std::string> &words, const std::function<void()> &prepare,
      const std::function<void(const Answer &)> &holds = [](const Answer &) {}) {
    prepare();
    call(verb, words);  // libraries start up
    prepare();
    int64_t before = ig_mem_asked();
    Answer answer = call(verb, words);
    ASSERT_EQ(answer.status, IG_OK) << answer.message;
    int64_t total = ig_mem_asked() - before, n = 0, refused = 0;
    Leaks leaks;
    // The short form takes about 40 places; with two strides they are others for the two ways.
    int64_t stride = long_form() ? 1 : total / 20 + 1;
    for (int forever = 0; forever < 2; forever++)
      for (int64_t at = 1 + forever * (stride / 2); at <= total; at += stride) {
        prepare();
        ig_mem_fail_after(at, forever);
        answer = call(verb, words);
        ig_mem_fail_after(0, 0);
        n++;
        refused += answer.status != IG_OK;
        if (answer.status != IG_OK) {
          ASSERT_EQ(ig_status_exit_code(answer.status), 1) << "allocation " << at << ": " << answer.message;
          // predict answers what it can: the line of the sample says it.
          bool one_sample = answer.status == IG_ERR_PARTIAL && !strcmp(verb, "predict");
          EXPECT_TRUE(answer.status == IG_ERR_MEMORY || one_sample) << answer.message;
          EXPECT_NE((one_sample ? answer.result : answer.message).find("memory"), std::string::npos) << answer.message;
        }
        leaks.check();
        holds(answer);
        ASSERT_FALSE(HasFailure()) << "allocation " << at << " of " << total << (forever ? " and all after it" : "")
                                   << ": " << answer.message;
      }
    printf("%s: %ld of %ld allocations failed, %ld times refused\n", verb, (long)n, (long)total, (long)refused);
    EXPECT_GT(refused, n / 2);
  }

  Folder home;
  std::string data;
};

TEST_F(FaultMemory, PlanAndDataSet) {  // 65
  each("plan", {"model=resnet8_mlperf", "image_size=16", "batch=4", "threads=1", "data=" + data}, [] {});
}

TEST_F(FaultMemory, WholeRun) {  // 65
  std::string out = home / "run";
  each("train", train(out), [&] { fs::remove_all(out); });
}

TEST_F(FaultMemory, GoingOnFromACheckpoint) {  // 65
  std::string half = home / "half", out = home / "run";
  ASSERT_EQ(call("train", train(half), 1).status, IG_STOPPED) << ig_error_message();
  auto prepare = [&] {
    fs::remove_all(out);
    fs::copy(half, out, fs::copy_options::recursive);
  };
  each("train", train(out), prepare, [&](const Answer &) {
    EXPECT_EQ(ig_ckpt_verify((out + "/checkpoints/step-1").c_str()), IG_OK) << ig_error_message();
  });
}

TEST_F(FaultMemory, EvaluatePredictConvert) {  // 65
  std::string run = home / "run", copy = home / "copy.safetensors";
  ASSERT_EQ(call("train", train(run)).status, IG_OK) << ig_error_message();
  each("eval", {"weights=" + run, "data=" + data, "threads=1"}, [] {});
  each("predict", {"weights=" + run, data + "/val/dark/0.bmp", "threads=1"}, [] {});
  std::string step = run + "/checkpoints/step-2";
  each("convert", {step, copy}, [&] { fs::remove(copy); });
  each("eval", {"weights=" + step, "data=" + data, "threads=1"}, [] {});
  each("checkpoint", {"verify", run}, [] {});
}
