// The stand-in of cuDNN (tests/sim/fakes), opened by its file, and what the simulator says is left on the device.
#ifndef IG_TESTS_FAKE_CUDNN_H
#define IG_TESTS_FAKE_CUDNN_H

#include <cstdlib>
#include <dlfcn.h>
#include <string>

#include "tests/sim/sim.h"

struct FakeCudnn {
  bool open() {
    const char *folder = getenv("INGOT_CUDA_LIBRARIES"), *sim = getenv("INGOT_CUDA_LIBRARY");
    void *library = folder ? dlopen((std::string(folder) + "/libcudnn.so.9").c_str(), RTLD_NOW) : nullptr;
    void *runtime = sim ? dlopen(sim, RTLD_NOW) : nullptr;
    auto find = [&](const char *name) { return library ? dlsym(library, name) : nullptr; };
    fail = (decltype(fail))find("ig_fake_fail");
    calls = (decltype(calls))find("ig_fake_calls");
    failed = (decltype(failed))find("ig_fake_failed");
    live = (decltype(live))find("ig_fake_live");
    wrong = (decltype(wrong))find("ig_fake_wrong");
    leaks = (decltype(leaks))(runtime ? dlsym(runtime, "ig_sim_leaks") : nullptr);
    return fail && calls && failed && live && wrong && leaks;
  }
  void (*fail)(const char *, int);
  long (*calls)(), (*failed)(), (*live)();
  void (*wrong)(double);
  decltype(&ig_sim_leaks) leaks;
};

#endif
