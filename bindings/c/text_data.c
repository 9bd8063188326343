// The data of a model: opened by keys, made ready for it, and keys that belong to other data refused. Rule: what a key
// asks for is done or refused, never passed over.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bindings/c/options.h"
#include "runtime/data/mlm.h"

// A key that was given, and not as its default.
static bool is_given(const ig_config *k, const char *name) {
  const ig_key *key = NULL;
  for (size_t i = 0; i < ig_keys.n_keys && !key; i++)
    if (!strcmp(ig_keys.keys[i].name, name) && ig_config_known(k, name))
      key = &ig_keys.keys[i];
  return key && ig_config_source_of(k, name) >= IG_FROM_FILE && ig_config_has_value(k, name) &&
         !(key->initial && ig_config_is(k, name, key->initial));
}

ig_status ig_refuse_misfits(const ig_call_state *c, const ig_model *model, ig_task task) {
  static const char *const of_pictures[] = {"image_size", "crop_ratio", "augment", "flip",  "vflip",  "transpose",
                                            "rotate",     "crop_scale", "jitter",  "mixup", "cutmix", "erase"};
  static const char *const of_texts[] = {"tokenizer", "max_length", "text_column", "text2_column", "layer_decay"};
  static const char *const of_mlm[] = {"pairs", "mask_share", "whole_word", "max_length2", "phase2", "vocabulary"};
  const bool text = model->build_text != NULL;
  const struct {
    const char *const *names;
    size_t n;
    bool fits;
    const char *to;
  } lists[] = {{of_pictures, sizeof of_pictures / sizeof *of_pictures, !text, "pictures"},
               {of_texts, sizeof of_texts / sizeof *of_texts, text, "texts"},
               {of_mlm, sizeof of_mlm / sizeof *of_mlm, text && task == IG_TASK_MLM, "task=mlm"}};
  for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
    for (size_t j = 0; j < lists[i].n && !lists[i].fits; j++)
      if (is_given(c->config, lists[i].names[j]))
        return ig_fail(IG_ERR_USAGE, "%s=%s belongs to %s; model=%s reads %s%s%s: leave it out", lists[i].names[j],
                       ig_config_str(c->config, lists[i].names[j]), lists[i].to, model->name,
                       text ? "texts" : "pictures", text ? ", task=" : "", text ? ig_task_name(task) : "");
  return IG_OK;
}

static bool asked_to_stop(void *call_state) { return ig_asked_to_stop(call_state) != 0; }

ig_status ig_text_dataset_keys(ig_call_state *c, const ig_text_model *text, const char *cache, const char *beside,
                               ig_dataset_options *out) {
  out->text = true;
  out->tokenizer = text->tokenizer;
  out->cache = cache;
  out->beside = beside;
  out->threads = ig_thread_count(c);
  out->progress = ig_show_progress;
  out->should_stop = asked_to_stop;
  return IG_OK;
}

// split= of pre-training: the share of documents, or of rows of shards, that is held out.
static ig_status held_out(const ig_config *k, double *out) {
  const char *split = ig_config_str(k, "split");
  char *end = "", q[IG_QUOTE_BYTES];
  *out = split && *split ? strtod(split, &end) : 0.05;
  if (!*end && *out >= 0 && *out < 1)
    return IG_OK;
  return ig_fail(
      IG_ERR_USAGE,
      "split=%s: pre-training holds out a share of the documents, which ones by seed=; expected a number from "
      "0 (none) to below 1, such as 0.05",
      ig_shown(q, split));
}

// Windows of a corpus as the keys say, of max_length tokens.
static ig_status mlm_keys(const ig_config *k, int max_length, ig_mlm_pair pairs, ig_mlm_options *o) {
  *o = ig_mlm_options_default();
  o->max_length = max_length;
  o->pair = pairs;
  o->seed = (uint64_t)ig_config_int(k, "seed");
  if (ig_config_known(k, "mask_share")) {
    o->mask_share = ig_config_float(k, "mask_share");
    o->whole_word = ig_config_bool(k, "whole_word");
    (void)ig_mlm_pair_from_text(ig_config_str(k, "pairs"), &o->pair);  // one of its words: an enum key
  }
  return held_out(k, &o->val_share);
}

