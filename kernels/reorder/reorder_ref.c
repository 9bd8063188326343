// The reference reorder: plain loops between PLAIN and BLOCKED_C, any element types. Rule: runs of channels that are
// contiguous on both sides go through ig_convert, the one place that rounds.
#include <string.h>

#include "kernels/kernels.h"
#include "kernels/reorder/reorder.h"

// Where both sides hold the same bytes in the same order.
static bool same_order(const ig_shape *s, ig_layout a, ig_layout b) {
  if (ig_layout_equal(a, b) || s->n != 4)
    return true;
  ig_view4 v = ig_view4_of(s, a), w = ig_view4_of(s, b);
  bool one_block = v.block == v.C && w.block == w.C;
  bool one_pixel = v.P == 1 && v.C % v.block == 0 && w.C % w.block == 0;
  return one_block || one_pixel;
}

static void flat(int64_t n, char *dst, ig_dtype dst_type, const char *src, ig_dtype src_type, int threads) {
  const int64_t chunk = 16384;
#pragma omp parallel for num_threads(threads) schedule(static) if (n > chunk)
  for (int64_t i = 0; i < n; i += chunk)
    ig_convert(dst + (size_t)i * ig_dtype_bytes(dst_type), dst_type, src + (size_t)i * ig_dtype_bytes(src_type),
               src_type, (size_t)(n - i < chunk ? n - i : chunk));
}

ig_status ig_reorder_loops(const ig_shape *shape, void *dst, ig_dtype dst_type, ig_layout dst_layout, const void *src,
                           ig_dtype src_type, ig_layout src_layout, int threads) {
  char *to = dst;
  const char *from = src;
  if (dst_layout.kind == IG_LAYOUT_OPAQUE || src_layout.kind == IG_LAYOUT_OPAQUE ||
      (shape->n != 4 && (dst_layout.kind != IG_LAYOUT_PLAIN || src_layout.kind != IG_LAYOUT_PLAIN)))
    return ig_fail(IG_ERR_UNSUPPORTED, "a library's own layout cannot be read by plain loops");
  if (same_order(shape, dst_layout, src_layout)) {
    size_t bytes = ig_layout_bytes(NULL, src_layout, shape, src_type);
    flat((int64_t)(bytes / ig_dtype_bytes(src_type)), to, dst_type, from, src_type, threads);
    return IG_OK;
  }
  ig_view4 d = ig_view4_of(shape, dst_layout), s = ig_view4_of(shape, src_layout);
  const size_t dst_bytes = ig_dtype_bytes(dst_type), src_bytes = ig_dtype_bytes(src_type);
  const int64_t tile = 64, n_tiles = (d.P + tile - 1) / tile;
#pragma omp parallel for num_threads(threads) collapse(3) schedule(static)
  for (int64_t n = 0; n < d.N; n++)
    for (int64_t b = 0; b < d.n_blocks; b++)
      for (int64_t t = 0; t < n_tiles; t++) {
        const int64_t c0 = b * d.block, c1 = c0 + d.block < d.C ? c0 + d.block : d.C;
        const int64_t p1 = (t + 1) * tile < d.P ? (t + 1) * tile : d.P;
        for (int64_t p = t * tile; p < p1; p++) {
          char *out = to + (size_t)(n * d.stride_n + b * d.stride_b + p * d.stride_p) * dst_bytes;
          for (int64_t c = c0, run; c < c1; c += run) {
            run = s.block - c % s.block < c1 - c ? s.block - c % s.block : c1 - c;
            const int64_t at = n * s.stride_n + c / s.block * s.stride_b + p * s.stride_p + c % s.block;
            ig_convert(out + (size_t)(c - c0) * dst_bytes, dst_type, from + (size_t)at * src_bytes, src_type,
                       (size_t)run);
          }
          memset(out + (size_t)(c1 - c0) * dst_bytes, 0, (size_t)(c0 + d.block - c1) * dst_bytes);
        }
      }
  return IG_OK;
}

// Layouts stay as the plan asks: prepare exists so that the defaults (all PLAIN) do not apply.
static ig_status prepare(ig_prepare *p) {
  if (p->in_layout[0].kind == IG_LAYOUT_OPAQUE || p->out_layout[0].kind == IG_LAYOUT_OPAQUE)
    return ig_fail(IG_ERR_UNSUPPORTED, "a library's own layout cannot be read by plain loops");
  return IG_OK;
}

static bool supports(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) { return true; }

static ig_status run(const ig_launch *l) {
  return ig_reorder_loops(&l->node->in[0]->shape, l->out[0], l->node->out[0]->dtype, l->out_layout[0], l->in[0],
                          l->node->in[0]->dtype, l->in_layout[0], l->device->caps.threads);
}

IG_IMPLS(reorder_ref) = {{.name = "reorder_ref",
                          .flags = IG_IMPL_REF | IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE,
                          .supports = supports,
                          .prepare = prepare,
                          .run = run},
                         {0}};
