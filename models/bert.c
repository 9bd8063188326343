// BERT: embeddings, encoder, heads. Rule: rows are tokens of packed sequences; nothing here knows of padding.
#include "models/bert.h"

#include <stdio.h>
#include <string.h>

#include "kernels/attention/attention.h"
#include "kernels/bias_gelu/bias_gelu.h"
#include "kernels/dropout/dropout.h"
#include "kernels/eltwise/eltwise.h"
#include "kernels/embedding/embedding.h"
#include "kernels/layernorm/layernorm.h"
#include "kernels/linear/linear.h"
#include "kernels/reorder/reorder.h"
#include "kernels/rows/rows.h"
#include "kernels/shape_ops/shape_ops.h"

typedef struct builder {
  ig_graph *g;
  const ig_bert_spec *spec;
  const ig_model_config *config;
  const ig_text_inputs *in;
  ig_tensor *rows, *keys;  // i32 [R]: rows that the head reads, NULL: all; their keys for dropout, NULL without it
} builder;

static ig_tensor *param(const builder *b, const char *name, const char *part, ig_shape shape, ig_init init) {
  char full[160];
  snprintf(full, sizeof full, "%s%s", name, part);
  return ig_graph_param(b->g, full, shape, IG_PARAM_TRAINABLE, init);
}

static ig_init normal(const builder *b) { return (ig_init){IG_INIT_NORMAL, b->spec->init}; }

static ig_tensor *weight(const builder *b, const char *name, int64_t out, int64_t in) {
  return param(b, name, ".weight", IG_SHAPE2(out, in), normal(b));
}
static ig_tensor *bias(const builder *b, const char *name, int64_t out) {
  return param(b, name, ".bias", IG_SHAPE1(out), (ig_init){IG_INIT_ZERO, 0});
}

static ig_tensor *dense(const builder *b, const char *name, ig_tensor *x, int64_t out) {
  if (!x)
    return NULL;
  ig_tensor *w = weight(b, name, out, x->shape.d[1]);
  return ig_linear(b->g, name, x, w, bias(b, name, out));
}

static ig_tensor *gamma_of(const builder *b, const char *name) {
  return param(b, name, ".weight", IG_SHAPE1(b->spec->width), (ig_init){IG_INIT_ONE, 0});
}

static ig_tensor *layernorm(const builder *b, const char *name, ig_tensor *x) {
  ig_tensor *gamma = gamma_of(b, name);
  return ig_layernorm(b->g, name, x, gamma, bias(b, name, b->spec->width), (float)b->spec->eps);
}

static float dropout_of(const builder *b, double p) { return b->config->step_state ? (float)p : 0; }

// LayerNorm(residual + dropout(x)).
static ig_tensor *add_norm(const builder *b, const char *name, ig_tensor *x, ig_tensor *residual, ig_tensor *keys) {
  ig_tensor *gamma = gamma_of(b, name);
  return ig_dropout_add_layernorm(b->g, name, x, residual, gamma, bias(b, name, b->spec->width), (float)b->spec->eps,
                                  dropout_of(b, b->spec->dropout), b->config->step_state, keys);
}

// gelu(x W^T + b).
static ig_tensor *dense_gelu(const builder *b, const char *name, ig_tensor *x, int64_t out) {
  if (!x)
    return NULL;
  ig_tensor *w = weight(b, name, out, x->shape.d[1]), *shift = bias(b, name, out);
  return ig_bias_gelu(b->g, name, ig_linear(b->g, name, x, w, NULL), shift, b->spec->gelu_tanh);
}

static ig_tensor *embed(const builder *b, ig_tensor **words) {
  const ig_bert_spec *s = b->spec;
  ig_graph *g = b->g;
  ig_graph_scope(g, "bert.embeddings.");
  *words = weight(b, "word_embeddings", s->vocabulary, s->width);
  ig_tensor *x = ig_embedding(g, "word_embeddings", *words, b->in->ids, NULL);
  x = ig_embedding(g, "position_embeddings", weight(b, "position_embeddings", s->positions, s->width), b->in->positions,
                   x);
  x = ig_embedding(g, "token_type_embeddings", weight(b, "token_type_embeddings", s->types, s->width), b->in->types, x);
  x = layernorm(b, "LayerNorm", x);
  return b->config->step_state
             ? ig_dropout_rows(g, "dropout", x, (float)s->dropout, b->config->step_state, b->in->row_keys)
             : x;
}

