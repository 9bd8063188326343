// How often each word stands in files. Rule: the outcome does not depend on threads or on the order of files.
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/tokenizer/internal.h"

enum { PART_BYTES = 1 << 20, MAX_THREADS = 256 };

static uint32_t hash_of(const uint8_t *p, size_t n) {
  uint64_t h = n;
  for (size_t i = 0; i < n; i++)
    h = (h ^ p[i]) * UINT64_C(0x100000001b3);
  return (uint32_t)(h ^ h >> 32);
}

static ig_status grow_slots(ig_word_counts *c) {
  size_t n = c->slots ? 2 * (c->mask + 1) : 1024;
  uint32_t *slots;
  IG_TRY(ig_alloc_array(n, sizeof *slots, "a table of words", &slots));
  for (size_t i = 0; i < c->n; i++) {
    size_t at = c->words[i].hash & (n - 1);
    while (slots[at])
      at = (at + 1) & (n - 1);
    slots[at] = (uint32_t)(i + 1);
  }
  ig_free(c->slots);
  c->slots = slots;
  c->mask = n - 1;
  return IG_OK;
}

ig_status ig_count_word(ig_word_counts *c, const uint8_t *word, size_t n, int64_t times) {
  if (!c->slots || c->n * 2 > c->mask)
    IG_TRY(grow_slots(c));
  const uint32_t hash = hash_of(word, n);
  size_t at = hash & c->mask;
  for (; c->slots[at]; at = (at + 1) & c->mask) {
    ig_counted *w = &c->words[c->slots[at] - 1];
    if (w->hash == hash && w->n_bytes == n && !memcmp(c->bytes + w->at, word, n)) {
      w->count += times;
      return IG_OK;
    }
  }
  if (c->n == UINT32_MAX / 4)
    return ig_fail(IG_ERR_UNSUPPORTED, "more than %zu different words: train on a part of the text", c->n);
  IG_TRY(ig_grow(&c->words, &c->capacity, c->n, c->n + 1, sizeof *c->words, "words"));
  IG_TRY(ig_grow(&c->bytes, &c->bytes_capacity, c->n_bytes, c->n_bytes + n, 1, "words"));
  memcpy(c->bytes + c->n_bytes, word, n);
  c->words[c->n] = (ig_counted){c->n_bytes, (uint32_t)n, hash, times};
  c->n_bytes += n;
  c->slots[at] = (uint32_t)++c->n;
  return IG_OK;
}

void ig_word_counts_fini(ig_word_counts *c) {
  ig_free(c->bytes);
  ig_free(c->words);
  ig_free(c->slots);
}

// Length of the part that starts at p: whole lines of up to PART_BYTES; of a longer line whole words, where it has any.
static size_t part_of(const uint8_t *p, size_t n) {
  if (n <= PART_BYTES)
    return n;
  const uint8_t *cut = memrchr(p, '\n', PART_BYTES);
  if (!cut)
    cut = memrchr(p, ' ', PART_BYTES);
  if (cut)
    return (size_t)(cut - p) + 1;
  size_t at = PART_BYTES;
  while (at > PART_BYTES - 4 && (p[at] & 0xc0) == 0x80)
    at--;
  return at;
}

// Files are taken by whichever thread is free.
typedef struct counter {
  const ig_tokenizer *t;
  const char *const *files;
  size_t n_files;
  atomic_size_t next;
  atomic_bool stop;
} counter;
typedef struct one_thread {
  counter *all;
  ig_word_counts counts;
  pthread_t thread;
  ig_status status;
  char message[2048];
} one_thread;

static ig_status count_file(const counter *k, const char *path, ig_encoding *e, ig_word_counts *counts) {
  ig_status status = IG_OK;
  ig_mapped file;
  ig_work *w;
  IG_TRY(ig_work_of(e, k->t, &w));
  w->counts = counts;
  IG_TRY(ig_file_map(path, &file));
  if (file.n >= 2 && (!memcmp(file.data, "\xff\xfe", 2) || !memcmp(file.data, "\xfe\xff", 2))) {
    char q[IG_QUOTE_BYTES];
    IG_GOTO(
        ig_fail(IG_ERR_DATA, "%s is UTF-16; expected UTF-8: convert it (iconv -f UTF-16 -t UTF-8)", ig_quote(q, path)));
  }
  for (size_t at = 0; at < file.n;) {
    size_t n = part_of(file.data + at, file.n - at);
    int32_t number = 0;
    IG_GOTO(ig_split(k->t, w, file.data + at, n, false, true, &number));
    at += n;
  }
  counts->n_invalid += w->n_invalid;
done:
  ig_file_unmap(&file);
  return status;
}

static void *count_some(void *user) {
  one_thread *me = user;
  counter *k = me->all;
  ig_encoding e = {0};
  for (size_t i; me->status == IG_OK && !atomic_load(&k->stop) && (i = atomic_fetch_add(&k->next, 1)) < k->n_files;)
    me->status = count_file(k, k->files[i], &e, &me->counts);
  if (me->status != IG_OK) {
    atomic_store(&k->stop, true);
    strncpy(me->message, ig_error_message(), sizeof me->message - 1);
  }
  ig_encoding_fini(&e);
  return NULL;
}

static ig_status add_counts(ig_word_counts *to, const ig_word_counts *from) {
  for (size_t i = 0; i < from->n; i++)
    IG_TRY(ig_count_word(to, (const uint8_t *)from->bytes + from->words[i].at, from->words[i].n_bytes,
                         from->words[i].count));
  to->n_invalid += from->n_invalid;
  return IG_OK;
}

static int by_bytes(const void *a, const void *b, void *user) {
  const ig_counted *x = a, *y = b;
  const char *bytes = user;
  const size_t n = x->n_bytes < y->n_bytes ? x->n_bytes : y->n_bytes;
  const int order = memcmp(bytes + x->at, bytes + y->at, n);
  return order ? order : (x->n_bytes > y->n_bytes) - (x->n_bytes < y->n_bytes);
}

ig_status ig_count_files(const ig_tokenizer *t, const char *const *files, size_t n_files, int threads,
                         ig_word_counts *out) {
  ig_status status = IG_OK;
  counter all = {t, files, n_files, 0, false};
  one_thread *some;
  const int n = threads < 1 ? 1 : threads > MAX_THREADS ? MAX_THREADS : threads;
  int started = 1;
  IG_TRY(ig_alloc_array((size_t)n, sizeof *some, "threads that count words", &some));
  for (int i = 0; i < n; i++)
    some[i].all = &all;
  for (; started < n && (size_t)started < n_files; started++)
    if (pthread_create(&some[started].thread, NULL, count_some, &some[started]))
      break;  // fewer threads do the same
  count_some(&some[0]);
  for (int i = 1; i < started; i++)
    pthread_join(some[i].thread, NULL);
  for (int i = 0; i < started; i++)
    if (some[i].status != IG_OK)
      IG_GOTO(ig_fail(some[i].status, "%s", some[i].message));
  for (int i = 0; i < started; i++)
    IG_GOTO(add_counts(out, &some[i].counts));
  if (out->n)
    qsort_r(out->words, out->n, sizeof *out->words, by_bytes, out->bytes);
done:
  for (int i = 0; i < n; i++)
    ig_word_counts_fini(&some[i].counts);
  ig_free(some);
  return status;
}
