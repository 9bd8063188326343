// data shard: raw text masked and written as NVIDIA's pre-training shards. Rule: the same samples as training draws.
#include <stdlib.h>
#include <string.h>

#include "bindings/c/options.h"
#include "bindings/c/text_model.h"
#include "runtime/base/cpu.h"
#include "runtime/base/mem.h"
#include "runtime/train/shards.h"

static ig_status check_keys(const ig_call_state *c) {
  if (!ig_config_has_value(c->config, "tokenizer") || !ig_config_has_value(c->config, "out"))
    return ig_fail(IG_ERR_USAGE,
                   "data shard needs data=TEXT (a .txt file or a folder of such), tokenizer=VOCAB and out=FOLDER");
  return ig_want_folder("out=", ig_config_str(c->config, "out"));
}

static bool asked_to_stop(void *user) { return ig_asked_to_stop(user) != 0; }

static ig_status open_corpus(ig_call_state *c, const ig_tokenizer *tokenizer, ig_corpus **out) {
  const char *paths[] = {ig_config_str(c->config, "data")};
  char *cache = NULL, *corpora = NULL;
  ig_status status = IG_OK;
  IG_GOTO(ig_cache_folder(&cache));
  if (cache)
    IG_GOTO(ig_asprintf(&corpora, "%s/corpora", cache));
  IG_GOTO(ig_corpus_open(&(ig_corpus_options){.size = sizeof(ig_corpus_options),
                                              .paths = paths,
                                              .n_paths = 1,
                                              .tokenizer = tokenizer,
                                              .cache = corpora,
                                              .beside = ig_config_str(c->config, "out"),
                                              .threads = ig_thread_count(c),
                                              .warn = ig_note_text,
                                              .progress = ig_show_progress,
                                              .should_stop = asked_to_stop,
                                              .user = c},
                         out));
done:
  ig_free(cache);
  ig_free(corpora);
  return status;
}

static ig_status mlm_of(const ig_config *k, const ig_corpus *corpus, ig_mlm **out) {
  ig_mlm_options o = ig_mlm_options_default();
  o.corpus = corpus;
  o.max_length = (int)ig_config_int(k, "max_length");
  o.max_masked = ig_config_has_value(k, "max_masked") ? (int)ig_config_int(k, "max_masked") : 0;
  o.mask_share = ig_config_float(k, "mask_share");
  o.whole_word = ig_config_bool(k, "whole_word");
  o.seed = (uint64_t)ig_config_int(k, "seed");
  o.val_share = 0;
  if (!ig_mlm_pair_from_text(ig_config_str(k, "pairs"), &o.pair))
    return ig_fail(IG_ERR_USAGE, "pairs=%s: expected none, next or order", ig_config_str(k, "pairs"));
  return ig_mlm_create(&o, out);
}

static ig_status tell(ig_call_state *c, const ig_corpus *corpus, const ig_mlm *m, const ig_shards_written *w,
                      double seconds) {
  ig_corpus_info n;
  ig_corpus_get_info(corpus, &n);
  json_t *result = json_pack("{s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:i, s:i, s:I, s:I, s:I, s:I, s:f}", "out",
                             ig_json_text(ig_config_str(c->config, "out")), "files", (json_int_t)w->files, "rows",
                             (json_int_t)w->rows, "bytes", (json_int_t)w->bytes, "tokens", (json_int_t)w->tokens,
                             "masked", (json_int_t)w->masked, "random_next", (json_int_t)w->random_next, "max_length",
                             ig_mlm_max_length(m), "max_masked", ig_mlm_max_masked(m), "documents",
                             (json_int_t)n.n_documents, "sentences", (json_int_t)n.n_sentences, "corpus_tokens",
                             (json_int_t)n.n_tokens, "unknown", (json_int_t)n.n_unknown, "seconds", seconds);
  if (!result)
    return ig_no_json();
  ig_status status = ig_answer(c, result, NULL);
  json_decref(result);
  return status;
}

ig_status ig_data_shard(ig_call_state *c) {
  ig_status status = IG_OK;
  ig_tokenizer *tokenizer = NULL;
  ig_tokenizer_info info;
  ig_corpus *corpus = NULL;
  ig_mlm *m = NULL;
  ig_shards_written written;
  const uint64_t from = ig_now_ns();
  IG_TRY(check_keys(c));
  IG_GOTO(ig_open_tokenizer_file(c, ig_config_str(c->config, "tokenizer"), &tokenizer));
  ig_tokenizer_get_info(tokenizer, &info);
  IG_GOTO(open_corpus(c, tokenizer, &corpus));
  IG_GOTO(mlm_of(c->config, corpus, &m));
  IG_GOTO(ig_want_maskable(m, corpus, ig_config_str(c->config, "data"), IG_PART_TRAIN));
  IG_GOTO(ig_shards_write(&(ig_shards_options){.size = sizeof(ig_shards_options),
                                               .mlm = m,
                                               .part = IG_PART_TRAIN,
                                               .out = ig_config_str(c->config, "out"),
                                               .rows = ig_config_int(c->config, "rows"),
                                               .epochs = ig_config_int(c->config, "epochs"),
                                               .seed = (uint64_t)ig_config_int(c->config, "seed"),
                                               .pad = info.pad < 0 ? 0 : info.pad,
                                               .progress = ig_show_progress,
                                               .should_stop = ig_asked_to_stop,
                                               .user = c},
                          &written));
  ig_show_progress(c, "");
  status = tell(c, corpus, m, &written, (double)(ig_now_ns() - from) * 1e-9);
done:
  ig_mlm_destroy(m);
  ig_corpus_close(corpus);
  ig_tokenizer_close(tokenizer);
  return status;
}
