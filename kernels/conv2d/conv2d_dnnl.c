// The convolution and its data gradient by oneDNN, direct and Winograd. Rule: oneDNN chooses every layout; the plan's
// visible reorders bring operands there.
#include "kernels/conv2d/conv2d_dnnl.h"

#include <stdio.h>
#include <string.h>

#include "kernels/dnnl_common/dnnl_parts.h"
#include "kernels/kernels.h"

// ---- shared with the weight gradient ----
void ig_conv2d_x_dims(const ig_conv2d_dims *d, int64_t x[4]) { x[0] = d->N, x[1] = d->C, x[2] = d->H, x[3] = d->W; }
void ig_conv2d_y_dims(const ig_conv2d_dims *d, int64_t y[4]) { y[0] = d->N, y[1] = d->K, y[2] = d->P, y[3] = d->Q; }
int ig_conv2d_w_dims(const ig_conv2d_dims *d, int64_t w[5]) {
  int i = 0;
  if (d->groups > 1)
    w[i++] = d->groups;
  w[i++] = d->K / d->groups, w[i++] = d->C / d->groups, w[i++] = d->R, w[i++] = d->S;
  return i;
}

ig_conv2d_request ig_conv2d_request_of(const ig_node *n, ig_dnnl_pass pass, dnnl_alg_kind_t algorithm) {
  ig_conv2d_request r = {.d = ig_conv2d_dims_of(n),
                         .pass = pass,
                         .algorithm = algorithm,
                         .type = n->in[0]->dtype,
                         .x_tag = dnnl_format_tag_any,
                         .y_tag = dnnl_format_tag_any};
  if (pass == IG_DNNL_FORWARD && n->n_in > 3) {
    r.add = n->in[3] != NULL;
    r.relu = ((const ig_conv2d_fused_attr *)n->attr)->relu;
  }
  r.has_bias = pass == IG_DNNL_FORWARD
                   ? n->n_in > 2 && n->in[2]
                   : pass == IG_DNNL_BACKWARD_WEIGHTS && ((const ig_conv2d_bwd_attr *)n->attr)->has_bias;
  return r;
}

ig_status ig_conv2d_pd(dnnl_engine_t engine, const ig_conv2d_request *r, dnnl_primitive_desc_t *out) {
  const ig_conv2d_dims *d = &r->d;
  int64_t x_dims[4], y_dims[4], w_dims[5];
  ig_dnnl_md x = {0}, y = {0}, w = {0}, w_forward = {0}, b = {0};
  ig_status status = IG_OK;
  bool weights = r->pass == IG_DNNL_BACKWARD_WEIGHTS;
  *out = NULL;
  ig_conv2d_x_dims(d, x_dims);
  ig_conv2d_y_dims(d, y_dims);
  int n_w = ig_conv2d_w_dims(d, w_dims);
  ig_dnnl_conv c = {.pass = IG_DNNL_FORWARD,
                    .algorithm = r->algorithm,
                    .stride = {d->stride_h, d->stride_w},
                    .dilation = {d->dilation_h - 1, d->dilation_w - 1},
                    .pad_before = {d->pad_top, d->pad_left},
                    .pad_after = {d->pad_bottom, d->pad_right},
                    .add = r->add,
                    .relu = r->relu};
  IG_GOTO(ig_dnnl_md_tag(4, x_dims, r->type, r->x_tag, &x));
  IG_GOTO(ig_dnnl_md_tag(4, y_dims, r->type, r->y_tag, &y));
  IG_GOTO(ig_dnnl_md_tag(n_w, w_dims, r->type, dnnl_format_tag_any, &w_forward));
  IG_GOTO(ig_dnnl_md_tag(n_w, w_dims, weights ? IG_F32 : r->type, dnnl_format_tag_any, &w));
  IG_GOTO(ig_dnnl_md_tag(1, &d->K, IG_F32, dnnl_a, &b));
  c.x = IG_DNNL_MD(&x), c.y = IG_DNNL_MD(&y), c.w = IG_DNNL_MD(&w_forward);
  if (r->pass == IG_DNNL_FORWARD && r->w)
    c.w = r->w;
  c.b = r->has_bias ? IG_DNNL_MD(&b) : NULL;
  if (r->pass != IG_DNNL_FORWARD) {
    IG_DNNL_GOTO(ig_dnnl_conv_pd(engine, &c, &c.hint));
    c.pass = r->pass;
    c.w = r->w ? r->w : IG_DNNL_MD(&w);
  }
  IG_DNNL_GOTO(ig_dnnl_conv_pd(engine, &c, out));
done:
  if (c.hint)
    dnnl_primitive_desc_destroy(c.hint);
  ig_dnnl_md_fini(&x);
  ig_dnnl_md_fini(&y);
  ig_dnnl_md_fini(&w);
  ig_dnnl_md_fini(&w_forward);
  ig_dnnl_md_fini(&b);
  return status;
}

