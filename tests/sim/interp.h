// The interpreter's state: a launch, its blocks, their warps. Rule: a warp's lanes at one place run as one 32-lane
// vector operation; nothing here knows the CUDA runtime.
#pragma once
#include <algorithm>
#include <cstring>
#include <mutex>
#include <set>
#include <unordered_map>

#include "tests/sim/program.h"
#include "tests/sim/sim.h"

namespace sim {

struct Dim {
  u32 x = 1, y = 1, z = 1;
  u64 count() const { return (u64)x * y * z; }
};

// Generic addresses: device memory lies at its own (host) address; shared and local memory in windows.
constexpr u64 SHARED_WINDOW = 0x100000000000, LOCAL_WINDOW = 0x110000000000, PARAM_WINDOW = 0x120000000000,
              WINDOW_BYTES = 1 << 24;

struct Report {
  ig_sim_kind kind;
  std::string text;
  u64 order;  // block: reports of a launch are sorted by it
};

// ---- races between operations (streams) and between blocks: check.cc ----
// What touched a word of global memory last: operation 16 bits, block 22, segment 5, strong 1, bytes 4, instruction 16.
struct Cell {
  u64 w, r;
};

struct SyncObject;
using Acquired = std::vector<std::pair<SyncObject *, u32>>;  // the first so many releases at an address
struct SyncObject {                                          // releases at one address, in order
  struct Release {
    u32 block, segment;
    Acquired before;  // what the block had acquired itself
  };
  std::vector<Release> releases;
  std::unordered_map<u32, u32> first;  // block -> its place in releases
};

struct Clock {  // happens-before between operations: the last known operation of every stream
  std::vector<u32> at;
  void join(const Clock &o) {
    if (at.size() < o.at.size())
      at.resize(o.at.size());
    for (size_t k = 0; k < o.at.size(); k++)
      at[k] = std::max(at[k], o.at[k]);
  }
};

struct OpOrder {  // what the checker knows of the operation that runs
  u32 id = 0;     // 1..65535
  u32 floor = 0;  // all operations up to it are ordered before this one
  Clock clock;
};

enum Fault { FAULT_NONE, FAULT_ADDRESS, FAULT_ALIGN, FAULT_TRAP, FAULT_ASSERT, FAULT_UNKNOWN, FAULT_HANG };

struct Launch {
  const Function *f;
  Dim grid, block;
  u32 dynamic = 0;
  const u8 *params;
  OpOrder order;
  u32 stamp = 0;  // number of the launch, for counting sectors
  int fault = FAULT_NONE;
  std::mutex lock;
};

// ---- a warp ----
enum : u8 { RUN, GATE, BARRIER };
struct Entry {
  s32 pc;
  u32 m;
  u8 state, bar;
};

struct Copy {  // a pending cp.async of a lane
  u8 *to;
  u64 from;
  u32 shared;
  u8 n, size;  // n bytes copied, then zeros up to size
};

struct Block;
struct Worker;
struct Warp {
  char *rf;
  u32 m;      // lanes of the instruction at work
  s32 pc;     // its place
  bool stop;  // the instruction changed the entries
  Block *b;
  Worker *wk;
  u32 index, live;
  Entry e[34];
  int n;  // entries, the lowest place last
  // Order inside of the warp: accesses of lane t up to clock known[l][t] are seen by lane l; all by all up to `all`.
  u32 clock, all, fenced;  // fenced: clock at the last fence, 0 = none
  bool partial;
  u32 known[32][32];
  bool yield;  // waits for others: let them run
  std::vector<Copy> copies[32];
  std::vector<u16> groups[32];
  u32 copying;  // lanes with copies or groups
  char *local;
  u64 count;  // instructions
  u32 carry;  // of add.cc
};

struct SharedCell {                  // four bytes of shared memory
  u32 w[2], r[2];                    // thread 10 bits, clock of its warp 22
  u8 wm[2], rm[2];                   // bytes
  u8 init, pending, strong, unused;  // strong: writes 0, 1, reads 2, 3
};

struct MBarrier {  // beside the 64 bits in shared memory
  bool live = false;
  std::vector<u32> now, done;  // what the arrived warps know: of this phase, of the one before
  struct Bulk {
    u8 *to;
    u64 from;
    u32 shared, bytes;
  };
  std::vector<Bulk> copies;  // under way
};

struct Barrier {
  u32 arrived = 0, expected = 0;  // expected 0: all live threads
  u32 n_true = 0;                 // bar.red
  s32 pc = -1;
  std::vector<u32> clocks;  // what the arrived warps know
};

struct Block {
  Launch *l;
  Worker *wk;
  Dim id;
  u32 linear, threads, live, shared_bytes, n_warps;
  u8 *shared;
  std::vector<u8> shared_store;
  std::vector<SharedCell> cells;
  std::vector<Warp> warps;
  std::vector<char> rf_store, local_store;
  Barrier bar[16];
  std::map<u32, MBarrier> mbars;  // by offset
  // Order between warps: warp w knows accesses of warp v up to clock known[w][v].
  std::vector<u32> known;
  // Order between blocks: the segment grows with each fence; what was acquired.
  u32 segment, fenced;
  Acquired acquired;
  std::map<u64, std::vector<u32>> flags;  // what strong stores to shared memory release: clocks of warps
  u64 steps, count;
  const Function *f = nullptr;
  u32 *knows(u32 w) { return &known[(size_t)w * n_warps]; }
};

struct Worker {
  int index = 0;
  Launch *l = nullptr;
  std::vector<Report> reports;
  std::set<std::pair<int, const void *>> seen;
  ig_sim_counts n{};
  u64 lo = 1, hi = 0;  // the allocation hit last
  u64 allow_lo[2] = {1, 1}, allow_hi[2] = {0, 0};
  u32 shared_lo = 1, shared_hi = 0;  // the shared object hit last
  std::vector<std::unique_ptr<Block>> pool;
  alignas(16) u8 sink[1024];
};

extern bool g_checks;  // set between launches only
extern int g_threads;
constexpr u64 DEFAULT_LIMIT = 200'000'000;
extern u64 g_limit;

// engine.cc
ig_sim_counts run_launch(Launch &l);
void set_fault(Launch &l, Fault f);
void arrive(Warp &w, u32 barrier);  // adds what the warp knows to a barrier

// report.cc
void report(Worker &wk, ig_sim_kind kind, const void *key, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void report_now(ig_sim_kind kind, const char *format, ...) __attribute__((format(printf, 2, 3)));
void take_reports(Worker &wk);
void mark_mutant_ran();

// ---- device memory: heap.cc ----
constexpr u64 HEAP = 0x200000000000, HEAP_BYTES = 256ull << 30;
struct Allocation {
  u64 bytes;
  bool freed;
  const char *what;
};
struct Heap {
  std::map<u64, Allocation> blocks;
  u64 used = 0;
  u8 *init = nullptr;                                 // a byte a byte: written?
  Cell *cells = nullptr;                              // one a word
  u32 *read_stamp = nullptr, *write_stamp = nullptr;  // one a 32-byte sector: the launch that touched it last
  struct Range {
    u64 lo, hi;
  };
  std::vector<Range> allowed[2];  // reads, writes
};
extern Heap &g_heap;
extern u64 g_capacity;
bool heap_open();
u64 heap_alloc(u64 bytes, const char *what);  // 0: no memory
bool heap_free(u64 address);
const std::pair<const u64, Allocation> *heap_find(u64 address);  // the block at or below
inline bool on_device(const void *p) { return (u64)p - HEAP < HEAP_BYTES; }
void heap_define(u64 address, u64 n);  // written
void heap_undefine(u64 address, u64 n);

// check.cc
enum Kind : u8 { READ, WRITE, ATOMIC };
// Looks at the access of n bytes by the lanes of m at a[]; afterwards a[] are host addresses. Returns whether they are
// contiguous (lane l at a[0] + l n, all 32 lanes).
bool access(Warp &w, const Ins &i, Space sp, u64 *a, u32 m, int n, Kind kind);
void barrier_joined(Block &b, const u32 *warps, int n);  // these warps know of one another's accesses
void warp_synced(Warp &w, u32 lanes);
void fence(Warp &w, bool device);
void acquire(Warp &w, Space sp, u64 address);  // strong loads, atomics
void release(Warp &w, Space sp, u64 address);  // strong stores, atomics
void check_range(Worker &wk, const OpOrder &o, u64 address, u64 n, bool write, const char *what);
void check_forget();  // all operations so far are ordered before all later ones, and their numbers are free
void check_begin();   // a launch begins
void cp_begun(Warp &w, u32 at, u32 n);           // cp.async writes shared bytes from now on ...
void cp_done(Warp &w, u32 lane, u32 at, u32 n);  // ... until now
std::string where(const Function &f, s32 pc);
std::string thread_name(const Warp &w, int lane);

// How an operation of the past is called in reports: runtime.cc
std::string op_name(u32 id);
bool op_before(u32 id, const Clock &now);

template <class T>
inline T *reg(Warp &w, u32 offset) {
  return reinterpret_cast<T *>(w.rf + offset);
}
inline u32 &pred(Warp &w, u32 offset) { return *reinterpret_cast<u32 *>(w.rf + offset); }
inline void set_pred(Warp &w, u32 offset, u32 value) {
  u32 &p = pred(w, offset);
  p = (p & ~w.m) | (value & w.m);
}
inline float as_float(u32 x) {
  float f;
  memcpy(&f, &x, 4);
  return f;
}
inline u32 as_bits(float f) {
  u32 u;
  memcpy(&u, &f, 4);
  return u;
}
#define SIM_LANES(mask, l) for (u32 m_ = (mask), l; m_ && (l = (u32)__builtin_ctz(m_), true); m_ &= m_ - 1)

inline void addresses(Warp &w, const Ins &i, u64 *a) {
  if (i.flags & A_IS_64)
    for (int l = 0; l < 32; l++)
      a[l] = reg<u64>(w, i.a)[l] + (u64)i.disp;
  else
    for (int l = 0; l < 32; l++)
      a[l] = (u32)(reg<u32>(w, i.a)[l] + (u32)i.disp);
}

// Whether all live lanes of `mask` are here; otherwise the lanes wait for them. ops_warp.cc
bool gate(Warp &w, const Ins &i, u32 mask);

// ---- decoding: parse.cc cuts, ops_*.cc recognise ----
struct Statement {
  std::string text;
  std::vector<std::string_view> op;    // mnemonic's parts: "ld", "global", "v4", "f32"
  std::vector<std::string_view> args;  // operands
  bool has(std::string_view part) const {
    for (auto &x : op)
      if (x == part)
        return true;
    return false;
  }
};
// Operands to offsets. Virtual numbers while a function is parsed; allocation replaces them.
struct Decoder {
  virtual u32 operand(std::string_view s, int bytes) = 0;  // register or constant of 4 or 8 bytes
  virtual bool is_register(std::string_view s, int *bytes) = 0;
  virtual bool symbol(std::string_view s, u64 *value) = 0;
  virtual bool parameter(std::string_view s, u32 *offset) = 0;  // of the kernel
  virtual void list(Ins &i, const std::vector<u32> &all) = 0;   // sets x
  virtual ~Decoder() = default;

  void address(std::string_view s, Ins &i);                  // [reg+imm] -> a, disp
  std::vector<u32> operands(std::string_view s, int bytes);  // {..} or one
  bool immediate(std::string_view s, s64 *value);
};
Type type_of(std::string_view s);
std::vector<std::string_view> split(std::string_view s);  // at commas outside of brackets
// Each recognises its instructions and fills `i`; false: not mine.
bool decode_integer(Decoder &d, const Statement &s, Ins &i);
bool decode_float(Decoder &d, const Statement &s, Ins &i);
bool decode_convert(Decoder &d, const Statement &s, Ins &i);
bool decode_memory(Decoder &d, const Statement &s, Ins &i);
bool decode_matrix(Decoder &d, const Statement &s, Ins &i);
bool decode_async(Decoder &d, const Statement &s, Ins &i);
bool decode_warp(Decoder &d, const Statement &s, Ins &i);  // shuffles, votes, barriers, branches
void unknown_instruction(Warp &w, const Ins &i);
inline Space space_of(const Statement &s) {
  return s.has("global")   ? GLOBAL
         : s.has("shared") ? SHARED
         : s.has("local")  ? LOCAL
         : s.has("const")  ? CONST
         : s.has("param")  ? PARAM
                           : GENERIC;
}

}  // namespace sim
