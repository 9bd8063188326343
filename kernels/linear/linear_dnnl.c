// The fully connected layer by oneDNN's matrix product on plain operands. Rule: the product is cut into single-threaded
// parts along rows or columns of the result, by the shape alone, so that no sum depends on the number of threads; sums
// over the batch follow the shards in deterministic mode. Small fp32 layers sum in links: a sum of K terms in one chain
// errs by about sqrt(K / 2) roundings, one of n sums of K / n terms by sqrt(n) times less.
#include <string.h>

#include "kernels/dnnl_common/dnnl_parts.h"
#include "kernels/kernels.h"
#include "kernels/linear/linear.h"
#include "kernels/plain.h"

enum {
  COLUMNS = 64,  // of the bias gradient that a task sums at once
  DEFAULT_SHARDS = 8,
  MOST_LINKS = 8,            // of a sum
  LEAST_TERMS = 32,          // of a link
  LINKED_WEIGHTS = 1 << 18,  // most of a layer whose sums are linked: each link passes over the result
  LINKED_RESULTS = 1 << 15   // numbers of a part's result then, about, which stay in the second-level cache
};

// c[M,N] = a[M,K] b[K,N] (+ bias[N]), each with element strides of its two dimensions.
typedef struct matrix {
  ig_dtype type;
  int64_t rows, columns, row_stride, column_stride;
} matrix;

typedef enum cut { CUT_M, CUT_N, CUT_K } cut;

typedef struct product {
  matrix a, b, c;
  bool has_bias, add;  // add: to what c holds
  cut cut;
} product;

enum { FIRST, MORE, LAST, N_KINDS };  // of links: MORE has as many terms as the first, LAST what is left

typedef struct state {
  ig_dnnl_parts *parts[N_KINDS];
  int64_t terms, per_link;  // of a sum
  size_t a_bytes, b_bytes;  // from one link's operands to the next one's
  bool has_bias;
  int64_t n_shards;  // of the bias gradient
} state;

static ig_status md_of(const matrix *m, ig_dnnl_md *out) {
  return ig_dnnl_md_strides(2, (int64_t[]){m->rows, m->columns}, m->type, (int64_t[]){m->row_stride, m->column_stride},
                            out);
}

// The part of the product with the cut dimension `length` long.
static ig_status part_pd(void *user, dnnl_engine_t engine, int64_t length, dnnl_primitive_desc_t *out) {
  product p = *(const product *)user;
  ig_dnnl_md a = {0}, b = {0}, c = {0}, bias = {0};
  ig_status status = IG_OK;
  *out = NULL;
  if (p.cut == CUT_M)
    p.a.rows = p.c.rows = length;
  else if (p.cut == CUT_N)
    p.b.columns = p.c.columns = length;
  else
    p.a.columns = p.b.rows = length;
  IG_GOTO(md_of(&p.a, &a));
  IG_GOTO(md_of(&p.b, &b));
  IG_GOTO(md_of(&p.c, &c));
  IG_GOTO(ig_dnnl_md_tag(2, (int64_t[]){1, p.c.columns}, IG_F32, dnnl_ab, &bias));
  IG_DNNL_GOTO(ig_dnnl_matmul_pd(engine, IG_DNNL_MD(&a), IG_DNNL_MD(&b), p.has_bias ? IG_DNNL_MD(&bias) : NULL,
                                 IG_DNNL_MD(&c), p.add, out));
done:
  ig_dnnl_md_fini(&a);
  ig_dnnl_md_fini(&b);
  ig_dnnl_md_fini(&c);
  ig_dnnl_md_fini(&bias);
  return status;
}

// Parts of at least 64 rows (or columns), eight of them; more where each still has 512.
static int part_count(int64_t length) {
  int64_t n = length / 64 < 8 ? length / 64 : 8;
  n = length / 512 > n ? length / 512 : n;
  return (int)(n < 1 ? 1 : n > 64 ? 64 : n);
}

static size_t step_of(const matrix *m, bool along_rows) {
  return (size_t)(along_rows ? m->row_stride : m->column_stride) * ig_dtype_bytes(m->type);
}

