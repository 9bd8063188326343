// A function of scalars as an instruction of 32 lanes. Rule: lanes outside of the mask keep their value.
#pragma once
#include "tests/sim/interp.h"

namespace sim {

template <class T>
struct Lane {
  using R = T;
  static T get(R r) { return r; }
  static R put(T t) { return t; }
};
template <>
struct Lane<u16> {
  using R = u32;
  static u16 get(u32 r) { return (u16)r; }
  static u32 put(u16 t) { return t; }
};
template <>
struct Lane<s16> {
  using R = u32;
  static s16 get(u32 r) { return (s16)r; }
  static u32 put(s16 t) { return (u16)t; }
};

template <class D, class A, class F>
void lanes1(Warp &w, const Ins &i) {
  auto *__restrict d = reg<typename Lane<D>::R>(w, i.d);
  auto *a = reg<typename Lane<A>::R>(w, i.a);
  u32 m = w.m;
  if (m == ~0u)
    for (int l = 0; l < 32; l++)
      d[l] = Lane<D>::put(F::f(Lane<A>::get(a[l])));
  else
    SIM_LANES(m, l) d[l] = Lane<D>::put(F::f(Lane<A>::get(a[l])));
}
template <class D, class A, class B, class F>
void lanes2(Warp &w, const Ins &i) {
  auto *d = reg<typename Lane<D>::R>(w, i.d);
  auto *a = reg<typename Lane<A>::R>(w, i.a);
  auto *b = reg<typename Lane<B>::R>(w, i.b);
  u32 m = w.m;
  if (m == ~0u) {
#pragma GCC ivdep
    for (int l = 0; l < 32; l++)
      d[l] = Lane<D>::put(F::f(Lane<A>::get(a[l]), Lane<B>::get(b[l])));
  } else {
    SIM_LANES(m, l) d[l] = Lane<D>::put(F::f(Lane<A>::get(a[l]), Lane<B>::get(b[l])));
  }
}
template <class D, class A, class C, class F>
void lanes3(Warp &w, const Ins &i) {
  auto *d = reg<typename Lane<D>::R>(w, i.d);
  auto *a = reg<typename Lane<A>::R>(w, i.a);
  auto *b = reg<typename Lane<A>::R>(w, i.b);
  auto *c = reg<typename Lane<C>::R>(w, i.c);
  u32 m = w.m;
  if (m == ~0u) {
#pragma GCC ivdep
    for (int l = 0; l < 32; l++)
      d[l] = Lane<D>::put(F::f(Lane<A>::get(a[l]), Lane<A>::get(b[l]), Lane<C>::get(c[l])));
  } else {
    SIM_LANES(m, l) d[l] = Lane<D>::put(F::f(Lane<A>::get(a[l]), Lane<A>::get(b[l]), Lane<C>::get(c[l])));
  }
}
template <class T, class F>
constexpr Fn unary = lanes1<T, T, F>;
template <class T, class F>
constexpr Fn binary = lanes2<T, T, T, F>;

// setp: d[|q] = a cmp b [op c]; aux 0 none, 1 and, 2 or, 3 xor. x = d, q.
template <class T, class F>
void lanes_setp(Warp &w, const Ins &i) {
  auto *a = reg<typename Lane<T>::R>(w, i.a);
  auto *b = reg<typename Lane<T>::R>(w, i.b);
  u32 r = 0;
  for (int l = 0; l < 32; l++)
    r |= (u32)F::f(Lane<T>::get(a[l]), Lane<T>::get(b[l])) << l;
  u32 q = ~r;
  if (i.aux) {
    u32 c = pred(w, i.c);
    c = i.flags & B_NOT ? ~c : c;
    r = i.aux == 1 ? r & c : i.aux == 2 ? r | c : r ^ c;
    q = i.aux == 1 ? q & c : i.aux == 2 ? q | c : q ^ c;
  }
  set_pred(w, i.d, r);
  if (i.x)
    set_pred(w, i.x[1], q);
}

#define SIM_F1(name, e)         \
  struct name {                 \
    template <class T>          \
    static inline auto f(T a) { \
      return (T)(e);            \
    }                           \
  };
#define SIM_F2(name, e)              \
  struct name {                      \
    template <class T>               \
    static inline auto f(T a, T b) { \
      return (T)(e);                 \
    }                                \
  };
#define SIM_CMP(name, e)             \
  struct name {                      \
    template <class T>               \
    static inline bool f(T a, T b) { \
      return e;                      \
    }                                \
  };

// Operands of "op d, a, b, c" with `bytes` each.
inline void plain(Decoder &d, const Statement &s, Ins &i, int bytes) {
  i.d = d.operand(s.args[0], bytes);
  i.a = d.operand(s.args[1], bytes);
  if (s.args.size() > 2)
    i.b = d.operand(s.args[2], bytes);
  if (s.args.size() > 3)
    i.c = d.operand(s.args[3], bytes);
}
// setp's operands, and what it combines with.
void setp_operands(Decoder &d, const Statement &s, Ins &i, int bytes);

}  // namespace sim
