// Going on from every step of a run, bit for bit. Rule: the run that is compared with was never interrupted.
#include <jansson.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>

#include "tests/fault_train.h"

using namespace fault;

namespace {

constexpr int STEPS = 200;

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

// The wall clock of this whole process, libraries included: ten years ahead, ten years back, right, and so on.
std::atomic<bool> jumping{false};
std::atomic<long> looks{0};
time_t jump() { return jumping ? (looks++ % 3 - 1) * (time_t)315360000 : 0; }

}  // namespace

extern "C" int clock_gettime(clockid_t clock, struct timespec *t) noexcept {
  int failed = (int)syscall(SYS_clock_gettime, clock, t);
  if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
    t->tv_sec += jump();
  return failed;
}
extern "C" int gettimeofday(struct timeval *t, void *) noexcept {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  *t = {now.tv_sec, now.tv_nsec / 1000};
  return 0;
}
extern "C" time_t time(time_t *out) noexcept {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (out)
    *out = now.tv_sec;
  return now.tv_sec;
}

TEST(FaultResume, ClockJumpsChangeNothing) {  // 61
  Folder home("ig_clock");
  std::string data = home / "data", whole = home / "whole", out = home / "run", last = "/checkpoints/step-30";
  make_pictures(data, 7, 2, 16);
  use_cache(home.path);
  std::vector<std::string> more = {"steps=30", "save_every=20ms", "time_limit=1h", "resume=auto"};
  Answer answer = call("train", train_words(data, whole, more));
  ASSERT_EQ(answer.status, IG_OK) << answer.message;
  jumping = true;
  answer = call("train", train_words(data, out, more), 15);
  EXPECT_EQ(answer.status, IG_STOPPED) << "not by its time limit: " << answer.message;
  answer = call("train", train_words(data, out, more));
  jumping = false;
  ASSERT_EQ(answer.status, IG_OK) << answer.message;
  EXPECT_GT(looks, 10) << "nobody looked at the clock";
  EXPECT_TRUE(tensors_of(out + last) == tensors_of(whole + last));
  EXPECT_TRUE(slurp(out + "/model.safetensors") == slurp(whole + "/model.safetensors"));
  EXPECT_EQ(course_of(out), course_of(whole));
  std::ifstream in(out + "/log.jsonl");
  double before = 0;
  for (std::string line; std::getline(in, line);) {
    json_t *row = json_loads(line.c_str(), 0, nullptr);
    double seconds = json_number_value(json_object_get(row, "seconds"));
    EXPECT_TRUE(seconds >= before && seconds < 3600) << line;
    before = seconds;
    json_decref(row);
  }
}

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