// The activation layout that md is, or the graph's nearest one with *forced set.
static ig_status known_layout(const ig_prepare *p, ig_dnnl_cmd md, const int64_t *dims, ig_dtype type, ig_layout *out,
                              bool *forced) {
  IG_TRY(ig_dnnl_layout_of(p->layouts, md, IG_DNNL_IMAGE, 4, dims, type, out));
  if (out->kind == IG_LAYOUT_OPAQUE) {
    int block = p->device->caps.isa >= IG_ISA_AVX512 ? 16 : 8;
    *out = dims[1] < 8 ? IG_PLAIN : IG_BLOCKED_C(block);
    *forced = true;
  }
  return IG_OK;
}

ig_status ig_conv2d_choose_layouts(const ig_prepare *p, dnnl_engine_t engine, ig_conv2d_request *r, ig_layout *x,
                                   ig_layout *y) {
  dnnl_primitive_desc_t pd;
  int64_t x_dims[4], y_dims[4];
  bool forced = false;
  ig_conv2d_x_dims(&r->d, x_dims);
  ig_conv2d_y_dims(&r->d, y_dims);
  IG_TRY(ig_conv2d_pd(engine, r, &pd));
  int x_id = r->pass == IG_DNNL_BACKWARD_DATA ? DNNL_ARG_DIFF_SRC : DNNL_ARG_SRC;
  int y_id = r->pass == IG_DNNL_FORWARD ? DNNL_ARG_DST : DNNL_ARG_DIFF_DST;
  ig_status status =
      known_layout(p, dnnl_primitive_desc_query_md(pd, dnnl_query_exec_arg_md, x_id), x_dims, r->type, x, &forced);
  if (status == IG_OK)
    status =
        known_layout(p, dnnl_primitive_desc_query_md(pd, dnnl_query_exec_arg_md, y_id), y_dims, r->type, y, &forced);
  r->x_tag = ig_dnnl_image_tag(*x);
  r->y_tag = ig_dnnl_image_tag(*y);
  dnnl_primitive_desc_destroy(pd);
  return status;
}

bool ig_conv2d_dnnl_supports(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  return ig_dnnl_takes(n->in[0], caps, why, why_bytes);
}

bool ig_conv2d_wino_supports(const ig_node *n, const ig_device_caps *caps, ig_dnnl_pass pass, char *why,
                             size_t why_bytes) {
#if IG_DNNL_HAS_WINOGRAD
  ig_conv2d_request r = ig_conv2d_request_of(n, pass, dnnl_convolution_winograd);
  const ig_conv2d_dims *d = &r.d;
  dnnl_engine_t engine;
  dnnl_primitive_desc_t pd = NULL;
  if (n->in[0]->dtype != IG_F32)
    snprintf(why, why_bytes, "Winograd takes f32, found %s", ig_dtype_name(n->in[0]->dtype));
  else if (d->R != 3 || d->S != 3 || d->stride_h != 1 || d->stride_w != 1 || d->dilation_h != 1 || d->dilation_w != 1 ||
           d->groups != 1)
    snprintf(why, why_bytes, "Winograd takes dense 3x3 kernels of stride 1 in one group");
  else if (caps->isa < IG_ISA_AVX512)
    snprintf(why, why_bytes, "Winograd needs AVX-512; this processor is used up to %s", ig_isa_name(caps->isa));
  else {
    int saved = ig_dnnl_enter(caps->threads);
    bool found = ig_dnnl_engine(caps, &engine) == IG_OK && ig_conv2d_pd(engine, &r, &pd) == IG_OK;
    ig_dnnl_leave(saved);
    if (pd)
      dnnl_primitive_desc_destroy(pd);
    if (!found)
      snprintf(why, why_bytes, "%s", ig_error_message());
    return found;
  }
#else
  snprintf(why, why_bytes, "oneDNN %d.%d has no Winograd (3.1 was the last)", DNNL_VERSION_MAJOR, DNNL_VERSION_MINOR);
#endif
  return false;
}

// ---- forward and data gradient ----
typedef struct state {
  ig_dnnl_task task;     // one primitive in all threads, or
  ig_dnnl_parts *parts;  // sample by sample
} state;

// oneDNN's convolutions by matrix products split their sums by the number of threads; its direct kernels do not.
static bool threads_matter(dnnl_primitive_desc_t pd) {
  const char *name = "";
  return dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, &name) != dnnl_success || !strstr(name, "jit") ||
         strstr(name, "gemm");
}

