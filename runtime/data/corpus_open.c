// Token files checked and mapped, and what is read of them. Rule: nothing in a file is used before its hashes agree and
// its starts are in order.
#include <stddef.h>
#include <string.h>

#include "runtime/base/mem.h"
#include "runtime/base/text.h"
#include "runtime/data/corpus_internal.h"

uint64_t ig_corpus_align(uint64_t n) { return (n + CORPUS_ALIGN - 1) / CORPUS_ALIGN * CORPUS_ALIGN; }

corpus_layout ig_corpus_layout(const corpus_header *h) {
  corpus_layout l = {.documents = CORPUS_HEADER};
  l.sentences = ig_corpus_align(l.documents + 8 * (h->counts.n_documents + 1));
  l.ids = ig_corpus_align(l.sentences + 8 * (h->counts.n_sentences + 1));
  l.end = ig_corpus_align(l.ids + h->id_bytes * h->counts.n_tokens);
  return l;
}

static int32_t id_at(const void *ids, int id_bytes, uint64_t i) {
  return id_bytes == 2 ? ((const uint16_t *)ids)[i] : ((const int32_t *)ids)[i];
}
bool ig_corpus_ids_below(const void *ids, int id_bytes, uint64_t n, int32_t vocabulary) {
  bool good = true;
  for (uint64_t i = 0; i < n; i++) {
    int32_t id = id_at(ids, id_bytes, i);
    good = good && id >= 0 && id < vocabulary;
  }
  return good;
}

void ig_corpus_seal_header(corpus_header *h) {
  char hex[65];
  ig_sha256_hex(h, offsetof(corpus_header, header_sha256), hex);
  memcpy(h->header_sha256, hex, 64);
}

// What the chunks of a file are checked against.
typedef struct checking {
  const char *path;
  const ig_corpus *c;
  corpus_layout at;
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
  const uint64_t begin = CORPUS_HEADER + i * (uint64_t)CORPUS_HASH_CHUNK;
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
  if (from < to && !ig_corpus_ids_below((const char *)k->c->ids + from * (uint64_t)n->id_bytes, n->id_bytes, to - from,
                                        n->vocabulary))
    return contradiction(k->path, "an id is not of the vocabulary");
  return IG_OK;
}

static size_t n_chunks(uint64_t end) {
  return (size_t)((end - CORPUS_HEADER + CORPUS_HASH_CHUNK - 1) / CORPUS_HASH_CHUNK);
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
  if (memcmp(h->magic, CORPUS_MAGIC, 8))
    return ig_fail(IG_ERR_FORMAT, "%s is no token file: it begins with other bytes", path);
  if (h->order != CORPUS_ORDER)
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
  if (ig_corpus_layout(h).end != bytes)
    return ig_fail(IG_ERR_FORMAT, "%s has %llu bytes; its header promises %llu", path, (unsigned long long)bytes,
                   (unsigned long long)ig_corpus_layout(h).end);
  return IG_OK;
}

static ig_status check_payload(const char *path, const corpus_header *h, int threads, const ig_corpus *c) {
  ig_status status = IG_OK;
  checking k = {path, c, ig_corpus_layout(h), NULL};
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
  if (c->map.n < CORPUS_HEADER)
    IG_GOTO(ig_fail(IG_ERR_FORMAT, "%s is cut off: %zu %s", path, c->map.n, ig_plural(c->map.n, "byte", "bytes")));
  memcpy(&h, c->map.data, sizeof h);
  IG_GOTO(check_header(path, &h, c->map.n, fingerprint));
  const corpus_layout at = ig_corpus_layout(&h);
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
  if (n < CORPUS_HEADER || n_chunks(n) > 64)
    return;
  memcpy(&h, data, sizeof h);
  for (size_t i = 0; i < n_chunks(n); i++) {
    const size_t begin = CORPUS_HEADER + i * CORPUS_HASH_CHUNK, left = n - begin;
    ig_sha256_hex(data + begin, left < CORPUS_HASH_CHUNK ? left : CORPUS_HASH_CHUNK, hashes[i]);
  }
  payload_hash(hashes, n_chunks(n), hex);
  memcpy(h.payload_sha256, hex, 64);
  ig_corpus_seal_header(&h);
  memcpy(data, &h, sizeof h);
}

void ig_corpus_close(ig_corpus *c) {
  if (!c)
    return;
  ig_file_unmap(&c->map);
  ig_free(c->path);
  ig_free(c);
}

void ig_corpus_get_info(const ig_corpus *c, ig_corpus_info *out) { *out = c->info; }
const ig_tokenizer *ig_corpus_tokenizer(const ig_corpus *c) { return c->tokenizer; }
uint64_t ig_corpus_sentence(const ig_corpus *c, uint64_t i) { return c->sentences[i]; }
uint64_t ig_corpus_document(const ig_corpus *c, uint64_t i) { return c->documents[i]; }

// The last of n ascending starts that is at most x; starts[0] is 0.
static uint64_t last_start(const uint64_t *starts, uint64_t n, uint64_t x) {
  uint64_t low = 0, high = n;
  while (high - low > 1) {
    uint64_t mid = low + (high - low) / 2;
    if (starts[mid] <= x)
      low = mid;
    else
      high = mid;
  }
  return low;
}
uint64_t ig_corpus_sentence_of(const ig_corpus *c, uint64_t t) {
  return last_start(c->sentences, c->info.n_sentences, t);
}
uint64_t ig_corpus_document_of(const ig_corpus *c, uint64_t s) {
  return last_start(c->documents, c->info.n_documents, s);
}

void ig_corpus_read(const ig_corpus *c, uint64_t first, size_t n, int32_t *ids) {
  if (c->info.id_bytes == 4)
    memcpy(ids, (const int32_t *)c->ids + first, n * sizeof *ids);
  for (size_t i = 0; c->info.id_bytes == 2 && i < n; i++)
    ids[i] = ((const uint16_t *)c->ids)[first + i];
}
