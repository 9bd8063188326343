// VGG (Simonyan and Zisserman 2014), configurations A, B, D and E, plain or with batch normalisation. Names and shapes
// are torchvision's, so that its state dicts load as they are.
#include <stdio.h>

#include "kernels/adaptive_pool/adaptive_pool.h"
#include "kernels/batchnorm/batchnorm.h"
#include "kernels/conv2d/conv2d.h"
#include "kernels/dropout/dropout.h"
#include "kernels/eltwise/eltwise.h"
#include "kernels/linear/linear.h"
#include "kernels/pool2d/pool2d.h"
#include "kernels/reorder/reorder.h"
#include "models/model.h"

enum { STAGES = 5, HIDDEN = 4096, WINDOWS = 7, NORMALISED = 100 };  // NORMALISED is added to the depth

// 3x3 convolutions of each stage; a maximum over 2x2 ends it.
static const struct {
  int depth, convolutions[STAGES];
} specs[] = {
    {11, {1, 1, 2, 2, 2}},
    {13, {2, 2, 2, 2, 2}},
    {16, {2, 2, 3, 3, 3}},
    {19, {2, 2, 4, 4, 4}},
};
static const int widths[STAGES] = {64, 128, 256, 512, 512};

// Weights start as N(0, 2 / fan_out), biases at 0. `at`: the number of the layer in torchvision's list.
static ig_tensor *conv(ig_graph *g, int at, ig_tensor *x, int out) {
  char name[32], weight[64], bias[64];
  snprintf(name, sizeof name, "features.%d", at);
  snprintf(weight, sizeof weight, "%s.weight", name);
  snprintf(bias, sizeof bias, "%s.bias", name);
  if (!x)
    return NULL;
  ig_tensor *w = ig_graph_param(g, weight, IG_SHAPE4(out, x->shape.d[3], 3, 3), IG_PARAM_TRAINABLE,
                                (ig_init){IG_INIT_KAIMING_FAN_OUT, 0});
  ig_tensor *b = ig_graph_param(g, bias, IG_SHAPE1(out), IG_PARAM_TRAINABLE, (ig_init){IG_INIT_ZERO, 0});
  return ig_conv2d(g, name, x, w, b, &(ig_conv2d_attr){.pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1});
}

static ig_tensor *features(ig_graph *g, const int *convolutions, bool normalised, ig_tensor *x, ig_tensor *sw) {
  const ig_batchnorm_attr norm = {.eps = 1e-5f, .momentum = 0.1f, .relu = true};
  char name[32];
  int at = 0;
  for (int stage = 0; stage < STAGES; stage++) {
    for (int i = 0; i < convolutions[stage]; i++) {
      x = conv(g, at++, x, widths[stage]);
      snprintf(name, sizeof name, "features.%d", at);
      x = normalised ? ig_batchnorm(g, name, x, NULL, sw, &norm) : ig_relu(g, name, x);
      at += normalised ? 2 : 1;
    }
    snprintf(name, sizeof name, "features.%d", at++);
    x = ig_maxpool2d(g, name, x, &(ig_pool2d_attr){.kernel_h = 2, .kernel_w = 2});
  }
  return x;
}

static ig_tensor *linear(ig_graph *g, int at, ig_tensor *x, int out) {
  char name[32], weight[64], bias[64];
  snprintf(name, sizeof name, "classifier.%d", at);
  snprintf(weight, sizeof weight, "%s.weight", name);
  snprintf(bias, sizeof bias, "%s.bias", name);
  if (!x)
    return NULL;
  ig_tensor *w =
      ig_graph_param(g, weight, IG_SHAPE2(out, x->shape.d[1]), IG_PARAM_TRAINABLE, (ig_init){IG_INIT_NORMAL, 0.01});
  ig_tensor *b = ig_graph_param(g, bias, IG_SHAPE1(out), IG_PARAM_TRAINABLE, (ig_init){IG_INIT_ZERO, 0});
  return ig_linear(g, name, x, w, b);
}

// Dropout stands behind each hidden layer.
static ig_tensor *hidden(ig_graph *g, const ig_model_config *c, int at, ig_tensor *x) {
  char name[32];
  x = linear(g, at, x, HIDDEN);
  snprintf(name, sizeof name, "classifier.%d", at + 1);
  x = ig_relu(g, name, x);
  snprintf(name, sizeof name, "classifier.%d", at + 2);
  return c->step_state ? ig_dropout(g, name, x, c->dropout, c->step_state) : x;
}

static ig_tensor *build(const ig_model *m, ig_graph *g, const ig_model_config *c, ig_tensor *x, ig_tensor *sw) {
  enum { LEAST = 1 << STAGES };  // each stage halves
  size_t i = 0;
  if (x && (x->shape.d[1] < LEAST || x->shape.d[2] < LEAST))
    return ig_graph_fail(g, IG_ERR_USAGE, "image_size=%lld is too small for model=%s; expected at least %d",
                         (long long)x->shape.d[1], m->name, LEAST);
  while (specs[i].depth != m->variant % NORMALISED)
    i++;
  x = features(g, specs[i].convolutions, m->variant > NORMALISED, x, sw);
  x = ig_adaptive_avgpool(g, "avgpool", x, &(ig_adaptive_pool_attr){WINDOWS, WINDOWS});
  x = hidden(g, c, 0, x);
  x = hidden(g, c, 3, x);
  x = linear(g, 6, x, c->classes);
  return x && ig_dtype_bytes(x->dtype) == 2 ? ig_reorder(g, "logits", x, IG_F32) : x;
}

#define VGG(id, label, number, text)                         \
  const ig_model id = {.name = label,                        \
                       .summary = text,                      \
                       .family = "vgg",                      \
                       .variant = number,                    \
                       .default_size = 224,                  \
                       .mean = {123.675f, 116.28f, 103.53f}, \
                       .std = {58.395f, 57.12f, 57.375f},    \
                       .head = "classifier.6.",              \
                       .build = build}

VGG(ig_model_vgg11, "vgg11", 11, "VGG-11, 132.9 M parameters");
VGG(ig_model_vgg13, "vgg13", 13, "VGG-13, 133.0 M parameters");
VGG(ig_model_vgg16, "vgg16", 16, "VGG-16, 138.4 M parameters");
VGG(ig_model_vgg19, "vgg19", 19, "VGG-19, 143.7 M parameters");
VGG(ig_model_vgg11_bn, "vgg11_bn", NORMALISED + 11, "VGG-11 with batch normalisation, 132.9 M parameters");
VGG(ig_model_vgg13_bn, "vgg13_bn", NORMALISED + 13, "VGG-13 with batch normalisation, 133.1 M parameters");
VGG(ig_model_vgg16_bn, "vgg16_bn", NORMALISED + 16, "VGG-16 with batch normalisation, 138.4 M parameters");
VGG(ig_model_vgg19_bn, "vgg19_bn", NORMALISED + 19, "VGG-19 with batch normalisation, 143.7 M parameters");
