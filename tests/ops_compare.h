// When two results of a node agree: the tolerance of an element, and what differs most. Rule: ops_test and mutants_test
// judge by compare() of this file alone, so that what mutants_test proves holds for ops_test.
#ifndef INGOT_TESTS_OPS_COMPARE_H
#define INGOT_TESTS_OPS_COMPARE_H

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "tests/ops_harness.h"

namespace ops {

inline double unit_roundoff(ig_dtype t) {
  switch (t) {
    case IG_F64:
      return std::ldexp(1, -53);
    case IG_BF16:
      return std::ldexp(1, -8);
    case IG_F16:
      return std::ldexp(1, -11);
    default:
      return std::ldexp(1, -24);
  }
}

// Cases whose intermediate values are far larger than their results, so that errors are, too.
struct Amplified {
  const char *row, *name;
  double factor;
  const char *why;
};
static const Amplified amplified[] = {
    {"picture", "wide_draws", 16, "brightness, contrast and saturation up to 9 multiply 255 before values are cut"},
};
inline double amplification(const Job &job) {
  for (const Amplified &a : amplified)
    if (!strcmp(a.row, job.op->name) && job.name == a.name)
      return a.factor;
  return 1;
}

// Allowed difference of one element: the rounding of the stored result, and the error of `length` additions of terms
// of the size of the tensor's largest value in fp32 (growing with the root of the length, as rounding errors have
// either sign), `amplify` times that (64 for Winograd's transforms), and `rounded` times the largest value (twice the
// unit of a 16-bit type to which Winograd's transformed operands, or what others keep in fp32, are rounded).
// Integers are exact.
inline double tolerance(ig_dtype stored, double length, double want, double largest, double amplify,
                        double rounded = 0) {
  if (!ig_dtype_is_float(stored))
    return 0;
  double sums = unit_roundoff(stored == IG_F64 ? IG_F64 : IG_F32);
  double rounding = unit_roundoff(stored) * std::fabs(want);
  if (stored == IG_F16)
    rounding = std::max(rounding, std::ldexp(1, -25));  // half of what lies between two subnormal numbers
  return 1.01 * rounding + 8 * amplify * sums * std::sqrt(length) * largest + rounded * largest;
}

// Rows that multiply matrices, and by how many units of tf32's roundoff (2^-11 of a result's largest value) an element
// may differ where operands are rounded to it: each product brings two roundings, of which sums let few meet. All
// others must have fp32's bits on a device that rounds (cuda_ops_test), so that none is forgotten here.
inline const std::map<std::string, double> &tf32_units() {
  static const std::map<std::string, double> units = {
      {"conv2d", 4},          {"conv2d_bwd_data", 4}, {"conv2d_bwd_weights", 4}, {"conv2d_fused", 4},
      {"linear", 4},          {"linear_bwd_data", 4}, {"linear_bwd_weights", 4}, {"linear_xent", 4},
      {"linear_xent_bwd", 8},  // two products in a row
      {"attention", 12},       // and between them exponentials of scores that are rounded
      {"attention_bwd", 12},
  };
  return units;
}

// By how much element i of item k may differ. units: of tf32's roundoff, where fp32 operands are rounded to it.
class Allowed {
 public:
  Allowed(const Job &job, const ig_impl *impl, const Result &want, double units)
      : want_(want),
        amplify_(amplification(job) * (impl->flags & IG_IMPL_INEXACT ? 64 : 1)),
        rounded_((impl->flags & (IG_IMPL_INEXACT | IG_IMPL_ROUNDED)) && ig_dtype_bytes(job.type) == 2
                     ? 2 * unit_roundoff(job.type)
                     : units * std::ldexp(1, -11)),
        unrounded_(!units && !strcmp(job.op->name, "attention") ? 1 : SIZE_MAX) {
    for (const Result::Item &b : want.items) {
      largest_.push_back(0);
      for (double v : b.values)
        largest_.back() = std::max(largest_.back(), std::fabs(v));
    }
  }
  double operator()(size_t k, size_t i, ig_dtype dtype) const {
    const Result::Item &b = want_.items[k];
    return tolerance(dtype, b.length, b.values[i], largest_[k], amplify_, k == unrounded_ ? 0 : rounded_);
  }

 private:
  const Result &want_;
  const double amplify_, rounded_;
  const size_t unrounded_;  // attention's log-sums of scores: sums of exact products, where weights are rounded after
  std::vector<double> largest_;
};

// Empty when every element agrees, else what differs most.
inline std::string compare(const Job &job, const ig_impl *impl, const Result &got, const Result &want,
                           size_t *n_compared = nullptr, double units = 0) {
  if (got.items.size() != want.items.size())
    return "number of results differs";
  const Allowed allowed(job, impl, want, units);
  std::string text;
  double worst = 1;
  for (size_t k = 0; k < got.items.size(); k++) {
    const Result::Item &a = got.items[k], &b = want.items[k];
    for (size_t i = 0; i < a.values.size(); i++) {
      double t = allowed(k, i, a.dtype);
      double d = std::fabs(a.values[i] - b.values[i]), ratio = d <= t ? 0 : t > 0 ? d / t : 1e300;
      if (d <= t || (std::isinf(b.values[i]) && a.values[i] == b.values[i]))
        continue;
      if (!(ratio <= worst) || text.empty()) {
        worst = ratio;
        char line[256];
        snprintf(line, sizeof line, "%s[%zu of %zu] = %.9g, expected %.9g: difference %.3g, allowed %.3g",
                 a.name.c_str(), i, a.values.size(), a.values[i], b.values[i], d, t);
        text = line;
      }
    }
    if (n_compared)
      *n_compared += a.values.size();
  }
  return text;
}

// The largest difference of two results as a share of what is allowed around `want`.
inline double share_of_allowed(const Job &job, const ig_impl *impl, const Result &a, const Result &b,
                               const Result &want, double units = 0) {
  const Allowed allowed(job, impl, want, units);
  double share = 0;
  for (size_t k = 0; k < a.items.size(); k++)
    for (size_t i = 0; i < a.items[k].values.size(); i++) {
      const double x = a.items[k].values[i], y = b.items[k].values[i];
      if (x != y)
        share = std::max(share, std::fabs(x - y) / allowed(k, i, a.items[k].dtype));
    }
  return share;
}

inline bool same_bits(const Result &a, const Result &b) {
  for (size_t k = 0; k < a.items.size(); k++)
    if (memcmp(a.items[k].values.data(), b.items[k].values.data(), a.items[k].values.size() * sizeof(double)))
      return false;
  return true;
}

}  // namespace ops

#endif
