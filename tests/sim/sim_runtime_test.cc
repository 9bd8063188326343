// The fake runtime: order of streams and host, capture and replay, errors that stick, injected failures, leaks. Rule:
// each bug of a host program that a GPU would show only now and then is seen always.
#include <cuda_profiler_api.h>
#include <functional>
#include <numeric>
#include <thread>

#include "tests/sim/sim_harness.h"
#include "tests/sim/test_kernels.h"

namespace {

constexpr int N = 1000;
constexpr size_t BYTES = N * sizeof(int);

class Runtime : public SimTest {
 protected:
  void SetUp() override {
    SimTest::SetUp();
    if (IsSkipped())
      return;
    for (auto *s : {&s1, &s2})
      ASSERT_EQ(cudaStreamCreateWithFlags(s, cudaStreamNonBlocking), cudaSuccess);
    ASSERT_EQ(cudaEventCreateWithFlags(&e, cudaEventDisableTiming), cudaSuccess);
    ASSERT_EQ(cudaMallocHost((void **)&host, BYTES), cudaSuccess);
    for (auto **p : {&x, &y, &z}) {
      ASSERT_EQ(cudaMalloc((void **)p, BYTES), cudaSuccess);
      ASSERT_EQ(cudaMemset(*p, 0, BYTES), cudaSuccess);
    }
    std::iota(host, host + N, 1);
    ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  }
  // A report that names this as one side.
  void expect_stream(const char *text) {
    std::string r = reports();
    EXPECT_NE(r.find("[stream]"), std::string::npos) << r;
    EXPECT_NE(r.find(text), std::string::npos) << r;
  }
  bool all(const int *v, int first) {
    for (int i = 0; i < N; i++)
      if (v[i] != first + i)
        return false;
    return true;
  }
  cudaStream_t s1, s2;
  cudaEvent_t e;
  int *host, *x, *y, *z;
};

TEST_F(Runtime, streams_run_in_order_and_events_order_them) {
  cudaMemcpyAsync(x, host, BYTES, cudaMemcpyHostToDevice, s1);
  run_add(y, x, N, 5, s1);
  cudaEventRecord(e, s1);
  cudaStreamWaitEvent(s2, e, 0);
  run_add(z, y, N, 5, s2);
  cudaMemcpyAsync(host, z, BYTES, cudaMemcpyDeviceToHost, s2);
  EXPECT_EQ(cudaStreamSynchronize(s2), cudaSuccess);
  EXPECT_TRUE(all(host, 11));
  EXPECT_EQ(reports(), "");
}

TEST_F(Runtime, work_on_two_streams_without_an_event_is_reported) {
  run_add(y, x, N, 5, s1);
  run_add(z, y, N, 5, s2);  // reads y: not ordered
  expect_stream("add_kernel");
  run_add(y, x, N, 5, s1);
  run_add(y, x, N, 5, s2);  // writes y
  expect_stream("add_kernel");
  run_add(z, x, N, 5, s1);
  cudaMemcpyAsync(x, y, BYTES, cudaMemcpyDeviceToDevice, s2);  // overwrites what the kernel reads
  expect_stream("a copy to device memory");
  run_add(z, x, N, 5, s1);
  cudaMemsetAsync(z, 0, BYTES, s2);
  expect_stream("a memset");
  run_add(z, x, N, 5, s1);
  run_add(y, x, N, 5, s2);  // both only read x
  EXPECT_EQ(reports(), "");
}

TEST_F(Runtime, an_event_recorded_too_early_does_not_order) {
  cudaEventRecord(e, s1);
  run_add(y, x, N, 5, s1);
  cudaStreamWaitEvent(s2, e, 0);
  run_add(z, y, N, 5, s2);
  expect_stream("add_kernel");
}

TEST_F(Runtime, the_hosts_waiting_orders) {
  run_add(y, x, N, 5, s1);
  cudaStreamSynchronize(s1);
  run_add(z, y, N, 5, s2);
  cudaEventRecord(e, s2);
  cudaEventSynchronize(e);
  run_add(x, z, N, 5, s1);
  EXPECT_EQ(reports(), "");
}

TEST_F(Runtime, the_default_stream_waits_for_blocking_streams_only) {
  cudaStream_t blocking;
  cudaStreamCreate(&blocking);
  run_add(y, x, N, 5, blocking);
  run_add(z, y, N, 5, nullptr);
  run_add(x, z, N, 5, blocking);
  EXPECT_EQ(reports(), "");
  run_add(y, x, N, 5, s1);
  run_add(z, y, N, 5, nullptr);
  expect_stream("add_kernel");
  cudaStreamDestroy(blocking);
}

TEST_F(Runtime, what_is_read_before_a_wait_is_not_there) {
  cudaMemcpyAsync(x, host, BYTES, cudaMemcpyHostToDevice, s1);
  cudaStreamSynchronize(s1);
  int *back;
  cudaMallocHost((void **)&back, BYTES);
  std::vector<int> pageable(N, 7);
  cudaMemcpyAsync(back, x, BYTES, cudaMemcpyDeviceToHost, s1);
  cudaMemcpyAsync(pageable.data(), x, BYTES, cudaMemcpyDeviceToHost, s1);
  EXPECT_FALSE(all(back, 1));
  EXPECT_FALSE(all(pageable.data(), 1));
  while (cudaStreamQuery(s1) == cudaErrorNotReady) {
  }
  EXPECT_TRUE(all(back, 1));
  EXPECT_TRUE(all(pageable.data(), 1));
  EXPECT_EQ(reports(), "");
  cudaFreeHost(back);
}

TEST_F(Runtime, a_pinned_source_must_stay_until_the_copy_is_over) {
  cudaMemcpyAsync(x, host, BYTES, cudaMemcpyHostToDevice, s1);
  host[3] = -1;
  cudaStreamSynchronize(s1);
  expect_stream("source of a copy");
  std::vector<int> v(N);
  std::iota(v.begin(), v.end(), 1);
  cudaMemcpyAsync(x, v.data(), BYTES, cudaMemcpyHostToDevice, s1);  // pageable memory is staged at once
  v[3] = -1;
  cudaStreamSynchronize(s1);
  cudaMemcpy(v.data(), x, BYTES, cudaMemcpyDeviceToHost);
  EXPECT_TRUE(all(v.data(), 1));
}

TEST_F(Runtime, queries_make_progress) {
  run_add(y, x, N, 5, s1);
  cudaEventRecord(e, s1);
  EXPECT_EQ(cudaEventQuery(e), cudaErrorNotReady);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess) << "not ready is no error";
  EXPECT_EQ(cudaEventQuery(e), cudaSuccess);
  EXPECT_EQ(cudaStreamQuery(s1), cudaSuccess);
}

