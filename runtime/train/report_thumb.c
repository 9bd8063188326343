// Small pictures inside the page. Rule: what cannot be read leaves a message for the page, never a broken picture.
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// jpeglib.h uses FILE and size_t but includes neither
// clang-format off
#include <jpeglib.h>
// clang-format on

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/data/image.h"
#include "runtime/data/resize.h"
#include "runtime/train/report_internal.h"

enum { SIDE = 160, QUALITY = 85 };

typedef struct jpeg_target {
  struct jpeg_error_mgr error;
  struct jpeg_destination_mgr destination;
  jmp_buf back;
  ig_text *text;
  ig_status status;
  uint8_t buffer[4096];
} jpeg_target;

_Noreturn static void on_error(j_common_ptr lib) {
  jpeg_target *j = lib->client_data;
  if (j->status == IG_OK) {
    char text[JMSG_LENGTH_MAX];
    lib->err->format_message(lib, text);
    j->status = ig_fail(IG_ERR_INTERNAL, "writing a thumbnail: %s", text);
  }
  longjmp(j->back, 1);
}
static void on_message(j_common_ptr lib) { (void)lib; }
static void on_start(j_compress_ptr lib) {
  jpeg_target *j = lib->client_data;
  j->destination.next_output_byte = j->buffer;
  j->destination.free_in_buffer = sizeof j->buffer;
}
static void flush(j_compress_ptr lib, size_t n) {
  jpeg_target *j = lib->client_data;
  j->status = ig_text_add(j->text, (const char *)j->buffer, n);
  if (j->status != IG_OK)
    on_error((j_common_ptr)lib);
  on_start(lib);
}
static boolean on_full(j_compress_ptr lib) {
  flush(lib, sizeof((jpeg_target *)lib->client_data)->buffer);
  return TRUE;
}
static void on_end(j_compress_ptr lib) {
  jpeg_target *j = lib->client_data;
  flush(lib, sizeof j->buffer - j->destination.free_in_buffer);
}

static ig_status jpeg(const uint8_t *rgb, int w, int h, ig_text *out) {
  struct jpeg_compress_struct lib = {0};
  jpeg_target j = {.text = out, .status = IG_OK};
  lib.err = jpeg_std_error(&j.error);
  j.error.error_exit = on_error;
  j.error.output_message = on_message;
  lib.client_data = &j;
  if (setjmp(j.back) == 0) {
    jpeg_create_compress(&lib);
    j.destination.init_destination = on_start;
    j.destination.empty_output_buffer = on_full;
    j.destination.term_destination = on_end;
    lib.dest = &j.destination;
    lib.image_width = (JDIMENSION)w, lib.image_height = (JDIMENSION)h;
    lib.input_components = 3, lib.in_color_space = JCS_RGB;
    jpeg_set_defaults(&lib);
    jpeg_set_quality(&lib, QUALITY, TRUE);
    jpeg_start_compress(&lib, TRUE);
    while (lib.next_scanline < lib.image_height) {
      JSAMPROW row = (JSAMPROW)(rgb + 3 * (size_t)w * lib.next_scanline);
      jpeg_write_scanlines(&lib, &row, 1);
    }
    jpeg_finish_compress(&lib);
  }
  jpeg_destroy_compress(&lib);
  return j.status;
}

static ig_status base64(const uint8_t *p, size_t n, ig_text *out) {
  static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (size_t i = 0; i < n; i += 3) {
    uint32_t v = (uint32_t)p[i] << 16 | (i + 1 < n ? (uint32_t)p[i + 1] << 8 : 0) | (i + 2 < n ? p[i + 2] : 0);
    char four[4] = {digit[v >> 18], digit[v >> 12 & 63], i + 1 < n ? digit[v >> 6 & 63] : '=',
                    i + 2 < n ? digit[v & 63] : '='};
    IG_TRY(ig_text_add(out, four, 4));
  }
  return IG_OK;
}

// "file.bin:17": a record of a CIFAR file, 1 (or 2 for CIFAR-100) label bytes and three planes of 32 x 32.
static ig_status record(const ig_mapped *file, const char *path, uint64_t number, ig_image *out) {
  size_t head = file->n % 3073 == 0 ? 1 : 2, bytes = head + 3072;
  if (file->n % bytes != 0 || number >= file->n / bytes)
    return ig_fail(IG_ERR_FORMAT, "no CIFAR record %llu in %s", (unsigned long long)number, path);
  IG_TRY(ig_image_reserve(out, 32, 32));
  for (size_t i = 0; i < 1024; i++)
    for (size_t c = 0; c < 3; c++)
      out->data[3 * i + c] = file->data[number * bytes + head + 1024 * c + i];
  return IG_OK;
}

// The file itself, or, where there is none, inside data=.
static ig_status find(const report_run *r, const char *path, char **out) {
  const char *data = ig_report_arg(r, "data");
  if (!ig_path_exists(path) && data && path[0] != '/')
    return ig_path_join(out, data, path);
  return ig_strdup(path, out);
}

static ig_status load(const report_run *r, const char *path, ig_image *image) {
  ig_status status = IG_OK;
  ig_mapped file = {0};
  char *at = NULL, *whole = NULL, *colon;
  uint64_t number = 0;
  bool is_record = false;
  IG_GOTO(find(r, path, &at));
  if (!ig_path_exists(at) && (colon = strrchr(path, ':')) != NULL && colon[1] &&
      strspn(colon + 1, "0123456789") == strlen(colon + 1)) {
    number = strtoull(colon + 1, NULL, 10);
    ig_free(at);
    at = NULL;
    IG_GOTO(ig_strdup(path, &whole));
    whole[colon - path] = 0;
    IG_GOTO(find(r, whole, &at));
    is_record = true;
  }
  IG_GOTO(ig_file_map(at, &file));
  IG_GOTO(is_record ? record(&file, at, number, image) : ig_image_decode(file.data, file.n, NULL, image));
done:
  ig_file_unmap(&file);
  ig_free(at);
  ig_free(whole);
  return status;
}

ig_status ig_report_thumb(const report_run *r, const char *path, ig_text *url, int *w, int *h) {
  ig_status status = IG_OK;
  ig_image image = {0};
  ig_resize resize = {0};
  ig_text bytes = {0};
  uint8_t *small = NULL;
  IG_GOTO(load(r, path, &image));
  // The longer side becomes SIDE, also of smaller pictures: 32 x 32 is enlarged here, where it is done well.
  int longer = image.w > image.h ? image.w : image.h;
  *w = (int)((int64_t)image.w * SIDE / longer), *h = (int)((int64_t)image.h * SIDE / longer);
  *w = *w < 1 ? 1 : *w, *h = *h < 1 ? 1 : *h;
  IG_GOTO(ig_alloc((size_t)*w * (size_t)*h * 3, "a thumbnail", &small));
  IG_GOTO(ig_resize_run(&resize, image.data, image.w, image.h, (ig_rect){0, 0, image.w, image.h}, *w, *h, NULL, small,
                        (size_t)*w * 3));
  IG_GOTO(jpeg(small, *w, *h, &bytes));
  IG_GOTO(ig_text_addf(url, "data:image/jpeg;base64,"));
  IG_GOTO(base64((const uint8_t *)bytes.data, bytes.n, url));
done:
  ig_free(small);
  ig_free(bytes.data);
  ig_resize_fini(&resize);
  ig_image_fini(&image);
  return status;
}
