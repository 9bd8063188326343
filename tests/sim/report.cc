// Reports, counters, leaks, injected failures: the interface of sim.h, and what is said when the library goes. Rule:
// one report an instruction and kind a launch; those of a launch in the order of its blocks.
#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <unistd.h>

#include "tests/sim/runtime.h"

namespace sim {

namespace {

struct State {
  std::mutex lock;
  std::vector<Report> reports;
  std::set<std::pair<int, std::string>> said;
  std::vector<std::pair<std::string, ig_sim_counts>> counts;
  std::map<std::string, uint64_t> calls;
  uint64_t all_calls = 0;
  std::string last_call, fail_name, count_file;
  int fail_after = 0, fail_error = 0, failed = 0;
  bool fail_on = false, fail_persistent = false, leaks_at_exit = false, verdict_at_exit = false;
};
State &state() {
  static State *s = new State;
  return *s;
}

void keep(ig_sim_kind kind, const std::string &text) {
  State &s = state();
  if (s.reports.size() < 1000 && s.said.insert({kind, text}).second)
    s.reports.push_back({kind, text, 0});
}

void add(ig_sim_counts &a, const ig_sim_counts &b) {
  auto *x = (u64 *)&a;
  auto *y = (const u64 *)&b;
  for (size_t k = 0; k < sizeof a / 8; k++)
    x[k] += y[k];
}

}  // namespace

void report(Worker &wk, ig_sim_kind kind, const void *key, const char *format, ...) {
  if (!wk.seen.insert({kind, key}).second)
    return;
  char text[1000];
  va_list a;
  va_start(a, format);
  vsnprintf(text, sizeof text, format, a);
  va_end(a);
  wk.reports.push_back({kind, text, wk.l ? wk.n.blocks : 0});
}

void report_now(ig_sim_kind kind, const char *format, ...) {
  char text[1000];
  va_list a;
  va_start(a, format);
  vsnprintf(text, sizeof text, format, a);
  va_end(a);
  std::lock_guard<std::mutex> hold(state().lock);
  keep(kind, text);
}

void take_reports(Worker &wk) {
  std::lock_guard<std::mutex> hold(state().lock);
  for (auto &r : wk.reports)
    keep(r.kind, r.text);
  wk.reports.clear();
}

void count_launch(const std::string &kernel, const ig_sim_counts &n) {
  std::lock_guard<std::mutex> hold(state().lock);
  for (auto &c : state().counts)
    if (c.first == kernel) {
      add(c.second, n);
      return;
    }
  state().counts.push_back({kernel, n});
}

cudaError_t begin_call(const char *name) {
  State &s = state();
  std::lock_guard<std::mutex> hold(s.lock);
  s.calls[name]++;
  s.all_calls++;
  s.last_call = name;
  if (!s.fail_on || (s.fail_name != "*" && s.fail_name != name))
    return cudaSuccess;
  if (s.fail_after > 1) {
    s.fail_after--;
    return cudaSuccess;
  }
  if (!s.fail_persistent)
    s.fail_on = false;
  s.failed++;
  return (cudaError_t)s.fail_error;
}

}  // namespace sim

using namespace sim;

extern "C" {

void ig_sim_checks(int on) {
  std::lock_guard<std::recursive_mutex> hold(runtime().lock);
  wait_all();
  g_checks = on;
}
void ig_sim_threads(int n) { g_threads = n; }
void ig_sim_limit(uint64_t n) { g_limit = n ? n : DEFAULT_LIMIT; }

int ig_sim_reports(void) {
  std::lock_guard<std::mutex> hold(state().lock);
  return state().reports.size();
}
ig_sim_kind ig_sim_report_kind(int k) { return state().reports[k].kind; }
const char *ig_sim_report_text(int k) { return state().reports[k].text.c_str(); }
const char *ig_sim_kind_name(ig_sim_kind kind) {
  static const char *const names[] = {"bounds", "align", "uninit", "race",  "diverge",
                                      "sync",   "hang",  "fault",  "stream"};
  return kind < IG_SIM_KINDS ? names[kind] : "?";
}
void ig_sim_clear(void) {
  std::lock_guard<std::mutex> hold(state().lock);
  state().reports.clear();
  state().said.clear();
}

int ig_sim_count(const char *kernel, ig_sim_counts *out) {
  std::lock_guard<std::mutex> hold(state().lock);
  *out = {};
  bool any = false;
  for (auto &c : state().counts)
    if (!kernel || c.first.find(kernel) != std::string::npos) {
      add(*out, c.second);
      any = true;
    }
  return any;
}
void ig_sim_count_reset(void) {
  std::lock_guard<std::mutex> hold(state().lock);
  state().counts.clear();
}
const char *ig_sim_launched(int k) {
  std::lock_guard<std::mutex> hold(state().lock);
  return k >= 0 && (size_t)k < state().counts.size() ? state().counts[k].first.c_str() : nullptr;
}

void ig_sim_allow(const void *device, size_t bytes, int access) {
  std::lock_guard<std::recursive_mutex> hold(runtime().lock);
  for (int k = 0; k < 2; k++)
    if (access >> k & 1)
      g_heap.allowed[k].push_back({(u64)device, (u64)device + bytes});
}
void ig_sim_allow_clear(void) {
  std::lock_guard<std::recursive_mutex> hold(runtime().lock);
  wait_all();
  g_heap.allowed[0].clear();
  g_heap.allowed[1].clear();
}
void ig_sim_undefine(void *device, size_t bytes) {
  std::lock_guard<std::recursive_mutex> hold(runtime().lock);
  wait_all();
  heap_undefine((u64)device, bytes);
}

void ig_sim_fail(const char *function, int n, int error, int persistent) {
  State &s = state();
  std::lock_guard<std::mutex> hold(s.lock);
  s.fail_on = function != nullptr;
  s.fail_name = function ? function : "";
  s.fail_after = n;
  s.fail_error = error;
  s.fail_persistent = persistent;
  s.failed = 0;
}
int ig_sim_failed(void) { return state().failed; }
uint64_t ig_sim_calls(const char *function) {
  State &s = state();
  std::lock_guard<std::mutex> hold(s.lock);
  if (!strcmp(function, "*"))
    return s.all_calls;
  auto i = s.calls.find(function);
  return i == s.calls.end() ? 0 : i->second;
}
const char *ig_sim_last_call(void) { return state().last_call.c_str(); }

uint64_t ig_sim_copies(int pinned) {
  Runtime &r = runtime();
  std::lock_guard<std::recursive_mutex> hold(r.lock);
  return pinned ? r.pinned_copies : r.pageable_copies;
}
void ig_sim_eager(int on) {
  std::lock_guard<std::recursive_mutex> hold(runtime().lock);
  wait_all();
  runtime().eager = on;
}

int ig_sim_leaks(char *text, size_t size) {
  Runtime &r = runtime();
  std::lock_guard<std::recursive_mutex> hold(r.lock);
  std::string s;
  int n = 0;
  for (auto &b : g_heap.blocks)
    if (!b.second.freed && strcmp(b.second.what, "module")) {
      s += "device memory: " + std::to_string(b.second.bytes) + " bytes\n";
      n++;
    }
  for (auto &p : r.pinned) {
    s +=
        (p.second.registered ? "registered memory: " : "pinned memory: ") + std::to_string(p.second.bytes) + " bytes\n";
    n++;
  }
  auto some = [&](const char *what, size_t count) {
    if (count)
      s += std::string(what) + ": " + std::to_string(count) + "\n";
    n += count;
  };
  some("streams", r.streams.size() - (r.legacy != nullptr));
  some("events", r.events.size());
  some("graphs", r.graphs.size());
  some("executable graphs", r.execs.size());
  some("captures not ended", r.captures.size());
  if (text && size)
    snprintf(text, size, "%s", s.c_str());
  return n;
}

}  // extern "C"

