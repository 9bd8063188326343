// WebP by libwebp. Rule: the RIFF chunks are walked by our own bounds-checked reader; libwebp sees only the pixels.
#include <string.h>
#include <webp/decode.h>

#include "runtime/base/text.h"
#include "runtime/data/image_codec.h"

// The orientation, and that the RIFF length lies within the bytes.
static ig_status walk(const uint8_t *bytes, size_t n, int *orientation) {
  *orientation = 1;
  if (n < 12 || ig_image_u32le(bytes + 4) > n - 8)
    return ig_fail(IG_ERR_FORMAT, "WebP: truncated: %zu %s; the header says %llu", n, ig_plural(n, "byte", "bytes"),
                   n < 12 ? 12ull : ig_image_u32le(bytes + 4) + 8ull);
  size_t end = 8 + (size_t)ig_image_u32le(bytes + 4);
  for (size_t at = 12; at + 8 <= end;) {
    size_t length = ig_image_u32le(bytes + at + 4);
    if (length > end - at - 8)
      return ig_fail(IG_ERR_FORMAT, "WebP: damaged: a chunk of %zu %s reaches past the end", length,
                     ig_plural(length, "byte", "bytes"));
    if (memcmp(bytes + at, "EXIF", 4) == 0) {
      *orientation = ig_image_exif_orientation(bytes + at + 8, length);
      return IG_OK;
    }
    at += 8 + length + (length & 1);
  }
  return IG_OK;
}

static ig_status failed(VP8StatusCode code) {
  if (code == VP8_STATUS_OUT_OF_MEMORY)
    return ig_fail(IG_ERR_MEMORY, "WebP: no memory for the decoder");
  return ig_fail(IG_ERR_FORMAT, "WebP: %s",
                 code == VP8_STATUS_NOT_ENOUGH_DATA       ? "truncated: the data end before the last pixel"
                 : code == VP8_STATUS_UNSUPPORTED_FEATURE ? "a feature that libwebp does not know"
                                                          : "damaged data");
}

static ig_status features(const uint8_t *bytes, size_t n, WebPBitstreamFeatures *f, int *orientation) {
  IG_TRY(walk(bytes, n, orientation));
  VP8StatusCode code = WebPGetFeatures(bytes, n, f);
  if (code != VP8_STATUS_OK)
    return failed(code);
  if (f->has_animation)
    return ig_fail(IG_ERR_FORMAT, "image format not supported: found an animated WebP; expected a still picture");
  return IG_OK;
}

static ig_status probe(const uint8_t *bytes, size_t n, ig_image_info *info) {
  WebPBitstreamFeatures f;
  IG_TRY(features(bytes, n, &f, &info->orientation));
  info->w = f.width;
  info->h = f.height;
  info->channels = f.has_alpha ? 4 : 3;
  info->bits = 8;
  return IG_OK;
}

static ig_status decode(const uint8_t *bytes, size_t n, const ig_image_options *options, ig_image *out,
                        int *orientation) {
  WebPDecoderConfig config;
  if (!WebPInitDecoderConfig(&config))
    return ig_fail(IG_ERR_UNSUPPORTED, "WebP: libwebp at run time is older than the one that Ingot was built with");
  IG_TRY(features(bytes, n, &config.input, orientation));
  int w = config.input.width, h = config.input.height;
  IG_TRY(ig_image_check("WebP", (uint64_t)w, (uint64_t)h, 0, n, 0, options));
  IG_TRY(ig_image_reserve(out, w, h));
  config.output.colorspace = MODE_RGB;
  config.output.is_external_memory = 1;
  config.output.u.RGBA = (WebPRGBABuffer){out->data, 3 * w, (size_t)w * (size_t)h * 3};
  VP8StatusCode code = WebPDecode(bytes, n, &config);
  WebPFreeDecBuffer(&config.output);
  return code == VP8_STATUS_OK ? IG_OK : failed(code);
}

const ig_image_codec ig_image_codec_webp = {"WebP", probe, decode};
