// The golden test's frame: registry of cases, report of comparisons, JSON and formula-fill helpers.
// Rule: sizes, names and seeds come from the case's files, never from here, so that unseen cases of a layout run too.
//
// A case is one file tests/golden_<case>.cc:
//   static void run(const std::string &path, golden::Report &r) { ... r.compare("logits", found, expected, {0, 1e-5});
//   } GOLDEN_CASE("vision_resnet", run)
// A folder is given to the runner with the longest registered name that the folder's name starts with.
#ifndef INGOT_TESTS_GOLDEN_H
#define INGOT_TESTS_GOLDEN_H

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <jansson.h>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "runtime/base/status.h"

namespace golden {

// Allowed deviation of an element: abs + rel * max|expected| over the tensor.
struct Tol {
  double abs = 0;
  double rel = 0;
};

// Thrown by a runner that cannot do a folder of its layout (say why); the folder counts as skipped.
struct Skip : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// What one case has compared. A NaN is equal to a NaN only; infinities only to themselves.
class Report {
 public:
  template <class A, class B>
  bool compare(const std::string &name, const A *found, const B *expected, size_t n, Tol tol) {
    double scale = 0;
    for (size_t i = 0; i < n; i++)
      if (std::isfinite((double)expected[i]))
        scale = std::max(scale, std::fabs((double)expected[i]));
    const double allowed = tol.abs + tol.rel * scale;
    size_t n_out = 0, at = 0;
    double worst_here = -1;
    for (size_t i = 0; i < n; i++) {
      const double ratio = ratio_of((double)found[i], (double)expected[i], allowed);
      n_out += ratio > 1;
      if (ratio > worst_here)
        worst_here = ratio, at = i;
    }
    tensors++, values += n;
    if (worst_here > worst)
      worst = worst_here, worst_name = name;
    if (n_out) {
      char text[512];
      snprintf(text, sizeof text, "%s[%zu]: found %.12g, expected %.12g, tolerance %.3g (%zu of %zu out of tolerance)",
               name.c_str(), at, (double)found[at], (double)expected[at], allowed, n_out, n);
      fail(text);
    }
    return n_out == 0;
  }
  template <class A, class B>
  bool compare(const std::string &name, const std::vector<A> &found, const std::vector<B> &expected, Tol tol) {
    if (found.size() != expected.size()) {
      fail(name + ": found " + std::to_string(found.size()) + " elements, expected " + std::to_string(expected.size()));
      return false;
    }
    return compare(name, found.data(), expected.data(), found.size(), tol);
  }
  bool compare(const std::string &name, double found, double expected, Tol tol) {
    return compare(name, &found, &expected, 1, tol);
  }
  // Anything else that must hold; counts as one compared value.
  bool check(const std::string &name, bool holds, const std::string &what = "does not hold") {
    tensors++, values++;
    worst = std::max(worst, 0.0);
    if (!holds)
      fail(name + ": " + what);
    return holds;
  }
  // A library call that must succeed; its message is the reason where it does not.
  bool ok(const std::string &name, ig_status status) {
    if (status != IG_OK)
      fail(name + ": " + ig_status_name(status) + ": " + ig_error_message());
    return status == IG_OK;
  }
  // What another report has compared, as this one's own.
  void take(const Report &other) {
    tensors += other.tensors, values += other.values;
    if (other.worst > worst)
      worst = other.worst, worst_name = other.worst_name;
    messages.insert(messages.end(), other.messages.begin(), other.messages.end());
  }
  void fail(const std::string &text) {
    failures++;
    if (failures <= 20)
      messages.push_back(text);
  }

  size_t tensors = 0, values = 0, failures = 0;
  double worst = -1;  // largest deviation / tolerance; -1 = nothing compared
  std::string worst_name;
  std::vector<std::string> messages;

 private:
  static double ratio_of(double found, double expected, double allowed) {
    const double infinite = std::numeric_limits<double>::infinity();
    if (std::isnan(found) || std::isnan(expected))
      return std::isnan(found) && std::isnan(expected) ? 0 : infinite;
    if (found == expected)
      return 0;
    const double deviation = std::fabs(found - expected);
    return allowed > 0 && std::isfinite(deviation) ? deviation / allowed : infinite;
  }
};

// Differences of rounded results by their norms, in shares of what was expected, or of the way that training moved it
// from `start`. A rounding of relative size u moves a sum by about u of its norm; it also lets a ReLU (or the sign of
// what Adam divides by its own size) fall the other way, in a number of places that grows as u, which add up as the
// square root. So a tensor alone, which may have eight values, is compared within `alone` sqrt(u), but 0.9 at most:
// what is missing is off by 1, what is turned round by 2. All of them together are compared within `all`.
class Norms {
 public:
  Norms(Report &r, const std::string &name, double u, double alone, double all)
      : r_(r), name_(name), alone_(std::min(0.9, alone * std::sqrt(u))), all_(all) {}
  void add(const std::string &name, const std::vector<float> &found, const std::vector<float> &expected,
           const std::vector<float> *start = nullptr) {
    if (found.size() != expected.size() || (start && start->size() != found.size())) {
      r_.fail(name + ": found " + std::to_string(found.size()) + " elements, expected " +
              std::to_string(expected.size()));
      return;
    }
    double off = 0, norm = 0;
    for (size_t i = 0; i < found.size(); i++) {
      const double moved = (double)expected[i] - (start ? (*start)[i] : 0);
      off += ((double)found[i] - expected[i]) * ((double)found[i] - expected[i]);
      norm += moved * moved;
    }
    if (alone_ > 0)
      r_.compare(name + " (norm)", off == 0 ? 0 : std::sqrt(off / norm), 0, {alone_, 0});
    r_.values += found.size();
    sum_off_ += off, sum_norm_ += norm;
  }
  void finish() { r_.compare(name_ + " (norm)", sum_off_ == 0 ? 0 : std::sqrt(sum_off_ / sum_norm_), 0, {all_, 0}); }