static ig_status sample_pd(void *user, dnnl_engine_t engine, int64_t samples, dnnl_primitive_desc_t *out) {
  ig_conv2d_request r = *(const ig_conv2d_request *)user;
  r.d.N = samples;
  return ig_conv2d_pd(engine, &r, out);
}

// x or dy first, then weights, bias, and the result.
static ig_status create_parts(ig_prepare *p, ig_conv2d_request *r, int n, const int *ids, state *s) {
  const ig_tensor *in = p->node->in[0], *out = p->node->out[0];
  size_t N = (size_t)r->d.N;
  ig_dnnl_md w = {0};
  int64_t w_dims[5];
  int n_w = ig_conv2d_w_dims(&r->d, w_dims);
  ig_dnnl_parts_options o = {
      .caps = &p->device->caps, .samples = r->d.N, .n_parts = (int)r->d.N, .n_ids = n, .make = sample_pd, .user = r};
  for (int i = 0; i < n; i++) {
    o.ids[i] = ids[i];
    o.use[i] = i == 0 || i == n - 1 ? IG_DNNL_CUT : IG_DNNL_SHARED;
  }
  o.sample_bytes[0] = ig_layout_bytes(p->layouts, p->in_layout[0], &in->shape, in->dtype) / N;
  o.sample_bytes[n - 1] = ig_layout_bytes(p->layouts, p->out_layout[0], &out->shape, out->dtype) / N;
  IG_TRY(ig_dnnl_md_of(p->layouts, p->in_layout[1], IG_DNNL_WEIGHTS, n_w, w_dims, r->type, &w));
  r->w = IG_DNNL_MD(&w);
  ig_status status = ig_dnnl_parts_create(&o, &s->parts);
  ig_dnnl_md_fini(&w);
  if (status == IG_OK)
    p->workspace_bytes = ig_dnnl_parts_workspace(s->parts);
  return status;
}

// Layouts and primitive as oneDNN prefers them for `threads`.
static ig_status choose(ig_prepare *p, dnnl_engine_t engine, int threads, ig_conv2d_request *r,
                        dnnl_primitive_desc_t *pd) {
  bool forward = r->pass == IG_DNNL_FORWARD;
  int64_t w_dims[5];
  int n_w = ig_conv2d_w_dims(&r->d, w_dims), saved = ig_dnnl_enter(threads);
  ig_status status = IG_OK;
  r->x_tag = r->y_tag = dnnl_format_tag_any;
  IG_GOTO(ig_conv2d_choose_layouts(p, engine, r, forward ? &p->in_layout[0] : &p->out_layout[0],
                                   forward ? &p->out_layout[0] : &p->in_layout[0]));
  IG_GOTO(ig_conv2d_pd(engine, r, pd));
  status = ig_dnnl_layout_of(p->layouts, dnnl_primitive_desc_query_md(*pd, dnnl_query_exec_arg_md, DNNL_ARG_WEIGHTS),
                             IG_DNNL_WEIGHTS, n_w, w_dims, r->type, &p->in_layout[1]);
done:
  ig_dnnl_leave(saved);
  return status;
}

static ig_status create(ig_prepare *p, ig_dnnl_pass pass, dnnl_alg_kind_t algorithm, state *s) {
  const ig_device_caps *caps = &p->device->caps;
  ig_conv2d_request r = ig_conv2d_request_of(p->node, pass, algorithm);
  dnnl_engine_t engine;
  dnnl_primitive_desc_t pd = NULL;
  int n = 0, ids[4];
  bool forward = pass == IG_DNNL_FORWARD;
  ig_status status = IG_OK;
  IG_GOTO(ig_dnnl_engine(caps, &engine));
  IG_GOTO(choose(p, engine, caps->threads, &r, &pd));
  ids[n++] = forward ? DNNL_ARG_SRC : DNNL_ARG_DIFF_DST;
  ids[n++] = DNNL_ARG_WEIGHTS;
  ig_conv2d_end_layouts(p);
  if (r.has_bias)
    ids[n++] = DNNL_ARG_BIAS;
  ids[n++] = forward ? DNNL_ARG_DST : DNNL_ARG_DIFF_SRC;
  if (algorithm == dnnl_convolution_direct && threads_matter(pd)) {
    // A part is one thread's. oneDNN 3 prefers other layouts for one than for many, and refuses these to one.
    dnnl_primitive_desc_destroy(pd);
    pd = NULL;
    IG_GOTO(choose(p, engine, 1, &r, &pd));
    ig_conv2d_end_layouts(p);
    IG_GOTO(create_parts(p, &r, n, ids, s));
  } else {
    IG_GOTO(ig_dnnl_task_init(caps, pd, n, ids, &s->task));
    p->workspace_bytes = s->task.primitive.scratch_bytes;
  }
done:
  if (pd)
    dnnl_primitive_desc_destroy(pd);
  return status;
}

