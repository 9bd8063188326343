// Backward of linear_xent: a task is a fixed range of classes; it writes their rows of dw and its own part of dx, and
// the parts are added in their order. Rows of x are taken in groups, so that a block of classes stays in the cache.
#ifndef IG_KERNELS_LINEAR_XENT_BWD_H
#define IG_KERNELS_LINEAR_XENT_BWD_H

#include "kernels/linear_xent/linear_xent_chunks.h"

enum { GROUP = 4 * LANES };  // rows of x

#define PARTS_BYTES ((size_t)16 << 20)  // of dx, about

static int64_t columns_of(const xent *z) { return divided_up(z->D, LANES); }  // panels of D
static int64_t width_of(const xent *z) { return whole_vectors(z->D); }
static int64_t groups_of(const xent *z) { return divided_up(z->P, GROUP); }
static int64_t blocks_of(const xent *z) { return divided_up(z->V, CLASSES); }

// Parts of dx: by sizes alone.
static int64_t parts_of(const xent *z) {
  const int64_t bytes = z->P * width_of(z) * (int64_t)sizeof(float) + 1, fit = (int64_t)PARTS_BYTES / bytes;
  const int64_t n = fit < 8 ? 8 : fit > 64 ? 64 : fit;
  return ig_min_i64(n, blocks_of(z));
}

typedef struct bwd_shared {
  unit *turned, *across;          // x turned; x across, [group][panel of D][units(GROUP)][LANES]
  float *coefficient, *of_label;  // per row of x: of its probabilities, and what the label's lose
  float *parts;                   // [part][P][width]
} bwd_shared;

typedef struct bwd_own {
  unit *w, *w_across, *along, *pairs;  // of w: rows along, [panel of D][units(CLASSES)][LANES]; of dz
  float *tile, *dw;                    // dz [CLASSES][GROUP]; rows of dw where they are no whole vectors
} bwd_own;

typedef struct carver {
  char *at;
  size_t used;
} carver;

static void *carve(carver *c, int64_t n) {
  void *p = c->at ? c->at + c->used : NULL;
  c->used += rounded_up((size_t)n * sizeof(float));
  return p;
}

static size_t shared_of(char *at, const xent *z, bwd_shared *s) {
  carver c = {at, 0};
  s->turned = carve(&c, panels_of(z) * z->du * LANES);
  s->across = carve(&c, groups_of(z) * columns_of(z) * units(GROUP) * LANES);
  s->coefficient = carve(&c, panels_of(z) * LANES);
  s->of_label = carve(&c, panels_of(z) * LANES);
  s->parts = carve(&c, parts_of(z) * z->P * width_of(z));
  return c.used;
}

static size_t own_of(char *at, const xent *z, bwd_own *o) {
  const int64_t w = CLASSES * z->du, x = LANES * z->du;  // turn_panel's scratch, too
  carver c = {at, 0};
  o->w = carve(&c, w > x ? w : x);
  o->w_across = carve(&c, columns_of(z) * units(CLASSES) * LANES);
  o->along = carve(&c, PAIR == 2 ? CLASSES * GROUP / 2 : 0);
  o->pairs = carve(&c, PAIR == 2 ? CLASSES / 2 * GROUP : 0);
  o->tile = carve(&c, CLASSES * GROUP);
  o->dw = carve(&c, z->D % VEC ? CLASSES * width_of(z) : 0);
  return c.used;
}

static int64_t panel_width(const xent *z, int64_t c) { return ig_min_i64(LANES, z->D - c * LANES); }

// ---- what all tasks read ----
static void read_rows(const xent *z, const bwd_shared *s) {
  const float *dsum = z->l->in[B_DSUM], *dlse = z->l->in[B_DLSE];
  for (int64_t p = 0; p < panels_of(z) * LANES; p++) {
    const float w = p < z->P ? xent_weight(z->weights, p) : 0;
    float d = dsum && w != 0 ? *dsum * w : 0;
    if (w != 0 && !xent_is_label(z->labels[p], z->V))
      d = NAN;
    s->of_label[p] = d;
    s->coefficient[p] = d + (dlse && w != 0 ? dlse[p] : 0);
  }
}

static void pack_group(const xent *z, int64_t group, const bwd_shared *s) {
  const int64_t rows = ig_min_i64(GROUP, z->P - group * GROUP);
  for (int64_t c = 0; c < columns_of(z); c++)
    pack_across(z->x, z->type, group * GROUP * z->D + c * LANES, z->D, rows, panel_width(z, c),
                s->across + (group * columns_of(z) + c) * units(GROUP) * LANES, LANES);
}

