// NVIDIA's pre-training shards: arrays read, checked and written. Rule: see bert_shard.h.
#include "runtime/ckpt/bert_shard.h"

#include <string.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/base/text.h"
#include "runtime/ckpt/h5_foreign.h"
#include "runtime/ckpt/h5_internal.h"

enum { LONGEST = 65536, GZIP_LEVEL = 4, CHUNK_BYTES = 256 << 10 };
#define MAX_UNPACKED (2ull << 30)

// The arrays of a shard in the file's order of names: where each goes, how wide its rows and numbers are.
typedef struct column {
  const char *name;
  void *data;
  int width;          // 0: one number a row
  size_t bytes;       // of a number
  int32_t low, high;  // that a number may be
} column;
enum { IDS, MASK, SEGMENTS, POSITIONS, LABELS, NEXT, N_COLUMNS };

static void columns_of(const ig_bert_shard *s, column out[N_COLUMNS]) {
  const column c[N_COLUMNS] = {
      [IDS] = {"input_ids", s->input_ids, s->length, 4, 0, INT32_MAX - 1},
      [MASK] = {"input_mask", s->input_mask, s->length, 1, 0, 1},
      [SEGMENTS] = {"segment_ids", s->segment_ids, s->length, 1, 0, 1},
      [POSITIONS] = {"masked_lm_positions", s->masked_lm_positions, s->max_masked, 4, 0, s->length - 1},
      [LABELS] = {"masked_lm_ids", s->masked_lm_ids, s->max_masked, 4, 0, INT32_MAX - 1},
      [NEXT] = {"next_sentence_labels", s->next_sentence_labels, 0, 1, 0, 1}};
  memcpy(out, c, sizeof c);
}

ig_status ig_bert_shard_init(int64_t n, int length, int max_masked, ig_bert_shard *s) {
  ig_status status = IG_OK;
  *s = (ig_bert_shard){.n = n, .length = length, .max_masked = max_masked};
  if (n < 0 || n > INT32_MAX || length < 1 || length > LONGEST || max_masked < 1 || max_masked > length)
    return ig_fail(IG_ERR_USAGE, "a shard of %lld rows of %d tokens, %d masked", (long long)n, length, max_masked);
  const size_t rows = (size_t)n, tokens = rows * (size_t)length, masked = rows * (size_t)max_masked;
  IG_GOTO(ig_alloc_array(tokens, 4, "a shard", &s->input_ids));
  IG_GOTO(ig_alloc_array(tokens, 1, "a shard", &s->input_mask));
  IG_GOTO(ig_alloc_array(tokens, 1, "a shard", &s->segment_ids));
  IG_GOTO(ig_alloc_array(masked, 4, "a shard", &s->masked_lm_positions));
  IG_GOTO(ig_alloc_array(masked, 4, "a shard", &s->masked_lm_ids));
  IG_GOTO(ig_alloc_array(rows, 1, "a shard", &s->next_sentence_labels));
  return IG_OK;
done:
  ig_bert_shard_fini(s);
  return status;
}

void ig_bert_shard_fini(ig_bert_shard *s) {
  ig_free(s->input_ids);
  ig_free(s->input_mask);
  ig_free(s->segment_ids);
  ig_free(s->masked_lm_positions);
  ig_free(s->masked_lm_ids);
  ig_free(s->next_sentence_labels);
  memset(s, 0, sizeof *s);
}

// ---- reading ----

static const ig_h5_foreign_item *find(const ig_h5_foreign *f, const char *name) {
  for (size_t i = 0; i < f->n; i++)
    if (!f->items[i].attribute && !strcmp(f->items[i].path, name))
      return &f->items[i];
  return NULL;
}

