// Keras's files on top of h5_foreign.h. Rule: see keras.h.
#include "runtime/ckpt/keras.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/base/text.h"
#include "runtime/ckpt/ckpt_util.h"

struct ig_keras {
  ig_h5_foreign file;
  ig_keras_tensor *tensors;
  size_t n;
};

// ---- zip: stored members of a small archive ----

typedef struct slice {
  const uint8_t *data;
  size_t n;
} slice;

static uint32_t u16(const uint8_t *p) { return p[0] | (uint32_t)p[1] << 8; }
static uint32_t u32(const uint8_t *p) { return u16(p) | u16(p + 2) << 16; }

static uint32_t crc32_of(slice s) {
  uint32_t table[16], crc = 0xffffffffu;
  for (uint32_t i = 0; i < 16; i++) {
    uint32_t x = i;
    for (int k = 0; k < 4; k++)
      x = x >> 1 ^ (x & 1 ? 0xedb88320u : 0);
    table[i] = x;
  }
  for (size_t i = 0; i < s.n; i++) {
    crc ^= s.data[i];
    crc = crc >> 4 ^ table[crc & 15];
    crc = crc >> 4 ^ table[crc & 15];
  }
  return ~crc;
}

enum { LOCAL_BYTES = 30, CENTRAL_BYTES = 46, END_BYTES = 22 };

// The record at the end of an archive, with or without a comment behind it; NULL where there is none.
static const uint8_t *zip_end(slice zip) {
  for (size_t back = END_BYTES; back <= zip.n && back <= END_BYTES + 65535; back++)
    if (u32(zip.data + zip.n - back) == 0x06054b50u)
      return zip.data + zip.n - back;
  return NULL;
}

// The member called `name`; out->data stays NULL where there is none.
static ig_status zip_member(const char *path, slice zip, const char *name, slice *out) {
  const uint8_t *end = zip_end(zip);
  *out = (slice){0};
  if (!end)
    return ig_fail(IG_ERR_FORMAT, "%s: a zip archive without its end: truncated?", path);
  size_t n_members = u16(end + 10), at = u32(end + 16), limit = (size_t)(end - zip.data);
  for (size_t i = 0; i < n_members; i++) {
    if (at > limit || limit - at < CENTRAL_BYTES || u32(zip.data + at) != 0x02014b50u)
      return ig_fail(IG_ERR_FORMAT, "%s: entry %zu of the zip archive's list is damaged", path, i);
    const uint8_t *entry = zip.data + at;
    size_t name_bytes = u16(entry + 28), next = CENTRAL_BYTES + name_bytes + u16(entry + 30) + u16(entry + 32);
    size_t stored = u32(entry + 20), size = u32(entry + 24), local = u32(entry + 42);
    if (next > limit - at)
      return ig_fail(IG_ERR_FORMAT, "%s: entry %zu of the zip archive's list is damaged", path, i);
    at += next;
    if (name_bytes != strlen(name) || memcmp(entry + CENTRAL_BYTES, name, name_bytes) != 0)
      continue;
    if (out->data)
      return ig_fail(IG_ERR_FORMAT, "%s: the zip archive has two members %s", path, name);
    if (u16(entry + 10) != 0 || stored != size)
      return ig_fail(IG_ERR_UNSUPPORTED, "%s: %s is compressed in the zip archive; write it anew stored (zip -0)", path,
                     name);
    if (local > limit || limit - local < LOCAL_BYTES || u32(zip.data + local) != 0x04034b50u)
      return ig_fail(IG_ERR_FORMAT, "%s: %s is not where the zip archive's list says", path, name);
    size_t begin = local + LOCAL_BYTES + u16(zip.data + local + 26) + u16(zip.data + local + 28);
    if (begin > limit || size > limit - begin)
      return ig_fail(IG_ERR_FORMAT, "%s: %s reaches beyond the zip archive", path, name);
    *out = (slice){zip.data + begin, size};
    if (crc32_of(*out) != u32(entry + 16))
      return ig_fail(IG_ERR_FORMAT, "%s: %s differs from its checksum: the file is damaged", path, name);
  }
  return IG_OK;
}

static bool is_hdf5(slice s) { return s.n >= 8 && !memcmp(s.data, "\x89HDF\r\n\x1a\n", 8); }
static bool is_zip(slice s) { return s.n >= 4 && !memcmp(s.data, "PK\3\4", 4); }

bool ig_keras_is(const void *data, size_t bytes) {
  static const char name[] = "model.weights.h5";
  slice s = {data, bytes};
  if (!is_zip(s))
    return is_hdf5(s);
  const uint8_t *end = zip_end(s);
  size_t at = end ? u32(end + 16) : s.n;  // the list of members
  return at < s.n && memmem(s.data + at, s.n - at, name, sizeof name - 1) != NULL;
}

// ---- the stored model ----

