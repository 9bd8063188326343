// Going on from every step of a run, bit for bit. Rule: the run that is compared with was never interrupted.
#include <jansson.h>
#include <map>

#include "tests/fault_train.h"

using namespace fault;

namespace {

constexpr int STEPS = 200;

// Every tensor of a checkpoint (weights, statistics, moments, averages) with the hash of its bytes.
std::map<std::string, std::string> tensors_of(const std::string &step_folder) {
  std::map<std::string, std::string> all;
  ig_ckpt_reader *r = nullptr;
  EXPECT_EQ(ig_ckpt_open(step_folder.c_str(), &r), IG_OK) << ig_error_message();
  for (size_t i = 0; r && i < ig_ckpt_count(r); i++) {
    const ig_ckpt_entry *e = ig_ckpt_get(r, i);
    all[std::string(e->group) + "/" + e->name] = e->sha256;
  }
  ig_ckpt_close(r);
  return all;
}

// What log.jsonl says of the training itself, without times and rates.
std::string course_of(const std::string &run) {
  std::ifstream in(run + "/log.jsonl");
  std::string all;
  for (std::string line; std::getline(in, line);) {
    json_t *row = json_loads(line.c_str(), 0, nullptr);
    EXPECT_NE(row, nullptr) << line;
    for (const char *key : {"step", "split", "epoch", "loss", "lr", "grad_norm", "accuracy", "f1"}) {
      char *text = json_dumps(json_object_get(row, key), JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
      all += std::string(key) + "=" + (text ? text : "-") + " ";
      free(text);
    }
    all += "\n";
    json_decref(row);
  }
  return all;
}

}  // namespace

TEST(FaultResume, AtEveryStepBitForBit) {  // 52, 63
  Folder home("ig_resume");
  std::string data = home / "data", whole = home / "whole", chain = home / "chain", out = home / "run";
  make_pictures(data, 7, 2, 16);  // 14 pictures in batches of 4: epochs end inside of batches
  use_cache(home.path);
  std::vector<std::string> more = {
      "steps=" + std::to_string(STEPS), "save_every=100000", "resume=auto", "mixup=0.3", "optimizer=adamw", "lr=0.01"};
  Answer answer = call("train", train_words(data, whole, more));
  ASSERT_EQ(answer.status, IG_OK) << answer.message;
  std::string last = "/checkpoints/step-" + std::to_string(STEPS);
  auto tensors = tensors_of(whole + last);
  std::string model = slurp(whole + "/model.safetensors"), course = course_of(whole);
  ASSERT_GT(tensors.size(), 100u);
  ASSERT_GT(course.size(), 10000u);
  auto same = [&](const std::string &run) {
    EXPECT_TRUE(tensors_of(run + last) == tensors) << "another state";
    EXPECT_TRUE(slurp(run + "/model.safetensors") == model) << "other best weights";
    EXPECT_EQ(course_of(run), course) << "another course";
  };

  Leaks leaks;
  int stride = (int)count(20, 1);
  for (int step = stride; step < STEPS; step += stride) {
    // `chain` is one run, stopped every `stride` steps; at each stop a copy of it goes on to the end.
    answer = call("train", train_words(data, chain, more), stride);
    ASSERT_EQ(answer.status, IG_STOPPED) << answer.message;
    ASSERT_NE(answer.message.find("at step " + std::to_string(step) + " of"), std::string::npos) << answer.message;
    fs::remove_all(out);
    fs::copy(chain, out, fs::copy_options::recursive);
    answer = call("train", train_words(data, out, more));
    ASSERT_EQ(answer.status, IG_OK) << answer.message;
    same(out);
    ASSERT_FALSE(HasFailure()) << "going on from step " << step;
  }
  answer = call("train", train_words(data, chain, more));
  ASSERT_EQ(answer.status, IG_OK) << answer.message;
  same(chain);
  leaks.check();
}
