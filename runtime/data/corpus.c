// Finding or making a corpus's token file. Rule: see corpus.h. All text is hashed at every opening (it names the file);
// tokenising happens once, in pieces that are kept until the whole is there.
#include "runtime/data/corpus.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "runtime/base/cpu.h"
#include "runtime/base/mem.h"
#include "runtime/base/text.h"
#include "runtime/data/corpus_internal.h"
#include "runtime/data/mend.h"

// A thread's memory.
typedef struct work {
  uint8_t *text;
  corpus_spans spans;
  ig_encoding encoding;
  ig_text mended;
  uint32_t *lengths;
  uint8_t *ids;
  size_t text_capacity, lengths_capacity, ids_capacity;
} work;

typedef struct maker {
  const ig_corpus_options *o;
  corpus_plan plan;
  ig_tokenizer_info tokenizer;
  int id_bytes;
  char fingerprint[65];
  char *path, *parts, *temporary, *lock_path;  // of the folder that is used
  int lock;
  work *works;
  size_t *todo;  // pieces that are not there yet
  size_t n_todo;
  const char *what;  // for the progress line
  uint64_t begun_ns, told_ns, todo_bytes;
  atomic_uint_least64_t done_bytes;
} maker;

static void warn(const ig_corpus_options *o, const char *text) {
  if (o->warn)
    o->warn(o->user, text);
}

static bool tick(void *shared) {
  maker *m = shared;
  const uint64_t now = ig_now_ns(), done = atomic_load(&m->done_bytes);
  char line[128];
  if (m->o->should_stop && m->o->should_stop(m->o->user))
    return false;
  if (m->o->progress && now - m->told_ns > 300000000) {
    const double seconds = (double)(now - m->begun_ns) * 1e-9;
    m->told_ns = now;
    snprintf(line, sizeof line, "%s: %.0f of %.0f MB, %.1f MB/s", m->what, (double)done * 1e-6,
             (double)m->todo_bytes * 1e-6, (double)done * 1e-6 / seconds);
    m->o->progress(m->o->user, line);
  }
  return true;
}

// body for n numbers, with progress over `bytes`.
static ig_status run(maker *m, const char *what, size_t n, uint64_t bytes, corpus_body body) {
  m->what = what;
  m->begun_ns = m->told_ns = ig_now_ns();
  m->todo_bytes = bytes;
  atomic_store(&m->done_bytes, 0);
  ig_status status = ig_corpus_each(m->o->threads, n, m, body, tick);
  if (m->o->progress)
    m->o->progress(m->o->user, "");
  return status;
}

// ---- fingerprint ----

static ig_status hash_piece(void *shared, int thread, size_t i) {
  maker *m = shared;
  work *w = &m->works[thread];
  IG_TRY(ig_corpus_piece_read(&m->plan, i, &w->text, &w->text_capacity));
  ig_sha256_hex(w->text, (size_t)m->plan.pieces[i].bytes, m->plan.pieces[i].sha256);
  atomic_fetch_add(&m->done_bytes, m->plan.pieces[i].bytes);
  return IG_OK;
}

static ig_status set_fingerprint(maker *m) {
  const corpus_plan *p = &m->plan;
  ig_sha256 *h;
  char text[64];
  IG_TRY(run(m, "reading texts", p->n_pieces, p->text_bytes, hash_piece));
  IG_TRY(ig_sha256_create(&h));
  ig_sha256_update(h, text, (size_t)snprintf(text, sizeof text, "ingot corpus %d %d\n", CORPUS_VERSION, m->id_bytes));
  ig_sha256_update(h, m->tokenizer.fingerprint, 64);
  for (size_t i = 0; i < p->n_ranges; i++)
    ig_sha256_update(h, text,
                     (size_t)snprintf(text, sizeof text, "%llu %d\n", (unsigned long long)p->ranges[i].bytes,
                                      p->ranges[i].new_document));
  for (size_t i = 0; i < p->n_pieces; i++)
    ig_sha256_update(h, p->pieces[i].sha256, 64);
  ig_sha256_finish(h, m->fingerprint);
  return m->fingerprint[0] ? IG_OK : ig_fail(IG_ERR_INTERNAL, "libcrypto could not compute a SHA-256 digest");
}

// ---- pieces to parts ----

static ig_status add_ids(maker *m, work *w, uint64_t at, const int32_t *ids, size_t n) {
  const size_t size = (size_t)m->id_bytes;
  IG_TRY(ig_grow(&w->ids, &w->ids_capacity, (size_t)at * size, ((size_t)at + n) * size, 1, "tokens"));
  if (size == 4)
    memcpy(w->ids + at * 4, ids, n * 4);
  for (size_t i = 0; size == 2 && i < n; i++)
    ((uint16_t *)w->ids)[at + i] = (uint16_t)ids[i];
  return IG_OK;
}