ig_status ig_check_token_types(const ig_text_model *text, const ig_dataset *d) {
  const ig_token_table *t = d->tokens;
  char q[IG_QUOTE_BYTES];
  for (size_t i = 0; t && text->bert.spec.types < 2 && i < d->n; i++)
    if (t->second[i] < t->start[i + 1] - t->start[i])
      return ig_fail(
          IG_ERR_MISMATCH,
          "%s has two texts (the first such sample is %zu); model=%s tells one text from another by no token "
          "types (type_vocab_size is 1): put both into one column, or take a model with 2 types",
          ig_shown(q, d->path), i, text->bert.model.name);
  return IG_OK;
}

ig_status ig_check_pairs(const ig_config *k, const ig_weights_info *info, const ig_dataset *d) {
  char q[IG_QUOTE_BYTES], w[IG_QUOTE_BYTES];
  if (!info->says_pair || d->kind != IG_DATASET_TEXT || d->n == 0 || !d->texts[0].second == !info->pair)
    return IG_OK;
  return ig_fail(IG_ERR_MISMATCH,
                 info->pair ? "%s has one text a sample, and weights=%s were trained on two; name both columns by "
                              "text_column= and text2_column="
                            : "%s has two texts a sample, and weights=%s were trained on one; name it by text_column=",
                 ig_shown(q, d->path), ig_quote(w, ig_config_str(k, "weights")));
}

// Token ids of texts, or the samples of pre-training.
static ig_status use_dataset(ig_call_state *c, const ig_text_model *text, ig_mlm_pair pairs, ig_dataset *d) {
  if (d->kind == IG_DATASET_TEXT) {
    IG_TRY(ig_dataset_tokenize(d, text->tokenizer, text->max_length, ig_thread_count(c)));
    return ig_check_token_types(text, d);
  }
  if (d->kind != IG_DATASET_CORPUS || !d->corpus)
    return IG_OK;
  ig_mlm_options o;
  IG_TRY(mlm_keys(c->config, text->max_length, pairs, &o));
  if (o.pair != IG_PAIR_NONE && text->bert.spec.types < 2)
    return ig_fail(IG_ERR_USAGE, "model=%s has one token type (type_vocab_size), and pairs need two: pairs=none",
                   text->bert.model.name);
  return ig_dataset_mlm(d, &o);
}

// NVIDIA's shards: masks and pairs are as the files say.
static ig_status open_shards(ig_call_state *c, ig_text_model *text, const ig_dataset_options *o, ig_bert_rows **rows,
                             ig_dataset **out) {
  static const char *const fixed[] = {"mask_share", "whole_word", "max_length", "max_length2", "phase2"};
  const ig_config *k = c->config;
  if (o->task != IG_TASK_AUTO && o->task != IG_TASK_MLM)
    return ig_fail(IG_ERR_USAGE, "data=%s holds pre-training shards, which are for task=mlm, not task=%s", o->data,
                   ig_task_name(o->task));
  for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
    if (is_given(k, fixed[i]))
      return ig_fail(IG_ERR_USAGE, "%s=%s: the shards of data=%s are masked and cut already; leave it out", fixed[i],
                     ig_config_str(k, fixed[i]), o->data);
  if (ig_config_known(k, "pairs") && ig_config_is(k, "pairs", "order"))
    return ig_fail(IG_ERR_USAGE,
                   "pairs=order: the labels of pairs in the shards of data=%s are taken as next; leave it "
                   "out, or use pairs=none",
                   o->data);
  if (o->val)
    return ig_fail(IG_ERR_USAGE, "val=%s: of shards a part is held out (split=0.05); put its files into data=", o->val);
  double share;
  IG_TRY(held_out(k, &share));
  IG_TRY(ig_shards_dataset(o->data, (int32_t)text->bert.spec.vocabulary, share, o->seed, rows, out));
  if (text->bert.spec.types < 2)
    return ig_fail(IG_ERR_MISMATCH, "data=%s: shards have two token types, model=%s has one (type_vocab_size)", o->data,
                   text->bert.model.name);
  text->max_length = ig_bert_rows_longest(*rows);
  if (text->max_length > text->bert.spec.positions)
    return ig_fail(IG_ERR_MISMATCH, "data=%s has rows of %d tokens; model=%s has %d positions", o->data,
                   text->max_length, text->bert.model.name, text->bert.spec.positions);
  return IG_OK;
}

