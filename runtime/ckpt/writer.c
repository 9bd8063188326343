// The thread that writes checkpoints. Rule: a save belongs to the caller while the phase is IDLE or DONE and to the
// thread while it is BUSY; only `phase` and `stop` are shared, under the lock.
#include "runtime/ckpt/writer.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/base/mem.h"

#define STACK_BYTES  (4u << 20)
#define NICER        5   // the steps' threads come first; a writer that the loop waits for has the processor to itself
#define MAX_WARNINGS 4   // a save has two places to warn from
#define ALIGNMENT    64  // of a tensor in the copy

enum { IDLE, BUSY, DONE };

struct ig_ckpt_writer {
  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t changed;
  int phase;
  bool stop;

  ig_ckpt_save_options options;  // strings and tensors are the writer's own copies
  ig_ckpt_tensor *tensors;
  char *text;  // holds all strings of options and tensors
  size_t n;
  uint8_t *copy;
  size_t reserved, dropped;  // bytes; those below `dropped` are given back
  void (*warn)(void *user, const char *text);
  void *warn_user;

  ig_status status;
  char message[2048], warnings[MAX_WARNINGS][1024];
  int n_warnings;
};

static size_t room_of(const ig_ckpt_tensor *t) {
  size_t bytes = ig_dtype_bytes(t->dtype);
  for (int i = 0; i < t->n_dims; i++)
    bytes *= (size_t)t->dims[i];
  return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static void keep_warning(void *user, const char *text) {
  ig_ckpt_writer *w = user;
  if (w->n_warnings < MAX_WARNINGS)
    snprintf(w->warnings[w->n_warnings++], sizeof w->warnings[0], "%s", text);
}

// Tensors lie in the copy one behind the other and are consumed in that order.
static void drop_copy(void *user, size_t i) {
  ig_ckpt_writer *w = user;
  size_t end = i + 1 < w->n ? (size_t)((const uint8_t *)w->tensors[i + 1].data - w->copy) : w->reserved;
  size_t page = (size_t)sysconf(_SC_PAGESIZE), whole = end / page * page;
  if (whole > w->dropped)
    ig_drop_pages(w->copy + w->dropped, whole - w->dropped);
  w->dropped = whole > w->dropped ? whole : w->dropped;
}

static void write_one(ig_ckpt_writer *w) {
  w->dropped = 0;
  w->status = ig_ckpt_save(&w->options, w->tensors, w->n);
  snprintf(w->message, sizeof w->message, "%s", w->status == IG_OK ? "" : ig_error_message());
  ig_drop_pages(w->copy + w->dropped, w->reserved - w->dropped);
}

static void *work(void *argument) {
  ig_ckpt_writer *w = argument;
  int nice = getpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid));
  (void)!setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), nice + NICER);  // a wish: Linux has it per thread
  pthread_mutex_lock(&w->lock);
  while (!w->stop) {
    if (w->phase != BUSY) {
      pthread_cond_wait(&w->changed, &w->lock);
      continue;
    }
    pthread_mutex_unlock(&w->lock);
    write_one(w);
    pthread_mutex_lock(&w->lock);
    w->phase = DONE;
    pthread_cond_broadcast(&w->changed);
  }
  pthread_mutex_unlock(&w->lock);
  return NULL;
}

// Signals are for the caller's threads: a handler that runs here would find the writer's locks taken.
static int start_thread(ig_ckpt_writer *w) {
  pthread_attr_t attributes;
  sigset_t all, before;
  int failed = pthread_attr_init(&attributes);
  if (failed)
    return failed;
  pthread_attr_setstacksize(&attributes, STACK_BYTES);
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  failed = pthread_create(&w->thread, &attributes, work, w);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_attr_destroy(&attributes);
  return failed;
}

ig_status ig_ckpt_writer_create(const ig_ckpt_tensor *tensors, size_t n, ig_ckpt_writer **out) {
  ig_status status = IG_OK;
  ig_ckpt_writer *w = NULL;
  *out = NULL;
  IG_GOTO(ig_alloc(sizeof *w, "checkpoint writer", &w));
  for (size_t i = 0; i < n; i++)
    w->reserved += room_of(&tensors[i]);
  IG_GOTO(ig_alloc_pages(w->reserved, "a checkpoint's snapshot", &w->copy));
  // Given back after each save, huge pages come anew each time: the copy of 141 MB took 69 to 194 ms with them, 51 to
  // 65 ms without.
  madvise(w->copy, w->reserved, MADV_NOHUGEPAGE);
  pthread_mutex_init(&w->lock, NULL);
  pthread_cond_init(&w->changed, NULL);
  int failed = start_thread(w);
  if (failed) {
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->changed);
    IG_GOTO(ig_fail(IG_ERR_MEMORY, "the thread that writes checkpoints cannot be started: %s", strerror(failed)));
  }
  *out = w;
  return IG_OK;
done:
  if (w)
    ig_free_pages(w->copy, w->reserved);
  ig_free(w);
  return status;
}