static ig_status create_parts(ig_prepare *p, product *m, int n_parts, ig_dnnl_parts **out) {
  ig_dnnl_parts_options o = {.caps = &p->device->caps, .n_parts = n_parts, .make = part_pd, .user = m};
  const cut cut = m->cut;
  int n = 0;
  o.samples = cut == CUT_M ? m->c.rows : cut == CUT_N ? m->c.columns : m->a.columns;
  o.ids[n] = DNNL_ARG_SRC;
  o.use[n] = cut == CUT_N ? IG_DNNL_SHARED : IG_DNNL_CUT;
  o.sample_bytes[n++] = cut == CUT_N ? 0 : step_of(&m->a, cut == CUT_M);
  o.ids[n] = DNNL_ARG_WEIGHTS;
  o.use[n] = cut == CUT_M ? IG_DNNL_SHARED : IG_DNNL_CUT;
  o.sample_bytes[n++] = cut == CUT_M ? 0 : step_of(&m->b, cut == CUT_K);
  if (m->has_bias) {
    o.ids[n] = DNNL_ARG_BIAS;
    o.use[n] = cut == CUT_N ? IG_DNNL_CUT : IG_DNNL_SHARED;
    o.sample_bytes[n++] = cut == CUT_N ? sizeof(float) : 0;
  }
  o.ids[n] = DNNL_ARG_DST;
  o.use[n] = cut == CUT_K ? IG_DNNL_SUM : IG_DNNL_CUT;
  o.sample_bytes[n++] = cut == CUT_K ? 0 : step_of(&m->c, cut == CUT_M);
  o.n_ids = n;
  IG_TRY(ig_dnnl_parts_create(&o, out));
  const size_t bytes = ig_dnnl_parts_workspace(*out);
  p->workspace_bytes = bytes > p->workspace_bytes ? bytes : p->workspace_bytes;
  return IG_OK;
}

// Terms of a link: by the layer's shape and the sum's length, so that a row's bits do not depend on the other rows.
static int64_t terms_of_link(const product *m, int64_t n_weights) {
  const int64_t terms = m->a.columns, n = (terms + MOST_LINKS - 1) / MOST_LINKS;
  if (m->cut == CUT_K || n_weights > LINKED_WEIGHTS || m->a.type != IG_F32 || m->b.type != IG_F32 ||
      m->c.type != IG_F32)
    return terms;
  return n < LEAST_TERMS ? LEAST_TERMS : (n + 15) / 16 * 16;
}

static ig_status create(ig_prepare *p, product *m, int n_parts, int64_t n_weights, state *s) {
  s->terms = m->a.columns;
  s->per_link = terms_of_link(m, n_weights);
  s->a_bytes = step_of(&m->a, false) * (size_t)s->per_link;
  s->b_bytes = step_of(&m->b, true) * (size_t)s->per_link;
  s->has_bias = m->has_bias;
  p->workspace_bytes = 0;
  if (s->terms <= s->per_link)
    return create_parts(p, m, n_parts, &s->parts[FIRST]);
  const int64_t left = s->terms % s->per_link;
  m->a.columns = m->b.rows = s->per_link;
  IG_TRY(create_parts(p, m, n_parts, &s->parts[FIRST]));
  m->has_bias = false;
  m->add = true;
  if (s->terms >= 2 * s->per_link)
    IG_TRY(create_parts(p, m, n_parts, &s->parts[MORE]));
  m->a.columns = m->b.rows = left;
  return left ? create_parts(p, m, n_parts, &s->parts[LAST]) : IG_OK;
}

static void destroy(void *p) {
  state *s = p;
  for (int k = 0; k < N_KINDS; k++)
    ig_dnnl_parts_destroy(s->parts[k]);
  ig_free(s);
}

// Everything plain; n_parts 0: cut the longer side of the result.
static ig_status prepare(ig_prepare *p, product *m, int n_parts, int64_t n_weights) {
  ig_prepare_plain(p);
  if (n_parts == 0) {
    m->cut = m->c.rows > m->c.columns ? CUT_M : CUT_N;
    const int64_t length = m->cut == CUT_M ? m->c.rows : m->c.columns;
    n_parts = part_count(length);
    const int64_t small = m->c.rows * m->c.columns / LINKED_RESULTS;
    if (terms_of_link(m, n_weights) < m->a.columns && small > n_parts)
      n_parts = (int)(small < 64 ? small : 64);
  }
  state *s;
  IG_TRY(ig_alloc(sizeof *s, "linear", &s));
  ig_status status = create(p, m, n_parts, n_weights, s);
  if (status != IG_OK)
    destroy(s);
  else
    p->state = s;
  return status;
}

static ig_status prepare_forward(ig_prepare *p) {
  const ig_node *n = p->node;
  const ig_linear_dims d = ig_linear_dims_of(n);
  product m = {.a = {n->in[0]->dtype, d.T, d.D, d.D, 1},
               .b = {n->in[1]->dtype, d.D, d.V, 1, d.D},
               .c = {n->out[0]->dtype, d.T, d.V, d.V, 1},
               .has_bias = n->n_in > 2 && n->in[2]};
  return prepare(p, &m, 0, d.V * d.D);
}

static ig_status prepare_bwd_data(ig_prepare *p) {
  const ig_node *n = p->node;
  const ig_linear_dims d = ig_linear_dims_of(n);
  product m = {.a = {n->in[0]->dtype, d.T, d.V, d.V, 1},
               .b = {n->in[1]->dtype, d.V, d.D, d.D, 1},
               .c = {n->out[0]->dtype, d.T, d.D, d.D, 1}};
  return prepare(p, &m, 0, d.V * d.D);
}

