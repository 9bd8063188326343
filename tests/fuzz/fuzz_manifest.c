// The MANIFEST of a checkpoint, and the shard that it describes. Where the bytes are JSON, the hashes that a forger can
// make (its own, the shard's) are made right, so that the checks behind them are reached. What opens reads as hashed.
#include <jansson.h>

#include "runtime/ckpt/checkpoint.h"
#include "runtime/ckpt/ckpt_util.h"
#include "runtime/ckpt/manifest.h"
#include "tests/fuzz/fuzz.h"

#define FOLDER "checkpoints/step-3"

static char shard_hash[65];
static uint64_t shard_bytes;

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  const float values[6] = {1, 2, 3, 4, 5, 6};
  const ig_ckpt_tensor tensors[] = {
      {.name = "conv.weight", .dtype = IG_F32, .n_dims = 2, .dims = {2, 3}, .data = values, .group = "weights"},
      {.name = "m/conv.weight", .dtype = IG_F32, .n_dims = 1, .dims = {6}, .data = values, .group = "moments"},
      {.name = "count", .dtype = IG_I64, .data = values, .group = "state"}};
  const ig_ckpt_save_options options = {.folder = "checkpoints",
                                        .step = 3,
                                        .run_uuid = "123e4567-e89b-12d3-a456-426614174000",
                                        .config_hash = "c0ffee",
                                        .state_json = "{\"position\":384}",
                                        .protect = -1};
  fuzz_demand(ig_remove_tree("checkpoints") == IG_OK && ig_ckpt_save(&options, tensors, 3) == IG_OK, "a checkpoint");
  fuzz_demand(ig_ckpt_hash_file(FOLDER "/shard-00000.h5", false, &shard_bytes, shard_hash) == IG_OK, "its hash");
  fuzz_map_by_copy();
  return 0;
}

// The text with the hashes made right; NULL where it is no JSON object.
static char *forged(const uint8_t *data, size_t n) {
  json_t *json = json_loadb((const char *)data, n, 0, NULL);
  char hex[65], *text = NULL;
  if (json_is_object(json)) {
    json_t *file = json_array_get(json_object_get(json, "files"), 0);
    if (json_is_object(file)) {
      json_object_set_new(file, "sha256", json_string(shard_hash));
      json_object_set_new(file, "bytes", json_integer((json_int_t)shard_bytes));
    }
    json_object_del(json, "sha256");
    text = json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS);
    if (text) {
      ig_sha256_hex(text, strlen(text), hex);
      free(text);
      json_object_set_new(json, "sha256", json_string(hex));
      text = json_dumps(json, JSON_COMPACT);
    }
  }
  json_decref(json);
  return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  ig_manifest m;
  char *text = forged(data, n);
  fuzz_put(FOLDER "/MANIFEST", text ? (const void *)text : data, text ? strlen(text) : n);
  free(text);
  if (fuzz_ok(ig_manifest_load(FOLDER, &m))) {
    for (size_t i = 1; i < m.n_entries; i++)
      fuzz_demand(ig_manifest_compare(&m.entries[i - 1], &m.entries[i]) < 0, "entries are sorted, none twice");
    ig_manifest_fini(&m);
    fuzz_ok(ig_ckpt_verify(FOLDER));
  }
  return fuzz_end();
}
