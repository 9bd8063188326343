// Row lamb.
#include "kernels/lamb/lamb.h"

#include "kernels/kernels.h"

static ig_status infer_lamb(ig_graph *g, ig_node *n) {
  const ig_lamb_attr *a = n->attr;
  if (!(a->beta1 >= 0 && a->beta1 < 1) || !(a->beta2 >= 0 && a->beta2 < 1) || !(a->eps > 0))
    return ig_fail(IG_ERR_USAGE, "betas are %g, %g and eps %g, expected betas in [0, 1) and eps above 0", a->beta1,
                   a->beta2, a->eps);
  return ig_update_infer(g, n);
}

static const ig_lamb_attr usual = {0.9, 0.999, 1e-6}, other = {0.8, 0.95, 1e-3};
static const ig_op_case cases[] = {
    {.name = "odd",
     .n_in = 8,
     .in = {IG_UPDATE_CASE(37, 3), IG_UPDATE_MOMENT(37), IG_UPDATE_MOMENT(37)},
     .attr = &usual},
    {.name = "chunks",
     .n_in = 8,
     .in = {IG_UPDATE_CASE(40001, 7), IG_UPDATE_MOMENT(40001), IG_UPDATE_MOMENT(40001)},
     .attr = &other},
    {.name = "w16_bf16",
     .n_in = 9,
     .in = {IG_UPDATE_CASE(40001, 7), IG_UPDATE_MOMENT(40001), IG_UPDATE_MOMENT(40001), IG_UPDATE_W16(40001, IG_BF16)},
     .attr = &usual},
    {.name = "w16_f16",
     .n_in = 9,
     .in = {IG_UPDATE_CASE(1009, 5), IG_UPDATE_MOMENT(1009), IG_UPDATE_MOMENT(1009), IG_UPDATE_W16(1009, IG_F16)},
     .attr = &other},
    {.name = "bert_base",
     .n_in = 8,
     .in = {IG_UPDATE_CASE(109482240, 199), IG_UPDATE_MOMENT(109482240), IG_UPDATE_MOMENT(109482240)},
     .attr = &usual,
     .bench = true},
};

static const ig_op lamb = {
    .name = "lamb",
    .summary = "u = m^ / (sqrt(v^) + eps) + wd w; w -= lr |w| / |u| u a tensor",
    .min_in = 8,
    .max_in = 9,
    .n_out = 1,
    .optional_in = 1 << 8,
    .mutates_in = 1 | 7 << 6,
    .attr_bytes = sizeof(ig_lamb_attr),
    .infer = infer_lamb,
    .grad = ig_no_grad,
    .cost = ig_update_cost,
    .cases = cases,
    .n_cases = (int)(sizeof cases / sizeof *cases),
    .on_cpu = IG_CPU_F32,
    .impls = {[IG_DEVICE_CPU] = {"lamb_cpu", "lamb_ref"}, [IG_DEVICE_CUDA] = {"lamb_cuda"}},
};

IG_OPS(lamb) = {&lamb, 0};

ig_tensor *ig_lamb(ig_graph *g, const char *name, const ig_update_operands *o, const ig_lamb_attr *attr) {
  return ig_update_node(g, "lamb", name, o, 2, attr);
}