// In the last layer the head reads some rows alone, and no row there depends on another's query: only those have one
// (zeros elsewhere), and only those go on behind attention.
static ig_tensor *layer(const builder *b, int i, ig_tensor *x) {
  const ig_bert_spec *s = b->spec;
  ig_tensor *rows = i == s->layers - 1 ? b->rows : NULL, *keys = rows ? b->keys : b->in->row_keys;
  ig_graph_scope(b->g, "bert.encoder.layer.%d.", i);
  ig_tensor *read = rows ? ig_gather_rows(b->g, "rows", x, rows) : x;
  ig_tensor *q = dense(b, "attention.self.query", read, s->width);
  if (q && rows)
    q = ig_gather_rows(b->g, "attention.queries", q, ig_row_places(b->g, "places", rows, x->shape.d[0]));
  ig_tensor *k = dense(b, "attention.self.key", x, s->width);
  ig_tensor *v = dense(b, "attention.self.value", x, s->width);
  const ig_attention_attr attr = {.heads = s->heads, .dropout = dropout_of(b, s->attention_dropout)};
  ig_tensor *a =
      ig_attention(b->g, "attention.self", q, k, v, b->in->cu_seqlens, &attr, b->config->step_state, b->in->row_keys);
  if (rows)
    a = ig_gather_rows(b->g, "attention.rows", a, rows);
  x = add_norm(b, "attention.output.LayerNorm", dense(b, "attention.output.dense", a, s->width), read, keys);
  ig_tensor *h = dense_gelu(b, "intermediate.dense", x, s->inner);
  return add_norm(b, "output.LayerNorm", dense(b, "output.dense", h, s->width), x, keys);
}

static bool reads_first(const ig_model_config *c) {
  return c->text_head == IG_TEXT_SEQUENCE || c->text_head == IG_TEXT_POOLED || c->text_head == IG_TEXT_FIRST ||
         (c->text_head == IG_TEXT_PRETRAIN && c->nsp);
}

// Sets rows and keys: each sequence's first token, masked tokens, or the former before the latter.
static void choose_rows(builder *b) {
  ig_graph *g = b->g;
  ig_tensor *first = reads_first(b->config) ? b->in->first : NULL,
            *masked = b->config->text_head == IG_TEXT_PRETRAIN ? b->in->masked : NULL;
  b->rows = first ? first : masked;
  if (first && masked)
    b->rows = ig_concat_c(g, "rows", 2, (ig_tensor *[]){first, masked});
  if (b->rows && b->in->row_keys) {
    ig_tensor *keys = ig_reshape(g, "row_keys", b->in->row_keys, IG_SHAPE2(-1, 1));
    b->keys = ig_reshape(g, "keys", ig_gather_rows(g, "keys_of_rows", keys, b->rows), IG_SHAPE1(-1));
  }
}

// Rows of x that `index` chose: the first ones of those that the head reads, or the last.
static ig_tensor *part(const builder *b, const char *name, ig_tensor *x, const ig_tensor *index, bool last) {
  if (!x || !b->rows || !index)  // the graph has failed, and says so
    return NULL;
  const int64_t all = b->rows->shape.d[0], n = index->shape.d[0];
  return n == all ? x : ig_slice(b->g, name, x, IG_SHAPE2(last ? all - n : 0, 0), IG_SHAPE2(n, -1));
}

// tanh of a linear layer on each sequence's first token.
static ig_tensor *pool(const builder *b, ig_tensor *x) {
  ig_graph_scope(b->g, "bert.pooler.");
  x = dense(b, "dense", part(b, "first", x, b->in->first, false), b->spec->width);
  return ig_tanh(b->g, "tanh", x);
}

static ig_tensor *classify(const builder *b, ig_tensor *x) {
  ig_graph_scope(b->g, "%s", "");
  if (!x)
    return NULL;
  double p = b->spec->classifier_dropout < 0 ? b->spec->dropout : b->spec->classifier_dropout;
  if (b->config->step_state)
    x = b->config->text_head == IG_TEXT_TOKEN
            ? ig_dropout_rows(b->g, "dropout", x, (float)p, b->config->step_state, b->in->row_keys)
            : ig_dropout(b->g, "dropout", x, (float)p, b->config->step_state);
  ig_tensor *w = weight(b, "classifier", b->config->classes, b->spec->width);
  return ig_linear_f32(b->g, "classifier", x, w, bias(b, "classifier", b->config->classes));
}

static void predict_masked(const builder *b, ig_tensor *words, ig_tensor *x, ig_text_outputs *out) {
  ig_graph_scope(b->g, "cls.predictions.");
  x = part(b, "masked", x, b->in->masked, true);
  out->masked_hidden = layernorm(b, "transform.LayerNorm", dense_gelu(b, "transform.dense", x, b->spec->width));
  out->decoder = b->spec->untied ? weight(b, "decoder", b->spec->vocabulary, b->spec->width) : words;
  out->decoder_bias = param(b, "bias", "", IG_SHAPE1(b->spec->vocabulary), (ig_init){IG_INIT_ZERO, 0});
  if (!b->config->nsp)
    return;
  ig_graph_scope(b->g, "cls.");
  ig_tensor *w = weight(b, "seq_relationship", 2, b->spec->width);
  out->nsp = ig_linear_f32(b->g, "seq_relationship", out->pooled, w, bias(b, "seq_relationship", 2));
}

