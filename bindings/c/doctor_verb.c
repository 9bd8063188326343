// doctor: what this machine offers and what is missing. Rule: every complaint comes with what to do.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bindings/c/call.h"
#include "runtime/base/cpu.h"
#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/device/device.h"
#include "runtime/device/peak.h"

// A folder that Ingot writes to: whether it can, and its free room.
static json_t *folder_json(const char *purpose, const char *path, bool *writable) {
  uint64_t room = 0;
  char *probe = NULL;
  ig_status status = ig_make_dirs(path);
  if (status == IG_OK)
    status = ig_asprintf(&probe, "%s/.ingot-probe-%ld", path, (long)getpid());
  if (status == IG_OK)
    status = ig_file_write_atomic(probe, "", 0);
  *writable = status == IG_OK;
  if (probe)
    ig_fileops_get()->unlink(probe);
  ig_free(probe);
  if (ig_free_bytes(path, &room) != IG_OK)
    room = 0;
  return json_pack("{s:s, s:o, s:b, s:I}", "folder", purpose, "path", ig_json_text(path), "writable", (int)*writable,
                   "free", (json_int_t)room);
}

// The first GPU with its libraries, or why there is none. missing: gets what would make it faster.
static json_t *gpu_json(json_t *missing) {
  ig_device *gpu;
  char text[256];
  if (ig_device_create_cuda(&(ig_cuda_options){.size = sizeof(ig_cuda_options)}, &gpu) != IG_OK)
    return json_sprintf("none: %s", ig_error_message());
  snprintf(text, sizeof text, "%s, %.1f GiB, sm_%d, %s", gpu->caps.name, (double)gpu->caps.memory_bytes / (1 << 30),
           gpu->caps.architecture, gpu->caps.libraries);
  const char *wanted[][3] = {
      {"no cuBLASLt", "cuBLASLt: linear layers by NVIDIA's library", "pip install nvidia-cublas, or the CUDA toolkit"},
      {"no cuDNN", "cuDNN 9: convolutions by NVIDIA's library", "pip install nvidia-cudnn-cu13, or the package"}};
  for (int i = 0; i < 2; i++)
    if (strstr(gpu->caps.libraries, wanted[i][0]))
      json_array_append_new(missing, json_pack("{s:s, s:s}", "what", wanted[i][1], "do", wanted[i][2]));
  ig_device_destroy(gpu);
  return json_string(text);
}

ig_status ig_verb_doctor(ig_call_state *c) {
  ig_status status = IG_OK;
  json_t *report = NULL;
  char *cache = NULL, here[4096];
  bool writable;
  IG_TRY(ig_want_paths(c, 0, 0));
  IG_GOTO(ig_environment_json(&report));
  json_t *folders = json_array(), *missing = json_array(), *sets = json_array();
  json_object_set_new(report, "gpu", gpu_json(missing));
  for (int isa = 0; isa <= (int)ig_isa_detect(); isa++)
    json_array_append_new(sets, json_string(ig_isa_name((ig_isa)isa)));
  json_object_set_new(report, "instruction_sets", sets);
  json_object_set_new(report, "auto_precision", json_string(ig_cpu_bf16_pays(ig_isa_detect()) ? "bf16" : "fp32"));
  json_object_set_new(report, "folders", folders);
  json_object_set_new(report, "missing", missing);
  IG_GOTO(ig_cache_folder(&cache));
  if (cache) {
    json_array_append_new(folders, folder_json("cache", cache, &writable));
    if (!writable)
      json_array_append_new(missing, json_pack("{s:s, s:s}", "what", "a writable cache folder", "do",
                                               "export XDG_CACHE_HOME=FOLDER, a folder that you may write"));
  } else {
    json_array_append_new(missing, json_pack("{s:s, s:s}", "what", "a cache folder", "do",
                                             "export XDG_CACHE_HOME=FOLDER: neither it nor HOME is set"));
  }
  if (getcwd(here, sizeof here)) {
    json_array_append_new(folders, folder_json("working folder", here, &writable));
    if (!writable)
      json_array_append_new(missing, json_pack("{s:s, s:s}", "what", "a writable working folder", "do",
                                               "write runs elsewhere: out=FOLDER"));
  }
  if (ig_isa_detect() < IG_ISA_AVX2)
    json_array_append_new(missing, json_pack("{s:s, s:s}", "what", "AVX2: training will be slow", "do",
                                             "run on an x86-64 processor of 2013 or later"));
  ig_error_clear();  // of the probes: their outcome is in the report
  status = ig_answer(c, report, NULL);
done:
  json_decref(report);
  ig_free(cache);
  return status;
}