static ig_status check_shape(const char *path, const ig_h5_foreign_item *item, const char *name, int64_t rows,
                             int64_t width) {
  if (!item)
    return ig_fail(IG_ERR_FORMAT,
                   "%s has no dataset %s; expected NVIDIA's pre-training form (input_ids, input_mask, segment_ids, "
                   "masked_lm_positions, masked_lm_ids, next_sentence_labels)",
                   path, name);
  if (item->dtype != IG_I32 || !item->data)
    return ig_fail(IG_ERR_FORMAT, "%s: %s holds no whole numbers", path, name);
  const bool fits = width ? item->n_dims == 2 && item->dims[1] == width
                          : item->n_dims == 1 || (item->n_dims == 2 && item->dims[1] == 1);
  if (!fits || item->dims[0] != rows)
    return ig_fail(IG_ERR_FORMAT,
                   "%s: %s has %d dimensions, the first of %lld and the last of %lld; expected %lld %s%s", path, name,
                   item->n_dims, item->n_dims ? (long long)item->dims[0] : 0,
                   item->n_dims ? (long long)item->dims[item->n_dims - 1] : 0, (long long)rows,
                   ig_plural((unsigned long long)rows, "row", "rows"), width ? " as wide as the other arrays" : "");
  return IG_OK;
}

static ig_status take_column(const char *path, const ig_h5_foreign_item *item, const column *c, int64_t rows) {
  const int32_t *from = item->data;
  const int64_t width = c->width ? c->width : 1, n = rows * width;
  for (int64_t i = 0; i < n; i++) {
    if (from[i] < c->low || from[i] > c->high)
      return ig_fail(IG_ERR_FORMAT, "%s: %s[%lld, %lld] is %d; expected %d to %d", path, c->name,
                     (long long)(i / width), (long long)(i % width), from[i], c->low, c->high);
    if (c->bytes == 1)
      ((int8_t *)c->data)[i] = (int8_t)from[i];
  }
  if (c->bytes == 4)
    memcpy(c->data, from, (size_t)n * 4);
  return IG_OK;
}

// Tokens of row i.
static int row_length(const ig_bert_shard *s, int64_t i) {
  int n = 0;
  while (n < s->length && s->input_mask[i * s->length + n])
    n++;
  return n;
}

static int row_masked(const ig_bert_shard *s, int64_t i) {
  int k = 0;
  while (k < s->max_masked && s->masked_lm_positions[i * s->max_masked + k])
    k++;
  return k;
}

static int row_first(const ig_bert_shard *s, int64_t i, int n) {
  int first = 0;
  while (first < n && !s->segment_ids[i * s->length + first])
    first++;
  return first;
}

static ig_status check_row(const char *path, const ig_bert_shard *s, int64_t i) {
  const int8_t *mask = s->input_mask + i * s->length, *segment = s->segment_ids + i * s->length;
  const int32_t *positions = s->masked_lm_positions + i * s->max_masked;
  const int n = row_length(s, i), masked = row_masked(s, i), first = row_first(s, i, n);
  if (n == 0 || memchr(mask + n, 1, (size_t)(s->length - n)))
    return ig_fail(IG_ERR_FORMAT, "%s: input_mask of row %lld is not ones and then zeros", path, (long long)i);
  if (memchr(segment + first, 0, (size_t)(n - first)))
    return ig_fail(IG_ERR_FORMAT, "%s: segment_ids of row %lld are not zeros and then ones", path, (long long)i);
  for (int k = 0; k < masked; k++)
    if (positions[k] >= n || (k && positions[k] <= positions[k - 1]))
      return ig_fail(IG_ERR_FORMAT,
                     "%s: masked_lm_positions of row %lld: found %d at %d; expected ascending places among %d tokens",
                     path, (long long)i, positions[k], k, n);
  return IG_OK;
}

