// Shapes, layouts, the registry of opaque layouts, and the parameter table.
#include "runtime/graph/tensor.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "runtime/base/rng.h"
#include "runtime/graph/prepare.h"

int64_t ig_shape_count(const ig_shape *s) {
  int64_t n = 1;
  for (int i = 0; i < s->n; i++)
    n *= s->d[i];
  return n;
}

bool ig_shape_equal(const ig_shape *a, const ig_shape *b) {
  return a->n == b->n && memcmp(a->d, b->d, (size_t)a->n * sizeof *a->d) == 0;
}

const char *ig_shape_text(const ig_shape *s, char text[96]) {
  size_t at = (size_t)snprintf(text, 96, "[");
  for (int i = 0; i < s->n && at < 80; i++)
    at += (size_t)snprintf(text + at, 96 - at, i ? ", %lld" : "%lld", (long long)s->d[i]);
  snprintf(text + at, 96 - at, "]");
  return text;
}

// ---- opaque layouts ----
#define MAX_BLOB 4096

typedef struct entry {
  void *blob;
  size_t blob_bytes, bytes;
  char label[32];
} entry;

struct ig_layouts {
  entry *items;
  size_t n, capacity;
  ig_choices choices;  // of the plan: none where it has set none
};

ig_status ig_layouts_create(ig_layouts **out) { return ig_alloc(sizeof **out, "layout registry", out); }

void ig_layouts_set_choices(ig_layouts *l, const ig_choices *choices) { l->choices = *choices; }

const char *ig_prepare_recall(const ig_prepare *p, const char *what) {
  const ig_choices *c = p->layouts ? &p->layouts->choices : NULL;
  return c && c->recall ? c->recall(c->owner, p->node, what) : NULL;
}

ig_status ig_prepare_keep(const ig_prepare *p, const char *what, const char *choice) {
  const ig_choices *c = p->layouts ? &p->layouts->choices : NULL;
  return c && c->keep ? c->keep(c->owner, p->node, what, choice) : IG_OK;
}

void ig_layouts_destroy(ig_layouts *l) {
  if (!l)
    return;
  for (size_t i = 0; i < l->n; i++)
    ig_free(l->items[i].blob);
  ig_free(l->items);
  ig_free(l);
}

ig_status ig_layouts_intern(ig_layouts *l, const void *blob, size_t blob_bytes, size_t bytes, const char *label,
                            ig_layout *out) {
  if (blob_bytes > MAX_BLOB)
    return ig_fail(IG_ERR_INTERNAL, "layout %s: blob of %zu bytes, at most %d expected", label, blob_bytes, MAX_BLOB);
  size_t i = 0;
  while (i < l->n && (l->items[i].blob_bytes != blob_bytes || memcmp(l->items[i].blob, blob, blob_bytes)))
    i++;
  if (i == l->n) {
    IG_TRY(ig_grow(&l->items, &l->capacity, l->n, l->n + 1, sizeof *l->items, "layout registry"));
    entry e = {.blob_bytes = blob_bytes, .bytes = bytes};
    snprintf(e.label, sizeof e.label, "%s", label);
    IG_TRY(ig_alloc(blob_bytes, "layout", &e.blob));
    memcpy(e.blob, blob, blob_bytes);
    l->items[l->n++] = e;
  }
  *out = (ig_layout){IG_LAYOUT_OPAQUE, 0, 0, (uint32_t)i};
  return IG_OK;
}

const void *ig_layouts_blob(const ig_layouts *l, ig_layout layout, size_t *blob_bytes) {
  if (layout.kind != IG_LAYOUT_OPAQUE || layout.id >= l->n)
    return NULL;
  if (blob_bytes)
    *blob_bytes = l->items[layout.id].blob_bytes;
  return l->items[layout.id].blob;
}

const char *ig_layouts_label(const ig_layouts *l, ig_layout layout, char text[32]) {
  if (layout.kind == IG_LAYOUT_PLAIN)
    snprintf(text, 32, "plain");
  else if (layout.kind == IG_LAYOUT_BLOCKED_C)
    snprintf(text, 32, layout.block == 1 ? "nchw" : "nChw%dc", layout.block);
  else if (layout.kind == IG_LAYOUT_WIDE)
    snprintf(text, 32, "wide");
  else
    snprintf(text, 32, "%s", l && layout.id < l->n ? l->items[layout.id].label : "opaque");
  return text;
}

size_t ig_layout_bytes(const ig_layouts *l, ig_layout layout, const ig_shape *shape, ig_dtype dtype) {
  if (layout.kind == IG_LAYOUT_OPAQUE)
    return l->items[layout.id].bytes;
  int64_t count = ig_shape_count(shape);
  if (layout.kind == IG_LAYOUT_WIDE)
    return (size_t)count * sizeof(float);
  if (layout.kind == IG_LAYOUT_BLOCKED_C && shape->d[3] > 0) {
    int64_t padded = (shape->d[3] + layout.block - 1) / layout.block * layout.block;
    count = count / shape->d[3] * padded;
  }
  return (size_t)count * ig_dtype_bytes(dtype);
}

