// Planted bugs: each must be reported with its kind and line, and the clean kernel beside it must be silent.
#include <algorithm>
#include <numeric>

#include "tests/sim/sim_harness.h"
#include "tests/sim/test_kernels.h"

namespace {

class Bugs : public SimTest {
 protected:
  // The reports of one kernel; a fault ends the device, so that each run has a fresh one.
  template <class F>
  std::string run(F f) {
    ig_sim_reset();
    ig_sim_clear();
    f();
    cudaDeviceSynchronize();
    return reports();
  }
};

// Every report is of this kind and names the file; there is one at least.
void expect(const std::string &r, const char *kind, const char *what) {
  EXPECT_NE(r.find(std::string("[") + kind + "]"), std::string::npos) << what << ": expected a " << kind << ", got:\n"
                                                                      << r;
  if (strcmp(kind, "uninit") && strcmp(kind, "hang")) {
    EXPECT_NE(r.find("bug_kernels.cu:"), std::string::npos) << r;
  }
}

TEST_F(Bugs, tiles) {
  const char *const want[] = {"", "race", "bounds", "bounds", "uninit", "diverge", "race"};
  for (int bug = 0; bug <= 6; bug++) {
    std::string r = run([&] {
      const int M = 64, N = 48, K = 80;
      std::vector<float> a(M * K), b(K * N);
      for (size_t i = 0; i < a.size(); i++)
        a[i] = i % 13;
      for (size_t i = 0; i < b.size(); i++)
        b[i] = i % 7;
      Device<float> da(a), db(b), dc(M * N);
      run_tile(dc, da, db, M, N, K, bug);
      auto c = dc.get();
      if (!bug) {
        for (int i = 0; i < M; i++)
          for (int j = 0; j < N; j++) {
            float s = 0;
            for (int k = 0; k < K; k++)
              s += a[i * K + k] * b[k * N + j];
            ASSERT_EQ(c[i * N + j], s);
          }
      }
    });
    if (bug) {
      expect(r, want[bug], "tile");
    } else {
      EXPECT_EQ(r, "");
    }
  }
}

TEST_F(Bugs, lanes) {
  const char *const want[] = {"", "race", "hang", "race", "race", "align", "bounds"};
  for (int bug = 0; bug <= 6; bug++) {
    std::string r = run([&] {
      std::vector<float> x(64);
      std::iota(x.begin(), x.end(), 1.f);
      Device<float> dx(x), dy(64);
      run_lanes(dy, dx, bug);
      if (bug == 2)
        cudaDeviceSynchronize();
      auto y = dy.get();
      if (!bug) {
        for (int i = 0; i < 64; i++)
          ASSERT_EQ(y[i], x[i ^ 1]);
      }
    });
    if (bug) {
      expect(r, want[bug], "lanes");
    } else {
      EXPECT_EQ(r, "");
    }
  }
}

TEST_F(Bugs, last_block_reductions) {
  for (int bug = 0; bug <= 4; bug++) {
    std::string r = run([&] {
      std::vector<float> x(5000);
      std::iota(x.begin(), x.end(), -1000.f);
      Device<float> dx(x), dy(1), part(12);
      Device<unsigned> count(std::vector<unsigned>(1));
      run_last(dy, part, count, dx, 5000, 12, bug);
      float y = dy.get()[0];
      if (!bug) {
        ASSERT_EQ(y, std::accumulate(x.begin(), x.end(), 0.f));
      }
    });
    if (bug) {
      expect(r, "race", "last");
    } else {
      EXPECT_EQ(r, "");
    }
  }
}

TEST_F(Bugs, pipelines) {
  const char *const want[] = {"", "race", "race", "race", "sync", "align"};
  for (int bug = 0; bug <= 5; bug++) {
    std::string r = run([&] {
      std::vector<float> x(5 * 512 + 4);
      std::iota(x.begin(), x.end(), 0.f);
      Device<float> dx(x), dy(128);
      run_pipe(dy, dx, 5, bug);
      auto y = dy.get();
      if (!bug) {
        for (int t = 0; t < 128; t++) {
          float s = 0;
          for (int k = 0; k < 5; k++)
            s += x[k * 512 + ((t * 7 + 5) & 511)];
          ASSERT_EQ(y[t], s);
        }
      }
    });
    if (bug) {
      expect(r, want[bug], "pipe");
    } else {
      EXPECT_EQ(r, "");
    }
  }
}

TEST_F(Bugs, histograms) {
  const char *const want[] = {"", "race", "uninit", "race", "race", "bounds"};
  for (int bug = 0; bug <= 5; bug++) {
    std::string r = run([&] {
      std::vector<unsigned> x(1000), count(32);
      for (int i = 0; i < 1000; i++)
        count[(x[i] = i * i * 7 % 113) & 31]++;
      Device<unsigned> dx(x), dh(std::vector<unsigned>(32));
      run_bins(dh, dx, 1000, bug);
      auto h = dh.get();
      if (!bug) {
        ASSERT_EQ(h, count);
      }
    });
    if (bug) {
      expect(r, want[bug], "bins");
    } else {
      EXPECT_EQ(r, "");
    }
  }
}

TEST_F(Bugs, halves_of_words) {
  for (int bug = 0; bug <= 1; bug++) {
    std::string r = run([&] {
      Device<unsigned short> y(4 * 99 + 1);
      run_halves(y, 99, bug);
    });
    if (bug) {
      expect(r, "race", "halves");
    } else {
      EXPECT_EQ(r, "");
    }
  }
}

TEST_F(Bugs, named_barriers) {
  for (int bug = 0; bug <= 2; bug++) {
    std::string r = run([&] {
      Device<int> y(256);
      run_hand(y, bug);
    });
    if (bug) {
      expect(r, bug == 1 ? "race" : "hang", "hand");
    } else {
      EXPECT_EQ(r, "");
    }
  }
}

TEST_F(Bugs, chains_of_flags) {
  for (int bug = 0; bug <= 3; bug++) {
    std::string r = run([&] {
      Device<int> y(1), parts(20), flags(std::vector<int>(20));
      run_chain(y, parts, flags, 20, bug);
      int sum = y.get()[0];
      if (!bug) {
        ASSERT_EQ(sum, 19 * 20 * 39 / 6);
      }
    });
    if (bug) {
      expect(r, "race", "chain");
    } else {
      EXPECT_EQ(r, "");
    }
  }
}

TEST_F(Bugs, rings_of_bulk_copies) {
  const char *const want[] = {"", "race", "hang", "sync", "hang"};
  for (int bug = 0; bug <= 4; bug++)
    for (int checks : {1, 0}) {
      if (bug && !checks)
        continue;
      ig_sim_checks(checks);
      ig_sim_limit(bug ? 200'000 : 0);
      std::string r = run([&] {
        std::vector<float> x(7 * 256);
        std::iota(x.begin(), x.end(), 0.f);
        Device<float> dx(x), dy(96);
        run_ring(dy, dx, 7, bug);
        auto y = dy.get();
        if (!bug) {
          for (int t = 0; t < 96; t++) {
            float s = 0;
            for (int k = 0; k < 7; k++)
              s += x[k * 256 + ((t * 3 + k) & 255)];
            ASSERT_EQ(y[t], s);
          }
        }
      });
      if (bug) {
        expect(r, want[bug], "ring");
      } else {
        EXPECT_EQ(r, "");
      }
    }
}

TEST_F(Bugs, faults_stick) {
  const char *const want[] = {"", "fault", "fault", "bounds", "hang", "", "bounds"};
  const cudaError_t error[] = {
      cudaSuccess, cudaErrorLaunchFailure, cudaErrorAssert, cudaErrorIllegalAddress, cudaErrorLaunchTimeout,
      cudaSuccess, cudaErrorIllegalAddress};
  ig_sim_limit(1'000'000);
  for (int bug = 0; bug <= 6; bug++) {
    std::string r = run([&] {
      Device<int> y(32), flag(std::vector<int>(1));
      run_fault(y, flag, bug);
      EXPECT_EQ(cudaPeekAtLastError(), cudaSuccess) << "a fault shows at the next wait";
      EXPECT_EQ(cudaDeviceSynchronize(), error[bug]);
      EXPECT_EQ(cudaDeviceSynchronize(), error[bug]) << "and stays";
      void *p;
      EXPECT_EQ(cudaMalloc(&p, 100), error[bug]);
      EXPECT_EQ(cudaGetLastError(), error[bug]);
    });
    if (*want[bug]) {
      expect(r, want[bug], "fault");
    } else {
      EXPECT_EQ(r, "");
    }
  }
}

TEST_F(Bugs, freed_and_unwritten_memory_and_operands) {
  int *y, *x;
  std::vector<int> v(100, 3);
  cudaMalloc((void **)&y, 400);
  cudaMalloc((void **)&x, 400);
  run_add(y, x, 100, 1, nullptr);
  std::string r = reports();
  expect(r, "uninit", "unwritten");
  EXPECT_NE(r.find("thread 0 block 0"), std::string::npos) << r;
  cudaMemcpy(x, v.data(), 400, cudaMemcpyHostToDevice);
  run_add(y, x, 100, 1, nullptr);
  EXPECT_EQ(reports(), "");
  ig_sim_undefine(x + 40, 4);
  run_add(y, x, 100, 1, nullptr);
  expect(reports(), "uninit", "unwritten again");
  cudaMemcpy(x, v.data(), 400, cudaMemcpyHostToDevice);
  ig_sim_allow(x, 400, IG_SIM_READ);
  ig_sim_allow(y, 200, IG_SIM_WRITE);
  run_add(y, x, 50, 1, nullptr);
  EXPECT_EQ(reports(), "");
  run_add(y, x, 51, 1, nullptr);
  expect(reports(), "bounds", "beyond the operand");
  ig_sim_allow_clear();
  cudaFree(x);
  run_add(y, x, 100, 1, nullptr);
  r = reports();
  expect(r, "bounds", "freed");
  EXPECT_NE(r.find("freed"), std::string::npos) << r;
}

TEST_F(Bugs, reports_do_not_depend_on_the_run) {
  std::string first;
  for (int k = 0; k < 4; k++) {
    ig_sim_threads(k & 1 ? 1 : 2);
    std::string r = run([&] {
      std::vector<float> x(40000, 1.f);
      Device<float> dx(x), dy(1), part(200);
      Device<unsigned> count(std::vector<unsigned>(1));
      run_last(dy, part, count, dx, 40000, 200, 4);
    });
    if (k) {
      EXPECT_EQ(r, first);
    }
    first = r;
  }
  ig_sim_threads(2);
}

}  // namespace
