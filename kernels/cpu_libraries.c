// Versions of the libraries behind the CPU implementations. Rule: the text is part of the tuning key, so it names the
// version that runs, not the one that was compiled against.
#include <dnnl.h>
#include <pthread.h>
#include <stdio.h>

#include "kernels/kernels.h"

static char text[64];
static void write_text(void) {
  const dnnl_version_t *v = dnnl_version();
  snprintf(text, sizeof text, "oneDNN %d.%d.%d", v->major, v->minor, v->patch);
}

const char *ig_cpu_libraries(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, write_text);
  return text;
}
