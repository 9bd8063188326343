// tokenizer.json: what opens encodes and decodes, and is the same after it was written.
#include "runtime/tokenizer/tokenizer.h"
#include "tests/fuzz/fuzz.h"

static const char text[] = "Caf\xc3\xa9 [MASK] a<t>b \xe4\xb8\xad\xe6\x96\x87, \xff unbelievable.";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  ig_tokenizer *t, *again;
  ig_tokenizer_info info, same;
  ig_encoding e = {0};
  char *decoded = NULL;
  fuzz_put("in.json", data, n);
  if (!fuzz_ok(ig_tokenizer_open("in.json", &t)))
    return fuzz_end();
  ig_tokenizer_get_info(t, &info);
  if (fuzz_ok(ig_tokenizer_encode(t, text, sizeof text - 1, text, 9,
                                  &(ig_encode_options){.special = true, .max_length = 16, .offsets = true}, &e)) &&
      fuzz_ok(ig_tokenizer_decode(t, e.ids, e.n, false, &decoded)))
    ig_free(decoded);
  ig_encoding_fini(&e);
  if (fuzz_ok(ig_tokenizer_write(t, "out", 0))) {
    fuzz_demand(ig_tokenizer_open("out/tokenizer.json", &again) == IG_OK, "what is written opens");
    ig_tokenizer_get_info(again, &same);
    fuzz_demand(!strcmp(info.fingerprint, same.fingerprint), "what is written is the same tokenizer");
    ig_tokenizer_close(again);
  }
  ig_tokenizer_close(t);
  return fuzz_end();
}
