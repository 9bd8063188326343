// Floating point: 32 and 64 bits, 16-bit numbers alone and in pairs, the approximate functions. Rule: an approximation
// is as coarse as the PTX manual allows (the true value, rounded to that many bits), so that tolerances are honest.
#include <cfenv>
#include <cmath>

#include "tests/sim/half.h"
#include "tests/sim/vector.h"

namespace sim {

static inline float flush(float x) {  // a subnormal number becomes zero
  u32 u = as_bits(x);
  return (u & 0x7f800000) ? x : as_float(u & 0x80000000);
}
static inline double flush(double x) { return x; }
template <class T>
static inline T saturate(T x) {
  return x > 0 ? (x < 1 ? x : T(1)) : T(0);  // NaN: 0
}
template <class T>
static inline T fused(T a, T b, T c) {
  return sizeof(T) == 4 ? (T)__builtin_fmaf(a, b, c) : (T)__builtin_fma(a, b, c);
}

struct Add {
  template <class T>
  static T f(T a, T b) {
    return a + b;
  }
};
struct Sub {
  template <class T>
  static T f(T a, T b) {
    return a - b;
  }
};
struct Mul {
  template <class T>
  static T f(T a, T b) {
    return a * b;
  }
};
struct Div {
  template <class T>
  static T f(T a, T b) {
    return a / b;
  }
};
struct Min {
  template <class T>
  static T f(T a, T b) {
    return a < b ? a : b < a ? b : a != a ? b : b != b ? a : std::signbit(a) ? a : b;
  }
};
struct Max {
  template <class T>
  static T f(T a, T b) {
    return a > b ? a : b > a ? b : a != a ? b : b != b ? a : std::signbit(a) ? b : a;
  }
};
template <class F>
struct OrNan {
  template <class T>
  static T f(T a, T b) {
    return a != a || b != b ? (T)NAN : F::f(a, b);
  }
};
struct Fma {
  template <class T>
  static T f(T a, T b, T c) {
    return fused(a, b, c);
  }
};
// F with the modifiers .ftz and .sat.
template <class F, bool FTZ, bool SAT>
struct With {
  template <class T>
  static T fit(T r) {
    if (FTZ)
      r = flush(r);
    return SAT ? saturate(r) : r;
  }
  template <class T>
  static T in(T a) {
    return FTZ ? flush(a) : a;
  }
  template <class T>
  static T f(T a) {
    return fit(F::f(in(a)));
  }
  template <class T>
  static T f(T a, T b) {
    return fit(F::f(in(a), in(b)));
  }
  template <class T>
  static T f(T a, T b, T c) {
    return fit(F::f(in(a), in(b), in(c)));
  }
};

// ---- approximations ----
template <int BITS>
static inline float keep(double x) {  // rounds to BITS explicit bits
  float f = (float)x;
  u32 u = as_bits(f);
  if ((u & 0x7f800000) == 0x7f800000)
    return f;
  constexpr u32 half = 1u << (22 - BITS);
  return as_float((u + half) & ~(2 * half - 1));
}
struct Ex2 {  // 2 ulp
  static float f(float a) { return keep<22>(std::exp2((double)a)); }
};
struct Lg2 {  // absolute 2^-22 near 1, relative 2^-22 elsewhere
  static float f(float a) {
    double y = std::log2((double)a);
    return std::fabs(y) < 1 ? (float)(std::nearbyint(y * 0x1p22) * 0x1p-22) : keep<21>(y);
  }
};
struct Rcp {  // 1 ulp
  static float f(float a) { return keep<22>(1.0 / a); }
};
struct Rsqrt {  // 2^-22.4
  static float f(float a) { return keep<22>(1.0 / std::sqrt((double)a)); }
};
struct SqrtApprox {
  static float f(float a) { return keep<22>(std::sqrt((double)a)); }
};
struct DivApprox {  // 2 ulp
  static float f(float a, float b) { return keep<22>((double)a / b); }
};
struct Sin {  // absolute 2^-20.5 in [-pi, pi]
  static float f(float a) { return (float)(std::nearbyint(std::sin((double)a) * 0x1p20) * 0x1p-20); }
};
struct Cos {
  static float f(float a) { return (float)(std::nearbyint(std::cos((double)a) * 0x1p20) * 0x1p-20); }
};
struct Tanh {  // relative 2^-11
  static float f(float a) { return keep<10>(std::tanh((double)a)); }
};
struct Sqrt {
  template <class T>
  static T f(T a) {
    return std::sqrt(a);
  }
};
struct RcpExact {
  template <class T>
  static T f(T a) {
    return T(1) / a;
  }
};
struct RsqrtExact {
  template <class T>
  static T f(T a) {
    return T(1) / std::sqrt(a);
  }
};
struct Neg {
  static u32 f(u32 a) { return a ^ 0x80000000; }
  static u64 f(u64 a) { return a ^ 0x8000000000000000; }
};
struct Abs {
  static u32 f(u32 a) { return a & 0x7fffffff; }
  static u64 f(u64 a) { return a & 0x7fffffffffffffff; }
};
struct CopySign {
  template <class T>
  static T f(T a, T b) {
    return std::copysign(b, a);
  }
};

// Rounding modes other than to nearest. aux: operation | mode << 8.
enum { ADD, SUB, MUL, FMA, DIV, SQRT, RCP };
template <class T>
static void op_rounded(Warp &w, const Ins &i) {
  static const int modes[] = {FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD};
  fesetround(modes[i.aux >> 8 & 3]);
  SIM_LANES(w.m, l) {
    volatile T a = reg<T>(w, i.a)[l], b = i.b == NONE ? T(0) : reg<T>(w, i.b)[l],
               c = i.c == NONE ? T(0) : reg<T>(w, i.c)[l], r;
    switch (i.aux & 255) {
      case ADD:
        r = a + b;
        break;
      case SUB:
        r = a - b;
        break;
      case MUL:
        r = a * b;
        break;
      case FMA:
        r = fused<T>(a, b, c);
        break;
      case DIV:
        r = a / b;
        break;
      case SQRT:
        r = std::sqrt((T)a);
        break;
      default:
        r = T(1) / a;
    }
    T v = r;
    if (i.flags & STRONG)
      v = flush(v);
    reg<T>(w, i.d)[l] = i.flags & SIGNED ? saturate(v) : v;
  }
  fesetround(FE_TONEAREST);
}

// ---- 16-bit numbers: H float16, else bfloat16; N of them in a register ----
template <bool H>
static inline float value(u32 x) {
  return H ? f16_value(x & 0xffff) : bf16_value(x & 0xffff);
}
template <bool H>
static inline u32 round16(float x) {
  return H ? f16_round(x) : bf16_round(x);
}
struct Fma16 {
  static float f(float a, float b, float c) { return to_odd(std::fma((double)a, (double)b, (double)c)); }
};
struct Ex2Half {
  static float f(float a) { return (float)std::exp2((double)a); }
};
struct TanhHalf {
  static float f(float a) { return (float)std::tanh((double)a); }
};
template <bool H, int N, class F, int ARGS>
static void op_half(Warp &w, const Ins &i) {
  u32 *d = reg<u32>(w, i.d), *a = reg<u32>(w, i.a), *b = ARGS > 1 ? reg<u32>(w, i.b) : a,
      *c = ARGS > 2 ? reg<u32>(w, i.c) : a;
  SIM_LANES(w.m, l) {
    u32 r = 0;
    for (int k = 0; k < N; k++) {
      float x = value<H>(a[l] >> 16 * k), y = value<H>(b[l] >> 16 * k), z = value<H>(c[l] >> 16 * k), v;
      if constexpr (ARGS == 1)
        v = F::f(x);
      else if constexpr (ARGS == 2)
        v = F::f(x, y);
      else
        v = F::f(x, y, z);
      if (i.flags & SIGNED)
        v = saturate(v);
      if (i.flags & STRONG)  // .relu
        v = v > 0 || v != v ? v : 0;
      r |= round16<H>(v) << 16 * k;
    }
    d[l] = r;
  }
}
template <class F, int ARGS>
static Fn half_fn(Type t) {
  return t == F16     ? op_half<true, 1, F, ARGS>
         : t == F16X2 ? op_half<true, 2, F, ARGS>
         : t == BF16  ? op_half<false, 1, F, ARGS>
                      : op_half<false, 2, F, ARGS>;
}
static void op_half_sign(Warp &w, const Ins &i) {  // aux: mask; flags STRONG: flip, else clear
  SIM_LANES(w.m, l) reg<u32>(w, i.d)[l] = i.flags & STRONG ? reg<u32>(w, i.a)[l] ^ i.aux : reg<u32>(w, i.a)[l] & ~i.aux;
}

// ---- comparisons ----
SIM_CMP(Eq, a == b)
SIM_CMP(Ne, a<b || a> b)
SIM_CMP(Lt, a < b)
SIM_CMP(Le, a <= b)
SIM_CMP(Gt, a > b)
SIM_CMP(Ge, a >= b)
SIM_CMP(Equ, !(a < b || a > b))
SIM_CMP(Neu, !(a == b))
SIM_CMP(Ltu, !(a >= b))
SIM_CMP(Leu, !(a > b))
SIM_CMP(Gtu, !(a <= b))
SIM_CMP(Geu, !(a < b))
SIM_CMP(Num, a == a && b == b)
SIM_CMP(Nan, a != a || b != b)

// setp of 16-bit numbers. x: d, q with pairs. aux >> 8: combines as in lanes_setp.
template <bool H, int N, class F>
static void op_half_setp(Warp &w, const Ins &i) {
  u32 *a = reg<u32>(w, i.a), *b = reg<u32>(w, i.b);
  for (int k = 0; k < N; k++) {
    u32 r = 0;
    for (int l = 0; l < 32; l++)
      r |= (u32)F::f(value<H>(a[l] >> 16 * k), value<H>(b[l] >> 16 * k)) << l;
    if (i.aux) {
      u32 c = pred(w, i.c);
      c = i.flags & B_NOT ? ~c : c;
      r = i.aux == 1 ? r & c : i.aux == 2 ? r | c : r ^ c;
    }
    set_pred(w, k ? i.x[1] : i.d, r);
  }
}
// set.cmp.dtype.stype: aux 0: all ones, 1: 1.0 of the type (f32, f16, bf16).
template <class T, class F>
static void op_set(Warp &w, const Ins &i) {
  SIM_LANES(w.m, l) {
    bool r = F::f(reg<T>(w, i.a)[l], reg<T>(w, i.b)[l]);
    reg<u32>(w, i.d)[l] = !r ? 0 : i.aux ? as_bits(1.f) : NONE;
  }
}
template <bool H, int N, class F>
static void op_half_set(Warp &w, const Ins &i) {
  u32 *a = reg<u32>(w, i.a), *b = reg<u32>(w, i.b), one = i.aux ? (H ? 0x3c00 : 0x3f80) : 0xffff;
  SIM_LANES(w.m, l) {
    u32 r = 0;
    for (int k = 0; k < N; k++)
      if (F::f(value<H>(a[l] >> 16 * k), value<H>(b[l] >> 16 * k)))
        r |= (N == 1 && !i.aux ? NONE : one << 16 * k);
    reg<u32>(w, i.d)[l] = r;
  }
}

template <class F>
static Fn compare_fn(Type t, bool set) {
  switch (t) {
    case F32:
      return set ? op_set<float, F> : lanes_setp<float, F>;
    case F64:
      return set ? op_set<double, F> : lanes_setp<double, F>;
    case F16:
      return set ? op_half_set<true, 1, F> : op_half_setp<true, 1, F>;
    case BF16:
      return set ? op_half_set<false, 1, F> : op_half_setp<false, 1, F>;
    case F16X2:
      return set ? op_half_set<true, 2, F> : op_half_setp<true, 2, F>;
    case BF16X2:
      return set ? op_half_set<false, 2, F> : op_half_setp<false, 2, F>;
    default:
      return nullptr;
  }
}
static Fn compare(std::string_view c, Type t, bool set) {
  return c == "eq"    ? compare_fn<Eq>(t, set)
         : c == "ne"  ? compare_fn<Ne>(t, set)
         : c == "lt"  ? compare_fn<Lt>(t, set)
         : c == "le"  ? compare_fn<Le>(t, set)
         : c == "gt"  ? compare_fn<Gt>(t, set)
         : c == "ge"  ? compare_fn<Ge>(t, set)
         : c == "equ" ? compare_fn<Equ>(t, set)
         : c == "neu" ? compare_fn<Neu>(t, set)
         : c == "ltu" ? compare_fn<Ltu>(t, set)
         : c == "leu" ? compare_fn<Leu>(t, set)
         : c == "gtu" ? compare_fn<Gtu>(t, set)
         : c == "geu" ? compare_fn<Geu>(t, set)
         : c == "num" ? compare_fn<Num>(t, set)
         : c == "nan" ? compare_fn<Nan>(t, set)
                      : nullptr;
}

enum { T_FINITE, T_INFINITE, T_NUMBER, T_NAN, T_NORMAL, T_SUBNORMAL };
template <class T>
static void op_testp(Warp &w, const Ins &i) {
  u32 r = 0;
  for (int l = 0; l < 32; l++) {
    T x = reg<T>(w, i.a)[l];
    int c = std::fpclassify(x);
    bool y = i.aux == T_FINITE     ? c != FP_NAN && c != FP_INFINITE
             : i.aux == T_INFINITE ? c == FP_INFINITE
             : i.aux == T_NUMBER   ? c != FP_NAN
             : i.aux == T_NAN      ? c == FP_NAN
             : i.aux == T_NORMAL   ? c == FP_NORMAL
                                   : c == FP_SUBNORMAL;
    r |= (u32)y << l;
  }
  set_pred(w, i.d, r);
}

template <class F, int ARGS>
static Fn with(Type t, bool ftz, bool sat) {
#define PICK(Z, S)                                                                                                   \
  (ARGS == 3                                                                                                         \
       ? (t == F32 ? (Fn)lanes3<float, float, float, With<F, Z, S>> : lanes3<double, double, double, With<F, Z, S>>) \
       : nullptr)
#define PICK2(Z, S) \
  (t == F32 ? (Fn)lanes2<float, float, float, With<F, Z, S>> : lanes2<double, double, double, With<F, Z, S>>)
  if constexpr (ARGS == 3)
    return ftz ? (sat ? PICK(true, true) : PICK(true, false)) : sat ? PICK(false, true) : PICK(false, false);
  else
    return ftz ? (sat ? PICK2(true, true) : PICK2(true, false)) : sat ? PICK2(false, true) : PICK2(false, false);
#undef PICK
#undef PICK2
}
template <class F>
static Fn approx(bool ftz) {
  return ftz ? lanes1<float, float, With<F, true, false>> : lanes1<float, float, With<F, false, false>>;
}

bool decode_float(Decoder &d, const Statement &s, Ins &i) {
  std::string_view n = s.op[0];
  Type t = type_of(s.op.back());
  if (t < F16 || t > BF16X2)
    return false;
  bool half = t != F32 && t != F64, ftz = s.has("ftz"), sat = s.has("sat"), nan = s.has("NaN");
  int bytes = t == F64 ? 8 : 4, mode = s.has("rz") ? 1 : s.has("rm") ? 2 : s.has("rp") ? 3 : 0;
  if (n == "setp") {
    setp_operands(d, s, i, bytes);
    i.fn = compare(s.op[1], t, false);
    return true;
  }
  if (n == "testp") {
    i.d = d.operand(s.args[0], 4);
    i.a = d.operand(s.args[1], bytes);
    static const char *const names[] = {"finite", "infinite", "number", "notanumber", "normal", "subnormal"};
    for (u32 k = 0; k < 6; k++)
      i.aux = s.has(names[k]) ? k : i.aux;
    i.fn = t == F32 ? op_testp<float> : t == F64 ? op_testp<double> : nullptr;
    return true;
  }
  if (n == "mov" || n == "selp" || n == "cvt" || s.args.size() < 2 || s.args.size() > 4)
    return false;
  plain(d, s, i, bytes);
  if (n == "set") {
    Type result = type_of(s.op[s.op.size() - 2]);
    i.aux = result == F32 || result == F16 || result == BF16 || result == F16X2 || result == BF16X2;
    i.fn = s.args.size() == 3 ? compare(s.op[1], t, true) : nullptr;
    return true;
  }
  if (half) {
    bool pair = t == F16X2 || t == BF16X2;
    if (n == "neg" || n == "abs") {
      i.aux = pair ? 0x80008000 : 0x8000;
      i.flags |= n == "neg" ? STRONG : 0;
      i.fn = op_half_sign;
      return true;
    }
    if (mode)
      return false;
    i.flags |= (sat ? SIGNED : 0) | (s.has("relu") ? STRONG : 0);
    i.fn = n == "add"    ? half_fn<Add, 2>(t)
           : n == "sub"  ? half_fn<Sub, 2>(t)
           : n == "mul"  ? half_fn<Mul, 2>(t)
           : n == "fma"  ? half_fn<Fma16, 3>(t)
           : n == "min"  ? (nan ? half_fn<OrNan<Min>, 2>(t) : half_fn<Min, 2>(t))
           : n == "max"  ? (nan ? half_fn<OrNan<Max>, 2>(t) : half_fn<Max, 2>(t))
           : n == "ex2"  ? half_fn<Ex2Half, 1>(t)
           : n == "tanh" ? half_fn<TanhHalf, 1>(t)
                         : nullptr;
    return i.fn != nullptr;
  }
  bool exact = !s.has("approx") && !s.has("full");
  if (mode && exact && n != "min" && n != "max") {
    static const std::map<std::string_view, u32> ops = {{"add", ADD}, {"sub", SUB}, {"mul", MUL},   {"fma", FMA},
                                                        {"mad", FMA}, {"div", DIV}, {"sqrt", SQRT}, {"rcp", RCP}};
    auto x = ops.find(n);
    if (x == ops.end())
      return false;
    i.aux = x->second | mode << 8;
    i.flags |= (ftz ? STRONG : 0) | (sat ? SIGNED : 0);
    i.fn = t == F32 ? op_rounded<float> : op_rounded<double>;
    return true;
  }
#define ONE(F) (t == F32 ? approx<F>(ftz) : lanes1<double, double, F>)
  i.fn =
      n == "add"                 ? with<Add, 2>(t, ftz, sat)
      : n == "sub"               ? with<Sub, 2>(t, ftz, sat)
      : n == "mul"               ? with<Mul, 2>(t, ftz, sat)
      : n == "fma" || n == "mad" ? with<Fma, 3>(t, ftz, sat)
      : n == "min"               ? (nan ? with<OrNan<Min>, 2>(t, ftz, false) : with<Min, 2>(t, ftz, false))
      : n == "max"               ? (nan ? with<OrNan<Max>, 2>(t, ftz, false) : with<Max, 2>(t, ftz, false))
      : n == "div" && !exact
          ? (ftz ? lanes2<float, float, float, With<DivApprox, true, false>> : lanes2<float, float, float, DivApprox>)
      : n == "div"      ? with<Div, 2>(t, ftz, false)
      : n == "neg"      ? (t == F32 ? unary<u32, Neg> : unary<u64, Neg>)
      : n == "abs"      ? (t == F32 ? unary<u32, Abs> : unary<u64, Abs>)
      : n == "copysign" ? (t == F32 ? binary<float, CopySign> : binary<double, CopySign>)
      : n == "sqrt"     ? (exact || t == F64 ? ONE(Sqrt) : approx<SqrtApprox>(ftz))
      : n == "rcp"      ? (exact || t == F64 ? ONE(RcpExact) : approx<Rcp>(ftz))
      : n == "rsqrt"    ? (t == F64 ? lanes1<double, double, RsqrtExact> : approx<Rsqrt>(ftz))
      : t == F64        ? nullptr
      : n == "ex2"      ? approx<Ex2>(ftz)
      : n == "lg2"      ? approx<Lg2>(ftz)
      : n == "sin"      ? approx<Sin>(ftz)
      : n == "cos"      ? approx<Cos>(ftz)
      : n == "tanh"     ? approx<Tanh>(ftz)
                        : nullptr;
#undef ONE
  return i.fn != nullptr;
}

}  // namespace sim
