// The list of models, and finding one by name.
#include <string.h>

#include "models/model.h"
#include "runtime/base/text.h"

#define EACH_MODEL(X) \
  X(resnet18)         \
  X(resnet34)         \
  X(resnet50)         \
  X(resnet101)        \
  X(resnet152)        \
  X(wide_resnet50_2)  \
  X(resnext50_32x4d)  \
  X(resnet20)         \
  X(resnet32)         \
  X(resnet44)         \
  X(resnet56)         \
  X(resnet110)        \
  X(resnet8_mlperf)   \
  X(vgg11)            \
  X(vgg13)            \
  X(vgg16)            \
  X(vgg19)            \
  X(vgg11_bn)         \
  X(vgg13_bn)         \
  X(vgg16_bn)         \
  X(vgg19_bn)         \
  X(resnet50_keras)   \
  X(resnet101_keras) X(resnet152_keras) X(bert_tiny) X(bert_mini) X(bert_small) X(bert_base) X(bert_large)

#define DECLARE(id) extern const ig_model ig_model_##id;
EACH_MODEL(DECLARE)
#define ADDRESS(id) &ig_model_##id,
const ig_model *const ig_models[] = {EACH_MODEL(ADDRESS) NULL};

ig_status ig_model_find(const char *name, const ig_model **out) {
  const char *names[sizeof ig_models / sizeof *ig_models];
  size_t n = 0;
  for (; ig_models[n]; n++) {
    names[n] = ig_models[n]->name;
    if (!strcmp(names[n], name)) {
      *out = ig_models[n];
      return IG_OK;
    }
  }
  char quoted[IG_QUOTE_BYTES], nearest[IG_NEAREST_BYTES];
  return ig_fail(IG_ERR_USAGE, "model=%s: there is no such model%s (all models: ingot help)", ig_quote(quoted, name),
                 ig_nearest(nearest, name, names, n));
}