// ---- a block of classes ----
// Logits of panel i become gradients of logits, within dz[n][GROUP].
static void dz_panel(const xent *z, const bwd_shared *s, const float *lse, const unit *w, int64_t v0, int64_t n,
                     int64_t i, float *tile, float *dz, product_fetch *f) {
  const int64_t rows = panel_rows(z, i), lanes = whole_vectors(rows), at = i * LANES;
  const float *coefficient = s->coefficient + at;
  float shift[LANES] = {0};
  memcpy(shift, lse + at, (size_t)rows * sizeof *shift);
  logits_tile(z, w, v0, n, s->turned, i, tile, f);
  for (int64_t p = 0; p < lanes; p += VEC) {
    const vec c = vec_load(coefficient, IG_F32, p, VEC), lse_of = vec_load(shift, IG_F32, p, VEC);
    const vec_i32 counts = (vec_i32)(c != 0);  // what does not count is 0 even where a logit is infinite
    for (int64_t r = 0; r < n; r++) {
      const vec e = vec_exp(vec_load(tile, IG_F32, r * LANES + p, VEC) - lse_of) * c;
      vec_store(dz, IG_F32, r * GROUP + p, VEC, (vec)((vec_i32)e & counts));
    }
  }
  for (int64_t p = 0; PAIR == 2 && p < rows; p++) {
    const int64_t label = z->labels[at + p];
    if (label >= v0 && label < v0 + n)
      dz[(label - v0) * GROUP + p] -= s->of_label[at + p];
  }
}

// In fp32 the label's own term is added behind all others: it is as large as they are together, and each that is added
// to it would be rounded to its last digit.
// Rows of dw of classes v0..v0+n, and their dbias.
static void labels_of_block(const xent *z, const bwd_shared *s, int64_t v0, int64_t n, float *dw, int64_t dw_row,
                            float *dbias) {
  for (int64_t p = 0; PAIR == 1 && p < z->P; p++) {
    const int64_t label = z->labels[p];
    const float d = s->of_label[p];
    if (d == 0 || label < v0 || label >= v0 + n)
      continue;
    if (z->bias)
      dbias[label] -= d;
    for (int64_t i = 0; i < z->D; i += VEC) {
      const int64_t m = ig_min_i64(z->D - i, VEC);
      float *y = dw + (label - v0) * dw_row;
      vec_store(y, IG_F32, i, m, vec_load(y, IG_F32, i, m) - vec_load(z->x, z->type, p * z->D + i, m) * d);
    }
  }
}

#ifdef PRODUCTS_BF16
// dz rounded: along [n][GROUP / 2], and across in pairs of classes [units(n)][GROUP].
static void round_dz(const bwd_own *o, int64_t n, int64_t rows) {
  const __m512i index = _mm512_or_si512(
      _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
      _mm512_slli_epi32(_mm512_set_epi32(31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 16), 16));
  for (int64_t r = 0; r < n; r += 2)
    for (int64_t p = 0; p < rows; p += 16) {
      const __m512 a = _mm512_loadu_ps(o->tile + r * GROUP + p);
      const __m512 b = r + 1 < n ? _mm512_loadu_ps(o->tile + (r + 1) * GROUP + p) : _mm512_setzero_ps();
      const __m512i both = (__m512i)_mm512_cvtne2ps_pbh(b, a);
      _mm256_storeu_si256((__m256i *)(o->along + r * (GROUP / 2) + p / 2), _mm512_castsi512_si256(both));
      if (r + 1 < n)
        _mm256_storeu_si256((__m256i *)(o->along + (r + 1) * (GROUP / 2) + p / 2), _mm512_extracti64x4_epi64(both, 1));
      _mm512_storeu_si512(o->pairs + r / 2 * GROUP + p, _mm512_permutexvar_epi16(index, both));
    }
}
#endif

// Rows of x of one group: dw (added to that of the groups before) and the part of dx.
static void products_of_group(const xent *z, const bwd_shared *s, const bwd_own *o, int64_t group, int64_t n, float *dw,
                              int64_t dw_row, float *dx) {
  const int64_t rows = ig_min_i64(GROUP, z->P - group * GROUP), width = width_of(z);
#ifdef PRODUCTS_BF16
  const unit *along = o->along, *across = o->pairs;
  const int64_t along_row = GROUP / 2;
  round_dz(o, n, rows);
#else
  const unit *along = o->tile, *across = o->tile;
  const int64_t along_row = GROUP;
#endif
  for (int64_t c = 0; c < columns_of(z); c++) {
    const int64_t columns = whole_vectors(panel_width(z, c));
    product(along, along_row, 1, n, units(rows), s->across + (group * columns_of(z) + c) * units(GROUP) * LANES, LANES,
            columns, dw + c * LANES, dw_row, group > 0);
    product(across, 1, GROUP, rows, units(n), o->w_across + c * units(CLASSES) * LANES, LANES, columns,
            dx + group * GROUP * width + c * LANES, width, true);
  }
}

