// Cases of rows that a test makes itself: operands by a word each. Rule: what is not said is as in the op table's
// cases.
#ifndef INGOT_TESTS_CASE_INPUTS_H
#define INGOT_TESTS_CASE_INPUTS_H

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/ops_harness.h"

namespace ops {

inline const ig_op *row_named(const std::string &name) {
  for (const ig_op *op : all_rows())
    if (name == op->name)
      return op;
  throw std::runtime_error("no row " + name);
}

// wide: fp32 whatever the case's type.
inline ig_case_input numbers(ig_shape shape, bool wide = false, ig_fill_kind fill = IG_FILL_NORMAL) {
  ig_case_input in = {};
  in.shape = shape;
  in.dtype = IG_F32;
  in.fill = fill;
  in.lo = -0.3, in.hi = 0.3;  // of IG_FILL_UNIFORM
  in.fixed_f32 = wide;
  return in;
}
inline ig_case_input integers(ig_dtype type, ig_shape shape, double below, ig_fill_kind fill = IG_FILL_INDEX) {
  ig_case_input in = {};
  in.shape = shape;
  in.dtype = type;
  in.fill = fill;
  in.hi = below;
  in.no_grad = true;
  return in;
}
inline ig_case_input absent() {
  ig_case_input in = {};
  in.fill = IG_FILL_ABSENT;
  return in;
}
inline ig_op_case case_of(const char *name, const std::vector<ig_case_input> &in, const void *attr) {
  ig_op_case c = {};
  c.name = name;
  c.n_in = (int)in.size();
  std::copy(in.begin(), in.end(), c.in);
  c.attr = attr;
  return c;
}

}  // namespace ops
#endif