TEST_F(Runtime, elapsed_time_follows_the_work) {
  cudaEvent_t a, b, c;
  for (auto *t : {&a, &b, &c})
    cudaEventCreate(t);
  cudaEventRecord(a, s1);
  run_add(y, x, N, 5, s1);
  cudaEventRecord(b, s1);
  for (int k = 0; k < 10; k++)
    run_add(y, x, N, 5, s1);
  cudaEventRecord(c, s1);
  float ab, bc;
  EXPECT_EQ(cudaEventElapsedTime(&ab, a, b), cudaErrorNotReady);
  cudaStreamSynchronize(s1);
  EXPECT_EQ(cudaEventElapsedTime(&ab, a, b), cudaSuccess);
  EXPECT_EQ(cudaEventElapsedTime(&bc, b, c), cudaSuccess);
  EXPECT_GT(ab, 0);
  EXPECT_NEAR(bc, 10 * ab, 0.01 * bc);
  EXPECT_EQ(cudaEventElapsedTime(&ab, a, e), cudaErrorInvalidResourceHandle) << "an event without timing";
  for (auto t : {a, b, c})
    cudaEventDestroy(t);
}

TEST_F(Runtime, a_captured_step_is_replayed) {
  cudaGraph_t g;
  cudaGraphExec_t exec;
  cudaStreamCaptureStatus status;
  ASSERT_EQ(cudaStreamBeginCapture(s1, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  cudaStreamIsCapturing(s1, &status);
  EXPECT_EQ(status, cudaStreamCaptureStatusActive);
  int n_host = 0;
  cudaMemcpyAsync(x, host, BYTES, cudaMemcpyHostToDevice, s1);
  run_add(y, x, N, 5, s1);
  cudaEventRecord(e, s1);
  cudaStreamWaitEvent(s2, e, 0);
  run_add(z, y, N, 1, s2);  // a branch
  run_add(x, y, N, 2, s1);
  cudaEventRecord(e, s2);
  cudaStreamWaitEvent(s1, e, 0);
  cudaLaunchHostFunc(
      s1, [](void *p) { ++*(int *)p; }, &n_host);
  ASSERT_EQ(cudaStreamEndCapture(s1, &g), cudaSuccess);
  ASSERT_EQ(cudaGraphInstantiate(&exec, g, 0), cudaSuccess);
  cudaGraphDestroy(g);
  std::vector<int> v(N);
  cudaDeviceSynchronize();
  cudaMemcpy(v.data(), z, BYTES, cudaMemcpyDeviceToHost);
  EXPECT_EQ(v[5], 0) << "capturing runs nothing";
  for (int k = 0; k < 3; k++) {
    std::iota(host, host + N, 100 * k);
    ASSERT_EQ(cudaGraphLaunch(exec, s1), cudaSuccess);
    cudaStreamSynchronize(s1);
    cudaMemcpy(v.data(), z, BYTES, cudaMemcpyDeviceToHost);
    EXPECT_TRUE(all(v.data(), 100 * k + 6));
    cudaMemcpy(v.data(), x, BYTES, cudaMemcpyDeviceToHost);
    EXPECT_TRUE(all(v.data(), 100 * k + 7));
  }
  EXPECT_EQ(n_host, 3);
  cudaGraphLaunch(exec, s1);
  cudaGraphLaunch(exec, s2);  // one after the other
  EXPECT_EQ(reports(), "");
  cudaGraphExecDestroy(exec);
}

TEST_F(Runtime, branches_of_a_graph_that_touch_the_same_memory_are_reported) {
  cudaGraph_t g;
  cudaGraphExec_t exec;
  cudaStreamBeginCapture(s1, cudaStreamCaptureModeThreadLocal);
  cudaEventRecord(e, s1);
  cudaStreamWaitEvent(s2, e, 0);
  run_add(z, x, N, 1, s2);
  run_add(y, z, N, 2, s1);
  cudaEventRecord(e, s2);
  cudaStreamWaitEvent(s1, e, 0);
  ASSERT_EQ(cudaStreamEndCapture(s1, &g), cudaSuccess);
  ASSERT_EQ(cudaGraphInstantiate(&exec, g, 0), cudaSuccess);
  cudaGraphLaunch(exec, s1);
  expect_stream("add_kernel");
  cudaGraphExecDestroy(exec);
  cudaGraphDestroy(g);
}

TEST_F(Runtime, what_capture_forbids_fails_and_ends_it) {
  cudaGraph_t g;
  void *p;
  int v;
  struct {
    const char *name;
    std::function<cudaError_t()> call;
    cudaError_t error;
  } const calls[] = {
      {"cudaMalloc", [&] { return cudaMalloc(&p, 10); }, cudaErrorStreamCaptureUnsupported},
      {"cudaFree", [&] { return cudaFree(x); }, cudaErrorStreamCaptureUnsupported},
      {"cudaMallocHost", [&] { return cudaMallocHost(&p, 10); }, cudaErrorStreamCaptureUnsupported},
      {"cudaMemcpy", [&] { return cudaMemcpy(&v, x, 4, cudaMemcpyDeviceToHost); }, cudaErrorStreamCaptureUnsupported},
      {"cudaStreamSynchronize", [&] { return cudaStreamSynchronize(s1); }, cudaErrorStreamCaptureUnsupported},
      {"cudaDeviceSynchronize", [&] { return cudaDeviceSynchronize(); }, cudaErrorStreamCaptureUnsupported},
      {"cudaStreamQuery", [&] { return cudaStreamQuery(s1); }, cudaErrorStreamCaptureUnsupported},
      {"cudaEventSynchronize", [&] { return cudaEventSynchronize(e); }, cudaErrorCapturedEvent},
  };
  for (auto &c : calls) {
    ASSERT_EQ(cudaStreamBeginCapture(s1, cudaStreamCaptureModeGlobal), cudaSuccess);
    run_add(y, x, N, 5, s1);
    cudaEventRecord(e, s1);
    EXPECT_EQ(c.call(), c.error) << c.name;
    EXPECT_EQ(cudaStreamEndCapture(s1, &g), cudaErrorStreamCaptureInvalidated) << c.name;
    EXPECT_EQ(g, nullptr);
    cudaGetLastError();
  }
  cudaStreamBeginCapture(s1, cudaStreamCaptureModeRelaxed);
  EXPECT_EQ(cudaMalloc(&p, 10), cudaSuccess) << "relaxed mode allows it";
  EXPECT_EQ(cudaStreamEndCapture(s1, &g), cudaSuccess);
  cudaGraphDestroy(g);
  cudaStreamBeginCapture(s1, cudaStreamCaptureModeThreadLocal);
  cudaError_t other = cudaErrorUnknown;
  std::thread([&] { other = cudaMalloc(&p, 10); }).join();
  EXPECT_EQ(other, cudaSuccess) << "another thread is free";
  cudaEventRecord(e, s1);
  cudaStreamWaitEvent(s2, e, 0);
  run_add(y, x, N, 5, s2);
  EXPECT_EQ(cudaStreamEndCapture(s2, &g), cudaErrorStreamCaptureUnmatched);
  EXPECT_EQ(cudaStreamEndCapture(s1, &g), cudaErrorStreamCaptureUnjoined);
  EXPECT_EQ(cudaStreamEndCapture(s1, &g), cudaErrorIllegalState);
}

TEST_F(Runtime, wrong_arguments_fail) {
  EXPECT_EQ(cudaMemcpyAsync(x, host, BYTES + 1, cudaMemcpyHostToDevice, s1), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpyAsync(host, x, BYTES, cudaMemcpyHostToDevice, s1), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemsetAsync(host, 0, BYTES, s1), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFree(x + 1), cudaErrorInvalidValue);
  EXPECT_EQ(cudaSetDevice(1), cudaErrorInvalidDevice);
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidDevice);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
  size_t free_bytes, total;
  void *p;
  cudaMemGetInfo(&free_bytes, &total);
  EXPECT_EQ(cudaMalloc(&p, free_bytes + 1), cudaErrorMemoryAllocation);
  cudaGetLastError();
  run_add(y, x, 0, 5, s1);  // an empty grid
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidConfiguration);
  cudaStreamDestroy(s2);
  EXPECT_EQ(cudaStreamSynchronize(s2), cudaErrorInvalidResourceHandle);
  EXPECT_STREQ(cudaGetErrorName(cudaErrorMemoryAllocation), "cudaErrorMemoryAllocation");
  EXPECT_STREQ(cudaGetErrorString(cudaErrorMemoryAllocation), "out of memory");
}

