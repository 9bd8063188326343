// Reading for the quality report: threads, decoding, perceptual marks. Rule: what a picture's marks are depends on its
// pixels alone.
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/base/text.h"
#include "runtime/data/quality_internal.h"

#define MAX_FILE_BYTES ((uint64_t)1 << 30)

enum { CIFAR_BYTES = 3072, MAX_THREADS = 1024, REASON_BYTES = 512, LOW = 8 };

void ig_quality_work_fini(quality_work *w) {
  ig_image_fini(&w->image);
  ig_resize_fini(&w->resize);
  ig_free(w->found);
}

// SHA-256 as 32 bytes.
static ig_status digest(const void *head, size_t n_head, const void *data, size_t n, uint8_t out[32]) {
  ig_sha256 *h;
  char hex[65];
  IG_TRY(ig_sha256_create(&h));
  ig_sha256_update(h, head, n_head);
  ig_sha256_update(h, data, n);
  ig_sha256_finish(h, hex);
  if (!hex[0])
    return ig_fail(IG_ERR_INTERNAL, "libcrypto could not compute a SHA-256 digest");
  for (int i = 0; i < 64; i++) {
    int v = hex[i] <= '9' ? hex[i] - '0' : hex[i] - 'a' + 10;
    out[i / 2] = (uint8_t)(i % 2 ? out[i / 2] | v : v << 4);
  }
  return IG_OK;
}

// The three planes of record `s->record` behind its label bytes.
static ig_status read_record(const ig_dataset *d, const ig_sample *s, uint8_t planes[CIFAR_BYTES]) {
  const ig_fileops *ops = ig_fileops_get();
  char q[IG_QUOTE_BYTES];
  uint64_t labels = d->kind == IG_DATASET_CIFAR100 ? 2 : 1;
  int fd = ops->open(s->path, O_RDONLY | O_CLOEXEC, 0);
  if (fd < 0)
    return ig_fail(IG_ERR_IO, "cannot open %s: %s", ig_quote(q, s->path), strerror(errno));
  size_t got = 0;
  ig_status status = IG_OK;
  while (got < CIFAR_BYTES) {
    off_t at = (off_t)((uint64_t)s->record * (CIFAR_BYTES + labels) + labels + got);
    ssize_t n = ops->pread(fd, planes + got, CIFAR_BYTES - got, at);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0) {
      status = ig_fail(IG_ERR_IO, "cannot read record %lld of %s: %s", (long long)s->record, s->path,
                       n < 0 ? strerror(errno) : "the file has become shorter");
      break;
    }
    got += (size_t)n;
  }
  ops->close(fd);
  return status;
}

ig_status ig_quality_read(const ig_dataset *d, size_t i, quality_work *w, uint8_t bytes[32], ig_image_info *info) {
  const ig_sample *s = &d->samples[i];
  ig_status status = IG_OK;
  if (s->record >= 0) {
    uint8_t planes[CIFAR_BYTES];
    IG_TRY(read_record(d, s, planes));
    IG_TRY(ig_image_reserve(&w->image, 32, 32));
    for (size_t p = 0; p < 1024; p++)
      for (size_t c = 0; c < 3; c++)
        w->image.data[3 * p + c] = planes[1024 * c + p];
    if (info)
      *info = (ig_image_info){.format = IG_IMAGE_N_FORMATS, .w = 32, .h = 32, .channels = 3, .bits = 8};
    return bytes ? digest("", 0, planes, sizeof planes, bytes) : IG_OK;
  }
  uint8_t *file;
  size_t n;
  IG_TRY(ig_file_read(s->path, MAX_FILE_BYTES, &file, &n));
  if (info)
    IG_GOTO(ig_image_probe(file, n, info));
  IG_GOTO(ig_image_decode(file, n, NULL, &w->image));
  if (bytes)
    IG_GOTO(digest("", 0, file, n, bytes));
done:
  ig_free(file);
  return status;
}

ig_status ig_quality_pixels(const quality_work *w, uint8_t out[32]) {
  uint8_t head[8];
  for (int k = 0; k < 4; k++) {
    head[k] = (uint8_t)((uint32_t)w->image.w >> (8 * k));
    head[4 + k] = (uint8_t)((uint32_t)w->image.h >> (8 * k));
  }
  return digest(head, sizeof head, w->image.data, 3 * (size_t)w->image.w * (size_t)w->image.h, out);
}

