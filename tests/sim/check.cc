// Every access to memory is looked at here: bounds, alignment, memory that nothing wrote, races. Rule: a report is
// certain (two accesses that nothing orders); what the marks forget makes it miss, never invent.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <sys/mman.h>

#include "tests/sim/interp.h"

namespace sim {

std::string where(const Function &f, s32 pc) {
  const Source &s = f.source[pc];
  return std::string(s.file) + ":" + std::to_string(s.line) + " (" + f.pretty + ")";
}

std::string thread_name(const Warp &w, int lane) {
  const Dim &d = w.b->l->block, &g = w.b->l->grid;
  u32 t = w.index * 32 + lane;
  char s[120];
  auto triple = [](char *o, size_t n, u32 x, u32 y, u32 z, const Dim &d) {
    if (d.z > 1)
      snprintf(o, n, "(%u,%u,%u)", x, y, z);
    else if (d.y > 1)
      snprintf(o, n, "(%u,%u)", x, y);
    else
      snprintf(o, n, "%u", x);
  };
  char a[40], b[40];
  triple(a, sizeof a, t % d.x, t / d.x % d.y, t / (d.x * d.y), d);
  triple(b, sizeof b, w.b->id.x, w.b->id.y, w.b->id.z, g);
  snprintf(s, sizeof s, "thread %s block %s", a, b);
  return s;
}

static const char *verb(Kind k) { return k == READ ? "read" : k == WRITE ? "write" : "atomic"; }

// ---- global memory: marks of a word ----
static std::mutex sync_lock;
static std::unordered_map<u64, SyncObject> sync_objects;  // of the launch at work
static bool any_sync;
constexpr u32 SEVERAL = (1u << 22) - 1;

static u64 make_stamp(u32 op, u32 block, u32 segment, bool strong, s32 pc) {
  return (u64)op << 48 | (u64)std::min(block, SEVERAL - 1) << 26 | (u64)std::min(segment, 31u) << 21 |
         (u64)strong << 20 | (u64)std::min(pc, 0xffff);
}
static u32 op_of(u64 s) { return s >> 48; }
static u32 block_of(u64 s) { return s >> 26 & SEVERAL; }
static u32 segment_of(u64 s) { return s >> 21 & 31; }
static u32 bytes_of(u64 s) { return s >> 16 & 15; }
static bool strong(u64 s) { return s >> 20 & 1; }

// Whether these acquisitions cover the segment of a block, directly or by what the releasing blocks had acquired.
static bool covers(const Acquired &list, u32 block, u32 segment, int depth) {
  for (auto &[object, seen] : list) {
    auto i = object->first.find(block);
    for (u32 k = i == object->first.end() ? seen : i->second; k < seen; k++) {
      auto &r = object->releases[k];
      if (r.block == block && (r.segment > segment || r.segment >= 31))
        return true;
    }
    for (u32 k = 0; k < seen; k++)
      if (!object->releases[k].before.empty() &&
          (depth == 4 || covers(object->releases[k].before, block, segment, depth + 1)))
        return true;  // chains of more than four are taken to be right
  }
  return false;
}

static bool acquired(const Block &b, u64 s) {
  if (block_of(s) == SEVERAL)
    return !b.acquired.empty();
  std::lock_guard<std::mutex> hold(sync_lock);
  return covers(b.acquired, block_of(s), segment_of(s), 0);
}

struct Accessor {  // who touches words now: a lane, or a copy (w = nullptr)
  Worker &wk;
  const OpOrder &order;
  u64 stamp;
  Warp *w;
  const Ins *i;
  const char *what;
  u32 lane;
};

static void __attribute__((noinline)) conflict(const Accessor &x, u64 old, u64 word, bool old_write, Kind kind) {
  u32 op = op_of(old);
  auto place_of = [&] { return x.w ? where(*x.w->b->f, x.w->pc) : std::string(x.what); };
  if (op != x.order.id) {
    if (op_before(op, x.order.clock))
      return;
    std::string me = place_of();
    report(x.wk, IG_SIM_STREAM, x.i ? (const void *)x.i : (const void *)x.what,
           "%s: %s of device memory that %s %s; nothing orders the two", me.c_str(), verb(kind), op_name(op).c_str(),
           old_write ? "writes" : "reads");
    return;
  }
  if (!x.w || (strong(old) && strong(x.stamp)) || acquired(*x.w->b, old))
    return;
  u32 pc = old & 0xffff;
  std::string me = place_of();
  std::string place = pc < x.w->b->f->source.size() ? where(*x.w->b->f, pc) : "?";
  u32 other = block_of(old);
  auto *a = heap_find(HEAP + word * 4);
  report(x.wk, IG_SIM_RACE, x.i, "%s: global %s by %s races with a %s of block %s at %s (byte %llu of %s)", me.c_str(),
         verb(kind), thread_name(*x.w, x.lane).c_str(), old_write ? "write" : "read",
         other == SEVERAL ? "(several)" : std::to_string(other).c_str(), place.c_str(),
         (unsigned long long)(HEAP + word * 4 - (a ? a->first : HEAP)), a ? a->second.what : "?");
}

static inline void touch_word(const Accessor &x, u64 word, u32 bytes, Kind kind) {
  Cell &c = g_heap.cells[word];
  u64 me = x.stamp | (u64)bytes << 16;
  bool write = kind != READ;
  auto apart = [&](u64 s) {  // another operation that is not known to be over, or another block of this one
    return s && (s ^ me) >> 26 && (op_of(s) > x.order.floor) && (bytes_of(s) & bytes);
  };
  if (apart(c.w))
    conflict(x, c.w, word, true, kind);
  if (write) {
    if (apart(c.r))
      conflict(x, c.r, word, false, kind);
    c.w = (c.w ^ me) >> 26 ? me : me | (c.w & 15ull << 16);
    if (!(bytes_of(c.r) & ~bytes))
      c.r = 0;
  } else if (!c.r || op_of(c.r) != op_of(me)) {
    c.r = me;
  } else if ((c.r ^ me) >> 26) {
    c.r = (c.r | (u64)bytes << 16) | (u64)SEVERAL << 26;
  } else {
    c.r = me | (c.r & 15ull << 16);
  }
}

static inline void touch(const Accessor &x, u64 address, u64 n, Kind kind) {
  u64 o = address - HEAP, end = o + n;
  for (u64 word = o / 4; word * 4 < end; word++) {
    u32 bytes = 15;
    if (word * 4 < o)
      bytes &= 15u << (o - word * 4);
    if (word * 4 + 4 > end)
      bytes &= 15u >> (word * 4 + 4 - end);
    touch_word(x, word, bytes, kind);
  }
}

void check_range(Worker &wk, const OpOrder &o, u64 address, u64 n, bool write, const char *what) {
  Accessor x{wk, o, make_stamp(o.id, 0, 0, false, 0xffff), nullptr, nullptr, what, 0};
  touch(x, address, n, write ? WRITE : READ);
}

void check_forget() {
  for (auto &b : g_heap.blocks)
    if (!b.second.freed) {  // whole pages: the neighbours' marks go too
      u64 from = (u64)&g_heap.cells[(b.first - HEAP) / 4] & ~4095ull;
      u64 to = ((u64)&g_heap.cells[(b.first - HEAP + b.second.bytes) / 4 + 1] + 4095) & ~4095ull;
      madvise((void *)from, to - from, MADV_DONTNEED);
    }
}

void check_begin() {
  sync_objects.clear();
  any_sync = false;
}

void fence(Warp &w, bool device) {
  w.fenced = w.clock++;
  if (device)
    w.b->fenced = std::min(++w.b->segment, 31u);
}

// The address in its own space; a generic one may be shared memory's.
static bool is_shared(Space sp, u64 *address) {
  if (sp == GENERIC && *address - SHARED_WINDOW < WINDOW_BYTES) {
    *address -= SHARED_WINDOW;
    return true;
  }
  return sp == SHARED;
}

void acquire(Warp &w, Space sp, u64 address) {
  if (!g_checks)
    return;
  Block &b = *w.b;
  if (is_shared(sp, &address)) {
    auto i = b.flags.find(address);
    for (u32 v = 0; i != b.flags.end() && v < b.n_warps; v++)
      b.knows(w.index)[v] = std::max(b.knows(w.index)[v], i->second[v]);
    return;
  }
  if (!__atomic_load_n(&any_sync, __ATOMIC_ACQUIRE))
    return;
  std::lock_guard<std::mutex> hold(sync_lock);
  auto i = sync_objects.find(address);
  if (i == sync_objects.end())
    return;
  u32 n = i->second.releases.size();
  for (auto &a : b.acquired)
    if (a.first == &i->second) {
      a.second = n;
      return;
    }
  b.acquired.push_back({&i->second, n});
}

void release(Warp &w, Space sp, u64 address) {
  if (!g_checks)
    return;
  Block &b = *w.b;
  if (is_shared(sp, &address)) {
    if (!w.fenced)
      return;
    auto &f = b.flags[address];
    f.resize(b.n_warps);
    for (u32 v = 0; v < b.n_warps; v++)
      f[v] = std::max(f[v], b.knows(w.index)[v]);
    f[w.index] = w.fenced;
    return;
  }
  if (!b.fenced)
    return;
  std::lock_guard<std::mutex> hold(sync_lock);
  SyncObject &s = sync_objects[address];
  __atomic_store_n(&any_sync, true, __ATOMIC_RELEASE);
  s.first.insert({b.linear, (u32)s.releases.size()});
  s.releases.push_back({b.linear, b.fenced, b.acquired});
}

// ---- bounds ----
static void __attribute__((noinline)) out_of_bounds(Warp &w, const Ins &i, u64 a, int n, u32 l, Kind kind) {
  set_fault(*w.b->l, FAULT_ADDRESS);
  if (w.wk->seen.count({IG_SIM_BOUNDS, &i}))  // told already; a loop that runs away does so millions of times
    return;
  std::string at;
  auto *b = heap_find(a);
  char s[160];
  if (!b)
    snprintf(s, sizeof s, "%llx is no device memory", (unsigned long long)a);
  else if (b->second.freed)
    snprintf(s, sizeof s, "byte %llu of freed memory (%llu bytes)", (unsigned long long)(a - b->first),
             (unsigned long long)b->second.bytes);
  else
    snprintf(s, sizeof s, "%lld bytes past the end of %llu bytes (%s)", (long long)(a + n - b->first - b->second.bytes),
             (unsigned long long)b->second.bytes, b->second.what);
  report(*w.wk, IG_SIM_BOUNDS, &i, "%s: global %s of %d bytes out of bounds: %s; %s", where(*w.b->f, w.pc).c_str(),
         verb(kind), n, s, thread_name(w, l).c_str());
}

static bool find_range(Warp &w, u64 a, int n) {
  Worker &k = *w.wk;
  if (a >= k.lo && a + n <= k.hi)
    return true;
  auto *b = heap_find(a);
  if (!b || b->second.freed || a + n > b->first + b->second.bytes)
    return false;
  k.lo = b->first;
  k.hi = b->first + b->second.bytes;
  return true;
}

static void check_allowed(Warp &w, const Ins &i, u64 a, int n, u32 l, bool write, Kind kind) {
  Worker &k = *w.wk;
  if (a >= k.allow_lo[write] && a + n <= k.allow_hi[write])
    return;
  for (auto &r : g_heap.allowed[write])
    if (a >= r.lo && a + n <= r.hi) {
      k.allow_lo[write] = r.lo;
      k.allow_hi[write] = r.hi;
      return;
    }
  u64 near = ~0ull;
  for (auto &r : g_heap.allowed[write])
    near = std::min(near, a < r.lo ? r.lo - a : a + n - r.hi);
  report(*w.wk, IG_SIM_BOUNDS, &i, "%s: global %s of %d bytes outside of all operands (%llu bytes off); %s",
         where(*w.b->f, w.pc).c_str(), verb(kind), n, (unsigned long long)near, thread_name(w, l).c_str());
}

// ---- counters ----
static void count_global(Warp &w, const u64 *a, u32 m, int n, bool contiguous, bool write) {
  ig_sim_counts &c = w.wk->n;
  u64 sectors[64];
  int count = 0;
  if (contiguous) {
    u64 first = a[0] >> 5, last = (a[0] + 32 * n - 1) >> 5;
    for (u64 s = first; s <= last; s++)
      sectors[count++] = s;
  } else {
    u64 top = 0;
    SIM_LANES(m, l) {
      u64 s = a[l] >> 5;
      if (count && s == sectors[count - 1])
        continue;
      if (count && s < top) {
        bool old = false;
        for (int k = 0; k < count && !old; k++)
          old = sectors[k] == s;
        if (old)
          continue;
      }
      top = std::max(top, s);
      sectors[count++] = s;
    }
  }
  u32 *stamps = (write ? g_heap.write_stamp : g_heap.read_stamp) - (HEAP >> 5), now = w.b->l->stamp;
  u64 fresh = 0;
  for (int k = 0; k < count; k++)
    if (u32 *s = &stamps[sectors[k]]; __atomic_load_n(s, __ATOMIC_RELAXED) != now)
      fresh += __atomic_exchange_n(s, now, __ATOMIC_RELAXED) != now;
  (write ? c.write_bytes : c.read_bytes) += (u64)n * __builtin_popcount(m);
  (write ? c.write_unique : c.read_unique) += 32 * fresh;
  (write ? c.write_requests : c.read_requests)++;
  (write ? c.write_sectors : c.read_sectors) += count;
}

// Passes over the banks: lanes go in groups that ask for at most 128 bytes.
static void count_shared(Warp &w, const u64 *a, u32 m, int n, bool contiguous) {
  ig_sim_counts &c = w.wk->n;
  c.shared_bytes += (u64)n * __builtin_popcount(m);
  int group = n <= 4 ? 32 : n == 8 ? 16 : 8;
  for (int g = 0; g < 32; g += group) {
    u32 part = group == 32 ? m : m & (((1u << group) - 1) << g);
    if (!part)
      continue;
    c.shared_requests++;
    if (contiguous || !g_checks) {
      c.shared_ways++;
      continue;
    }
    u32 words[32][8];
    u8 used[32] = {};
    u32 ways = 1;
    SIM_LANES(part, l) for (u64 word = a[l] / 4; word * 4 < a[l] + n; word++) {
      u32 bank = word & 31, k = 0;
      while (k < used[bank] && words[bank][k] != (u32)word)
        k++;
      if (k == used[bank] && k < 8)
        words[bank][used[bank]++] = word;
      ways = std::max<u32>(ways, used[bank]);
    }
    if (ways == 8) {  // count exactly
      std::set<u32> distinct[32];
      SIM_LANES(part, l) for (u64 word = a[l] / 4; word * 4 < a[l] + n; word++) distinct[word & 31].insert(word);
      for (auto &d : distinct)
        ways = std::max<u32>(ways, d.size());
    }
    c.shared_ways += ways;
  }
}

// ---- shared memory: marks of a word ----
constexpr u32 CLOCK = (1u << 22) - 1;
static inline bool ordered(const Warp &w, u32 lane, u32 stamp) {
  u32 t = stamp >> 22, clock = stamp & CLOCK, v = t / 32;
  if (v != w.index)
    return w.b->known[(size_t)w.index * w.b->n_warps + v] >= clock;
  return t % 32 == lane || clock <= w.all || (w.partial && w.known[lane][t % 32] >= clock);
}

static void __attribute__((noinline))
shared_race(Warp &w, const Ins &i, u32 lane, u64 at, Kind kind, u32 stamp, const char *with) {
  report(*w.wk, IG_SIM_RACE, &i, "%s: shared %s by %s races with a %s by thread %u (byte %llu)",
         where(*w.b->f, w.pc).c_str(), verb(kind), thread_name(w, lane).c_str(), with, stamp >> 22,
         (unsigned long long)at);
}

static inline void touch_shared(Warp &w, const Ins &i, u32 lane, u64 word, u32 bytes, Kind kind) {
  SharedCell &c = w.b->cells[word];
  u32 me = (w.index * 32 + lane) << 22 | std::min(w.clock, CLOCK);
  bool write = kind != READ, strong = kind == ATOMIC || (i.flags & STRONG);
  if (kind != WRITE && (bytes & ~c.init)) {
    report(*w.wk, IG_SIM_UNINIT, &i, "%s: read of shared memory that nothing has written (byte %llu), %s",
           where(*w.b->f, w.pc).c_str(), (unsigned long long)word * 4, thread_name(w, lane).c_str());
    c.init |= bytes;
  }
  if (bytes & c.pending)
    report(*w.wk, IG_SIM_RACE, &i, "%s: shared %s while cp.async writes there (byte %llu), %s",
           where(*w.b->f, w.pc).c_str(), verb(kind), (unsigned long long)word * 4, thread_name(w, lane).c_str());
  for (int k = 0; k < 2; k++)
    if ((c.wm[k] & bytes) && c.w[k] != me && !(strong && c.strong >> k & 1) && !ordered(w, lane, c.w[k]))
      shared_race(w, i, lane, word * 4, kind, c.w[k], "write");
  if (write) {
    for (int k = 0; k < 2; k++) {
      if ((c.rm[k] & bytes) && c.r[k] != me && !(strong && c.strong >> (k + 2) & 1) && !ordered(w, lane, c.r[k]))
        shared_race(w, i, lane, word * 4, kind, c.r[k], "read");
      c.rm[k] &= ~bytes;
      c.wm[k] &= ~bytes;
    }
    int k = c.w[0] == me || !c.wm[0] ? 0 : c.w[1] == me || !c.wm[1] ? 1 : 0;
    c.wm[k] = c.w[k] == me ? c.wm[k] | bytes : bytes;
    c.w[k] = me;
    c.strong = (c.strong & ~(1 << k)) | strong << k;
    c.init |= bytes;
  } else {
    int k = c.r[0] == me || !c.rm[0] ? 0 : c.r[1] == me || !c.rm[1] ? 1 : c.r[0] >> 27 == w.index ? 0 : 1;
    bool again = c.r[k] == me && c.rm[k];
    c.rm[k] = again ? c.rm[k] | bytes : bytes;
    c.strong = (c.strong & ~(4 << k)) | (strong && (!again || c.strong >> (k + 2) & 1)) << (k + 2);
    c.r[k] = me;
  }
}

void cp_begun(Warp &w, u32 at, u32 n) {
  for (u32 k = at / 4; k < (at + n + 3) / 4; k++)
    w.b->cells[k].pending = 15;
}

void cp_done(Warp &w, u32 lane, u32 at, u32 n) {  // the copy counts as a write of now
  for (u32 k = at / 4; k < (at + n + 3) / 4; k++) {
    SharedCell &c = w.b->cells[k];
    c.pending = 0;
    c.w[0] = (w.index * 32 + lane) << 22 | std::min(w.clock, CLOCK);
    c.wm[0] = 15;
    c.wm[1] = 0;
  }
}

void warp_synced(Warp &w, u32 lanes) {
  if (!g_checks)
    return;
  if ((lanes & w.live) == w.live) {
    w.all = w.clock++;
    return;
  }
  if (!w.partial) {
    w.partial = true;
    memset(w.known, 0, sizeof w.known);
  }
  u32 most[32] = {};
  SIM_LANES(lanes, l) {
    w.known[l][l] = w.clock;
    for (int j = 0; j < 32; j++)
      most[j] = std::max(most[j], w.known[l][j]);
  }
  SIM_LANES(lanes, l) memcpy(w.known[l], most, sizeof most);
  w.clock++;
}

static void check_shared(Warp &w, const Ins &i, u64 *a, u32 m, int n, Kind kind) {
  Block &b = *w.b;
  Worker &k = *w.wk;
  const Function &f = *b.f;
  SIM_LANES(m, l) {
    u64 at = a[l];
    if (at < k.shared_lo || at + n > k.shared_hi) {  // in an object, not in the gaps between them?
      bool ok = at >= f.static_shared;
      if (ok) {
        k.shared_lo = f.static_shared;
        k.shared_hi = b.shared_bytes;
      }
      for (auto &o : f.shared)
        if (at >= o.offset && at + n <= o.offset + o.size) {
          ok = true;
          k.shared_lo = o.offset;
          k.shared_hi = o.offset + o.size;
        }
      if (!ok) {
        report(k, IG_SIM_BOUNDS, &i, "%s: shared %s of %d bytes runs over a __shared__ object's end; %s",
               where(f, w.pc).c_str(), verb(kind), n, thread_name(w, l).c_str());
        continue;
      }
    }
    if (n < 4) {
      touch_shared(w, i, l, at / 4, ((1u << n) - 1) << (at & 3), kind);
    } else {
      for (u64 word = at / 4; word < (at + n) / 4; word++)
        touch_shared(w, i, l, word, 15, kind);
    }
  }
}

static void access_global(Warp &w, const Ins &i, u64 *a, u32 m, int n, Kind kind, bool contiguous) {
  Worker &k = *w.wk;
  u32 bad = 0;
  if (contiguous && a[0] >= k.lo && a[0] + 32 * n <= k.hi) {
  } else {
    SIM_LANES(m, l) if (!find_range(w, a[l], n)) {
      out_of_bounds(w, i, a[l], n, l, kind);
      bad |= 1u << l;
    }
    m &= ~bad;
    contiguous &= !bad;
  }
  if (m) {
    if (kind != WRITE)
      count_global(w, a, m, n, contiguous, false);
    if (kind != READ)
      count_global(w, a, m, n, contiguous, true);
    for (int write = 0; write < 2; write++)
      if (!g_heap.allowed[0].empty() || !g_heap.allowed[1].empty())
        if (write ? kind != READ : kind != WRITE)
          SIM_LANES(m, l) check_allowed(w, i, a[l], n, l, write, kind);
  }
  if (g_checks && m) {
    Block &b = *w.b;
    Accessor x{
        k,  b.l->order, make_stamp(b.l->order.id, b.linear, b.segment, kind == ATOMIC || (i.flags & STRONG), w.pc),
        &w, &i,         nullptr,
        0};
    auto uninit = [&](u32 l) {
      auto *h = heap_find(a[l]);
      report(k, IG_SIM_UNINIT, &i, "%s: read of device memory that nothing has written (byte %llu of %llu, %s), %s",
             where(*b.f, w.pc).c_str(), (unsigned long long)(a[l] - h->first), (unsigned long long)h->second.bytes,
             h->second.what, thread_name(w, l).c_str());
    };
    if (contiguous && (kind == WRITE || !memchr(g_heap.init + (a[0] - HEAP), 0, 32 * n))) {
      if (kind == WRITE)
        memset(g_heap.init + (a[0] - HEAP), 1, 32 * n);
      touch(x, a[0], 32 * n, kind);
    } else {
      SIM_LANES(m, l) {
        u8 *init = g_heap.init + (a[l] - HEAP);
        if (kind != WRITE && memchr(init, 0, n))
          uninit(l);
        if (kind != READ)
          memset(init, 1, n);
        x.lane = l;
        touch(x, a[l], n, kind);
      }
    }
  }
  SIM_LANES(bad, l) a[l] = (u64)k.sink;
}

// Whether n bytes at `at` do not all lie in 0..size; of a negative offset, too.
static bool outside(u64 at, int n, u64 size) { return at > size || size - at < (u64)n; }

bool access(Warp &w, const Ins &i, Space sp, u64 *a, u32 m, int n, Kind kind) {
  Worker &k = *w.wk;
  if (sp == GENERIC) {
    u32 shared = 0, local = 0, param = 0;
    SIM_LANES(m, l) {
      shared |= (u32)(a[l] - SHARED_WINDOW < WINDOW_BYTES) << l;
      local |= (u32)(a[l] - LOCAL_WINDOW < WINDOW_BYTES) << l;
      param |= (u32)(a[l] - PARAM_WINDOW < WINDOW_BYTES) << l;
    }
    SIM_LANES(shared, l) a[l] -= SHARED_WINDOW;
    SIM_LANES(local, l) a[l] -= LOCAL_WINDOW;
    if (shared == m)
      return access(w, i, SHARED, a, m, n, kind);
    if (shared)
      access(w, i, SHARED, a, shared, n, kind);
    if (local)
      access(w, i, LOCAL, a, local, n, kind);
    SIM_LANES(param, l) a[l] -= PARAM_WINDOW;
    if (param)
      access(w, i, PARAM, a, param, n, kind);
    m &= ~(shared | local | param);
    if (m) {
      bool whole = access(w, i, GLOBAL, a, m, n, kind);
      return whole;
    }
    return false;
  }
  u64 any = 0;
  bool contiguous = m == ~0u;
  if (contiguous) {
    u64 off = 0;
    for (u32 l = 0; l < 32; l++) {
      any |= a[l];
      off |= a[l] ^ (a[0] + (u64)l * n);
    }
    contiguous = !off;
  } else {
    SIM_LANES(m, l) any |= a[l];
  }
  if (any & (n - 1)) {
    u32 bad = 0;
    SIM_LANES(m, l) bad |= (u32)((a[l] & (n - 1)) != 0) << l;
    u32 l0 = __builtin_ctz(bad);
    report(k, IG_SIM_ALIGN, &i, "%s: misaligned %s of %d bytes at address %llx, %s", where(*w.b->f, w.pc).c_str(),
           verb(kind), n, (unsigned long long)a[l0], thread_name(w, l0).c_str());
    set_fault(*w.b->l, FAULT_ALIGN);
    SIM_LANES(bad, l) a[l] = (u64)k.sink;
    if (m & ~bad)
      access(w, i, sp, a, m & ~bad, n, kind);
    return false;
  }
  switch (sp) {
    case SHARED: {
      u32 bad = 0;
      SIM_LANES(m, l) bad |= (u32)outside(a[l], n, w.b->shared_bytes) << l;
      if (bad) {
        u32 l0 = __builtin_ctz(bad);
        report(k, IG_SIM_BOUNDS, &i, "%s: shared %s of %d bytes at offset %llu of %u; %s", where(*w.b->f, w.pc).c_str(),
               verb(kind), n, (unsigned long long)a[l0], w.b->shared_bytes, thread_name(w, l0).c_str());
        set_fault(*w.b->l, FAULT_ADDRESS);
        m &= ~bad;
        contiguous = false;
      }
      if (m) {
        count_shared(w, a, m, n, contiguous);
        if (g_checks)
          check_shared(w, i, a, m, n, kind);
      }
      SIM_LANES(m, l) a[l] += (u64)w.b->shared;
      SIM_LANES(bad, l) a[l] = (u64)k.sink;
      return contiguous;
    }
    case LOCAL: {
      u32 size = w.b->f->local_bytes;
      SIM_LANES(m, l) if (outside(a[l], n, size)) {
        report(k, IG_SIM_BOUNDS, &i, "%s: local %s of %d bytes at offset %llu of %u; %s", where(*w.b->f, w.pc).c_str(),
               verb(kind), n, (unsigned long long)a[l], size, thread_name(w, l).c_str());
        set_fault(*w.b->l, FAULT_ADDRESS);
        a[l] = (u64)k.sink;
      }
      else a[l] += (u64)w.local + (u64)size * l;
      return false;
    }
    case CONST:
      SIM_LANES(m, l) if (!find_range(w, a[l], n)) {
        out_of_bounds(w, i, a[l], n, l, kind);
        a[l] = (u64)k.sink;
      }
      return contiguous;
    case PARAM: {
      u32 size = w.b->f->param_bytes;
      SIM_LANES(m, l) if (outside(a[l], n, size) || kind != READ) {
        report(k, IG_SIM_BOUNDS, &i, "%s: %s of %d bytes at offset %llu of %u bytes of parameters; %s",
               where(*w.b->f, w.pc).c_str(), verb(kind), n, (unsigned long long)a[l], size, thread_name(w, l).c_str());
        set_fault(*w.b->l, FAULT_ADDRESS);
        a[l] = (u64)k.sink;
      }
      else a[l] += (u64)w.b->l->params;
      return false;
    }
    default:
      access_global(w, i, a, m, n, kind, contiguous);
      return contiguous;
  }
}

}  // namespace sim
