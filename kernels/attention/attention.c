// Rows and builder of attention over packed sequences.
#include "kernels/attention/attention.h"

#include <math.h>
#include <string.h>

#include "kernels/attention/attention_node.h"
#include "kernels/dropout/dropout.h"
#include "kernels/kernels.h"
#include "kernels/optim_util/fixed.h"
#include "kernels/reorder/reorder.h"

// ---- shapes ----
static ig_status check_heads(const ig_node *n, int q) {
  const ig_attention_attr *a = n->attr;
  const ig_tensor *t = n->in[q];
  IG_TRY(ig_check_rank(n, q, 2));
  if (!ig_dtype_is_float(t->dtype))
    return ig_fail(IG_ERR_MISMATCH, "operand %d (%s) is %s, expected a floating-point type", q, t->name,
                   ig_dtype_name(t->dtype));
  if (a->heads < 1 || t->shape.d[1] < 1 || t->shape.d[1] % a->heads)
    return ig_fail(IG_ERR_MISMATCH, "rows of %lld numbers do not fall into %d heads", (long long)t->shape.d[1],
                   a->heads);
  if (!(a->scale >= 0) || isinf(a->scale))
    return ig_fail(IG_ERR_MISMATCH, "scale %g, expected a positive number, or 0 for 1 / sqrt(d)", (double)a->scale);
  if (!(a->dropout >= 0 && a->dropout < 1))
    return ig_fail(IG_ERR_MISMATCH, "dropout %g, expected 0 up to below 1", (double)a->dropout);
  return IG_OK;
}

static ig_status check_like(const ig_node *n, int i, const ig_tensor *q) {
  IG_TRY(ig_check_shape(n, i, q->shape));
  return ig_check_dtype(n, i, q->dtype);
}

// cu_seqlens, step_state and row_keys from operand i on.
static ig_status check_rest(const ig_node *n, int i, const ig_tensor *q) {
  const ig_attention_attr *a = n->attr;
  IG_TRY(ig_check_rank(n, i, 1));
  IG_TRY(ig_check_dtype(n, i, IG_I32));
  if (n->in[i]->shape.d[0] < 1)
    return ig_fail(IG_ERR_MISMATCH, "operand %d (%s) is empty, expected offsets [B+1]", i, n->in[i]->name);
  if (a->dropout > 0 && !n->in[i + 1])
    return ig_fail(IG_ERR_MISMATCH, "dropout %g without step_state (operand %d)", (double)a->dropout, i + 1);
  if (n->in[i + 1]) {
    IG_TRY(ig_check_dtype(n, i + 1, IG_U64));
    IG_TRY(ig_check_shape(n, i + 1, IG_SHAPE1(IG_N_STEP_STATE)));
  }
  if (n->in[i + 2]) {
    IG_TRY(ig_check_dtype(n, i + 2, IG_U64));
    IG_TRY(ig_check_shape(n, i + 2, IG_SHAPE1(q->shape.d[0])));
  }
  return IG_OK;
}

static ig_shape lse_shape(const ig_node *n, const ig_tensor *q) {
  return IG_SHAPE2(((const ig_attention_attr *)n->attr)->heads, q->shape.d[0]);
}

static ig_status infer(ig_graph *g, ig_node *n) {
  const ig_tensor *q = n->in[F_Q];
  IG_TRY(check_heads(n, F_Q));
  IG_TRY(check_like(n, F_K, q));
  IG_TRY(check_like(n, F_V, q));
  IG_TRY(check_rest(n, F_OFFSETS, q));
  IG_TRY(ig_node_set_out(g, n, 0, q->dtype, q->shape));
  return ig_node_set_out(g, n, 1, ig_sum_dtype(q), lse_shape(n, q));
}

static ig_status infer_bwd(ig_graph *g, ig_node *n) {
  const ig_tensor *q = n->in[B_Q];
  IG_TRY(check_heads(n, B_Q));
  for (int i = B_DO; i <= B_O; i++)
    IG_TRY(check_like(n, i, q));
  for (int i = B_LSE; i <= B_DLSE; i++) {
    if (!n->in[i])
      continue;
    IG_TRY(ig_check_shape(n, i, lse_shape(n, q)));
    IG_TRY(ig_check_dtype(n, i, ig_sum_dtype(q)));
  }
  IG_TRY(check_rest(n, B_OFFSETS, q));
  for (int i = 0; i < 3; i++)
    IG_TRY(ig_node_set_out(g, n, i, q->dtype, q->shape));
  return IG_OK;
}

