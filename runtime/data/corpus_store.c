// Parts and token files: written, checked, mapped. Rule: a name that is there is whole: both are written under another
// name, synced and renamed; nothing in a file is used before its hashes agree.
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime/base/mem.h"
#include "runtime/data/corpus_internal.h"

#define ORDER      0x01020304u
#define FILE_MAGIC "ingottok"
#define PART_MAGIC "ingotprt"
enum { ALIGN = 64, WRITE_BYTES = 1 << 20, HEADER_ROOM = 512 };

static uint64_t round_up(uint64_t n) { return (n + ALIGN - 1) / ALIGN * ALIGN; }

// ---- parts ----

typedef struct part_header {
  char magic[8];
  uint32_t version, order, id_bytes, unused;
  uint64_t piece;
  corpus_counts counts;
  char sha256[64];  // of the payload
} part_header;

ig_status ig_corpus_part_write(const char *path, uint64_t piece, int id_bytes, const corpus_counts *counts,
                               const uint32_t *lengths, const void *ids) {
  part_header h = {.magic = PART_MAGIC, .version = CORPUS_VERSION, .order = ORDER, .id_bytes = (uint32_t)id_bytes};
  const size_t n_lengths = counts->n_sentences * sizeof *lengths, n_ids = counts->n_tokens * (size_t)id_bytes;
  uint8_t *data;
  char hex[65];
  IG_TRY(ig_alloc(sizeof h + n_lengths + n_ids, "tokens", &data));
  if (n_lengths)
    memcpy(data + sizeof h, lengths, n_lengths);
  if (n_ids)
    memcpy(data + sizeof h + n_lengths, ids, n_ids);
  ig_sha256_hex(data + sizeof h, n_lengths + n_ids, hex);
  memcpy(h.sha256, hex, sizeof h.sha256);
  h.piece = piece;
  h.counts = *counts;
  memcpy(data, &h, sizeof h);
  ig_status status = ig_file_write_atomic(path, data, sizeof h + n_lengths + n_ids);
  ig_free(data);
  return status;
}

static int32_t id_at(const void *ids, int id_bytes, uint64_t i) {
  return id_bytes == 2 ? ((const uint16_t *)ids)[i] : ((const int32_t *)ids)[i];
}
static bool ids_below(const void *ids, int id_bytes, uint64_t n, int32_t vocabulary) {
  bool good = true;
  for (uint64_t i = 0; i < n; i++) {
    int32_t id = id_at(ids, id_bytes, i);
    good = good && id >= 0 && id < vocabulary;
  }
  return good;
}

// The sums of a part's lengths are what its header counts.
static bool part_agrees(const corpus_part *part, int id_bytes, int32_t vocabulary) {
  uint64_t tokens = 0, documents = 0;
  for (uint64_t i = 0; i < part->counts.n_sentences; i++) {
    const uint32_t n = part->lengths[i] & ~CORPUS_STARTS;
    if (n == 0)
      return false;
    tokens += n;
    documents += part->lengths[i] >> 31;
  }
  return tokens == part->counts.n_tokens && documents == part->counts.n_documents &&
         ids_below(part->ids, id_bytes, part->counts.n_tokens, vocabulary);
}

