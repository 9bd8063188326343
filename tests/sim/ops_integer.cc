// Integers, bits, moves, comparisons of integers, predicates. Rule: a 16-bit value stands zero-extended in its lane.
#include <algorithm>

#include "tests/sim/vector.h"

namespace sim {

SIM_F2(Add, (std::make_unsigned_t<T>)a + (std::make_unsigned_t<T>)b)
SIM_F2(Sub, (std::make_unsigned_t<T>)a - (std::make_unsigned_t<T>)b)
SIM_F2(And, a &b)
SIM_F2(Or, a | b)
SIM_F2(Xor, a ^ b)
SIM_F2(Min, a < b ? a : b)
SIM_F2(Max, a > b ? a : b)
SIM_F2(Div, b ? (b == T(-1) && T(-1) < 0 ? T(std::make_unsigned_t<T>(0) - (std::make_unsigned_t<T>)a) : a / b) : T(-1))
SIM_F2(Rem, b ? (b == T(-1) && T(-1) < 0 ? T(0) : a % b) : a)
SIM_F1(Neg, std::make_unsigned_t<T>(0) - (std::make_unsigned_t<T>)a)
SIM_F1(Not, ~a)
SIM_F1(Abs, a < 0 ? std::make_unsigned_t<T>(0) - (std::make_unsigned_t<T>)a : a)
SIM_F1(Cnot, a == 0)
SIM_CMP(Eq, a == b)
SIM_CMP(Ne, a != b)
SIM_CMP(Lt, a < b)
SIM_CMP(Le, a <= b)
SIM_CMP(Gt, a > b)
SIM_CMP(Ge, a >= b)

struct Mul {  // unsigned inside, so that overflow wraps
  template <class T>
  static T f(T a, T b) {
    using U = std::conditional_t<sizeof(T) == 8, u64, u32>;
    return (T)((U)a * (U)b);
  }
};
struct MulHigh {
  template <class T>
  static T f(T a, T b) {
    if constexpr (sizeof(T) == 8) {
      using W = std::conditional_t<std::is_signed_v<T>, __int128, unsigned __int128>;
      return (T)((W)a * (W)b >> 64);
    } else {
      using W = std::conditional_t<std::is_signed_v<T>, s64, u64>;
      return (T)((W)a * (W)b >> (8 * sizeof(T)));
    }
  }
};
template <class W>
struct MulWide {
  template <class T>
  static W f(T a, T b) {
    return (W)a * (W)b;
  }
};
struct MadLow {
  template <class T>
  static T f(T a, T b, T c) {
    using U = std::conditional_t<sizeof(T) == 8, u64, u32>;
    return (T)((U)a * (U)b + (U)c);
  }
};
struct MadHigh {
  template <class T>
  static T f(T a, T b, T c) {
    return MulHigh::f(a, b) + c;
  }
};
template <class W>
struct MadWide {
  template <class T>
  static W f(T a, T b, W c) {
    return (W)a * (W)b + c;
  }
};
struct Shl {
  template <class T>
  static T f(T a, u32 s) {
    return s >= 8 * sizeof(T) ? 0 : (T)(a << s);
  }
};
struct Shr {
  template <class T>
  static T f(T a, u32 s) {
    constexpr u32 bits = 8 * sizeof(T);
    return s >= bits ? (T)(std::is_signed_v<T> ? a >> (bits - 1) : 0) : (T)(a >> s);
  }
};
template <class T>
struct Popc {
  static u32 f(T a) { return __builtin_popcountll(a); }
};
template <class T>
struct Clz {
  static u32 f(T a) { return a ? __builtin_clzll(a) - (64 - 8 * sizeof(T)) : 8 * sizeof(T); }
};
template <class T>
struct Brev {
  static T f(T a) {
    T r = 0;
    for (u32 k = 0; k < 8 * sizeof(T); k++)
      r |= (a >> k & 1) << (8 * sizeof(T) - 1 - k);
    return r;
  }
};
template <class T, bool SHIFT>
struct Bfind {  // the highest bit that differs from the sign
  static u32 f(T a) {
    if (std::is_signed_v<T> && a < 0)
      a = ~a;
    if (!a)
      return NONE;
    u32 top = 63 - __builtin_clzll((u64)a);
    return SHIFT ? 8 * sizeof(T) - 1 - top : top;
  }
};
struct Sad {
  template <class T>
  static T f(T a, T b, T c) {
    return c + (a < b ? b - a : a - b);
  }
};

static void op_mov4(Warp &w, const Ins &i) {
  u32 *d = reg<u32>(w, i.d), *a = reg<u32>(w, i.a);
  if (w.m == ~0u)
    memcpy(d, a, 128);
  else
    SIM_LANES(w.m, l) d[l] = a[l];
}
static void op_mov8(Warp &w, const Ins &i) {
  u64 *d = reg<u64>(w, i.d), *a = reg<u64>(w, i.a);
  if (w.m == ~0u)
    memcpy(d, a, 256);
  else
    SIM_LANES(w.m, l) d[l] = a[l];
}
static void op_mov_clock(Warp &w, const Ins &i) {
  SIM_LANES(w.m, l) if (i.size == 8) reg<u64>(w, i.d)[l] = w.b->steps + w.count;
  else reg<u32>(w, i.d)[l] = (u32)(w.b->steps + w.count);
}
// mov between one register and a vector of smaller ones: aux bits each; size of the whole.
static void op_pack(Warp &w, const Ins &i) {
  u64 mask = i.aux == 64 ? ~0ull : (1ull << i.aux) - 1;
  const u32 *a = i.x + i.nd;
  SIM_LANES(w.m, l) {
    u64 v = 0;
    for (int k = 0; k < i.na; k++)
      v |= ((u64)reg<u32>(w, a[k])[l] & mask) << (k * i.aux);
    if (i.size == 8)
      reg<u64>(w, i.x[0])[l] = v;
    else
      reg<u32>(w, i.x[0])[l] = (u32)v;
  }
}
static void op_unpack(Warp &w, const Ins &i) {
  u64 mask = i.aux == 64 ? ~0ull : (1ull << i.aux) - 1;
  u32 a = i.x[i.nd];
  u64 v[32];
  SIM_LANES(w.m, l) v[l] = i.size == 8 ? reg<u64>(w, a)[l] : reg<u32>(w, a)[l];
  for (int k = 0; k < i.nd; k++)
    if (i.x[k] != NONE)
      SIM_LANES(w.m, l) reg<u32>(w, i.x[k])[l] = (u32)(v[l] >> (k * i.aux) & mask);
}
template <class T>
static void op_selp(Warp &w, const Ins &i) {
  T *d = reg<T>(w, i.d), *a = reg<T>(w, i.a), *b = reg<T>(w, i.b);
  u32 p = pred(w, i.c);
  p = i.flags & B_NOT ? ~p : p;
  if (w.m == ~0u) {
#pragma GCC ivdep
    for (int l = 0; l < 32; l++)
      d[l] = p >> l & 1 ? a[l] : b[l];
  } else {
    SIM_LANES(w.m, l) d[l] = p >> l & 1 ? a[l] : b[l];
  }
}
template <class T, class C>
static void op_slct(Warp &w, const Ins &i) {
  SIM_LANES(w.m, l) reg<T>(w, i.d)[l] = reg<C>(w, i.c)[l] >= 0 ? reg<T>(w, i.a)[l] : reg<T>(w, i.b)[l];
}

enum { P_AND, P_OR, P_XOR, P_NOT, P_MOV };
static void op_pred(Warp &w, const Ins &i) {
  u32 a = pred(w, i.a), b = i.b == NONE ? 0 : pred(w, i.b);
  a = i.flags & SIGNED ? ~a : a;  // "!p" as an operand
  b = i.flags & B_NOT ? ~b : b;
  set_pred(w, i.d, i.aux == P_AND ? a & b : i.aux == P_OR ? a | b : i.aux == P_XOR ? a ^ b : i.aux == P_NOT ? ~a : a);
}

static void op_lop3(Warp &w, const Ins &i) {
  u32 *a = reg<u32>(w, i.a), *b = reg<u32>(w, i.b), *c = reg<u32>(w, i.c), r[32] = {}, t = i.aux;
  for (int k = 0; k < 8; k++)
    if (t >> k & 1)
      for (int l = 0; l < 32; l++)
        r[l] |= (k & 4 ? a[l] : ~a[l]) & (k & 2 ? b[l] : ~b[l]) & (k & 1 ? c[l] : ~c[l]);
  SIM_LANES(w.m, l) reg<u32>(w, i.d)[l] = r[l];
}

// prmt d, a, b, c: aux is the mode (0 general, 1 f4e, 2 b4e, 3 rc8, 4 ecl, 5 ecr, 6 rc16).
static void op_prmt(Warp &w, const Ins &i) {
  SIM_LANES(w.m, l) {
    u64 v = (u64)reg<u32>(w, i.b)[l] << 32 | reg<u32>(w, i.a)[l];
    u32 s = reg<u32>(w, i.c)[l], r = 0, q = s & 3;
    for (u32 k = 0; k < 4; k++) {
      u32 from = s >> (4 * k) & 15;
      switch (i.aux) {
        case 1:
          from = q + k;
          break;
        case 2:
          from = (q - k) & 7;
          break;
        case 3:
          from = q;
          break;
        case 4:
          from = std::max(q, k);
          break;
        case 5:
          from = std::min(q, k);
          break;
        case 6:
          from = (q & 1) * 2 + (k & 1);
          break;
      }
      u8 x = (u8)(v >> (8 * (from & 7)));
      if (from & 8)
        x = (s8)x < 0 ? 255 : 0;
      r |= (u32)x << (8 * k);
    }
    reg<u32>(w, i.d)[l] = r;
  }
}

static void op_bfi(Warp &w, const Ins &i) {  // x: d, a, b, c, n
  SIM_LANES(w.m, l) {
    u32 p = reg<u32>(w, i.x[3])[l] & 255, n = reg<u32>(w, i.x[4])[l] & 255;
    if (i.size == 8) {
      u64 a = reg<u64>(w, i.a)[l], b = reg<u64>(w, i.b)[l], m = n >= 64 ? ~0ull : (1ull << n) - 1;
      reg<u64>(w, i.d)[l] = p < 64 ? (b & ~(m << p)) | (a & m) << p : b;
    } else {
      u32 a = reg<u32>(w, i.a)[l], b = reg<u32>(w, i.b)[l], m = n >= 32 ? ~0u : (1u << n) - 1;
      reg<u32>(w, i.d)[l] = p < 32 ? (b & ~(m << p)) | (a & m) << p : b;
    }
  }
}
static void op_bfe(Warp &w, const Ins &i) {  // d, a, position, length
  u32 bits = i.size * 8;
  SIM_LANES(w.m, l) {
    u32 p = reg<u32>(w, i.b)[l] & 255, n = reg<u32>(w, i.c)[l] & 255;
    u64 a = i.size == 8        ? reg<u64>(w, i.a)[l]
            : i.flags & SIGNED ? (u64)(s64)(s32)reg<u32>(w, i.a)[l]
                               : reg<u32>(w, i.a)[l];
    u64 v = p >= 64 ? 0 : a >> p;
    if (p >= bits)
      v = i.flags & SIGNED && (s64)a < 0 ? ~0ull : 0;
    if (!n)
      v = 0;
    else if (n < 64 && n < bits) {
      u64 m = (1ull << n) - 1;
      bool negative = (i.flags & SIGNED) && (a >> std::min(p + n - 1, bits - 1) & 1);
      v = negative ? v | ~m : v & m;
    }
    if (i.size == 8)
      reg<u64>(w, i.d)[l] = v;
    else
      reg<u32>(w, i.d)[l] = (u32)v;
  }
}
static void op_shf(Warp &w, const Ins &i) {  // aux: 1 right, 2 clamp
  SIM_LANES(w.m, l) {
    u64 v = (u64)reg<u32>(w, i.b)[l] << 32 | reg<u32>(w, i.a)[l];
    u32 n = reg<u32>(w, i.c)[l];
    n = i.aux & 2 ? std::min(n, 32u) : n & 31;
    reg<u32>(w, i.d)[l] = i.aux & 1 ? (u32)(v >> n) : n == 32 ? (u32)v : (u32)(v << n >> 32);
  }
}
static void op_dp4a(Warp &w, const Ins &i) {  // aux: 1 a signed, 2 b signed
  SIM_LANES(w.m, l) {
    u32 a = reg<u32>(w, i.a)[l], b = reg<u32>(w, i.b)[l];
    s32 sum = reg<s32>(w, i.c)[l];
    for (int k = 0; k < 32; k += 8) {
      s32 x = i.aux & 1 ? (s8)(a >> k) : (u8)(a >> k), y = i.aux & 2 ? (s8)(b >> k) : (u8)(b >> k);
      sum += x * y;
    }
    reg<s32>(w, i.d)[l] = sum;
  }
}
// add.cc, addc, sub.cc, subc, mad.cc, madc: aux 0 add, 1 sub, 2 mad.lo, 3 mad.hi; flags STRONG: reads the carry, B_NOT:
// sets it.
template <class T>
static void op_carry(Warp &w, const Ins &i) {
  using W = unsigned __int128;
  constexpr int bits = 8 * sizeof(T);
  SIM_LANES(w.m, l) {
    W a = reg<T>(w, i.a)[l], b = reg<T>(w, i.b)[l], in = i.flags & STRONG ? w.carry >> l & 1 : 0;
    if (i.aux >= 2) {
      W p = a * b;
      a = i.aux == 2 ? (T)p : (T)(p >> bits);
      b = reg<T>(w, i.c)[l];
    }
    W r = i.aux == 1 ? a - b - in : a + b + in;
    reg<T>(w, i.d)[l] = (T)r;
    if (i.flags & B_NOT)
      w.carry = (w.carry & ~(1u << l)) | (u32)(r >> bits & 1) << l;
  }
}

#define BY_TYPE(t, make)    \
  ((t) == S16   ? make(s16) \
   : (t) == U16 ? make(u16) \
   : (t) == S32 ? make(s32) \
   : (t) == U32 ? make(u32) \
   : (t) == S64 ? make(s64) \
   : (t) == U64 ? make(u64) \
                : (Fn) nullptr)

static Fn compare(std::string_view c, Type t) {
#define CMP(F)                     \
  [&]() -> Fn {                    \
    switch (t) {                   \
      case S16:                    \
        return lanes_setp<s16, F>; \
      case U16:                    \
        return lanes_setp<u16, F>; \
      case S32:                    \
        return lanes_setp<s32, F>; \
      case U32:                    \
        return lanes_setp<u32, F>; \
      case S64:                    \
        return lanes_setp<s64, F>; \
      case U64:                    \
        return lanes_setp<u64, F>; \
      default:                     \
        return nullptr;            \
    }                              \
  }()
  if (c == "eq")
    return CMP(Eq);
  if (c == "ne")
    return CMP(Ne);
  if (c == "lt" || c == "lo")
    return CMP(Lt);
  if (c == "le" || c == "ls")
    return CMP(Le);
  if (c == "gt" || c == "hi")
    return CMP(Gt);
  if (c == "ge" || c == "hs")
    return CMP(Ge);
  return nullptr;
#undef CMP
}

void setp_operands(Decoder &d, const Statement &s, Ins &i, int bytes) {
  auto &o = s.args;
  size_t bar = o[0].find('|');
  i.d = d.operand(o[0].substr(0, bar), 4);
  i.a = d.operand(o[1], bytes);
  i.b = d.operand(o[2], bytes);
  if (bar != std::string_view::npos) {
    i.nd = 2;
    d.list(i, {i.d, d.operand(o[0].substr(bar + 1), 4)});
  }
  if (o.size() > 3) {
    i.c = d.operand(o[3], 4);
    i.flags |= o[3][0] == '!' ? B_NOT : 0;
    i.aux = s.has("and") ? 1 : s.has("or") ? 2 : 3;
  }
}

bool decode_integer(Decoder &d, const Statement &s, Ins &i) {
  std::string_view n = s.op[0];
  auto &o = s.args;
  Type t = type_of(s.op.back());
  int bytes = t == NO_TYPE ? 4 : std::max(type_size(t), 4);
  bool integer = t <= U64;
  auto is_signed = t == S16 || t == S32 || t == S64;
  auto three = [&] { plain(d, s, i, bytes); };

  if (n == "mov" && t != PRED) {
    if (o[0][0] == '{' || o[1][0] == '{') {
      bool pack = o[1][0] == '{';
      auto a = d.operands(o[0], pack ? bytes : 4), b = d.operands(o[1], pack ? 4 : bytes);
      i.nd = a.size();
      i.na = b.size();
      i.size = type_size(t);
      i.aux = i.size * 8 / std::max(i.nd, i.na);
      a.insert(a.end(), b.begin(), b.end());
      d.list(i, a);
      i.fn = pack ? op_pack : op_unpack;
      return true;
    }
    i.d = d.operand(o[0], bytes);
    if (o[1].substr(0, 6) == "%clock" || o[1].substr(0, 12) == "%globaltimer") {
      i.size = bytes;
      i.fn = op_mov_clock;
      return true;
    }
    i.a = d.operand(o[1], bytes);
    i.fn = bytes == 8 ? op_mov8 : op_mov4;
    return true;
  }
  if (t == PRED) {
    static const std::map<std::string_view, u32> ops = {
        {"and", P_AND}, {"or", P_OR}, {"xor", P_XOR}, {"not", P_NOT}, {"mov", P_MOV}};
    auto x = ops.find(n);
    if (x == ops.end())
      return false;
    three();
    i.flags |= (o[1][0] == '!' ? SIGNED : 0) | (o.size() > 2 && o[2][0] == '!' ? B_NOT : 0);
    i.aux = x->second;
    i.fn = op_pred;
    return true;
  }
  if (n == "selp") {
    i.d = d.operand(o[0], bytes);
    i.a = d.operand(o[1], bytes);
    i.b = d.operand(o[2], bytes);
    i.c = d.operand(o[3], 4);
    i.flags |= o[3][0] == '!' ? B_NOT : 0;
    i.fn = bytes == 8 ? op_selp<u64> : op_selp<u32>;
    return true;
  }
  if (n == "slct") {
    Type result = type_of(s.op[s.op.size() - 2]);
    bytes = std::max(type_size(result), 4);
    i.d = d.operand(o[0], bytes);
    i.a = d.operand(o[1], bytes);
    i.b = d.operand(o[2], bytes);
    i.c = d.operand(o[3], 4);
    bool f = t == F32;
    i.fn = bytes == 8 ? (f ? op_slct<u64, float> : op_slct<u64, s32>) : f ? op_slct<u32, float> : op_slct<u32, s32>;
    return true;
  }
  if (n == "lop3") {
    i.d = d.operand(o[0], 4);
    i.a = d.operand(o[1], 4);
    i.b = d.operand(o[2], 4);
    i.c = d.operand(o[3], 4);
    i.aux = strtol(std::string(o[4]).c_str(), nullptr, 0);
    i.fn = o.size() == 5 ? op_lop3 : nullptr;
    return true;
  }
  if (n == "prmt") {
    plain(d, s, i, 4);
    static const char *const modes[] = {"", "f4e", "b4e", "rc8", "ecl", "ecr", "rc16"};
    for (u32 k = 1; k < 7; k++)
      i.aux = s.has(modes[k]) ? k : i.aux;
    i.fn = op_prmt;
    return true;
  }
  if (n == "shf") {
    plain(d, s, i, 4);
    i.aux = s.has("r") | s.has("clamp") << 1;
    i.fn = op_shf;
    return true;
  }
  if (n == "dp4a") {
    plain(d, s, i, 4);
    i.aux = (s.op[1] == "s32") | (s.op[2] == "s32") << 1;
    i.fn = op_dp4a;
    return true;
  }
  if (n == "setp") {
    if (!integer)
      return false;
    setp_operands(d, s, i, bytes);
    i.fn = compare(s.op[1], t);
    return true;
  }
  if (!integer)
    return false;
  if (n == "bfi") {
    i.d = d.operand(o[0], bytes);
    i.a = d.operand(o[1], bytes);
    i.b = d.operand(o[2], bytes);
    i.nd = 1;
    i.na = 4;
    d.list(i, {i.d, i.a, i.b, d.operand(o[3], 4), d.operand(o[4], 4)});
    i.size = bytes;
    i.fn = op_bfi;
    return true;
  }
  if (n == "bfe") {
    i.d = d.operand(o[0], bytes);
    i.a = d.operand(o[1], bytes);
    i.b = d.operand(o[2], 4);
    i.c = d.operand(o[3], 4);
    i.size = bytes;
    i.flags |= is_signed ? SIGNED : 0;
    i.fn = op_bfe;
    return true;
  }
  if (n == "shl" || n == "shr") {
    i.d = d.operand(o[0], bytes);
    i.a = d.operand(o[1], bytes);
    i.b = d.operand(o[2], 4);
#define SHL(T) lanes2<T, T, u32, Shl>
#define SHR(T) lanes2<T, T, u32, Shr>
    i.fn = n == "shl" ? BY_TYPE(t, SHL) : BY_TYPE(t, SHR);
    return true;
  }
  if (n == "popc" || n == "clz" || n == "bfind") {
    i.d = d.operand(o[0], 4);
    i.a = d.operand(o[1], bytes);
    bool shift = s.has("shiftamt");
    if (n == "popc")
      i.fn = t == U64 ? lanes1<u32, u64, Popc<u64>> : lanes1<u32, u32, Popc<u32>>;
    else if (n == "clz")
      i.fn = t == U64 ? lanes1<u32, u64, Clz<u64>> : lanes1<u32, u32, Clz<u32>>;
    else if (t == U32)
      i.fn = shift ? lanes1<u32, u32, Bfind<u32, true>> : lanes1<u32, u32, Bfind<u32, false>>;
    else if (t == S32)
      i.fn = shift ? lanes1<u32, s32, Bfind<s32, true>> : lanes1<u32, s32, Bfind<s32, false>>;
    else if (t == U64)
      i.fn = shift ? lanes1<u32, u64, Bfind<u64, true>> : lanes1<u32, u64, Bfind<u64, false>>;
    else
      i.fn = shift ? lanes1<u32, s64, Bfind<s64, true>> : lanes1<u32, s64, Bfind<s64, false>>;
    return true;
  }
  if (n == "brev") {
    three();
    i.fn = t == U64 ? unary<u64, Brev<u64>> : unary<u32, Brev<u32>>;
    return true;
  }
  bool wide = s.has("wide");
  if (wide && (n == "mul" || n == "mad")) {
    int twice = t <= U16 ? 4 : 8;
    i.d = d.operand(o[0], twice);
    i.a = d.operand(o[1], 4);
    i.b = d.operand(o[2], 4);
    if (n == "mad") {
      i.c = d.operand(o[3], twice);
      i.fn = t == S32   ? lanes3<s64, s32, s64, MadWide<s64>>
             : t == U32 ? lanes3<u64, u32, u64, MadWide<u64>>
             : t == S16 ? lanes3<s32, s16, s32, MadWide<s32>>
                        : lanes3<u32, u16, u32, MadWide<u32>>;
    } else {
      i.fn = t == S32   ? lanes2<s64, s32, s32, MulWide<s64>>
             : t == U32 ? lanes2<u64, u32, u32, MulWide<u64>>
             : t == S16 ? lanes2<s32, s16, s16, MulWide<s32>>
                        : lanes2<u32, u16, u16, MulWide<u32>>;
    }
    return true;
  }
  if (n == "addc" || n == "subc" || n == "madc" || s.has("cc")) {
    three();
    i.aux = n[0] == 'a' ? 0 : n[0] == 's' ? 1 : s.has("hi") ? 3 : 2;
    i.flags |= (n.back() == 'c' ? STRONG : 0) | (s.has("cc") ? B_NOT : 0);
    i.fn = bytes == 8 ? op_carry<u64> : op_carry<u32>;
    return true;
  }
#define ADD(T)  binary<T, Add>
#define SUB(T)  binary<T, Sub>
#define MULL(T) binary<T, Mul>
#define MULH(T) binary<T, MulHigh>
#define DIV(T)  binary<T, Div>
#define REM(T)  binary<T, Rem>
#define MIN(T)  binary<T, Min>
#define MAX(T)  binary<T, Max>
#define AND(T)  binary<T, And>
#define OR(T)   binary<T, Or>
#define XOR(T)  binary<T, Xor>
#define NOT(T)  unary<T, Not>
#define NEG(T)  unary<T, Neg>
#define ABS(T)  unary<T, Abs>
#define CNOT(T) unary<T, Cnot>
#define MADL(T) lanes3<T, T, T, MadLow>
#define MADH(T) lanes3<T, T, T, MadHigh>
#define SAD(T)  lanes3<T, T, T, Sad>
  bool hi = s.has("hi"), sat = s.has("sat");
  Fn f = n == "add"    ? BY_TYPE(t, ADD)
         : n == "sub"  ? BY_TYPE(t, SUB)
         : n == "mul"  ? (hi ? BY_TYPE(t, MULH) : BY_TYPE(t, MULL))
         : n == "mad"  ? (hi ? BY_TYPE(t, MADH) : BY_TYPE(t, MADL))
         : n == "div"  ? BY_TYPE(t, DIV)
         : n == "rem"  ? BY_TYPE(t, REM)
         : n == "min"  ? BY_TYPE(t, MIN)
         : n == "max"  ? BY_TYPE(t, MAX)
         : n == "and"  ? BY_TYPE(t, AND)
         : n == "or"   ? BY_TYPE(t, OR)
         : n == "xor"  ? BY_TYPE(t, XOR)
         : n == "not"  ? BY_TYPE(t, NOT)
         : n == "neg"  ? BY_TYPE(t, NEG)
         : n == "abs"  ? BY_TYPE(t, ABS)
         : n == "cnot" ? BY_TYPE(t, CNOT)
         : n == "sad"  ? BY_TYPE(t, SAD)
                       : (Fn) nullptr;
  if (!f || sat || s.has("relu"))
    return false;
  three();
  i.fn = f;
  return true;
}

}  // namespace sim