ig_status ig_quality_grey(quality_work *w, int side, float *out) {
  const ig_image *m = &w->image;
  IG_TRY(ig_resize_run(&w->resize, m->data, m->w, m->h, (ig_rect){0, 0, m->w, m->h}, side, side, NULL, w->small,
                       (size_t)side * 3));
  for (int i = 0; i < side * side; i++)
    out[i] =
        0.299f * (float)w->small[3 * i] + 0.587f * (float)w->small[3 * i + 1] + 0.114f * (float)w->small[3 * i + 2];
  return IG_OK;
}

// The lowest LOW x LOW coefficients of the cosine transform, c[v][u].
static void cosines(const float *grey, float c[LOW][LOW]) {
  enum { N = QUALITY_HASH_IN };
  float table[LOW][N], rows[N][LOW];
  for (int u = 0; u < LOW; u++)
    for (int x = 0; x < N; x++)
      table[u][x] = (float)cos((2 * x + 1) * u * 3.14159265358979323846 / (2 * N));
  for (int y = 0; y < N; y++)
    for (int u = 0; u < LOW; u++) {
      float sum = 0;
      for (int x = 0; x < N; x++)
        sum += grey[y * N + x] * table[u][x];
      rows[y][u] = sum;
    }
  for (int v = 0; v < LOW; v++)
    for (int u = 0; u < LOW; u++) {
      float sum = 0;
      for (int y = 0; y < N; y++)
        sum += rows[y][u] * table[v][y];
      c[v][u] = sum;
    }
}

// Bits of the coefficients of the picture turned: a mirroring changes the sign of the odd ones across it, a
// transposition exchanges u and v. Bit 0 (the mean) is left out; the threshold is the median of the 63 others.
static uint64_t hash_of(float c[LOW][LOW], int turn) {
  float t[LOW * LOW], sorted[LOW * LOW];
  for (int v = 0; v < LOW; v++)
    for (int u = 0; u < LOW; u++) {
      float x = turn & 4 ? c[u][v] : c[v][u];
      t[v * LOW + u] = ((turn & 1) && (u & 1)) != ((turn & 2) && (v & 1)) ? -x : x;
    }
  for (int i = 1; i < LOW * LOW; i++) {
    int k = i - 1;
    for (; k > 0 && sorted[k - 1] > t[i]; k--)
      sorted[k] = sorted[k - 1];
    sorted[k] = t[i];
  }
  uint64_t bits = 0;
  for (int i = 1; i < LOW * LOW; i++)
    bits |= (uint64_t)(t[i] > sorted[LOW * LOW / 2 - 1]) << i;
  return bits;
}

ig_status ig_quality_mark(quality_work *w, quality_marks *m) {
  enum { N = QUALITY_HASH_IN, S = QUALITY_SIDE };
  float grey[N * N], c[LOW][LOW], small[S * S];
  double sum = 0, squares = 0;
  float mean = 0, largest = 0;
  IG_TRY(ig_quality_grey(w, N, grey));
  for (int i = 0; i < N * N; i++) {
    sum += (double)grey[i];
    squares += (double)grey[i] * (double)grey[i];
  }
  sum /= N * N;
  m->plain = squares / (N * N) - sum * sum < IG_QUALITY_PLAIN * IG_QUALITY_PLAIN;
  cosines(grey, c);
  for (int t = 0; t < IG_QUALITY_TURNS; t++)
    m->hash[t] = hash_of(c, t);
  for (int y = 0; y < S; y++)
    for (int x = 0; x < S; x++) {
      const float *p = grey + 2 * y * N + 2 * x;
      small[y * S + x] = (p[0] + p[1] + p[N] + p[N + 1]) / 4;
      mean += small[y * S + x] / (S * S);
    }
  for (int i = 0; i < S * S; i++)
    largest = fmaxf(largest, fabsf(small[i] - mean));
  int length = 0;
  for (int i = 0; i < S * S; i++) {
    m->thumb[i] = (int8_t)lrintf(largest > 0 ? (small[i] - mean) * (127 / largest) : 0);
    length += m->thumb[i] * m->thumb[i];
  }
  m->length = length > 0 ? sqrtf((float)length) : 1;
  return IG_OK;
}

