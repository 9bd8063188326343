// What Keras's files call the tensors of its ResNets. Rule: names and forms only; the network is resnet.c's.
#include <stdio.h>
#include <string.h>

#include "models/model.h"

enum { TODAY = 1, PROBS, DENSE, OLD, COUNTED };

// A layer of ours: where it stands, and what follows it in the name ("weight").
typedef struct place {
  int stage, block;  // from 0; stage -1: before them
  int conv;          // 1 to 3 on the main branch, 0 the shortcut
  bool norm;
  const char *leaf;
} place;

static bool parse(const char *param, place *out) {
  int stage, block, conv, n = 0;
  *out = (place){.stage = -1};
  if (!strncmp(param, "conv1.", 6) || !strncmp(param, "bn1.", 4)) {
    out->norm = *param == 'b';
    out->leaf = strchr(param, '.') + 1;
    return true;
  }
  if (sscanf(param, "layer%d.%d.%n", &stage, &block, &n) != 2 || !n)
    return false;
  out->stage = stage - 1;
  out->block = block;
  param += n;
  out->norm = !strncmp(param, "bn", 2) || !strncmp(param, "downsample.1", 12);
  n = 0;
  if (!strncmp(param, "downsample.", 11))
    n = 13;
  else if (sscanf(param, out->norm ? "bn%d.%n" : "conv%d.%n", &conv, &n) == 1 && n)
    out->conv = conv;
  out->leaf = param + n;
  return n > 0;
}

// Keras numbers layers of a class as the network lists them; a block lists its shortcut before its third convolution.
static int count_of(const int blocks[4], const place *p) {
  int n = 1;
  if (p->stage < 0)
    return 0;
  for (int s = 0; s < p->stage; s++)
    n += 3 * blocks[s] + 1;
  n += 3 * p->block + (p->block > 0);
  return n + (p->conv == 0 ? 2 : p->conv < 3 ? p->conv - 1 : p->block == 0 ? 3 : 2);
}

static bool layer_name(const int blocks[4], int convention, const place *p, char name[128]) {
  const char *kind = p->norm ? "bn" : "conv";
  char branch[16];
  int number = convention == COUNTED ? count_of(blocks, p) : 0;
  if (convention == COUNTED && number == 0)
    snprintf(name, 128, "%s", p->norm ? "batch_normalization" : "conv2d");
  else if (convention == COUNTED)
    snprintf(name, 128, "%s_%d", p->norm ? "batch_normalization" : "conv2d", number);
  else if (convention == OLD && p->stage < 0)
    snprintf(name, 128, "%s", p->norm ? "bn_conv1" : "conv1");
  else if (convention == OLD) {
    if (p->block >= 26)
      return false;
    snprintf(branch, sizeof branch, "2%c", 'a' + p->conv - 1);
    snprintf(name, 128, "%s%d%c_branch%s", p->norm ? "bn" : "res", p->stage + 2, 'a' + p->block,
             p->conv ? branch : "1");
  } else if (p->stage < 0)
    snprintf(name, 128, "conv1_%s", kind);
  else
    snprintf(name, 128, "conv%d_block%d_%d_%s", p->stage + 2, p->block + 1, p->conv, kind);
  return true;
}

bool ig_resnet_keras_name(const int blocks[4], int convention, const char *param, char name[256],
                          ig_weight_form *form) {
  static const char *const heads[] = {[TODAY] = "predictions", "probs", "dense", "fc1000", "dense"};
  char layer[128];
  const char *variable = NULL;
  place p;
  *form = IG_FORM_SAME;
  if (convention < TODAY || convention > COUNTED) {
    snprintf(name, 256, "%s", param);
    return convention == 0;
  }
  bool head = !strncmp(param, "fc.", 3);
  if (head) {
    snprintf(layer, sizeof layer, "%s", heads[convention]);
    p = (place){.leaf = param + 3};
  } else if (!parse(param, &p) || !layer_name(blocks, convention, &p, layer)) {
    return false;
  }
  if (!strcmp(p.leaf, "weight"))
    variable = p.norm ? "gamma" : "kernel";
  else if (!strcmp(p.leaf, "bias"))
    variable = p.norm ? "beta" : "bias";
  else if (!strcmp(p.leaf, "running_mean"))
    variable = "moving_mean";
  else if (!strcmp(p.leaf, "running_var"))
    variable = "moving_variance";
  if (!variable)
    return false;
  if (!strcmp(variable, "kernel"))
    *form = head ? IG_FORM_TRANSPOSED : p.stage < 0 ? IG_FORM_HWIO_BGR : IG_FORM_HWIO;
  snprintf(name, 256, "%s/%s:0", layer, variable);
  return true;
}
