// Attention over packed sequences on a GPU. Rule: scores live in registers; nothing of size T x T in memory; backward
// makes them again twice, once a side, so that every sum has an order that lengths alone decide: no atomics.
// Deterministic.
//
// Grid: (pieces of sequences, heads); pieces are bounded by T / rows + sequences, and a block finds its own from the
// offsets (cuda_sequences.cuh); blocks behind the last clear rows of no sequence and leave. Dropout's draws are made
// where they are used, a Philox block for 4 keys.
//
// Tensor cores (attention_mma.cuh): bf16, f16, and fp32 where it may be rounded to tf32; heads of up to 128 whose rows
// are multiples of 16 bytes, padded to 32, 64 or 128. A block of 4 warps owns 64 queries (forward, dq) or 64 keys (dk,
// dv), a warp 16 of them, a lane of the fragments rows g and g + 8. The other side passes by in tiles of 64 or 32 rows.
// forward: running maximum and sum a row, o rescaled a tile. dq: also delta = do . o - dlse, left in the workspace for
// dk and dv. Products: 2 forward, 3 for dq, 4 for dk and dv.
// Shared memory (KiB, dynamic): forward 16-bit 20, 40, 80 for widths 32, 64, 128; tf32 24, 48, 96; backward 16-bit 24,
// 48, 64; tf32 32, 64, 96; dk and dv 1 or 2 more. Registers: docs/cuda.md.
// Bytes from DRAM: forward q, k, v, o once, lse; backward do, q, k, v twice, o once, dq, dk, dv once: what is read
// several times (k and v by each block of queries of the sequence) comes from the second-level cache.
//
// Multiply-adds (attention_fma.cuh): exact fp32, any other head of up to 256. A block of 4 warps owns 32 rows, a
// warp 8.
//
// PREDICTION for one H200, never measured: a warp of 16 rows loads 4 KiB of fragments a 16 x 64 x 64 product, so shared
// memory bounds it: 35 % of the chip's bf16 rate for sequences of 512 and heads of 64, 30 % in backward; sequences of
// 128 fill 2 tiles, where loading the first is not hidden: 20 %.
#include <limits.h>

#include "kernels/attention/attention_fma.cuh"
#include "kernels/attention/attention_node.h"

typedef struct plan {
  ig_attention_launch launch;
  ig_dtype type;
  bool tensor;
} plan;

static bool make(plan *p, const ig_node *n, const ig_device_caps *caps, bool backward, char *why, size_t why_bytes) {
  const ig_attention_attr *a = (const ig_attention_attr *)n->attr;
  const int q = backward ? (int)B_Q : (int)F_Q;
  const ig_attention_dims s = ig_attention_dims_of(n, q, backward ? (int)B_OFFSETS : (int)F_OFFSETS);
  *p = (plan){};
  p->type = n->in[q]->dtype;
  ig_attention_args *x = &p->launch.args;
  x->T = (int)s.T, x->H = (int)s.H, x->d = (int)s.d, x->B = (int)s.B;
  x->causal = a->causal, x->dropout = a->dropout > 0;
  x->threshold = (uint32_t)ig_dropout_threshold(a->dropout);
  x->keep = (float)(1 / (1 - (double)a->dropout));
  x->scale = (float)s.scale;
  x->key = n->key;
  if (s.d > 256 || s.H > 65535 || s.T > INT_MAX / 2 || s.B > INT_MAX / 4) {
    snprintf(why, why_bytes, "%lld heads of %lld over %lld tokens, expected at most 65535 of 256 over 2^30",
             (long long)s.H, (long long)s.d, (long long)s.T);
    return false;
  }
  const int bytes = (int)ig_dtype_bytes(p->type), width = s.d <= 32 ? 32 : s.d <= 64 ? 64 : s.d <= 128 ? 128 : 256;
  const ig_attention_pass pass = backward ? IG_ATTENTION_KEYS : IG_ATTENTION_FORWARD;
  p->launch.width = width;
  p->tensor = (bytes == 2 || caps->tf32) && s.d * bytes % 16 == 0 && width <= 128 &&
              IG_ATTENTION_SHARED((size_t)width, bytes, pass) + 4096 <= caps->shared_bytes;
  if (!p->tensor && (size_t)FMA_SHARED(width / 32, pass) + 4096 > caps->shared_bytes) {
    snprintf(why, why_bytes, "heads of %lld need %d bytes of shared memory a block, this GPU has %zu", (long long)s.d,
             (int)FMA_SHARED(width / 32, pass), caps->shared_bytes);
    return false;
  }
  return true;
}