TEST_F(Runtime, calls_fail_when_told_to) {
  void *p;
  ig_sim_fail("cudaMalloc", 2, cudaErrorMemoryAllocation, 0);
  EXPECT_EQ(cudaMalloc(&p, 8), cudaSuccess);
  EXPECT_EQ(cudaMalloc(&p, 8), cudaErrorMemoryAllocation);
  EXPECT_EQ(cudaMalloc(&p, 8), cudaSuccess);
  EXPECT_EQ(ig_sim_failed(), 1);
  ig_sim_fail("cudaLaunchKernel", 1, cudaErrorLaunchOutOfResources, 1);
  cudaGetLastError();
  for (int k = 0; k < 2; k++) {
    run_add(y, x, N, 5, s1);
    EXPECT_EQ(cudaGetLastError(), cudaErrorLaunchOutOfResources);
  }
  ig_sim_fail(nullptr, 0, 0, 0);
  run_add(y, x, N, 5, s1);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
  uint64_t before = ig_sim_calls("*");
  ig_sim_fail("*", 3, cudaErrorUnknown, 0);
  EXPECT_EQ(cudaStreamSynchronize(s1), cudaSuccess);
  EXPECT_EQ(cudaEventRecord(e, s1), cudaSuccess);
  EXPECT_EQ(cudaEventSynchronize(e), cudaErrorUnknown);
  EXPECT_STREQ(ig_sim_last_call(), "cudaEventSynchronize");
  EXPECT_EQ(ig_sim_calls("*") - before, 3u);
}

