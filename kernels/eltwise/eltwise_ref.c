// The oracle of the elementwise ops: doubles, any floating-point type, one number at a time.
#include <math.h>

#include "kernels/kernels.h"

// f(a, b, p): b is the second operand (0 where there is none), p the float attribute.
typedef double (*scalar_fn)(double a, double b, double p);

static double attribute(const ig_node *n) { return n->attr ? *(const float *)n->attr : 0; }

static ig_status map(const ig_launch *l, scalar_fn f) {
  const ig_node *n = l->node;
  size_t count = (size_t)ig_shape_count(&n->out[0]->shape);
  double p = attribute(n);
  for (size_t i = 0; i < count; i++) {
    double a = ig_load_f64(l->in[0], n->in[0]->dtype, i);
    double b = n->n_in > 1 ? ig_load_f64(l->in[1], n->in[1]->dtype, i) : 0;
    ig_store_f64(l->out[0], n->out[0]->dtype, i, f(a, b, p));
  }
  return IG_OK;
}

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double inner(double x) { return sqrt(2 / M_PI) * (x + 0.044715 * x * x * x); }

#define MAP(op, expression)                                                      \
  static double op##_scalar(double a, double b, double p) { return expression; } \
  static ig_status op##_ref(const ig_launch *l) { return map(l, op##_scalar); }
MAP(mul, a *b)
MAP(scale, a *p)
MAP(relu, a < 0 ? 0 : a)
MAP(relu_bwd, b <= 0 ? 0 : a)
MAP(leaky_relu, a <= 0 ? a * p : a)
MAP(leaky_relu_bwd, b <= 0 ? a * p : a)
MAP(sigmoid, sigmoid(a))
MAP(sigmoid_bwd, a *b *(1 - b))
MAP(tanh, tanh(a))
MAP(tanh_bwd, a *(1 - b * b))
MAP(silu, a *sigmoid(a))
MAP(silu_bwd, a *sigmoid(b) * (1 + b * (1 - sigmoid(b))))
MAP(gelu_erf, 0.5 * a * erfc(-a * M_SQRT1_2))
MAP(gelu_erf_bwd, a *(0.5 * erfc(-b * M_SQRT1_2) + b * exp(-0.5 * b * b) / sqrt(2 * M_PI)))
MAP(gelu_tanh, 0.5 * a * (1 + tanh(inner(a))))
MAP(gelu_tanh_bwd, a *(0.5 * (1 + tanh(inner(b))) +
                       0.5 * b * (1 - tanh(inner(b)) * tanh(inner(b))) * sqrt(2 / M_PI) * (1 + 3 * 0.044715 * b * b)))

static ig_status add_ref(const ig_launch *l) {
  const ig_node *n = l->node;
  size_t count = (size_t)ig_shape_count(&n->out[0]->shape);
  for (size_t i = 0; i < count; i++) {
    double sum = 0;
    for (int j = 0; j < n->n_in; j++)
      sum += ig_load_f64(l->in[j], n->in[j]->dtype, i);
    ig_store_f64(l->out[0], n->out[0]->dtype, i, sum);
  }
  return IG_OK;
}

static ig_status fill_like_ref(const ig_launch *l) {
  const ig_tensor *y = l->node->out[0];
  size_t count = (size_t)ig_shape_count(&y->shape);
  for (size_t i = 0; i < count; i++)
    ig_store_f64(l->out[0], y->dtype, i, *(const double *)l->node->attr);
  return IG_OK;
}

static ig_status axpy_ref(const ig_launch *l) {
  const ig_tensor *y = l->node->in[0], *x = l->node->in[1];
  size_t count = (size_t)ig_shape_count(&y->shape);
  for (size_t i = 0; i < count; i++)
    ig_store_f64(l->in[0], y->dtype, i,
                 ig_load_f64(l->in[0], y->dtype, i) + attribute(l->node) * ig_load_f64(l->in[1], x->dtype, i));
  *(float *)l->out[0] = 0;
  return IG_OK;
}

#define REF(op) \
  { .name = #op "_ref", .flags = IG_IMPL_REF | IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, .run = op##_ref }
IG_IMPLS(eltwise_ref) = {REF(add),         REF(mul),          REF(scale),      REF(fill_like),      REF(axpy),
                         REF(relu),        REF(relu_bwd),     REF(leaky_relu), REF(leaky_relu_bwd), REF(sigmoid),
                         REF(sigmoid_bwd), REF(tanh),         REF(tanh_bwd),   REF(silu),           REF(silu_bwd),
                         REF(gelu_erf),    REF(gelu_erf_bwd), REF(gelu_tanh),  REF(gelu_tanh_bwd),  {0}};
