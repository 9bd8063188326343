// floor: ig_train
// Other tasks than classification: metrics of labels, and split files with numbers and labels.
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "runtime/data/dataset.h"
#include "runtime/train/outcome.h"

namespace fs = std::filesystem;

TEST(Multilabel, CountedByHand) {
  // Four samples, two labels; logit signs say: (1,0) (1,1) (0,1) (0,0); truth: (1,0) (1,0) (1,1) (0,0).
  const float logits[] = {2, -1, 1, 3, -2, 1, -3, -4}, targets[] = {1, 0, 1, 0, 1, 1, 0, 0};
  ig_multilabel m;
  ASSERT_EQ(ig_metrics_multilabel(logits, targets, 4, 2, &m), IG_OK) << ig_error_message();
  EXPECT_DOUBLE_EQ(m.accuracy, 0.5);         // samples 0 and 3
  EXPECT_DOUBLE_EQ(m.label_accuracy, 0.75);  // 6 of 8 answers
  EXPECT_DOUBLE_EQ(m.per_label[0].prf.precision, 1);
  EXPECT_DOUBLE_EQ(m.per_label[0].prf.recall, 2.0 / 3);
  EXPECT_DOUBLE_EQ(m.per_label[1].prf.precision, 0.5);
  EXPECT_DOUBLE_EQ(m.per_label[1].prf.recall, 1);
  EXPECT_DOUBLE_EQ(m.macro.precision, 0.75);
  EXPECT_DOUBLE_EQ(m.micro.precision, 0.75);  // 3 hits of 4 said
  EXPECT_DOUBLE_EQ(m.micro.recall, 0.75);     // of 4 that hold
  EXPECT_DOUBLE_EQ(m.weighted.recall, (2.0 / 3 * 3 + 1) / 4);
  // Label 0: scores 2, 1, -2 against -3: all above. Label 1: 1 against -1, 3, -4: two of three.
  EXPECT_DOUBLE_EQ(m.roc_auc, (1 + 2.0 / 3) / 2);
  EXPECT_DOUBLE_EQ(m.average_precision, (1 + 0.5) / 2);
  EXPECT_EQ(m.per_label[0].support, 3);
  ig_multilabel_fini(&m);
}

// In fp32 these probabilities are all 1.
TEST(Multilabel, RanksProbabilitiesNearOne) {
  const float logits[] = {18, 18.5f, 19, 19.5f}, targets[] = {0, 1, 0, 1};
  ig_multilabel m;
  ASSERT_EQ(ig_metrics_multilabel(logits, targets, 4, 1, &m), IG_OK);
  EXPECT_DOUBLE_EQ(m.roc_auc, 0.75);
  EXPECT_DOUBLE_EQ(m.average_precision, (1 + 2.0 / 3) / 2);
  ig_multilabel_fini(&m);
}

TEST(Multilabel, UndefinedIsLeftOutOfMeans) {
  const float logits[] = {2, -1, 1, 3}, targets[] = {1, 0, 0, 0};  // label 1 never holds
  ig_multilabel m;
  ASSERT_EQ(ig_metrics_multilabel(logits, targets, 2, 2, &m), IG_OK);
  EXPECT_DOUBLE_EQ(m.roc_auc, 1);
  EXPECT_DOUBLE_EQ(m.average_precision, 1);
  ig_multilabel_fini(&m);
  EXPECT_EQ(ig_metrics_multilabel(logits, targets, 0, 2, &m), IG_ERR_DATA);
  const float bad[] = {NAN, 0, 0, 0};
  EXPECT_EQ(ig_metrics_multilabel(bad, targets, 2, 2, &m), IG_ERR_NUMERIC);
}

TEST(Head, LossesOfASample) {
  const float mean[] = {100}, std[] = {10}, out[] = {2}, target[] = {150};  // standardised: 2 against 5
  ig_head h = {};
  h.task = IG_TASK_REGRESS;
  h.n = 1;
  h.huber_delta = 1;
  h.mean = mean;
  h.std = std;
  for (auto [loss, expected] : {std::pair{"mse", 9.0}, {"l1", 3.0}, {"huber", 2.5}}) {
    h.loss = loss;
    EXPECT_NEAR(ig_sample_loss(&h, out, target), expected, 1e-6) << loss;
  }
  float x[] = {2};
  ig_head_unscale(&h, x);
  EXPECT_FLOAT_EQ(x[0], 120);
  const float yes[] = {1}, no[] = {0}, z[] = {0.7f};
  h.task = IG_TASK_MULTILABEL;
  h.loss = "bce";
  const double p = 1 / (1 + std::exp(-0.7));
  EXPECT_NEAR(ig_sample_loss(&h, z, yes), -std::log(p), 1e-6);
  EXPECT_NEAR(ig_sample_loss(&h, z, no), -std::log(1 - p), 1e-6);
  h.loss = "focal";
  h.focal_gamma = 2;
  EXPECT_NEAR(ig_sample_loss(&h, z, yes), -std::log(p) * (1 - p) * (1 - p), 1e-6);
}

namespace {

class Tables : public testing::Test {
 protected:
  fs::path root = fs::temp_directory_path() / ("ingot-tasks-" + std::to_string(::getpid()));
  std::string csv = (root / "t.csv").string(), warned;
  ig_dataset *d = nullptr;