 private:
  Report &r_;
  std::string name_;
  double alone_, all_, sum_off_ = 0, sum_norm_ = 0;
};

// One tensor so.
inline void compare_norm(Report &r, const std::string &name, const std::vector<float> &found,
                         const std::vector<float> &expected, double rel) {
  Norms norms(r, name, 0, 0, rel);
  norms.add("", found, expected);
  norms.finish();
}

using Runner = void (*)(const std::string &path, Report &report);
struct Registered {
  std::string name;
  Runner run;
  bool on_device;  // its plans follow run_graph::chosen(), and so device=cuda
};
std::vector<Registered> &registry();  // golden_main.cc
struct Registrar {
  Registrar(const char *name, Runner run, bool on_device) { registry().push_back({name, run, on_device}); }
};
#define GOLDEN_JOIN2(a, b)    a##b
#define GOLDEN_JOIN(a, b)     GOLDEN_JOIN2(a, b)
#define GOLDEN_CASE(name, fn) static const golden::Registrar GOLDEN_JOIN(golden_registrar_, __LINE__)(name, fn, false);
#define GOLDEN_DEVICE_CASE(name, fn) \
  static const golden::Registrar GOLDEN_JOIN(golden_registrar_, __LINE__)(name, fn, true);

// JSON. Missing keys and wrong types throw, with the key in the message: a case's layout is part of the contract.
struct JsonFree {
  void operator()(json_t *j) const { json_decref(j); }
};
using Json = std::unique_ptr<json_t, JsonFree>;

inline Json load_json(const std::string &path) {
  json_error_t e;
  Json j(json_load_file(path.c_str(), JSON_REJECT_DUPLICATES, &e));
  if (!j)
    throw std::runtime_error(path + ":" + std::to_string(e.line) + ": " + e.text);
  return j;
}
inline json_t *get(json_t *object, const std::string &key) {
  json_t *j = json_object_get(object, key.c_str());
  if (!j)
    throw std::runtime_error("no key '" + key + "'");
  return j;
}
inline bool has(json_t *object, const std::string &key) { return json_object_get(object, key.c_str()) != nullptr; }
// A number; null is NaN.
inline double number(json_t *j) {
  if (json_is_null(j))
    return std::numeric_limits<double>::quiet_NaN();
  if (!json_is_number(j))
    throw std::runtime_error("a JSON value is not a number");
  return json_number_value(j);
}
inline double number(json_t *object, const std::string &key) { return number(get(object, key)); }
inline std::string text(json_t *object, const std::string &key) {
  const char *s = json_string_value(get(object, key));
  if (!s)
    throw std::runtime_error("key '" + key + "' is not a string");
  return s;
}
// All numbers of an array, nested arrays flattened in C order.
inline void append_numbers(json_t *j, std::vector<double> &out) {
  if (!json_is_array(j)) {
    out.push_back(number(j));
    return;
  }
  for (size_t i = 0; i < json_array_size(j); i++)
    append_numbers(json_array_get(j, i), out);
}
inline std::vector<double> numbers(json_t *j) {
  std::vector<double> out;
  append_numbers(j, out);
  return out;
}
inline std::vector<double> numbers(json_t *object, const std::string &key) { return numbers(get(object, key)); }

// The formula fill of VISION.md: n values of the tensor called prefix + name.
inline std::vector<float> fill(const std::string &prefixed_name, size_t n, double lo, double hi) {
  uint64_t h = 0xCBF29CE484222325ull;
  for (unsigned char c : prefixed_name)
    h = (h ^ c) * 0x100000001B3ull;
  std::vector<float> v(n);
  for (size_t i = 0; i < n; i++) {
    uint64_t z = h + (i + 1) * 0x9E3779B97F4A7C15ull;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ z >> 27) * 0x94D049BB133111EBull;
    z ^= z >> 31;
    v[i] = (float)(lo + (hi - lo) * ((double)(z >> 40) / 16777216.0));
  }
  return v;
}

}  // namespace golden

#endif
