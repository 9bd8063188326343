// What the simulator's tests share: device arrays, reports as text, a fresh device for each test.
#pragma once
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "tests/sim/sim.h"

template <class T>
class Device {
 public:
  explicit Device(size_t n) : n_(n) { cudaMalloc((void **)&p_, n * sizeof(T)); }
  explicit Device(const std::vector<T> &v) : Device(v.size()) {
    cudaMemcpy(p_, v.data(), n_ * sizeof(T), cudaMemcpyHostToDevice);
  }
  Device(const Device &) = delete;
  ~Device() { cudaFree(p_); }
  operator T *() { return p_; }
  std::vector<T> get() {
    std::vector<T> v(n_);
    cudaMemcpy(v.data(), p_, n_ * sizeof(T), cudaMemcpyDeviceToHost);
    return v;
  }

 private:
  T *p_ = nullptr;
  size_t n_;
};

// All reports, a line each: "[race] ...".
inline std::string reports() {
  cudaDeviceSynchronize();
  std::string s;
  for (int k = 0; k < ig_sim_reports(); k++)
    s += std::string("[") + ig_sim_kind_name(ig_sim_report_kind(k)) + "] " + ig_sim_report_text(k) + "\n";
  ig_sim_clear();
  return s;
}

class SimTest : public testing::Test {
 protected:
  void SetUp() override {
    int n = 0;
    if (cudaGetDeviceCount(&n) != cudaSuccess)
      GTEST_SKIP()
          << "skipped: the simulator needs a processor with AVX2, and its addresses (not under the thread sanitizer)";
    ig_sim_reset();
    ig_sim_clear();
    ig_sim_count_reset();
    ig_sim_checks(1);
  }
  void TearDown() override {
    ig_sim_fail(nullptr, 0, 0, 0);
    ig_sim_mutate(nullptr, 0);
    ig_sim_allow_clear();
    ig_sim_limit(0);
    ig_sim_reset();
    ig_sim_clear();
  }
};
