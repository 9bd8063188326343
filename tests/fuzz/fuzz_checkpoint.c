// A checkpoint's files on a failing disk: the input is a list of edits (file, place, length, bytes; also cuts and
// appended bytes). Any change of contents is refused, and the checkpoint before it is found.
#include "runtime/ckpt/checkpoint.h"
#include "tests/fuzz/fuzz.h"

static struct {
  const char *path;
  uint8_t *data;
  size_t n;
} files[] = {{.path = "checkpoints/step-4/MANIFEST"}, {.path = "checkpoints/step-4/shard-00000.h5"}};

static void save(int64_t step) {
  float values[700];
  for (int i = 0; i < 700; i++)
    values[i] = (float)(i * step);
  const ig_ckpt_tensor tensors[] = {
      {.name = "conv.weight", .dtype = IG_F32, .n_dims = 2, .dims = {70, 10}, .data = values, .group = "weights"},
      {.name = "m/conv.weight", .dtype = IG_F32, .n_dims = 1, .dims = {700}, .data = values, .group = "moments"}};
  const ig_ckpt_save_options options = {
      .folder = "checkpoints", .step = step, .run_uuid = "uuid", .config_hash = "", .state_json = "{}", .protect = -1};
  fuzz_demand(ig_ckpt_save(&options, tensors, 2) == IG_OK, "a checkpoint");
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  fuzz_demand(ig_remove_tree("checkpoints") == IG_OK, "an empty folder");
  save(3);
  save(4);
  for (int i = 0; i < 2; i++) {
    uint8_t *kept;
    fuzz_demand(ig_file_read(files[i].path, 1 << 20, &kept, &files[i].n) == IG_OK, "its files");
    files[i].data = memcpy(malloc(files[i].n), kept, files[i].n);
    ig_free(kept);
  }
  fuzz_map_by_copy();
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  enum { HEAD = 5, MORE = 256 };
  uint8_t *now[2];
  size_t size[2];
  bool same = true;
  for (int i = 0; i < 2; i++) {
    now[i] = malloc(files[i].n + MORE);
    memcpy(now[i], files[i].data, files[i].n);
    size[i] = files[i].n;
  }
  while (n >= HEAD) {  // kind and file, place (3 bytes), length
    const int i = data[0] & 1;
    const size_t at = (data[1] | (size_t)data[2] << 8 | (size_t)data[3] << 16) % (files[i].n + MORE);
    size_t length = data[4] < n - HEAD ? data[4] : n - HEAD;
    if ((data[0] & 6) == 2 && at < size[i]) {
      size[i] = at;
      length = 0;
    } else {
      for (size_t k = 0; k < length && at + k < files[i].n + MORE && at <= size[i]; k++) {
        now[i][at + k] = data[HEAD + k];
        size[i] = at + k + 1 > size[i] ? at + k + 1 : size[i];
      }
    }
    data += HEAD + length;
    n -= HEAD + length;
  }
  for (int i = 0; i < 2; i++) {
    same = same && size[i] == files[i].n && !memcmp(now[i], files[i].data, size[i]);
    fuzz_put(files[i].path, now[i], size[i]);
    free(now[i]);
  }
  // JSON may be written in other ways: a manifest that differs in spaces only still says the same.
  ig_ckpt_reader *r;
  bool opened = fuzz_ok(ig_ckpt_open("checkpoints/step-4", &r));
  fuzz_demand(opened || !same, "an unchanged checkpoint opens");
  if (opened)
    fuzz_demand(ig_ckpt_verify("checkpoints/step-4") == IG_OK && ig_ckpt_step(r) == 4, "what opens is whole");
  ig_ckpt_close(r);
  fuzz_demand(ig_ckpt_open_latest("checkpoints", &r, NULL, NULL) == IG_OK && ig_ckpt_step(r) == (opened ? 4 : 3),
              "the newest whole one is found");
  ig_ckpt_close(r);
  return fuzz_end();
}
