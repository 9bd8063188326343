// A whole training of a tiny model in this process, for the tests that fail it or go on with it.
// Rule: deterministic=1 and strict=1, so that every run that ends well has the same bits.
#ifndef INGOT_TESTS_FAULT_TRAIN_H
#define INGOT_TESTS_FAULT_TRAIN_H

#include <fstream>
#include <jansson.h>
#include <map>
#include <vector>

#include "bindings/c/ingot.h"
#include "runtime/ckpt/checkpoint.h"
#include "tests/fault_common.h"

namespace fault {

// A picture as BMP, 24 bit, of one colour with a few odd pixels.
inline std::string bmp(int side, int colour) {
  int row = (3 * side + 3) / 4 * 4, n = row * side;
  std::string b("BM");
  auto u16 = [&](int x) { b += std::string{(char)x, (char)(x >> 8)}; };
  auto u32 = [&](int x) {
    u16(x & 0xffff);
    u16(x >> 16);
  };
  u32(54 + n), u32(0), u32(54), u32(40), u32(side), u32(side), u16(1), u16(24), u32(0), u32(n);
  u32(0), u32(0), u32(0), u32(0);
  for (int i = 0; i < n; i++)
    b += (char)(colour + (i * 7 + colour) % 50);
  return b;
}

// FOLDER/train/{dark,light}/N.bmp and FOLDER/val/...
inline void make_pictures(const std::string &folder, int n_train, int n_val, int side) {
  for (int part = 0; part < 2; part++)
    for (int c = 0; c < 2; c++) {
      std::string at = folder + (part ? "/val/" : "/train/") + (c ? "light" : "dark");
      fs::create_directories(at);
      for (int i = 0; i < (part ? n_val : n_train); i++)
        put(at + "/" + std::to_string(i) + ".bmp", bmp(side, 40 + 120 * c + 3 * i));
    }
}

// One call of the public interface, with what it said.
struct Answer {
  ig_status status = IG_OK;
  int steps_asked = 0;
  std::string message, result;
  std::vector<std::string> lines;
  bool said(const std::string &part) const {
    for (auto &line : lines)
      if (line.find(part) != std::string::npos)
        return true;
    return false;
  }
};

// `stop_after`: should_stop says yes when asked for the n-th time (once a step); 0 = never.
inline Answer call(const char *verb, const std::vector<std::string> &words, int stop_after = 0) {
  Answer a;
  struct Context {
    Answer *answer;
    int stop_after;
  } context = {&a, stop_after};
  std::vector<const char *> list;
  for (auto &w : words)
    list.push_back(w.c_str());
  ig_callbacks callbacks = {};
  callbacks.size = sizeof callbacks;
  callbacks.user = &context;
  callbacks.line = [](void *user, const char *text) { ((Context *)user)->answer->lines.push_back(text); };
  callbacks.result = [](void *user, const char *json) { ((Context *)user)->answer->result = json; };
  callbacks.should_stop = [](void *user) {
    auto c = (Context *)user;
    return ++c->answer->steps_asked == c->stop_after ? 1 : 0;
  };
  a.status = ig_call(verb, (int)list.size(), list.data(), &callbacks);
  if (a.status != IG_OK)
    a.message = ig_error_message();
  return a;
}

inline std::vector<std::string> train_words(const std::string &data, const std::string &out,
                                            const std::vector<std::string> &more) {
  std::vector<std::string> words = {
      "model=resnet8_mlperf", "image_size=16", "batch=4",         "threads=1", "loader_threads=1",
      "augment=light",        "ema=0.9",       "deterministic=1", "strict=1",  "seed=3",
      "data=" + data,         "out=" + out};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

// What a run's log says of its steps.
struct Course {
  std::vector<double> losses, scales, skips;
  std::vector<double> evaluated;  // losses over the validation part: batch normalisation is folded there
};

inline Course course_in_log(const std::string &run) {
  Course c;
  std::ifstream in(run + "/log.jsonl");
  for (std::string line; std::getline(in, line);) {
    json_t *row = json_loads(line.c_str(), 0, nullptr);
    if (json_string_value(json_object_get(row, "split")) == std::string("train")) {
      c.losses.push_back(json_number_value(json_object_get(row, "loss")));
      c.scales.push_back(json_number_value(json_object_get(row, "loss_scale")));
      c.skips.push_back(json_number_value(json_object_get(row, "skips")));
    }
    if (json_string_value(json_object_get(row, "split")) == std::string("val"))
      c.evaluated.push_back(json_number_value(json_object_get(row, "loss")));
    json_decref(row);
  }
  return c;
}

// Every tensor of a checkpoint (weights, statistics, moments, averages) with the hash of its bytes.
inline std::map<std::string, std::string> tensors_of(const std::string &step_folder) {
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

// The cache of tuned implementations is written below `folder`, like all else of a test.
inline void use_cache(const std::string &folder) { setenv("XDG_CACHE_HOME", (folder + "/cache").c_str(), 1); }

}  // namespace fault
#endif