// ---- gradient ----
static ig_status grad(ig_graph *g, const ig_node *n, ig_tensor *const *dout, const bool *need, ig_tensor **din) {
  char name[400];
  ig_tensor *o_grad = dout[0];
  if (!o_grad) {  // lse alone is used
    const double zero = 0;
    snprintf(name, sizeof name, "%s/do", n->name);
    ig_node *fill = ig_graph_node(g, "fill_like", name, 1, &n->out[0], &zero);
    o_grad = fill ? fill->out[0] : NULL;
  }
  snprintf(name, sizeof name, "%s/do", n->name);
  ig_tensor *in[B_N] = {ig_reorder(g, name, o_grad, n->in[F_Q]->dtype),
                        n->in[F_Q],
                        n->in[F_K],
                        n->in[F_V],
                        n->out[0],
                        n->out[1],
                        dout[1],
                        n->in[F_OFFSETS],
                        n->in[F_STATE],
                        n->in[F_KEYS]};
  if (!in[B_DO])
    return ig_graph_status(g);
  snprintf(name, sizeof name, "%s/d", n->name);
  ig_node *made = ig_graph_node(g, "attention_bwd", name, B_N, in, n->attr);
  for (int i = 0; made && i < 3; i++)
    din[i] = need[i] ? made->out[i] : NULL;
  return ig_graph_status(g);
}

// ---- costs: as if all sequences had the mean length; products of the row's definition, 2 forward and 5 backward ----
static void cost_of(const ig_node *n, const ig_tensor *q, const ig_tensor *offsets, int products, ig_cost *cost) {
  const ig_attention_attr *a = n->attr;
  const double T = (double)q->shape.d[0], B = (double)(offsets->shape.d[0] - 1), length = B > 0 ? T / B : 0;
  *cost = (ig_cost){(a->causal ? 1.0 : 2.0) * products * T * length * (double)q->shape.d[1], ig_cost_bytes(n)};
}
static void cost(const ig_node *n, ig_cost *cost) { cost_of(n, n->in[F_Q], n->in[F_OFFSETS], 2, cost); }
static void cost_bwd(const ig_node *n, ig_cost *cost) { cost_of(n, n->in[B_Q], n->in[B_OFFSETS], 5, cost); }

// ---- cases ----
#define X(T, D) \
  { .shape = {2, {T, D}}, .fill = IG_FILL_NORMAL }
#define QKV(T, D) X(T, D), X(T, D), X(T, D)
#define OFFSETS(B, T) \
  { .shape = {1, {(B) + 1}}, .dtype = IG_I32, .fill = IG_FILL_OFFSETS, .hi = T, .no_grad = true }
#define STATE \
  { .shape = {1, {4}}, .dtype = IG_U64, .fill = IG_FILL_INDEX, .hi = 1000, .no_grad = true }
#define KEYS(T) \
  { .shape = {1, {T}}, .dtype = IG_U64, .fill = IG_FILL_INDEX, .hi = 1e9, .no_grad = true }
#define NONE \
  { .fill = IG_FILL_ABSENT }
#define CASE(text, T, H, d, B, rows, state, keys, attribute) \
  { text, F_N, {QKV(T, (H) * (d)), OFFSETS(B, rows), state, keys}, &attribute, .bench = false }
#define BENCH(text, T, H, d, B, state, keys, attribute) \
  { text, F_N, {QKV(T, (H) * (d)), OFFSETS(B, T), state, keys}, &attribute, .bench = true }

static const ig_attention_attr one = {1, false, 0, 0}, two = {2, false, 0, 0}, three = {3, false, 0.3f, 0},
                               causal = {2, true, 0, 0}, dropped = {2, false, 0, 0.25f}, both = {3, true, 0.2f, 0.5f},
                               base = {12, false, 0, 0}, base_dropout = {12, false, 0, 0.1f},
                               base_causal = {12, true, 0, 0};
