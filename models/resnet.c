// ResNet for photographs (He et al. 2015, v1.5: stride on the 3x3), Wide ResNet, ResNeXt, and keras.applications'
// ResNet (v1: stride on the first 1x1). Names and shapes are torchvision's, so that its state dicts load as they are.
#include <stdio.h>
#include <string.h>

#include "kernels/batchnorm/batchnorm.h"
#include "kernels/conv2d/conv2d.h"
#include "kernels/pool2d/pool2d.h"
#include "models/model.h"

// Weights of a k x k convolution start as N(0, 2 / fan_out). BatchNorm follows: only Keras has a bias all the same.
static ig_tensor *conv(ig_graph *g, const ig_resnet_spec *s, const char *name, ig_tensor *x, int out, int k, int stride,
                       int groups) {
  if (!x)
    return NULL;
  char weight[64], bias[64];
  snprintf(weight, sizeof weight, "%s.weight", name);
  snprintf(bias, sizeof bias, "%s.bias", name);
  ig_tensor *w = ig_graph_param(g, weight, IG_SHAPE4(out, x->shape.d[3] / groups, k, k), IG_PARAM_TRAINABLE,
                                (ig_init){IG_INIT_KAIMING_FAN_OUT, 0});
  ig_tensor *b =
      s->keras ? ig_graph_param(g, bias, IG_SHAPE1(out), IG_PARAM_TRAINABLE, (ig_init){IG_INIT_ZERO, 0}) : NULL;
  const int p = k / 2;
  return ig_conv2d(g, name, x, w, b,
                   &(ig_conv2d_attr){.stride_h = stride,
                                     .stride_w = stride,
                                     .pad_top = p,
                                     .pad_left = p,
                                     .pad_bottom = p,
                                     .pad_right = p,
                                     .groups = groups});
}

static ig_tensor *norm(ig_graph *g, const ig_resnet_spec *s, const char *name, ig_tensor *x, ig_tensor *residual,
                       bool relu, ig_tensor *sample_weight) {
  return ig_batchnorm(
      g, name, x, residual, sample_weight,
      &(ig_batchnorm_attr){.eps = s->keras ? 1.001e-5f : 1e-5f, .momentum = s->keras ? 0.01f : 0.1f, .relu = relu});
}

// The identity, or a strided 1x1 convolution where the shape changes.
static ig_tensor *shortcut(ig_graph *g, const ig_resnet_spec *s, ig_tensor *x, int out, int stride, ig_tensor *sw) {
  if (!x || (stride == 1 && x->shape.d[3] == out))
    return x;
  return norm(g, s, "downsample.1", conv(g, s, "downsample.0", x, out, 1, stride, 1), NULL, false, sw);
}

static ig_tensor *basic_block(ig_graph *g, const ig_resnet_spec *s, ig_tensor *x, int width, int stride,
                              ig_tensor *sw) {
  ig_tensor *y = norm(g, s, "bn1", conv(g, s, "conv1", x, width, 3, stride, 1), NULL, true, sw);
  y = conv(g, s, "conv2", y, width, 3, 1, 1);
  return norm(g, s, "bn2", y, shortcut(g, s, x, width, stride, sw), true, sw);
}

static ig_tensor *bottleneck_block(ig_graph *g, const ig_resnet_spec *s, ig_tensor *x, int width, int stride,
                                   ig_tensor *sw) {
  int inner = width * s->width_per_group / 64 * s->groups, out = 4 * width, first = s->keras ? stride : 1;
  ig_tensor *y = norm(g, s, "bn1", conv(g, s, "conv1", x, inner, 1, first, 1), NULL, true, sw);
  y = norm(g, s, "bn2", conv(g, s, "conv2", y, inner, 3, stride / first, s->groups), NULL, true, sw);
  y = conv(g, s, "conv3", y, out, 1, 1, 1);
  return norm(g, s, "bn3", y, shortcut(g, s, x, out, stride, sw), true, sw);
}

ig_tensor *ig_resnet_build(ig_graph *g, const ig_resnet_spec *s, const ig_model_config *c, ig_tensor *x,
                           ig_tensor *sw) {
  ig_graph_scope(g, "%s", "");
  x = norm(g, s, "bn1", conv(g, s, "conv1", x, s->stem_width, 7, 2, 1), NULL, true, sw);
  // Keras pads with zeros here. After a ReLU that is the same as padding with nothing.
  x = ig_maxpool2d(g, "maxpool", x,
                   &(ig_pool2d_attr){.kernel_h = 3,
                                     .kernel_w = 3,
                                     .stride_h = 2,
                                     .stride_w = 2,
                                     .pad_top = 1,
                                     .pad_left = 1,
                                     .pad_bottom = 1,
                                     .pad_right = 1});
  for (int stage = 0; stage < 4; stage++)
    for (int i = 0; i < s->blocks[stage]; i++) {
      int stride = i == 0 && stage > 0 ? 2 : 1;
      ig_graph_scope(g, "layer%d.%d.", stage + 1, i);
      x = s->bottleneck ? bottleneck_block(g, s, x, s->widths[stage], stride, sw)
                        : basic_block(g, s, x, s->widths[stage], stride, sw);
    }
  ig_graph_scope(g, "%s", "");
  x = ig_model_head(g, "fc", c, x);
  if (c->zero_init_residual && x)
    for (size_t i = 0; i < g->options.params->n; i++) {
      ig_param *p = g->options.params->items[i];
      const char *last = s->bottleneck ? "bn3.weight" : "bn2.weight";
      size_t n = strlen(p->name), m = strlen(last);
      if (n > m && !strncmp(p->name, "layer", 5) && !strcmp(p->name + n - m, last))
        p->init = (ig_init){IG_INIT_ZERO, 0};
    }
  return x;
}

