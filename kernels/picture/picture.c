// Row picture.
#include "kernels/picture/picture.h"

#include "kernels/kernels.h"
#include "kernels/optim_util/fixed.h"

static ig_status infer_picture(ig_graph *g, ig_node *n) {
  const ig_picture_attr *a = n->attr;
  const ig_shape *s = &n->in[0]->shape;
  IG_TRY(ig_check_dtype(n, 0, IG_U8));
  IG_TRY(ig_check_rank(n, 0, 4));
  IG_TRY(ig_check_shape(n, 0, IG_SHAPE4(s->d[0], s->d[1], s->d[2], 3)));
  if (n->in[1]) {
    IG_TRY(ig_check_dtype(n, 1, IG_F32));
    IG_TRY(ig_check_shape(n, 1, IG_SHAPE2(s->d[0], IG_N_AUG)));
  }
  if (n->in[2]) {
    IG_TRY(ig_check_dtype(n, 2, IG_I32));
    IG_TRY(ig_check_shape(n, 2, IG_SHAPE1(s->d[0])));
  }
  for (int c = 0; c < 3; c++)
    if (!(a->std[c] > 0) || !(a->mean[c] > -1e30f && a->mean[c] < 1e30f))
      return ig_fail(IG_ERR_USAGE, "channel %d has mean %g and standard deviation %g, expected a deviation above 0", c,
                     (double)a->mean[c], (double)a->std[c]);
  return ig_node_set_out(g, n, 0, g->options.compute_dtype, *s);
}

static void cost_picture(const ig_node *n, ig_cost *cost) {
  *cost = (ig_cost){.flops = 4.0 * (double)ig_shape_count(&n->in[0]->shape), .bytes = ig_cost_bytes(n)};
}

#define PICTURES(n, h, w) \
  { IG_SHAPE4(n, h, w, 3), IG_U8, IG_FILL_INDEX, 0, 256, false, true }
#define ROWS(n) \
  { IG_SHAPE2(n, IG_N_AUG), IG_F32, IG_FILL_UNIFORM, 0, 2, true, true }
#define WIDE(n) \
  { IG_SHAPE2(n, IG_N_AUG), IG_F32, IG_FILL_UNIFORM, -1, 9, true, true }
#define PARTNER(n) \
  { IG_SHAPE1(n), IG_I32, IG_FILL_INDEX, 0, n, false, true }
#define NONE \
  { IG_SHAPE1(1), IG_F32, IG_FILL_ABSENT, 0, 0, false, true }
static const ig_picture_attr imagenet = {{123.675f, 116.28f, 103.53f}, {58.395f, 57.12f, 57.375f}, false},
                             caffe = {{103.939f, 116.779f, 123.68f}, {1, 1, 1}, true};
static const ig_op_case cases[] = {
    {.name = "plain", .n_in = 3, .in = {PICTURES(3, 5, 7), NONE, NONE}, .attr = &imagenet},
    {.name = "square", .n_in = 3, .in = {PICTURES(17, 8, 8), ROWS(17), PARTNER(17)}, .attr = &imagenet},
    {.name = "long", .n_in = 3, .in = {PICTURES(13, 3, 131), ROWS(13), PARTNER(13)}, .attr = &imagenet},
    {.name = "wide_draws", .n_in = 3, .in = {PICTURES(37, 9, 9), WIDE(37), PARTNER(37)}, .attr = &caffe},
    {.name = "alone", .n_in = 3, .in = {PICTURES(2, 66, 66), ROWS(2), NONE}, .attr = &caffe},
    {.name = "imagenet",
     .n_in = 3,
     .in = {PICTURES(128, 224, 224), ROWS(128), PARTNER(128)},
     .attr = &imagenet,
     .bench = true},
    {.name = "evaluate", .n_in = 3, .in = {PICTURES(128, 224, 224), NONE, NONE}, .attr = &imagenet, .bench = true},
};

static const ig_op picture = {
    .name = "picture",
    .summary = "y = (mix(erase(colour(flip(x))), partner) - mean) / std",
    .min_in = 3,
    .max_in = 3,
    .n_out = 1,
    .optional_in = 6,
    .attr_bytes = sizeof(ig_picture_attr),
    .infer = infer_picture,
    .grad = ig_zero_grad,
    .cost = cost_picture,
    .cases = cases,
    .n_cases = (int)(sizeof cases / sizeof *cases),
    .impls = {[IG_DEVICE_CPU] = {"picture_cpu", "picture_ref"}, [IG_DEVICE_CUDA] = {"picture_cuda"}},
};

IG_OPS(picture) = {&picture, 0};

ig_tensor *ig_picture(ig_graph *g, const char *name, ig_tensor *pictures, ig_tensor *aug, ig_tensor *partner,
                      const ig_picture_attr *attr) {
  if (!pictures)
    return NULL;
  ig_node *n = ig_graph_node(g, "picture", name, 3, (ig_tensor *[]){pictures, aug, partner}, attr);
  return n ? n->out[0] : NULL;
}
