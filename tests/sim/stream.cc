// Streams, events, graphs: when operations run and what they may see of one another. Rule: an operation is ordered
// after another one only by its stream, by an event, by the host's waiting, or by the default stream.
#include <algorithm>
#include <cstdio>
#include <sys/mman.h>

#include "tests/sim/runtime.h"

namespace sim {

Runtime &runtime() {
  static Runtime *r = new Runtime;  // outlives every destructor that calls in
  return *r;
}

// ---- numbers of operations, for the checker ----
struct Entry16 {
  u32 stream, seq;
  std::string name;
};
static std::vector<Entry16> &table = *new std::vector<Entry16>(1);
static u32 known_floor = 0;  // the host knows that all up to it are over
static u32 numbering = 0;    // how often the numbers began anew

bool op_before(u32 id, const Clock &now) {
  const Entry16 &e = table[id];
  return e.stream < now.at.size() && now.at[e.stream] >= e.seq;
}

std::string op_name(u32 id) {
  return id < table.size() ? table[id].name + " (stream " + std::to_string(table[id].stream) + ")" : "?";
}

static std::string name_of(const Work &w) {
  switch (w.kind) {
    case KERNEL: {
      Function *f = find_function(w.module, w.kernel);
      return f ? f->pretty : w.kernel;
    }
    case COPY:
      return on_device(w.to) ? (on_device(w.from) ? "a copy on the device" : "a copy to the device")
                             : "a copy to the host";
    case FILL:
      return "a memset";
    default:
      return "a host function";
  }
}

static void number(Op &o, u32 stream) {
  if (table.size() > 65000) {  // all numbers are used: everything runs, and they begin anew
    while (!runtime().pending.empty()) {
      run_op(runtime().pending.front());
      runtime().pending.pop_front();
    }
    check_forget();
    reset_operations();
  }
  o.id = table.size();
  table.push_back({stream, o.clock.at[stream], name_of(*o.work)});
}

// All operations up to this number were ordered before o when it was enqueued.
static u32 floor_of(const Op &o) {
  u32 f = known_floor;
  for (auto &a : o.after)
    if (a->numbering == numbering)
      f = std::max(f, a->floor);
  while (f + 1 < o.id && op_before(f + 1, o.clock))
    f++;
  return f;
}

static void host_knows(const Clock &c) {
  Runtime &r = runtime();
  r.host.join(c);
  while (known_floor + 1 < table.size() && op_before(known_floor + 1, r.host))
    known_floor++;
}

// ---- running ----
cudaError_t cuda_error(int fault) {
  switch (fault) {
    case FAULT_ADDRESS:
      return cudaErrorIllegalAddress;
    case FAULT_ALIGN:
      return cudaErrorMisalignedAddress;
    case FAULT_TRAP:
      return cudaErrorLaunchFailure;
    case FAULT_ASSERT:
      return cudaErrorAssert;
    case FAULT_UNKNOWN:
      return cudaErrorIllegalInstruction;
    case FAULT_HANG:
      return cudaErrorLaunchTimeout;
    default:
      return cudaSuccess;
  }
}

static u64 hash(const void *p, size_t n) {
  u64 h = 1469598103934665603ull, v;
  const u8 *b = (const u8 *)p;
  for (; n >= 8; n -= 8, b += 8) {
    memcpy(&v, b, 8);
    h = (h ^ v) * 0x9e3779b97f4a7c15ull;
    h ^= h >> 29;
  }
  for (; n; n--, b++)
    h = (h ^ *b) * 1099511628211ull;
  return h;
}

static double run_kernel(Op &o) {
  const Work &w = *o.work;
  Function *f = find_function(w.module, w.kernel);
  Launch l;
  l.f = f;
  l.grid = w.grid;
  l.block = w.block;
  l.dynamic = w.dynamic;
  l.params = w.params.data();
  l.order = {o.id, o.floor, o.clock};
  ig_sim_counts n = run_launch(l);
  count_launch(w.kernel, n);
  if (l.fault && !runtime().sticky)
    runtime().sticky = cuda_error(l.fault);
  // A rough model of an H200: what timing at plan time compares is at least in proportion.
  double bytes = (n.read_unique + n.write_unique) / 4.3e12, flops = n.mma_flops / 7.5e14,
         issue = n.instructions / (132 * 4 * 1.7e9);
  return 2e-6 + std::max({bytes, flops, issue});
}

static double run_copy(Op &o) {
  const Work &w = *o.work;
  static Worker wk;
  OpOrder order{o.id, o.floor, o.clock};
  const void *from = o.staged.empty() ? w.from : o.staged.data();
  bool to_device = on_device(w.to), from_device = on_device(w.from);
  if (g_checks) {
    wk.seen.clear();
    if (o.hash && o.hash != hash(w.from, w.n))
      report_now(IG_SIM_STREAM,
                 "the host changed the source of a copy of %zu bytes to the device before the copy was over", w.n);
    if (from_device) {
      check_range(wk, order, (u64)w.from, w.n, false, "a copy from device memory");
      const u8 *init = g_heap.init + ((u64)w.from - HEAP);
      if (const void *z = memchr(init, 0, w.n); z && !to_device)
        report_now(IG_SIM_UNINIT,
                   "a copy of %zu bytes to the host reads device memory that nothing has written, from byte %zu on",
                   w.n, (size_t)((const u8 *)z - init));
    }
    if (to_device)
      check_range(wk, order, (u64)w.to, w.n, true, "a copy to device memory");
    take_reports(wk);
  }
  memmove(w.to, from, w.n);
  if (to_device && from_device)
    memmove(g_heap.init + ((u64)w.to - HEAP), g_heap.init + ((u64)w.from - HEAP), w.n);
  else if (to_device)
    heap_define((u64)w.to, w.n);
  return 5e-6 + w.n / (to_device && from_device ? 2.1e12 : 5e10);
}

void run_op(const OpRef &o) {
  if (o->done)
    return;
  o->done = true;  // before what it waits for: no cycle can be
  double start = 0;
  for (auto &a : o->after) {
    a->done || (run_op(a), true);
    start = std::max(start, a->finish);
  }
  o->after.clear();
  double took = 0;
  if (!runtime().sticky)
    switch (o->work->kind) {
      case KERNEL:
        took = run_kernel(*o);
        break;
      case COPY:
        took = run_copy(*o);
        break;
      case FILL: {
        const Work &w = *o->work;
        if (g_checks) {
          static Worker wk;
          wk.seen.clear();
          check_range(wk, {o->id, o->floor, o->clock}, (u64)w.to, w.n, true, "a memset of device memory");
          take_reports(wk);
        }
        memset(w.to, w.value, w.n);
        heap_define((u64)w.to, w.n);
        took = 2e-6 + w.n / 4.3e12;
        break;
      }
      case HOST:
        o->work->host(o->work->host_data);
        break;
      default:
        break;
    }
  o->finish = start + took;
  o->staged = {};
}

static void forget_done() {
  auto &p = runtime().pending;
  while (!p.empty() && p.front()->done)
    p.pop_front();
}

// Whether an operation that has not run reads these bytes of the host's (or writes them), or may.
static bool waits_for_host(const void *p, size_t n, bool writes) {
  for (auto &o : runtime().pending) {
    const Work &w = *o->work;
    const char *q = (const char *)(writes ? w.to : w.from);
    if (!o->done && (w.kind == HOST || (w.kind == COPY && q < (const char *)p + n && q + w.n > (const char *)p)))
      return true;
  }
  return false;
}

static OpRef add(u32 stream, Clock clock, std::vector<OpRef> after, std::shared_ptr<const Work> w) {
  Runtime &r = runtime();
  while (r.pending.size() > 1024) {  // the queue is full
    run_op(r.pending.front());
    forget_done();
  }
  OpRef o(new Op);
  o->work = std::move(w);
  o->after = std::move(after);
  o->clock = std::move(clock);
  o->clock.join(r.host);
  if (o->clock.at.size() <= stream)
    o->clock.at.resize(stream + 1);
  o->clock.at[stream]++;
  if (o->work->kind != EMPTY)
    number(*o, stream);
  o->numbering = numbering;
  if (g_checks)
    o->floor = floor_of(*o);
  if (o->work->kind == COPY) {
    const Work &c = *o->work;
    u64 start;
    bool pinned = !on_device(c.from) && find_pinned(c.from, &start);
    if (on_device(c.to) && !on_device(c.from)) {
      (pinned ? r.pinned_copies : r.pageable_copies)++;
      if (!pinned)
        o->staged.assign((const u8 *)c.from, (const u8 *)c.from + c.n);
      else if (g_checks && !waits_for_host(c.from, c.n, true))
        o->hash = hash(c.from, c.n);
    }
    if (g_checks && !on_device(c.to) && !waits_for_host(c.to, c.n, false))  // who reads it too early sees that
      memset(c.to, 0xff, c.n);
  }
  r.pending.push_back(o);
  if (r.eager)
    run_op(o);
  return o;
}

OpRef enqueue(Stream *s, std::shared_ptr<const Work> w) {
  Runtime &r = runtime();
  std::vector<OpRef> after;
  Clock clock = s->clock;
  if (s->last)
    after.push_back(s->last);
  if (s == r.legacy) {
    for (Stream *o : r.streams)
      if (o->blocking && o != s && o->last) {
        after.push_back(o->last);
        clock.join(o->clock);
      }
  } else if (s->blocking && r.legacy->last) {
    after.push_back(r.legacy->last);
    clock.join(r.legacy->clock);
  }
  s->last = add(s->index, clock, after, std::move(w));
  s->clock = s->last->clock;
  return s->last;
}

void wait_op(const OpRef &o, const Clock &c) {
  if (o)
    run_op(o);
  forget_done();
  host_knows(c);
}

void wait_stream(Stream *s) {
  Runtime &r = runtime();
  if (s == r.legacy)
    for (Stream *o : r.streams)
      if (o->blocking)
        wait_op(o->last, o->clock);
  wait_op(s->last, s->clock);
}

void wait_all() {
  for (Stream *s : runtime().streams)
    wait_op(s->last, s->clock);
}

bool run_some(Stream *s) {
  for (auto &o : runtime().pending)  // the stream's oldest operation
    if (!o->done && s->last && !s->last->done) {
      OpRef first = s->last;
      for (bool deeper = true; deeper;) {
        deeper = false;
        for (auto &a : first->after)
          if (!a->done) {
            first = a;
            deeper = true;
            break;
          }
      }
      run_op(first);
      break;
    }
  forget_done();
  return !s->last || s->last->done;
}

Stream *new_stream(bool blocking) {
  Runtime &r = runtime();
  Stream *s = new Stream{r.n_streams++, blocking, nullptr, {}, nullptr, {}};
  s->clock = r.host;
  r.streams.push_back(s);
  return s;
}

Stream *stream_of(cudaStream_t h) {
  Runtime &r = runtime();
  if (!r.legacy)
    r.legacy = new_stream(true);
  if (!h || h == cudaStreamLegacy || h == cudaStreamPerThread)
    return r.legacy;
  auto *s = (Stream *)h;
  return std::find(r.streams.begin(), r.streams.end(), s) != r.streams.end() ? s : nullptr;
}

// ---- graphs ----
void launch_graph(GraphExec *g, Stream *s) {
  Runtime &r = runtime();
  OpRef begin = enqueue(s, std::make_shared<Work>());
  for (auto &o : g->running) {  // launches of one graph follow one another
    begin->after.push_back(o);
    begin->clock.join(o->clock);
  }
  while (g->lanes.size() < g->nodes.size()) {
    size_t most = 0;
    for (auto &n : g->nodes)
      most = std::max<size_t>(most, n.lane + 1);
    if (g->lanes.size() >= most)
      break;
    g->lanes.push_back(r.n_streams++);
  }
  std::vector<OpRef> ops;
  std::vector<bool> leaf(g->nodes.size(), true);
  for (auto &n : g->nodes) {
    std::vector<OpRef> after;
    Clock clock = begin->clock;
    for (int a : n.after) {
      after.push_back(ops[a]);
      clock.join(ops[a]->clock);
      leaf[a] = false;
    }
    if (after.empty())
      after.push_back(begin);
    // Two branches of one captured stream are not ordered by it: its number counts on beyond both.
    u32 lane = g->lanes[n.lane];
    ops.push_back(add(lane, clock, after, n.work));
  }
  OpRef end(new Op);
  end->work = std::make_shared<Work>();
  end->clock = begin->clock;
  g->running.clear();
  for (size_t k = 0; k < ops.size(); k++)
    if (leaf[k]) {
      end->after.push_back(ops[k]);
      end->clock.join(ops[k]->clock);
    }
  if (ops.empty())
    end->after.push_back(begin);
  g->running.push_back(end);
  r.pending.push_back(end);
  s->last = end;
  s->clock = end->clock;
}

bool joined(const Capture &c) {
  std::vector<bool> seen(c.graph->nodes.size());
  std::vector<int> todo = c.origin->at;
  while (!todo.empty()) {
    int k = todo.back();
    todo.pop_back();
    if (seen[k])
      continue;
    seen[k] = true;
    for (int a : c.graph->nodes[k].after)
      todo.push_back(a);
  }
  for (Stream *s : c.streams)
    for (int k : s->at)
      if (!seen[k])
        return false;
  return true;
}

void invalidate(Capture *c) { c->invalid = true; }

void end_capture(Capture *c) {
  Runtime &r = runtime();
  for (Stream *s : c->streams) {
    s->capture = nullptr;
    s->at.clear();
  }
  for (Event *e : r.events)
    if (e->capture == c)
      e->capture = nullptr;
  r.captures.erase(c);
  delete c;
}

const Pinned *find_pinned(const void *p, u64 *start) {
  auto &m = runtime().pinned;
  auto i = m.upper_bound((u64)p);
  if (i == m.begin())
    return nullptr;
  --i;
  *start = i->first;
  return (u64)p < i->first + i->second.bytes ? &i->second : nullptr;
}

void reset_operations() {
  table.resize(1);
  known_floor = 0;
  numbering++;
}

}  // namespace sim
