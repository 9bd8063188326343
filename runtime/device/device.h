// A device: memory, streams, events and the table of implementations it offers. Rule: everything above talks to this
// vtable; no caller asks which device it is. A back end (the CPU here, CUDA as a loadable library) fills one ig_device.
#ifndef IG_DEVICE_DEVICE_H
#define IG_DEVICE_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/base/cpu.h"
#include "runtime/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ig_impl ig_impl;  // runtime/graph/op.h
typedef struct ig_device ig_device;
typedef struct ig_stream ig_stream;  // an ordered queue of work; NULL = the device's default stream
typedef struct ig_event ig_event;

typedef enum ig_device_kind { IG_DEVICE_CPU, IG_DEVICE_CUDA, IG_N_DEVICE_KINDS } ig_device_kind;

// What implementations ask before they accept a node.
typedef struct ig_device_caps {
  ig_device_kind kind;
  ig_isa isa;           // CPU: highest instruction set allowed (key isa=)
  int threads;          // CPU: threads of a parallel loop
  bool bf16, fp16;      // arithmetic in these types is native, not emulated
  bool winograd;        // key winograd=: less exact but faster convolutions are allowed
  bool tf32;            // CUDA: fp32 matrix products may round their operands to tf32
  int architecture;     // CUDA: 90 for sm_90
  int processors;       // CUDA: streaming multiprocessors
  size_t shared_bytes;  // CUDA: shared memory that a block may ask for
  size_t cache_bytes;   // CUDA: the L2
  double clock_hz;      // CUDA: the highest clock of the processors that the driver states
  uint64_t memory_bytes;
  char name[96];       // processor or GPU name, part of the tuning key
  char libraries[96];  // vendor libraries with versions ("oneDNN 2.6.3"), part of the tuning key
} ig_device_caps;

// Every function that can fail returns a status with a message. Copies and fills are ordered on the stream; a host
// pointer must stay valid until the stream has passed (host_alloc memory makes them asynchronous on a GPU).
typedef struct ig_device_ops {
  // Makes the device the calling thread's, before work is put on it. NULL where threads know of no device.
  ig_status (*enter)(ig_device *dev);
  ig_status (*alloc)(ig_device *dev, size_t bytes, const char *what, void **out);  // zeroed, 256-byte aligned
  void (*free)(ig_device *dev, void *p, size_t bytes);
  ig_status (*host_alloc)(ig_device *dev, size_t bytes, void **out);  // staging memory, pinned where that helps
  void (*host_free)(ig_device *dev, void *p, size_t bytes);
  ig_status (*copy_in)(ig_device *dev, void *dst, const void *host_src, size_t bytes, ig_stream *s);
  ig_status (*copy_out)(ig_device *dev, void *host_dst, const void *src, size_t bytes, ig_stream *s);
  ig_status (*copy)(ig_device *dev, void *dst, const void *src, size_t bytes, ig_stream *s);
  ig_status (*fill)(ig_device *dev, void *dst, int byte, size_t bytes, ig_stream *s);
  ig_status (*stream_create)(ig_device *dev, ig_stream **out);
  void (*stream_destroy)(ig_device *dev, ig_stream *s);
  ig_status (*stream_wait)(ig_device *dev, ig_stream *s);  // host waits until the stream is empty; reports late errors
  ig_status (*event_create)(ig_device *dev, ig_event **out);
  void (*event_destroy)(ig_device *dev, ig_event *e);
  ig_status (*event_record)(ig_device *dev, ig_event *e, ig_stream *s);
  ig_status (*event_order)(ig_device *dev, ig_stream *s, ig_event *e);  // s waits for e, the host does not
  ig_status (*event_wait)(ig_device *dev, ig_event *e);                 // host waits for e
  ig_status (*event_elapsed)(ig_device *dev, ig_event *from, ig_event *to, uint64_t *ns);
  // Captured execution: what is launched between begin and end becomes one replayable object. NULL where the device has
  // none (CPU); then a plan launches its list each time.
  ig_status (*capture_begin)(ig_device *dev, ig_stream *s);
  ig_status (*capture_end)(ig_device *dev, ig_stream *s, void **graph);
  ig_status (*capture_launch)(ig_device *dev, void *graph, ig_stream *s);
  void (*capture_destroy)(ig_device *dev, void *graph);
  // A named stretch of the calling thread's time, for profilers; stretches nest. NULL where no profiler would look.
  void (*range_begin)(ig_device *dev, const char *name);
  void (*range_end)(ig_device *dev);
  void (*destroy)(ig_device *dev);
} ig_device_ops;

struct ig_device {
  const ig_device_ops *ops;
  ig_device_caps caps;
  const ig_impl *const *impl_lists;  // NULL-terminated array of arrays terminated by name == NULL
  ig_stream *stream;                 // what NULL stands for; NULL where there is no other (CPU)
  uint64_t held_bytes, peak_bytes;   // CUDA: memory that `alloc` has given away, now and at most
  void *state;                       // the back end's own
};

typedef struct ig_cpu_options {
  size_t size;  // sizeof(ig_cpu_options)
  int threads;  // 0: what affinity and cgroup allow; never more than OMP_THREAD_LIMIT
  ig_isa isa;   // cap; IG_ISA_AMX = no cap
  bool winograd;
  const ig_impl *const *impl_lists;  // the kernel library's table (kernels/kernels.h: ig_cpu_impl_lists)
  const char *libraries;             // kernels/kernels.h: ig_cpu_libraries()
} ig_cpu_options;

ig_status ig_device_create_cpu(const ig_cpu_options *options, ig_device **out);

typedef struct ig_cuda_options {
  size_t size;  // sizeof(ig_cuda_options)
  int index;    // which GPU
  bool tf32;
} ig_cuda_options;

// Opens libingot_cuda.so (INGOT_CUDA_LIBRARY, else beside the program) and a GPU with it. IG_ERR_UNSUPPORTED says why
// there is none: library, driver, GPU or architecture.
ig_status ig_device_create_cuda(const ig_cuda_options *options, ig_device **out);
bool ig_has_cuda(void);  // libingot_cuda.so is there and can be loaded; no GPU is asked for
void ig_device_destroy(ig_device *dev);
// The implementation of that name, or NULL: a missing library is only a missing name. A name that several instruction
// sets provide yields the best one that caps.isa allows.
const ig_impl *ig_device_find_impl(const ig_device *dev, const char *name);

#ifdef __cplusplus
}
#endif
#endif
