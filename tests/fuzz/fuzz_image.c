// Picture headers and decoders; FUZZ_FORMAT is the one that this program is about. A picture that decodes has the size
// that its header was read to have, and the same bytes every time.
#include "runtime/data/image.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  ig_image_info info;
  ig_image image = {0}, again = {0};
  ig_image_options options = {.max_side = 2048, .max_pixels = 1 << 18, .max_scans = 16};
  uint8_t *bytes = malloc(n + !n);  // exactly: a read behind the end is seen
  memcpy(bytes, data, n);
  const bool probed = fuzz_ok(ig_image_probe(bytes, n, &info));
  if (!probed || info.format == FUZZ_FORMAT) {
    if (fuzz_ok(ig_image_decode(bytes, n, &options, &image))) {
      fuzz_demand(probed && image.w == info.w && image.h == info.h, "header and pixels agree");
      fuzz_demand(ig_image_decode(bytes, n, &options, &again) == IG_OK && again.w == image.w && again.h == image.h &&
                      !memcmp(again.data, image.data, 3 * (size_t)image.w * (size_t)image.h),
                  "the same bytes every time");
    }
    options.scale_hint = 8;
    if (fuzz_ok(ig_image_decode(bytes, n, &options, &image)))
      fuzz_demand(image.w <= info.w && image.h <= info.h && image.w > 0 && image.h > 0, "a reduced picture is smaller");
  }
  ig_image_fini(&image);
  ig_image_fini(&again);
  free(bytes);
  return fuzz_end();
}