void ig_ckpt_writer_destroy(ig_ckpt_writer *w) {
  if (!w)
    return;
  pthread_mutex_lock(&w->lock);
  while (w->phase == BUSY)
    pthread_cond_wait(&w->changed, &w->lock);
  w->stop = true;
  pthread_cond_broadcast(&w->changed);
  pthread_mutex_unlock(&w->lock);
  pthread_join(w->thread, NULL);
  pthread_mutex_destroy(&w->lock);
  pthread_cond_destroy(&w->changed);
  ig_free_pages(w->copy, w->reserved);
  ig_free(w->tensors);
  ig_free(w->text);
  ig_free(w);
}

static int phase_of(ig_ckpt_writer *w) {
  pthread_mutex_lock(&w->lock);
  int phase = w->phase;
  pthread_mutex_unlock(&w->lock);
  return phase;
}

// Strings behind one another; NULL stays NULL.
static const char *put_text(char **at, const char *text) {
  if (!text)
    return NULL;
  size_t bytes = strlen(text) + 1;
  char *copy = memcpy(*at, text, bytes);
  *at += bytes;
  return copy;
}

static size_t text_bytes(const char *text) { return text ? strlen(text) + 1 : 0; }

static ig_status copy_words(ig_ckpt_writer *w, const ig_ckpt_save_options *o, const ig_ckpt_tensor *tensors, size_t n) {
  size_t bytes =
      text_bytes(o->folder) + text_bytes(o->run_uuid) + text_bytes(o->config_hash) + text_bytes(o->state_json) + 1;
  for (size_t i = 0; i < n; i++)
    bytes += text_bytes(tensors[i].name) + text_bytes(tensors[i].group);
  ig_free(w->text);
  ig_free(w->tensors);
  w->text = NULL;
  w->tensors = NULL;
  IG_TRY(ig_alloc(bytes, "a checkpoint's names", &w->text));
  IG_TRY(ig_alloc_array(n, sizeof *w->tensors, "a checkpoint's tensors", &w->tensors));
  char *at = w->text;
  w->options = *o;
  w->options.folder = put_text(&at, o->folder);
  w->options.run_uuid = put_text(&at, o->run_uuid);
  w->options.config_hash = put_text(&at, o->config_hash);
  w->options.state_json = put_text(&at, o->state_json);
  w->options.warn = keep_warning;
  w->options.consumed = drop_copy;
  w->options.warn_user = w->options.consumed_user = w;
  w->warn = o->warn;
  w->warn_user = o->warn_user;
  w->n = n;
  for (size_t i = 0; i < n; i++) {
    w->tensors[i] = tensors[i];
    w->tensors[i].name = put_text(&at, tensors[i].name);
    w->tensors[i].group = put_text(&at, tensors[i].group);
  }
  return IG_OK;
}

ig_status ig_ckpt_writer_start(ig_ckpt_writer *w, const ig_ckpt_save_options *options, const ig_ckpt_tensor *tensors,
                               size_t n) {
  size_t used = 0;
  if (phase_of(w) != IDLE)
    return ig_fail(IG_ERR_INTERNAL, "a checkpoint is written while the one before was not collected");
  for (size_t i = 0; i < n; i++)
    used += room_of(&tensors[i]);
  if (used > w->reserved)
    return ig_fail(IG_ERR_INTERNAL, "a checkpoint of %zu bytes for a writer of %zu", used, w->reserved);
  IG_TRY(copy_words(w, options, tensors, n));
  uint8_t *at = w->copy;
  for (size_t i = 0; i < n; i++) {
    size_t room = room_of(&tensors[i]);
    size_t bytes = ig_dtype_bytes(tensors[i].dtype);
    for (int d = 0; d < tensors[i].n_dims; d++)
      bytes *= (size_t)tensors[i].dims[d];
    if (bytes)
      memcpy(at, tensors[i].data, bytes);
    w->tensors[i].data = at;
    at += room;
  }
  w->n_warnings = 0;
  pthread_mutex_lock(&w->lock);
  w->phase = BUSY;
  pthread_cond_broadcast(&w->changed);
  pthread_mutex_unlock(&w->lock);
  return IG_OK;
}

bool ig_ckpt_writer_collect(ig_ckpt_writer *w, bool wait, int64_t *step, ig_status *status) {
  pthread_mutex_lock(&w->lock);
  while (wait && w->phase == BUSY)
    pthread_cond_wait(&w->changed, &w->lock);
  bool done = w->phase == DONE;
  if (done)
    w->phase = IDLE;
  pthread_mutex_unlock(&w->lock);
  if (!done)
    return false;
  for (int i = 0; w->warn && i < w->n_warnings; i++)
    w->warn(w->warn_user, w->warnings[i]);
  *step = w->options.step;
  *status = w->status;
  if (w->status != IG_OK)
    ig_fail(w->status, "%s", w->message);
  return true;
}
