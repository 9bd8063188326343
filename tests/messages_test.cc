// floor: ig_data
// The text demo's messages and documents: pure functions of their arguments, no word of an intent in both parts, not
// told apart by a linear model on words, and written once with the same bytes.
#include "runtime/data/messages.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <gtest/gtest.h>
#include <map>
#include <set>
#include <string>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "tests/folder.h"

namespace {

const int K = IG_MESSAGES_N_CLASSES;

std::string taken(ig_text *t) {
  std::string s(t->data ? t->data : "", t->n);
  ig_free(t->data);
  return s;
}

std::string message(uint64_t seed, ig_messages_part part, int cls, uint64_t index) {
  ig_text t = {};
  EXPECT_EQ(ig_messages_text(seed, part, cls, index, &t), IG_OK) << ig_error_message();
  return taken(&t);
}

std::string document(uint64_t seed, uint64_t index) {
  ig_text t = {};
  EXPECT_EQ(ig_messages_document(seed, index, &t), IG_OK) << ig_error_message();
  return taken(&t);
}

std::vector<std::string> words(const std::string &text) {
  std::vector<std::string> out(1);
  for (char ch : text)
    if (isalpha((unsigned char)ch))
      out.back() += (char)tolower(ch);
    else if (!out.back().empty())
      out.emplace_back();
  if (out.back().empty())
    out.pop_back();
  return out;
}

// Class and number within the slot of every word that tells a class.
std::map<std::string, std::pair<int, int>> telling() {
  std::map<std::string, std::pair<int, int>> out;
  for (int c = 0; c < K; c++)
    for (int s = 0; s < IG_MESSAGES_N_SLOTS; s++)
      for (int i = 0; i < IG_MESSAGES_N_WORDS; i++)
        EXPECT_TRUE(out.emplace(ig_messages_word(c, s, i), std::make_pair(c, i)).second) << ig_messages_word(c, s, i);
  return out;
}

TEST(Messages, PureFunctionsOfTheirArguments) {
  std::string a = message(1, IG_MESSAGES_TRAIN, 3, 7), d = document(1, 7);
  EXPECT_EQ(a, message(1, IG_MESSAGES_TRAIN, 3, 7));
  EXPECT_NE(a, message(2, IG_MESSAGES_TRAIN, 3, 7));
  EXPECT_NE(a, message(1, IG_MESSAGES_TEST, 3, 7));
  EXPECT_NE(a, message(1, IG_MESSAGES_TRAIN, 4, 7));
  EXPECT_NE(a, message(1, IG_MESSAGES_TRAIN, 3, 8));
  EXPECT_EQ(d, document(1, 7));
  EXPECT_NE(d, document(2, 7));
  EXPECT_NE(d, document(1, 8));
}

TEST(Messages, RefusesWhatItCannotWrite) {
  ig_text t = {};
  EXPECT_EQ(ig_messages_text(1, IG_MESSAGES_TRAIN, K, 0, &t), IG_ERR_USAGE);
  EXPECT_EQ(ig_messages_text(1, IG_MESSAGES_TRAIN, -1, 0, &t), IG_ERR_USAGE);
  EXPECT_EQ(ig_messages_text(1, (ig_messages_part)2, 0, 0, &t), IG_ERR_USAGE);
  EXPECT_EQ(t.n, 0u);
  EXPECT_EQ(ig_messages_class_name(K), nullptr);
  EXPECT_EQ(ig_messages_word(0, IG_MESSAGES_N_SLOTS, 0), nullptr);
  for (int c = 1; c < K; c++)
    EXPECT_LT(std::string(ig_messages_class_name(c - 1)), ig_messages_class_name(c)) << "sorted like labels";
}

// Every text has words of its class only, at least two; a part has only its words, and uses all of them.
TEST(Messages, PartsShareNoWordThatTellsTheClass) {
  auto of = telling();
  for (auto part : {IG_MESSAGES_TRAIN, IG_MESSAGES_TEST}) {
    std::set<std::string> seen;
    for (int c = 0; c < K; c++)
      for (int i = 0; i < 200; i++) {
        std::string text = message(5, part, c, i);
        int n = 0;
        ASSERT_EQ(text.find_first_of("\"\r\n"), std::string::npos) << text;
        for (const auto &w : words(text))
          if (of.count(w)) {
            EXPECT_EQ(of[w].first, c) << w << ": " << text;
            EXPECT_EQ(of[w].second < IG_MESSAGES_N_SHOWN, part == IG_MESSAGES_TRAIN) << w << ": " << text;
            seen.insert(w);
            n++;
          }
        EXPECT_GE(n, 2) << text;
      }
    EXPECT_EQ(seen.size(),
              (size_t)K * IG_MESSAGES_N_SLOTS *
                  (part == IG_MESSAGES_TRAIN ? IG_MESSAGES_N_SHOWN : IG_MESSAGES_N_WORDS - IG_MESSAGES_N_SHOWN));
  }
}

TEST(Messages, DocumentsTellOneIntentInWordsOfBothParts) {
  auto of = telling();
  std::set<int> classes;
  std::set<std::string> seen;
  int both = 0;
  for (int i = 0; i < 1000; i++) {
    std::set<int> cls, shown;
    for (const auto &w : words(document(5, i)))
      if (of.count(w)) {
        cls.insert(of[w].first);
        shown.insert(of[w].second < IG_MESSAGES_N_SHOWN);
        seen.insert(w);
      }
    ASSERT_EQ(cls.size(), 1u) << document(5, i);
    classes.insert(*cls.begin());
    both += shown.size() == 2;
  }
  EXPECT_EQ(classes.size(), (size_t)K);
  EXPECT_EQ(seen.size(), of.size());
  EXPECT_GT(both, 950);
}

// Multinomial logistic regression on the words of the labelled messages, as many as the demo has. What is left to it is
// to tell machines from orders: about 1 of 6 and of 4 right.
TEST(Messages, LabelsAloneAreNotEnoughForALinearModel) {
  const int n_train = 16, n_test = 60;  // a class
  std::map<std::string, int> number;
  auto features = [&](ig_messages_part part, int c, int i) {
    std::vector<int> x;
    for (const auto &w : words(message(11, part, c, i))) {
      if (part == IG_MESSAGES_TRAIN)
        number.emplace(w, (int)number.size());
      if (number.count(w))
        x.push_back(number[w]);
    }
    return x;
  };
  std::vector<std::vector<int>> x, t;
  for (int i = 0; i < n_train; i++)
    for (int c = 0; c < K; c++)
      x.push_back(features(IG_MESSAGES_TRAIN, c, i));
  for (int i = 0; i < n_test; i++)
    for (int c = 0; c < K; c++)
      t.push_back(features(IG_MESSAGES_TEST, c, i));
  std::vector<double> w(number.size() * K, 0.0);
  double p[K];
  auto classify = [&](const std::vector<int> &v) {
    double top = -1e30, sum = 0;
    for (int c = 0; c < K; c++) {
      p[c] = 0;
      for (int f : v)
        p[c] += w[(size_t)f * K + c];
      top = std::max(top, p[c]);
    }
    int best = 0;
    for (int c = 0; c < K; c++) {
      best = p[c] > p[best] ? c : best;
      sum += std::exp(p[c] - top);
    }
    for (int c = 0; c < K; c++)
      p[c] = std::exp(p[c] - top) / sum;
    return best;
  };
  auto accuracy = [&](const std::vector<std::vector<int>> &of) {
    int right = 0;
    for (size_t i = 0; i < of.size(); i++)
      right += classify(of[i]) == (int)(i % K);
    return right / (double)of.size();
  };
  double test = 0;
  for (int epoch = 0; epoch < 60; epoch++) {
    for (size_t i = 0; i < x.size(); i++) {
      classify(x[i]);
      for (int f : x[i])
        for (int c = 0; c < K; c++)
          w[(size_t)f * K + c] -= 0.1 * (p[c] - (c == (int)(i % K)));
    }
    test = std::max(test, accuracy(t));  // the most generous moment to stop
  }
  printf("a linear model on words: %.3f of what it learned from, %.3f of the rest\n", accuracy(x), test);
  EXPECT_GT(accuracy(x), 0.98) << "it can learn";
  EXPECT_LT(test, 0.35);
}

TEST(Messages, WritesTheSetOnceAndRepairsIt) {
  Folder a, b;
  const char *files[] = {"/corpus/documents.txt", "/messages/train.csv", "/messages/test.csv", "/shown.txt"};
  ASSERT_EQ(ig_messages_write(a.path.c_str(), 3, 4, 2, 1), IG_OK) << ig_error_message();
  ASSERT_EQ(ig_messages_write(b.path.c_str(), 3, 4, 2, 1), IG_OK);
  for (const char *f : files)
    EXPECT_EQ(read_file(a.path + f), read_file(b.path + f));
  EXPECT_EQ(read_file(a.path + files[0]),
            document(3, 0) + "\n" + document(3, 1) + "\n" + document(3, 2) + "\n" + document(3, 3));
  std::string csv = read_file(a.path + files[1]);
  EXPECT_EQ(csv.find("text,label\n\"" + message(3, IG_MESSAGES_TRAIN, 0, 0) + "\",billing\n"), 0u) << csv;
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 1 + 2 * K);
  EXPECT_EQ(read_file(a.path + files[3]).find(message(3, IG_MESSAGES_TEST, 0, 1) + "\n"), 0u) << "not of the test part";

