// A model family: a name, a builder and what its files call its tensors. Rule: a builder only calls op builders, reads
// like the paper, and knows neither device nor data.
#ifndef IG_MODELS_MODEL_H
#define IG_MODELS_MODEL_H

#include "runtime/graph/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

// What a text model ends in.
typedef enum ig_text_head {
  IG_TEXT_SEQUENCE,  // one row of outputs a sequence, from the pooled [CLS]
  IG_TEXT_TOKEN,     // one row of outputs a token
  IG_TEXT_PRETRAIN,  // masked tokens; and the pair's order where nsp
  IG_TEXT_MEAN,      // a vector a sequence: the mean of its last hidden states
  IG_TEXT_FIRST,     // a vector a sequence: the last hidden state of [CLS]
  IG_TEXT_POOLED,    // a vector a sequence: what the pooler makes of it
} ig_text_head;

// Texts as a graph takes them: ig_packed of runtime/data/loader.h. T rows, B sequences, P masked rows.
typedef struct ig_text_inputs {
  ig_tensor *ids, *types, *positions;  // i32 [T]
  ig_tensor *cu_seqlens;               // i32 [B + 1]
  ig_tensor *first;                    // i32 [B]
  ig_tensor *row_keys;                 // u64 [T]; training with dropout, else NULL
  ig_tensor *masked;                   // i32 [P]; IG_TEXT_PRETRAIN, else NULL
} ig_text_inputs;

// Results; what a head does not have is NULL.
typedef struct ig_text_outputs {
  ig_tensor *hidden;  // [T, D] last hidden state, compute dtype; of heads that read every row (TOKEN, MEAN)
  ig_tensor *pooled;  // [B, D] tanh of a linear layer on [CLS]
  ig_tensor *logits;  // fp32 [B, classes], or [T, classes] of IG_TEXT_TOKEN
  ig_tensor *nsp;     // fp32 [B, 2]
  // Masked rows after the transform [P, D], the decoder [V, D] and its bias [V]: logits are never whole (linear_xent).
  ig_tensor *masked_hidden, *decoder, *decoder_bias;
} ig_text_outputs;

typedef struct ig_model_config {
  size_t size;              // sizeof(ig_model_config)
  int classes;              // outputs of the head (classes, or regression targets)
  bool zero_init_residual;  // the last BatchNorm weight of each block starts at 0 (He et al. 2019, "bag of tricks")
  float dropout;            // training: probability that a feature does not reach the classifier
  ig_tensor *step_state;    // training with dropout: input u64 [IG_N_STEP_STATE] of the graph, else NULL
  ig_text_head text_head;
  bool nsp;  // IG_TEXT_PRETRAIN: two sentences, is the second the next
} ig_model_config;

// How a foreign file stores a tensor.
typedef enum ig_weight_form {
  IG_FORM_SAME = 0,
  IG_FORM_HWIO,        // convolution kernel [R,S,C,K]: becomes [K,C,R,S]
  IG_FORM_HWIO_BGR,    // the same of a network that takes blue first: it takes red first afterwards
  IG_FORM_TRANSPOSED,  // matrix [in,out]: becomes [out,in]
} ig_weight_form;

typedef struct ig_model {
  const char *name;       // value of model=
  const char *summary;    // one line
  const char *family;     // "resnet"
  int variant;            // the family's own: depth
  int default_size;       // picture side the published weights were trained at
  float mean[3], std[3];  // normalisation of pixels 0..255 the published weights expect
  const char *head;       // name prefix of the classifier, "fc.": replaced when the number of classes differs
  // x: pictures [N,H,W,3] in compute dtype, normalised. sample_weight: [N] fp32 or NULL. Returns logits [N, classes]
  // in fp32 (fp64 in tests); NULL when the graph has failed (ig_graph_status).
  ig_tensor *(*build)(const struct ig_model *m, ig_graph *g, const ig_model_config *c, ig_tensor *x,
                      ig_tensor *sample_weight);
  // Of models that read text, in place of build. spec: the family's own (sizes).
  ig_text_outputs (*build_text)(const struct ig_model *m, ig_graph *g, const ig_model_config *c,
                                const ig_text_inputs *in);
  const void *spec;
  // Name of `param` in naming convention `convention` (0 = public), written to `name`; false when there is no such
  // convention or no such name in it. NULL where only the public names exist.
  bool (*foreign_name)(const struct ig_model *m, int convention, const char *param, char name[256],
                       ig_weight_form *form);
  // Foreign names that files without metadata are known by: the first is there, the second is not. NULL: none.
  const char *sign, *no_sign;
} ig_model;

extern const ig_model *const ig_models[];  // all, terminated by NULL
// The model of that name. IG_ERR_USAGE with the nearest names where there is none.
ig_status ig_model_find(const char *name, const ig_model **out);

// The end of a classifier: global average, dropout, linear layer NAME (parameters NAME.weight, NAME.bias), fp32.
ig_tensor *ig_model_head(ig_graph *g, const char *name, const ig_model_config *c, ig_tensor *x);

// ---- the ResNet family, open for other widths and depths (tests, small devices) ----
typedef struct ig_resnet_spec {
  int blocks[4];        // blocks of each stage
  int widths[4];        // planes of each stage; torchvision: 64, 128, 256, 512
  int stem_width;       // channels after conv1
  bool bottleneck;      // expansion 4
  int groups;           // of the 3x3 in a bottleneck
  int width_per_group;  // 64, or 128 (wide), 4 (resnext 32x4d)
  bool keras;           // as keras.applications has it: stride on the first 1x1, biases, its BatchNorm's constants
} ig_resnet_spec;
ig_tensor *ig_resnet_build(ig_graph *g, const ig_resnet_spec *spec, const ig_model_config *c, ig_tensor *x,
                           ig_tensor *sample_weight);
// foreign_name of keras.applications' ResNets with these stages: 1 to 3 today's names with the classifier
// `predictions`, `probs` or `dense`; 4 those of before 2019 (res2a_branch2a); 5 counted by class (conv2d_7).
bool ig_resnet_keras_name(const int blocks[4], int convention, const char *param, char name[256], ig_weight_form *form);

#ifdef __cplusplus
}
#endif
#endif
