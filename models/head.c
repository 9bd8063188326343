// The end that all classifiers of pictures share. Rule: logits leave in fp32 (fp64 in tests), whatever came in.
#include <stdio.h>

#include "kernels/dropout/dropout.h"
#include "kernels/linear/linear.h"
#include "kernels/pool2d/pool2d.h"
#include "kernels/reorder/reorder.h"
#include "models/model.h"

ig_tensor *ig_model_head(ig_graph *g, const char *name, const ig_model_config *c, ig_tensor *x) {
  x = ig_global_avgpool(g, "avgpool", x);
  if (!x)
    return NULL;
  char weight[64], bias[64];
  snprintf(weight, sizeof weight, "%s.weight", name);
  snprintf(bias, sizeof bias, "%s.bias", name);
  ig_init init = {IG_INIT_LINEAR, (double)x->shape.d[1]};
  ig_tensor *w = ig_graph_param(g, weight, IG_SHAPE2(c->classes, x->shape.d[1]), IG_PARAM_TRAINABLE, init);
  ig_tensor *b = ig_graph_param(g, bias, IG_SHAPE1(c->classes), IG_PARAM_TRAINABLE, init);
  if (c->step_state)
    x = ig_dropout(g, "dropout", x, c->dropout, c->step_state);
  x = ig_linear(g, name, x, w, b);
  return x && ig_dtype_bytes(x->dtype) == 2 ? ig_reorder(g, "logits", x, IG_F32) : x;
}