ig_status ig_corpus_part_open(const char *path, uint64_t piece, int id_bytes, int32_t vocabulary, corpus_part *part) {
  ig_status status = IG_OK;
  part_header h;
  char hex[65];
  *part = (corpus_part){0};
  IG_TRY(ig_file_map(path, &part->map));
  const uint64_t bytes = part->map.n;
  if (bytes < sizeof h)
    IG_GOTO(ig_fail(IG_ERR_FORMAT, "%s is cut off", path));
  memcpy(&h, part->map.data, sizeof h);
  if (memcmp(h.magic, PART_MAGIC, 8) || h.version != CORPUS_VERSION || h.order != ORDER || h.piece != piece ||
      h.id_bytes != (uint32_t)id_bytes)
    IG_GOTO(ig_fail(IG_ERR_FORMAT, "%s is no part of this corpus", path));
  if (h.counts.n_sentences > bytes / 4 || h.counts.n_tokens > bytes / 2 ||
      bytes != sizeof h + 4 * h.counts.n_sentences + h.id_bytes * h.counts.n_tokens)
    IG_GOTO(ig_fail(IG_ERR_FORMAT, "%s has %llu bytes; its header promises others", path, (unsigned long long)bytes));
  ig_sha256_hex(part->map.data + sizeof h, bytes - sizeof h, hex);
  if (memcmp(hex, h.sha256, 64))
    IG_GOTO(ig_fail(IG_ERR_FORMAT, "%s is damaged: its hash differs", path));
  part->counts = h.counts;
  part->lengths = (const uint32_t *)(part->map.data + sizeof h);
  part->ids = part->map.data + sizeof h + 4 * h.counts.n_sentences;
  if (!part_agrees(part, id_bytes, vocabulary))
    IG_GOTO(ig_fail(IG_ERR_FORMAT, "%s contradicts itself", path));
  return IG_OK;
done:
  ig_corpus_part_close(part);
  return status;
}

void ig_corpus_part_close(corpus_part *part) {
  ig_file_unmap(&part->map);
  *part = (corpus_part){0};
}

// ---- the whole ----

// Where the sections of a token file lie.
typedef struct layout {
  uint64_t documents, sentences, ids, end;  // bytes from the file's start
} layout;

static layout layout_of(const corpus_header *h) {
  layout l = {.documents = HEADER_ROOM};
  l.sentences = round_up(l.documents + 8 * (h->counts.n_documents + 1));
  l.ids = round_up(l.sentences + 8 * (h->counts.n_sentences + 1));
  l.end = round_up(l.ids + h->id_bytes * h->counts.n_tokens);
  return l;
}

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
  static const uint8_t zeros[ALIGN];
  const uint64_t at = w->written + w->used;
  return put(w, zeros, (size_t)(round_up(at) - at));
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

static void seal_header(corpus_header *h) {
  char hex[65];
  ig_sha256_hex(h, offsetof(corpus_header, header_sha256), hex);
  memcpy(h->header_sha256, hex, 64);
}

