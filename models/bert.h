// BERT (Devlin et al. 2018) over packed texts: sizes, config.json, builder. Rule: parameters have Hugging Face's names
// and shapes, so that its state dicts load as they are.
#ifndef IG_MODELS_BERT_H
#define IG_MODELS_BERT_H

#include <jansson.h>

#include "models/model.h"

#ifdef __cplusplus
extern "C" {
#endif

// Fields of config.json.
typedef struct ig_bert_spec {
  int64_t vocabulary;         // vocab_size
  int width, layers, heads;   // hidden_size, num_hidden_layers, num_attention_heads
  int inner;                  // intermediate_size
  int positions, types;       // max_position_embeddings, type_vocab_size
  bool gelu_tanh;             // hidden_act gelu_new, gelu_pytorch_tanh; else gelu (erf)
  double eps;                 // layer_norm_eps
  double dropout;             // hidden_dropout_prob
  double attention_dropout;   // attention_probs_dropout_prob
  double classifier_dropout;  // classifier_dropout; < 0: as dropout
  double init;                // initializer_range
  int pad;                    // pad_token_id
  bool untied;                // tie_word_embeddings false: cls.predictions.decoder.weight is a matrix of its own
} ig_bert_spec;

// A model with sizes of its own: model.spec points at spec. Not to be moved; no memory of its own.
typedef struct ig_bert_model {
  ig_model model;
  ig_bert_spec spec;
} ig_bert_model;

// One of the presets (bert_tiny ... bert_large) with a vocabulary of its own; 0 = the preset's.
void ig_bert_model_init(const ig_model *preset, int64_t vocabulary, ig_bert_model *out);
// From the text of a config.json; where: names it in messages. model.name is "bert". *labels (may be NULL): array of
// the names in id2label in order of their numbers, json_decref; NULL where there are none. IG_ERR_FORMAT names the
// field, what was found and what is expected; IG_ERR_UNSUPPORTED for another model_type and for variants that are not
// built (relative positions, decoders, other activations).
ig_status ig_bert_config_parse(const char *text, size_t n, const char *where, ig_bert_model *out, json_t **labels);
// The same fields as a config.json that Hugging Face takes; architecture: BertForSequenceClassification, say; labels as
// above or NULL; task: value of problem_type or NULL. NULL: no memory.
json_t *ig_bert_config_json(const ig_bert_spec *spec, const char *architecture, const json_t *labels, const char *task);

#ifdef __cplusplus
}
#endif
#endif