static ig_status encode_range(maker *m, work *w, const corpus_range *r, const char *text, corpus_counts *c,
                              bool *starts) {
  w->spans.n = 0;
  IG_TRY(ig_corpus_cut(text, (size_t)r->bytes, r->new_document, &w->spans));
  for (size_t i = 0; i < w->spans.n; i++) {
    const corpus_span *s = &w->spans.items[i];
    ig_encoding *e = &w->encoding;
    const char *sentence;
    size_t n, n_invalid = 0;
    IG_TRY(ig_mend_text(text + s->at, s->n, &w->mended, &n_invalid, &sentence, &n));
    IG_TRY(ig_tokenizer_encode(m->o->tokenizer, sentence, n, NULL, 0, &(ig_encode_options){0}, e));
    c->n_invalid += n_invalid;
    *starts = *starts || s->starts_document;
    if (e->n == 0)
      continue;
    IG_TRY(ig_grow(&w->lengths, &w->lengths_capacity, (size_t)c->n_sentences, (size_t)c->n_sentences + 1,
                   sizeof *w->lengths, "sentences"));
    IG_TRY(add_ids(m, w, c->n_tokens, e->ids, e->n));
    w->lengths[c->n_sentences++] = (uint32_t)e->n | (*starts ? CORPUS_STARTS : 0);
    c->n_tokens += e->n;
    c->n_unknown += e->n_unknown;
    c->n_documents += *starts;
    c->longest = e->n > c->longest ? e->n : c->longest;
    *starts = false;
  }
  return IG_OK;
}

static ig_status part_path(const maker *m, size_t piece, char **out) {
  return ig_asprintf(out, "%s/%zu", m->parts, piece);
}

static ig_status make_part(void *shared, int thread, size_t i) {
  maker *m = shared;
  work *w = &m->works[thread];
  const size_t number = m->todo[i];
  const corpus_piece *p = &m->plan.pieces[number];
  corpus_counts c = {0};
  char hex[65], *path;
  bool starts = false;
  IG_TRY(ig_corpus_piece_read(&m->plan, number, &w->text, &w->text_capacity));
  ig_sha256_hex(w->text, (size_t)p->bytes, hex);
  if (strcmp(hex, p->sha256))
    return ig_fail(IG_ERR_DATA, "%s changed while it was read; start again when it is finished",
                   m->plan.ranges[p->first].path);
  const char *text = (const char *)w->text;
  for (size_t r = p->first; r < p->first + p->n; text += m->plan.ranges[r++].bytes)
    IG_TRY(encode_range(m, w, &m->plan.ranges[r], text, &c, &starts));
  IG_TRY(part_path(m, number, &path));
  ig_status status = ig_corpus_part_write(path, number, m->id_bytes, &c, w->lengths, w->ids);
  ig_free(path);
  atomic_fetch_add(&m->done_bytes, p->bytes);
  return status;
}

// Pieces whose part is not there, or not whole.
static ig_status list_todo(maker *m, uint64_t *bytes) {
  IG_TRY(ig_alloc_array(m->plan.n_pieces, sizeof *m->todo, "pieces of a corpus", &m->todo));
  *bytes = 0;
  for (size_t i = 0; i < m->plan.n_pieces; i++) {
    char *path;
    corpus_part part;
    IG_TRY(part_path(m, i, &path));
    ig_status status = ig_corpus_part_open(path, i, m->id_bytes, m->tokenizer.vocabulary, &part);
    ig_free(path);
    ig_corpus_part_close(&part);
    if (status == IG_OK)
      continue;
    if (status != IG_ERR_NOT_FOUND && status != IG_ERR_FORMAT)
      return status;
    m->todo[m->n_todo++] = i;
    *bytes += m->plan.pieces[i].bytes;
  }
  ig_error_clear();
  return IG_OK;
}

// Parts and whole together, at English's four bytes a token and hundred a sentence. Before any work a disk that is too
// small is the user's to change.
static ig_status check_room(const maker *m) {
  const uint64_t need = m->plan.text_bytes / 2 * (uint64_t)m->id_bytes + m->plan.text_bytes / 5;
  uint64_t room;
  IG_TRY(ig_free_bytes(m->parts, &room));
  if (room < need)
    return ig_fail(IG_ERR_USAGE,
                   "%s: about %llu MB are needed for the tokens of %llu MB of text, and %llu MB are free; free some, "
                   "or set XDG_CACHE_HOME to a folder on another disk",
                   m->parts, (unsigned long long)(need >> 20), (unsigned long long)(m->plan.text_bytes >> 20),
                   (unsigned long long)(room >> 20));
  return IG_OK;
}

