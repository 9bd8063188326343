// Runs a launch: blocks on two threads, the warps of a block in turn, a warp's lanes from the lowest place in the
// program on, so that they meet again where the branches do. Rule: a block that takes long makes room for others
// (they may be what it waits for); one that never ends is reported.
#include <algorithm>
#include <cstdio>
#include <deque>
#include <thread>

#include "tests/sim/interp.h"

namespace sim {

bool g_checks = false;
int g_threads = 2;
u64 g_limit = DEFAULT_LIMIT;
constexpr u64 WARP_SLICE = 200'000, BLOCK_SLICE = 4'000'000, SPIN = 50'000;

void set_fault(Launch &l, Fault f) {
  std::lock_guard<std::mutex> hold(l.lock);
  if (!l.fault)
    l.fault = f;
}

// The entry to run next goes last: the lowest place, now and then the highest (a lane may wait for another's store).
// Lanes at one place become one entry. Returns where the next entry stands, -1 without a runnable one.
static s32 pick(Warp &w, bool highest) {
  for (int k = 0; k < w.n; k++)
    for (int j = w.n - 1; j > k; j--)
      if (w.e[j].pc == w.e[k].pc && w.e[j].state != BARRIER && w.e[k].state != BARRIER) {
        w.e[k].m |= w.e[j].m;
        w.e[k].state = RUN;
        w.e[j] = w.e[--w.n];
      }
  int best = -1;
  for (int k = 0; k < w.n; k++)
    if (w.e[k].state == RUN && (best < 0 || (w.e[k].pc < w.e[best].pc) != highest))
      best = k;
  if (best < 0)
    return -1;
  std::swap(w.e[best], w.e[w.n - 1]);
  s32 stop = INT32_MAX;
  for (int k = 0; k < w.n - 1; k++)
    if (w.e[k].state != BARRIER && w.e[k].pc > w.e[w.n - 1].pc)
      stop = std::min(stop, w.e[k].pc);
  return stop;
}

// Until nothing in the warp can run or its turn is over.
static void run_warp(Warp &w) {
  const Ins *code = w.b->f->code.data();
  u64 count = 0, alone = 0;
  w.yield = false;
  while (count < WARP_SLICE && !w.yield) {
    bool highest = w.n > 1 && alone > SPIN;
    if (highest)
      alone = 0;
    s32 stop = w.n == 1 && w.e[0].state == RUN ? INT32_MAX : pick(w, highest);
    if (stop < 0)
      break;
    Entry *e = &w.e[w.n - 1];
    s32 pc = e->pc;
    u32 full = e->m;
    u64 before = count;
    w.stop = false;
    while (pc != stop) {
      const Ins &i = code[pc];
      u32 m = full;
      if (i.guard != NONE) {
        u32 p = pred(w, i.guard);
        m &= i.flags & GUARD_NOT ? ~p : p;
      }
      count++;
      if (m) {
        if ((i.flags & BRANCH) && m == full && w.n == 1) {
          pc = i.target;
          e->pc = pc;
          if (count >= WARP_SLICE)
            break;
          continue;
        }
        w.m = m;
        w.pc = pc;
        i.fn(w, i);
        if (w.stop)
          break;
        if (w.yield) {
          pc++;
          break;
        }
      }
      pc++;
    }
    if (!w.stop)
      e->pc = pc;
    alone += count - before;
  }
  w.count += count;
  w.b->steps += count;
}

void arrive(Warp &w, u32 barrier) {
  if (!g_checks)
    return;
  Block &b = *w.b;
  auto &c = b.bar[barrier].clocks;
  c.resize(b.n_warps);
  u32 *k = b.knows(w.index);
  for (u32 v = 0; v < b.n_warps; v++)
    c[v] = std::max(c[v], k[v]);
  c[w.index] = w.clock++;
}

static bool release(Block &b, u32 id) {
  Barrier &r = b.bar[id];
  if (!r.arrived || r.arrived < (r.expected ? r.expected : b.live))
    return false;
  bool any = false;
  for (Warp &w : b.warps) {
    u32 lanes = 0;
    for (int k = 0; k < w.n; k++) {
      Entry &e = w.e[k];
      if (e.state != BARRIER || e.bar != id)
        continue;
      const Ins &i = b.f->code[e.pc - 1];
      if (i.aux == 4)
        SIM_LANES(e.m, l) reg<u32>(w, i.d)[l] = r.n_true;
      else if (i.aux >= 2)
        pred(w, i.d) = (pred(w, i.d) & ~e.m) | ((i.aux == 2 ? r.n_true == r.arrived : r.n_true != 0) ? e.m : 0);
      e.state = RUN;
      lanes |= e.m;
      any = true;
    }
    if (lanes && g_checks) {
      u32 *k = b.knows(w.index);
      for (u32 v = 0; v < b.n_warps; v++)
        k[v] = std::max(k[v], r.clocks[v]);
      warp_synced(w, lanes);
    }
  }
  r.arrived = r.n_true = 0;
  r.pc = -1;
  r.clocks.clear();
  return any || r.expected;
}

static void prepare(Block &b, Launch &l, Worker &wk) {
  const Function &f = *l.f;
  u32 threads = l.block.count(), n = (threads + 31) / 32, shared = f.static_shared + l.dynamic;
  b.wk = &wk;
  b.l = &l;
  b.f = &f;
  b.threads = threads;
  b.n_warps = n;
  b.shared_bytes = shared;
  b.shared_store.resize(shared + 1088);
  b.shared = (u8 *)(((u64)b.shared_store.data() + 1023) & ~1023ull);
  b.rf_store.resize((size_t)n * f.file_bytes + 64);
  b.local_store.resize((size_t)threads * f.local_bytes + (size_t)(n * 32 - threads) * f.local_bytes + 16);
  b.warps.resize(n);
  b.known.assign((size_t)n * n, 0);
  char *rf = (char *)(((u64)b.rf_store.data() + 63) & ~63ull), *local = b.local_store.data();
  local = (char *)(((u64)local + 15) & ~15ull);
  for (u32 k = 0; k < n; k++) {
    Warp &w = b.warps[k];
    w.rf = rf + (size_t)k * f.file_bytes;
    w.local = local + (size_t)k * 32 * f.local_bytes;
    w.b = &b;
    w.wk = &wk;
    w.index = k;
    memcpy(w.rf, f.constants.data(), f.constants.size());
    const u32 dims[] = {l.block.x, l.block.y, l.block.z, l.grid.x, l.grid.y, l.grid.z};
    for (u32 lane = 0; lane < 32; lane++) {
      u32 t = k * 32 + lane;
      auto set = [&](u32 at, u32 v) { reg<u32>(w, at)[lane] = v; };
      set(f.sp.tid[0], t % l.block.x);
      set(f.sp.tid[1], t / l.block.x % l.block.y);
      set(f.sp.tid[2], t / (l.block.x * l.block.y));
      for (int q = 0; q < 3; q++) {
        set(f.sp.ntid[q], dims[q]);
        set(f.sp.nctaid[q], dims[3 + q]);
      }
      set(f.sp.laneid, lane);
      set(f.sp.warpid, k);
      set(f.sp.nwarpid, n);
      const u32 below = (1u << lane) - 1, self = 1u << lane;
      const u32 masks[] = {self, below | self, below, ~below, ~(below | self)};
      for (int q = 0; q < 5; q++)
        set(f.sp.lanemask[q], masks[q]);
    }
  }
}

static void begin(Block &b, u64 linear) {
  Launch &l = *b.l;
  b.linear = linear;
  b.id = {(u32)(linear % l.grid.x), (u32)(linear / l.grid.x % l.grid.y), (u32)(linear / ((u64)l.grid.x * l.grid.y))};
  b.live = b.threads;
  b.steps = b.count = 0;
  b.segment = b.fenced = 0;
  b.acquired.clear();
  b.mbars.clear();
  b.flags.clear();
  for (Barrier &r : b.bar)
    r = {};
  memset(b.shared, 0xff, b.shared_bytes);
  if (g_checks) {
    b.cells.assign((b.shared_bytes + 3) / 4 + 4, SharedCell{});
    std::fill(b.known.begin(), b.known.end(), 0);
  }
  const u32 id[] = {b.id.x, b.id.y, b.id.z};
  for (Warp &w : b.warps) {
    u32 n = std::min(32u, b.threads - w.index * 32);
    w.live = n == 32 ? ~0u : (1u << n) - 1;
    w.n = 1;
    w.e[0] = {0, w.live, RUN, 0};
    w.clock = 1;
    w.all = w.fenced = 0;
    w.partial = false;
    w.copying = 0;
    w.count = 0;
    for (int q = 0; q < 3; q++)
      for (int lane = 0; lane < 32; lane++)
        reg<u32>(w, b.f->sp.ctaid[q])[lane] = id[q];
    for (int lane = 0; lane < 32; lane++) {
      w.copies[lane].clear();
      w.groups[lane].clear();
    }
  }
}

static void report_hang(Block &b, const char *what) {
  std::map<std::string, u32> at;
  for (Warp &w : b.warps)
    for (int k = 0; k < w.n; k++)
      at[where(*b.f, w.e[k].pc - (w.e[k].state == BARRIER))] += __builtin_popcount(w.e[k].m);
  std::string s;
  int shown = 0;
  for (auto &x : at)
    if (shown++ < 6)
      s += (s.empty() ? "" : "; ") + std::to_string(x.second) + " thread(s) at " + x.first;
  report(*b.wk, IG_SIM_HANG, b.f, "%s in %s, block %u: %s", what, b.f->pretty.c_str(), b.linear, s.c_str());
  set_fault(*b.l, FAULT_HANG);
}

// True: ended (or given up); false: its turn is over.
static bool run_block(Block &b) {
  u64 until = b.steps + BLOCK_SLICE;
  for (;;) {
    bool ran = false;
    for (Warp &w : b.warps) {
      bool can = false;
      for (int k = 0; k < w.n; k++)
        can |= w.e[k].state == RUN;
      if (can) {
        run_warp(w);
        ran = true;
      }
    }
    if (!b.live)
      return true;
    bool opened = false;
    for (u32 id = 0; id < 16; id++)
      opened |= release(b, id);
    if (!ran && !opened) {
      report_hang(b, "deadlock");
      return true;
    }
    if (b.steps > g_limit) {
      report_hang(b, "no end within the instruction limit");
      return true;
    }
    if (b.steps > until)
      return false;
  }
}

static void finish(Block &b, Worker &wk) {
  for (Warp &w : b.warps)
    wk.n.instructions += w.count;
  wk.n.blocks++;
}

static std::unique_ptr<Block> take(Worker &wk, Launch &l) {
  std::unique_ptr<Block> b;
  if (wk.pool.empty()) {
    b.reset(new Block());
  } else {
    b = std::move(wk.pool.back());
    wk.pool.pop_back();
  }
  prepare(*b, l, wk);
  return b;
}

// Blocks [from, to). Those whose turn ended before they did wait in line behind new ones; `first` lets block 0 stay.
static void run_blocks(Worker &wk, Launch &l, u64 from, u64 to, std::deque<std::unique_ptr<Block>> &waiting,
                       bool first = false) {
  std::unique_ptr<Block> b;
  constexpr size_t resident = 1024;
  u64 next = from;
  while ((next < to || !waiting.empty()) && l.fault <= FAULT_ALIGN) {
    if (next < to && waiting.size() < resident) {
      if (!b)
        b = take(wk, l);
      begin(*b, next++);
    } else {
      if (b)
        wk.pool.push_back(std::move(b));
      b = std::move(waiting.front());
      waiting.pop_front();
    }
    if (run_block(*b))
      finish(*b, wk);
    else
      waiting.push_back(std::move(b));
    if (first)
      break;
  }
  if (b && wk.pool.size() < 4)
    wk.pool.push_back(std::move(b));
}

ig_sim_counts run_launch(Launch &l) {
  static Worker *const workers = new Worker[2];
  static u32 stamp;
  l.stamp = ++stamp;
  check_begin();
  u64 n = l.grid.count();
  for (int k = 0; k < 2; k++) {
    Worker &wk = workers[k];
    wk.index = k;
    wk.l = &l;
    wk.n = {};
    wk.lo = wk.allow_lo[0] = wk.allow_lo[1] = 1;
    wk.hi = wk.allow_hi[0] = wk.allow_hi[1] = 0;
    wk.shared_lo = 1;
    wk.shared_hi = 0;
    wk.seen.clear();
  }
  std::deque<std::unique_ptr<Block>> waiting[2];
  run_blocks(workers[0], l, 0, 1, waiting[0], true);
  // A second thread is worth its start from some milliseconds of work on.
  bool two = g_threads > 1 && !g_checks && n > 2 && workers[0].n.instructions * (n - 1) > 300'000;
  if (two) {
    u64 half = 1 + (n - 1) / 2;
    std::thread other([&] { run_blocks(workers[1], l, half, n, waiting[1]); });
    run_blocks(workers[0], l, 1, half, waiting[0]);
    other.join();
  } else {
    run_blocks(workers[0], l, 1, n, waiting[0]);
  }
  ig_sim_counts sum = workers[0].n;
  auto *a = (u64 *)&sum, *b = (u64 *)&workers[1].n;
  for (size_t k = 0; k < sizeof sum / 8; k++)
    a[k] += b[k];
  sum.launches = 1;
  for (int k = 0; k < 2; k++)
    take_reports(workers[k]);
  return sum;
}

}  // namespace sim
