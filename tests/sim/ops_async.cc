// mbarrier objects, and the copies that complete at them (cp.async.bulk, cp.async.mbarrier.arrive). Rule: a bulk copy
// is under way from its issue until somebody waits for its barrier; who touches the bytes before races with it.
#include <algorithm>

#include "tests/sim/interp.h"

namespace sim {

// The 64 bits in shared memory: arrivals expected and still pending, bytes still to come, parity of the phase.
struct Object {
  u64 expected : 20, pending : 20;
  s64 bytes : 23;
  u64 phase : 1;
};
static_assert(sizeof(Object) == 8);

static Object load(u64 at) {
  Object o;
  memcpy(&o, (void *)at, 8);
  return o;
}

static void store(Block &b, u64 at, Object o) {
  if (!o.pending && !o.bytes) {  // the phase is complete
    o.phase ^= 1;
    o.pending = o.expected;
    if (g_checks) {
      auto &m = b.mbars[(u32)(at - (u64)b.shared)];
      m.done = m.now;
    }
  }
  memcpy((void *)at, &o, 8);
}

// The lane's object at [a + disp]; nullptr outside of shared memory. The object itself is no data: no marks.
static u64 object(Warp &w, const Ins &i, const u64 *a, u32 l) {
  u64 at = a[l] - (a[l] >= SHARED_WINDOW && a[l] - SHARED_WINDOW < WINDOW_BYTES ? SHARED_WINDOW : 0);
  if ((at & 7) || at + 8 > w.b->shared_bytes) {
    report(*w.wk, IG_SIM_BOUNDS, &i, "%s: mbarrier at shared offset %llu of %u, %s", where(*w.b->f, w.pc).c_str(),
           (unsigned long long)at, w.b->shared_bytes, thread_name(w, l).c_str());
    set_fault(*w.b->l, FAULT_ADDRESS);
    return 0;
  }
  return (u64)w.b->shared + at;
}

static MBarrier &marks(Warp &w, u64 at) { return w.b->mbars[(u32)(at - (u64)w.b->shared)]; }

static void op_init(Warp &w, const Ins &i) {
  u64 a[32];
  addresses(w, i, a);
  SIM_LANES(w.m, l) if (u64 at = object(w, i, a, l)) {
    u32 n = reg<u32>(w, i.b)[l];
    Object o{n, n, 0, 0};
    memcpy((void *)at, &o, 8);
    w.b->mbars[(u32)(at - (u64)w.b->shared)] = {};
    marks(w, at).live = true;
  }
}

static void op_invalidate(Warp &w, const Ins &i) {
  u64 a[32];
  addresses(w, i, a);
  SIM_LANES(w.m, l) if (u64 at = object(w, i, a, l)) marks(w, at).live = false;
}

static void begun(Warp &w, const Ins &i, u64 at, u32 l) {
  if (g_checks && !marks(w, at).live)
    report(*w.wk, IG_SIM_SYNC, &i, "%s: mbarrier used before mbarrier.init, %s", where(*w.b->f, w.pc).c_str(),
           thread_name(w, l).c_str());
}

static void arrive_at(Warp &w, u64 at, u32 n) {
  if (g_checks) {  // what this warp knows goes with the arrival
    auto &c = marks(w, at).now;
    c.resize(w.b->n_warps);
    u32 *k = w.b->knows(w.index);
    for (u32 v = 0; v < w.b->n_warps; v++)
      c[v] = std::max(c[v], k[v]);
    c[w.index] = w.clock++;
  }
  Object o = load(at);
  o.pending -= n;
  store(*w.b, at, o);
}

// mbarrier.arrive{.expect_tx} {state,} [a]{, count}: aux 1: b counts bytes, 2: only bytes, 3: bytes are complete.
static void op_arrive(Warp &w, const Ins &i) {
  u64 a[32];
  addresses(w, i, a);
  SIM_LANES(w.m, l) if (u64 at = object(w, i, a, l)) {
    begun(w, i, at, l);
    u32 n = i.b == NONE ? 1 : reg<u32>(w, i.b)[l];
    Object o = load(at);
    if (i.d != NONE)
      reg<u64>(w, i.d)[l] = o.phase;
    if (i.aux) {
      o.bytes += i.aux == 3 ? -(s64)n : (s64)n;
      if (i.aux == 3)
        store(*w.b, at, o);
      else
        memcpy((void *)at, &o, 8);
    }
    if (i.aux < 2)
      arrive_at(w, at, i.aux ? 1 : n);
  }
}

static void finish(Warp &w, u64 at) {  // bulk copies of this barrier arrive
  MBarrier &m = marks(w, at);
  auto copies = std::move(m.copies);
  m.copies.clear();
  for (auto &c : copies) {
    memcpy(c.to, (void *)c.from, c.bytes);
    for (u32 k = c.shared / 4; k < (c.shared + c.bytes) / 4; k++)
      w.b->cells[k] = SharedCell{{}, {}, {}, {}, 15, 0, 0, 0};
    Object o = load(at);
    o.bytes -= c.bytes;
    store(*w.b, at, o);
  }
}

// mbarrier.test_wait/try_wait{.parity} p, [a], b.
static void op_wait(Warp &w, const Ins &i) {
  u64 a[32];
  u32 r = 0;
  addresses(w, i, a);
  SIM_LANES(w.m, l) if (u64 at = object(w, i, a, l)) {
    begun(w, i, at, l);
    if (g_checks)
      finish(w, at);
    u32 asked = i.size == 8 ? (u32)reg<u64>(w, i.b)[l] & 1 : reg<u32>(w, i.b)[l] & 1;
    bool over = load(at).phase != asked;
    r |= (u32)over << l;
    if (over && g_checks) {
      auto &done = marks(w, at).done;
      u32 *k = w.b->knows(w.index);
      for (u32 v = 0; v < done.size(); v++)
        k[v] = std::max(k[v], done[v]);
    }
  }
  if (r && g_checks)
    warp_synced(w, r);
  set_pred(w, i.d, r);
  if (r != w.m) {  // who polls lets the others run
    w.yield = true;
    w.b->steps += 64;
  }
}

// cp.async.bulk.shared.global [a], [b], c, [x[0]]
static void op_bulk_in(Warp &w, const Ins &i) {
  u64 to[32], bars[32];
  addresses(w, i, to);
  Ins bar = i;
  bar.a = i.x[0];
  bar.disp = i.target;
  bar.flags = i.flags & SIGNED ? bar.flags | A_IS_64 : bar.flags & ~A_IS_64;
  addresses(w, bar, bars);
  SIM_LANES(w.m, l) {
    u64 from = reg<u64>(w, i.b)[l] + (u64)(s64)(s32)i.aux, at = object(w, i, bars, l);
    u32 n = reg<u32>(w, i.c)[l];
    if (!at)
      continue;
    begun(w, i, at, l);
    u64 start = to[l] - (to[l] >= SHARED_WINDOW ? SHARED_WINDOW : 0);
    if ((n | from | start) & 15) {
      report(*w.wk, IG_SIM_ALIGN, &i, "%s: bulk copy of %u bytes, not all of addresses and size multiples of 16, %s",
             where(*w.b->f, w.pc).c_str(), n, thread_name(w, l).c_str());
      set_fault(*w.b->l, FAULT_ALIGN);
      continue;
    }
    bool ok = true;
    for (u32 k = 0; k < n; k += 16) {
      u64 x[32], y[32];
      x[l] = from + k;
      y[l] = start + k;
      access(w, i, GLOBAL, x, 1u << l, 16, READ);
      access(w, i, SHARED, y, 1u << l, 16, WRITE);
      ok &= x[l] != (u64)w.wk->sink && y[l] != (u64)w.wk->sink;
    }
    if (!ok)
      continue;
    u8 *target = w.b->shared + start;
    if (g_checks) {
      cp_begun(w, start, n);
      marks(w, at).copies.push_back({target, from, (u32)start, n});
    } else {
      memcpy(target, (void *)from, n);
      Object o = load(at);
      o.bytes -= n;
      store(*w.b, at, o);
    }
  }
}

// cp.async.bulk.global.shared [a], [b], c: done at once; groups have nothing to wait for.
static void op_bulk_out(Warp &w, const Ins &i) {
  u64 to[32];
  addresses(w, i, to);
  SIM_LANES(w.m, l) {
    u64 from = (i.flags & SIGNED ? reg<u64>(w, i.b)[l] : reg<u32>(w, i.b)[l]) + (u64)(s64)(s32)i.aux;
    u32 n = reg<u32>(w, i.c)[l];
    from -= from >= SHARED_WINDOW ? SHARED_WINDOW : 0;
    for (u32 k = 0; k < n; k += 16) {
      u64 x[32], y[32];
      x[l] = to[l] + k;
      y[l] = from + k;
      access(w, i, SHARED, y, 1u << l, 16, READ);
      access(w, i, GLOBAL, x, 1u << l, 16, WRITE);
      memcpy((void *)x[l], (void *)y[l], 16);
    }
  }
}

static void op_nothing(Warp &, const Ins &) {}

bool decode_async(Decoder &d, const Statement &s, Ins &i) {
  std::string_view n = s.op[0];
  auto &o = s.args;
  if (n == "mbarrier") {
    std::string_view what = s.op[1];
    if (what == "init") {
      d.address(o[0], i);
      i.b = d.operand(o[1], 4);
      i.fn = op_init;
    } else if (what == "inval") {
      d.address(o[0], i);
      i.fn = op_invalidate;
    } else if (what == "arrive" || what == "expect_tx" || what == "complete_tx") {
      size_t k = 0;
      if (o[0][0] != '[')
        i.d = d.operand(o[k++], 8);
      d.address(o[k++], i);
      if (k < o.size())
        i.b = d.operand(o[k], 4);
      i.aux = what == "expect_tx" ? 2 : what == "complete_tx" ? 3 : s.has("expect_tx") ? 1 : 0;
      i.fn = s.has("noComplete") ? nullptr : op_arrive;
    } else if (what == "test_wait" || what == "try_wait") {
      i.d = d.operand(o[0], 4);
      d.address(o[1], i);
      i.size = s.has("parity") ? 4 : 8;
      i.b = d.operand(o[2], i.size);
      i.fn = op_wait;
    } else {
      return false;
    }
    return true;
  }
  if (n != "cp" || s.op.size() < 3 || s.op[1] != "async" || s.op[2] != "bulk")
    return false;
  if (s.has("commit_group") || s.has("wait_group") || s.has("prefetch")) {
    i.fn = op_nothing;
    return true;
  }
  if (s.has("tensor") || s.has("reduce"))
    return false;
  Ins from{};
  d.address(o[1], from);
  d.address(o[0], i);
  i.b = from.a;
  i.aux = (u32)from.disp;
  i.c = d.operand(o[2], 4);
  if (s.op[3] == "global") {
    i.flags |= from.flags & A_IS_64 ? SIGNED : 0;
    i.fn = op_bulk_out;
  } else if (o.size() > 3) {
    Ins bar{};
    d.address(o[3], bar);
    i.na = 1;
    d.list(i, {bar.a});
    i.target = bar.disp;
    i.flags |= bar.flags & A_IS_64 ? SIGNED : 0;
    i.fn = op_bulk_in;
  }
  return true;
}

}  // namespace sim
