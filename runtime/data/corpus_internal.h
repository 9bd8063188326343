// Between the files of the corpus: text to sentences (corpus_text.c), files to pieces (corpus_pieces.c), pieces to
// token files (corpus_store.c), and threads (corpus_each.c). Rule: each step is a pure function of the bytes before it.
#ifndef IG_DATA_CORPUS_INTERNAL_H
#define IG_DATA_CORPUS_INTERNAL_H

#include "runtime/base/fileop.h"
#include "runtime/data/corpus.h"

enum {
  CORPUS_VERSION = 1,
  CORPUS_MAX_LINE = 64 << 20,      // bytes
  CORPUS_MAX_SENTENCE = 64 << 10,  // bytes; what is longer is cut at white space
  CORPUS_HASH_CHUNK = 16 << 20,    // bytes of a token file that are hashed at a time
  CORPUS_ALIGN = 64,               // of its sections
  CORPUS_HEADER = 512              // bytes before the first
};
#define CORPUS_MAGIC "ingottok"
#define CORPUS_ORDER 0x01020304u  // as this machine orders bytes

// ---- text ----

// A sentence: its place in the text.
typedef struct corpus_span {
  size_t at, n;
  bool starts_document;
} corpus_span;
// Start it zeroed; grown by the calls below, freed by fini.
typedef struct corpus_spans {
  corpus_span *items;
  size_t n, capacity;
  corpus_span *lines;  // of one document
  size_t n_lines, lines_capacity;
} corpus_spans;
void ig_corpus_spans_fini(corpus_spans *s);
// Adds the sentences of text[0..n). new_document: its first sentence starts one; else it goes on with what was there.
ig_status ig_corpus_cut(const char *text, size_t n, bool new_document, corpus_spans *out);

// ---- pieces ----

typedef struct corpus_range {
  const char *path;
  uint64_t at, bytes;
  bool new_document;
} corpus_range;
typedef struct corpus_piece {
  size_t first, n;  // ranges
  uint64_t bytes;
  char sha256[65];
} corpus_piece;
typedef struct corpus_plan {
  char **files;
  size_t n_files, files_capacity;
  corpus_range *ranges;
  size_t n_ranges, ranges_capacity;
  corpus_piece *pieces;
  size_t n_pieces, pieces_capacity;
  uint64_t text_bytes;
  size_t n_ignored;  // files of a folder that are not .txt
  char *first_ignored;
} corpus_plan;
void ig_corpus_plan_fini(corpus_plan *p);
// Lists the files and cuts them into pieces of about piece_bytes: at blank lines, or at a line's end where a document
// is longer than a piece.
ig_status ig_corpus_plan(const ig_corpus_options *o, corpus_plan *p);
// The bytes of a piece, range after range, into *buffer, which grows.
ig_status ig_corpus_piece_read(const corpus_plan *p, size_t piece, uint8_t **buffer, size_t *capacity);

// ---- token files ----

// What a part or a token file counts.
typedef struct corpus_counts {
  uint64_t n_documents, n_sentences, n_tokens, n_unknown, n_invalid, longest;
} corpus_counts;

// A finished piece. lengths: tokens of each sentence, with CORPUS_STARTS where it starts a document.
#define CORPUS_STARTS 0x80000000u
typedef struct corpus_part {
  corpus_counts counts;
  const uint32_t *lengths;
  const void *ids;
  ig_mapped map;
} corpus_part;
ig_status ig_corpus_part_write(const char *path, uint64_t piece, int id_bytes, const corpus_counts *counts,
                               const uint32_t *lengths, const void *ids);
// IG_ERR_NOT_FOUND, IG_ERR_FORMAT where it is not whole.
ig_status ig_corpus_part_open(const char *path, uint64_t piece, int id_bytes, int32_t vocabulary, corpus_part *part);
void ig_corpus_part_close(corpus_part *part);

typedef struct corpus_header {
  char magic[8];
  uint32_t version, order, id_bytes, n_files;
  int32_t vocabulary;
  uint32_t unused;
  corpus_counts counts;
  uint64_t text_bytes;
  char fingerprint[64], payload_sha256[64], header_sha256[64];  // the last over all before it
} corpus_header;
// Where the sections lie, in bytes from the file's start.
typedef struct corpus_layout {
  uint64_t documents, sentences, ids, end;
} corpus_layout;
corpus_layout ig_corpus_layout(const corpus_header *h);
uint64_t ig_corpus_align(uint64_t n);  // to the next section's start
bool ig_corpus_ids_below(const void *ids, int id_bytes, uint64_t n, int32_t vocabulary);
void ig_corpus_seal_header(corpus_header *h);
// Puts the parts folder/0 .. n_parts-1 together as path; known: everything that the header says and the parts do not.
// Written to `temporary`, synced and renamed.
ig_status ig_corpus_assemble(const char *folder, size_t n_parts, const corpus_header *known, const char *temporary,
                             const char *path);
// Hashes that fit a file's bytes: for tests and fuzzing. data: a whole token file.
void ig_corpus_seal(uint8_t *data, size_t n);

struct ig_corpus {
  ig_corpus_info info;
  char *path;
  ig_mapped map;
  const uint64_t *documents, *sentences;
  const void *ids;
  const ig_tokenizer *tokenizer;
};

// ---- threads ----

typedef ig_status (*corpus_body)(void *shared, int thread, size_t i);
// Calls body for all i < n, in at most `threads` threads (numbered from 0); `tick`, where given, on the calling thread
// several times a second, where false ends it with IG_STOPPED. The first failure ends it.
ig_status ig_corpus_each(int threads, size_t n, void *shared, corpus_body body, bool (*tick)(void *shared));

#endif
