// Cases of kernels: from rows and from models; see kernel.h.
#include <stdio.h>
#include <string.h>

#include "bench/kernel.h"
#include "runtime/base/mem.h"

static ig_status add(ig_kernel_cases *c, ig_kernel_case k, ig_kernel_case **out) {
  IG_TRY(ig_alloc_array((size_t)k.n_in, sizeof *k.in, "case", &k.in));
  ig_status status = ig_grow(&c->items, &c->capacity, c->n, c->n + 1, sizeof *c->items, "cases");
  if (status != IG_OK) {
    ig_free(k.in);
    return status;
  }
  c->items[c->n] = k;
  *out = &c->items[c->n++];
  return IG_OK;
}

void ig_kernel_cases_fini(ig_kernel_cases *c) {
  for (size_t i = 0; i < c->n; i++)
    ig_free(c->items[i].in);
  ig_free(c->items);
  *c = (ig_kernel_cases){0};
}

static ig_status add_sample(ig_kernel_cases *c, const ig_op *op, const ig_op_case *sample, ig_dtype compute) {
  ig_kernel_case *k;
  IG_TRY(add(
      c,
      (ig_kernel_case){.op = op, .name = sample->name, .n_in = sample->n_in, .attr = sample->attr, .compute = compute},
      &k));
  for (int i = 0; i < k->n_in; i++) {
    const ig_case_input *x = &sample->in[i];
    k->in[i] = (ig_kernel_input){.absent = x->fill == IG_FILL_ABSENT,
                                 .shape = x->shape,
                                 .dtype = x->dtype == IG_F32 && !x->fixed_f32 ? compute : x->dtype,
                                 .fill = x->fill,
                                 .lo = x->lo,
                                 .hi = x->hi};
  }
  return IG_OK;
}

static int64_t size_of(const ig_op_case *sample) {
  int64_t n = 0;
  for (int i = 0; i < sample->n_in; i++)
    if (sample->in[i].fill != IG_FILL_ABSENT)
      n += ig_shape_count(&sample->in[i].shape);
  return n;
}

ig_status ig_kernel_cases_of_row(ig_kernel_cases *c, const ig_op *op, ig_dtype compute, bool all) {
  const ig_op_case *largest = NULL;
  bool any = false;
  for (int i = 0; i < op->n_cases; i++) {
    const ig_op_case *sample = &op->cases[i];
    if (!largest || size_of(sample) > size_of(largest))
      largest = sample;
    if (!all && !sample->bench)
      continue;
    any = true;
    IG_TRY(add_sample(c, op, sample, compute));
  }
  return any || !largest ? IG_OK : add_sample(c, op, largest, compute);
}

static bool same(const ig_kernel_case *k, const ig_node *n) {
  if (k->op != n->op || k->n_in != n->n_in || (n->op->attr_bytes && memcmp(k->attr, n->attr, n->op->attr_bytes) != 0))
    return false;
  for (int i = 0; i < n->n_in; i++)
    if (k->in[i].absent != !n->in[i] ||
        (n->in[i] && (k->in[i].dtype != n->in[i]->dtype || !ig_shape_equal(&k->in[i].shape, &n->in[i]->shape))))
      return false;
  return true;
}

// What a model's operand may hold without leaving what the operation expects of it.
static ig_kernel_input operand(const ig_stepper *s, const ig_tensor *t) {
  ig_kernel_input in = {.shape = t->shape, .dtype = t->dtype, .fill = IG_FILL_NORMAL};
  if (s->texts && !strcmp(t->name, "cu_seqlens")) {
    in.fill = IG_FILL_OFFSETS;
    in.hi = (double)s->texts->packed.n_tokens;
  } else if (!ig_dtype_is_float(t->dtype)) {
    in.fill = IG_FILL_INDEX;
    in.hi = t->dtype == IG_U8 ? 4 : 2;  // places in a window, labels, partners
  } else if (t->shape.n <= 1) {
    in.fill = IG_FILL_POSITIVE;  // variances, scales, weights of samples
  }
  return in;
}

ig_status ig_kernel_cases_of_step(ig_kernel_cases *c, const ig_stepper *s) {
  const ig_graph *g = s->train ? s->trainer.rungs[0].graph : s->evaluator->rungs[0].graph;
  size_t first = c->n;
  for (size_t i = 0; i < g->n_nodes; i++) {
    const ig_node *n = g->nodes[i];
    size_t at = first;
    while (at < c->n && !same(&c->items[at], n))
      at++;
    if (at < c->n) {
      c->items[at].uses++;
      continue;
    }
    ig_kernel_case *k;
    IG_TRY(add(c,
               (ig_kernel_case){.op = n->op,
                                .name = n->name,
                                .model = s->model->name,
                                .uses = 1,
                                .n_in = n->n_in,
                                .attr = n->attr,
                                .compute = s->session->compute},
               &k));
    for (int j = 0; j < n->n_in; j++)
      k->in[j] = n->in[j] ? operand(s, n->in[j]) : (ig_kernel_input){.absent = true};
  }
  return IG_OK;
}

const char *ig_kernel_shape(const ig_kernel_case *k, char text[256]) {
  size_t at = 0;
  text[0] = 0;
  for (int i = 0; i < k->n_in && at < 200; i++) {
    const ig_shape *s = &k->in[i].shape;
    if (k->in[i].absent)
      continue;
    at += (size_t)snprintf(text + at, 256 - at, "%s", at ? " " : "");
    for (int d = 0; d < s->n && at < 240; d++)
      at += (size_t)snprintf(text + at, 256 - at, "%s%lld", d ? "x" : "", (long long)s->d[d]);
    if (s->n == 0)
      at += (size_t)snprintf(text + at, 256 - at, "1");
  }
  return text;
}
