// Row rmsprop.
#include "kernels/rmsprop/rmsprop.h"

#include "kernels/kernels.h"

static ig_status infer_rmsprop(ig_graph *g, ig_node *n) {
  const ig_rmsprop_attr *a = n->attr;
  if (!(a->alpha >= 0 && a->alpha < 1) || !(a->momentum >= 0 && a->momentum < 1) || !(a->eps > 0))
    return ig_fail(IG_ERR_USAGE,
                   "alpha is %g, momentum %g and eps %g, expected alpha and momentum in [0, 1) and eps above 0",
                   a->alpha, a->momentum, a->eps);
  if (a->centered != (n->in[7] != NULL) || (a->momentum > 0) != (n->in[8] != NULL))
    return ig_fail(IG_ERR_INTERNAL, "the buffers do not fit centered = %d and momentum = %g", a->centered, a->momentum);
  return ig_update_infer(g, n);
}

// The mean is small beside the root of the mean square, as it is in a run.
#define MEAN(n) \
  { IG_SHAPE1(n), IG_F32, IG_FILL_UNIFORM, -0.5, 0.5, false, true }
static const ig_rmsprop_attr plain = {0.99, 1e-8, 0, false}, all = {0.9, 1e-8, 0.9, true},
                             heavy = {0.9, 1e-3, 0.5, false}, centered = {0.9, 1e-8, 0, true};
static const ig_op_case cases[] = {
    {.name = "plain",
     .n_in = 9,
     .in = {IG_UPDATE_CASE(37, 3), IG_UPDATE_MOMENT(37), IG_UPDATE_ABSENT, IG_UPDATE_ABSENT},
     .attr = &plain},
    {.name = "momentum",
     .n_in = 9,
     .in = {IG_UPDATE_CASE(1009, 5), IG_UPDATE_MOMENT(1009), IG_UPDATE_ABSENT, IG_UPDATE_MOMENT(1009)},
     .attr = &heavy},
    {.name = "centered",
     .n_in = 9,
     .in = {IG_UPDATE_CASE(1009, 5), IG_UPDATE_MOMENT(1009), MEAN(1009), IG_UPDATE_ABSENT},
     .attr = &centered},
    {.name = "all",
     .n_in = 9,
     .in = {IG_UPDATE_CASE(40001, 7), IG_UPDATE_MOMENT(40001), MEAN(40001), IG_UPDATE_MOMENT(40001)},
     .attr = &all},
    {.name = "w16_bf16",
     .n_in = 10,
     .in = {IG_UPDATE_CASE(1009, 5), IG_UPDATE_MOMENT(1009), MEAN(1009), IG_UPDATE_MOMENT(1009),
            IG_UPDATE_W16(1009, IG_BF16)},
     .attr = &all},
    {.name = "w16_f16",
     .n_in = 10,
     .in = {IG_UPDATE_CASE(37, 3), IG_UPDATE_MOMENT(37), IG_UPDATE_ABSENT, IG_UPDATE_ABSENT, IG_UPDATE_W16(37, IG_F16)},
     .attr = &plain},
};

static const ig_op rmsprop = {
    .name = "rmsprop",
    .summary = "v = a v + (1-a) g^2; r = g / (sqrt(v - mean^2) + eps); b = mu b + r; w -= lr b",
    .min_in = 9,
    .max_in = 10,
    .n_out = 1,
    .optional_in = 7 << 7,
    .mutates_in = 1 | 15 << 6,
    .attr_bytes = sizeof(ig_rmsprop_attr),
    .infer = infer_rmsprop,
    .grad = ig_no_grad,
    .cost = ig_update_cost,
    .cases = cases,
    .n_cases = (int)(sizeof cases / sizeof *cases),
    .on_cpu = IG_CPU_F32,
    .impls = {[IG_DEVICE_CPU] = {"rmsprop_cpu", "rmsprop_ref"}, [IG_DEVICE_CUDA] = {"rmsprop_cuda"}},
};

IG_OPS(rmsprop) = {&rmsprop, 0};

ig_tensor *ig_rmsprop(ig_graph *g, const char *name, const ig_update_operands *o, const ig_rmsprop_attr *attr) {
  return ig_update_node(g, "rmsprop", name, o, 3, attr);
}
