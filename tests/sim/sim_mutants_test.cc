// Mutants of PTX: each kernel here is changed in every way that mutate.cc knows, and what changes a result must be
// caught, by a report or by comparison at the tolerance that tests of kernels use. Rule: a mutant that is never
// executed, or that changes neither a result nor a report, is none.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <numeric>

#include "tests/sim/sim_harness.h"
#include "tests/sim/test_kernels.h"

namespace {

class Mutants : public SimTest {
 protected:
  struct Score {
    int all = 0, ran = 0, changed = 0, caught = 0, reported = 0;
    std::string missed;
  };
  // run: launches the kernel and returns its output; tolerance: of an element, absolute.
  template <class F>
  Score walk(const char *kernel, F run, double tolerance) {
    Score s;
    ig_sim_limit(300'000);
    auto clean = run();
    EXPECT_EQ(reports(), "") << kernel;
    s.all = ig_sim_mutants(kernel);
    for (int k = 0; k < s.all; k++) {
      ig_sim_reset();
      ig_sim_clear();
      EXPECT_EQ(ig_sim_mutate(kernel, k), 0);
      auto got = run();
      bool reported = !reports().empty(), ran = ig_sim_mutant_ran();
      ig_sim_mutate(nullptr, 0);
      bool same = got.size() == clean.size() && !memcmp(got.data(), clean.data(), got.size() * sizeof got[0]),
           far = false;
      for (size_t i = 0; i < got.size(); i++)
        far |= !(std::fabs((double)got[i] - (double)clean[i]) <= tolerance);
      s.ran += ran;
      s.reported += reported;
      if (!ran || (same && !reported))
        continue;
      s.changed++;
      if (reported || far) {
        s.caught++;
      } else {
        char text[400];
        ig_sim_mutant_text(kernel, k, text, sizeof text);
        s.missed += std::string("  ") + text + "\n";
      }
    }
    ig_sim_reset();
    ig_sim_clear();
    printf("%s: %d mutants, %d executed, %d change something, %d caught (%d by reports)\n%s", kernel, s.all, s.ran,
           s.changed, s.caught, s.reported, s.missed.c_str());
    return s;
  }
};

TEST_F(Mutants, of_a_gemm) {
  const int M = 70, N = 33, K = 72;
  std::vector<unsigned short> a(M * K), b(N * K);
  for (size_t i = 0; i < a.size(); i++)
    a[i] = 0x3f80 + i * 7 % 97;  // numbers from 1 to 1.75
  for (size_t i = 0; i < b.size(); i++)
    b[i] = 0x3f00 + i * 5 % 89;
  Score s = walk(
      "gemm_kernel",
      [&] {
        Device<unsigned short> da(a), db(b);
        Device<float> dc(M * N);
        run_gemm(dc, da, db, M, N, K);
        return dc.get();
      },
      1e-3);
  EXPECT_GT(s.all, 300);
  EXPECT_GE(s.caught, 0.95 * s.changed);
}

TEST_F(Mutants, of_a_reduction) {
  std::vector<float> x(3001);
  for (size_t i = 0; i < x.size(); i++)
    x[i] = (int)(i * 37 % 101) - 40;
  Score s = walk(
      "last_kernelILi0E",
      [&] {
        Device<float> dx(x), dy(1), part(7);
        Device<unsigned> count(std::vector<unsigned>(1));
        run_last(dy, part, count, dx, x.size(), 7, 0);
        return dy.get();
      },
      1e-2);
  EXPECT_GT(s.all, 40);
  EXPECT_GE(s.caught, 0.95 * s.changed);
}

TEST_F(Mutants, of_a_pipeline_and_a_histogram) {
  std::vector<float> x(5 * 512 + 4);
  std::iota(x.begin(), x.end(), 0.f);
  Score s = walk(
      "pipe_kernelILi0E",
      [&] {
        Device<float> dx(x), dy(128);
        run_pipe(dy, dx, 5, 0);
        return dy.get();
      },
      1e-2);
  EXPECT_GE(s.caught, 0.95 * s.changed);
  std::vector<unsigned> v(1000);
  for (int i = 0; i < 1000; i++)
    v[i] = i * i * 7 % 113;
  s = walk(
      "bins_kernelILi0E",
      [&] {
        Device<unsigned> dx(v), dh(std::vector<unsigned>(32));
        run_bins(dh, dx, 1000, 0);
        return dh.get();
      },
      0);
  EXPECT_GE(s.caught, 0.95 * s.changed);
}

TEST_F(Mutants, dropped_barriers_are_seen_by_the_checks) {  // not by luck: the results may be right
  struct {
    const char *kernel;
    int harmless;  // waits that guard nothing: the producers' last one
    std::function<void()> run;
  } const kernels[] = {
      {"gemm_kernel", 0,
       [] {
         Device<unsigned short> a(std::vector<unsigned short>(64 * 96, 0x3f80)),
             b(std::vector<unsigned short>(64 * 96, 0x3f80));
         Device<float> c(64 * 64);
         run_gemm(c, a, b, 64, 64, 96);
         cudaDeviceSynchronize();
       }},
      {"tile_kernelILi0E", 0,
       [] {
         Device<float> a(std::vector<float>(32 * 32, 1.f)), b(std::vector<float>(32 * 32, 1.f)), c(32 * 32);
         run_tile(c, a, b, 32, 32, 32, 0);
         cudaDeviceSynchronize();
       }},
      {"hand_kernelILi0E", 1,
       [] {
         Device<int> y(256);
         run_hand(y, 0);
         cudaDeviceSynchronize();
       }},
  };
  for (auto &k : kernels) {
    int n = 0;
    std::string missed;
    for (int m = 0; m < ig_sim_mutants(k.kernel); m++) {
      char text[400];
      ASSERT_GT(ig_sim_mutant_text(k.kernel, m, text, sizeof text), 0);
      if (!strstr(text, "dropped") || !(strstr(text, "`bar") || strstr(text, "wait_group")))
        continue;
      n++;
      ig_sim_reset();
      ig_sim_clear();
      ASSERT_EQ(ig_sim_mutate(k.kernel, m), 0);
      k.run();
      bool ran = ig_sim_mutant_ran();
      std::string r = reports();
      ig_sim_mutate(nullptr, 0);
      if (ran && r.find("[race]") == std::string::npos && r.find("[hang]") == std::string::npos)
        missed += std::string(text) + "\n";
    }
    EXPECT_GE(n, 2) << k.kernel;
    EXPECT_EQ(std::count(missed.begin(), missed.end(), '\n'), k.harmless) << missed;
  }
}

TEST_F(Mutants, the_kernel_is_itself_again) {
  Device<int> y(256);
  int n = ig_sim_mutants("hand_kernelILi0E");
  EXPECT_GT(n, 5);
  EXPECT_EQ(ig_sim_mutate("hand_kernelILi0E", n), -1);
  EXPECT_EQ(ig_sim_mutate("no_such_kernel", 0), -1);
  EXPECT_EQ(ig_sim_mutants("no_such_kernel"), -1);
  run_hand(y, 0);
  EXPECT_EQ(reports(), "");
  EXPECT_FALSE(ig_sim_mutant_ran());
}

}  // namespace
