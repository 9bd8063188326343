// Parts: finished pieces of an unfinished token file. Rule: a name that is there is whole (written under another,
// synced, renamed), and nothing in it is used before its hash agrees.
#include <string.h>

#include "runtime/base/mem.h"
#include "runtime/data/corpus_internal.h"

#define PART_MAGIC "ingotprt"

typedef struct part_header {
  char magic[8];
  uint32_t version, order, id_bytes, unused;
  uint64_t piece;
  corpus_counts counts;
  char sha256[64];  // of the payload
} part_header;

ig_status ig_corpus_part_write(const char *path, uint64_t piece, int id_bytes, const corpus_counts *counts,
                               const uint32_t *lengths, const void *ids) {
  part_header h = {
      .magic = PART_MAGIC, .version = CORPUS_VERSION, .order = CORPUS_ORDER, .id_bytes = (uint32_t)id_bytes};
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
         ig_corpus_ids_below(part->ids, id_bytes, part->counts.n_tokens, vocabulary);
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
  if (memcmp(h.magic, PART_MAGIC, 8) || h.version != CORPUS_VERSION || h.order != CORPUS_ORDER || h.piece != piece ||
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
