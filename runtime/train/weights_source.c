// Opening what holds weights: run folder, checkpoint folder, .safetensors or Keras file. Rule: a foreign format is
// named for what it is, with the way to convert it.
#include "runtime/train/weights_source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/base/text.h"

#define PYTORCH_MODEL "pytorch_model.bin"  // Hugging Face's name for a model before model.safetensors

const char *const ig_weight_prefixes[IG_WEIGHT_PREFIXES] = {"", "module."};  // torch's DataParallel adds the second

bool ig_weight_name(const ig_model *model, ig_weight_naming naming, const char *param, char name[IG_WEIGHT_NAME_BYTES],
                    ig_weight_form *form) {
  char base[256];
  *form = IG_FORM_SAME;
  if (naming.convention == 0)
    snprintf(base, sizeof base, "%s", param);
  else if (!model->foreign_name || !model->foreign_name(model, naming.convention, param, base, form))
    return false;
  snprintf(name, IG_WEIGHT_NAME_BYTES, "%s%s", naming.prefix, base);
  return true;
}

static int by_name(const void *a, const void *b) {
  return strcmp(((const ig_weight_entry *)a)->name, ((const ig_weight_entry *)b)->name);
}

const ig_weight_entry *ig_weight_source_find(const ig_weight_source *s, const char *name) {
  const ig_weight_entry key = {.name = name};
  return s->n ? bsearch(&key, s->items, s->n, sizeof key, by_name) : NULL;
}

static ig_status reserve(ig_weight_source *s, size_t n) {
  IG_TRY(ig_alloc_array(n, sizeof *s->items, "table of weights", &s->items));
  return ig_alloc_array(n, sizeof *s->names, "table of weights", &s->names);
}

static void finish(ig_weight_source *s) {
  if (s->n)
    qsort(s->items, s->n, sizeof *s->items, by_name);
  for (size_t i = 0; i < s->n; i++)
    s->names[i] = s->items[i].name;
}

static ig_status list_st(ig_weight_source *s) {
  const size_t n = ig_st_count(s->st);
  IG_TRY(reserve(s, n));
  for (; s->n < n; s->n++) {
    const ig_st_tensor *t = ig_st_get(s->st, s->n);
    ig_weight_entry *e = &s->items[s->n];
    *e = (ig_weight_entry){.name = t->name,
                           .dtype = ig_st_dtype_name(t->dtype),
                           .n_dims = t->n_dims,
                           .dims = t->dims,
                           .n = t->n,
                           .tensor = t};
    e->is_float = ig_st_dtype_to_ig(t->dtype, &e->type) && ig_dtype_is_float(e->type);
    e->is_f32 = e->is_float && e->type == IG_F32;
  }
  finish(s);
  return IG_OK;
}

static ig_status list_ckpt(ig_weight_source *s, bool ema) {
  const size_t n = ig_ckpt_count(s->ckpt);
  IG_TRY(reserve(s, n));
  for (size_t i = 0; i < n; i++) {
    const ig_ckpt_entry *t = ig_ckpt_get(s->ckpt, i);
    const bool averaged = !strcmp(t->group, "ema");
    s->has_ema = s->has_ema || averaged;
    if (t->offset != 0 || !(strcmp(t->group, "weights") == 0 || strcmp(t->group, "state") == 0 || (averaged && ema)))
      continue;
    if (!averaged && ema && ig_ckpt_find(s->ckpt, "ema", t->name))
      continue;
    s->items[s->n++] = (ig_weight_entry){.name = t->name,
                                         .group = t->group,
                                         .dtype = ig_dtype_name(t->dtype),
                                         .is_float = ig_dtype_is_float(t->dtype),
                                         .is_f32 = t->dtype == IG_F32,
                                         .type = t->dtype,
                                         .n_dims = t->n_dims,
                                         .dims = t->dims,
                                         .n = t->whole};
  }
  finish(s);
  return IG_OK;
}

