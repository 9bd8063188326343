// ResNets for 32 x 32 pictures: He et al. 2015 section 4.2 (depth 6n+2, shortcut A; tensor names of the published
// pytorch_resnet_cifar10 weights) and the ResNet-8 of MLPerf Tiny (biases, projection shortcuts without BatchNorm).
#include <stdio.h>
#include <string.h>

#include "kernels/batchnorm/batchnorm.h"
#include "kernels/conv2d/conv2d.h"
#include "kernels/eltwise/eltwise.h"
#include "kernels/shape_ops/shape_ops.h"
#include "models/model.h"

static ig_tensor *conv(ig_graph *g, const char *name, ig_tensor *x, int out, int k, int stride, bool bias,
                       const ig_conv2d_attr *padding) {
  if (!x)
    return NULL;
  char weight[64], b[64];
  snprintf(weight, sizeof weight, "%s.weight", name);
  snprintf(b, sizeof b, "%s.bias", name);
  ig_tensor *w = ig_graph_param(g, weight, IG_SHAPE4(out, x->shape.d[3], k, k), IG_PARAM_TRAINABLE,
                                (ig_init){IG_INIT_KAIMING_FAN_IN, 0});
  ig_tensor *add = bias ? ig_graph_param(g, b, IG_SHAPE1(out), IG_PARAM_TRAINABLE, (ig_init){IG_INIT_ZERO, 0}) : NULL;
  ig_conv2d_attr attr = *padding;
  attr.stride_h = attr.stride_w = stride;
  return ig_conv2d(g, name, x, w, add, &attr);
}

// ---- ResNet-20 ... 110 ----
static const ig_conv2d_attr same3 = {.pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1};

static ig_tensor *build_cifar(const ig_model *m, ig_graph *g, const ig_model_config *c, ig_tensor *x, ig_tensor *sw) {
  const ig_batchnorm_attr bn = {.eps = 1e-5f, .momentum = 0.1f, .relu = true};
  ig_graph_scope(g, "%s", "");
  x = ig_batchnorm(g, "bn1", conv(g, "conv1", x, 16, 3, 1, false, &same3), NULL, sw, &bn);
  for (int stage = 0; stage < 3; stage++)
    for (int i = 0; i < (m->variant - 2) / 6; i++) {
      int width = 16 << stage, stride = stage > 0 && i == 0 ? 2 : 1;
      ig_graph_scope(g, "layer%d.%d.", stage + 1, i);
      ig_tensor *y = ig_batchnorm(g, "bn1", conv(g, "conv1", x, width, 3, stride, false, &same3), NULL, sw, &bn);
      ig_tensor *s = stride == 1 ? x : ig_shortcut_a(g, "shortcut", x, stride, width);
      x = ig_batchnorm(g, "bn2", conv(g, "conv2", y, width, 3, 1, false, &same3), s, sw, &bn);
    }
  ig_graph_scope(g, "%s", "");
  return ig_model_head(g, "linear", c, x);
}

// ---- MLPerf Tiny ResNet-8 ----
// TensorFlow's "same" padding: with stride 2 on an even size the extra row and column are below and to the right.
static ig_conv2d_attr same_tf(const ig_tensor *x, int k, int stride) {
  ig_conv2d_attr a = {0};
  for (int axis = 0; x && axis < 2; axis++) {
    int64_t n = x->shape.d[1 + axis], out = (n + stride - 1) / stride, total = (out - 1) * stride + k - n;
    total = total > 0 ? total : 0;
    *(axis ? &a.pad_left : &a.pad_top) = (int)(total / 2);
    *(axis ? &a.pad_right : &a.pad_bottom) = (int)(total - total / 2);
  }
  return a;
}

static ig_tensor *conv_tf(ig_graph *g, const char *name, ig_tensor *x, int out, int k, int stride) {
  ig_conv2d_attr padding = same_tf(x, k, stride);
  return conv(g, name, x, out, k, stride, true, &padding);
}

