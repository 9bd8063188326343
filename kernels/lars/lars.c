// Row lars.
#include "kernels/lars/lars.h"

#include "kernels/kernels.h"

static ig_status infer_lars(ig_graph *g, ig_node *n) {
  const ig_lars_attr *a = n->attr;
  if (!(a->momentum >= 0 && a->momentum < 1) || !(a->dampening >= 0 && a->dampening <= 1))
    return ig_fail(IG_ERR_USAGE, "momentum is %g and dampening %g, expected momentum in [0, 1), dampening in [0, 1]",
                   a->momentum, a->dampening);
  if (!(a->trust_coeff > 0) || !(a->eps >= 0))
    return ig_fail(IG_ERR_USAGE, "trust_coeff is %g and eps %g, expected trust_coeff above 0 and eps 0 or more",
                   a->trust_coeff, a->eps);
  if (a->nesterov && (a->momentum == 0 || a->dampening != 0))
    return ig_fail(IG_ERR_USAGE, "nesterov needs momentum above 0 and dampening 0, found %g and %g", a->momentum,
                   a->dampening);
  if ((a->momentum > 0) != (n->in[6] != NULL))
    return ig_fail(IG_ERR_INTERNAL, "momentum is %g and its buffer is %s", a->momentum, n->in[6] ? "given" : "missing");
  return ig_update_infer(g, n);
}

static const ig_lars_attr plain = {0, 0, 0.01, 1e-8, false}, heavy = {0.9, 0, 0.001, 1e-8, false},
                          nesterov = {0.9, 0, 0.02, 1e-6, true};
static const ig_op_case cases[] = {
    {.name = "plain", .n_in = 7, .in = {IG_UPDATE_CASE(37, 3), IG_UPDATE_ABSENT}, .attr = &plain},
    {.name = "momentum", .n_in = 7, .in = {IG_UPDATE_CASE(1009, 5), IG_UPDATE_MOMENT(1009)}, .attr = &heavy},
    {.name = "nesterov", .n_in = 7, .in = {IG_UPDATE_CASE(40001, 7), IG_UPDATE_MOMENT(40001)}, .attr = &nesterov},
    {.name = "w16_bf16",
     .n_in = 8,
     .in = {IG_UPDATE_CASE(40001, 7), IG_UPDATE_MOMENT(40001), IG_UPDATE_W16(40001, IG_BF16)},
     .attr = &heavy},
    {.name = "w16_f16",
     .n_in = 8,
     .in = {IG_UPDATE_CASE(1009, 5), IG_UPDATE_ABSENT, IG_UPDATE_W16(1009, IG_F16)},
     .attr = &plain},
    {.name = "resnet50",
     .n_in = 7,
     .in = {IG_UPDATE_CASE(25557032, 161), IG_UPDATE_MOMENT(25557032)},
     .attr = &heavy,
     .bench = true},
};

static const ig_op lars = {
    .name = "lars",
    .summary = "r = c |w| / (|g| + wd |w| + eps); g = (g + wd w) r; v = mu v + g; w -= lr (nesterov ? g + mu v : v)",
    .min_in = 7,
    .max_in = 8,
    .n_out = 1,
    .optional_in = 3 << 6,
    .mutates_in = 1 | 3 << 6,
    .attr_bytes = sizeof(ig_lars_attr),
    .infer = infer_lars,
    .grad = ig_no_grad,
    .cost = ig_update_cost,
    .cases = cases,
    .n_cases = (int)(sizeof cases / sizeof *cases),
    .on_cpu = IG_CPU_F32,
    .impls = {[IG_DEVICE_CPU] = {"lars_cpu", "lars_ref"}, [IG_DEVICE_CUDA] = {"lars_cuda"}},
};

IG_OPS(lars) = {&lars, 0};

ig_tensor *ig_lars(ig_graph *g, const char *name, const ig_update_operands *o, const ig_lars_attr *attr) {
  return ig_update_node(g, "lars", name, o, 1, attr);
}
