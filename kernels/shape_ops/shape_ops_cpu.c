// Moving numbers on the CPU: runs along the last dimension by memcpy, PLAIN of any rank and BLOCKED_C of rank 4. Rule:
// a run is cut where a block of either side ends; padding lanes of the result are written as zero.
#include <string.h>

#include "kernels/kernels.h"
#include "kernels/shape_ops/shape_ops.h"

// Memory of one side, seen as rows along the last dimension.
typedef struct side {
  const ig_shape *shape;
  int64_t width, block, stride_b;  // last dimension; plain: one block of all of it
  ig_view4 v;                      // BLOCKED_C only
  bool blocked;
} side;

static side side_of(const ig_tensor *t, ig_layout layout) {
  side s = {.shape = &t->shape, .width = t->shape.n ? t->shape.d[t->shape.n - 1] : 1};
  s.blocked = layout.kind == IG_LAYOUT_BLOCKED_C;
  s.block = s.width;
  if (s.blocked) {
    s.v = ig_view4_of(&t->shape, layout);
    s.block = s.v.block;
    s.stride_b = s.v.stride_b;
  }
  return s;
}

// First element of row r (row-major over all dimensions but the last).
static int64_t row_at(const side *s, int64_t r) {
  return s->blocked ? r / s->v.P * s->v.stride_n + r % s->v.P * s->v.stride_p : r * s->width;
}
static int64_t element_at(const side *s, int64_t row, int64_t c) {
  return row + (s->blocked ? c / s->block * s->stride_b + c % s->block : c);
}
static int64_t low(int64_t a, int64_t b) { return a < b ? a : b; }

typedef struct move {
  side in, out;
  const char *x;
  char *y;
  size_t bytes;  // of an element
} move;

// n elements from (in_row, c) to (out_row, k).
static void copy_run(const move *m, int64_t in_row, int64_t c, int64_t out_row, int64_t k, int64_t n) {
  while (n > 0) {
    int64_t run = low(n, low(m->in.block - c % m->in.block, m->out.block - k % m->out.block));
    memcpy(m->y + (size_t)element_at(&m->out, out_row, k) * m->bytes,
           m->x + (size_t)element_at(&m->in, in_row, c) * m->bytes, (size_t)run * m->bytes);
    c += run;
    k += run;
    n -= run;
  }
}

static const char zeros[sizeof(double)] = {0};

// Elements k0..k1 of a row of the result become the element given.
static void fill_run(const move *m, int64_t out_row, int64_t k0, int64_t k1, const char *element) {
  while (k0 < k1) {
    int64_t run = low(k1 - k0, m->out.block - k0 % m->out.block);
    char *to = m->y + (size_t)element_at(&m->out, out_row, k0) * m->bytes;
    if (!memcmp(element, zeros, m->bytes))
      memset(to, 0, (size_t)run * m->bytes);
    else
      for (int64_t i = 0; i < run; i++)
        memcpy(to + (size_t)i * m->bytes, element, m->bytes);
    k0 += run;
  }
}

static void zero_padding(const move *m, int64_t out_row) {
  if (m->out.blocked)
    fill_run(m, out_row, m->out.width, m->out.v.n_blocks * m->out.block, zeros);
}

// ---- place ----
// Row of x that belongs to row r of the result, -1 where there is none.
static int64_t source_row(const ig_place_attr *a, const ig_shape *x, const ig_shape *y, int64_t r) {
  int64_t row = 0, stride = 1;
  for (int k = y->n - 2; k >= 0; k--) {
    int64_t i = r % y->d[k] - a->out_begin[k];
    r /= y->d[k];
    if (i < 0 || i % a->out_step[k] || i / a->out_step[k] >= a->size.d[k])
      return -1;
    row += (a->in_begin[k] + i / a->out_step[k] * a->in_step[k]) * stride;
    stride *= x->d[k];
  }
  return row;
}

