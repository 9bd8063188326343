// floor: ig_data
// Labelled texts: copies, leaks between parts and labels that differ, in a set made by the test and in public ones.
#include "runtime/data/text_quality.h"

#include <map>

#include "tests/text_data_fixture.h"

namespace {

TEST_F(TextData, QualityFindsCopiesLeaksAndConflicts) {
  o.inspect = o.allow_one_class = true;
  std::string csv = rows("text,text2,label,split", 20,
                         [](int i) { return "t" + std::to_string(i) + ",u," + (i < 18 ? "a" : "b") + ",train"; });
  csv += "t3,u,a,test\nt3,u,a,train\nt5,u,b,train\nt6,v,b,train\nt,7u,a,train\n,x,a,train\n";  // t6,v and t,7u are none
  ASSERT_EQ(open("m.csv", csv), IG_OK) << ig_error_message();
  ig_text_quality q{};
  ASSERT_EQ(ig_text_quality_scan(d, &q), IG_OK) << ig_error_message();
  ASSERT_EQ(q.n_groups, 2u);
  EXPECT_EQ(q.groups[0].n, 3u);
  EXPECT_EQ(std::vector<size_t>(q.members + q.groups[0].first, q.members + q.groups[0].first + 3),
            (std::vector<size_t>{3, 20, 21}));
  EXPECT_EQ(q.groups[0].parts, 1u << IG_PART_TRAIN | 1u << IG_PART_TEST);
  EXPECT_FALSE(q.groups[0].labels_differ);
  EXPECT_TRUE(q.groups[1].labels_differ);
  EXPECT_EQ(q.n_copies, 3u);
  EXPECT_EQ(q.n_leaks, 1u);
  EXPECT_EQ(q.n_conflicts, 1u);
  std::map<std::string, std::string> found;
  for (size_t i = 0; i < q.n_findings; i++) {
    found[q.findings[i].code] = q.findings[i].text;
    EXPECT_LE(q.findings[i ? i - 1 : 0].severity, q.findings[i].severity);
  }
  EXPECT_NE(found["leak"].find("\"m.csv:5\" and \"m.csv:22\""), std::string::npos) << found["leak"];
  EXPECT_NE(found["label_conflict"].find("\"m.csv:7\" and \"m.csv:24\""), std::string::npos) << found["label_conflict"];
  EXPECT_NE(found["few_texts"].find("\"b\""), std::string::npos);
  EXPECT_NE(found["duplicates"].find("2 texts"), std::string::npos) << found["duplicates"];
  EXPECT_EQ(q.counts[IG_PART_TEST * 2 + 0], 1);
  size_t all = 0;
  for (auto &part : q.lengths)
    for (size_t n : part)
      all += n;
  EXPECT_EQ(all, d->n);
  EXPECT_EQ(q.lengths[IG_PART_TEST][1], 1u);  // 3 bytes
  ig_text_quality_fini(&q);
  for (int64_t k = 1;; k++) {
    ASSERT_LT(k, 100);
    int64_t asked = ig_mem_asked();
    ig_mem_fail_after(k, 0);
    ig_status status = ig_text_quality_scan(d, &q);
    ig_mem_fail_after(0, 0);
    ig_text_quality_fini(&q);
    if (status == IG_OK && ig_mem_asked() - asked < k)
      break;
    ASSERT_EQ(status, IG_ERR_MEMORY);
  }
}

std::string data_folder() {
  const char *e = getenv("INGOT_DATA"), *s = getenv("INGOT_SOURCE");
  return e ? e : std::string(s ? s : ".") + "/../shared/data";
}

TEST_F(TextData, Banking77) {
  std::string path = data_folder() + "/banking77";
  if (!fs::exists(path))
    GTEST_SKIP() << "no " << path;
  ASSERT_EQ(open(path), IG_OK) << ig_error_message();
  EXPECT_EQ(d->n_classes, 77);
  EXPECT_EQ(d->count[IG_PART_TRAIN] + d->count[IG_PART_VAL], 10003u);
  EXPECT_EQ(d->count[IG_PART_TEST], 3080u);
  EXPECT_EQ(d->n_skipped, 0u);
  std::vector<int64_t> counts(77);
  ig_dataset_class_counts(d, IG_PART_TEST, counts.data());
  for (int64_t c : counts)
    EXPECT_EQ(c, 40);
  EXPECT_EQ(first(0), "I am still waiting on my card?");
  EXPECT_EQ(label(0), "card_arrival");
  size_t with_breaks = 0;
  for (size_t i = 0; i < d->n; i++)
    with_breaks += first(i).find('\n') != std::string::npos;
  EXPECT_EQ(with_breaks, 13u);
  ig_text_quality q{};
  ASSERT_EQ(ig_text_quality_scan(d, &q), IG_OK);
  EXPECT_EQ(q.n_copies, 0u);
  ig_text_quality_fini(&q);
}

TEST_F(TextData, Sst2) {
  std::string path = data_folder() + "/sst2";
  if (!fs::exists(path))
    GTEST_SKIP() << "no " << path;
  ASSERT_EQ(open(path), IG_OK) << ig_error_message();
  EXPECT_EQ(d->count[IG_PART_TRAIN], 67349u);
  EXPECT_EQ(d->count[IG_PART_VAL], 872u);
  EXPECT_EQ(d->count[IG_PART_TEST], 0u);
  int64_t counts[2];
  ig_dataset_class_counts(d, IG_PART_TRAIN, counts);
  EXPECT_EQ(counts[1], 37569);
  EXPECT_EQ(counts[0], 29780);
  ig_dataset_class_counts(d, IG_PART_VAL, counts);
  EXPECT_EQ(counts[1], 444);
  ig_text_quality q{};  // as counted by a dictionary in Python
  ASSERT_EQ(ig_text_quality_scan(d, &q), IG_OK);
  EXPECT_EQ(q.n_groups, 371u);
  EXPECT_EQ(q.n_copies, 371u);
  EXPECT_EQ(q.n_conflicts, 5u);
  EXPECT_EQ(q.n_leaks, 0u);
  ig_text_quality_fini(&q);
  EXPECT_TRUE(warned("test.tsv"));
}

}  // namespace