ig_status ig_open_data(ig_call_state *c, ig_text_model *text, ig_mlm_pair pairs, const ig_dataset_options *o,
                       ig_bert_rows **rows, ig_dataset **out) {
  double share;
  if (text->tokenizer && ig_is_bert_shards(o->data))
    return open_shards(c, text, o, rows, out);
  if (o->task == IG_TASK_MLM)  // before hours of tokens are made
    IG_TRY(held_out(c->config, &share));
  IG_TRY(ig_dataset_open(o, out));
  return use_dataset(c, text, pairs, *out);
}

// In percent; of shards nothing is known.
static double unknown_share(const ig_token_table *t, const ig_corpus *corpus) {
  ig_corpus_info info = {0};
  if (corpus)
    ig_corpus_get_info(corpus, &info);
  const uint64_t n = t ? t->n_tokens : info.n_tokens, unknown = t ? t->n_unknown : info.n_unknown;
  return n ? 100 * (double)unknown / (double)n : 0;
}

ig_status ig_want_maskable(const struct ig_mlm *m, const struct ig_corpus *corpus, const char *data, ig_part part) {
  const uint64_t n = ig_mlm_count(m, part);
  char q[IG_QUOTE_BYTES], share[64] = "", where[32] = "";
  if (n == 0 || ig_mlm_can_mask(m, part))
    return IG_OK;
  if (part != IG_PART_ALL)
    snprintf(where, sizeof where, " of the %s part", ig_part_name(part));
  if (!corpus)
    return ig_fail(IG_ERR_DATA, "data=%s: found no masked token in the %llu %s%s, expected some to predict",
                   ig_quote(q, data), (unsigned long long)n, ig_plural(n, "row", "rows"), where);
  const double unknown = unknown_share(NULL, corpus);
  if (unknown > 0)
    snprintf(share, sizeof share, ", and %.1f %% of all tokens are [UNK]", unknown);
  return ig_fail(IG_ERR_DATA, "data=%s: found nothing to mask in the %llu %s%s: %s nothing but special tokens%s; %s",
                 ig_quote(q, data), (unsigned long long)n, ig_plural(n, "text window", "text windows"), where,
                 ig_plural(n, "it holds", "they hold"), share,
                 ig_mlm_can_mask(m, IG_PART_ALL) ? "take another part, or other documents into it (split=, seed=)"
                                                 : "use a model and a tokenizer of the texts' language");
}

void ig_describe_texts(ig_call_state *c, const ig_dataset *d) {
  const ig_token_table *t = d->tokens;
  const double unknown = unknown_share(t, d->corpus);
  char q[IG_QUOTE_BYTES];
  if (t && t->n_truncated)
    ig_note(c, "%zu of %zu %s %s longer than max_length=%d tokens and cut", t->n_truncated, d->n,
            ig_plural(d->n, "text", "texts"), ig_plural(t->n_truncated, "is", "are"), t->max_length);
  if (unknown >= 1)
    ig_note(c, "%.1f %% of the tokens are unknown to the tokenizer: is it of this language?", unknown);
  if (d->n_invalid)
    ig_note(c, "%llu %s of %s %s no UTF-8, or NUL, and read as U+FFFD; save the file as UTF-8",
            (unsigned long long)d->n_invalid, ig_plural(d->n_invalid, "place", "places"), ig_shown(q, d->path),
            ig_plural(d->n_invalid, "is", "are"));
}

ig_status ig_second_phase(ig_call_state *c, ig_text_model *text, const ig_dataset *d, struct ig_mlm **out) {
  const ig_config *k = c->config;
  *out = NULL;
  if (!ig_config_has_value(k, "max_length2"))
    return is_given(k, "phase2")
               ? ig_fail(IG_ERR_USAGE,
                         "phase2=%s: the second phase needs its length: max_length2=", ig_config_str(k, "phase2"))
               : IG_OK;
  const int length = (int)ig_config_int(k, "max_length2");
  if (length > text->bert.spec.positions)
    return ig_fail(IG_ERR_USAGE, "max_length2=%d: model=%s has %d positions", length, text->bert.model.name,
                   text->bert.spec.positions);
  ig_mlm_options o;
  IG_TRY(mlm_keys(k, length, IG_PAIR_NEXT, &o));
  o.corpus = d->corpus;
  ig_status status = ig_mlm_create(&o, out);
  if (status != IG_OK)
    return ig_fail_prefix(status, "max_length2=%d", length);
  text->max_length = length > text->max_length ? length : text->max_length;
  return IG_OK;
}
