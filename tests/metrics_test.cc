// floor: ig_train
// Metrics, intervals, schedules' refusals and event files: what the reference results (golden_test) do not hold.
// Rule: expectations are written out by hand or come from a table, never from the code under test.
#include "runtime/train/metrics.h"

#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <dirent.h>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <string>
#include <unistd.h>
#include <vector>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/train/events.h"
#include "runtime/train/interval.h"
#include "runtime/train/schedule.h"

namespace {

TEST(Interval, WilsonTable) {
  const ig_interval half = ig_interval_wilson95(5, 10), none = ig_interval_wilson95(0, 10);
  EXPECT_NEAR(half.low, 0.236593090512564, 1e-12);
  EXPECT_NEAR(half.high, 0.7634069094874361, 1e-12);
  EXPECT_EQ(none.low, 0);
  EXPECT_NEAR(none.high, 0.277532799862889, 1e-9);
  EXPECT_EQ(ig_interval_wilson95(7, 7).high, 1);
  EXPECT_EQ(ig_interval_wilson95(0, 0).low, 0);
  EXPECT_EQ(ig_interval_wilson95(0, 0).high, 1);
}

// Six samples of three classes; the last has weight 0, a label and a logit that would be refused.
const float logits[] = {2, 1, 0, 0, 3, 1, 1, 1, 0, 0, 0, 5, 4, 0, 0, NAN, 9, 9};
const int32_t labels[] = {0, 1, 1, 2, 2, -7};
const float weights[] = {1, 0.5f, 2, 1, 1, 0};

TEST(Metrics, WeightZeroLeavesOut) {
  ig_metrics m;
  ASSERT_EQ(ig_metrics_classify(logits, labels, weights, 6, 3, &m), IG_OK) << ig_error_message();
  EXPECT_EQ(m.n, 5);
  EXPECT_DOUBLE_EQ(m.accuracy, 0.6);  // rows 0, 1, 3; row 2 is a tie and goes to class 0
  EXPECT_DOUBLE_EQ(m.top5, 1);
  const int64_t confusion[] = {1, 0, 0, 1, 1, 0, 1, 0, 1};
  for (int i = 0; i < 9; i++)
    EXPECT_EQ(m.confusion[i], confusion[i]) << i;
  EXPECT_DOUBLE_EQ(m.per_class[0].prf.precision, 1.0 / 3);
  EXPECT_DOUBLE_EQ(m.per_class[0].prf.f1, 0.5);
  EXPECT_EQ(m.per_class[2].support, 2);
  EXPECT_EQ(m.per_class[2].predicted, 1);
  EXPECT_DOUBLE_EQ(m.balanced_accuracy, 2.0 / 3);
  int64_t in_bins = 0;
  for (const ig_calibration_bin &b : m.bins)
    in_bins += b.n;
  EXPECT_EQ(in_bins, 5);
  ig_metrics_fini(&m);
}

// Confidence 1/3 lies on an edge and belongs to the bin below it; Brier of two classes is that of class 1.
TEST(Metrics, BinEdgeAndBrier) {
  const float equal[6] = {0};
  const int32_t truth[] = {0, 1};
  ig_metrics m;
  ASSERT_EQ(ig_metrics_classify(equal, truth, nullptr, 2, 3, &m), IG_OK);
  EXPECT_EQ(m.bins[4].n, 2);
  EXPECT_DOUBLE_EQ(m.bins[4].accuracy, 0.5);
  EXPECT_DOUBLE_EQ(m.bins[4].confidence, 1.0 / 3);
  EXPECT_NEAR(m.brier, 6.0 / 9, 1e-15);  // (2/3)^2 + 2 (1/3)^2
  ig_metrics_fini(&m);
  ASSERT_EQ(ig_metrics_classify(equal, truth, nullptr, 2, 2, &m), IG_OK);
  EXPECT_DOUBLE_EQ(m.brier, 0.25);
  EXPECT_DOUBLE_EQ(m.roc_auc, 0.5);
  ig_metrics_fini(&m);
}

// Rows whose logits are each other's in another order are ties, as for scikit-learn behind NumPy's sums.
TEST(Metrics, OrderOfLogitsBreaksNoTie) {
  const float logits[] = {0.1298828125f, -0.169921875f, -1.182617188f, 0.5390625f,    -1.755859375f, -1.822265625f,
                          -1.796875f,    -1.926757812f, 0.1298828125f, -0.169921875f, 0.5390625f,    -1.182617188f,
                          -1.755859375f, -1.822265625f, -1.926757812f, -1.796875f};
  const int32_t labels[] = {0, 1};
  ig_metrics m;
  ASSERT_EQ(ig_metrics_classify(logits, labels, nullptr, 2, 8, &m), IG_OK);
  EXPECT_DOUBLE_EQ(m.per_class[0].roc_auc, 0.5);
  ig_metrics_fini(&m);
}

TEST(Metrics, Refusals) {
  ig_metrics m;
  const float none[6] = {0};
  EXPECT_EQ(ig_metrics_classify(logits, labels, none, 6, 3, &m), IG_ERR_DATA);
  EXPECT_EQ(ig_metrics_classify(logits, labels, nullptr, 6, 3, &m), IG_ERR_DATA);
  EXPECT_NE(std::string(ig_error_message()).find("label -7"), std::string::npos) << ig_error_message();
  const float bad[] = {0, INFINITY};
  EXPECT_EQ(ig_metrics_classify(bad, labels, nullptr, 1, 2, &m), IG_ERR_NUMERIC);
  EXPECT_EQ(m.per_class, nullptr);
  const double score = 1.5;
  EXPECT_EQ(ig_metrics_binary(&score, labels, nullptr, 1, &m), IG_ERR_NUMERIC);
  const double x = NAN;
  ig_regression r;
  EXPECT_EQ(ig_metrics_regress(&x, &x, nullptr, 1, &r), IG_ERR_NUMERIC);
}

TEST(Metrics, EveryAllocationMayFail) {
  const int64_t live = ig_mem_live();
  int failures = 0;
  for (int64_t i = 1;; i++, failures++) {
    ig_metrics m;
    ig_mem_fail_after(i, 0);
    const ig_status status = ig_metrics_classify(logits, labels, weights, 6, 3, &m);
    ig_mem_fail_after(0, 0);
    if (status == IG_OK) {
      ig_metrics_fini(&m);
      break;
    }
    EXPECT_EQ(status, IG_ERR_MEMORY);
    EXPECT_EQ(ig_mem_live(), live);
  }
  EXPECT_GE(failures, 6);
  EXPECT_EQ(ig_mem_live(), live);
}

TEST(Metrics, JsonHoldsTheContractsKeys) {
  ig_metrics m;
  json_t *j = nullptr;
  ASSERT_EQ(ig_metrics_classify(logits, labels, weights, 6, 3, &m), IG_OK);
  const char *names[] = {"good",
                         "scr\xff"
                         "atch",
                         "d\xc3\xa9"
                         "faut"};
  ASSERT_EQ(ig_metrics_json(&m, names, 0.25, &j), IG_OK) << ig_error_message();
  for (const char *key : {"n", "loss", "accuracy", "top5", "precision", "recall", "f1", "micro", "weighted",
                          "accuracy_interval", "per_class", "confusion"})
    EXPECT_NE(json_object_get(j, key), nullptr) << key;
  EXPECT_EQ(json_real_value(json_object_get(j, "loss")), 0.25);
  EXPECT_EQ(json_array_size(json_object_get(j, "accuracy_interval")), 2u);
  json_t *rows = json_object_get(j, "per_class");
  ASSERT_EQ(json_array_size(rows), 3u);
  EXPECT_STREQ(json_string_value(json_object_get(json_array_get(rows, 1), "name")), "scr\\xFFatch");
  EXPECT_STREQ(json_string_value(json_object_get(json_array_get(rows, 2), "name")), names[2]);
  json_t *confusion = json_object_get(j, "confusion");
  EXPECT_EQ(json_integer_value(json_array_get(json_array_get(confusion, 2), 0)), 1);
  EXPECT_TRUE(json_is_real(json_object_get(j, "roc_auc")));
  json_decref(j);
  ig_metrics_fini(&m);

  const double t = 2, p = 2.5;
  ig_regression r;
  ASSERT_EQ(ig_metrics_regress(&t, &p, nullptr, 1, &r), IG_OK);
  ASSERT_EQ(ig_regression_json(&r, NAN, &j), IG_OK);
  EXPECT_TRUE(json_is_null(json_object_get(j, "r2")));
  EXPECT_EQ(json_real_value(json_object_get(j, "loss")), 0.25);
  json_decref(j);
}

TEST(Scores, KeepOnlyWeightedSamples) {
  ig_scores s;
  ig_scores_init(&s, 3);
  const uint64_t sample[] = {10, 11, 12, 13, 14, 15};
  ASSERT_EQ(ig_scores_add(&s, logits, labels, weights, sample, 6), IG_OK);
  ASSERT_EQ(ig_scores_add(&s, logits + 3, labels + 1, nullptr, sample + 1, 1), IG_OK);
  ASSERT_EQ(s.n, 6u);
  EXPECT_EQ(s.sample[5], 11u);
  EXPECT_EQ(s.labels[5], 1);
  EXPECT_EQ(s.logits[5 * 3 + 1], 3);
  ig_scores_clear(&s);
  EXPECT_EQ(s.n, 0u);
  ig_scores_fini(&s);
}

// torch.optim.lr_scheduler.OneCycleLR(max_lr=0.1, total_steps=2): its first phase ends before the first step.
TEST(Schedule, OneCycleOfTwoSteps) {
  ig_schedule s = {};
  s.kind = IG_SCHEDULE_ONECYCLE;
  s.lr = 0.1;
  s.total = 2;
  s.pct_start = 0.3;
  s.div_factor = 25;
  s.final_div_factor = 1e4;
  EXPECT_NEAR(ig_schedule_lr(&s, 0), 0.081174565395, 1e-12);
  EXPECT_NEAR(ig_schedule_lr(&s, 1), 4e-7, 1e-16);
}

TEST(Schedule, RefusesContradictions) {
  ig_schedule s = ig_schedule_default();
  EXPECT_EQ(ig_schedule_check(&s), IG_OK);
  s.kind = IG_SCHEDULE_COSINE;
  EXPECT_EQ(ig_schedule_check(&s), IG_ERR_USAGE);  // no total
  s.total = 10, s.warmup = 11;
  EXPECT_EQ(ig_schedule_check(&s), IG_ERR_USAGE);
  s.warmup = 10;
  EXPECT_EQ(ig_schedule_check(&s), IG_OK);
  EXPECT_DOUBLE_EQ(ig_schedule_lr(&s, 5), 0.05);
  EXPECT_DOUBLE_EQ(ig_schedule_lr(&s, 10), 0);
  s.lr = NAN;
  EXPECT_EQ(ig_schedule_check(&s), IG_ERR_USAGE);
  ig_schedule_kind kind;
  EXPECT_EQ(ig_schedule_parse("cosin", &kind), IG_ERR_USAGE);
  for (int i = 0; i < IG_SCHEDULE_N_KINDS; i++) {
    ASSERT_EQ(ig_schedule_parse(ig_schedule_name((ig_schedule_kind)i), &kind), IG_OK);
    EXPECT_EQ((int)kind, i);
  }
}

// Every kind at every short length stays finite and within [0, peak], from the first step to long after the end.
TEST(Schedule, FiniteAndBoundedAtAnyLength) {
  for (int kind = 0; kind < IG_SCHEDULE_N_KINDS; kind++)
    for (int64_t total = 1; total < 12; total++)
      for (int64_t warmup = 0; warmup <= total; warmup++)
        for (int variant = 0; variant < 2; variant++) {
          ig_schedule s = ig_schedule_default();
          s.kind = (ig_schedule_kind)kind, s.total = total;
          s.warmup = kind == IG_SCHEDULE_ONECYCLE ? 0 : warmup;
          s.one_ahead = s.three_phase = s.linear_anneal = s.from_start = variant;
          ASSERT_EQ(ig_schedule_check(&s), IG_OK) << ig_error_message();
          for (int64_t k = 0; k < 3 * total; k++) {
            const double lr = ig_schedule_lr(&s, k);
            ASSERT_TRUE(lr >= 0 && lr <= 0.1 + 1e-12) << ig_schedule_name(s.kind) << " total " << total << " warmup "
                                                      << warmup << " step " << k << ": " << lr;
          }
        }
}

TEST(Schedule, Defaults) {
  ig_schedule s = ig_schedule_default();
  s.kind = IG_SCHEDULE_STEP, s.total = 90;
  EXPECT_DOUBLE_EQ(ig_schedule_lr(&s, 29), 0.1);
  EXPECT_DOUBLE_EQ(ig_schedule_lr(&s, 30), 0.01);
  EXPECT_DOUBLE_EQ(ig_schedule_lr(&s, 60), 0.001);
  s.kind = IG_SCHEDULE_EXPONENTIAL;
  EXPECT_NEAR(ig_schedule_lr(&s, 90), 0.001, 1e-12);
}

// ---- events -------------------------------------------------------------------------------------------------------

std::string slurp(const std::string &path) {
  std::ifstream in(path, std::ios::binary);
  return std::string((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
}

std::string scalar_bytes(double wall, int64_t step, const char *tag, float value) {
  ig_event_record r;
  ig_event_encode_scalar(wall, step, tag, value, &r);
  return std::string((const char *)r.bytes, r.n);
}

struct EventsTest : testing::Test {
  char folder[64] = "/tmp/ingot_events_test_XXXXXX";
  void SetUp() override { ASSERT_NE(mkdtemp(folder), nullptr); }
  void TearDown() override {
    ig_fileops_set(nullptr);
    ig_remove_tree(folder);
  }
};

TEST(Events, Crc32cCheckValue) {
  EXPECT_EQ(ig_crc32c("123456789", 9), 0xe3069283u);
  EXPECT_EQ(ig_crc32c("", 0), 0u);
}

TEST(Events, LongTagsAreCutNotOverrun) {
  const std::string tag(5000, 'x');
  ig_event_record r;
  ig_event_encode_scalar(1e9, INT64_MAX, tag.c_str(), -1.0f, &r);
  EXPECT_LE(r.n, (size_t)IG_EVENT_MAX_BYTES);
  EXPECT_GT(r.n, (size_t)IG_EVENT_MAX_TAG);
}

TEST_F(EventsTest, ASecondWriterTakesANewFile) {
  ig_events *a = nullptr, *b = nullptr;
  ASSERT_EQ(ig_events_open(folder, 1700000000, &a), IG_OK) << ig_error_message();
  ASSERT_EQ(ig_events_open(folder, 1700000000, &b), IG_OK) << ig_error_message();
  EXPECT_STRNE(ig_events_path(a), ig_events_path(b));
  EXPECT_NE(std::string(ig_events_path(a)).find("/events.out.tfevents.1700000000."), std::string::npos);
  const std::string path = ig_events_path(a);
  const std::string version = slurp(path);
  ASSERT_EQ(ig_events_scalar(a, 1700000001, 7, "loss", 0.5), IG_OK);
  EXPECT_EQ(slurp(path), version);  // buffered
  EXPECT_EQ(ig_events_close(a), IG_OK);
  EXPECT_EQ(slurp(path), version + scalar_bytes(1700000001, 7, "loss", 0.5f));
  EXPECT_EQ(ig_events_close(b), IG_OK);
}

bool disk_full;

TEST_F(EventsTest, AFullDiskLosesNothing) {
  ig_fileops ops = *ig_fileops_get();
  ops.write = [](int fd, const void *data, size_t n) -> ssize_t {
    static int calls;
    if (disk_full && calls++ % 2) {
      errno = ENOSPC;
      return -1;
    }
    return disk_full ? write(fd, data, n < 5 ? n : 5) : write(fd, data, n);
  };
  disk_full = false;
  ig_fileops_set(&ops);
  ig_events *e = nullptr;
  ASSERT_EQ(ig_events_open(folder, 1700000000, &e), IG_OK) << ig_error_message();
  const std::string path = ig_events_path(e), version = slurp(path);
  ASSERT_EQ(ig_events_scalar(e, 1700000001, 1, "loss", 1), IG_OK);
  disk_full = true;
  EXPECT_EQ(ig_events_flush(e), IG_ERR_IO);
  EXPECT_NE(std::string(ig_error_message()).find(path), std::string::npos) << ig_error_message();
  EXPECT_EQ(slurp(path), version);
  disk_full = false;
  ASSERT_EQ(ig_events_scalar(e, 1700000002, 2, "loss", 2), IG_OK);
  EXPECT_EQ(ig_events_close(e), IG_OK);
  EXPECT_EQ(slurp(path), version + scalar_bytes(1700000001, 1, "loss", 1) + scalar_bytes(1700000002, 2, "loss", 2));
}

TEST_F(EventsTest, AFolderThatIsNotThereIsAnError) {
  ig_events *e = nullptr;
  const std::string missing = std::string(folder) + "/nope";
  const int64_t live = ig_mem_live();
  EXPECT_NE(ig_events_open(missing.c_str(), 0, &e), IG_OK);
  EXPECT_EQ(e, nullptr);
  EXPECT_EQ(ig_mem_live(), live);
}

}  // namespace