// Layers whose arithmetic the weights tell whole. Any other one is code, or changes the numbers in a way that is not
// looked at.
static bool is_known_layer(const char *name) {
  static const char *const known[] = {
      "InputLayer",       "ZeroPadding2D", "Conv2D", "BatchNormalization",     "Activation", "ReLU",    "MaxPooling2D",
      "AveragePooling2D", "Add",           "Dense",  "GlobalAveragePooling2D", "Dropout",    "Flatten", "Softmax"};
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (!strcmp(name, known[i]))
      return true;
  return false;
}

static bool is_model(const char *name) {
  return !strcmp(name, "Functional") || !strcmp(name, "Model") || !strcmp(name, "Sequential");
}

static ig_status check_layer(const char *path, const json_t *layer, int depth) {
  const char *name = json_string_value(json_object_get(layer, "class_name"));
  const char *module = json_string_value(json_object_get(layer, "module"));
  const json_t *config = json_object_get(layer, "config"), *activation = json_object_get(config, "activation"), *one;
  const char *function = json_string_value(activation);
  char q[IG_QUOTE_BYTES];
  size_t i;
  if (!name || depth > 8)
    return ig_fail(IG_ERR_FORMAT, "%s: the stored model's layers are not as Keras writes them", path);
  if (module && strncmp(module, "keras", 5) != 0 && strncmp(module, "tf_keras", 8) != 0)
    return ig_fail(IG_ERR_FORMAT, "%s: layer %s is a custom one; code in a file is never run", path, ig_quote(q, name));
  if (is_model(name)) {
    json_array_foreach(json_object_get(config, "layers"), i, one) IG_TRY(check_layer(path, one, depth + 1));
    return IG_OK;
  }
  if (!is_known_layer(name))
    return ig_fail(IG_ERR_FORMAT,
                   "%s: the stored model has a layer %s: code in a file is never run, and other layers than those of "
                   "an image classifier are not known",
                   path, ig_quote(q, name));
  if (activation && !json_is_null(activation) &&
      (!function || (strcmp(function, "relu") != 0 && strcmp(function, "softmax") != 0 &&
                     strcmp(function, "linear") != 0 && strcmp(function, "sigmoid") != 0)))
    return ig_fail(IG_ERR_FORMAT, "%s: the stored model's layer %s has an activation that is not known", path,
                   ig_quote(q, name));
  return IG_OK;
}

static ig_status check_model(const char *path, const char *text, size_t n) {
  json_error_t error;
  if (!n)
    return IG_OK;
  json_t *model = json_loadb(text, n, 0, &error);
  if (!model)
    return ig_fail(IG_ERR_FORMAT, "%s: the stored model's configuration: %s", path, error.text);
  ig_status status = check_layer(path, model, 0);
  json_decref(model);
  return status;
}

// ---- names ----

// kernel:0, kernel, and what Keras 1 wrote: LAYER_W_1:0.
static const char *variable_of(const char *leaf) {
  static const struct {
    const char *end, *variable;
  } known[] = {{"kernel", "kernel"},
               {"moving_mean", "moving_mean"},
               {"moving_variance", "moving_variance"},
               {"gamma", "gamma"},
               {"beta", "beta"},
               {"bias", "bias"},
               {"running_mean", "moving_mean"},
               {"running_std", "moving_variance"},
               {"_W", "kernel"},
               {"_b", "bias"}};
  char text[128];
  snprintf(text, sizeof text, "%s", leaf);
  text[strcspn(text, ":")] = 0;
  if (ig_ends_with(text, "_1"))
    text[strlen(text) - 2] = 0;
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (ig_ends_with(text, known[i].end))
      return known[i].variable;
  return NULL;
}

// Keras 3's .weights.h5 numbers the variables of a layer: rows [first, end) lie in one group `vars`.
static const char *variable_number(const ig_h5_foreign *f, size_t first, size_t end, size_t i) {
  static const char *const norm[] = {"gamma", "beta", "moving_mean", "moving_variance"};
  static const char *const matrix[] = {"kernel", "bias"};
  bool is_matrix = f->items[first].n_dims >= 2;
  size_t n = end - first;
  return is_matrix && n <= 2 ? matrix[i - first] : !is_matrix && n == 4 ? norm[i - first] : NULL;
}

static const char *last_part(const char *path, size_t n) {
  while (n > 0 && path[n - 1] != '/')
    n--;
  return path + n;
}

