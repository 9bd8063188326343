// Cross-entropy of a linear layer in blocks of classes, for fp32 and bf16 products alike (kernels/eltwise/products.h).
// Rule: included by linear_xent_cpu.c and linear_xent_bf16_cpu.c alone. Logits lie turned, [class]
// [row of x], in a thread's memory: rows of w are read as they are, x is packed once, and sums over classes run in
// lanes. How classes are cut depends on sizes alone.
#ifndef IG_KERNELS_LINEAR_XENT_CHUNKS_H
#define IG_KERNELS_LINEAR_XENT_CHUNKS_H

#include <math.h>
#include <omp.h>
#include <string.h>

#include "kernels/eltwise/lanes.h"
#include "kernels/eltwise/products.h"
#include "kernels/eltwise/vec_exp.h"
#include "kernels/linear_xent/linear_xent_node.h"
#include "kernels/optim_util/fixed.h"
#include "kernels/plain.h"

enum {
  CLASSES = 96,  // of a block
  LANES = 64,    // rows of x in a panel
  CHUNK = 5      // blocks of a forward task
};

typedef struct xent {
  const ig_launch *l;
  ig_dtype type;
  int64_t P, V, D, du;  // du: units of a row of D numbers
  const void *x, *w;
  const float *bias;
  const int32_t *labels;
  const float *weights;
  bool wide;  // w is fp32, to be rounded
} xent;

static xent xent_sizes(const ig_node *n, int x) {
  xent z = {
      .type = n->in[x]->dtype, .P = n->in[x]->shape.d[0], .V = n->in[x + 1]->shape.d[0], .D = n->in[x]->shape.d[1]};
  z.du = units(z.D);
  return z;
}

// x: the operand that is x; the others follow it.
static xent xent_of(const ig_launch *l, int x) {
  xent z = xent_sizes(l->node, x);
  z.l = l;
  z.x = l->in[x];
  z.w = l->in[x + 1];
  z.bias = l->in[x + 2];
  z.labels = l->in[x + 3];
  z.weights = l->in[x + 4];
  z.wide = l->in_layout && l->in_layout[x + 1].kind == IG_LAYOUT_WIDE;
  return z;
}

static int64_t divided_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
static size_t rounded_up(size_t bytes) { return (bytes + 63) / 64 * 64; }
static int64_t panels_of(const xent *z) { return divided_up(z->P, LANES); }
// Rows of x in panel i, and the same in whole vectors.
static int64_t panel_rows(const xent *z, int64_t i) { return ig_min_i64(LANES, z->P - i * LANES); }

// Rows up to the last one of weight != 0, at least one: a batch rarely fills all that its plan has.
static int64_t rows_that_count(const xent *z) {
  int64_t n = z->P;
  while (n > 1 && xent_weight(z->weights, n - 1) == 0)
    n--;
  return n;
}

// x turned: [panel][du][LANES], for products with rows of w.
static size_t turned_bytes(const xent *z) { return rounded_up((size_t)(panels_of(z) * z->du * LANES) * sizeof(unit)); }
// scratch: LANES * du units of the calling thread.
static void turn_panel(const xent *z, int64_t i, unit *turned, unit *scratch) {
  pack_along(z->x, z->type, i * LANES * z->D, z->D, panel_rows(z, i), z->D, scratch, z->du);
  turn_units(scratch, z->du, panel_rows(z, i), z->du, turned + i * z->du * LANES, LANES,
             whole_vectors(panel_rows(z, i)));
}

// Rows v0..v0+n of w along: where they lie, or packed into memory (CLASSES * du units).
static const unit *w_along(const xent *z, int64_t v0, int64_t n, unit *memory) {
#ifdef PRODUCTS_BF16
  if (z->wide) {
    round_along((const float *)z->w + v0 * z->D, z->D, n, z->D, memory, z->du);
    return memory;
  }
#endif
  const bool is_packed = PAIR == 1 ? z->type == IG_F32 : z->D % 2 == 0;
  if (is_packed)
    return (const unit *)((const char *)z->w + (size_t)(v0 * z->D) * ig_dtype_bytes(z->type));
  pack_along(z->w, z->type, v0 * z->D, z->D, n, z->D, memory, z->du);
  return memory;
}

// Rows of w of the block of classes from v0 on, which the thread is likely to take next.
static product_fetch fetch_of_block(const xent *z, int64_t v0) {
  const int64_t row = z->D * (z->wide ? 4 : (int64_t)ig_dtype_bytes(z->type));
  const int64_t n = ig_min_i64(CLASSES, z->V - v0);
  return (product_fetch){(const char *)z->w + (n > 0 ? v0 * row : 0), n > 0 ? n * row / 64 : 0};
}

// Logits of classes v0..v0+n for panel i: tile[n][LANES]. w: from w_along.
static void logits_tile(const xent *z, const unit *w, int64_t v0, int64_t n, const unit *turned, int64_t i, float *tile,
                        product_fetch *f) {
  const int64_t lanes = whole_vectors(panel_rows(z, i));
  product_fetching(w, z->du, 1, n, z->du, turned + i * z->du * LANES, LANES, lanes, tile, LANES, false, f);
  for (int64_t r = 0; z->bias && r < n; r++) {
    const float b = z->bias[v0 + r];
#pragma omp simd
    for (int64_t p = 0; p < lanes; p++)
      tile[r * LANES + p] += b;
  }
}

// w: the operand of weights, which bf16 products take in fp32, too.
static void plain_or_wide(ig_prepare *p, int w) {
  ig_prepare_plain(p);
  if (PAIR == 2 && (p->wide_in >> w & 1))
    p->in_layout[w] = IG_WIDE;
}

#endif
