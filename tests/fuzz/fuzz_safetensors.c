// Weight files: what opens has every tensor inside of the file, found by its name, and converts to fp32 or says why
// not.
#include "runtime/ckpt/safetensors.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  fuzz_map_by_copy();
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  ig_st *st;
  fuzz_put("in.safetensors", data, n);
  if (fuzz_ok(ig_st_open("in.safetensors", &st)))
    for (size_t i = 0; i < ig_st_count(st); i++) {
      const ig_st_tensor *t = ig_st_get(st, i);
      fuzz_demand(t->bytes <= n && t->n <= 2 * (int64_t)n && ig_st_find(st, t->name) == t, "tensors lie in the file");
      float *values = malloc((size_t)t->n * sizeof *values + 1);
      fuzz_ok(ig_st_convert(t, values, IG_F32));
      free(values);
    }
  ig_st_close(st);
  return fuzz_end();
}