namespace sim {

static void write_counts(const std::string &file) {
  FILE *f = file == "-" ? stderr : fopen(file.c_str(), "w");
  if (!f)
    return;
  fprintf(
      f,
      "kernel launches blocks instructions read_bytes read_unique write_bytes write_unique read_requests read_sectors "
      "write_requests write_sectors atomics shared_bytes shared_requests shared_ways mma mma_flops barriers\n");
  for (auto &[name, c] : state().counts)
    fprintf(f, "%s %lu %lu %lu %lu %lu %lu %lu %lu %lu %lu %lu %lu %lu %lu %lu %lu %lu %lu\n", name.c_str(), c.launches,
            c.blocks, c.instructions, c.read_bytes, c.read_unique, c.write_bytes, c.write_unique, c.read_requests,
            c.read_sectors, c.write_requests, c.write_sectors, c.atomics, c.shared_bytes, c.shared_requests,
            c.shared_ways, c.mma, c.mma_flops, c.barriers);
  if (f != stderr)
    fclose(f);
}

__attribute__((constructor)) static void read_environment() {
  State &s = state();
  auto text = [](const char *name) {
    const char *v = getenv(name);
    return v && *v ? v : nullptr;
  };
  auto on = [&](const char *name) {
    const char *v = text(name);
    return v && strcmp(v, "0");
  };
  g_checks = on("INGOT_SIM_CHECKS");
  s.verdict_at_exit = g_checks;
  s.leaks_at_exit = on("INGOT_SIM_LEAKS");
  if (auto v = text("INGOT_SIM_THREADS"))
    g_threads = atoi(v);
  if (auto v = text("INGOT_SIM_MEMORY"))
    g_capacity = strtoull(v, nullptr, 0);
  if (auto v = text("INGOT_SIM_LIMIT"))
    g_limit = strtoull(v, nullptr, 0);
  if (auto v = text("INGOT_SIM_COUNT"))
    s.count_file = v;
  if (auto v = text("INGOT_SIM_FAIL")) {
    char name[100], more[8] = "";
    int n = 1, error = 0;
    if (sscanf(v, "%99[^:]:%d:%d:%7s", name, &n, &error, more) >= 3)
      ig_sim_fail(name, n, error, !strcmp(more, "on"));
    else
      fprintf(stderr, "sim: INGOT_SIM_FAIL=%s: function:n:error[:on] expected\n", v);
  }
}

// At the end of the process (the library is linked so that it is never unloaded before).
__attribute__((destructor)) static void verdict() {
  State &s = state();
  if (!s.count_file.empty())
    write_counts(s.count_file);
  bool bad = false;
  if (s.verdict_at_exit && !s.reports.empty()) {
    for (auto &r : s.reports)
      fprintf(stderr, "sim: [%s] %s\n", ig_sim_kind_name(r.kind), r.text.c_str());
    bad = true;
  }
  char leaks[4000];
  if (s.leaks_at_exit && ig_sim_leaks(leaks, sizeof leaks)) {
    fprintf(stderr, "sim: not freed:\n%s", leaks);
    bad = true;
  }
  if (bad) {
    fflush(nullptr);
    _exit(86);
  }
}

}  // namespace sim
