// config.json of Hugging Face and back. Rule: a field that would change the answers and is not understood is refused by
// name; fields that only tell how to train or to load are passed over.
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "models/bert.h"
#include "runtime/base/text.h"

typedef struct reader {
  const json_t *config;
  const char *where;
} reader;

static ig_status whole(const reader *r, const char *field, int64_t least, int64_t most, int64_t *out) {
  const json_t *v = json_object_get(r->config, field);
  if (!v)
    return ig_fail(IG_ERR_FORMAT, "%s: the field %s is missing", r->where, field);
  *out = json_integer_value(v);
  if (json_is_integer(v) && *out >= least && *out <= most)
    return IG_OK;
  return ig_fail(IG_ERR_FORMAT, "%s: %s: a whole number of %lld to %lld expected, %s found", r->where, field,
                 (long long)least, (long long)most, json_is_integer(v) ? "another" : "no whole number");
}

static ig_status size_field(const reader *r, const char *field, int64_t most, int *out) {
  int64_t n = 0;
  IG_TRY(whole(r, field, 1, most, &n));
  *out = (int)n;
  return IG_OK;
}

// Absent or null: *out stays.
static ig_status number(const reader *r, const char *field, double least, double most, double *out) {
  const json_t *v = json_object_get(r->config, field);
  if (!v || json_is_null(v))
    return IG_OK;
  const double x = json_number_value(v);
  if (!json_is_number(v) || !(x >= least && x <= most))
    return ig_fail(IG_ERR_FORMAT, "%s: %s: a number of %g to %g expected", r->where, field, least, most);
  *out = x;
  return IG_OK;
}

static ig_status check_kind(const reader *r) {
  static const struct {
    const char *field, *text;  // text NULL: a boolean that must be false
  } fixed[] = {{"model_type", "bert"},
               {"position_embedding_type", "absolute"},
               {"is_decoder", NULL},
               {"add_cross_attention", NULL}};
  for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) {
    const json_t *v = json_object_get(r->config, fixed[i].field);
    const char *text = json_string_value(v), *want = fixed[i].text;
    char quoted[IG_QUOTE_BYTES];
    if (!v || json_is_null(v) || (want ? text && !strcmp(text, want) : json_is_false(v)))
      continue;
    return ig_fail(IG_ERR_UNSUPPORTED, "%s: %s is %s; only %s is built", r->where, fixed[i].field,
                   text ? ig_quote(quoted, text) : "another value", want ? want : "false");
  }
  return IG_OK;
}

static ig_status activation(const reader *r, bool *tanh_form) {
  const json_t *v = json_object_get(r->config, "hidden_act");
  const char *name = json_string_value(v);
  char quoted[IG_QUOTE_BYTES];
  *tanh_form = false;
  if (!v || (name && !strcmp(name, "gelu")))
    return IG_OK;
  *tanh_form = name && (!strcmp(name, "gelu_new") || !strcmp(name, "gelu_pytorch_tanh"));
  if (*tanh_form)
    return IG_OK;
  return ig_fail(IG_ERR_UNSUPPORTED, "%s: hidden_act is %s; gelu, gelu_new and gelu_pytorch_tanh are built", r->where,
                 name ? ig_quote(quoted, name) : "no text");
}

// {"0": "a", "1": "b"} as ["a", "b"].
static ig_status labels_of(const reader *r, json_t **out) {
  const json_t *map = json_object_get(r->config, "id2label");
  *out = NULL;
  if (!map || json_is_null(map))
    return IG_OK;
  if (!json_is_object(map))
    return ig_fail(IG_ERR_FORMAT,
                   "%s: id2label: an object of numbers with their names expected, such as {\"0\": \"no\"}", r->where);
  if (json_object_size(map) == 0)
    return IG_OK;
  json_t *list = json_array();
  for (size_t i = 0; list && i < json_object_size(map); i++) {
    char key[24];
    snprintf(key, sizeof key, "%zu", i);
    const char *name = json_string_value(json_object_get(map, key));
    if (!name) {
      json_decref(list);
      return ig_fail(IG_ERR_FORMAT, "%s: id2label: a text for number %zu expected", r->where, i);
    }
    json_array_append_new(list, json_string(name));
  }
  *out = list;
  return list ? IG_OK : ig_fail(IG_ERR_MEMORY, "%s: out of memory", r->where);
}