static ig_status list_keras(ig_weight_source *s) {
  const size_t n = ig_keras_count(s->keras);
  IG_TRY(reserve(s, n));
  for (; s->n < n; s->n++) {
    const ig_keras_tensor *t = ig_keras_get(s->keras, s->n);
    const ig_h5_foreign_item *item = t->item;
    s->items[s->n] = (ig_weight_entry){.name = t->name,
                                       .dtype = item->is_float ? ig_dtype_name(item->dtype) : "no floating-point type",
                                       .is_float = item->is_float,
                                       .is_f32 = item->is_float && item->dtype == IG_F32,
                                       .type = item->dtype,
                                       .n_dims = item->n_dims,
                                       .dims = item->dims,
                                       .n = item->n,
                                       .data = item->data};
  }
  finish(s);
  return IG_OK;
}

// How a file of PyTorch becomes one that is read: it is a program (a pickle), which only PyTorch should run. Weights of
// a GPU come to the host, training's wrapping goes, and tied weights are copied, as save_file refuses shared memory.
static ig_status refuse_torch(const char *path, const char *what) {
  const char *slash = strrchr(path, '/'), *name = ig_path_name(path);
  const bool of_folder = !strcmp(name, PYTORCH_MODEL);
  return ig_fail(IG_ERR_UNSUPPORTED,
                 "%s is %s, which is not supported; convert it to .safetensors, for example by python3 -c 'import "
                 "torch, safetensors.torch as s; d = torch.load(\"%s\", map_location=\"cpu\", weights_only=True); "
                 "s.save_file({k: v.contiguous().clone() for k, v in d.get(\"state_dict\", d).items()}, "
                 "\"%.*s%s\")'",
                 path, what, path, slash && of_folder ? (int)(slash - path + 1) : 0, path,
                 of_folder ? "model.safetensors" : "out.safetensors");
}

// Refuses files of formats that are known but not read. What calls itself .safetensors is left to ig_st_open.
static ig_status refuse_foreign(const char *path, bool *is_keras) {
  static const struct {
    const char *magic;
    size_t n;
    const char *what;
  } known[] = {
      {"PK\3\4", 4, "a zip archive: a PyTorch .pt/.pth/.bin file"},
      {"\x80\2", 2, "a Python pickle: an old PyTorch .pt/.pth/.bin file"},
      {"\x80\3", 2, "a Python pickle"},
      {"\x80\4", 2, "a Python pickle"},
      {"\x80\5", 2, "a Python pickle"},
  };
  *is_keras = false;
  if (ig_ends_with(path, ".safetensors"))
    return IG_OK;
  ig_mapped map;
  IG_TRY(ig_file_map(path, &map));
  ig_status status = IG_OK;
  *is_keras = ig_keras_is(map.data, map.n);
  for (size_t i = 0; i < sizeof known / sizeof *known && status == IG_OK && !*is_keras; i++)
    if (map.n >= known[i].n && !memcmp(map.data, known[i].magic, known[i].n))
      status = refuse_torch(path, known[i].what);
  ig_file_unmap(&map);
  return status;
}

// Why a folder is no source of weights: what lies there in place of model.safetensors.
static ig_status no_file_in(const char *folder) {
  static const char *const shards[] = {"model.safetensors.index.json", PYTORCH_MODEL ".index.json"};
  bool there;
  IG_TRY(ig_path_holds(folder, PYTORCH_MODEL, &there));
  if (there) {
    char *path;
    IG_TRY(ig_path_join(&path, folder, PYTORCH_MODEL));
    const ig_status status = refuse_torch(path, "a PyTorch file");
    ig_free(path);
    return status;
  }
  for (size_t i = 0; i < sizeof shards / sizeof *shards; i++) {
    IG_TRY(ig_path_holds(folder, shards[i], &there));
    if (there)
      return ig_fail(IG_ERR_UNSUPPORTED,
                     "%s/%s: weights in several files, which are not supported; save them as one, in Python: load the "
                     "model by Transformers and model.save_pretrained(FOLDER, max_shard_size=\"100GB\")",
                     folder, shards[i]);
  }
  return ig_fail(IG_ERR_NOT_FOUND,
                 "%s: the folder holds neither model.safetensors (a run folder) nor MANIFEST (a checkpoint); give "
                 "a run folder, RUN/checkpoints/step-N, a .safetensors or a Keras .h5 file",
                 folder);
}