static ig_status launch(const plan *p, const ig_attention_launch *l, int ready) {
  ig_status status = IG_OK;
  if (!p->tensor)
    IG_BY_TYPE(p->type, T, status = fma_launch<T>(l, ready))
  else
    status = p->type == IG_BF16  ? ig_attention_bf16(l, ready)
             : p->type == IG_F16 ? ig_attention_f16(l, ready)
                                 : ig_attention_tf32(l, ready);
  return status;
}

template <bool BACKWARD>
static bool supports(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  plan p;
  return ig_cuda_supports(n, caps, why, why_bytes) && make(&p, n, caps, BACKWARD, why, why_bytes);
}

template <bool BACKWARD>
static ig_status prepare(ig_prepare *prepare) {
  const ig_node *n = prepare->node;
  char why[160];
  plan *p;
  for (int i = 0; i < n->n_in; i++)
    prepare->in_layout[i] = IG_PLAIN;
  for (int i = 0; i < n->n_out; i++)
    prepare->out_layout[i] = IG_PLAIN;
  IG_TRY(ig_alloc(sizeof *p, "plan of attention", &p));
  ig_status status = IG_OK;
  if (!make(p, n, &prepare->device->caps, BACKWARD, why, sizeof why))
    status = ig_fail(IG_ERR_UNSUPPORTED, "%s", why);
  for (int pass = BACKWARD; status == IG_OK && pass <= 2 * BACKWARD; pass++) {
    p->launch.pass = (ig_attention_pass)pass;
    status = launch(p, &p->launch, 1);
  }
  if (status != IG_OK) {
    ig_free(p);
    return status;
  }
  if (BACKWARD)
    prepare->workspace_bytes = (size_t)p->launch.args.H * (size_t)p->launch.args.T * sizeof(float);
  prepare->state = p;
  return IG_OK;
}
static void destroy(void *state) { ig_free(state); }

static ig_status run(const ig_launch *l) {
  const plan *p = (const plan *)l->state;
  ig_attention_launch g = p->launch;
  ig_attention_args *a = &g.args;
  if (a->T == 0)
    return IG_OK;
  g.pass = IG_ATTENTION_FORWARD;
  g.stream = ig_stream_of(l);
  a->q = l->in[F_Q], a->k = l->in[F_K], a->v = l->in[F_V];
  a->offsets = (const int32_t *)l->in[F_OFFSETS];
  a->state = (const uint64_t *)l->in[F_STATE], a->row_keys = (const uint64_t *)l->in[F_KEYS];
  a->out = l->out[0], a->lse = (float *)l->out[1];
  return launch(p, &g, 0);
}

static ig_status run_bwd(const ig_launch *l) {
  const plan *p = (const plan *)l->state;
  ig_attention_launch g = p->launch;
  ig_attention_args *a = &g.args;
  if (a->T == 0)
    return IG_OK;
  g.stream = ig_stream_of(l);
  a->d_o = l->in[B_DO], a->q = l->in[B_Q], a->k = l->in[B_K], a->v = l->in[B_V], a->o = l->in[B_O];
  a->lse_in = (const float *)l->in[B_LSE], a->dlse = (const float *)l->in[B_DLSE];
  a->offsets = (const int32_t *)l->in[B_OFFSETS];
  a->state = (const uint64_t *)l->in[B_STATE], a->row_keys = (const uint64_t *)l->in[B_KEYS];
  a->delta = (float *)l->workspace;
  g.pass = IG_ATTENTION_QUERIES;
  a->out = l->out[0];
  IG_TRY(launch(p, &g, 0));
  g.pass = IG_ATTENTION_KEYS;
  a->out = l->out[1], a->more_out = l->out[2];
  return launch(p, &g, 0);
}

#define IMPL(name, backward, run)                                                                                 \
  {                                                                                                               \
    name "_cuda", IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE | IG_IMPL_ROUNDED, IG_ISA_BASE, supports<backward>, \
        prepare<backward>, run, destroy                                                                           \
  }
IG_CUDA_IMPLS(attention_cuda) = {IMPL("attention", false, run), IMPL("attention_bwd", true, run_bwd), {0}};
