// The oracle of attention: doubles, any floating-point type, one query at a time. Rule: nothing is kept between
// queries; scores are made again wherever they are needed.
#include <math.h>

#include "kernels/attention/attention_node.h"
#include "kernels/kernels.h"
#include "kernels/optim_util/sequences.h"

// A query under a head, with what its probabilities need.
typedef struct query {
  const ig_launch *l;
  ig_attention_dims s;
  int q, k;  // operands
  const uint64_t *state, *keys;
  int64_t h, t, first, last;  // keys first..last-1 are seen
  double lse;
} query;

static double get(const ig_launch *l, int i, int64_t at) {
  return ig_load_f64(l->in[i], l->node->in[i]->dtype, (size_t)at);
}
static void put(const ig_launch *l, int i, int64_t at, double v) {
  ig_store_f64(l->out[i], l->node->out[i]->dtype, (size_t)at, v);
}

enum { COLUMNS = 64 };  // of a head that are summed at once
// Number i of row t under head h.
static int64_t place(const query *q, int64_t t, int64_t i) { return (t * q->s.H + q->h) * q->s.d + i; }

static double score(const query *q, int64_t j) {
  double sum = 0;
  for (int64_t i = 0; i < q->s.d; i++)
    sum += get(q->l, q->q, place(q, q->t, i)) * get(q->l, q->k, place(q, j, i));
  return sum * q->s.scale;
}

// 0, or 1 / (1 - p).
static double kept(const query *q, int64_t j, int64_t start) {
  const ig_attention_attr *a = q->l->node->attr;
  if (a->dropout == 0)
    return 1;
  const uint64_t sample = q->keys ? q->keys[q->t] : q->state[IG_STEP_FIRST_SAMPLE] + (uint64_t)q->t;
  const uint64_t at = (uint64_t)(j - start);
  const ig_philox4 draws =
      ig_dropout_draws(q->state, ig_attention_node_key(q->l->node->key, q->h), sample, (uint32_t)(at / 4));
  return draws.v[at % 4] >= ig_dropout_threshold(a->dropout) ? 1 / (1 - (double)a->dropout) : 0;
}

static int64_t columns_from(const query *q, int64_t i) { return q->s.d - i < COLUMNS ? q->s.d - i : COLUMNS; }

static void forward(query *q) {
  double most = -INFINITY, sum = 0;
  for (int64_t j = q->first; j < q->last; j++)
    most = fmax(most, score(q, j));
  for (int64_t j = q->first; j < q->last; j++)
    sum += exp(score(q, j) - most);
  q->lse = most + log(sum);
  put(q->l, 1, q->h * q->s.T + q->t, q->lse);
  for (int64_t i = 0; i < q->s.d; i += COLUMNS) {
    double o[COLUMNS] = {0};
    for (int64_t j = q->first; j < q->last; j++) {
      const double p = exp(score(q, j) - q->lse) * kept(q, j, q->first);
      for (int64_t c = 0; c < columns_from(q, i); c++)
        o[c] += p * get(q->l, F_V, place(q, j, i + c));
    }
    for (int64_t c = 0; c < columns_from(q, i); c++)
      put(q->l, 0, place(q, q->t, i + c), o[c]);
  }
}

// Of query t and key j: the probability behind dropout, and d score.
static void pair(const query *q, int64_t j, double *p, double *ds) {
  const ig_launch *l = q->l;
  const int64_t at = q->h * q->s.T + q->t;
  const double all = exp(score(q, j) - get(l, B_LSE, at)), keep = kept(q, j, q->first);
  double delta = l->in[B_DLSE] ? -get(l, B_DLSE, at) : 0, dp = 0;
  for (int64_t i = 0; i < q->s.d; i++) {
    delta += get(l, B_DO, place(q, q->t, i)) * get(l, B_O, place(q, q->t, i));
    dp += get(l, B_DO, place(q, q->t, i)) * get(l, B_V, place(q, j, i));
  }
  *p = all * keep;
  *ds = all * (keep * dp - delta) * q->s.scale;
}

static void backward_query(query *q) {
  for (int64_t i = 0; i < q->s.d; i += COLUMNS) {
    double dq[COLUMNS] = {0}, p, ds;
    for (int64_t j = q->first; j < q->last; j++) {
      pair(q, j, &p, &ds);
      for (int64_t c = 0; c < columns_from(q, i); c++)
        dq[c] += ds * get(q->l, B_K, place(q, j, i + c));
    }
    for (int64_t c = 0; c < columns_from(q, i); c++)
      put(q->l, 0, place(q, q->t, i + c), dq[c]);
  }
}

// Row j as a key, of queries first..last-1 that start at `start`.
static void backward_key(query *q, int64_t j, int64_t first, int64_t last, int64_t start) {
  q->first = start;
  for (int64_t i = 0; i < q->s.d; i += COLUMNS) {
    double dk[COLUMNS] = {0}, dv[COLUMNS] = {0}, p, ds;
    for (q->t = first; q->t < last; q->t++) {
      pair(q, j, &p, &ds);
      for (int64_t c = 0; c < columns_from(q, i); c++) {
        dk[c] += ds * get(q->l, B_Q, place(q, q->t, i + c));
        dv[c] += p * get(q->l, B_DO, place(q, q->t, i + c));
      }
    }
    for (int64_t c = 0; c < columns_from(q, i); c++) {
      put(q->l, 1, place(q, j, i + c), dk[c]);
      put(q->l, 2, place(q, j, i + c), dv[c]);
    }
  }
}

// All queries, and in backward all keys.
static void for_rows(query *q, const int32_t *offsets, bool is_backward) {
  const ig_attention_attr *a = q->l->node->attr;
  ig_sequence s = {0, 0};
  for (int64_t b = 0; b < q->s.B; b++) {
    s = ig_sequence_of(offsets, b, q->s.T, s.last);
    for (q->h = 0; q->h < q->s.H; q->h++)
      for (int64_t t = s.first; t < s.last; t++) {
        q->t = t;
        q->first = s.first;
        q->last = a->causal ? t + 1 : s.last;
        if (!is_backward) {
          forward(q);
          continue;
        }
        backward_query(q);
        backward_key(q, t, a->causal ? t : s.first, s.last, s.first);
      }
  }
}

static void clear(const ig_launch *l, int n) {
  for (int i = 0; i < n; i++)
    for (int64_t at = 0; at < ig_shape_count(&l->node->out[i]->shape); at++)
      put(l, i, at, 0);
}

static ig_status attention_ref(const ig_launch *l) {
  query q = {.l = l,
             .s = ig_attention_dims_of(l->node, F_Q, F_OFFSETS),
             .q = F_Q,
             .k = F_K,
             .state = l->in[F_STATE],
             .keys = l->in[F_KEYS]};
  clear(l, 2);
  for_rows(&q, l->in[F_OFFSETS], false);
  return IG_OK;
}

static ig_status attention_bwd_ref(const ig_launch *l) {
  query q = {.l = l,
             .s = ig_attention_dims_of(l->node, B_Q, B_OFFSETS),
             .q = B_Q,
             .k = B_K,
             .state = l->in[B_STATE],
             .keys = l->in[B_KEYS]};
  clear(l, 3);
  for_rows(&q, l->in[B_OFFSETS], true);
  return IG_OK;
}

#define REF(op) \
  { .name = #op "_ref", .flags = IG_IMPL_REF | IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, .run = op##_ref }
IG_IMPLS(attention_ref) = {REF(attention), REF(attention_bwd), {0}};
