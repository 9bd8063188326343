// Control flow, barriers and what the lanes of a warp do together. Rule: a collective runs when all live lanes of its
// mask stand at it; until then its lanes wait as an entry of their own.
#include <cstdio>

#include "tests/sim/interp.h"

namespace sim {

bool gate(Warp &w, const Ins &i, u32 mask) {
  if (mask & w.live & ~w.m) {
    Entry &e = w.e[w.n - 1];
    if (e.m == w.m) {
      e.pc = w.pc;
      e.state = GATE;
    } else {  // lanes that the guard excludes go on
      e = {w.pc + 1, e.m & ~w.m, RUN, 0};
      w.e[w.n++] = {w.pc, w.m, GATE, 0};
    }
    w.stop = true;
    return false;
  }
  if (g_checks && (w.m & ~mask))
    report(*w.wk, IG_SIM_SYNC, &i, "%s: lanes %08x execute this but are not in its mask %08x",
           where(*w.b->f, w.pc).c_str(), w.m & ~mask, mask);
  return true;
}

static u32 first_lane(Warp &w, u32 offset) { return reg<u32>(w, offset)[__builtin_ctz(w.m)]; }

static void op_branch(Warp &w, const Ins &i) {
  Entry &e = w.e[w.n - 1];
  w.stop = true;
  u32 taken = w.m, rest = e.m & ~w.m;
  if (!rest) {
    e.pc = i.target;
    return;
  }
  e.pc = w.pc + 1;
  e.m = rest;
  if (taken)
    w.e[w.n++] = {i.target, taken, RUN, 0};
}

static void op_exit(Warp &w, const Ins &i) {
  Entry &e = w.e[w.n - 1];
  w.live &= ~w.m;
  w.b->live -= __builtin_popcount(w.m);
  if (u32 open = w.copying & w.m) {
    SIM_LANES(open, l) if (!w.copies[l].empty()) {
      if (g_checks)
        report(*w.wk, IG_SIM_SYNC, &i, "%s: exit with unfinished cp.async", where(*w.b->f, w.pc).c_str());
      break;
    }
  }
  e.m &= ~w.m;
  e.pc = w.pc + 1;
  if (!e.m)
    w.n--;
  for (int k = 0; k < w.n; k++)  // who waited for these lanes looks again
    if (w.e[k].state == GATE)
      w.e[k].state = RUN;
  w.stop = true;
}

// bar.sync a{, b}; bar.arrive a, b; bar.red.op d, a{, b}, p: aux 0 sync, 1 arrive, 2 and, 3 or, 4 popc.
static void op_barrier(Warp &w, const Ins &i) {
  u32 id = first_lane(w, i.a) & 15;
  Barrier &b = w.b->bar[id];
  u32 n = i.b == NONE ? 0 : first_lane(w, i.b);
  w.wk->n.barriers++;
  if (b.arrived && b.pc >= 0 && b.pc != w.pc && i.aux != 1) {
    const Source &x = w.b->f->source[b.pc], &y = w.b->f->source[w.pc];
    if (g_checks && (x.line != y.line || x.file != y.file) && !n)
      report(*w.wk, IG_SIM_DIVERGE, &i, "%s: divergent barrier: other threads of block %u wait at %s:%d",
             where(*w.b->f, w.pc).c_str(), w.b->linear, x.file, x.line);
  }
  if (g_checks && (w.live & ~w.m) && !n) {  // part of a warp at a barrier of the block
    for (int k = 0; k < w.n - 1; k++)
      if (w.e[k].state == BARRIER && w.e[k].pc != w.pc + 1 && w.e[k].bar == id)
        report(*w.wk, IG_SIM_DIVERGE, &i, "%s: divergent barrier: other lanes of this warp wait at %s",
               where(*w.b->f, w.pc).c_str(), where(*w.b->f, w.e[k].pc - 1).c_str());
  }
  b.expected = n;
  b.arrived += __builtin_popcount(w.m);
  if (i.aux != 1)
    b.pc = w.pc;
  arrive(w, id);
  if (i.aux == 1)
    return;
  if (i.aux >= 2)
    b.n_true += __builtin_popcount((i.flags & B_NOT ? ~pred(w, i.c) : pred(w, i.c)) & w.m);
  Entry &e = w.e[w.n - 1];
  if (u32 rest = e.m & ~w.m) {
    e = {w.pc + 1, rest, RUN, 0};
    w.e[w.n++] = {w.pc + 1, w.m, BARRIER, (u8)id};
  } else {
    e = {w.pc + 1, w.m, BARRIER, (u8)id};
  }
  w.stop = true;
}

static void op_warp_sync(Warp &w, const Ins &i) {
  u32 mask = first_lane(w, i.a);
  if (gate(w, i, mask))
    warp_synced(w, w.m);
}

// shfl.sync.mode d[|p], a, b, c, mask: x = d, p, a, b, c, mask.
static void op_shuffle(Warp &w, const Ins &i) {
  if (!gate(w, i, first_lane(w, i.x[5])))
    return;
  u32 src[32], valid = 0;
  u32 *d = reg<u32>(w, i.d), *a = reg<u32>(w, i.a), *b = reg<u32>(w, i.b), *c = reg<u32>(w, i.c);
  memcpy(src, a, sizeof src);
  if (w.m == ~0u && i.aux == 2 && b[0] < 32 && !memcmp(b, b + 1, 31 * 4) && c[0] == 31 && !memcmp(c, c + 1, 31 * 4)) {
    for (int l = 0; l < 32; l++)  // the usual butterfly
      d[l] = src[l ^ b[0]];
    if (i.x[1] != NONE)
      pred(w, i.x[1]) = ~0u;
    return;
  }
  SIM_LANES(w.m, l) {
    s32 clamp = c[l] & 31, segment = c[l] >> 8 & 31, delta = b[l] & 31;
    s32 top = (l & segment) | (clamp & ~segment), bottom = l & segment, j;
    bool ok;
    switch (i.aux) {
      case 0:
        j = (s32)l - delta;
        ok = j >= top;
        break;
      case 1:
        j = l + delta;
        ok = j <= top;
        break;
      case 2:
        j = l ^ delta;
        ok = j <= top;
        break;
      default:
        j = bottom | (delta & ~segment);
        ok = j <= top;
    }
    if (!ok)
      j = l;
    valid |= (u32)ok << l;
    if (w.m >> j & 1) {
      d[l] = src[j];
    } else {
      if (g_checks)
        report(*w.wk, IG_SIM_SYNC, &i, "%s: shuffle: lane %u reads inactive lane %d", where(*w.b->f, w.pc).c_str(), l,
               j);
      d[l] = NONE;
    }
  }
  if (i.x[1] != NONE)
    set_pred(w, i.x[1], valid);
}

// vote.sync.mode d, {!}a, mask: aux 0 ballot, 1 any, 2 all, 3 uni.
static void op_vote(Warp &w, const Ins &i) {
  if (!gate(w, i, first_lane(w, i.b)))
    return;
  u32 p = pred(w, i.a);
  p = (i.flags & B_NOT ? ~p : p) & w.m;
  if (i.aux == 0)
    SIM_LANES(w.m, l) reg<u32>(w, i.d)[l] = p;
  else
    set_pred(w, i.d, (i.aux == 1 ? p != 0 : i.aux == 2 ? p == w.m : p == w.m || !p) ? ~0u : 0);
}

// match.any/all.sync d[|p], a, mask: aux 0 any, 1 all; size 4 or 8.
static void op_match(Warp &w, const Ins &i) {
  if (!gate(w, i, first_lane(w, i.b)))
    return;
  u64 v[32];
  SIM_LANES(w.m, l) v[l] = i.size == 8 ? reg<u64>(w, i.a)[l] : reg<u32>(w, i.a)[l];
  u32 same[32], all = w.m;
  for (u32 m = w.m; m; m &= m - 1) {
    int l = __builtin_ctz(m);
    same[l] = 0;
    SIM_LANES(w.m, j) same[l] |= (u32)(v[j] == v[l]) << j;
    all = same[l] == w.m ? all : 0;
  }
  SIM_LANES(w.m, l) reg<u32>(w, i.d)[l] = i.aux ? all : same[l];
  if (i.aux && i.x)
    set_pred(w, i.x[1], all ? ~0u : 0);
}

enum { R_ADD, R_MAX, R_MIN, R_OR, R_AND, R_XOR };
static void op_redux(Warp &w, const Ins &i) {
  if (!gate(w, i, first_lane(w, i.b)))
    return;
  u32 *a = reg<u32>(w, i.a), r = 0;
  bool first = true, is_signed = i.flags & SIGNED;
  SIM_LANES(w.m, l) {
    u32 v = a[l];
    bool less = is_signed ? (s32)v < (s32)r : v < r;
    r = first            ? v
        : i.aux == R_ADD ? r + v
        : i.aux == R_MAX ? (less ? r : v)
        : i.aux == R_MIN ? (less ? v : r)
        : i.aux == R_OR  ? r | v
        : i.aux == R_AND ? r & v
                         : r ^ v;
    first = false;
  }
  SIM_LANES(w.m, l) reg<u32>(w, i.d)[l] = r;
}

static void op_active(Warp &w, const Ins &i) { SIM_LANES(w.m, l) reg<u32>(w, i.d)[l] = w.m; }

static void op_elect(Warp &w, const Ins &i) {  // elect.sync d|p, mask
  u32 mask = first_lane(w, i.a);
  if (!gate(w, i, mask))
    return;
  u32 leader = __builtin_ctz(w.m);
  if (i.d != NONE)
    SIM_LANES(w.m, l) reg<u32>(w, i.d)[l] = leader;
  set_pred(w, i.x[1], 1u << leader);
}

static void op_fence(Warp &w, const Ins &i) { fence(w, i.aux); }
static void op_policy(Warp &w, const Ins &i) { SIM_LANES(w.m, l) reg<u64>(w, i.d)[l] = 0; }
static void op_nothing(Warp &, const Ins &) {}

static void op_yield(Warp &w, const Ins &) {  // nanosleep: others first
  w.yield = true;
  w.b->steps += 1000;
}

static void op_trap(Warp &w, const Ins &i) {
  report(*w.wk, IG_SIM_FAULT, &i, "%s: trap, %s", where(*w.b->f, w.pc).c_str(),
         thread_name(w, __builtin_ctz(w.m)).c_str());
  set_fault(*w.b->l, FAULT_TRAP);
  op_exit(w, i);
}

void unknown_instruction(Warp &w, const Ins &i) {
  report(*w.wk, IG_SIM_FAULT, &i, "%s: the simulator does not know `%s`", where(*w.b->f, w.pc).c_str(),
         w.b->f->source[w.pc].text);
  set_fault(*w.b->l, FAULT_UNKNOWN);
}

static const char *text_at(Warp &w, u64 address) {
  auto *b = heap_find(address);
  return b && !b->second.freed && address < b->first + b->second.bytes ? (const char *)address : "?";
}

static u64 param64(Warp &w, u32 lane, u64 place) {
  u64 v;
  memcpy(&v, w.local + (u64)w.b->f->local_bytes * lane + place, 8);
  return v;
}

// __assertfail(message, file, line, function, charsize): the five parameters lie where the caller put them.
static void op_assert(Warp &w, const Ins &i) {
  u32 l = __builtin_ctz(w.m);
  report(*w.wk, IG_SIM_FAULT, &i, "%s: assertion `%s` failed, %s", where(*w.b->f, w.pc).c_str(),
         text_at(w, param64(w, l, i.disp)), thread_name(w, l).c_str());
  set_fault(*w.b->l, FAULT_ASSERT);
  op_exit(w, i);
}

// vprintf(format, arguments): printed lane by lane.
static void op_printf(Warp &w, const Ins &i) {
  SIM_LANES(w.m, l) {
    std::string f = text_at(w, param64(w, l, i.disp)), out;
    u64 at = param64(w, l, i.aux);
    const char *args =
        at - LOCAL_WINDOW < WINDOW_BYTES ? w.local + (u64)w.b->f->local_bytes * l + (at - LOCAL_WINDOW) : nullptr;
    size_t o = 0;
    for (size_t p = 0; p < f.size(); p++) {
      if (f[p] != '%' || p + 1 == f.size() || !args) {
        out += f[p];
        continue;
      }
      if (f[p + 1] == '%') {
        out += f[++p];
        continue;
      }
      size_t q = p + 1;
      bool wide = false;
      while (q < f.size() && !strchr("diouxXeEfFgGaAcsp", f[q]))
        wide |= f[q] == 'l' || f[q] == 'z', q++;
      if (q >= f.size())
        break;
      std::string spec = f.substr(p, q - p + 1);
      char text[256];
      u64 v8;
      u32 v4;
      if (strchr("eEfFgGaA", f[q])) {
        o = (o + 7) & ~7ull;
        double x;
        memcpy(&x, args + o, 8);
        o += 8;
        snprintf(text, sizeof text, spec.c_str(), x);
      } else if (f[q] == 's') {
        o = (o + 7) & ~7ull;
        memcpy(&v8, args + o, 8);
        o += 8;
        snprintf(text, sizeof text, spec.c_str(), text_at(w, v8));
      } else if (wide || f[q] == 'p') {
        o = (o + 7) & ~7ull;
        memcpy(&v8, args + o, 8);
        o += 8;
        snprintf(text, sizeof text, spec.c_str(), v8);
      } else {
        memcpy(&v4, args + o, 4);
        o += 4;
        snprintf(text, sizeof text, spec.c_str(), v4);
      }
      out += text;
      p = q;
    }
    fputs(out.c_str(), stdout);
    if (i.target >= 0) {
      s32 n = 0;
      memcpy(w.local + (u64)w.b->f->local_bytes * l + i.target, &n, 4);
    }
  }
}

bool decode_warp(Decoder &d, const Statement &s, Ins &i) {
  std::string_view n = s.op[0];
  auto &o = s.args;
  auto pair = [&](std::string_view x, int bytes) {  // "d|p"
    size_t bar = x.find('|');
    i.d = d.operand(x.substr(0, bar), bytes);
    return bar == std::string_view::npos ? NONE : d.operand(x.substr(bar + 1), 4);
  };
  if (n == "bra") {
    i.fn = op_branch;
    i.flags |= BRANCH;
  } else if (n == "ret" || n == "exit") {
    i.fn = op_exit;
  } else if ((n == "bar" || n == "barrier") && s.has("warp")) {
    i.fn = op_warp_sync;
    i.a = d.operand(o[0], 4);
  } else if ((n == "bar" || n == "barrier") && !s.has("cluster")) {
    i.fn = op_barrier;
    i.aux = s.has("arrive") ? 1 : s.has("and") ? 2 : s.has("or") ? 3 : s.has("popc") ? 4 : 0;
    size_t k = 0;
    if (i.aux >= 2)
      i.d = d.operand(o[k++], 4);
    i.a = d.operand(o[k++], 4);
    size_t left = o.size() - k - (i.aux >= 2);
    if (left)
      i.b = d.operand(o[k++], 4);
    if (i.aux >= 2) {
      i.c = d.operand(o[k], 4);
      i.flags |= o[k][0] == '!' ? B_NOT : 0;
    }
  } else if (n == "barrier") {  // a cluster of one block
    i.fn = op_nothing;
  } else if (n == "shfl") {
    u32 p = pair(o[0], 4);
    i.a = d.operand(o[1], 4);
    i.b = d.operand(o[2], 4);
    i.c = d.operand(o[3], 4);
    i.nd = 2;
    i.na = 4;
    d.list(i, {i.d, p, i.a, i.b, i.c, d.operand(o[4], 4)});
    i.aux = s.has("up") ? 0 : s.has("down") ? 1 : s.has("bfly") ? 2 : 3;
    i.fn = op_shuffle;
  } else if (n == "vote") {
    i.d = d.operand(o[0], 4);
    i.a = d.operand(o[1], 4);
    i.b = d.operand(o[2], 4);
    i.flags |= o[1][0] == '!' ? B_NOT : 0;
    i.aux = s.has("ballot") ? 0 : s.has("any") ? 1 : s.has("all") ? 2 : 3;
    i.fn = op_vote;
  } else if (n == "match") {
    u32 p = pair(o[0], 4);
    i.size = type_size(type_of(s.op.back() == "aligned" ? s.op[s.op.size() - 2] : s.op.back()));
    i.a = d.operand(o[1], i.size);
    i.b = d.operand(o[2], 4);
    if (p != NONE) {
      i.nd = 2;
      d.list(i, {i.d, p});
    }
    i.aux = s.has("all");
    i.fn = op_match;
  } else if (n == "redux") {
    i.d = d.operand(o[0], 4);
    i.a = d.operand(o[1], 4);
    i.b = d.operand(o[2], 4);
    i.flags |= s.has("s32") ? SIGNED : 0;
    i.aux = s.has("add")   ? R_ADD
            : s.has("max") ? R_MAX
            : s.has("min") ? R_MIN
            : s.has("or")  ? R_OR
            : s.has("and") ? R_AND
                           : R_XOR;
    i.fn = s.has("f32") ? nullptr : op_redux;
  } else if (n == "activemask") {
    i.d = d.operand(o[0], 4);
    i.fn = op_active;
  } else if (n == "elect") {
    u32 p = pair(o[0], 4);
    i.a = d.operand(o[1], 4);
    i.nd = 2;
    d.list(i, {i.d, p});
    i.fn = op_elect;
  } else if (n == "membar" || (n == "fence" && !s.has("proxy") && !s.has("mbarrier_init"))) {
    i.fn = op_fence;
    i.aux = !s.has("cta");
  } else if (n == "fence" || n == "griddepcontrol" || n == "pragma" || n == "setmaxnreg" || n == "prefetch" ||
             n == "prefetchu" || n == "discard" || n == "applypriority") {
    i.fn = op_nothing;
  } else if (n == "createpolicy") {
    i.d = d.operand(o[0], 8);
    i.fn = op_policy;
  } else if (n == "nanosleep") {
    i.fn = op_yield;
  } else if (n == "trap" || n == "brkpt") {
    i.fn = op_trap;
  } else if (n == "call" && s.op[1] == "vprintf") {
    i.fn = op_printf;
  } else if (n == "call" && s.op[1] == "__assertfail") {
    i.fn = op_assert;
  } else {
    return false;
  }
  return true;
}

}  // namespace sim
