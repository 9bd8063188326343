// The ring of batches and its threads. Rule: a thread claims one sample (texts: one batch) at a time under the lock,
// writes only that row (batch) without it, and whatever goes wrong in a thread comes out of ig_loader_next.
#include "runtime/data/loader.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/base/rng.h"
#include "runtime/base/text.h"
#include "runtime/data/loader_internal.h"

#define SLOTS     4  // one handed out, three ahead
#define NICENESS  5  // the threads that compute come first
#define GREY      128
#define MAX_FILES 64  // CIFAR files

typedef struct slot {
  ig_batch batch;
  int done;  // rows that are finished
} slot;

typedef struct unreadable {
  uint64_t sample;
  char *reason;
} unreadable;

struct ig_loader {
  ig_loader_options o;
  const size_t *index;  // sample numbers of the part; NULL = all
  uint64_t n;           // samples of the part
  size_t limit;         // unreadable samples that are tolerated
  slot slots[SLOTS];
  ig_batch_source batches;  // fill is NULL for pictures, which are made row by row
  ig_picture_cache cache;
  ig_sample_source source;
  int fds[MAX_FILES];
  const char *paths[MAX_FILES];

  pthread_t *threads;
  int n_threads;
  pthread_mutex_t lock;  // guards all below
  pthread_cond_t work, ready;
  bool has_lock, has_work, has_ready, stopping, paused, handed_out;
  int busy;             // threads between claim and end of a sample
  int64_t base;         // position of item 0
  int64_t next, taken;  // next item to claim (samples); batches handed back
  ig_status failed;     // a thread's first failure
  char *message;
  unreadable *bad;
  size_t n_bad, bad_capacity, n_warned;
  uint64_t wait_ns;
  uint8_t *is_bad;  // [data->n]
};

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t ig_loader_sample_at(const ig_loader *l, int64_t position) {
  uint64_t p = (uint64_t)position;
  if (l->o.train)
    p = ig_order_at(l->o.seed, l->n, p);
  return l->index ? l->index[p] : l->batches.first + p;
}

// Items that there are from `base` on: whole batches in evaluation, no end in training.
static int64_t n_items(const ig_loader *l) {
  if (l->o.train)
    return INT64_MAX;
  int64_t left = (int64_t)l->n - l->base;
  return left <= 0 ? 0 : (left + l->o.batch - 1) / l->o.batch * l->o.batch;
}

static ig_batch *batch_of(ig_loader *l, int64_t number) { return &l->slots[number % SLOTS].batch; }

// Remembers an unreadable sample; lock held.
static ig_status note_unreadable(ig_loader *l, uint64_t sample, const char *why) {
  if (l->is_bad[sample])
    return IG_OK;
  char *reason;
  IG_TRY(ig_grow(&l->bad, &l->bad_capacity, l->n_bad, l->n_bad + 1, sizeof *l->bad, "unreadable samples"));
  IG_TRY(ig_strdup(why, &reason));
  l->bad[l->n_bad++] = (unreadable){sample, reason};
  l->is_bad[sample] = 1;
  return IG_OK;
}

// Fills row `row` of b for the sample at `position`; the lock is not held. known_bad: it could not be read before.
static ig_status make_row(ig_loader *l, ig_sample_work *work, ig_batch *b, int row, int64_t position, bool known_bad) {
  size_t bytes = (size_t)l->o.image_size * (size_t)l->o.image_size * 3;
  uint8_t *pixels = b->pictures + (size_t)row * bytes;
  float *aug = b->aug + (size_t)row * AUG_N;
  b->labels[row] = 0;
  b->weights[row] = 0;
  b->samples[row] = 0;
  ig_status status = IG_OK;
  bool padding = !l->o.train && position >= (int64_t)l->n;
  if (!padding) {
    uint64_t sample = ig_loader_sample_at(l, position);
    b->samples[row] = sample;
    if (!known_bad)
      status = ig_sample_make(&l->source, work, (uint64_t)position / l->n, sample, pixels, aug);
    if (!known_bad && status == IG_OK) {
      int32_t label = l->o.data->samples[sample].label;
      b->labels[row] = label < 0 ? 0 : label;
      b->weights[row] = 1;
      return IG_OK;
    }
  }
  memset(pixels, GREY, bytes);
  ig_sample_neutral(aug);
  return status;
}