TEST_F(Runtime, what_is_not_freed_is_named) {
  char text[1000];
  EXPECT_EQ(ig_sim_leaks(text, sizeof text), 3 + 1 + 2 + 1) << text;
  EXPECT_NE(std::string(text).find("device memory: 4000 bytes"), std::string::npos) << text;
  EXPECT_NE(std::string(text).find("pinned memory: 4000 bytes"), std::string::npos) << text;
  for (auto *p : {x, y, z})
    cudaFree(p);
  cudaFreeHost(host);
  for (auto s : {s1, s2})
    cudaStreamDestroy(s);
  cudaEventDestroy(e);
  EXPECT_EQ(ig_sim_leaks(text, sizeof text), 0) << text;
}

TEST_F(Runtime, more_operations_than_numbers) {  // the checker's numbers begin anew, and orders hold
  ig_sim_checks(1);
  for (int k = 0; k < 70000; k++)
    ASSERT_EQ(cudaMemsetAsync(x, k, 4, s1), cudaSuccess);
  run_add(y, x, N, 5, s1);
  EXPECT_EQ(reports(), "");
  run_add(z, y, N, 5, s1);
  run_add(x, z, N, 5, s2);
  expect_stream("add_kernel");
  run_add(z, y, N, 5, s2);
  run_add(x, z, N, 5, s1);
  expect_stream("add_kernel");
}

