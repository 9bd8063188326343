// A token file written from its parts. Rule: a name that is there is whole: it is written under another name, synced
// and renamed.
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "runtime/base/mem.h"
#include "runtime/base/text.h"
#include "runtime/data/corpus_internal.h"

enum { WRITE_BYTES = 1 << 20 };

// Writes through a buffer and keeps the hash: that over the hashes of chunks of CORPUS_HASH_CHUNK bytes, so that a
// reader can compute it in threads.
typedef struct writer {
  int fd;
  const char *path;
  uint8_t *buffer;
  size_t used;
  uint64_t written, in_chunk;
  ig_sha256 *chunk, *all;
} writer;

static ig_status end_chunk(writer *w) {
  char hex[65];
  ig_sha256_finish(w->chunk, hex);
  w->chunk = NULL;
  w->in_chunk = 0;
  ig_sha256_update(w->all, hex, 64);
  return IG_OK;
}

static ig_status flush(writer *w) {
  for (size_t at = 0; at < w->used;) {
    size_t n = w->used - at;
    if (!w->chunk)
      IG_TRY(ig_sha256_create(&w->chunk));
    n = n < CORPUS_HASH_CHUNK - w->in_chunk ? n : (size_t)(CORPUS_HASH_CHUNK - w->in_chunk);
    ig_sha256_update(w->chunk, w->buffer + at, n);
    w->in_chunk += n;
    at += n;
    if (w->in_chunk == CORPUS_HASH_CHUNK)
      IG_TRY(end_chunk(w));
  }
  IG_TRY(ig_write_all(w->fd, w->buffer, w->used, w->path));
  w->written += w->used;
  w->used = 0;
  return IG_OK;
}

static ig_status put(writer *w, const void *data, size_t n) {
  const uint8_t *p = data;
  while (n) {
    size_t k = WRITE_BYTES - w->used < n ? WRITE_BYTES - w->used : n;
    memcpy(w->buffer + w->used, p, k);
    w->used += k, p += k, n -= k;
    if (w->used == WRITE_BYTES)
      IG_TRY(flush(w));
  }
  return IG_OK;
}

static ig_status pad(writer *w) {
  static const uint8_t zeros[CORPUS_ALIGN];
  const uint64_t at = w->written + w->used;
  return put(w, zeros, (size_t)(ig_corpus_align(at) - at));
}

enum { DOCUMENTS, SENTENCES, IDS, N_SECTIONS };

// One section from one part; counters go on from part to part.
static ig_status put_part(writer *w, int section, int id_bytes, const corpus_part *part, uint64_t *sentences,
                          uint64_t *tokens) {
  if (section == IDS)
    return put(w, part->ids, (size_t)part->counts.n_tokens * (size_t)id_bytes);
  for (uint64_t i = 0; i < part->counts.n_sentences; i++) {
    if (section == SENTENCES)
      IG_TRY(put(w, tokens, 8));
    else if (part->lengths[i] & CORPUS_STARTS)
      IG_TRY(put(w, sentences, 8));
    *tokens += part->lengths[i] & ~CORPUS_STARTS;
    ++*sentences;
  }
  return IG_OK;
}

static ig_status open_part(const char *folder, size_t i, const corpus_header *h, corpus_part *part) {
  char *path;
  IG_TRY(ig_asprintf(&path, "%s/%zu", folder, i));
  ig_status status = ig_corpus_part_open(path, i, (int)h->id_bytes, h->vocabulary, part);
  ig_free(path);
  return status;
}

static ig_status put_section(writer *w, int section, const char *folder, size_t n_parts, corpus_header *h) {
  uint64_t sentences = 0, tokens = 0;
  for (size_t i = 0; i < n_parts; i++) {
    corpus_part part;
    IG_TRY(open_part(folder, i, h, &part));
    ig_status status = put_part(w, section, (int)h->id_bytes, &part, &sentences, &tokens);
    ig_corpus_part_close(&part);
    IG_TRY(status);
  }
  if (section == DOCUMENTS)
    IG_TRY(put(w, &sentences, 8));
  if (section == SENTENCES)
    IG_TRY(put(w, &tokens, 8));
  return pad(w);
}