static ig_status make_file(maker *m) {
  uint64_t bytes;
  corpus_header known = {.id_bytes = (uint32_t)m->id_bytes,
                         .n_files = (uint32_t)m->plan.n_files,
                         .vocabulary = m->tokenizer.vocabulary,
                         .text_bytes = m->plan.text_bytes};
  memcpy(known.fingerprint, m->fingerprint, 64);
  IG_TRY(check_room(m));
  IG_TRY(ig_make_dirs(m->parts));
  IG_TRY(list_todo(m, &bytes));
  IG_TRY(run(m, "tokenising", m->n_todo, bytes, make_part));
  ig_status status = ig_corpus_assemble(m->parts, m->plan.n_pieces, &known, m->temporary, m->path);
  if (status != IG_OK && status != IG_ERR_DATA)
    return status;
  ig_status removed = ig_remove_tree(m->parts);
  return status != IG_OK ? status : removed;
}

// ---- the folder ----

static void leave_folder(maker *m) {
  if (m->lock >= 0) {
    ig_fileops_get()->unlink(m->lock_path);
    ig_fileops_get()->close(m->lock);
  }
  m->lock = -1;
  ig_free(m->path);
  ig_free(m->parts);
  ig_free(m->temporary);
  ig_free(m->lock_path);
  m->path = m->parts = m->temporary = m->lock_path = NULL;
}

static ig_status enter_folder(maker *m, const char *folder) {
  leave_folder(m);
  char *base;
  ig_status status = IG_OK;
  IG_TRY(ig_path_join(&base, folder, m->fingerprint));
  IG_GOTO(ig_asprintf(&m->path, "%s.tokens", base));
  IG_GOTO(ig_asprintf(&m->parts, "%s.parts", base));
  IG_GOTO(ig_asprintf(&m->temporary, "%s.tokens.tmp", base));
  IG_GOTO(ig_asprintf(&m->lock_path, "%s.lock", base));
done:
  ig_free(base);
  return status;
}

// Whether the descriptor is still what the path names: the process before may have removed it.
static bool is_current(int fd, const char *path) {
  struct stat ours, named;
  return ig_fileops_get()->fstat(fd, &ours) == 0 && ig_fileops_get()->stat(path, &named) == 0 &&
         ours.st_ino == named.st_ino && ours.st_dev == named.st_dev;
}

// Waits until this process alone makes the file. IG_ERR_IO where the folder cannot be written.
static ig_status take_lock(maker *m) {
  const ig_fileops *ops = ig_fileops_get();
  bool told = false;
  for (;;) {
    int fd = ops->open(m->lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0)
      return ig_fail(IG_ERR_IO, "cannot create %s: %s", m->lock_path, strerror(errno));
    if (ops->flock(fd, LOCK_EX | LOCK_NB) == 0) {
      if (is_current(fd, m->lock_path)) {
        m->lock = fd;
        return IG_OK;
      }
      ops->close(fd);
      continue;
    }
    int code = errno;
    ops->close(fd);
    if (code != EWOULDBLOCK && code != EINTR)
      return ig_fail(IG_ERR_IO, "cannot lock %s: %s", m->lock_path, strerror(code));
    if (!told)
      warn(m->o, "another process tokenises this corpus; waiting for it");
    told = true;
    if (m->o->should_stop && m->o->should_stop(m->o->user))
      return ig_fail(IG_STOPPED, "stopped while another process tokenised the corpus");
    nanosleep(&(struct timespec){0, 50000000}, NULL);
  }
}

// What a process left that was killed when the file was there already. Nothing depends on it, so that a cache that
// cannot be written keeps it.
static void sweep(const maker *m) {
  const ig_fileops *ops = ig_fileops_get();
  if (!ig_path_exists(m->lock_path))
    return;
  int fd = ops->open(m->lock_path, O_RDWR | O_CLOEXEC, 0);
  if (fd < 0)
    return;
  if (ops->flock(fd, LOCK_EX | LOCK_NB) == 0 && is_current(fd, m->lock_path)) {
    ops->unlink(m->temporary);
    if (ig_remove_tree(m->parts) == IG_OK)
      ops->unlink(m->lock_path);
  }
  ops->close(fd);
  ig_error_clear();
}

