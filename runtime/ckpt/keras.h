// Weights that Keras wrote: .h5 of Keras 2 and 3 (weights or whole models), .weights.h5 and .keras. Rule: tensors get
// Keras 2's names, LAYER/VARIABLE:0, whatever the file calls them; a stored model is looked at and never evaluated.
#ifndef IG_CKPT_KERAS_H
#define IG_CKPT_KERAS_H

#include "runtime/ckpt/h5_foreign.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ig_keras ig_keras;

// Whether the bytes are an HDF5 file, or a zip archive with a Keras model's weights in it.
bool ig_keras_is(const void *data, size_t bytes);
// IG_ERR_FORMAT for what h5_foreign.h refuses, for a model with layers of code (Lambda, custom ones) and for two
// tensors of one name; IG_ERR_UNSUPPORTED for a compressed archive.
ig_status ig_keras_open(const char *path, ig_keras **out);
void ig_keras_close(ig_keras *k);  // NULL is fine

typedef struct ig_keras_tensor {
  char *name;                      // "conv1_conv/kernel:0"
  const ig_h5_foreign_item *item;  // shape, type, numbers
} ig_keras_tensor;
size_t ig_keras_count(const ig_keras *k);
const ig_keras_tensor *ig_keras_get(const ig_keras *k, size_t i);

#ifdef __cplusplus
}
#endif
#endif