static void bwd_block(const xent *z, const bwd_shared *s, const bwd_own *o, int64_t block, float *tile, float *dx) {
  const int64_t v0 = block * CLASSES, n = ig_min_i64(CLASSES, z->V - v0), D = z->D;
  const float *lse = z->l->in[B_LSE];
  float *dw = D % VEC ? o->dw : (float *)z->l->out[1] + v0 * D, *dbias = z->l->out[2];
  const unit *w = w_along(z, v0, n, o->w);
  product_fetch f = fetch_of_block(z, v0 + n);
  for (int64_t c = 0; c < columns_of(z); c++)
    pack_across(w, PAIR == 2 ? IG_BF16 : IG_F32, c * LANES, PAIR * z->du, n, panel_width(z, c),
                o->w_across + c * units(CLASSES) * LANES, LANES);
  for (int64_t r = 0; z->bias && r < n; r++)
    dbias[v0 + r] = 0;
  for (int64_t group = 0; group < groups_of(z); group++) {
    const int64_t first = group * GROUP / LANES, last = ig_min_i64(first + GROUP / LANES, panels_of(z));
    const int64_t rows = ig_min_i64(GROUP, z->P - group * GROUP);
    for (int64_t i = first; i < last; i++)
      dz_panel(z, s, lse, w, v0, n, i, tile, o->tile + (i - first) * LANES, &f);
    for (int64_t r = 0; z->bias && r < n; r++) {
      float sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t p = 0; p < rows; p++)
        sum += o->tile[r * GROUP + p];
      dbias[v0 + r] += sum;
    }
    products_of_group(z, s, o, group, n, dw, D % VEC ? width_of(z) : D, dx);
  }
  labels_of_block(z, s, v0, n, dw, D % VEC ? width_of(z) : D, dbias);
  for (int64_t r = 0; D % VEC && r < n; r++)
    memcpy((float *)z->l->out[1] + (v0 + r) * D, dw + r * width_of(z), (size_t)D * sizeof *dw);
}

// ---- the row ----
static void add_parts(const xent *z, const bwd_shared *s, int64_t parts, int64_t p) {
  const int64_t width = width_of(z), stride = z->P * width;
  const float d = PAIR == 1 ? s->of_label[p] : 0;
  const int64_t label = d != 0 && xent_is_label(z->labels[p], z->V) ? z->labels[p] : -1;
  for (int64_t i = 0; i < z->D; i += VEC) {
    const int64_t n = ig_min_i64(z->D - i, VEC);
    vec sum = vec_load(s->parts, IG_F32, p * width + i, VEC);
    for (int64_t part = 1; part < parts; part++)
      sum += vec_load(s->parts, IG_F32, part * stride + p * width + i, VEC);
    if (label >= 0)
      sum -= vec_load(z->w, z->type, label * z->D + i, n) * d;
    vec_store(z->l->out[0], z->type, p * z->D + i, n, sum);
  }
}

// The thread's memory: own_of, then a tile of logits.
static size_t thread_bytes(const xent *z, bwd_own *o) {
  return own_of(NULL, z, o) + (size_t)(CLASSES * LANES) * sizeof(float);
}

static ig_status prepare_bwd(ig_prepare *p) {
  const xent z = xent_sizes(p->node, B_X);
  bwd_shared s;
  bwd_own o;
  plain_or_wide(p, B_W);
  p->workspace_bytes = shared_of(NULL, &z, &s) + (size_t)p->device->caps.threads * thread_bytes(&z, &o);
  return IG_OK;
}

static ig_status run_bwd(const ig_launch *l) {
  xent z = xent_of(l, B_X);
  const int64_t parts = parts_of(&z), blocks = blocks_of(&z), all = z.P;
  bwd_shared s;
  char *memory = (char *)l->workspace + shared_of(l->workspace, &z, &s);
  z.P = rows_that_count(&z);
  const int64_t part_size = z.P * width_of(&z);
  memset((char *)l->out[0] + (size_t)(z.P * z.D) * ig_dtype_bytes(z.type), 0,
         (size_t)((all - z.P) * z.D) * ig_dtype_bytes(z.type));
  read_rows(&z, &s);
  if (!z.bias)
    *(float *)l->out[2] = 0;
#pragma omp parallel num_threads(l->device->caps.threads)
  {
    bwd_own o;
    char *mine = memory + (size_t)omp_get_thread_num() * thread_bytes(&z, &o);
    float *tile = (float *)(mine + own_of(mine, &z, &o));
#pragma omp for schedule(static)
    for (int64_t i = 0; i < panels_of(&z); i++)
      turn_panel(&z, i, s.turned, o.w);
#pragma omp for schedule(static)
    for (int64_t group = 0; group < groups_of(&z); group++)
      pack_group(&z, group, &s);
#pragma omp for schedule(dynamic, 1)
    for (int64_t part = 0; part < parts; part++) {
      float *dx = s.parts + part * part_size;
      memset(dx, 0, (size_t)part_size * sizeof *dx);
      for (int64_t b = part * blocks / parts; b < (part + 1) * blocks / parts; b++)
        bwd_block(&z, &s, &o, b, tile, dx);
    }
#pragma omp for schedule(static)
    for (int64_t p = 0; p < z.P; p++)
      add_parts(&z, &s, parts, p);
  }
  return IG_OK;
}

#endif
