// Finding and opening the CUDA back end. Rule: a library, driver or GPU that is not there is an answer with what to do,
// never a crash; nothing of CUDA is linked here.
#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/base/fileop.h"
#include "runtime/device/backend.h"

#define LIBRARY "libingot_cuda.so"

// The folder of the file that holds this code: the program's, or libingot.so's.
static ig_status own_folder(char **out) {
  static const char here = 0;
  Dl_info info;
  char path[4096] = "";
  if (dladdr(&here, &info) && info.dli_fname && strchr(info.dli_fname, '/'))
    snprintf(path, sizeof path, "%s", info.dli_fname);
  else if (readlink("/proc/self/exe", path, sizeof path - 1) < 0)
    path[0] = 0;
  char *slash = strrchr(path, '/');
  if (slash)
    *slash = 0;
  return ig_strdup(slash ? path : ".", out);
}

// INGOT_CUDA_LIBRARY, else beside the program, else installed (of bin/ingot: ../lib/ingot; of lib/libingot.so: ingot),
// else where the system's linker looks.
static ig_status open_library(void **handle) {
  const char *named = getenv("INGOT_CUDA_LIBRARY");
  char *folder = NULL, *path[3] = {NULL, NULL, NULL};
  const char *found = named;
  ig_status status = IG_OK;
  *handle = NULL;
  IG_GOTO(own_folder(&folder));
  IG_GOTO(ig_asprintf(&path[0], "%s/" LIBRARY, folder));
  IG_GOTO(ig_asprintf(&path[1], "%s/../lib/ingot/" LIBRARY, folder));
  IG_GOTO(ig_asprintf(&path[2], "%s/ingot/" LIBRARY, folder));
  for (int i = 0; i < 3 && !found; i++)
    if (ig_path_exists(path[i]))
      found = path[i];
  if (!found)
    found = LIBRARY;
  *handle = dlopen(found, RTLD_NOW | RTLD_LOCAL);
  if (!*handle)
    status = ig_fail(IG_ERR_UNSUPPORTED,
                     "device=cuda: %s could not be loaded (%s); this build has no CUDA back end, or it was not "
                     "installed beside the program; build where nvcc is found, or use device=cpu",
                     found, dlerror());
done:
  ig_free(folder);
  for (int i = 0; i < 3; i++)
    ig_free(path[i]);
  return status;
}

ig_status ig_device_create_cuda(const ig_cuda_options *options, ig_device **out) {
  *out = NULL;
  if (options->size != sizeof *options)
    return ig_fail(IG_ERR_INTERNAL, "ig_cuda_options: size %zu, expected %zu", options->size, sizeof *options);
  void *handle;
  IG_TRY(open_library(&handle));
  ig_backend_open_fn open = (ig_backend_open_fn)dlsym(handle, IG_BACKEND_OPEN);
  // The library stays loaded: what it registered with the driver cannot be taken back.
  if (!open)
    return ig_fail(IG_ERR_UNSUPPORTED, "device=cuda: the library has no " IG_BACKEND_OPEN ": it is not a back end");
  // The message of a refusal before the back end knows where messages go.
  (void)!ig_fail(IG_ERR_UNSUPPORTED, "device=cuda: the library is of another build than the program");
  return open(&(ig_backend_host){.size = sizeof(ig_backend_host),
                                 .version = IG_BACKEND_VERSION,
                                 .message = ig_error_place(),
                                 .memory = ig_mem_place()},
              options, out);
}