// *out = NULL where the file is not there or not whole (told, where `tell`).
static ig_status look(maker *m, bool tell, ig_corpus **out) {
  char text[2300];
  ig_status status = ig_corpus_open_file(m->path, m->fingerprint, m->o->threads, out);
  if (status == IG_ERR_FORMAT || status == IG_ERR_MISMATCH) {
    snprintf(text, sizeof text, "%s; the corpus is tokenised again", ig_error_message());
    if (tell)
      warn(m->o, text);
    status = IG_OK;
  } else if (status == IG_ERR_NOT_FOUND) {
    status = IG_OK;
  }
  return status;
}

static ig_status open_or_make(maker *m, ig_corpus **out) {
  const char *folders[] = {m->o->cache, m->o->beside};
  ig_status status = IG_ERR_IO;
  char text[2300];
  for (int i = 0; i < 2; i++) {
    if (!folders[i] || !*folders[i])
      continue;
    IG_TRY(enter_folder(m, folders[i]));
    IG_TRY(look(m, true, out));
    if (*out) {
      sweep(m);
      return IG_OK;
    }
  }
  for (int i = 0; i < 2; i++) {
    if (!folders[i] || !*folders[i])
      continue;
    IG_TRY(enter_folder(m, folders[i]));
    status = ig_make_dirs(folders[i]);
    if (status == IG_OK)
      status = take_lock(m);
    if (status == IG_OK)
      break;
    if (status == IG_STOPPED || status == IG_ERR_MEMORY || i == 1 || !folders[1] || !*folders[1])
      return status;
    snprintf(text, sizeof text, "%s; tokens go to %s", ig_error_message(), folders[1]);
    warn(m->o, text);
  }
  IG_TRY(status);
  IG_TRY(look(m, false, out));  // the process that had the lock may have made it
  if (*out)
    return IG_OK;
  IG_TRY(make_file(m));
  IG_TRY(ig_corpus_open_file(m->path, m->fingerprint, m->o->threads, out));
  (*out)->info.made = true;
  return IG_OK;
}

static ig_status check_options(const ig_corpus_options *o) {
  if (!o->n_paths || !o->tokenizer || o->threads < 1)
    return ig_fail(IG_ERR_USAGE, "corpus: paths, a tokenizer and at least one thread are needed");
  if ((!o->cache || !*o->cache) && (!o->beside || !*o->beside))
    return ig_fail(IG_ERR_USAGE, "corpus: no folder for its tokens; set XDG_CACHE_HOME or HOME");
  return IG_OK;
}

static void tell_ignored(const maker *m) {
  char q[IG_QUOTE_BYTES], text[400];
  if (!m->plan.n_ignored)
    return;
  snprintf(text, sizeof text, "ignored %zu %s not .txt (first: %s)", m->plan.n_ignored,
           ig_plural(m->plan.n_ignored, "file that is", "files that are"), ig_quote(q, m->plan.first_ignored));
  warn(m->o, text);
}

static ig_status check_text(const maker *m) {
  char q[IG_QUOTE_BYTES];
  if (m->plan.text_bytes == 0)
    return ig_fail(IG_ERR_DATA, "%s: %zu text %s empty; expected sentences", ig_quote(q, m->o->paths[0]),
                   m->plan.n_files, ig_plural(m->plan.n_files, "file, which is", "files, all"));
  return IG_OK;
}

static void fini(maker *m) {
  leave_folder(m);
  for (int i = 0; m->works && i < m->o->threads; i++) {
    work *w = &m->works[i];
    ig_free(w->text);
    ig_free(w->lengths);
    ig_free(w->ids);
    ig_free(w->mended.data);
    ig_corpus_spans_fini(&w->spans);
    ig_encoding_fini(&w->encoding);
  }
  ig_free(m->works);
  ig_free(m->todo);
  ig_corpus_plan_fini(&m->plan);
}

ig_status ig_corpus_open(const ig_corpus_options *options, ig_corpus **out) {
  ig_status status = IG_OK;
  maker m = {.o = options, .lock = -1};
  *out = NULL;
  IG_TRY(check_options(options));
  ig_tokenizer_get_info(options->tokenizer, &m.tokenizer);
  m.id_bytes = m.tokenizer.vocabulary <= 65536 ? 2 : 4;
  IG_GOTO(ig_alloc_array((size_t)options->threads, sizeof *m.works, "threads", &m.works));
  IG_GOTO(ig_corpus_plan(options, &m.plan));
  tell_ignored(&m);
  IG_GOTO(check_text(&m));
  IG_GOTO(set_fingerprint(&m));
  IG_GOTO(open_or_make(&m, out));
  (*out)->tokenizer = options->tokenizer;
done:
  fini(&m);
  return status;
}