static void *run_thread(void *argument) {
  ig_loader *l = argument;
  ig_sample_work work = {0};
  setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), NICENESS);  // no matter where it is not allowed
  pthread_mutex_lock(&l->lock);
  for (;;) {
    while (!l->stopping &&
           (l->paused || l->failed != IG_OK || l->next >= n_items(l) || l->next / l->o.batch >= l->taken + SLOTS))
      pthread_cond_wait(&l->work, &l->lock);
    if (l->stopping)
      break;
    const bool whole = l->batches.fill != NULL;
    const int items = whole ? l->o.batch : 1;
    int64_t item = l->next, position = l->base + item;
    l->next += items;
    slot *to = &l->slots[item / l->o.batch % SLOTS];
    bool real = !whole && (l->o.train || position < (int64_t)l->n);
    uint64_t sample = real ? ig_loader_sample_at(l, position) : 0;
    bool known_bad = real && l->is_bad[sample];
    l->busy++;
    pthread_mutex_unlock(&l->lock);
    ig_status status = whole ? l->batches.fill(l->batches.state, &to->batch, position)
                             : make_row(l, &work, &to->batch, (int)(item % l->o.batch), position, known_bad);
    pthread_mutex_lock(&l->lock);
    l->busy--;
    if (real && (status == IG_ERR_FORMAT || status == IG_ERR_DATA || status == IG_ERR_NOT_FOUND ||
                 status == IG_ERR_IO || status == IG_ERR_UNSUPPORTED || status == IG_ERR_USAGE))
      status = note_unreadable(l, sample, ig_error_message());
    if (status != IG_OK && l->failed == IG_OK) {
      l->failed = status;
      if (ig_strdup(ig_error_message(), &l->message) != IG_OK)
        l->message = NULL;
    }
    to->done += items;
    if (to->done == l->o.batch || l->failed != IG_OK || (l->paused && l->busy == 0))
      pthread_cond_signal(&l->ready);
  }
  pthread_mutex_unlock(&l->lock);
  ig_sample_work_fini(&work);
  return NULL;
}

static ig_status make_batch(ig_batch *b, const ig_loader_options *o, const ig_batch_source *batches) {
  size_t n = (size_t)o->batch, side = (size_t)o->image_size;
  IG_TRY(ig_alloc_array(n, sizeof *b->labels, "a batch", &b->labels));
  IG_TRY(ig_alloc_array(n, sizeof *b->second_labels, "a batch", &b->second_labels));
  if (o->data->targets)
    IG_TRY(ig_alloc_array(n, (size_t)o->data->n_classes * sizeof *b->targets, "a batch", &b->targets));
  IG_TRY(ig_alloc_array(n, sizeof *b->lam, "a batch", &b->lam));
  IG_TRY(ig_alloc_array(n, sizeof *b->weights, "a batch", &b->weights));
  IG_TRY(ig_alloc_array(n, sizeof *b->samples, "a batch", &b->samples));
  if (batches->fill)
    return batches->init(batches->state, b);
  IG_TRY(ig_alloc_array(n, side * side * 3, "a batch of pictures", &b->pictures));
  IG_TRY(ig_alloc_array(n, AUG_N * sizeof *b->aug, "a batch", &b->aug));
  return ig_alloc_array(n, sizeof *b->partner, "a batch", &b->partner);
}

static void free_batch(ig_batch *b) {
  ig_free(b->pictures);
  ig_free(b->labels);
  ig_free(b->second_labels);
  ig_free(b->targets);
  ig_free(b->lam);
  ig_free(b->weights);
  ig_free(b->aug);
  ig_free(b->partner);
  ig_free(b->samples);
}

