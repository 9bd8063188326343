// Split files (CSV) over a folder of eight small pictures; the first byte chooses the task and what is asked.
#include "tests/fuzz/fuzz_dataset.h"

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  uint8_t bmp[54 + 16] = "BM";
  bmp[2] = sizeof bmp, bmp[10] = 54, bmp[14] = 40, bmp[18] = bmp[22] = 2, bmp[26] = 1, bmp[28] = 24;
  for (int i = 0; i < 8; i++) {
    char path[32];
    snprintf(path, sizeof path, "p/%c/%d.bmp", i < 4 ? 'a' : 'b', i);
    fuzz_demand(ig_make_parent(path) == IG_OK, "a folder");
    fuzz_put(path, bmp, sizeof bmp);
  }
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  static const char *const columns[] = {"x", "y"};
  const int ask = n ? data[0] : 0;
  fuzz_put("p/split.csv", n ? data + 1 : data, n ? n - 1 : 0);
  ig_dataset_close(fuzz_open(&(ig_dataset_options){.size = sizeof(ig_dataset_options),
                                                   .data = "p",
                                                   .split = "p/split.csv",
                                                   .task = (ig_task)(ask & 3),
                                                   .needs_labels = !(ask & 4),
                                                   .inspect = ask & 8,
                                                   .strict = ask & 16,
                                                   .allow_one_class = ask & 32,
                                                   .columns = ask & 64 ? columns : NULL,
                                                   .n_columns = ask & 64 ? 2 : 0}));
  return fuzz_end();
}
