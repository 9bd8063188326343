// Raw text, or samples that were made elsewhere, as a data set of task=mlm. Rule: there are no samples in memory: their
// numbers are those of mlm.h.
#include <string.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/base/text.h"
#include "runtime/data/corpus.h"
#include "runtime/data/dataset_internal.h"
#include "runtime/data/mlm.h"

static ig_status make(const char *path, ig_dataset **out) {
  ig_dataset *d;
  *out = NULL;
  IG_TRY(ig_alloc(sizeof *d, "a data set", &d));
  d->kind = IG_DATASET_CORPUS;
  d->task = IG_TASK_MLM;
  ig_status status = ig_strdup(path, &d->path);
  if (status == IG_OK)
    *out = d;
  else
    ig_dataset_close(d);
  return status;
}

ig_status ig_open_corpus(const ig_dataset_options *o, ig_dataset **out) {
  ig_status status = IG_OK;
  ig_corpus_info info;
  ig_dataset *d = NULL;
  char q[IG_QUOTE_BYTES];
  *out = NULL;
  if (!o->tokenizer)
    return ig_fail(IG_ERR_USAGE, "data=%s: task=mlm reads raw text, and needs a tokenizer (tokenizer=)",
                   ig_quote(q, o->data));
  if (o->val)
    return ig_fail(IG_ERR_USAGE, "val=%s: pre-training holds out documents of data= (split=0.05); put its files there",
                   ig_quote(q, o->val));
  IG_TRY(make(o->data, &d));
  const char *paths[] = {o->data};
  IG_GOTO(ig_corpus_open(&(ig_corpus_options){.size = sizeof(ig_corpus_options),
                                              .paths = paths,
                                              .n_paths = 1,
                                              .tokenizer = o->tokenizer,
                                              .cache = o->cache,
                                              .beside = o->beside,
                                              .threads = o->threads < 1 ? 1 : o->threads,
                                              .warn = o->warn,
                                              .progress = o->progress,
                                              .should_stop = o->should_stop,
                                              .user = o->warn_user},
                         &d->corpus));
  ig_corpus_get_info(d->corpus, &info);
  d->n_invalid = info.n_invalid;
  memcpy(d->fingerprint, info.fingerprint, sizeof d->fingerprint);
  *out = d;
  d = NULL;
done:
  ig_dataset_close(d);
  return status;
}

static void set_mlm(ig_dataset *d, ig_mlm *m) {
  ig_mlm_destroy(d->mlm);
  d->mlm = m;
  d->max_masked = ig_mlm_max_masked(m);
  d->n = (size_t)ig_mlm_count(m, IG_PART_ALL);
  for (int part = 0; part < IG_N_PARTS; part++)
    d->count[part] = (size_t)ig_mlm_count(m, (ig_part)part);
}

ig_status ig_dataset_mlm(ig_dataset *d, const ig_mlm_options *options) {
  ig_mlm_options o = *options;
  ig_mlm *m;
  if (d->kind != IG_DATASET_CORPUS || !d->corpus)
    return ig_fail(IG_ERR_USAGE, "%s is no raw text: it has no samples to mask", d->path);
  o.corpus = o.corpus ? o.corpus : d->corpus;
  IG_TRY(ig_mlm_create(&o, &m));
  set_mlm(d, m);
  return IG_OK;
}

ig_status ig_dataset_of_mlm(const char *path, const char *fingerprint, ig_mlm *m, ig_dataset **out) {
  IG_TRY(make(path, out));
  strncpy((*out)->fingerprint, fingerprint, sizeof(*out)->fingerprint - 1);
  set_mlm(*out, m);
  return IG_OK;
}

void ig_close_corpus(ig_dataset *d) {
  ig_mlm_destroy(d->mlm);
  ig_corpus_close(d->corpus);
}
