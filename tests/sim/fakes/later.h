// Work of a stand-in on a stream: a host function in its turn, so that it can be captured and replayed as the real
// libraries' kernels can. Rule: the result's memory is first set to zero by the stream, so that the simulator knows who
// writes it and when; the host function then only changes its contents, as device memory has the host's addresses.
#ifndef IG_SIM_FAKES_LATER_H
#define IG_SIM_FAKES_LATER_H

#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

typedef struct later {
  cudaError_t (*fill)(void *, int, size_t, cudaStream_t);
  cudaError_t (*host)(cudaStream_t, cudaHostFn_t, void *);
} later;

// The simulator's runtime is in the back end that loaded the stand-in.
static bool later_open(later *l) {
  const char *name = getenv("INGOT_CUDA_LIBRARY");
  void *runtime = name ? dlopen(name, RTLD_NOW) : NULL;
  if (!runtime)
    return false;
  *(void **)&l->fill = dlsym(runtime, "cudaMemsetAsync");
  *(void **)&l->host = dlsym(runtime, "cudaLaunchHostFunc");
  return l->fill && l->host;
}

// ---- failures on demand, and what was not given back, for tests that open the stand-in by its file ----
static struct {
  char name[64];
  int after;
  long calls, failed, live, version;
  double wrong;
} fake;

// Added to what some results should be, from now on.
EXPORT void ig_fake_wrong(double by);
void ig_fake_wrong(double by) { fake.wrong = by; }

// What the library says of its version from now on; 0: its own.
EXPORT void ig_fake_version(long version);
void ig_fake_version(long version) { fake.version = version; }

// The n-th call of `function` from now on fails (-1: every one); NULL: none. Counts start again.
EXPORT void ig_fake_fail(const char *function, int n);
void ig_fake_fail(const char *function, int n) {
  strncpy(fake.name, function ? function : "", sizeof fake.name - 1);
  fake.after = n;
  fake.calls = fake.failed = 0;
}
EXPORT long ig_fake_calls(void);  // of that function
long ig_fake_calls(void) { return fake.calls; }
EXPORT long ig_fake_failed(void);
long ig_fake_failed(void) { return fake.failed; }
EXPORT long ig_fake_live(void);  // descriptors, layouts, preferences
long ig_fake_live(void) { return fake.live; }

static bool fails(const char *function) {
  if (strcmp(function, fake.name) || (++fake.calls != fake.after && fake.after != -1))
    return false;
  fake.failed++;
  return true;
}

#endif
