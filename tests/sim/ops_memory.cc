// Loads, stores, atomics, cp.async. Rule: access() has the first word on every address; here only values move.
#include <algorithm>

#include "tests/sim/half.h"
#include "tests/sim/interp.h"

namespace sim {

// S: in memory, D: lane of the register.
template <class S, class D>
static void op_load(Warp &w, const Ins &i) {
  u64 a[32];
  addresses(w, i, a);
  if (i.flags & STRONG) {
    SIM_LANES(w.m, l) acquire(w, i.space, a[l]);
    w.b->steps += 64;  // who polls comes to the end of its turn sooner
  }
  bool whole = access(w, i, i.space, a, w.m, sizeof(S) * i.nd, READ);
  if (i.nd == 1) {
    D *d = reg<D>(w, i.d);
    if (whole && sizeof(S) == sizeof(D)) {
      memcpy(d, (void *)a[0], 32 * sizeof(D));
    } else {
      SIM_LANES(w.m, l) {
        S v;
        memcpy(&v, (void *)a[l], sizeof v);
        d[l] = (D)v;
      }
    }
    return;
  }
  for (int k = 0; k < i.nd; k++) {
    if (i.x[k] == NONE)
      continue;
    D *d = reg<D>(w, i.x[k]);
    SIM_LANES(w.m, l) {
      S v;
      memcpy(&v, (void *)(a[l] + k * sizeof(S)), sizeof v);
      d[l] = (D)v;
    }
  }
}

// A kernel's parameter: the same for all lanes.
template <class S, class D>
static void op_load_param(Warp &w, const Ins &i) {
  for (int k = 0; k < i.nd; k++) {
    S v;
    memcpy(&v, w.b->l->params + i.disp + k * sizeof(S), sizeof v);
    D *d = reg<D>(w, i.nd == 1 ? i.d : i.x[k]);
    if (w.m == ~0u)
      std::fill_n(d, 32, (D)v);
    else
      SIM_LANES(w.m, l) d[l] = (D)v;
  }
}

template <class S, class D>
static void op_store(Warp &w, const Ins &i) {
  u64 a[32];
  addresses(w, i, a);
  if (i.flags & SIGNED)  // st.release
    fence(w, true);
  if (i.flags & STRONG)
    SIM_LANES(w.m, l) release(w, i.space, a[l]);
  bool whole = access(w, i, i.space, a, w.m, sizeof(S) * i.nb, WRITE);
  if (i.nb == 1) {
    const D *d = reg<D>(w, i.b);
    if (whole && sizeof(S) == sizeof(D)) {
      memcpy((void *)a[0], d, 32 * sizeof(D));
    } else {
      SIM_LANES(w.m, l) {
        S v = (S)d[l];
        memcpy((void *)a[l], &v, sizeof v);
      }
    }
    return;
  }
  for (int k = 0; k < i.nb; k++) {
    const D *d = reg<D>(w, i.x[k]);
    SIM_LANES(w.m, l) {
      S v = (S)d[l];
      memcpy((void *)(a[l] + k * sizeof(S)), &v, sizeof v);
    }
  }
}

// ---- atomics ----
enum { A_ADD, A_MIN, A_MAX, A_AND, A_OR, A_XOR, A_EXCH, A_CAS, A_INC, A_DEC };

template <class T>
struct Bits {
  using type = std::conditional_t<sizeof(T) == 8, u64, std::conditional_t<sizeof(T) == 4, u32, u16>>;
};
struct Half2 {
  u32 v;
};
struct Bfloat2 {
  u32 v;
};
struct Half {
  u16 v;
};
struct Bfloat {
  u16 v;
};

template <class T>
static T combine(u32 op, T x, T y, T z) {
  if constexpr (std::is_integral_v<T>) {
    switch (op) {
      case A_ADD:
        return x + y;
      case A_MIN:
        return std::min(x, y);
      case A_MAX:
        return std::max(x, y);
      case A_AND:
        return x & y;
      case A_OR:
        return x | y;
      case A_XOR:
        return x ^ y;
      case A_CAS:
        return x == y ? z : x;
      case A_INC:
        return x >= y ? 0 : x + 1;
      case A_DEC:
        return x == 0 || x > y ? y : x - 1;
      default:
        return y;
    }
  } else if constexpr (std::is_same_v<T, Half2> || std::is_same_v<T, Bfloat2>) {
    constexpr bool h = std::is_same_v<T, Half2>;
    auto value = [](u32 v) { return h ? f16_value(v & 0xffff) : bf16_value(v & 0xffff); };
    auto lane = [&](int k) {
      float p = value(x.v >> k), q = value(y.v >> k);
      float r = op == A_ADD ? p + q : op == A_MIN ? std::fmin(p, q) : std::fmax(p, q);
      return h ? f16_round(r) : bf16_round(r);
    };
    return {lane(0) | lane(16) << 16};
  } else if constexpr (std::is_same_v<T, Half> || std::is_same_v<T, Bfloat>) {
    constexpr bool h = std::is_same_v<T, Half>;
    float p = h ? f16_value(x.v) : bf16_value(x.v), q = h ? f16_value(y.v) : bf16_value(y.v);
    float r = op == A_ADD ? p + q : op == A_MIN ? std::fmin(p, q) : std::fmax(p, q);
    return {(u16)(h ? f16_round(r) : bf16_round(r))};
  } else {
    return op == A_ADD ? x + y : op == A_MIN ? std::fmin(x, y) : op == A_MAX ? std::fmax(x, y) : y;
  }
}

template <class T>
static void op_atomic(Warp &w, const Ins &i) {
  using B = typename Bits<T>::type;
  using R = std::conditional_t<sizeof(T) == 8, u64, u32>;  // a lane of the register
  u64 a[32];
  addresses(w, i, a);
  if (i.flags & SIGNED)  // here: .acq_rel or .release, a fence of its own
    fence(w, true);
  if (g_checks)
    SIM_LANES(w.m, l) {
      acquire(w, i.space, a[l]);
      release(w, i.space, a[l]);
    }
  access(w, i, i.space, a, w.m, sizeof(T) * i.nb, ATOMIC);
  w.wk->n.atomics += __builtin_popcount(w.m);
  for (int k = 0; k < i.nb; k++) {
    u32 from = i.nb == 1 ? i.b : i.x[i.nd + k], to = i.nb == 1 || !i.nd ? i.d : i.x[k];
    SIM_LANES(w.m, l) {
      B *p = (B *)(a[l] + k * sizeof(T)), old, now, raw = (B)reg<R>(w, from)[l], raw2 = 0;
      if (i.c != NONE)
        raw2 = (B)reg<R>(w, i.c)[l];
      T x, y, z, r;
      memcpy(&y, &raw, sizeof y);
      memcpy(&z, &raw2, sizeof z);
      old = __atomic_load_n(p, __ATOMIC_RELAXED);
      do {
        memcpy(&x, &old, sizeof x);
        r = combine<T>(i.aux, x, y, z);
        memcpy(&now, &r, sizeof r);
      } while (!__atomic_compare_exchange_n(p, &old, now, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
      if (to != NONE)
        reg<R>(w, to)[l] = old;
    }
  }
}

// ---- cp.async ----
static void op_cp(Warp &w, const Ins &i) {
  u64 to[32], from[32] = {};
  u32 n[32], full = 0;
  addresses(w, i, to);
  SIM_LANES(w.m, l) {
    from[l] = reg<u64>(w, i.b)[l] + (s64)i.target;
    n[l] = i.c == NONE ? i.size : std::min<u32>(reg<u32>(w, i.c)[l], i.size);
    full |= (u32)(n[l] == i.size) << l;
  }
  u32 offset[32];
  SIM_LANES(w.m, l) offset[l] = to[l];
  u64 source[32];
  memcpy(source, from, sizeof source);
  if (full)
    access(w, i, GLOBAL, source, full, i.size, READ);
  u32 some = w.m & ~full;
  SIM_LANES(some, l) for (u32 done = 0; done < n[l];) {  // a short copy is looked at in pieces
    u32 piece = 16;
    while (piece > n[l] - done || ((from[l] + done) & (piece - 1)))
      piece /= 2;
    u64 one[32];
    one[l] = from[l] + done;
    access(w, i, GLOBAL, one, 1u << l, piece, READ);
    if (!done)
      source[l] = one[l];
    done += piece;
  }
  access(w, i, SHARED, to, w.m, i.size, WRITE);
  SIM_LANES(w.m, l) {
    Copy c{(u8 *)to[l], source[l], offset[l], (u8)n[l], i.size};
    if (!g_checks && c.n == 16) {
      memcpy(c.to, (void *)c.from, 16);
    } else if (!g_checks) {
      memcpy(c.to, (void *)c.from, c.n);
      memset(c.to + c.n, 0, c.size - c.n);
    } else if (c.to != w.wk->sink) {
      cp_begun(w, c.shared, c.size);
      w.copies[l].push_back(c);
      w.copying |= 1u << l;
    }
  }
}

static void op_cp_commit(Warp &w, const Ins &) {
  if (!g_checks)
    return;
  SIM_LANES(w.m, l) {
    u32 earlier = 0;
    for (u32 c : w.groups[l])
      earlier += c;
    w.groups[l].push_back(w.copies[l].size() - earlier);
  }
  w.copying |= w.m;
}

static void op_cp_wait(Warp &w, const Ins &i) {  // disp: groups that may stay, -1: all copies are waited for
  SIM_LANES(w.m & w.copying, l) {
    auto &g = w.groups[l];
    size_t n = 0, whole = i.disp < 0 ? g.size() : g.size() - std::min<size_t>(g.size(), i.disp);
    for (size_t k = 0; k < whole; k++)
      n += g[k];
    g.erase(g.begin(), g.begin() + whole);
    auto &c = w.copies[l];
    if (i.disp < 0)
      n = c.size();
    for (size_t k = 0; k < n; k++) {
      if (c[k].n)
        memcpy(c[k].to, (void *)c[k].from, c[k].n);
      memset(c[k].to + c[k].n, 0, c[k].size - c[k].n);
      cp_done(w, l, c[k].shared, c[k].size);
    }
    c.erase(c.begin(), c.begin() + n);
    if (c.empty() && g.empty())
      w.copying &= ~(1u << l);
  }
}

static void op_isspace(Warp &w, const Ins &i) {
  u32 r = 0;
  for (int l = 0; l < 32; l++) {
    u64 a = reg<u64>(w, i.a)[l];
    Space s = a - SHARED_WINDOW < WINDOW_BYTES ? SHARED : a - LOCAL_WINDOW < WINDOW_BYTES ? LOCAL : GLOBAL;
    r |= (u32)(s == i.space) << l;
  }
  set_pred(w, i.d, r);
}

static void op_cvta(Warp &w, const Ins &i) {
  SIM_LANES(w.m, l) {
    u64 a = i.aux ? reg<u64>(w, i.a)[l] : reg<u32>(w, i.a)[l];
    reg<u64>(w, i.d)[l] = a + (u64)i.disp;
  }
}

static Fn load_fn(Type t, bool wide, bool param) {
#define PICK(S, D) (param ? op_load_param<S, D> : op_load<S, D>)
  switch (t) {
    case S8:
      return wide ? PICK(s8, s64) : PICK(s8, s32);
    case U8:
      return wide ? PICK(u8, u64) : PICK(u8, u32);
    case S16:
      return wide ? PICK(s16, s64) : PICK(s16, s32);
    case U16:
    case F16:
    case BF16:
      return wide ? PICK(u16, u64) : PICK(u16, u32);
    case S32:
      return wide ? PICK(s32, s64) : PICK(s32, s32);
    case U32:
    case F32:
    case F16X2:
    case BF16X2:
      return wide ? PICK(u32, u64) : PICK(u32, u32);
    case S64:
    case U64:
    case F64:
      return PICK(u64, u64);
    default:
      return nullptr;
  }
#undef PICK
}

static Fn store_fn(Type t, bool wide) {
  switch (type_size(t)) {
    case 1:
      return wide ? op_store<u8, u64> : op_store<u8, u32>;
    case 2:
      return wide ? op_store<u16, u64> : op_store<u16, u32>;
    case 4:
      return wide ? op_store<u32, u64> : op_store<u32, u32>;
    case 8:
      return op_store<u64, u64>;
    default:
      return nullptr;
  }
}

static Fn atomic_fn(Type t, u32 op) {
  switch (t) {
    case S32:
      return op_atomic<s32>;
    case U32:
      return op_atomic<u32>;
    case S64:
      return op_atomic<s64>;
    case U64:
      return op_atomic<u64>;
    case U16:
      return op == A_CAS || op == A_EXCH ? op_atomic<u16> : nullptr;
    case F32:
      return op_atomic<float>;
    case F64:
      return op_atomic<double>;
    case F16:
      return op_atomic<Half>;
    case BF16:
      return op_atomic<Bfloat>;
    case F16X2:
      return op_atomic<Half2>;
    case BF16X2:
      return op_atomic<Bfloat2>;
    default:
      return nullptr;
  }
}

// The place of a variable in local memory ("param0+4"), as declared for calls.
static bool local_place(Decoder &d, std::string_view s, Ins &i) {
  s = s.substr(1, s.size() - 2);
  std::string_view name = s.substr(0, s.find('+'));
  u64 v;
  int bytes;
  return !d.is_register(name, &bytes) && d.symbol(name, &v) && ((void)i, true);
}

bool decode_memory(Decoder &d, const Statement &s, Ins &i) {
  std::string_view n = s.op[0];
  auto &o = s.args;
  Type t = type_of(s.op.back());
  int bytes = t == NO_TYPE ? 4 : std::max(type_size(t), 4);
  bool strong = s.has("volatile") || s.has("relaxed") || s.has("acquire") || s.has("release") || s.has("mmio");
  auto values = [&](std::string_view x, u8 &count) {  // data registers; 8 bytes wide?
    auto all = d.operands(x, bytes);
    count = all.size();
    int w = 4;
    d.is_register(x[0] == '{' ? split(x.substr(1, x.size() - 2))[0] : x, &w);
    if (count > 1)
      d.list(i, all);
    return std::make_pair(all[0], w == 8);
  };
  if (n == "ld" || n == "ldu") {
    i.space = space_of(s);
    auto [first, wide] = values(o[0], i.nd);
    if (i.nd == 1)
      i.d = first;
    bool param = false;
    if (i.space == PARAM) {
      std::string_view a = o[1].substr(1, o[1].size() - 2);
      std::string_view name = a.substr(0, a.find('+'));
      u32 at;
      if (d.parameter(name, &at)) {
        i.disp =
            at + (a.size() > name.size() ? strtoll(std::string(a.substr(name.size() + 1)).c_str(), nullptr, 0) : 0);
        param = true;
      } else if (local_place(d, o[1], i)) {
        i.space = LOCAL;
      }
    }
    if (!param) {
      d.address(o[1], i);
      if (strong && i.space != LOCAL)
        i.flags |= STRONG;
    }
    i.fn = load_fn(t, wide || bytes == 8, param);
  } else if (n == "st") {
    i.space = space_of(s);
    if (i.space == PARAM && local_place(d, o[0], i))
      i.space = LOCAL;
    d.address(o[0], i);
    auto [first, wide] = values(o[1], i.nb);
    if (i.nb == 1)
      i.b = first;
    int w;
    if (o[1][0] != '{' && !d.is_register(o[1], &w))
      wide = bytes == 8;
    if (strong && i.space != LOCAL)
      i.flags |= STRONG | (s.has("release") ? SIGNED : 0);
    if (s.has("async"))
      return false;
    i.fn = store_fn(t, wide || bytes == 8);
  } else if (n == "atom" || n == "red") {
    if (s.has("async"))
      return false;
    size_t k = 0;
    i.space = space_of(s);
    if (t == NO_TYPE)  // "red.global.add.noftz.f16x2" ends with the type; "red.global.v4.f32.add" does not
      t = type_of(s.op[s.op.size() - 2]);
    bytes = t == NO_TYPE ? 4 : std::max(type_size(t), 4);
    std::vector<u32> to, from;
    if (n == "atom")
      to = d.operands(o[k++], bytes);
    d.address(o[k++], i);
    from = d.operands(o[k++], bytes);
    if (from.size() > 1) {
      i.nd = to.size();
      auto all = to;
      all.insert(all.end(), from.begin(), from.end());
      d.list(i, all);
    } else {
      i.b = from[0];
      i.d = to.empty() ? NONE : to[0];
    }
    i.nb = from.size();
    static const std::map<std::string_view, u32> ops = {
        {"add", A_ADD}, {"min", A_MIN},   {"max", A_MAX}, {"and", A_AND}, {"or", A_OR},
        {"xor", A_XOR}, {"exch", A_EXCH}, {"cas", A_CAS}, {"inc", A_INC}, {"dec", A_DEC}};
    bool known = false;
    for (auto part : s.op)
      if (auto x = ops.find(part); x != ops.end()) {
        i.aux = x->second;
        known = true;
      }
    if (i.aux == A_CAS)
      i.c = d.operand(o[k], bytes);
    if (s.has("acq_rel") || s.has("release"))
      i.flags |= SIGNED;
    i.fn = known ? atomic_fn(t, i.aux) : nullptr;
  } else if (n == "cp" && s.op[1] == "async" && s.op.size() > 2 && s.op[2] != "bulk" && s.op[2] != "mbarrier") {
    if (s.has("commit_group")) {
      i.fn = op_cp_commit;
    } else if (s.has("wait_group")) {
      i.disp = strtoll(std::string(o[0]).c_str(), nullptr, 0);
      i.fn = op_cp_wait;
    } else if (s.has("wait_all")) {
      i.disp = -1;
      i.fn = op_cp_wait;
    } else {
      Ins from{};
      d.address(o[1], from);
      i.b = from.a;
      i.target = from.disp;
      d.address(o[0], i);
      s64 size = 0;
      d.immediate(o[2], &size);
      i.size = size;
      if (o.size() > 3 + (s.text.find("cache_hint") != std::string::npos))
        i.c = d.operand(o[3], 4);
      i.fn = op_cp;
    }
  } else if (n == "cvta") {
    bool to = s.has("to");
    s64 window = s.has("shared")  ? (s64)SHARED_WINDOW
                 : s.has("local") ? (s64)LOCAL_WINDOW
                 : s.has("param") ? (s64)PARAM_WINDOW
                                  : 0;
    i.d = d.operand(o[0], 8);
    i.aux = 1;
    i.a = d.operand(o[1], 8);
    int w = 8;
    if (d.is_register(o[1], &w))
      i.aux = w == 8;
    i.disp = to ? -window : window;
    i.fn = op_cvta;
  } else if (n == "isspacep") {
    i.d = d.operand(o[0], 4);
    i.a = d.operand(o[1], 8);
    i.space = space_of(s);
    i.fn = op_isspace;
  } else {
    return false;
  }
  return true;
}

}  // namespace sim