static void destroy(void *p) {
  state *s = p;
  ig_dnnl_task_fini(&s->task);
  ig_dnnl_parts_destroy(s->parts);
  ig_free(s);
}

static ig_status prepare(ig_prepare *p, ig_dnnl_pass pass, dnnl_alg_kind_t algorithm) {
  state *s;
  IG_TRY(ig_alloc(sizeof *s, "convolution", &s));
  int saved = ig_dnnl_enter(p->device->caps.threads);
  ig_status status = create(p, pass, algorithm, s);
  ig_dnnl_leave(saved);
  if (status != IG_OK)
    destroy(s);
  else
    p->state = s;
  return status;
}

static ig_status prepare_direct(ig_prepare *p) { return prepare(p, IG_DNNL_FORWARD, dnnl_convolution_direct); }
static ig_status prepare_bwd_direct(ig_prepare *p) {
  return prepare(p, IG_DNNL_BACKWARD_DATA, dnnl_convolution_direct);
}

// oneDNN adds to what y holds: the residual comes there, unless the plan put y where it lies.
static void put_residual(const ig_launch *l) {
  enum { PIECE = 1 << 16 };
  const ig_tensor *y = l->node->out[0];
  const char *from = l->in[3];
  char *to = l->out[0];
  const size_t n = from && from != to ? ig_layout_bytes(l->layouts, l->out_layout[0], &y->shape, y->dtype) : 0;
#pragma omp parallel for schedule(static) num_threads(l->device->caps.threads) if (n > 8 * PIECE)
  for (size_t at = 0; at < n; at += PIECE)
    memcpy(to + at, from + at, n - at < PIECE ? n - at : PIECE);
}

static ig_status run(const ig_launch *l) {
  state *s = l->state;
  void *data[4];
  int n = 0;
  if (l->node->n_in > 3)
    put_residual(l);
  for (int i = 0; i < l->node->n_in && i < 3; i++)
    if (l->in[i])
      data[n++] = l->in[i];
  data[n] = l->out[0];
  return s->parts ? ig_dnnl_parts_run(s->parts, data, l->workspace) : ig_dnnl_task_run(&s->task, data, l->workspace);
}

#if IG_DNNL_HAS_WINOGRAD
static ig_status prepare_wino(ig_prepare *p) { return prepare(p, IG_DNNL_FORWARD, dnnl_convolution_winograd); }
static ig_status prepare_bwd_wino(ig_prepare *p) {
  return prepare(p, IG_DNNL_BACKWARD_DATA, dnnl_convolution_winograd);
}
static bool supports_wino(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  return ig_conv2d_wino_supports(n, caps, IG_DNNL_FORWARD, why, why_bytes);
}
static bool supports_bwd_wino(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  return ig_conv2d_wino_supports(n, caps, IG_DNNL_BACKWARD_DATA, why, why_bytes);
}
#endif

#define COMMON .run = run, .destroy = destroy
IG_IMPLS(conv2d_dnnl) = {{.name = "conv2d_dnnl",
                          .flags = IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE,
                          .supports = ig_conv2d_dnnl_supports,
                          .prepare = prepare_direct,
                          COMMON},
                         {.name = "conv2d_fused_dnnl",
                          .flags = IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE,
                          .supports = ig_conv2d_dnnl_supports,
                          .prepare = prepare_direct,
                          COMMON},
                         {.name = "conv2d_bwd_data_dnnl",
                          .flags = IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE,
                          .supports = ig_conv2d_dnnl_supports,
                          .prepare = prepare_bwd_direct,
                          COMMON},
#if IG_DNNL_HAS_WINOGRAD
                         {.name = "conv2d_dnnl_wino",
                          .flags = IG_IMPL_DETERMINISTIC | IG_IMPL_INEXACT,
                          .supports = supports_wino,
                          .prepare = prepare_wino,
                          COMMON},
                         {.name = "conv2d_fused_dnnl_wino",
                          .flags = IG_IMPL_DETERMINISTIC | IG_IMPL_INEXACT,
                          .supports = supports_wino,
                          .prepare = prepare_wino,
                          COMMON},
                         {.name = "conv2d_bwd_data_dnnl_wino",
                          .flags = IG_IMPL_DETERMINISTIC | IG_IMPL_INEXACT,
                          .supports = supports_bwd_wino,
                          .prepare = prepare_bwd_wino,
                          COMMON},
#endif
                         {0}};
