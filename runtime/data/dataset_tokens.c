// Token ids of all texts. Rule: threads take slices of a fixed size and write only into these; the slices are joined in
// order, so that the table is the same for any number of threads.
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#include "runtime/base/mem.h"
#include "runtime/base/text.h"
#include "runtime/data/dataset_internal.h"

enum { SLICE = 256, MAX_THREADS = 256, MAX_LENGTH = 1 << 15, NOT_COUNTED = -100 };

typedef struct slice {
  int32_t *ids, *labels, *words;
  size_t n, ids_capacity, labels_capacity, words_capacity;
  size_t n_truncated, n_unknown, n_special;
  ig_status status;
  char *message;  // NULL where no memory was left for it
} slice;

typedef struct job {
  const ig_dataset *d;
  const ig_tokenizer *tokenizer;
  ig_encode_options options;
  ig_token_table *table;  // start[i + 1] holds the sample's length until the slices are joined
  slice *slices;
  size_t n_slices;
  atomic_size_t next;
} job;

// Where types change from 0 to 1; n where they do not.
static ig_status find_second(const ig_encoding *e, uint32_t *second) {
  size_t at = 0;
  while (at < e->n && e->types[at] == 0)
    at++;
  *second = (uint32_t)at;
  for (size_t i = at; i < e->n; i++)
    if (e->types[i] != 1)
      return ig_fail(
          IG_ERR_UNSUPPORTED,
          "the tokenizer's post-processor gives token %zu the type %d after type 1; expected types 0, then 1", i,
          e->types[i]);
  return IG_OK;
}

static ig_status encode_sample(const job *j, slice *s, ig_encoding *e, size_t i) {
  const ig_text_sample *t = &j->d->texts[i];
  if (t->words)
    IG_TRY(ig_tokenizer_encode_words(j->tokenizer, t->n_words, t->words, &j->options, e));
  else
    IG_TRY(ig_tokenizer_encode(j->tokenizer, t->first, t->n_first, t->second, t->n_second, &j->options, e));
  if (e->n == 0)
    return ig_fail(IG_ERR_UNSUPPORTED, "the tokenizer makes no token of it; expected at least [CLS] and [SEP]");
  IG_TRY(ig_grow(&s->ids, &s->ids_capacity, s->n, s->n + e->n, sizeof *s->ids, "token ids"));
  memcpy(s->ids + s->n, e->ids, e->n * sizeof *e->ids);
  IG_TRY(find_second(e, &j->table->second[i]));
  if (t->words) {
    IG_TRY(ig_grow(&s->labels, &s->labels_capacity, s->n, s->n + e->n, sizeof *s->labels, "labels of tokens"));
    IG_TRY(ig_grow(&s->words, &s->words_capacity, s->n, s->n + e->n, sizeof *s->words, "words of tokens"));
    int32_t last = -1;
    for (size_t k = 0; k < e->n; k++) {
      bool first = e->word[k] >= 0 && e->word[k] != last && (size_t)e->word[k] < t->n_words;
      int32_t label = !first ? -1 : t->word_labels ? t->word_labels[e->word[k]] : 0;
      s->labels[s->n + k] = label >= 0 ? label : NOT_COUNTED;
      s->words[s->n + k] = label >= 0 ? e->word[k] : -1;
      last = e->word[k] >= 0 ? e->word[k] : last;
    }
  }
  for (size_t k = 0; k < e->n; k++)
    s->n_special += e->special[k];
  s->n += e->n;
  s->n_truncated += e->truncated;
  s->n_unknown += e->n_unknown;
  j->table->start[i + 1] = e->n;
  return IG_OK;
}

static void *run_thread(void *argument) {
  job *j = argument;
  ig_encoding e = {0};
  for (size_t k; (k = atomic_fetch_add(&j->next, 1)) < j->n_slices;) {
    slice *s = &j->slices[k];
    size_t end = (k + 1) * SLICE < j->d->n ? (k + 1) * SLICE : j->d->n;
    for (size_t i = k * SLICE; i < end && s->status == IG_OK; i++) {
      s->status = encode_sample(j, s, &e, i);
      char q[IG_QUOTE_BYTES];
      if (s->status != IG_OK && s->status != IG_ERR_MEMORY)
        ig_fail_prefix(s->status, "%s", ig_quote(q, j->d->samples[i].name));
    }
    if (s->status != IG_OK && ig_strdup(ig_error_message(), &s->message) != IG_OK)
      s->message = NULL;
  }
  ig_encoding_fini(&e);
  return NULL;
}