enum { KERAS = 10000 };  // added to the depth

static const struct {
  int variant;
  ig_resnet_spec spec;
} specs[] = {
    {18, {{2, 2, 2, 2}, {64, 128, 256, 512}, 64, false, 1, 64, false}},
    {34, {{3, 4, 6, 3}, {64, 128, 256, 512}, 64, false, 1, 64, false}},
    {50, {{3, 4, 6, 3}, {64, 128, 256, 512}, 64, true, 1, 64, false}},
    {101, {{3, 4, 23, 3}, {64, 128, 256, 512}, 64, true, 1, 64, false}},
    {152, {{3, 8, 36, 3}, {64, 128, 256, 512}, 64, true, 1, 64, false}},
    {502, {{3, 4, 6, 3}, {64, 128, 256, 512}, 64, true, 1, 128, false}},
    {5032, {{3, 4, 6, 3}, {64, 128, 256, 512}, 64, true, 32, 4, false}},
    {KERAS + 50, {{3, 4, 6, 3}, {64, 128, 256, 512}, 64, true, 1, 64, true}},
    {KERAS + 101, {{3, 4, 23, 3}, {64, 128, 256, 512}, 64, true, 1, 64, true}},
    {KERAS + 152, {{3, 8, 36, 3}, {64, 128, 256, 512}, 64, true, 1, 64, true}},
};

static const ig_resnet_spec *spec_of(const ig_model *m) {
  size_t i = 0;
  while (specs[i].variant != m->variant)
    i++;
  return &specs[i].spec;
}

static ig_tensor *build(const ig_model *m, ig_graph *g, const ig_model_config *c, ig_tensor *x, ig_tensor *sw) {
  return ig_resnet_build(g, spec_of(m), c, x, sw);
}

static bool keras_name(const ig_model *m, int convention, const char *param, char name[256], ig_weight_form *form) {
  return ig_resnet_keras_name(spec_of(m)->blocks, convention, param, name, form);
}

#define IMAGENET .default_size = 224, .mean = {123.675f, 116.28f, 103.53f}, .std = {58.395f, 57.12f, 57.375f}
#define RESNET(id, label, number, text) \
  const ig_model id = {                 \
      .name = label, .summary = text, .family = "resnet", .variant = number, IMAGENET, .head = "fc.", .build = build}

RESNET(ig_model_resnet18, "resnet18", 18, "ResNet-18, 11.7 M parameters");
RESNET(ig_model_resnet34, "resnet34", 34, "ResNet-34, 21.8 M parameters");
RESNET(ig_model_resnet50, "resnet50", 50, "ResNet-50 v1.5, 25.6 M parameters");
RESNET(ig_model_resnet101, "resnet101", 101, "ResNet-101 v1.5, 44.5 M parameters");
RESNET(ig_model_resnet152, "resnet152", 152, "ResNet-152 v1.5, 60.2 M parameters");
RESNET(ig_model_wide_resnet50_2, "wide_resnet50_2", 502, "Wide ResNet-50-2, 68.9 M parameters");
RESNET(ig_model_resnext50_32x4d, "resnext50_32x4d", 5032, "ResNeXt-50 32x4d, 25.0 M parameters");

// Pixels 0 to 255 less a mean. (Keras writes blue first; loading turns the first kernel round.)
#define RESNET_KERAS(id, label, depth, text, block, next)              \
  const ig_model id = {.name = label,                                  \
                       .summary = text,                                \
                       .family = "resnet",                             \
                       .variant = KERAS + depth,                       \
                       .default_size = 224,                            \
                       .mean = {123.68f, 116.779f, 103.939f},          \
                       .std = {1, 1, 1},                               \
                       .head = "fc.",                                  \
                       .build = build,                                 \
                       .foreign_name = keras_name,                     \
                       .sign = "conv4_block" block "_1_conv/kernel:0", \
                       .no_sign = "conv4_block" next "_1_conv/kernel:0"}

RESNET_KERAS(ig_model_resnet50_keras, "resnet50_keras", 50, "keras.applications' ResNet50, 25.6 M parameters", "6",
             "7");
RESNET_KERAS(ig_model_resnet101_keras, "resnet101_keras", 101, "keras.applications' ResNet101, 44.7 M parameters", "23",
             "24");
RESNET_KERAS(ig_model_resnet152_keras, "resnet152_keras", 152, "keras.applications' ResNet152, 60.4 M parameters", "36",
             "37");