static ig_status write_body(writer *w, const char *folder, size_t n_parts, corpus_header *h) {
  uint8_t room[HEADER_ROOM] = {0};
  char hex[65];
  IG_TRY(ig_write_all(w->fd, room, sizeof room, w->path));  // filled in last
  w->written = sizeof room;
  for (int section = 0; section < N_SECTIONS; section++)
    IG_TRY(put_section(w, section, folder, n_parts, h));
  IG_TRY(flush(w));
  if (w->chunk)
    IG_TRY(end_chunk(w));
  if (w->written != layout_of(h).end)
    return ig_fail(IG_ERR_INTERNAL, "%s: wrote %llu bytes in place of %llu", w->path, (unsigned long long)w->written,
                   (unsigned long long)layout_of(h).end);
  ig_sha256_finish(w->all, hex);
  w->all = NULL;
  memcpy(h->payload_sha256, hex, 64);
  seal_header(h);
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
  memcpy(h.magic, FILE_MAGIC, 8);
  h.version = CORPUS_VERSION;
  h.order = ORDER;
  IG_TRY(count_parts(folder, n_parts, &h));
  if (h.counts.n_tokens == 0)
    return ig_fail(IG_ERR_DATA, "the corpus holds no sentence: found %llu bytes of white space and control characters",
                   (unsigned long long)h.text_bytes);
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

// ---- reading ----

// What the chunks of a file are checked against.
typedef struct checking {
  const char *path;
  const ig_corpus *c;
  layout at;
  char (*hashes)[65];
} checking;

static ig_status contradiction(const char *path, const char *what) {
  return ig_fail(IG_ERR_FORMAT, "%s contradicts itself: %s; remove it, and it is made anew", path, what);
}

// The part [from, to) of a table of n + 1 starts whose last is `total`: each is larger than the one before.
static bool starts_good(const uint64_t *starts, uint64_t from, uint64_t to, uint64_t n, uint64_t total) {
  for (uint64_t i = from; i < to && i <= n; i++)
    if (i == 0 ? starts[0] != 0 : starts[i] <= starts[i - 1] || starts[i] > total)
      return false;
  return to <= n || starts[n] == total;
}

// Elements of `size` bytes of a section at `section` that begin within the bytes [begin, end).
static void elements(uint64_t section, uint64_t size, uint64_t begin, uint64_t end, uint64_t *from, uint64_t *to) {
  *from = begin > section ? (begin - section + size - 1) / size : 0;
  *to = end > section ? (end - section + size - 1) / size : 0;
}

static ig_status check_chunk(void *shared, int thread, size_t i) {
  const checking *k = shared;
  const ig_corpus_info *n = &k->c->info;
  const uint64_t begin = HEADER_ROOM + i * (uint64_t)CORPUS_HASH_CHUNK;
  const uint64_t end = k->at.end - begin < CORPUS_HASH_CHUNK ? k->at.end : begin + CORPUS_HASH_CHUNK;
  uint64_t from, to;
  ig_sha256_hex(k->c->map.data + begin, (size_t)(end - begin), k->hashes[i]);
  elements(k->at.documents, 8, begin, end, &from, &to);
  if (!starts_good(k->c->documents, from, to, n->n_documents, n->n_sentences))
    return contradiction(k->path, "its documents are out of order");
  elements(k->at.sentences, 8, begin, end, &from, &to);
  if (!starts_good(k->c->sentences, from, to, n->n_sentences, n->n_tokens))
    return contradiction(k->path, "its sentences are out of order");
  elements(k->at.ids, (uint64_t)n->id_bytes, begin, end, &from, &to);
  to = to < n->n_tokens ? to : n->n_tokens;
  if (from < to &&
      !ids_below((const char *)k->c->ids + from * (uint64_t)n->id_bytes, n->id_bytes, to - from, n->vocabulary))
    return contradiction(k->path, "an id is not of the vocabulary");
  return IG_OK;
}

static size_t n_chunks(uint64_t end) {
  return (size_t)((end - HEADER_ROOM + CORPUS_HASH_CHUNK - 1) / CORPUS_HASH_CHUNK);
}

static void payload_hash(char (*hashes)[65], size_t n, char out[65]) {
  ig_sha256 *h;
  out[0] = 0;
  if (ig_sha256_create(&h) != IG_OK)
    return;
  for (size_t i = 0; i < n; i++)
    ig_sha256_update(h, hashes[i], 64);
  ig_sha256_finish(h, out);
}

static ig_status check_header(const char *path, const corpus_header *h, uint64_t bytes, const char *fingerprint) {
  char hex[65];
  if (memcmp(h->magic, FILE_MAGIC, 8))
    return ig_fail(IG_ERR_FORMAT, "%s is no token file: it begins with other bytes", path);
  if (h->order != ORDER)
    return ig_fail(IG_ERR_FORMAT, "%s was written by a machine of another byte order", path);
  if (h->version != CORPUS_VERSION)
    return ig_fail(IG_ERR_FORMAT, "%s has version %u; this program reads %d", path, h->version, CORPUS_VERSION);
  ig_sha256_hex(h, offsetof(corpus_header, header_sha256), hex);
  if (memcmp(hex, h->header_sha256, 64))
    return ig_fail(IG_ERR_FORMAT, "%s is damaged: the hash of its header differs", path);
  if (fingerprint && memcmp(h->fingerprint, fingerprint, 64))
    return ig_fail(IG_ERR_MISMATCH, "%s holds another corpus, or another tokenizer's ids", path);
  const corpus_counts *n = &h->counts;
  if ((h->id_bytes != 2 && h->id_bytes != 4) || h->vocabulary < 1 || (h->id_bytes == 2 && h->vocabulary > 65536) ||
      n->n_documents == 0 || n->n_documents > n->n_sentences || n->n_sentences > n->n_tokens || n->n_tokens > bytes / 2)
    return contradiction(path, "its counts");
  if (layout_of(h).end != bytes)
    return ig_fail(IG_ERR_FORMAT, "%s has %llu bytes; its header promises %llu", path, (unsigned long long)bytes,
                   (unsigned long long)layout_of(h).end);
  return IG_OK;
}

static ig_status check_payload(const char *path, const corpus_header *h, int threads, const ig_corpus *c) {
  ig_status status = IG_OK;
  checking k = {path, c, layout_of(h), NULL};
  const size_t n = n_chunks(k.at.end);
  char hex[65];
  IG_TRY(ig_alloc_array(n, sizeof *k.hashes, "hashes", &k.hashes));
  IG_GOTO(ig_corpus_each(threads, n, &k, check_chunk, NULL));
  payload_hash(k.hashes, n, hex);
  if (memcmp(hex, h->payload_sha256, 64))
    status = ig_fail(IG_ERR_FORMAT, "%s is damaged: its hash differs", path);
done:
  ig_free(k.hashes);
  return status;
}

ig_status ig_corpus_open_file(const char *path, const char *fingerprint, int threads, ig_corpus **out) {
  ig_status status = IG_OK;
  ig_corpus *c;
  corpus_header h;
  *out = NULL;
  IG_TRY(ig_alloc(sizeof *c, "a corpus", &c));
  IG_GOTO(ig_strdup(path, &c->path));
  IG_GOTO(ig_file_map(path, &c->map));
  if (c->map.n < HEADER_ROOM)
    IG_GOTO(ig_fail(IG_ERR_FORMAT, "%s is cut off: %zu bytes", path, c->map.n));
  memcpy(&h, c->map.data, sizeof h);
  IG_GOTO(check_header(path, &h, c->map.n, fingerprint));
  const layout at = layout_of(&h);
  c->documents = (const uint64_t *)(c->map.data + at.documents);
  c->sentences = (const uint64_t *)(c->map.data + at.sentences);
  c->ids = c->map.data + at.ids;
  c->info = (ig_corpus_info){.n_documents = h.counts.n_documents,
                             .n_sentences = h.counts.n_sentences,
                             .n_tokens = h.counts.n_tokens,
                             .n_unknown = h.counts.n_unknown,
                             .n_invalid = h.counts.n_invalid,
                             .longest = h.counts.longest,
                             .text_bytes = h.text_bytes,
                             .n_files = h.n_files,
                             .vocabulary = h.vocabulary,
                             .id_bytes = (int)h.id_bytes,
                             .path = c->path};
  memcpy(c->info.fingerprint, h.fingerprint, 64);
  IG_GOTO(check_payload(path, &h, threads, c));
  *out = c;
  c = NULL;
done:
  ig_corpus_close(c);
  return status;
}

void ig_corpus_seal(uint8_t *data, size_t n) {
  corpus_header h;
  char hashes[64][65], hex[65];
  if (n < HEADER_ROOM || n_chunks(n) > 64)
    return;
  memcpy(&h, data, sizeof h);
  for (size_t i = 0; i < n_chunks(n); i++) {
    const size_t begin = HEADER_ROOM + i * CORPUS_HASH_CHUNK, left = n - begin;
    ig_sha256_hex(data + begin, left < CORPUS_HASH_CHUNK ? left : CORPUS_HASH_CHUNK, hashes[i]);
  }
  payload_hash(hashes, n_chunks(n), hex);
  memcpy(h.payload_sha256, hex, 64);
  seal_header(&h);
  memcpy(data, &h, sizeof h);
}