static ig_text_outputs build(const ig_model *m, ig_graph *g, const ig_model_config *c, const ig_text_inputs *in) {
  builder b = {g, m->spec, c, in, NULL, NULL};
  ig_text_outputs out = {0};
  ig_tensor *words, *x = embed(&b, &words);
  choose_rows(&b);
  for (int i = 0; i < b.spec->layers; i++)
    x = layer(&b, i, x);
  out.hidden = b.rows ? NULL : x;
  if (reads_first(c) && c->text_head != IG_TEXT_FIRST)
    out.pooled = pool(&b, x);
  if (c->text_head == IG_TEXT_SEQUENCE)
    out.logits = classify(&b, out.pooled);
  else if (c->text_head == IG_TEXT_TOKEN)
    out.logits = classify(&b, x);
  else if (c->text_head == IG_TEXT_MEAN)
    out.logits = ig_segment_mean(g, "mean", x, in->cu_seqlens);
  else if (c->text_head == IG_TEXT_POOLED)
    out.logits = ig_reorder(g, "vector", out.pooled, IG_F32);
  else if (c->text_head == IG_TEXT_FIRST)
    out.logits = ig_reorder(g, "vector", x, IG_F32);
  else if (c->text_head == IG_TEXT_PRETRAIN)
    predict_masked(&b, words, x, &out);
  ig_graph_scope(g, "%s", "");
  return out;
}

// ---- names ----

static bool replace(char name[256], const char *what, const char *with) {
  char *at = strstr(name, what), rest[256];
  if (!at)
    return false;
  snprintf(rest, sizeof rest, "%s", at + strlen(what));
  snprintf(at, (size_t)(name + 256 - at), "%s%s", with, rest);
  return true;
}

// Bits of a convention's number: 1 without "bert.", 2 LayerNorm.gamma and .beta (before 2019), 4 NVIDIA's dense_act.
static bool foreign_name(const ig_model *m, int convention, const char *param, char name[256], ig_weight_form *form) {
  *form = IG_FORM_SAME;
  if (convention > 7)
    return false;
  snprintf(name, 256, "%s", param);
  if (convention & 1 && !strncmp(name, "bert.", 5))
    memmove(name, name + 5, strlen(name + 5) + 1);
  if (convention & 2 && !replace(name, "LayerNorm.weight", "LayerNorm.gamma"))
    (void)replace(name, "LayerNorm.bias", "LayerNorm.beta");
  if (convention & 4)
    (void)(replace(name, "intermediate.dense.", "intermediate.dense_act.") ||
           replace(name, "pooler.dense.", "pooler.dense_act.") ||
           replace(name, "transform.dense.", "transform.dense_act."));
  return true;
}

#define BERT(id, label, text, n_layers, n_width)                   \
  static const ig_bert_spec id##_spec = {.vocabulary = 30522,      \
                                         .width = n_width,         \
                                         .layers = n_layers,       \
                                         .heads = n_width / 64,    \
                                         .inner = 4 * n_width,     \
                                         .positions = 512,         \
                                         .types = 2,               \
                                         .eps = 1e-12,             \
                                         .dropout = 0.1,           \
                                         .attention_dropout = 0.1, \
                                         .classifier_dropout = -1, \
                                         .init = 0.02};            \
  const ig_model ig_model_##id = {.name = label,                   \
                                  .summary = text,                 \
                                  .family = "bert",                \
                                  .head = "classifier.",           \
                                  .build_text = build,             \
                                  .foreign_name = foreign_name,    \
                                  .spec = &id##_spec}

BERT(bert_tiny, "bert_tiny", "BERT of 2 layers, width 128: 4.4 M parameters", 2, 128);
BERT(bert_mini, "bert_mini", "BERT of 4 layers, width 256: 11.2 M parameters", 4, 256);
BERT(bert_small, "bert_small", "BERT of 4 layers, width 512: 28.8 M parameters", 4, 512);
BERT(bert_base, "bert_base", "BERT-base, 12 layers, width 768: 109.5 M parameters", 12, 768);
BERT(bert_large, "bert_large", "BERT-large, 24 layers, width 1024: 335.1 M parameters", 24, 1024);

void ig_bert_model_init(const ig_model *preset, int64_t vocabulary, ig_bert_model *out) {
  out->model = *preset;
  out->spec = *(const ig_bert_spec *)preset->spec;
  if (vocabulary > 0)
    out->spec.vocabulary = vocabulary;
  out->model.spec = &out->spec;
}