TEST_F(Runtime, bytes_are_counted) {
  ig_sim_count_reset();
  run_add(y, x, N, 5, s1);
  cudaDeviceSynchronize();
  ig_sim_counts c;
  ASSERT_TRUE(ig_sim_count("add_kernel", &c));
  EXPECT_EQ(c.launches, 1u);
  EXPECT_EQ(c.blocks, 8u);
  EXPECT_EQ(c.read_bytes, BYTES);
  EXPECT_EQ(c.write_bytes, BYTES);
  EXPECT_EQ(c.read_unique, BYTES);
  EXPECT_EQ(c.write_unique, BYTES);
  EXPECT_EQ(c.read_requests, 32u);  // 31 whole warps and one of 8 lanes
  EXPECT_EQ(c.read_sectors, 31u * 4 + 1);
  EXPECT_FALSE(ig_sim_count("no_such_kernel", &c));
  EXPECT_NE(std::string(ig_sim_launched(0)).find("add_kernel"), std::string::npos);
  EXPECT_EQ(ig_sim_launched(1), nullptr);
}

// What a program that knows nothing of the simulator is told at its end: run by the next test, in a process of its own.
TEST(Child, DISABLED_ends_with_a_race_and_a_leak) {
  int *x, *y;
  cudaMalloc((void **)&x, BYTES);
  cudaMalloc((void **)&y, BYTES);
  cudaMemset(x, 0, BYTES);
  cudaStream_t s;
  cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking);
  cudaDeviceSynchronize();
  run_add(y, x, N, 1, s);
  cudaMemcpy(x, y, BYTES, cudaMemcpyDeviceToDevice);
  cudaDeviceSynchronize();
  printf("malloc: %d\n", (int)cudaMalloc((void **)&x, 8));
}

TEST_F(Runtime, reports_and_leaks_end_a_program) {
  auto run = [](const char *environment) {
    std::string command = std::string(environment) + " /proc/" + std::to_string(getpid()) +
                          "/exe --gtest_also_run_disabled_tests --gtest_filter=Child.* 2>&1";
    FILE *f = popen(command.c_str(), "r");
    std::string out;
    char buffer[1000];
    while (size_t n = fread(buffer, 1, sizeof buffer, f))
      out.append(buffer, n);
    int status = pclose(f);
    return std::pair(WEXITSTATUS(status), out);
  };
  auto [plain, nothing] = run("");
  EXPECT_EQ(plain, 0) << nothing;
  EXPECT_EQ(nothing.find("sim:"), std::string::npos) << nothing;
  auto [checked, races] = run("INGOT_SIM_CHECKS=1");
  EXPECT_EQ(checked, 86) << races;
  EXPECT_NE(races.find("sim: [stream]"), std::string::npos) << races;
  auto [leaking, leaks] = run("INGOT_SIM_LEAKS=1");
  EXPECT_EQ(leaking, 86) << leaks;
  EXPECT_NE(leaks.find("device memory: 4000 bytes"), std::string::npos) << leaks;
  auto [failing, failed] = run("INGOT_SIM_FAIL=cudaMalloc:3:2");
  EXPECT_EQ(failing, 0);
  EXPECT_NE(failed.find("malloc: 2"), std::string::npos) << failed;
  auto [counting, counts] = run("INGOT_SIM_COUNT=-");
  EXPECT_EQ(counting, 0);
  EXPECT_NE(counts.find("add_kernel"), std::string::npos) << counts;
}

TEST_F(Runtime, the_device_says_what_it_is) {
  cudaDeviceProp p;
  ASSERT_EQ(cudaGetDeviceProperties(&p, 0), cudaSuccess);
  int v;
  for (auto [a, want] : {std::pair(cudaDevAttrMultiProcessorCount, p.multiProcessorCount),
                         {cudaDevAttrComputeCapabilityMajor, 9},
                         {cudaDevAttrMaxSharedMemoryPerBlockOptin, (int)p.sharedMemPerBlockOptin}}) {
    ASSERT_EQ(cudaDeviceGetAttribute(&v, a, 0), cudaSuccess);
    EXPECT_EQ(v, want);
  }
  EXPECT_EQ(cudaProfilerStart(), cudaSuccess);
}

}  // namespace
