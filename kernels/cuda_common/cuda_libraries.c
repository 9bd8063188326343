// Finding NVIDIA's libraries: where the system's linker looks, else in PyTorch's packages (nvidia/*/lib of a Python);
// only in the folder INGOT_CUDA_LIBRARIES where that is set. What failed once is not tried again.
#include "kernels/cuda_common/cuda_libraries.h"

#include <dlfcn.h>
#include <glob.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/device/cuda/cuda_check.h"

#define MAX_DEVICES 64
#define RUNS        3

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

// The first of the packages' files named `name`, opened.
static void *open_packaged(const char *name) {
  const char *environments[] = {getenv("VIRTUAL_ENV"), getenv("CONDA_PREFIX"), getenv("HOME"), "/usr/local", "/usr"};
  const char *below[] = {"", "", "/.local", "", ""};
  void *handle = NULL;
  for (int i = 0; i < 5 && !handle; i++)
    for (int k = 0; environments[i] && k < 2 && !handle; k++) {
      char pattern[4096];
      glob_t found;
      snprintf(pattern, sizeof pattern, "%s%s/lib/python3*/%s-packages/nvidia/*/lib/%s", environments[i], below[i],
               k ? "dist" : "site", name);
      if (glob(pattern, 0, NULL, &found) == 0) {
        for (size_t f = 0; f < found.gl_pathc && !handle; f++)
          handle = dlopen(found.gl_pathv[f], RTLD_NOW | RTLD_LOCAL);
        globfree(&found);
      }
    }
  return handle;
}

static ig_status open_any(const char *title, const char *const *names, void **handle) {
  const char *only = getenv("INGOT_CUDA_LIBRARIES");
  *handle = NULL;
  for (int i = 0; names[i] && !*handle; i++) {
    char path[4096];
    snprintf(path, sizeof path, "%s%s%s", only ? only : "", only ? "/" : "", names[i]);
    *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  }
  for (int i = 0; names[i] && !*handle && !only; i++)
    *handle = open_packaged(names[i]);
  if (!*handle)
    return ig_fail(IG_ERR_UNSUPPORTED, "%s (%s) is not %s%s", title, names[0], only ? "in " : "",
                   only ? only : "where the system's linker looks, nor in a Python's nvidia/ packages");
  return IG_OK;
}

static ig_status function_of(void *library, const char *title, const char *name, void *to) {
  void *f = dlsym(library, name);
  if (!f)
    return ig_fail(IG_ERR_UNSUPPORTED, "%s has no %s: it is too old", title, name);
  memcpy(to, &f, sizeof f);
  return IG_OK;
}

static ig_status device_index(int *index) {
  IG_CUDA(cudaGetDevice(index));
  if (*index < 0 || *index >= MAX_DEVICES)
    return ig_fail(IG_ERR_UNSUPPORTED, "GPU %d: libraries are used on the first %d", *index, MAX_DEVICES);
  return IG_OK;
}

