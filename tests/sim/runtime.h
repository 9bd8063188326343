// The fake runtime's objects: operations in streams, events, graphs. Rule: an operation runs when something waits for
// it and not before, so that a forgotten wait shows.
#pragma once
#include <cuda_runtime_api.h>
#include <deque>
#include <mutex>
#include <thread>

#include "tests/sim/interp.h"

namespace sim {

enum WorkKind { KERNEL, COPY, FILL, HOST, EMPTY };
struct Work {  // what is to be done, whenever
  WorkKind kind = EMPTY;
  Module *module = nullptr;
  std::string kernel;
  Dim grid, block;
  u32 dynamic = 0;
  std::vector<u8> params;
  void *to = nullptr;
  const void *from = nullptr;
  size_t n = 0;
  int value = 0;
  void (*host)(void *) = nullptr;
  void *host_data = nullptr;
};

struct Op {
  std::shared_ptr<const Work> work;
  std::vector<u8> staged;                  // copy of a pageable source
  std::vector<std::shared_ptr<Op>> after;  // what runs before
  u32 id = 0, floor = 0, numbering = 0;    // for the checker
  Clock clock;
  bool done = false;
  u64 hash = 0;       // of a pinned source, when enqueued
  double finish = 0;  // modelled seconds
};
using OpRef = std::shared_ptr<Op>;

struct Node {
  std::shared_ptr<const Work> work;
  std::vector<int> after;
  int lane;  // which captured stream it came from
};
struct Graph {
  std::vector<Node> nodes;
};
struct GraphExec {
  std::vector<Node> nodes;
  std::vector<u32> lanes;      // stream numbers of its own, one a captured stream
  std::vector<OpRef> running;  // ends of the launch before
};

struct Stream;
struct Capture {
  std::unique_ptr<Graph> graph{new Graph};
  Stream *origin;
  cudaStreamCaptureMode mode;
  std::thread::id thread;
  std::vector<Stream *> streams;
  bool invalid = false;
  unsigned long long id;
};
struct Stream {
  u32 index;
  bool blocking;  // waits for the default stream and is waited for by it
  OpRef last;
  Clock clock;
  Capture *capture = nullptr;
  std::vector<int> at;  // nodes that the next captured one follows
};
struct Event {
  bool timing, recorded = false;
  OpRef op;
  Clock clock;
  Capture *capture = nullptr;
  std::vector<int> at;
};

struct Pinned {
  size_t bytes;
  bool registered;
};

struct Runtime {
  std::recursive_mutex lock;
  std::vector<Stream *> streams;  // by number
  std::set<Event *> events;
  std::set<Graph *> graphs;
  std::set<GraphExec *> execs;
  std::set<Capture *> captures;
  std::map<u64, Pinned> pinned;
  std::deque<OpRef> pending;
  Stream *legacy = nullptr;
  Clock host;
  u32 n_streams = 0;
  cudaError_t sticky = cudaSuccess;
  unsigned long long next_capture = 1;
  bool eager = false;                          // an operation runs when it is enqueued
  u64 pinned_copies = 0, pageable_copies = 0;  // from the host to the device
};
Runtime &runtime();

// stream.cc
Stream *stream_of(cudaStream_t s);  // nullptr: no stream
OpRef enqueue(Stream *s, std::shared_ptr<const Work> w);
void run_op(const OpRef &o);
bool run_some(Stream *s);  // one operation; true when nothing is left
void wait_stream(Stream *s);
void wait_op(const OpRef &o, const Clock &c);
void wait_all();
Stream *new_stream(bool blocking);
void launch_graph(GraphExec *g, Stream *s);
bool joined(const Capture &c);
void invalidate(Capture *c);
void end_capture(Capture *c);
const Pinned *find_pinned(const void *p, u64 *start);
cudaError_t cuda_error(int fault);
void reset_operations();

// images.cc
const std::string *kernel_name(const void *host, Module **m);
Function *find_function(Module *m, const std::string &name);
u64 variable_address(const void *host, size_t *bytes);
void parse_all(std::map<std::string, int> &unknown);

// report.cc
cudaError_t begin_call(const char *name);

// report.cc
void count_launch(const std::string &kernel, const ig_sim_counts &n);

}  // namespace sim