// Signals are for the program's own threads. Fewer threads than asked for do the same work.
static void run_all(job *j, int threads) {
  pthread_t started[MAX_THREADS];
  sigset_t all, before;
  int n = 0;
  threads = threads > MAX_THREADS ? MAX_THREADS : threads;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  while (n < threads - 1 && pthread_create(&started[n], NULL, run_thread, j) == 0)
    n++;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  run_thread(j);
  for (int i = 0; i < n; i++)
    pthread_join(started[i], NULL);
}

// Sums, offsets and one array of what the slices hold.
static ig_status join(job *j) {
  ig_token_table *t = j->table;
  bool tags = false;
  for (size_t k = 0; k < j->n_slices; k++) {
    const slice *s = &j->slices[k];
    if (s->status != IG_OK)
      return ig_fail(s->status, "%s", s->message ? s->message : "no memory was left while texts were tokenised");
    t->n_truncated += s->n_truncated;
    t->n_unknown += s->n_unknown;
    t->n_tokens += s->n - s->n_special;
    tags |= s->labels != NULL;
  }
  for (size_t i = 0; i < j->d->n; i++) {
    if (t->start[i + 1] > (uint64_t)t->longest)
      t->longest = (int)t->start[i + 1];
    t->start[i + 1] += t->start[i];
  }
  size_t n = (size_t)t->start[j->d->n], at = 0;
  IG_TRY(ig_alloc_array(n, sizeof *t->ids, "token ids", &t->ids));
  if (tags) {
    IG_TRY(ig_alloc_array(n, sizeof *t->labels, "labels of tokens", &t->labels));
    IG_TRY(ig_alloc_array(n, sizeof *t->words, "words of tokens", &t->words));
  }
  for (size_t k = 0; k < j->n_slices; k++) {
    slice *s = &j->slices[k];
    memcpy(t->ids + at, s->ids, s->n * sizeof *t->ids);
    if (tags) {
      memcpy(t->labels + at, s->labels, s->n * sizeof *t->labels);
      memcpy(t->words + at, s->words, s->n * sizeof *t->words);
    }
    at += s->n;
    ig_free(s->ids);  // so that the tokens are held twice for as short as can be
    ig_free(s->labels);
    ig_free(s->words);
    s->ids = s->labels = s->words = NULL;
  }
  return IG_OK;
}

ig_status ig_dataset_tokenize(ig_dataset *d, const ig_tokenizer *tokenizer, int max_length, int threads) {
  ig_status status = IG_OK;
  job j = {.d = d, .tokenizer = tokenizer, .options = {.special = true, .max_length = max_length}};
  if (!d->texts)
    return ig_fail(IG_ERR_USAGE, "%s: not a set of texts, nothing to tokenise", d->path);
  if (max_length < 3 || max_length > MAX_LENGTH)
    return ig_fail(IG_ERR_USAGE, "max_length=%d; expected 3 to %d tokens, [CLS] and [SEP] included", max_length,
                   MAX_LENGTH);
  j.options.offsets = d->task == IG_TASK_TAG;
  j.n_slices = (d->n + SLICE - 1) / SLICE;
  IG_TRY(ig_alloc(sizeof *j.table, "token ids", &j.table));
  j.table->max_length = max_length;
  IG_GOTO(ig_alloc_array(d->n + 1, sizeof *j.table->start, "token ids", &j.table->start));
  IG_GOTO(ig_alloc_array(d->n, sizeof *j.table->second, "token ids", &j.table->second));
  IG_GOTO(ig_alloc_array(j.n_slices, sizeof *j.slices, "token ids", &j.slices));
  run_all(&j, threads);
  IG_GOTO(join(&j));
  ig_token_table_free(d->tokens);
  d->tokens = j.table;
  j.table = NULL;
done:
  for (size_t k = 0; j.slices && k < j.n_slices; k++) {
    ig_free(j.slices[k].ids);
    ig_free(j.slices[k].labels);
    ig_free(j.slices[k].words);
    ig_free(j.slices[k].message);
  }
  ig_free(j.slices);
  ig_token_table_free(j.table);
  return status;
}
