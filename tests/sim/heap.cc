// The device's memory: a range of addresses of its own, so that pointers in kernels are what the host was given. Rule:
// an address is never used twice, so that freed memory is known for ever.
#include <sys/mman.h>

#include "tests/sim/interp.h"

namespace sim {

Heap &g_heap = *new Heap;  // outlives every destructor that calls in
u64 g_capacity = 16ull << 30;
static u64 top = HEAP + 4096;

static void *reserve(void *at, u64 n) {
  void *p = mmap(at, n, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (at ? MAP_FIXED_NOREPLACE : 0), -1, 0);
  return p == MAP_FAILED ? nullptr : p;
}

bool heap_open() {
  static bool ok = [] {
    g_heap.init = (u8 *)reserve(nullptr, HEAP_BYTES);
    g_heap.cells = (Cell *)reserve(nullptr, HEAP_BYTES / 4 * sizeof(Cell));
    g_heap.read_stamp = (u32 *)reserve(nullptr, HEAP_BYTES / 8);
    g_heap.write_stamp = (u32 *)reserve(nullptr, HEAP_BYTES / 8);
    return reserve((void *)HEAP, HEAP_BYTES) && g_heap.init && g_heap.cells && g_heap.read_stamp && g_heap.write_stamp;
  }();
  return ok;
}

u64 heap_alloc(u64 bytes, const char *what) {
  u64 room = ((bytes + 511) & ~511ull) + 512;  // a gap behind every allocation
  if (!heap_open() || bytes > g_capacity - g_heap.used || top + room > HEAP + HEAP_BYTES)
    return 0;
  u64 p = top;
  top += room;
  g_heap.blocks[p] = {bytes, false, what};
  g_heap.used += bytes;
  if (g_checks)
    memset((void *)p, 0xff, bytes);
  return p;
}

bool heap_free(u64 address) {
  auto i = g_heap.blocks.find(address);
  if (i == g_heap.blocks.end() || i->second.freed)
    return false;
  i->second.freed = true;
  u64 n = i->second.bytes;
  g_heap.used -= n;
  auto drop = [](u64 from, u64 to) {  // whole pages
    from = (from + 4095) & ~4095ull;
    to &= ~4095ull;
    if (from < to)
      madvise((void *)from, to - from, MADV_DONTNEED);
  };
  u64 o = address - HEAP;
  drop(address, address + n);
  drop((u64)g_heap.init + o, (u64)g_heap.init + o + n);
  drop((u64)g_heap.cells + o * 4, (u64)g_heap.cells + (o + n) * 4);
  return true;
}

const std::pair<const u64, Allocation> *heap_find(u64 address) {
  auto i = g_heap.blocks.upper_bound(address);
  return i == g_heap.blocks.begin() ? nullptr : &*--i;
}

void heap_define(u64 address, u64 n) { memset(g_heap.init + (address - HEAP), 1, n); }

void heap_undefine(u64 address, u64 n) {
  memset(g_heap.init + (address - HEAP), 0, n);
  memset((void *)address, 0xff, n);
}

}  // namespace sim
