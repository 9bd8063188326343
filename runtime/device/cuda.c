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
#ifndef INGOT_LIBDIR  // where cmake --install puts libraries, below its prefix
#define INGOT_LIBDIR "lib"
#endif

// The folder of the file that holds this code: libingot.so's, or the program's, whatever link it was called by.
static ig_status own_folder(char **out) {
  static const char here = 0;
  Dl_info info;
  struct link_map *map = NULL;
  char path[4096] = "";
  if (dladdr1(&here, &info, (void **)&map, RTLD_DL_LINKMAP) && map && map->l_name && strchr(map->l_name, '/'))
    snprintf(path, sizeof path, "%s", map->l_name);
  else if (readlink("/proc/self/exe", path, sizeof path - 1) < 0)
    path[0] = 0;
  char *slash = strrchr(path, '/');
  if (slash)
    *slash = 0;
  return ig_strdup(slash ? path : ".", out);
}

// INGOT_CUDA_LIBRARY, else beside the program, else installed (of bin/ingot: ../lib/ingot; of libexec/ingot's
// ingot-bench: ../../lib/ingot; of lib/libingot.so: ingot), else where the system's linker looks.
static ig_status open_library(void **handle) {
  const char *named = getenv("INGOT_CUDA_LIBRARY");
  char *folder = NULL, *path[4] = {NULL, NULL, NULL, NULL};
  const char *found = named;
  ig_status status = IG_OK;
  *handle = NULL;
  IG_GOTO(own_folder(&folder));
  IG_GOTO(ig_asprintf(&path[0], "%s/" LIBRARY, folder));
  IG_GOTO(ig_asprintf(&path[1], "%s/../" INGOT_LIBDIR "/ingot/" LIBRARY, folder));
  IG_GOTO(ig_asprintf(&path[2], "%s/../../" INGOT_LIBDIR "/ingot/" LIBRARY, folder));
  IG_GOTO(ig_asprintf(&path[3], "%s/ingot/" LIBRARY, folder));
  for (int i = 0; i < 4 && !found; i++)
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
  for (int i = 0; i < 4; i++)
    ig_free(path[i]);
  return status;
}

bool ig_has_cuda(void) {
  void *handle;  // stays loaded, as below
  if (open_library(&handle) == IG_OK)
    return dlsym(handle, IG_BACKEND_OPEN) != NULL;
  ig_error_clear();  // an answer, not a failure
  return false;
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
