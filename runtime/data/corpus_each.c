// Numbers handed to threads. Rule: the caller's thread does no work, so that it can tell how far things are and stop
// them; whatever fails in a thread comes out with its message.
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "runtime/base/mem.h"
#include "runtime/data/corpus_internal.h"

enum { MAX_THREADS = 1024, TICK_NS = 100000000 };

typedef struct pool {
  size_t n, next;
  void *shared;
  corpus_body body;
  pthread_mutex_t lock;  // guards next, running, status, message
  pthread_cond_t ended;
  int running, numbered;
  ig_status status;
  char message[2048];
} pool;

static void *run_thread(void *argument) {
  pool *p = argument;
  pthread_mutex_lock(&p->lock);
  const int number = p->numbered++;
  while (p->status == IG_OK && p->next < p->n) {
    const size_t i = p->next++;
    pthread_mutex_unlock(&p->lock);
    ig_status status = p->body(p->shared, number, i);
    pthread_mutex_lock(&p->lock);
    if (status != IG_OK && p->status == IG_OK) {
      p->status = status;
      strncpy(p->message, ig_error_message(), sizeof p->message - 1);
    }
  }
  p->running--;
  pthread_cond_signal(&p->ended);
  pthread_mutex_unlock(&p->lock);
  return NULL;
}

static void watch(pool *p, bool (*tick)(void *shared)) {
  pthread_mutex_lock(&p->lock);
  while (p->running) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += TICK_NS;
    if (until.tv_nsec >= 1000000000) {
      until.tv_nsec -= 1000000000;
      until.tv_sec++;
    }
    if (pthread_cond_timedwait(&p->ended, &p->lock, &until) != ETIMEDOUT || !tick)
      continue;
    pthread_mutex_unlock(&p->lock);
    const bool on = tick(p->shared);
    pthread_mutex_lock(&p->lock);
    if (!on && p->status == IG_OK) {
      p->status = IG_STOPPED;
      strcpy(p->message, "stopped");
    }
  }
  pthread_mutex_unlock(&p->lock);
}

static int start(pool *p, pthread_t *threads, int n_threads, int *code) {
  sigset_t all, before;  // signals go to the caller's threads
  int started = 0;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_mutex_lock(&p->lock);
  for (; started < n_threads; started++, p->running++) {
    *code = pthread_create(&threads[started], NULL, run_thread, p);
    if (*code != 0)
      break;
  }
  pthread_mutex_unlock(&p->lock);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return started;
}

ig_status ig_corpus_each(int threads, size_t n, void *shared, corpus_body body, bool (*tick)(void *shared)) {
  pool p = {.n = n, .shared = shared, .body = body};
  ig_status status = IG_OK;
  pthread_t *ids = NULL;
  bool has_lock = false, has_ended = false;
  int code = 0, n_threads = threads < 1 ? 1 : threads > MAX_THREADS ? MAX_THREADS : threads;
  if (n == 0)
    return IG_OK;
  if ((size_t)n_threads > n)
    n_threads = (int)n;
  IG_GOTO(ig_alloc_array((size_t)n_threads, sizeof *ids, "threads", &ids));
  has_lock = pthread_mutex_init(&p.lock, NULL) == 0;
  has_ended = has_lock && pthread_cond_init(&p.ended, NULL) == 0;
  if (!has_ended)
    IG_GOTO(ig_fail(IG_ERR_MEMORY, "no memory for a lock"));
  const int started = start(&p, ids, n_threads, &code);
  watch(&p, tick);
  for (int i = 0; i < started; i++)
    pthread_join(ids[i], NULL);
  if (!started)
    status = ig_fail(IG_ERR_MEMORY, "no thread could be started: %s", strerror(code));
  else if (p.status != IG_OK)
    status = ig_fail(p.status, "%s", p.message);
done:
  if (has_ended)
    pthread_cond_destroy(&p.ended);
  if (has_lock)
    pthread_mutex_destroy(&p.lock);
  ig_free(ids);
  return status;
}