static ig_status find_file(const char *path, bool *is_checkpoint, char **found) {
  *is_checkpoint = false;
  if (!ig_path_is_dir(path)) {
    const char *name = ig_path_name(path);
    return strncmp(name, "shard-", 6)
               ? ig_strdup(path, found)
               : ig_fail(IG_ERR_USAGE, "%s: one file of a checkpoint; give its folder, step-N", path);
  }
  char *inner = NULL;
  ig_status status = IG_OK;
  IG_GOTO(ig_path_join(&inner, path, "MANIFEST"));
  *is_checkpoint = ig_path_exists(inner);
  if (*is_checkpoint) {
    IG_GOTO(ig_strdup(path, found));
    goto done;
  }
  IG_GOTO(ig_path_join(found, path, "model.safetensors"));
  if (!ig_path_exists(*found)) {
    ig_free(*found);
    *found = NULL;
    status = no_file_in(path);
  }
done:
  ig_free(inner);
  return status;
}

ig_status ig_weight_source_open(const char *path, bool ema, ig_weight_source *out) {
  bool is_checkpoint, is_keras;
  ig_status status = IG_OK;
  memset(out, 0, sizeof *out);
  IG_GOTO(find_file(path, &is_checkpoint, &out->path));
  if (is_checkpoint) {
    IG_GOTO(ig_ckpt_open(out->path, &out->ckpt));
    IG_GOTO(list_ckpt(out, ema));
  } else {
    IG_GOTO(refuse_foreign(out->path, &is_keras));
    IG_GOTO(is_keras ? ig_keras_open(out->path, &out->keras) : ig_st_open(out->path, &out->st));
    IG_GOTO(is_keras ? list_keras(out) : list_st(out));
  }
  return IG_OK;
done:
  ig_weight_source_close(out);
  return status;
}

void ig_weight_source_close(ig_weight_source *s) {
  ig_free(s->items);
  ig_free(s->names);
  ig_st_close(s->st);
  ig_ckpt_close(s->ckpt);
  ig_keras_close(s->keras);
  ig_free(s->path);
  memset(s, 0, sizeof *s);
}

ig_status ig_weight_source_read(const ig_weight_source *s, const ig_weight_entry *e, float *dst) {
  if (e->tensor)
    return ig_st_convert(e->tensor, dst, IG_F32);
  const size_t n = (size_t)e->n, bytes = n * ig_dtype_bytes(e->type);
  if (e->data) {
    ig_convert(dst, IG_F32, e->data, e->type, n);
    return IG_OK;
  }
  if (e->is_f32)
    return ig_ckpt_read(s->ckpt, e->group, e->name, dst, bytes);
  void *raw = NULL;
  ig_status status = ig_alloc(bytes, "tensor to convert", &raw);
  if (status == IG_OK)
    status = ig_ckpt_read(s->ckpt, e->group, e->name, raw, bytes);
  if (status == IG_OK)
    ig_convert(dst, IG_F32, raw, e->type, n);
  ig_free(raw);
  return status;
}

bool ig_weight_source_equal(const ig_weight_source *s, const ig_weight_entry *a, const ig_weight_entry *b) {
  const void *x = a->tensor ? a->tensor->data : a->data, *y = b->tensor ? b->tensor->data : b->data;
  return x && y && a->n == b->n && a->type == b->type && a->n_dims == b->n_dims &&
         !memcmp(a->dims, b->dims, sizeof *a->dims * (size_t)a->n_dims) &&
         !memcmp(x, y, (size_t)a->n * ig_dtype_bytes(a->type));
}