// Rows [first, end) of a folder of `n` bytes: one layer, or several where each dataset is named whole.
static ig_status name_rows(ig_keras *k, size_t first, size_t end, size_t n, const char *vars_name) {
  const ig_h5_foreign *f = &k->file;
  const char *folder = f->items[first].path;
  bool numbered = n >= 5 && !strncmp(folder + n - 5, "/vars", 5);
  size_t layer_end = numbered ? n - 5 : n;
  const char *part = last_part(folder, layer_end);
  for (size_t i = first; i < end; i++) {
    const char *leaf = f->items[i].path + n + (n > 0);
    const char *variable = numbered ? variable_number(f, first, end, i) : variable_of(leaf);
    ig_keras_tensor *t = &k->tensors[k->n];
    t->item = &f->items[i];
    if (numbered && vars_name)
      IG_TRY(ig_asprintf(&t->name, "%s/%s:0", vars_name, variable ? variable : leaf));
    else
      IG_TRY(ig_asprintf(&t->name, "%.*s/%s:0", (int)(layer_end - (size_t)(part - folder)), part,
                         variable ? variable : leaf));
    k->n++;
  }
  return IG_OK;
}

static size_t folder_bytes(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? (size_t)(slash - path) : 0;
}

static int by_name(const void *a, const void *b) {
  return strcmp(((const ig_keras_tensor *)a)->name, ((const ig_keras_tensor *)b)->name);
}

// Weights only: of a whole model what is in model_weights, of Keras 3's what is in layers.
static bool is_weight(const char *path, bool whole, bool numbered) {
  return whole      ? ig_starts_with(path, "model_weights/")
         : numbered ? strstr(path, "/vars/") && !ig_starts_with(path, "optimizer/")
                    : true;
}

static ig_status name_all(const char *path, ig_keras *k) {
  const ig_h5_foreign *f = &k->file;
  bool whole = false, numbered = false;
  const char *vars_name = NULL, *vars_path = "";
  char q[IG_QUOTE_BYTES];
  IG_TRY(ig_alloc_array(f->n, sizeof *k->tensors, "table of tensors", &k->tensors));
  for (size_t i = 0; i < f->n; i++) {
    whole = whole || ig_starts_with(f->items[i].path, "model_weights/");
    numbered = numbered || strstr(f->items[i].path, "/vars/");
  }
  for (size_t i = 0, end; i < f->n; i = end) {
    const ig_h5_foreign_item *item = &f->items[i];
    size_t n = folder_bytes(item->path);
    end = i + 1;
    if (item->attribute && !strcmp(item->attribute, "name")) {
      vars_name = item->text;
      vars_path = item->path;
    }
    if (item->attribute || !is_weight(item->path, whole, numbered))
      continue;
    while (end < f->n && !f->items[end].attribute && folder_bytes(f->items[end].path) == n &&
           !memcmp(f->items[end].path, item->path, n))
      end++;
    bool named = vars_name && strlen(vars_path) == n && !memcmp(vars_path, item->path, n);
    IG_TRY(name_rows(k, i, end, n, named ? vars_name : NULL));
  }
  if (k->n)
    qsort(k->tensors, k->n, sizeof *k->tensors, by_name);
  for (size_t i = 1; i < k->n; i++)
    if (!strcmp(k->tensors[i].name, k->tensors[i - 1].name))
      return ig_fail(IG_ERR_FORMAT, "%s: two tensors are called %s", path, ig_quote(q, k->tensors[i].name));
  return IG_OK;
}

ig_status ig_keras_open(const char *path, ig_keras **out) {
  static const char *const attributes[] = {"name", "model_config", NULL};
  ig_keras *k = NULL;
  ig_mapped map = {0};
  slice weights, model = {0};
  ig_status status = IG_OK;
  *out = NULL;
  IG_GOTO(ig_file_map(path, &map));
  IG_GOTO(ig_alloc(sizeof *k, "weights of Keras", &k));
  weights = (slice){map.data, map.n};
  if (is_zip(weights)) {
    slice zip = weights;
    IG_GOTO(zip_member(path, zip, "config.json", &model));
    IG_GOTO(zip_member(path, zip, "model.weights.h5", &weights));
  }
  if (!weights.data || !is_hdf5(weights))
    IG_GOTO(ig_fail(IG_ERR_FORMAT, "%s: model.weights.h5 is no HDF5 file", path));
  IG_GOTO(check_model(path, (const char *)model.data, model.n));
  IG_GOTO(ig_h5_foreign_read(path, weights.data, weights.n, attributes, &k->file));
  for (size_t i = 0; i < k->file.n; i++) {
    const ig_h5_foreign_item *item = &k->file.items[i];
    if (item->attribute && !strcmp(item->attribute, "model_config") && !*item->path)
      IG_GOTO(check_model(path, item->text, strlen(item->text)));
  }
  IG_GOTO(name_all(path, k));
  *out = k;
  k = NULL;
done:
  ig_file_unmap(&map);
  ig_keras_close(k);
  return status;
}

void ig_keras_close(ig_keras *k) {
  if (!k)
    return;
  for (size_t i = 0; i < k->n; i++)
    ig_free(k->tensors[i].name);
  ig_free(k->tensors);
  ig_h5_foreign_fini(&k->file);
  ig_free(k);
}

size_t ig_keras_count(const ig_keras *k) { return k->n; }
const ig_keras_tensor *ig_keras_get(const ig_keras *k, size_t i) { return &k->tensors[i]; }