static ig_status count_parts(const char *folder, size_t n_parts, corpus_header *h) {
  corpus_counts *c = &h->counts;
  for (size_t i = 0; i < n_parts; i++) {
    corpus_part part;
    IG_TRY(open_part(folder, i, h, &part));
    c->n_documents += part.counts.n_documents;
    c->n_sentences += part.counts.n_sentences;
    c->n_tokens += part.counts.n_tokens;
    c->n_unknown += part.counts.n_unknown;
    c->n_invalid += part.counts.n_invalid;
    c->longest = part.counts.longest > c->longest ? part.counts.longest : c->longest;
    ig_corpus_part_close(&part);
  }
  return IG_OK;
}

static ig_status write_body(writer *w, const char *folder, size_t n_parts, corpus_header *h) {
  uint8_t room[CORPUS_HEADER] = {0};
  char hex[65];
  IG_TRY(ig_write_all(w->fd, room, sizeof room, w->path));  // filled in last
  w->written = sizeof room;
  for (int section = 0; section < N_SECTIONS; section++)
    IG_TRY(put_section(w, section, folder, n_parts, h));
  IG_TRY(flush(w));
  if (w->chunk)
    IG_TRY(end_chunk(w));
  if (w->written != ig_corpus_layout(h).end)
    return ig_fail(IG_ERR_INTERNAL, "%s: wrote %llu bytes in place of %llu", w->path, (unsigned long long)w->written,
                   (unsigned long long)ig_corpus_layout(h).end);
  ig_sha256_finish(w->all, hex);
  w->all = NULL;
  memcpy(h->payload_sha256, hex, 64);
  ig_corpus_seal_header(h);
  const char *p = (const char *)h;
  for (size_t at = 0; at < sizeof *h;) {
    ssize_t put = ig_fileops_get()->pwrite(w->fd, p + at, sizeof *h - at, (off_t)at);
    if (put < 0 && errno == EINTR)
      continue;
    if (put <= 0)
      return ig_fail(IG_ERR_IO, "cannot write %s: %s", w->path, put == 0 ? "nothing was written" : strerror(errno));
    at += (size_t)put;
  }
  if (ig_fileops_get()->fsync(w->fd) != 0)
    return ig_fail(IG_ERR_IO, "cannot sync %s: %s", w->path, strerror(errno));
  return IG_OK;
}

static ig_status sync_folder_of(const char *path) {
  char *folder;
  IG_TRY(ig_strdup(path, &folder));
  char *slash = strrchr(folder, '/');
  if (slash && slash != folder)
    *slash = 0;
  ig_status status = ig_fsync_dir(slash ? folder : ".");
  ig_free(folder);
  return status;
}

ig_status ig_corpus_assemble(const char *folder, size_t n_parts, const corpus_header *known, const char *temporary,
                             const char *path) {
  const ig_fileops *ops = ig_fileops_get();
  ig_status status = IG_OK;
  corpus_header h = *known;
  writer w = {.fd = -1, .path = temporary};
  char hex[65];
  memcpy(h.magic, CORPUS_MAGIC, 8);
  h.version = CORPUS_VERSION;
  h.order = CORPUS_ORDER;
  IG_TRY(count_parts(folder, n_parts, &h));
  if (h.counts.n_tokens == 0)
    return ig_fail(IG_ERR_DATA, "the corpus holds no sentence: found %llu %s of white space and control characters",
                   (unsigned long long)h.text_bytes, ig_plural((unsigned long long)h.text_bytes, "byte", "bytes"));
  IG_GOTO(ig_alloc(WRITE_BYTES, "tokens", &w.buffer));
  IG_GOTO(ig_sha256_create(&w.all));
  w.fd = ops->open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (w.fd < 0)
    IG_GOTO(ig_fail(IG_ERR_IO, "cannot create %s: %s", temporary, strerror(errno)));
  IG_GOTO(write_body(&w, folder, n_parts, &h));
  int closed = ops->close(w.fd);
  w.fd = -1;
  if (closed != 0)
    IG_GOTO(ig_fail(IG_ERR_IO, "cannot close %s: %s", temporary, strerror(errno)));
  if (ops->rename(temporary, path) != 0)
    IG_GOTO(ig_fail(IG_ERR_IO, "cannot rename a finished file to %s: %s", path, strerror(errno)));
  IG_GOTO(sync_folder_of(path));
done:
  if (w.fd >= 0)
    ops->close(w.fd);
  if (status != IG_OK)
    ops->unlink(temporary);
  if (w.chunk)
    ig_sha256_finish(w.chunk, hex);
  if (w.all)
    ig_sha256_finish(w.all, hex);
  ig_free(w.buffer);
  return status;
}
