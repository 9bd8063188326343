// A file of weights as a list of named tensors, whatever it is. Internal to weights*.c. Rule: what a file is, is
// decided by its content; nothing is converted before it was looked up by name.
#ifndef IG_TRAIN_WEIGHTS_SOURCE_H
#define IG_TRAIN_WEIGHTS_SOURCE_H

#include "models/model.h"
#include "runtime/ckpt/checkpoint.h"
#include "runtime/ckpt/keras.h"
#include "runtime/ckpt/safetensors.h"

typedef struct ig_weight_entry {
  const char *name;
  const char *group;  // of a checkpoint, else NULL
  const char *dtype;  // as the file calls it
  bool is_float;      // F32 F64 F16 BF16: what weights may be stored as
  bool is_f32;
  ig_dtype type;  // where is_float
  int n_dims;
  const int64_t *dims;
  int64_t n;                   // elements
  const ig_st_tensor *tensor;  // of a .safetensors file, else NULL
  const void *data;            // of a Keras file, else NULL
} ig_weight_entry;

typedef struct ig_weight_source {
  char *path;  // of the file or step-N folder that was found
  ig_st *st;   // one of the three
  ig_ckpt_reader *ckpt;
  ig_keras *keras;
  ig_weight_entry *items;  // sorted by name
  const char **names;      // [n]: theirs
  size_t n;
  bool has_ema;
} ig_weight_source;

// path: a run folder, a step-N folder or a file. ema: of checkpoints, averages stand for the weights where they exist.
ig_status ig_weight_source_open(const char *path, bool ema, ig_weight_source *out);
void ig_weight_source_close(ig_weight_source *s);
const ig_weight_entry *ig_weight_source_find(const ig_weight_source *s, const char *name);  // NULL where absent
// All elements as fp32.
ig_status ig_weight_source_read(const ig_weight_source *s, const ig_weight_entry *e, float *dst);

// The same shape and the same bytes; false for what only a checkpoint holds.
bool ig_weight_source_equal(const ig_weight_source *s, const ig_weight_entry *a, const ig_weight_entry *b);

// What a file calls a parameter: prefix + the model's name in a convention.
typedef struct ig_weight_naming {
  const char *prefix;
  int convention;
} ig_weight_naming;
enum { IG_WEIGHT_PREFIXES = 2, IG_WEIGHT_NAME_BYTES = 320 };
extern const char *const ig_weight_prefixes[IG_WEIGHT_PREFIXES];
// False where the convention does not exist or has no such name.
bool ig_weight_name(const ig_model *model, ig_weight_naming naming, const char *param, char name[IG_WEIGHT_NAME_BYTES],
                    ig_weight_form *form);

#endif