  void SetUp() override {
    fs::create_directories(root);
    for (int i = 0; i < 60; i++) {  // a 1 x 1 BMP
      const unsigned char bmp[] = {'B', 'M', 58, 0, 0, 0, 0, 0, 0,  0, 54, 0, 0, 0, 40, 0, 0, 0, 1, 0,
                                   0,   0,   1,  0, 0, 0, 1, 0, 24, 0, 0,  0, 0, 0, 4,  0, 0, 0, 0, 0,
                                   0,   0,   0,  0, 0, 0, 0, 0, 0,  0, 0,  0, 0, 0, 1,  2, 3, 0};
      std::ofstream(root / (std::to_string(i) + ".bmp"), std::ios::binary)
          .write(reinterpret_cast<const char *>(bmp), sizeof bmp);
    }
  }
  void TearDown() override {
    ig_dataset_close(d);
    fs::remove_all(root);
  }
  ig_status open(const std::string &text, ig_task task = IG_TASK_AUTO, std::vector<const char *> columns = {},
                 std::vector<const char *> classes = {}) {
    ig_dataset_close(d);
    d = nullptr;
    std::ofstream(csv) << text;
    ig_dataset_options o = {};
    o.size = sizeof o;
    o.data = root.c_str();
    o.split = csv.c_str();
    o.task = task;
    o.columns = columns.data();
    o.n_columns = columns.size();
    o.classes = classes.empty() ? nullptr : classes.data();
    o.n_classes = static_cast<int>(classes.size());
    o.needs_labels = true;
    return ig_dataset_open(&o, &d);
  }
  static std::string rows(const std::string &header, int n, std::string (*row)(int)) {
    std::string text = header + "\n";
    for (int i = 0; i < n; i++)
      text += std::to_string(i) + ".bmp," + row(i) + "\n";
    return text;
  }
};

TEST_F(Tables, TaskByTheCells) {
  ASSERT_EQ(open(rows("file,label", 60, [](int i) { return std::to_string(i) + ".5"; })), IG_OK) << ig_error_message();
  EXPECT_EQ(d->task, IG_TASK_REGRESS);
  ASSERT_EQ(d->n_classes, 1);
  for (size_t i = 0; i < d->n; i++)
    EXPECT_FLOAT_EQ(d->targets[i], std::stof(d->samples[i].name) + 0.5f);
  // Held out: a fifth of each fifth by value.
  EXPECT_EQ(d->count[IG_PART_VAL], 10u);
  int low = 0;
  for (size_t i = 0; i < d->count[IG_PART_VAL]; i++)
    low += d->targets[d->index[IG_PART_VAL][i]] < 12;
  EXPECT_EQ(low, 2);
  ASSERT_EQ(open(rows("file,label", 60, [](int i) { return std::to_string(i % 3); })), IG_OK);
  EXPECT_EQ(d->task, IG_TASK_CLASSIFY);
  EXPECT_EQ(d->n_classes, 3);
  ASSERT_EQ(open(rows("file,label", 60, [](int i) { return std::string(i % 2 ? "b; a" : i % 4 ? "a" : ""); })), IG_OK);
  EXPECT_EQ(d->task, IG_TASK_MULTILABEL);
  EXPECT_STREQ(d->classes[1], "b");
  int64_t counts[2];
  ig_dataset_class_counts(d, IG_PART_ALL, counts);
  EXPECT_EQ(counts[0], 45);
  EXPECT_EQ(counts[1], 30);
}

TEST_F(Tables, ColumnsAndNames) {
  auto text = rows("file,w,h", 60, [](int i) { return std::to_string(i) + "," + std::to_string(2 * i); });
  ASSERT_EQ(open(text, IG_TASK_REGRESS), IG_OK) << ig_error_message();
  ASSERT_EQ(d->n_classes, 2);
  EXPECT_STREQ(d->classes[0], "w");
  ASSERT_EQ(open(text, IG_TASK_REGRESS, {"h", "w"}), IG_OK);
  EXPECT_STREQ(d->classes[0], "h");
  EXPECT_FLOAT_EQ(d->targets[0], 2 * d->targets[1]);
  ASSERT_EQ(open(text, IG_TASK_REGRESS, {}, {"h"}), IG_OK);  // by the names that the weights know
  EXPECT_EQ(d->n_classes, 1);
  std::string first = d->fingerprint;
  ASSERT_EQ(open(text, IG_TASK_REGRESS, {"w"}), IG_OK);
  EXPECT_NE(first, d->fingerprint);
  EXPECT_EQ(open(text, IG_TASK_REGRESS, {"x"}), IG_ERR_DATA);
  // Emptied columns, and the row numbers that pandas writes.
  std::string spread = ";file;w;;\n", pandas = "Unnamed: 0,file,w\n";
  for (int i = 0; i < 60; i++) {
    const std::string n = std::to_string(i);
    spread += n + ";" + n + ".bmp;" + n + ".5;;\n";
    pandas += n + "," + n + ".bmp," + n + ".5\n";
  }
  for (auto &table : {spread, pandas}) {
    ASSERT_EQ(open(table, IG_TASK_REGRESS), IG_OK) << ig_error_message();
    ASSERT_EQ(d->n_classes, 1);
    EXPECT_STREQ(d->classes[0], "w");
  }
  EXPECT_EQ(open(text), IG_ERR_DATA);  // auto: neither class column nor class folder that differs
}

TEST_F(Tables, RareLabelsStayInTraining) {
  auto text = rows("file,label", 60, [](int i) { return std::string(i < 2 ? "rare;often" : i % 2 ? "often" : ""); });
  ASSERT_EQ(open(text), IG_OK) << ig_error_message();
  int64_t counts[2];
  ig_dataset_class_counts(d, IG_PART_TRAIN, counts);
  EXPECT_EQ(counts[1], 1);
  ig_dataset_class_counts(d, IG_PART_VAL, counts);
  EXPECT_EQ(counts[1], 1);
}

}  // namespace