static ig_status read_spec(const reader *r, ig_bert_spec *s) {
  int64_t pad = 0;
  *s = (ig_bert_spec){.eps = 1e-12, .dropout = 0.1, .attention_dropout = 0.1, .classifier_dropout = -1, .init = 0.02};
  IG_TRY(check_kind(r));
  IG_TRY(whole(r, "vocab_size", 1, INT_MAX / 2, &s->vocabulary));
  IG_TRY(size_field(r, "hidden_size", 1 << 16, &s->width));
  IG_TRY(size_field(r, "num_hidden_layers", 1 << 10, &s->layers));
  IG_TRY(size_field(r, "num_attention_heads", 1 << 10, &s->heads));
  IG_TRY(size_field(r, "intermediate_size", 1 << 18, &s->inner));
  IG_TRY(size_field(r, "max_position_embeddings", 1 << 20, &s->positions));
  IG_TRY(size_field(r, "type_vocab_size", 1 << 10, &s->types));
  if (s->width % s->heads)
    return ig_fail(IG_ERR_FORMAT, "%s: hidden_size %d is not divisible by num_attention_heads %d", r->where, s->width,
                   s->heads);
  IG_TRY(activation(r, &s->gelu_tanh));
  IG_TRY(number(r, "layer_norm_eps", 0, 1, &s->eps));
  IG_TRY(number(r, "hidden_dropout_prob", 0, 1, &s->dropout));
  IG_TRY(number(r, "attention_probs_dropout_prob", 0, 1, &s->attention_dropout));
  IG_TRY(number(r, "classifier_dropout", 0, 1, &s->classifier_dropout));
  IG_TRY(number(r, "initializer_range", 0, 10, &s->init));
  if (json_is_integer(json_object_get(r->config, "pad_token_id")))
    IG_TRY(whole(r, "pad_token_id", 0, s->vocabulary - 1, &pad));
  s->pad = (int)pad;
  s->untied = json_is_false(json_object_get(r->config, "tie_word_embeddings"));
  return IG_OK;
}

ig_status ig_bert_config_parse(const char *text, size_t n, const char *where, ig_bert_model *out, json_t **labels) {
  extern const ig_model ig_model_bert_base;
  json_error_t error;
  json_t *config = json_loadb(text, n, JSON_REJECT_DUPLICATES, &error);
  const reader r = {config, where};
  ig_status status = IG_OK;
  if (labels)
    *labels = NULL;
  if (!json_is_object(config))
    IG_GOTO(ig_fail(IG_ERR_FORMAT, "%s:%d:%d: %s", where, config ? 1 : error.line, config ? 1 : error.column,
                    config ? "an object is expected" : error.text));
  ig_bert_model_init(&ig_model_bert_base, 0, out);
  out->model.name = "bert";
  out->model.summary = "BERT of a config.json";
  IG_GOTO(read_spec(&r, &out->spec));
  if (labels)
    IG_GOTO(labels_of(&r, labels));
done:
  json_decref(config);
  return status;
}

static json_t *label_maps(json_t *config, const json_t *labels) {
  json_t *names = json_object(), *numbers = json_object();
  for (size_t i = 0; i < json_array_size(labels); i++) {
    char key[24];
    const char *name = json_string_value(json_array_get(labels, i));
    snprintf(key, sizeof key, "%zu", i);
    json_object_set_new(names, key, json_string(name));
    json_object_set_new(numbers, name, json_integer((json_int_t)i));
  }
  json_object_set_new(config, "id2label", names);
  json_object_set_new(config, "label2id", numbers);
  return config;
}

json_t *ig_bert_config_json(const ig_bert_spec *s, const char *architecture, const json_t *labels, const char *task) {
  json_t *c = json_pack("{s:[s], s:s, s:I, s:i, s:i, s:i, s:i, s:i, s:i, s:s, s:f, s:f, s:f, s:f, s:i, s:b}",
                        "architectures", architecture, "model_type", "bert", "vocab_size", (json_int_t)s->vocabulary,
                        "hidden_size", s->width, "num_hidden_layers", s->layers, "num_attention_heads", s->heads,
                        "intermediate_size", s->inner, "max_position_embeddings", s->positions, "type_vocab_size",
                        s->types, "hidden_act", s->gelu_tanh ? "gelu_new" : "gelu", "layer_norm_eps", s->eps,
                        "hidden_dropout_prob", s->dropout, "attention_probs_dropout_prob", s->attention_dropout,
                        "initializer_range", s->init, "pad_token_id", s->pad, "tie_word_embeddings", !s->untied);
  if (!c)
    return NULL;
  if (s->classifier_dropout >= 0)
    json_object_set_new(c, "classifier_dropout", json_real(s->classifier_dropout));
  if (task)
    json_object_set_new(c, "problem_type", json_string(task));
  return labels ? label_maps(c, labels) : c;
}