static ig_status take_arrays(const char *path, const ig_h5_foreign *f, ig_bert_shard *s, int32_t *largest) {
  const ig_h5_foreign_item *ids = find(f, "input_ids"), *positions = find(f, "masked_lm_positions");
  if (ids && ids->n_dims == 2 && positions && positions->n_dims == 2) {
    if (ids->dims[1] > LONGEST || positions->dims[1] > ids->dims[1] || ids->dims[0] < 1 || positions->dims[1] < 1)
      return ig_fail(IG_ERR_FORMAT, "%s: %lld %s of %lld, %lld masked; expected at most %d tokens a row", path,
                     (long long)ids->dims[0], ig_plural((unsigned long long)ids->dims[0], "row", "rows"),
                     (long long)ids->dims[1], (long long)positions->dims[1], LONGEST);
    IG_TRY(ig_bert_shard_init(ids->dims[0], (int)ids->dims[1], (int)positions->dims[1], s));
  }
  column c[N_COLUMNS];
  columns_of(s, c);
  for (int k = 0; k < N_COLUMNS; k++) {
    const ig_h5_foreign_item *item = find(f, c[k].name);
    IG_TRY(check_shape(path, item, c[k].name, s->n, c[k].width));
    IG_TRY(take_column(path, item, &c[k], s->n));
  }
  *largest = 0;
  for (int64_t i = 0; i < s->n * s->length; i++)
    *largest = s->input_ids[i] > *largest ? s->input_ids[i] : *largest;
  for (int64_t i = 0; i < s->n; i++) {
    const int masked = row_masked(s, i);
    IG_TRY(check_row(path, s, i));
    for (int k = 0; k < masked; k++) {
      const int32_t id = s->masked_lm_ids[i * s->max_masked + k];
      *largest = id > *largest ? id : *largest;
    }
  }
  return IG_OK;
}

// At most this much is unpacked of a file of so many bytes.
static uint64_t unpacked_limit(uint64_t bytes) {
  const uint64_t most = 4096 * bytes + (1 << 20);  // numbers of a byte become four
  return most < MAX_UNPACKED ? most : MAX_UNPACKED;
}

ig_status ig_bert_shard_read(const char *path, ig_bert_shard *out, int32_t *largest_id) {
  static const char *const names[] = {"input_ids",     "input_mask",           "segment_ids", "masked_lm_positions",
                                      "masked_lm_ids", "next_sentence_labels", NULL};
  ig_status status = IG_OK;
  ig_mapped file = {0};
  ig_h5_foreign f = {0};
  *out = (ig_bert_shard){0};
  IG_TRY(ig_file_map(path, &file));
  if (file.n == 0)
    IG_GOTO(ig_fail(IG_ERR_FORMAT, "%s is empty", path));
  IG_GOTO(ig_h5_foreign_read_with(path, file.data, file.n,
                                  &(ig_h5_foreign_options){.datasets = names, .unpacked_bytes = unpacked_limit(file.n)},
                                  &f));
  IG_GOTO(take_arrays(path, &f, out, largest_id));
done:
  if (status != IG_OK)
    ig_bert_shard_fini(out);
  ig_h5_foreign_fini(&f);
  ig_file_unmap(&file);
  return status;
}

// ---- writing ----

static hsize_t chunk_rows(const ig_bert_shard *s, const column *c) {
  const size_t row = c->bytes * (size_t)(c->width ? c->width : 1), rows = row < CHUNK_BYTES ? CHUNK_BYTES / row : 1;
  return rows < (size_t)s->n ? rows : (hsize_t)s->n;
}

static ig_status put_column(hid_t file, const ig_bert_shard *s, const column *c) {
  ig_status status = IG_OK;
  hid_t space = -1, dcpl = -1, dataset = -1;
  const hsize_t dims[2] = {(hsize_t)s->n, (hsize_t)c->width}, chunk[2] = {chunk_rows(s, c), (hsize_t)c->width};
  const int n_dims = c->width ? 2 : 1;
  const hid_t type = c->bytes == 4 ? H5T_STD_I32LE : H5T_STD_I8LE;
  IG_H5_GOTO(space = H5Screate_simple(n_dims, dims, NULL), IG_ERR_MEMORY, c->name, "make the space");
  IG_H5_GOTO(dcpl = H5Pcreate(H5P_DATASET_CREATE), IG_ERR_MEMORY, c->name, "make a property list");
  IG_H5_GOTO(H5Pset_obj_track_times(dcpl, 0), IG_ERR_INTERNAL, c->name, "switch off time stamps");
  IG_H5_GOTO(H5Pset_chunk(dcpl, n_dims, chunk), IG_ERR_INTERNAL, c->name, "set the chunk");
  IG_H5_GOTO(H5Pset_deflate(dcpl, GZIP_LEVEL), IG_ERR_UNSUPPORTED, c->name, "use gzip (libhdf5 was built without it)");
  IG_H5_GOTO(dataset = H5Dcreate2(file, c->name, type, space, H5P_DEFAULT, dcpl, H5P_DEFAULT), IG_ERR_MEMORY, c->name,
             "create the dataset");
  IG_H5_GOTO(H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, c->data), IG_ERR_MEMORY, c->name, "write the data");
  herr_t closed = H5Dclose(dataset);  // a failed chunk write surfaces only here
  dataset = -1;
  IG_H5_GOTO(closed, IG_ERR_MEMORY, c->name, "finish the dataset");