static void place_row(const move *m, const ig_place_attr *a, int64_t r, const char *value) {
  int last = m->out.shape->n - 1;
  int64_t to = row_at(&m->out, r), from = source_row(a, m->in.shape, m->out.shape, r);
  int64_t c = a->in_begin[last], k = a->out_begin[last], n = from < 0 ? 0 : a->size.d[last];
  if (n == 0) {
    fill_run(m, to, 0, m->out.width, value);
  } else if (a->in_step[last] == 1 && a->out_step[last] == 1) {
    fill_run(m, to, 0, k, value);
    copy_run(m, row_at(&m->in, from), c, to, k, n);
    fill_run(m, to, k + n, m->out.width, value);
  } else {
    fill_run(m, to, 0, m->out.width, value);
    for (int64_t i = 0; i < n; i++)
      copy_run(m, row_at(&m->in, from), c + i * a->in_step[last], to, k + i * a->out_step[last], 1);
  }
  zero_padding(m, to);
}

static ig_status place_cpu(const ig_launch *l) {
  const ig_tensor *x = l->node->in[0], *y = l->node->out[0];
  const ig_place_attr *a = l->node->attr;
  char value[sizeof(double)];
  ig_store_f64(value, y->dtype, 0, a->value);
  const move m = {side_of(x, l->in_layout[0]), side_of(y, l->out_layout[0]), l->in[0], l->out[0],
                  ig_dtype_bytes(y->dtype)};
  int64_t rows = ig_shape_count(&y->shape) / m.out.width;
#pragma omp parallel for schedule(static) num_threads(l->device->caps.threads) if (rows * m.out.width > 32768)
  for (int64_t r = 0; r < rows; r++)
    place_row(&m, a, r, value);
  return IG_OK;
}

// ---- concat, reshape ----
static ig_status concat_c_cpu(const ig_launch *l) {
  const ig_node *n = l->node;
  const ig_tensor *y = n->out[0];
  int64_t at = 0, rows = ig_shape_count(&y->shape) / y->shape.d[y->shape.n - 1];
  for (int j = 0; j < n->n_in; j++) {
    const move m = {side_of(n->in[j], l->in_layout[j]), side_of(y, l->out_layout[0]), l->in[j], l->out[0],
                    ig_dtype_bytes(y->dtype)};
    bool is_last = j + 1 == n->n_in;
#pragma omp parallel for schedule(static) num_threads(l->device->caps.threads) if (rows * m.in.width > 32768)
    for (int64_t r = 0; r < rows; r++) {
      copy_run(&m, row_at(&m.in, r), 0, row_at(&m.out, r), at, m.in.width);
      if (is_last)
        zero_padding(&m, row_at(&m.out, r));
    }
    at += m.in.width;
  }
  return IG_OK;
}

static ig_status reshape_cpu(const ig_launch *l) {
  const ig_tensor *y = l->node->out[0];
  if (l->out[0] != l->in[0])
    memcpy(l->out[0], l->in[0], (size_t)ig_shape_count(&y->shape) * ig_dtype_bytes(y->dtype));
  return IG_OK;
}

// ---- layouts ----
static ig_status prepare_reshape(ig_prepare *p) {
  p->in_layout[0] = p->out_layout[0] = IG_PLAIN;
  return IG_OK;
}

// Rows may lie in blocks on either side; the first operand's layout serves all.
static ig_status prepare_rows(ig_prepare *p) {
  ig_layout layout = p->in_layout[0];
  if (layout.kind == IG_LAYOUT_OPAQUE)
    layout = IG_PLAIN;
  for (int i = 0; i < p->node->n_in; i++)
    p->in_layout[i] = layout;
  p->out_layout[0] = layout;
  return IG_OK;
}

#define CPU(op, prepare_fn)                                                                        \
  {                                                                                                \
    .name = #op "_cpu", .flags = IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, .isa = IG_ISA_LEVEL, \
    .prepare = prepare_fn, .run = op##_cpu                                                         \
  }
IG_IMPLS(shape_ops_cpu) = {CPU(reshape, prepare_reshape), CPU(concat_c, prepare_rows), CPU(place, prepare_rows), {0}};