  struct stat before, after;
  stat((a.path + files[0]).c_str(), &before);
  ASSERT_EQ(ig_make_dirs((a.path + "/vocabulary").c_str()), IG_OK);
  ASSERT_EQ(ig_messages_write(a.path.c_str(), 3, 4, 2, 1), IG_OK);
  stat((a.path + files[0]).c_str(), &after);
  EXPECT_EQ(before.st_ino, after.st_ino) << "a complete set is left alone";
  EXPECT_TRUE(ig_path_exists((a.path + "/vocabulary").c_str()));

  unlink((a.path + files[1]).c_str());
  ASSERT_EQ(ig_messages_write(a.path.c_str(), 3, 4, 2, 1), IG_OK);
  EXPECT_EQ(csv, read_file(a.path + files[1]));

  ASSERT_EQ(ig_make_dirs((a.path + "/vocabulary").c_str()), IG_OK);
  ASSERT_EQ(ig_messages_write(a.path.c_str(), 4, 4, 2, 1), IG_OK);
  EXPECT_NE(csv, read_file(a.path + files[1])) << "another set replaces it";
  EXPECT_FALSE(ig_path_exists((a.path + "/vocabulary").c_str())) << "it was of other documents";
}

TEST(Messages, LeavesOtherPeoplesFoldersAlone) {
  for (const char *name : {"/corpus", "/messages", "/vocabulary", "/shown.txt"}) {
    Folder a;
    ASSERT_EQ(ig_make_dirs((a.path + name).c_str()), IG_OK);
    EXPECT_EQ(ig_messages_write(a.path.c_str(), 3, 1, 1, 1), IG_ERR_USAGE) << name;
    EXPECT_NE(std::string(ig_error_message()).find("another folder"), std::string::npos);
    EXPECT_TRUE(ig_path_exists((a.path + name).c_str()));
  }
  Folder a;
  EXPECT_EQ(ig_messages_write(a.path.c_str(), 3, 0, 1, 1), IG_ERR_USAGE);
  EXPECT_EQ(ig_messages_write(a.path.c_str(), 3, 1, 1, 1000001), IG_ERR_USAGE);
  EXPECT_NE(std::string(ig_error_message()).find("test messages"), std::string::npos);
}

}  // namespace
