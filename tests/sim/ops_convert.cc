// cvt in all its forms. Rule: the common pairs have a loop of their own, the others go through one general function.
#include <cfenv>
#include <cmath>

#include "tests/sim/half.h"
#include "tests/sim/vector.h"

namespace sim {

enum Round : u8 { RN, RZ, RM, RP, RNA };
// aux: destination | source << 4 | rounding << 8 | integral << 12 | sat << 13 | wide source << 14 | wide destination <<
// 15 | ftz << 16 | relu << 17
struct Form {
  Type to, from;
  Round round;
  bool integral, sat, wide_from, wide_to, ftz, relu;
};
static u32 pack(const Form &f) {
  return f.to | f.from << 4 | f.round << 8 | f.integral << 12 | f.sat << 13 | f.wide_from << 14 | f.wide_to << 15 |
         f.ftz << 16 | f.relu << 17;
}
static Form unpack(u32 a) {
  return {(Type)(a & 15),      (Type)(a >> 4 & 15), (Round)(a >> 8 & 15), (bool)(a >> 12 & 1), (bool)(a >> 13 & 1),
          (bool)(a >> 14 & 1), (bool)(a >> 15 & 1), (bool)(a >> 16 & 1),  (bool)(a >> 17 & 1)};
}

static bool is_float(Type t) { return t == F16 || t == BF16 || t == F32 || t == F64; }
static bool is_signed(Type t) { return t == S8 || t == S16 || t == S32 || t == S64; }

static double integral(double x, Round r) {
  return r == RN ? std::nearbyint(x) : r == RZ ? std::trunc(x) : r == RM ? std::floor(x) : std::ceil(x);
}
static u64 extend(u64 v, Type t) {
  int unused = 64 - 8 * type_size(t);
  return is_signed(t) ? (u64)((s64)(v << unused) >> unused) : v << unused >> unused;
}

// Double to float and 16-bit formats under a rounding mode; 16 bits go through float rounded to odd.
static u64 to_float(double x, Type t, Round r) {
  static const int modes[] = {FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD};
  if (t == F64) {
    u64 u;
    memcpy(&u, &x, 8);
    return u;
  }
  if (t == F32) {
    if (r != RN && r != RNA)
      fesetround(modes[r]);
    volatile float f = (float)x;
    fesetround(FE_TONEAREST);
    return as_bits(f);
  }
  float f = to_odd(x);
  if (t == BF16 && r == RZ)
    return f != f ? 0x7fff : as_bits(f) >> 16;
  if (t == F16 && r == RZ)
    return _cvtss_sh(f, _MM_FROUND_TO_ZERO);
  return t == BF16 ? bf16_round(f) : f16_round(f);
}

static u64 to_integer(double x, const Form &f) {
  Type t = f.to;
  int bits = 8 * type_size(t);
  if (x != x)
    return bits == 64 && is_signed(t) ? 0x8000000000000000 : bits == 64 ? 0x8000000000000000 : 0;
  x = integral(x, f.round);
  double lo = is_signed(t) ? -std::ldexp(1, bits - 1) : 0, top = std::ldexp(1, is_signed(t) ? bits - 1 : bits);
  if (x <= lo)
    return extend((u64)(s64)lo, t);
  if (x >= top)
    return is_signed(t) ? (1ull << (bits - 1)) - 1 : bits == 64 ? ~0ull : (1ull << bits) - 1;
  return is_signed(t) ? (u64)(s64)x : (u64)x;
}

static void op_convert(Warp &w, const Ins &i) {
  Form f = unpack(i.aux);
  SIM_LANES(w.m, l) {
    u64 raw = f.wide_from ? reg<u64>(w, i.a)[l] : reg<u32>(w, i.a)[l], r;
    if (is_float(f.from)) {
      double x = 0;
      if (f.from == F64)
        memcpy(&x, &raw, 8);
      else
        x = f.from == F32 ? as_float((u32)raw) : f.from == F16 ? f16_value((u16)raw) : bf16_value((u16)raw);
      if (f.ftz && f.from == F32 && std::fabs(x) < 0x1p-126)
        x = std::copysign(0, x);
      if (is_float(f.to)) {
        if (f.integral)
          x = integral(x, f.round);
        if (f.sat)
          x = x > 0 ? (x < 1 ? x : 1) : 0;
        if (f.relu)
          x = x > 0 || x != x ? x : 0;
        r = to_float(x, f.to, f.integral ? RN : f.round);
        if (f.ftz && f.to == F32 && !(r & 0x7f800000))
          r &= 0x80000000;
      } else {
        r = to_integer(x, f);
      }
    } else {
      u64 v = extend(raw, f.from);
      if (is_float(f.to)) {
        // 64-bit integers do not fit a double: round once, in the target's own format.
        static const int modes[] = {FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD};
        fesetround(modes[f.round & 3]);
        if (f.to == F32) {
          volatile float x = is_signed(f.from) ? (float)(s64)v : (float)v;
          r = as_bits(x);
        } else {
          volatile double x = is_signed(f.from) ? (double)(s64)v : (double)v;
          r = to_float(x, f.to, f.round);
        }
        fesetround(FE_TONEAREST);
      } else if (f.sat) {
        int bits = 8 * type_size(f.to);
        __int128 x = is_signed(f.from) ? (__int128)(s64)v : (__int128)v;
        __int128 lo = is_signed(f.to) ? -((__int128)1 << (bits - 1)) : 0,
                 hi = ((__int128)1 << (is_signed(f.to) ? bits - 1 : bits)) - 1;
        r = (u64)(x < lo ? lo : x > hi ? hi : x);
      } else {
        r = extend(v, f.to);
      }
    }
    if (f.wide_to)
      reg<u64>(w, i.d)[l] = r;
    else
      reg<u32>(w, i.d)[l] = (u32)r;
  }
}

template <class D>
struct Cast {
  template <class T>
  static D f(T a) {
    return (D)a;
  }
};
struct Truncate {  // float to s32 as the hardware does: saturating, NaN is 0
  static s32 f(float a) { return a != a ? 0 : a >= 2147483648.f ? INT32_MAX : a <= -2147483648.f ? INT32_MIN : (s32)a; }
};
struct F16Value {
  static float f(u32 a) { return f16_value(a & 0xffff); }
};
struct Bf16Value {
  static float f(u32 a) { return bf16_value(a); }
};
struct F16Round {
  static u32 f(float a) { return f16_round(a); }
};
struct Bf16Round {
  static u32 f(float a) { return bf16_round(a); }
};
struct Tf32Round {  // to nearest, ties away
  static u32 f(float a) {
    u32 u = as_bits(a);
    return (u & 0x7f800000) == 0x7f800000 ? (u & 0x7fffff ? 0x7fffffff : u) : (u + 0x1000) & ~0x1fffu;
  }
};
struct Tf32Even {
  static u32 f(float a) {
    u32 u = as_bits(a);
    return (u & 0x7f800000) == 0x7f800000 ? (u & 0x7fffff ? 0x7fffffff : u) : (u + 0xfff + (u >> 13 & 1)) & ~0x1fffu;
  }
};

// Two floats to a pair: a goes to the upper half.
template <u32 (*ROUND)(float), int BITS>
static void op_pair(Warp &w, const Ins &i) {
  float *a = reg<float>(w, i.a), *b = reg<float>(w, i.b);
  auto relu = [&](float x) { return i.aux && !(x > 0) && x == x ? 0.f : x; };
  SIM_LANES(w.m, l) reg<u32>(w, i.d)[l] = ROUND(relu(a[l])) << BITS | ROUND(relu(b[l]));
}
template <float (*VALUE)(u32)>
static void op_fp8_to_f16x2(Warp &w, const Ins &i) {
  u32 *a = reg<u32>(w, i.a);
  SIM_LANES(w.m, l) reg<u32>(w, i.d)[l] = f16_round(VALUE(a[l] & 255)) | f16_round(VALUE(a[l] >> 8 & 255)) << 16;
}
template <u32 (*ROUND)(float)>
static void op_f16x2_to_fp8(Warp &w, const Ins &i) {
  u32 *a = reg<u32>(w, i.a);
  SIM_LANES(w.m, l) reg<u32>(w, i.d)[l] = ROUND(f16_value(a[l] & 0xffff)) | ROUND(f16_value(a[l] >> 16)) << 8;
}

bool decode_convert(Decoder &d, const Statement &s, Ins &i) {
  if (s.op[0] != "cvt")
    return false;
  auto &o = s.args;
  std::vector<std::string_view> types;
  for (auto p : s.op)
    if (p != "cvt" && (type_of(p) != NO_TYPE || p == "e4m3x2" || p == "e5m2x2"))
      types.push_back(p);
  if (types.size() != 2)
    return false;
  std::string_view to = types[0], from = types[1];
  bool relu = s.has("relu"), e4 = to == "e4m3x2" || from == "e4m3x2";
  i.d = d.operand(o[0], 4);
  if (o.size() == 3) {  // two floats to a pair
    i.a = d.operand(o[1], 4);
    i.b = d.operand(o[2], 4);
    i.aux = relu;
    i.fn = s.has("rz") || s.has("rs") ? nullptr
           : to == "bf16x2"           ? op_pair<bf16_round, 16>
           : to == "f16x2"            ? op_pair<f16_round, 16>
           : to == "e4m3x2"           ? op_pair<e4m3_round, 8>
           : to == "e5m2x2"           ? op_pair<e5m2_round, 8>
                                      : nullptr;
    return true;
  }
  if (to == "e4m3x2" || to == "e5m2x2") {
    i.a = d.operand(o[1], 4);
    i.fn = from == "f16x2" && !relu ? (e4 ? op_f16x2_to_fp8<e4m3_round> : op_f16x2_to_fp8<e5m2_round>) : nullptr;
    return true;
  }
  if (from == "e4m3x2" || from == "e5m2x2") {
    i.a = d.operand(o[1], 4);
    i.fn = to == "f16x2" && !relu ? (e4 ? op_fp8_to_f16x2<e4m3_value> : op_fp8_to_f16x2<e5m2_value>) : nullptr;
    return true;
  }
  if (to == "tf32") {
    i.a = d.operand(o[1], 4);
    i.fn = s.has("rna") ? lanes1<u32, float, Tf32Round> : s.has("rn") && !relu ? lanes1<u32, float, Tf32Even> : nullptr;
    return true;
  }
  Form f{};
  f.to = type_of(to);
  f.from = type_of(from);
  if (f.to > F64 || f.from > F64)
    return false;
  int bytes = 4;
  f.wide_to = type_size(f.to) == 8;
  if (d.is_register(o[0], &bytes))
    f.wide_to = bytes == 8;
  f.wide_from = type_size(f.from) == 8;
  if (d.is_register(o[1], &bytes))
    f.wide_from = bytes == 8;
  i.d = d.operand(o[0], f.wide_to ? 8 : 4);
  i.a = d.operand(o[1], f.wide_from ? 8 : 4);
  f.integral = s.has("rni") || s.has("rzi") || s.has("rmi") || s.has("rpi");
  f.round = s.has("rzi") || s.has("rz") ? RZ : s.has("rmi") || s.has("rm") ? RM : s.has("rpi") || s.has("rp") ? RP : RN;
  f.sat = s.has("sat");
  f.ftz = s.has("ftz");
  f.relu = relu;
  i.aux = pack(f);
  i.fn = op_convert;
  bool simple = !f.sat && !f.relu && !f.ftz;
  if (!simple || s.has("rna"))
    return true;
  auto is = [&](Type t, Type g) { return f.to == t && f.from == g; };
  if (is(F32, S32) && f.round == RN)
    i.fn = lanes1<float, s32, Cast<float>>;
  else if (is(F32, U32) && f.round == RN)
    i.fn = lanes1<float, u32, Cast<float>>;
  else if (is(S32, F32) && f.round == RZ)
    i.fn = lanes1<s32, float, Truncate>;
  else if (is(F64, F32))
    i.fn = lanes1<double, float, Cast<double>>;
  else if (is(F32, F64) && f.round == RN && !f.integral)
    i.fn = lanes1<float, double, Cast<float>>;
  else if (is(F32, F16))
    i.fn = lanes1<float, u32, F16Value>;
  else if (is(F32, BF16))
    i.fn = lanes1<float, u32, Bf16Value>;
  else if (is(F16, F32) && f.round == RN)
    i.fn = lanes1<u32, float, F16Round>;
  else if (is(BF16, F32) && f.round == RN)
    i.fn = lanes1<u32, float, Bf16Round>;
  else if (f.wide_to && !f.wide_from && (f.to == S64 || f.to == U64) && f.from == U32)
    i.fn = lanes1<u64, u32, Cast<u64>>;
  else if (f.wide_to && !f.wide_from && (f.to == S64 || f.to == U64) && f.from == S32)
    i.fn = lanes1<s64, s32, Cast<s64>>;
  else if (!f.wide_to && f.wide_from && (f.to == U32 || f.to == S32) && (f.from == U64 || f.from == S64))
    i.fn = lanes1<u32, u64, Cast<u32>>;
  else if (!f.wide_to && !f.wide_from && (f.to == U16 || f.to == U32) && f.from == U32)
    i.fn = f.to == U16 ? lanes1<u16, u32, Cast<u16>> : lanes1<u32, u32, Cast<u32>>;
  else if (!f.wide_to && !f.wide_from && (f.to == U32 || f.to == S32) && f.from == U16)
    i.fn = lanes1<u32, u16, Cast<u32>>;
  return true;
}

}  // namespace sim