// The files of a CIFAR set stay open.
static ig_status open_files(ig_loader *l) {
  char q[IG_QUOTE_BYTES];
  const ig_dataset *d = l->o.data;
  for (size_t i = 0; i < d->n; i++) {
    const ig_sample *s = &d->samples[i];
    size_t k = l->source.n_paths;
    if (s->record < 0 || (k && l->paths[k - 1] == s->path))
      continue;
    if (k == MAX_FILES)
      return ig_fail(IG_ERR_DATA, "%s: more than %d files of records", d->path, MAX_FILES);
    int fd = ig_fileops_get()->open(s->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC, 0);
    if (fd < 0)
      return ig_fail(errno == ENOENT ? IG_ERR_NOT_FOUND : IG_ERR_IO, "cannot open %s: %s", ig_quote(q, s->path),
                     strerror(errno));
    l->fds[k] = fd;
    l->paths[k] = s->path;
    l->source.n_paths++;
  }
  return IG_OK;
}

// Signals are for the program's own threads.
static ig_status start_threads(ig_loader *l) {
  sigset_t all, before;
  int code = 0;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  while (code == 0 && l->n_threads < l->o.threads) {
    code = pthread_create(&l->threads[l->n_threads], NULL, run_thread, l);
    l->n_threads += code == 0;
  }
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  // Fewer than asked for do the same work, more slowly.
  return l->n_threads ? IG_OK : ig_fail(IG_ERR_MEMORY, "cannot start a loader thread: %s", strerror(code));
}

static ig_status check_options(const ig_loader_options *o) {
  if (!o->data || (unsigned)o->part > IG_PART_ALL)
    return ig_fail(IG_ERR_USAGE, "loader: no data set, or an unknown part");
  const bool texts = o->data->kind == IG_DATASET_TEXT || o->data->kind == IG_DATASET_CORPUS;
  if (texts && (o->batch < 1 || o->threads < 1))
    return ig_fail(IG_ERR_USAGE, "loader: batch=%d, threads=%d; each must be at least 1", o->batch, o->threads);
  if (!texts && (o->batch < 1 || o->image_size < 1 || o->image_size > 65500 || o->threads < 1))
    return ig_fail(IG_ERR_USAGE, "loader: batch=%d, image_size=%d, threads=%d; each must be at least 1", o->batch,
                   o->image_size, o->threads);
  const ig_augment *a = &o->augment;
  if (a->crop_scale_min < 0 || a->crop_scale_max > 1 || a->crop_scale_min > a->crop_scale_max)
    return ig_fail(IG_ERR_USAGE, "crop_scale=%g,%g; expected 0 <= least <= most <= 1", a->crop_scale_min,
                   a->crop_scale_max);
  if (a->jitter < 0 || a->erase < 0 || a->erase > 1 || a->rotate < 0 || a->mixup < 0 || a->cutmix < 0)
    return ig_fail(IG_ERR_USAGE,
                   "augmentation: rotate=%g jitter=%g erase=%g mixup=%g cutmix=%g; expected none below 0, "
                   "erase at most 1",
                   a->rotate, a->jitter, a->erase, a->mixup, a->cutmix);
  size_t n = o->part == IG_PART_ALL ? o->data->n : o->data->count[o->part];
  if (n == 0)
    return ig_fail(IG_ERR_DATA, "%s: the %s part has no samples", o->data->path, ig_part_name(o->part));
  return IG_OK;
}

// What the batches of this kind of data set are made of.
static ig_status open_source(ig_loader *l) {
  const ig_dataset *d = l->o.data;
  if (d->kind == IG_DATASET_TEXT || d->kind == IG_DATASET_CORPUS) {
    IG_TRY(d->kind == IG_DATASET_TEXT ? ig_text_source(&l->o, &l->batches) : ig_mlm_source(&l->o, &l->batches));
    l->n = l->batches.n;
    return IG_OK;
  }
  IG_TRY(open_files(l));
  return ig_cache_init(&l->cache, d->n, l->o.cache_bytes);
}

