// The demo's data set on disk. Rule: a marker names the set and says whether it is complete; only what a marker proves
// to be ours is ever replaced.
#include <errno.h>
#include <fcntl.h>
#include <png.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/base/text.h"
#include "runtime/data/defects.h"

#define MARKER ".defects.json"

typedef struct png_target {
  ig_text *text;
  ig_status status;
} png_target;

_Noreturn static void on_error(png_structp lib, png_const_charp text) {
  png_target *t = png_get_error_ptr(lib);
  if (t->status == IG_OK)
    t->status = ig_fail(IG_ERR_INTERNAL, "writing a PNG: %s", text);
  png_longjmp(lib, 1);
}
static void on_warning(png_structp lib, png_const_charp text) { (void)lib, (void)text; }
static void on_write(png_structp lib, png_bytep bytes, size_t n) {
  png_target *t = png_get_io_ptr(lib);
  t->status = ig_text_add(t->text, (const char *)bytes, n);
  if (t->status != IG_OK)
    png_error(lib, "no memory");
}
static void on_flush(png_structp lib) { (void)lib; }

static void guarded(png_structp lib, png_infop header, const uint8_t *rgb, int size, uint8_t *row) {
  if (setjmp(png_jmpbuf(lib)))
    return;
  png_set_IHDR(lib, header, (png_uint_32)size, (png_uint_32)size, 8, PNG_COLOR_TYPE_GRAY, PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  // Noise hardly compresses: the cheapest settings lose 2 %.
  png_set_compression_level(lib, 1);
  png_set_filter(lib, PNG_FILTER_TYPE_BASE, PNG_FILTER_SUB);
  png_write_info(lib, header);
  for (int y = 0; y < size; y++) {
    for (int x = 0; x < size; x++)
      row[x] = rgb[3 * ((size_t)y * (size_t)size + (size_t)x)];
    png_write_row(lib, row);
  }
  png_write_end(lib, NULL);
}

// Grey PNG of rgb, appended to *out. row: [size].
static ig_status encode(const uint8_t *rgb, int size, uint8_t *row, ig_text *out) {
  png_target target = {out, IG_OK};
  png_structp lib = png_create_write_struct(PNG_LIBPNG_VER_STRING, &target, on_error, on_warning);
  png_infop header = lib ? png_create_info_struct(lib) : NULL;
  if (header) {
    png_set_write_fn(lib, &target, on_write, on_flush);
    guarded(lib, header, rgb, size, row);
  } else if (target.status == IG_OK) {
    target.status = ig_fail(IG_ERR_MEMORY, "PNG: no memory for the writer");
  }
  png_destroy_write_struct(&lib, &header);
  return target.status;
}

// Without a sync a file: the marker, written last and synced, vouches for the set, and a set costs only seconds.
static ig_status write_plain(const char *path, const char *data, size_t n) {
  const ig_fileops *ops = ig_fileops_get();
  int fd = ops->open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0)
    return ig_fail(IG_ERR_IO, "cannot create %s: %s", path, strerror(errno));
  ig_status status = ig_write_all(fd, data, n, path);
  if (ops->close(fd) && status == IG_OK)
    status = ig_fail(IG_ERR_IO, "cannot close %s: %s", path, strerror(errno));
  return status;
}

static const char *const parts[2] = {"train", "test"};

static ig_status picture_path(char **out, const char *folder, int part, int cls, int i) {
  const char *name = ig_defects_class_name(cls);
  return ig_asprintf(out, "%s/%s/%s/%s_%04d.png", folder, parts[part], name, name, i);
}

// All files of the set are there.
static ig_status all_there(const char *folder, const int *n, bool *out) {
  *out = true;
  for (int part = 0; part < 2 && *out; part++)
    for (int cls = 0; cls < IG_DEFECTS_N_CLASSES && *out; cls++)
      for (int i = 0; i < n[part] && *out; i++) {
        char *path = NULL;
        IG_TRY(picture_path(&path, folder, part, cls, i));
        *out = ig_path_exists(path);
        ig_free(path);
      }
  return IG_OK;
}

