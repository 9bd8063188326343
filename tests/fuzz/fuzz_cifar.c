// CIFAR's binary files: the first byte says whether as one file or as a folder's; batches are read through the loader.
#include "runtime/data/loader.h"
#include "tests/fuzz/fuzz_dataset.h"

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  fuzz_map_by_copy();
  return ig_make_dirs("c") != IG_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  static const char *const names[] = {"c/data_batch_1.bin", "c/test_batch.bin", "c/train.bin", "c/test.bin"};
  if (n == 0)
    return 0;
  const char *path = names[data[0] & 3];
  for (int i = 0; i < 4; i++)
    unlink(names[i]);
  fuzz_put(path, data + 1, n - 1);
  ig_dataset *d = fuzz_open(&(ig_dataset_options){.size = sizeof(ig_dataset_options),
                                                  .data = data[0] & 4 ? "c" : path,
                                                  .needs_labels = !(data[0] & 8),
                                                  .allow_one_class = data[0] & 16});
  for (int part = 0; d && part < IG_N_PARTS; part++) {
    ig_loader *l;
    const ig_batch *b;
    if (!d->count[part])
      continue;
    fuzz_demand(ig_loader_create(&(ig_loader_options){.size = sizeof(ig_loader_options),
                                                      .data = d,
                                                      .part = (ig_part)part,
                                                      .batch = 2,
                                                      .image_size = 8,
                                                      .threads = 1},
                                 &l) == IG_OK,
                "a loader");
    fuzz_demand(ig_loader_next(l, &b) == IG_OK && b->n > 0, "a batch");
    ig_loader_destroy(l);
  }
  ig_dataset_close(d);
  return fuzz_end();
}