static const ig_op_case cases[] = {
    CASE("one", 1, 1, 1, 1, 1, NONE, NONE, one),
    CASE("d5", 13, 2, 5, 3, 13, NONE, NONE, two),
    CASE("d32", 71, 3, 32, 4, 71, NONE, NONE, three),
    CASE("d64", 53, 2, 64, 2, 53, NONE, NONE, two),
    CASE("d80", 37, 1, 80, 1, 37, NONE, NONE, one),
    CASE("d37", 41, 1, 37, 2, 41, NONE, NONE, one),
    CASE("d67", 35, 1, 67, 2, 35, NONE, NONE, one),
    CASE("d131", 34, 1, 131, 1, 34, NONE, NONE, one),
    CASE("rest", 29, 2, 16, 3, 19, NONE, NONE, two),
    CASE("empty", 11, 2, 7, 23, 11, NONE, NONE, two),
    CASE("long", 307, 1, 5, 1, 307, NONE, NONE, one),
    CASE("causal", 83, 2, 24, 3, 80, NONE, NONE, causal),
    CASE("causal_long", 287, 2, 3, 1, 287, NONE, NONE, causal),
    CASE("dropout", 47, 2, 32, 3, 47, STATE, KEYS(47), dropped),
    CASE("causal_dropout", 67, 3, 9, 2, 61, STATE, NONE, both),
    BENCH("bench_128", 1024, 12, 64, 8, NONE, NONE, base),
    BENCH("bench_512", 1024, 12, 64, 2, NONE, NONE, base),
    BENCH("bench_512_causal", 1024, 12, 64, 2, NONE, NONE, base_causal),
    BENCH("bench_128_dropout", 1024, 12, 64, 8, STATE, KEYS(1024), base_dropout),
    BENCH("bench_512_dropout", 1024, 12, 64, 2, STATE, KEYS(1024), base_dropout),
};
#define BENCH_BWD(text, T, H, d, B, state, keys, attribute)                                    \
  {                                                                                            \
    text, B_N,                                                                                 \
        {X(T, (H) * (d)),                                                                      \
         QKV(T, (H) * (d)),                                                                    \
         X(T, (H) * (d)),                                                                      \
         {.shape = {2, {H, T}}, .fill = IG_FILL_UNIFORM, .lo = 7, .hi = 8, .fixed_f32 = true}, \
         NONE,                                                                                 \
         OFFSETS(B, T),                                                                        \
         state,                                                                                \
         keys},                                                                                \
        &attribute, .bench = true                                                              \
  }
static const ig_op_case bwd_cases[] = {
    BENCH_BWD("bench_128", 1024, 12, 64, 8, NONE, NONE, base),
    BENCH_BWD("bench_512", 1024, 12, 64, 2, NONE, NONE, base),
    BENCH_BWD("bench_512_dropout", 1024, 12, 64, 2, STATE, KEYS(1024), base_dropout),
};

// ---- rows ----
#define CASES(list)  .cases = list, .n_cases = (int)(sizeof list / sizeof *list)
#define BIT(operand) (1u << (operand))
static const ig_op attention_row = {
    .name = "attention",
    .summary = "o = dropout(softmax(scale q k^T)) v per head and sequence; lse = log sum exp(scale q k^T)",
    .min_in = F_N,
    .max_in = F_N,
    .n_out = 2,
    .optional_in = BIT(F_STATE) | BIT(F_KEYS),
    .attr_bytes = sizeof(ig_attention_attr),
    .infer = infer,
    .grad = grad,
    .keeps_in = BIT(F_Q) | BIT(F_K) | BIT(F_V) | BIT(F_OFFSETS) | BIT(F_STATE) | BIT(F_KEYS),
    .keeps_out = 3,
    .cost = cost,
    CASES(cases),
    .impls = {[IG_DEVICE_CPU] = {"attention_bf16_cpu", "attention_cpu", "attention_ref"},
              [IG_DEVICE_CUDA] = {"attention_cudnn", "attention_cuda"}},
};
static const ig_op bwd_row = {
    .name = "attention_bwd",
    .summary = "ds = p (dropout(do v^T) - sum do o + dlse): dq = scale ds k, dk = scale ds^T q, dv = dropout(p)^T do",
    .min_in = B_N,
    .max_in = B_N,
    .n_out = 3,
    .optional_in = BIT(B_DLSE) | BIT(B_STATE) | BIT(B_KEYS),
    .attr_bytes = sizeof(ig_attention_attr),
    .infer = infer_bwd,
    .grad = ig_no_grad,
    .cost = cost_bwd,
    CASES(bwd_cases),
    .impls = {[IG_DEVICE_CPU] = {"attention_bwd_bf16_cpu", "attention_bwd_cpu", "attention_bwd_ref"},
              [IG_DEVICE_CUDA] = {"attention_bwd_cuda"}},
};

IG_OPS(attention) = {&attention_row, &bwd_row, NULL};

// ---- builder ----
ig_tensor *ig_attention(ig_graph *g, const char *name, ig_tensor *q, ig_tensor *k, ig_tensor *v, ig_tensor *cu_seqlens,
                        const ig_attention_attr *attr, ig_tensor *step_state, ig_tensor *row_keys) {
  if (!q || !k || !v || !cu_seqlens)
    return NULL;
  ig_attention_attr a;
  memset(&a, 0, sizeof a);  // padding too: attributes are compared as bytes
  a.heads = attr->heads;
  a.causal = attr->causal;
  a.scale = attr->scale;
  a.dropout = g->options.mode == IG_MODE_EVAL ? 0 : attr->dropout;
  const bool draws = a.dropout > 0;
  ig_node *n =
      ig_graph_node(g, "attention", name, F_N,
                    (ig_tensor *[]){q, k, v, cu_seqlens, draws ? step_state : NULL, draws ? row_keys : NULL}, &a);
  return n ? n->out[0] : NULL;
}