done:
  ig_h5_close_id(dataset, H5Dclose);
  ig_h5_close_id(dcpl, H5Pclose);
  ig_h5_close_id(space, H5Sclose);
  return status;
}

static ig_status build(const char *path, const ig_bert_shard *s, ig_h5_image *image) {
  ig_status status = IG_OK;
  char name[64];
  hid_t fcpl = -1, fapl = -1, file = -1;
  column c[N_COLUMNS];
  columns_of(s, c);
  ig_h5_image_name(image, name);
  IG_H5_GOTO(fcpl = H5Pcreate(H5P_FILE_CREATE), IG_ERR_MEMORY, path, "make a property list");
  IG_H5_GOTO(H5Pset_obj_track_times(fcpl, 0), IG_ERR_INTERNAL, path, "switch off time stamps");
  IG_GOTO(ig_h5_access(image, path, &fapl));
  IG_H5_GOTO(file = H5Fcreate(name, H5F_ACC_EXCL, fcpl, fapl), IG_ERR_MEMORY, path, "create the image");
  for (int k = 0; k < N_COLUMNS; k++)
    IG_GOTO(put_column(file, s, &c[k]));
  IG_H5_GOTO(H5Fflush(file, H5F_SCOPE_LOCAL), IG_ERR_MEMORY, path, "flush the image");
  ssize_t bytes = H5Fget_file_image(file, NULL, 0);
  IG_H5_GOTO(bytes, IG_ERR_INTERNAL, path, "size the image");
  herr_t closed = H5Fclose(file);
  file = -1;
  IG_H5_GOTO(closed, IG_ERR_MEMORY, path, "close the image");
  image->bytes = (size_t)bytes;
done:
  ig_h5_close_id(file, H5Fclose);
  ig_h5_close_id(fapl, H5Pclose);
  ig_h5_close_id(fcpl, H5Pclose);
  return status;
}

// From above: libhdf5 does not survive an image that cannot grow. Gzip makes nothing larger by more than a thousandth.
static size_t image_room(const ig_bert_shard *s) {
  column c[N_COLUMNS];
  size_t total = 4 << 20;
  columns_of(s, c);
  for (int k = 0; k < N_COLUMNS; k++) {
    const size_t rows = (size_t)chunk_rows(s, &c[k]), row = c[k].bytes * (size_t)(c[k].width ? c[k].width : 1);
    const size_t chunks = ((size_t)s->n + rows - 1) / rows;
    total += chunks * (rows * row + rows * row / 500 + 1024);
  }
  return total;
}

ig_status ig_bert_shard_write(const char *path, const ig_bert_shard *s) {
  ig_status status = IG_OK;
  ig_h5_section section;
  ig_h5_image image = {0};
  if (s->n < 1)
    return ig_fail(IG_ERR_DATA, "%s: a shard without a row", path);
  image.reserved = image_room(s);
  IG_TRY(ig_alloc_pages(image.reserved, "a shard's image", &image.data));
  ig_h5_begin(&section);
  status = build(path, s, &image);
  ig_h5_end(&section);
  if (status == IG_OK)
    status = ig_file_write_atomic(path, image.data, image.bytes);
  ig_h5_image_fini(&image);
  return status;
}