static ig_tensor *build_tiny(const ig_model *m, ig_graph *g, const ig_model_config *c, ig_tensor *x, ig_tensor *sw) {
  const ig_batchnorm_attr bn = {.eps = 1e-3f, .momentum = 0.01f, .relu = true};
  ig_graph_scope(g, "%s", "");
  x = ig_batchnorm(g, "bn1", conv_tf(g, "conv1", x, 16, 3, 1), NULL, sw, &bn);
  for (int stage = 0; stage < 3; stage++) {
    int width = 16 << stage, stride = stage > 0 ? 2 : 1;
    ig_graph_scope(g, "layer%d.0.", stage + 1);
    ig_tensor *y = ig_batchnorm(g, "bn1", conv_tf(g, "conv1", x, width, 3, stride), NULL, sw, &bn);
    y = conv_tf(g, "conv2", y, width, 3, 1);
    ig_tensor *s = stride == 1 ? x : conv_tf(g, "downsample", x, width, 1, stride);
    x = ig_batchnorm(g, "bn2", y, s, sw, &bn);
  }
  ig_graph_scope(g, "%s", "");
  return ig_model_head(g, "fc", c, x);
}

// Keras numbers layers in the order of their making: within a block conv1, conv2, then the shortcut.
static bool keras_name(const ig_model *m, int convention, const char *param, char name[256], ig_weight_form *form) {
  static const struct {
    const char *ours, *keras;
  } layers[] = {
      {"conv1.", "conv2d"},
      {"layer1.0.conv1.", "conv2d_1"},
      {"layer1.0.conv2.", "conv2d_2"},
      {"layer2.0.conv1.", "conv2d_3"},
      {"layer2.0.conv2.", "conv2d_4"},
      {"layer2.0.downsample.", "conv2d_5"},
      {"layer3.0.conv1.", "conv2d_6"},
      {"layer3.0.conv2.", "conv2d_7"},
      {"layer3.0.downsample.", "conv2d_8"},
      {"bn1.", "batch_normalization"},
      {"layer1.0.bn1.", "batch_normalization_1"},
      {"layer1.0.bn2.", "batch_normalization_2"},
      {"layer2.0.bn1.", "batch_normalization_3"},
      {"layer2.0.bn2.", "batch_normalization_4"},
      {"layer3.0.bn1.", "batch_normalization_5"},
      {"layer3.0.bn2.", "batch_normalization_6"},
      {"fc.", "dense"},
  };
  *form = IG_FORM_SAME;
  if (convention == 0) {
    snprintf(name, 256, "%s", param);
    return true;
  }
  for (size_t i = 0; convention == 1 && i < sizeof layers / sizeof *layers; i++) {
    size_t n = strlen(layers[i].ours);
    if (strncmp(param, layers[i].ours, n))
      continue;
    bool is_norm = !strncmp(layers[i].keras, "batch", 5);
    const char *leaf = param + n, *keras = NULL;
    if (!strcmp(leaf, "weight"))
      keras = is_norm ? "gamma" : "kernel";
    else if (!strcmp(leaf, "bias"))
      keras = is_norm ? "beta" : "bias";
    else if (!strcmp(leaf, "running_mean"))
      keras = "moving_mean";
    else if (!strcmp(leaf, "running_var"))
      keras = "moving_variance";
    if (!keras)
      return false;
    if (!strcmp(keras, "kernel"))
      *form = strncmp(layers[i].keras, "dense", 5) ? IG_FORM_HWIO : IG_FORM_TRANSPOSED;
    snprintf(name, 256, "%s/%s:0", layers[i].keras, keras);
    return true;
  }
  return false;
}

#define CIFAR(n)                                                                                  \
  const ig_model ig_model_resnet##n = {.name = "resnet" #n,                                       \
                                       .summary = "ResNet-" #n " for 32x32 pictures, shortcut A", \
                                       .family = "resnet_cifar",                                  \
                                       .variant = n,                                              \
                                       .default_size = 32,                                        \
                                       .mean = {123.675f, 116.28f, 103.53f},                      \
                                       .std = {58.395f, 57.12f, 57.375f},                         \
                                       .head = "linear.",                                         \
                                       .build = build_cifar}
CIFAR(20);
CIFAR(32);
CIFAR(44);
CIFAR(56);
CIFAR(110);

const ig_model ig_model_resnet8_mlperf = {.name = "resnet8_mlperf",
                                          .summary = "ResNet-8 of MLPerf Tiny for 32x32 pictures",
                                          .family = "resnet_cifar",
                                          .variant = 8,
                                          .default_size = 32,
                                          .mean = {0, 0, 0},
                                          .std = {1, 1, 1},
                                          .head = "fc.",
                                          .build = build_tiny,
                                          .foreign_name = keras_name};