static ig_status prepare_bwd_weights(ig_prepare *p) {
  const ig_node *n = p->node;
  const ig_linear_dims d = ig_linear_dims_of(n);
  product m = {.a = {n->in[1]->dtype, d.V, d.T, 1, d.V},
               .b = {n->in[0]->dtype, d.T, d.D, d.D, 1},
               .c = {IG_F32, d.V, d.D, d.D, 1},
               .cut = CUT_K};
  size_t dw_bytes = (size_t)(d.V * d.D) * sizeof(float);
  IG_TRY(prepare(p, &m, p->deterministic ? ig_dnnl_sum_parts(d.T, p->shards, dw_bytes) : 0, d.V * d.D));
  int64_t shards = p->deterministic ? p->shards : DEFAULT_SHARDS;
  ((state *)p->state)->n_shards = d.T < shards ? d.T : shards;
  return IG_OK;
}

// c = a b + bias, link after link.
static ig_status run_product(const state *s, char *a, char *b, void *bias, void *c, void *workspace) {
  ig_dnnl_link links[MOST_LINKS];
  int n = 0;
  for (int64_t at = 0; at < s->terms || n == 0; at += s->per_link, n++) {
    const int kind = n == 0 ? FIRST : at + s->per_link <= s->terms ? MORE : LAST;
    int k = 0;
    links[n].parts = s->parts[kind];
    links[n].data[k++] = a + (size_t)n * s->a_bytes;
    links[n].data[k++] = b + (size_t)n * s->b_bytes;
    if (s->has_bias && n == 0)
      links[n].data[k++] = bias;
    links[n].data[k] = c;
  }
  return n == 1 ? ig_dnnl_parts_run(links[0].parts, links[0].data, workspace)
                : ig_dnnl_parts_run_chain(links, n, workspace);
}

static ig_status run(const ig_launch *l) {
  return run_product(l->state, l->in[0], l->in[1], l->node->n_in > 2 ? l->in[2] : NULL, l->out[0], l->workspace);
}

// ---- bias gradient ----

typedef struct column_sums {
  const char *dy;
  ig_dtype type;
  int64_t T, V, n_shards;
} column_sums;

// sum[0..n) of columns from `from` over shards [first, first + span), as the binary tree over the shards.
static void sum_shards(const column_sums *c, int64_t from, int64_t n, int64_t first, int64_t span, float *sum) {
  if (span > 1) {
    float right[COLUMNS];
    sum_shards(c, from, n, first, span / 2, sum);
    if (first + span / 2 < c->n_shards) {
      sum_shards(c, from, n, first + span / 2, span / 2, right);
      for (int64_t i = 0; i < n; i++)
        sum[i] += right[i];
    }
    return;
  }
  double total[COLUMNS] = {0};
  float row[COLUMNS];
  for (int64_t t = first * c->T / c->n_shards; t < (first + 1) * c->T / c->n_shards; t++) {
    ig_convert(row, IG_F32, c->dy + (size_t)(t * c->V + from) * ig_dtype_bytes(c->type), c->type, (size_t)n);
    for (int64_t i = 0; i < n; i++)
      total[i] += row[i];
  }
  for (int64_t i = 0; i < n; i++)
    sum[i] = (float)total[i];
}

static ig_status run_bwd_weights(const ig_launch *l) {
  const ig_linear_dims d = ig_linear_dims_of(l->node);
  const ig_linear_attr *attr = l->node->attr;
  state *s = l->state;
  float *db = l->out[1];
  IG_TRY(run_product(s, l->in[1], l->in[0], NULL, l->out[0], l->workspace));
  db[0] = 0;
  if (!attr->has_bias)
    return IG_OK;
  column_sums c = {l->in[1], l->node->in[1]->dtype, d.T, d.V, s->n_shards};
  int64_t span = 1;
  while (span < c.n_shards)
    span *= 2;
#pragma omp parallel for num_threads(l->device->caps.threads) if (d.T * d.V > 16384)
  for (int64_t from = 0; from < d.V; from += COLUMNS)
    sum_shards(&c, from, d.V - from < COLUMNS ? d.V - from : COLUMNS, 0, span, db + from);
  return IG_OK;
}

static bool supports(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  return ig_dnnl_takes(n->in[0], caps, why, why_bytes);
}

#define COMMON .flags = IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, .supports = supports, .destroy = destroy
IG_IMPLS(linear_dnnl) = {
    {.name = "linear_dnnl", COMMON, .prepare = prepare_forward, .run = run},
    {.name = "linear_bwd_data_dnnl", COMMON, .prepare = prepare_bwd_data, .run = run},
    {.name = "linear_bwd_weights_dnnl", COMMON, .prepare = prepare_bwd_weights, .run = run_bwd_weights},
    {0}};