ig_status ig_loader_create(const ig_loader_options *options, ig_loader **out) {
  ig_status status = IG_OK;
  ig_loader *l = NULL;
  *out = NULL;
  IG_TRY(check_options(options));
  IG_TRY(ig_alloc(sizeof *l, "a loader", &l));
  l->o = *options;
  const ig_dataset *d = l->o.data;
  l->index = l->o.part == IG_PART_ALL ? NULL : d->index[l->o.part];
  l->n = l->o.part == IG_PART_ALL ? d->n : d->count[l->o.part];
  l->limit = (size_t)(l->o.max_unreadable * (double)l->n);
  l->limit = l->limit < 1 ? 1 : l->limit;
  if (l->limit >= l->n)
    l->limit = (size_t)l->n - 1;
  l->source = (ig_sample_source){&l->o, &l->cache, l->fds, l->paths, 0};
  IG_GOTO(open_source(l));
  IG_GOTO(ig_alloc(d->n, "a loader", &l->is_bad));
  for (int i = 0; i < SLOTS; i++)
    IG_GOTO(make_batch(&l->slots[i].batch, &l->o, &l->batches));
  IG_GOTO(ig_alloc_array((size_t)l->o.threads, sizeof *l->threads, "loader threads", &l->threads));
  l->has_lock = pthread_mutex_init(&l->lock, NULL) == 0;
  l->has_work = pthread_cond_init(&l->work, NULL) == 0;
  l->has_ready = pthread_cond_init(&l->ready, NULL) == 0;
  if (!l->has_lock || !l->has_work || !l->has_ready)
    IG_GOTO(ig_fail(IG_ERR_MEMORY, "cannot make the loader's locks"));
  IG_GOTO(start_threads(l));
  *out = l;
  l = NULL;
done:
  ig_loader_destroy(l);
  return status;
}

void ig_loader_destroy(ig_loader *l) {
  if (!l)
    return;
  if (l->n_threads) {
    pthread_mutex_lock(&l->lock);
    l->stopping = true;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
    for (int i = 0; i < l->n_threads; i++)
      pthread_join(l->threads[i], NULL);
  }
  if (l->has_ready)
    pthread_cond_destroy(&l->ready);
  if (l->has_work)
    pthread_cond_destroy(&l->work);
  if (l->has_lock)
    pthread_mutex_destroy(&l->lock);
  for (size_t i = 0; i < l->source.n_paths; i++)
    ig_fileops_get()->close(l->fds[i]);
  for (size_t i = 0; i < l->n_bad; i++)
    ig_free(l->bad[i].reason);
  for (int i = 0; i < SLOTS; i++) {
    if (l->batches.fill)
      l->batches.fini_batch(&l->slots[i].batch);
    free_batch(&l->slots[i].batch);
  }
  if (l->batches.fill)
    l->batches.fini(l->batches.state);
  ig_cache_fini(&l->cache);
  ig_free(l->bad);
  ig_free(l->is_bad);
  ig_free(l->threads);
  ig_free(l->message);
  ig_free(l);
}

// Warns of what is new, and stops where it is too much. The lock is not held; only this thread moves n_warned.
static ig_status report_unreadable(ig_loader *l, size_t n_bad) {
  char q[IG_QUOTE_BYTES];
  for (; l->n_warned < n_bad; l->n_warned++) {
    const char *why;
    uint64_t sample = ig_loader_unreadable_sample(l, l->n_warned, &why);
    ig_text t = {0};
    ig_quote(q, l->o.data->samples[sample].name);
    if (l->o.strict)
      return ig_fail(IG_ERR_DATA, "sample %s cannot be read: %s; repair or remove it, or use strict=0", q, why);
    if (l->o.warn && ig_text_addf(&t, "skipped %s: %s", q, why) == IG_OK)
      l->o.warn(l->o.warn_user, t.data);
    ig_free(t.data);
  }
  if (n_bad <= l->limit)
    return IG_OK;
  ig_text names = {0};
  for (size_t i = 0; i < n_bad && i < 5; i++) {
    const char *why;
    uint64_t sample = ig_loader_unreadable_sample(l, i, &why);
    IG_TRY(ig_text_addf(&names, "%s%s", i ? ", " : "", ig_quote(q, l->o.data->samples[sample].name)));
  }
  ig_status status =
      ig_fail(IG_ERR_IO,
              "%zu of %llu %s of the %s part cannot be read (at most %zu tolerated): %s%s; check the disk, "
              "repair or remove the files and start again",
              n_bad, (unsigned long long)l->n, ig_plural((unsigned long long)l->n, "sample", "samples"),
              ig_part_name(l->o.part), l->limit, names.data, n_bad > 5 ? ", ..." : "");
  ig_free(names.data);
  return status;
}

