// What the program and a loadable back end (libingot_cuda.so) say to each other when it is opened. Rule: the back end
// is of the same build; it has its own copy of the code of floors 0 and 1, and shares the state behind it.
#ifndef IG_DEVICE_BACKEND_H
#define IG_DEVICE_BACKEND_H

#include "runtime/base/mem.h"
#include "runtime/device/device.h"

#ifdef __cplusplus
extern "C" {
#endif

#define IG_BACKEND_VERSION 3  // of this header, ig_device, ig_launch and ig_prepare: raised when one of them changes

typedef struct ig_backend_host {
  size_t size;  // sizeof(ig_backend_host)
  int version;  // IG_BACKEND_VERSION
  ig_message_fn message;
  ig_mem_counts *memory;
} ig_backend_host;

// The one symbol of a back end. An error's status and message are the host's.
typedef ig_status (*ig_backend_open_fn)(const ig_backend_host *host, const ig_cuda_options *options, ig_device **out);
#define IG_BACKEND_OPEN "ig_backend_open"

#ifdef __cplusplus
}
#endif
#endif