// ---- Threads ----
typedef struct pool {
  size_t n;
  void *shared;
  quality_body body;
  atomic_size_t next, done;
  atomic_bool stop;
  pthread_mutex_t lock;  // guards the rest
  pthread_cond_t ended;
  int running;
  ig_status status;  // of the first failure, and its message
  char message[REASON_BYTES];
} pool;

static void *run_thread(void *argument) {
  pool *p = argument;
  quality_work w = {0};
  ig_status status = IG_OK;
  for (size_t i; status == IG_OK && !atomic_load(&p->stop) && (i = atomic_fetch_add(&p->next, 1)) < p->n;) {
    status = p->body(p->shared, &w, i);
    atomic_fetch_add(&p->done, 1);
  }
  ig_quality_work_fini(&w);
  pthread_mutex_lock(&p->lock);
  if (status != IG_OK && p->status == IG_OK) {
    p->status = status;
    snprintf(p->message, sizeof p->message, "%s", ig_error_message());
    atomic_store(&p->stop, true);
  }
  p->running--;
  pthread_cond_signal(&p->ended);
  pthread_mutex_unlock(&p->lock);
  return NULL;
}

// Waits for the threads; tells and asks about twice a second.
static void watch(const ig_quality_options *o, const char *what, pool *p) {
  bool stop = false;
  pthread_mutex_lock(&p->lock);
  while (p->running > 0) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 400000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    if (pthread_cond_timedwait(&p->ended, &p->lock, &until) != ETIMEDOUT)
      continue;
    pthread_mutex_unlock(&p->lock);
    char text[96];
    snprintf(text, sizeof text, "%s %zu of %zu %s", what, atomic_load(&p->done), p->n,
             ig_plural(p->n, "picture", "pictures"));
    if (o->progress)
      o->progress(o->user, text);
    if (!stop && o->should_stop && o->should_stop(o->user)) {
      stop = true;
      atomic_store(&p->stop, true);
    }
    pthread_mutex_lock(&p->lock);
  }
  if (stop && p->status == IG_OK) {
    p->status = IG_ERR_PARTIAL;
    snprintf(p->message, sizeof p->message, "stopped while %s: %zu of %zu %s", what, atomic_load(&p->done), p->n,
             ig_plural(p->n, "picture", "pictures"));
  }
  pthread_mutex_unlock(&p->lock);
}

ig_status ig_quality_each(const ig_quality_options *o, const char *what, size_t n, void *shared, quality_body body) {
  pool p = {.n = n, .shared = shared, .body = body};
  int n_threads = o->threads < 1 ? 1 : o->threads > MAX_THREADS ? MAX_THREADS : o->threads;
  if ((size_t)n_threads > n)
    n_threads = (int)n;
  if (n == 0)
    return IG_OK;
  pthread_t *threads;
  IG_TRY(ig_alloc_array((size_t)n_threads, sizeof *threads, "threads", &threads));
  if (pthread_mutex_init(&p.lock, NULL) != 0) {
    ig_free(threads);
    return ig_fail(IG_ERR_MEMORY, "no memory for a lock");
  }
  if (pthread_cond_init(&p.ended, NULL) != 0) {
    pthread_mutex_destroy(&p.lock);
    ig_free(threads);
    return ig_fail(IG_ERR_MEMORY, "no memory for a condition");
  }
  sigset_t all, before;  // signals go to the caller's threads
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int started = 0, code = 0;
  pthread_mutex_lock(&p.lock);
  for (; started < n_threads; started++) {
    p.running++;
    code = pthread_create(&threads[started], NULL, run_thread, &p);
    if (code != 0) {
      p.running--;
      break;
    }
  }
  pthread_mutex_unlock(&p.lock);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  watch(o, what, &p);
  for (int i = 0; i < started; i++)
    pthread_join(threads[i], NULL);
  pthread_cond_destroy(&p.ended);
  pthread_mutex_destroy(&p.lock);
  ig_free(threads);
  if (p.status != IG_OK)
    return ig_fail(p.status, "%s", p.message);
  return started ? IG_OK : ig_fail(IG_ERR_MEMORY, "no thread could be started: %s", strerror(code));
}