ig_status ig_loader_next(ig_loader *l, const ig_batch **batch) {
  *batch = NULL;
  pthread_mutex_lock(&l->lock);
  if (l->handed_out) {
    l->slots[l->taken % SLOTS].done = 0;
    l->taken++;
    l->handed_out = false;
    pthread_cond_broadcast(&l->work);
  }
  int64_t number = l->taken;
  if (number * l->o.batch >= n_items(l)) {
    pthread_mutex_unlock(&l->lock);
    return IG_OK;
  }
  slot *s = &l->slots[number % SLOTS];
  if (s->done < l->o.batch && l->failed == IG_OK) {
    uint64_t from = now_ns();
    while (s->done < l->o.batch && l->failed == IG_OK)
      pthread_cond_wait(&l->ready, &l->lock);
    l->wait_ns += now_ns() - from;
  }
  ig_status failed = l->failed;
  size_t n_bad = l->n_bad;
  pthread_mutex_unlock(&l->lock);
  if (failed != IG_OK)
    return ig_fail(failed, "%s", l->message ? l->message : "a loader thread failed, and no memory was left to say why");
  IG_TRY(report_unreadable(l, n_bad));
  ig_batch *b = batch_of(l, number);
  b->position = l->base + number * l->o.batch;
  b->epoch = b->position / (int64_t)l->n;
  int64_t left = (int64_t)l->n - b->position;
  b->n = l->o.train || left > l->o.batch ? l->o.batch : (int)left;
  if (!l->batches.fill)
    ig_batch_mix(&l->o, l->n, b);
  l->handed_out = true;
  *batch = b;
  return IG_OK;
}

ig_status ig_loader_seek(ig_loader *l, int64_t position) {
  if (position < 0 || (!l->o.train && position > (int64_t)l->n))
    return ig_fail(IG_ERR_USAGE, "loader: cannot go to position %lld of %llu %s", (long long)position,
                   (unsigned long long)l->n, ig_plural(l->n, "sample", "samples"));
  pthread_mutex_lock(&l->lock);
  l->paused = true;
  while (l->busy)
    pthread_cond_wait(&l->ready, &l->lock);
  l->base = position;
  l->next = l->taken = 0;
  l->handed_out = false;
  for (int i = 0; i < SLOTS; i++)
    l->slots[i].done = 0;
  l->paused = false;
  pthread_cond_broadcast(&l->work);
  pthread_mutex_unlock(&l->lock);
  return IG_OK;
}

uint64_t ig_loader_wait_ns(const ig_loader *l) { return l->wait_ns; }

uint64_t ig_loader_cache_bytes(const ig_loader *l) {
  return atomic_load_explicit(&((ig_loader *)l)->cache.used, memory_order_relaxed);
}

size_t ig_loader_unreadable(const ig_loader *l) {
  pthread_mutex_t *lock = &((ig_loader *)l)->lock;
  pthread_mutex_lock(lock);
  size_t n = l->n_bad;
  pthread_mutex_unlock(lock);
  return n;
}

uint64_t ig_loader_unreadable_sample(const ig_loader *l, size_t i, const char **reason) {
  pthread_mutex_t *lock = &((ig_loader *)l)->lock;
  pthread_mutex_lock(lock);
  unreadable u = l->bad[i];
  pthread_mutex_unlock(lock);
  *reason = u.reason;  // never moved or changed
  return u.sample;
}
