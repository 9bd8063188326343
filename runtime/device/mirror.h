// Memory that the host's files and the device's plans both know. Rule: on a CPU it is one buffer and both ways of
// copying are nothing; on a GPU the host's side is as of the last pull.
#ifndef IG_DEVICE_MIRROR_H
#define IG_DEVICE_MIRROR_H

#include "runtime/device/device.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ig_mirror {
  void *host;    // NULL: the host never sees it (gradients on a GPU)
  void *device;  // what plans are bound to
  size_t bytes;
} ig_mirror;

// Zeroed. on_host: the host's side is wanted too. Anew over a mirror that is there: nothing happens.
ig_status ig_mirror_create(ig_device *dev, size_t bytes, bool on_host, const char *what, ig_mirror *m);
void ig_mirror_destroy(ig_device *dev, ig_mirror *m);
// The whole of it to the device, and back (waits until it is there).
ig_status ig_mirror_push(ig_device *dev, const ig_mirror *m);
ig_status ig_mirror_pull(ig_device *dev, const ig_mirror *m);

#ifdef __cplusplus
}
#endif
#endif