ig_view4 ig_view4_of(const ig_shape *shape, ig_layout layout) {
  ig_view4 v = {.N = shape->d[0], .P = shape->d[1] * shape->d[2], .C = shape->d[3]};
  v.block = layout.kind == IG_LAYOUT_BLOCKED_C ? layout.block : v.C;
  v.n_blocks = v.block ? (v.C + v.block - 1) / v.block : 0;
  v.stride_p = v.block;
  v.stride_b = v.P * v.block;
  v.stride_n = v.n_blocks * v.stride_b;
  return v;
}

// ---- parameters ----
#define ALIGN_ELEMENTS 64  // every tensor starts on a cache line in 8, 16 and 32 bits

void ig_params_init(ig_params *p) { memset(p, 0, sizeof *p); }

void ig_params_fini(ig_params *p) {
  for (size_t i = 0; i < p->n; i++) {
    ig_free(p->items[i]->name);
    ig_free(p->items[i]);
  }
  ig_free(p->items);
  memset(p, 0, sizeof *p);
}

ig_param *ig_params_find(const ig_params *p, const char *name) {
  for (size_t i = 0; i < p->n; i++)
    if (!strcmp(p->items[i]->name, name))
      return p->items[i];
  return NULL;
}

ig_status ig_params_layout(ig_params *p) {
  if (p->laid_out)
    return IG_OK;
  // Backward finishes the last-used parameter first; frozen and state tables take the same order.
  for (size_t i = p->n; i-- > 0;) {
    ig_param *param = p->items[i];
    param->offset = p->count[param->kind];
    p->count[param->kind] += (ig_shape_count(&param->shape) + ALIGN_ELEMENTS - 1) / ALIGN_ELEMENTS * ALIGN_ELEMENTS;
  }
  p->laid_out = true;
  return IG_OK;
}

static void initialize(const ig_param *p, uint64_t seed, float *w) {
  int64_t n = ig_shape_count(&p->shape);
  const int64_t *d = p->shape.d;
  int64_t receptive = 1;
  for (int i = 2; i < p->shape.n; i++)
    receptive *= d[i];
  double fan_in = p->shape.n >= 2 ? (double)(d[1] * receptive) : 1;
  double fan_out = p->shape.n >= 1 ? (double)(d[0] * receptive) : 1;
  double sigma = 0, bound = 0, constant = 0;
  switch (p->init.kind) {
    case IG_INIT_ZERO:
      break;
    case IG_INIT_ONE:
      constant = 1;
      break;
    case IG_INIT_CONSTANT:
      constant = p->init.a;
      break;
    case IG_INIT_NORMAL:
      sigma = p->init.a;
      break;
    case IG_INIT_UNIFORM:
      bound = p->init.a;
      break;
    case IG_INIT_KAIMING_FAN_OUT:
      sigma = sqrt(2 / fan_out);
      break;
    case IG_INIT_KAIMING_FAN_IN:
      sigma = sqrt(2 / fan_in);
      break;
    case IG_INIT_LINEAR:
      bound = 1 / sqrt(p->init.a > 0 ? p->init.a : fan_in);
      break;
  }
  // A block of four draws gives two normal numbers or four uniform ones, so that a chunk knows where it starts.
  const int64_t chunk = 16384, n_chunks = (n + chunk - 1) / chunk;
  const uint64_t stream = ig_hash_str(p->name);
#pragma omp parallel for schedule(static) if (n_chunks > 1)
  for (int64_t k = 0; k < n_chunks; k++) {
    ig_rng rng = ig_rng_make(seed, stream, 0);
    const int64_t from = k * chunk, end = n - from < chunk ? n : from + chunk;
    rng.count = (uint32_t)(from / (sigma > 0 ? 2 : 4));
    if (sigma > 0)
      ig_rng_normals(&rng, (float)sigma, w + from, end - from);
    for (int64_t i = from; sigma <= 0 && i < end; i++)
      w[i] = bound > 0 ? (float)bound * (2 * ig_rng_uniform(&rng) - 1) : (float)constant;
  }
}

ig_status ig_params_initialize(const ig_params *p, uint64_t seed, float *const buffers[IG_N_PARAM_KINDS]) {
  if (!p->laid_out)
    return ig_fail(IG_ERR_INTERNAL, "parameters initialised before they were laid out");
  for (size_t i = 0; i < p->n; i++)
    initialize(p->items[i], seed, buffers[p->items[i]->kind] + p->items[i]->offset);
  return IG_OK;
}