static ig_status write_part(const char *folder, uint64_t seed, int part, int n, int size, uint8_t *rgb) {
  ig_status status = IG_OK;
  char *path = NULL;
  ig_text png = {0};
  for (int cls = 0; cls < IG_DEFECTS_N_CLASSES; cls++) {
    IG_GOTO(ig_asprintf(&path, "%s/%s/%s", folder, parts[part], ig_defects_class_name(cls)));
    IG_GOTO(ig_make_dirs(path));
    for (int i = 0; i < n; i++) {
      ig_free(path);
      path = NULL;
      IG_GOTO(picture_path(&path, folder, part, cls, i));
      // The parts draw from two halves of the index.
      IG_GOTO(ig_defects_draw(seed, cls, (uint64_t)part << 32 | (uint64_t)i, size, rgb));
      png.n = 0;
      IG_GOTO(encode(rgb, size, rgb + 3 * (size_t)size * (size_t)size, &png));
      IG_GOTO(write_plain(path, png.data, png.n));
    }
    ig_free(path);
    path = NULL;
  }
done:
  ig_free(path);
  ig_free(png.data);
  return status;
}

// What lies in the folder: `ours` a marker is there, `same` it is this set's and complete.
static ig_status look(const char *folder, const char *marker, const char *wanted, bool *ours, bool *same) {
  *ours = ig_path_exists(marker), *same = false;
  if (*ours) {
    uint8_t *found = NULL;
    size_t n;
    IG_TRY(ig_file_read(marker, 4096, &found, &n));
    *same = strcmp((const char *)found, wanted) == 0;
    ig_free(found);
    return IG_OK;
  }
  for (int part = 0; part < 2; part++) {
    char *path = NULL;
    IG_TRY(ig_path_join(&path, folder, parts[part]));
    bool there = ig_path_exists(path);
    ig_status status =
        there ? ig_fail(IG_ERR_USAGE, "%s exists and was not made by the demo (%s has no %s); give another folder",
                        path, folder, MARKER)
              : IG_OK;
    ig_free(path);
    IG_TRY(status);
  }
  return IG_OK;
}

ig_status ig_defects_write(const char *folder, uint64_t seed, int n_train_per_class, int n_test_per_class, int size) {
  const int n[2] = {n_train_per_class, n_test_per_class};
  ig_status status = IG_OK;
  char *marker = NULL, *wanted = NULL, *part_path = NULL;
  uint8_t *rgb = NULL;
  bool ours, same;
  if (n[0] < 1 || n[1] < 1 || n[0] > 1000000 || n[1] > 1000000)
    return ig_fail(IG_ERR_USAGE, "%d training and %d test pictures a class; expected 1 to 1000000 of each", n[0], n[1]);
  if (size < IG_DEFECTS_MIN_SIZE || size > IG_DEFECTS_MAX_SIZE)
    return ig_fail(IG_ERR_USAGE, "a defect picture of %d pixels a side; expected %d to %d", size, IG_DEFECTS_MIN_SIZE,
                   IG_DEFECTS_MAX_SIZE);
  IG_GOTO(ig_path_join(&marker, folder, MARKER));
  IG_GOTO(ig_asprintf(&wanted, "{\"defects\": 1, \"seed\": %llu, \"train\": %d, \"test\": %d, \"size\": %d}\n",
                      (unsigned long long)seed, n[0], n[1], size));
  IG_GOTO(look(folder, marker, wanted, &ours, &same));
  if (same)
    IG_GOTO(all_there(folder, n, &same));
  if (same)
    goto done;
  IG_GOTO(ig_make_dirs(folder));
  IG_GOTO(ig_file_write_atomic(marker, "{}\n", 3));  // ours from here on, and not complete
  IG_GOTO(ig_alloc((size_t)size * (size_t)size * 3 + (size_t)size, "a defect picture", &rgb));
  for (int part = 0; part < 2; part++) {
    IG_GOTO(ig_path_join(&part_path, folder, parts[part]));
    IG_GOTO(ig_remove_tree(part_path));
    ig_free(part_path);
    part_path = NULL;
    IG_GOTO(write_part(folder, seed, part, n[part], size, rgb));
  }
  IG_GOTO(ig_file_write_atomic(marker, wanted, strlen(wanted)));
done:
  ig_free(marker);
  ig_free(wanted);
  ig_free(part_path);
  ig_free(rgb);
  return status;
}