// A library: its table of functions, a handle a device, and why there is none.
#define LIBRARY(prefix, title, type, functions, ...)                         \
  static ig_##prefix prefix;                                                 \
  static type prefix##_handles[MAX_DEVICES];                                 \
  static bool prefix##_ready;                                                \
  static char prefix##_why[256];                                             \
  static ig_status load_##prefix(void) {                                     \
    static const char *const names[] = {__VA_ARGS__, NULL};                  \
    static const char *const library_title = title;                          \
    ig_##prefix table;                                                       \
    void *library;                                                           \
    if (prefix##_why[0])                                                     \
      return ig_fail(IG_ERR_UNSUPPORTED, "%s", prefix##_why);                \
    if (prefix##_ready)                                                      \
      return IG_OK;                                                          \
    ig_status status = open_any(library_title, names, &library);             \
    functions(LOAD);                                                         \
    if (status != IG_OK)                                                     \
      snprintf(prefix##_why, sizeof prefix##_why, "%s", ig_error_message()); \
    else                                                                     \
      prefix = table;                                                        \
    prefix##_ready = status == IG_OK;                                        \
    return status;                                                           \
  }
#define LOAD(f)        \
  if (status == IG_OK) \
    status = function_of(library, library_title, #f, &table.f);

// The handle of the thread's device: created by `create`, whose text of a status is `text`.
#define OPEN(prefix, type, create, text)                                                            \
  ig_status ig_##prefix##_open(const ig_##prefix **out, type *handle) {                             \
    ig_status status = IG_OK;                                                                       \
    int index, failed = 0;                                                                          \
    pthread_mutex_lock(&lock);                                                                      \
    IG_GOTO(load_##prefix());                                                                       \
    IG_GOTO(device_index(&index));                                                                  \
    if (!prefix##_handles[index] && (failed = (int)prefix.create(&prefix##_handles[index])) != 0) { \
      prefix##_handles[index] = NULL;                                                               \
      snprintf(prefix##_why, sizeof prefix##_why, #create ": %s", prefix.text(failed));             \
      IG_GOTO(ig_fail(IG_ERR_UNSUPPORTED, "%s", prefix##_why));                                     \
    }                                                                                               \
    *out = &prefix;                                                                                 \
    *handle = prefix##_handles[index];                                                              \
  done:                                                                                             \
    pthread_mutex_unlock(&lock);                                                                    \
    return status;                                                                                  \
  }

LIBRARY(cublaslt, "cuBLASLt", cublasLtHandle_t, IG_CUBLASLT_FUNCTIONS, "libcublasLt.so.13", "libcublasLt.so.12")
OPEN(cublaslt, cublasLtHandle_t, cublasLtCreate, cublasLtGetStatusString)
#ifdef IG_HAS_CUDNN
LIBRARY(cudnn, "cuDNN", cudnnHandle_t, IG_CUDNN_FUNCTIONS, "libcudnn.so.9")
OPEN(cudnn, cudnnHandle_t, cudnnCreate, cudnnGetErrorString)
#endif

void ig_cuda_libraries(char *text, size_t bytes) {
  size_t v = 0, at;
  pthread_mutex_lock(&lock);
  if (load_cublaslt() == IG_OK)
    v = cublaslt.cublasLtGetVersion();  // 130100
  at = (size_t)(v ? snprintf(text, bytes, "cuBLASLt %zu.%zu.%zu", v / 10000, v / 100 % 100, v % 100)
                  : snprintf(text, bytes, "no cuBLASLt"));
  v = 0;
#ifdef IG_HAS_CUDNN
  if (load_cudnn() == IG_OK)
    v = cudnn.cudnnGetVersion();  // 91500
#endif
  if (at < bytes)
    (void)(v ? snprintf(text + at, bytes - at, ", cuDNN %zu.%zu.%zu", v / 10000, v / 100 % 100, v % 100)
             : snprintf(text + at, bytes - at, ", no cuDNN"));
  pthread_mutex_unlock(&lock);
}

// ---- choosing by time ----
// ran: what the library itself answered; an error of the device comes back.
static ig_status time_one(int i, ig_timed_fn launch, void *user, void *const *places, cudaStream_t stream,
                          cudaEvent_t from, cudaEvent_t to, ig_status *ran, float *least) {
  float ms;
  for (int run = 0; run <= RUNS; run++) {  // the first warms up
    IG_CUDA(cudaEventRecord(from, stream));
    if ((*ran = launch(user, i, places)) != IG_OK)
      return IG_OK;
    IG_CUDA(cudaEventRecord(to, stream));
    IG_CUDA(cudaEventSynchronize(to));
    IG_CUDA(cudaEventElapsedTime(&ms, from, to));
    if (run == 1 || (run > 1 && ms < *least))
      *least = ms;
  }
  return IG_OK;
}

// One that the library refuses to run is not chosen; where all are refused that is the answer.
static ig_status time_all(int n, ig_timed_fn launch, void *user, void *const *places, cudaStream_t stream,
                          cudaEvent_t from, cudaEvent_t to, int *chosen) {
  float best = 0;
  ig_status ran = IG_OK;
  *chosen = -1;
  for (int i = 0; i < n; i++) {
    float least = 0;
    IG_TRY(time_one(i, launch, user, places, stream, from, to, &ran, &least));
    if (ran == IG_OK && (*chosen < 0 || least < best)) {
      best = least;
      *chosen = i;
    }
  }
  return *chosen < 0 ? ran : IG_OK;
}

ig_status ig_cuda_fastest(int n, ig_timed_fn launch, void *user, const size_t *sizes, int n_sizes, size_t workspace,
                          cudaStream_t stream, int *chosen) {
  void *places[IG_TIMED_PLACES + 1];
  char *memory = NULL;
  size_t at = 0;
  cudaEvent_t from = NULL, to = NULL;
  ig_status status = IG_OK;
  *chosen = 0;
  if (n == 1)
    return IG_OK;
  for (int i = 0; i < n_sizes; i++)
    at += (sizes[i] + 255) / 256 * 256;
  cudaError_t error = cudaMalloc((void **)&memory, at + workspace + 1);
  if (error == cudaSuccess)
    error = cudaMemsetAsync(memory, 0x3c, at, stream);
  if (error == cudaSuccess)
    error = cudaEventCreate(&from);
  if (error == cudaSuccess)
    error = cudaEventCreate(&to);
  if (error != cudaSuccess)
    IG_GOTO(ig_cuda_fail(error, "timing of a library's algorithms"));
  at = 0;
  for (int i = 0; i <= n_sizes; i++) {
    places[i] = memory + at;
    at += i < n_sizes ? (sizes[i] + 255) / 256 * 256 : 0;
  }
  IG_GOTO(time_all(n, launch, user, places, stream, from, to, chosen));
done:
  if (from)
    cudaEventDestroy(from);
  if (to)
    cudaEventDestroy(to);
  if (memory)
    cudaFree(memory);
  return status;
}

// ---- choices of earlier starts ----
#define CHOICE "%d of %d, workspace %zu"

bool ig_cuda_recall(const ig_prepare *prepare, const char *library, int n, int *chosen, size_t *workspace) {
  const char *stored = ig_prepare_recall(prepare, library);
  char again[64];
  int of;
  if (!stored || sscanf(stored, CHOICE, chosen, &of, workspace) != 3)
    return false;
  snprintf(again, sizeof again, CHOICE, *chosen, of, *workspace);
  return !strcmp(again, stored) && of == n && *chosen >= 0 && *chosen < n;
}

ig_status ig_cuda_keep(const ig_prepare *prepare, const char *library, int chosen, int n, size_t workspace) {
  char text[64];
  snprintf(text, sizeof text, CHOICE, chosen, n, workspace);
  return ig_prepare_keep(prepare, library, text);
}
