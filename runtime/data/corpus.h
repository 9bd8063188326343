// Raw text for pre-training: .txt files cut into documents and sentences, tokenised once into a file that is mapped.
// Rule: what the file holds is a pure function of the texts and the tokenizer: not of threads, interruptions or paths.
//
// Text: a blank line (nothing but white space) ends a document, and so does a file. Lines of a document are joined
// where they are wrapped lines (a break is where the next word would not have fitted); else each line stands for
// itself. Both are cut into sentences by the rules of corpus_text.c. A sentence without a token is left out, and so is
// a document without a sentence.
//
//   CACHE/<fingerprint>.tokens     header (counts, fingerprint, hashes) | u64 first sentence of each document |
//                                  u64 first token of each sentence | ids, u16 where the vocabulary allows, else i32
//   CACHE/<fingerprint>.parts/N    finished pieces of an unfinished file, each with its hash: a killed run goes on
//   CACHE/<fingerprint>.lock       held while the file is made: other processes wait for it
#ifndef IG_DATA_CORPUS_H
#define IG_DATA_CORPUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/base/status.h"
#include "runtime/tokenizer/tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ig_corpus_options {
  size_t size;                    // sizeof(ig_corpus_options)
  const char *const *paths;       // files (.txt), or folders with such at any depth, taken in code-point order of their
  size_t n_paths;                 // paths; files of other names in a folder are counted and warned of once
  const ig_tokenizer *tokenizer;  // borrowed: must live as long as the corpus
  const char *cache;              // folder of the token file, made where absent ($XDG_CACHE_HOME/ingot/corpora)
  const char *beside;             // where `cache` is NULL or cannot be written (a folder in the run), or NULL
  int threads;                    // >= 1
  uint64_t piece_bytes;           // text that a thread takes at a time; 0 = 4 MiB. Part of the fingerprint
  void (*warn)(void *user, const char *text);
  void (*progress)(void *user, const char *line);  // on the calling thread, several times a second; "" ends it
  bool (*should_stop)(void *user);                 // asked there too; then IG_STOPPED, and what is finished is kept
  void *user;
} ig_corpus_options;

typedef struct ig_corpus_info {
  uint64_t n_documents, n_sentences, n_tokens;
  uint64_t n_unknown, n_invalid;  // tokens that are [UNK]; places that were no UTF-8, or NUL
  uint64_t text_bytes;
  size_t n_files;
  uint64_t longest;  // tokens of the longest sentence
  int32_t vocabulary;
  int id_bytes;          // 2 or 4
  bool made;             // tokenised by this call; false: found in the cache
  const char *path;      // of the token file
  char fingerprint[65];  // SHA-256 over texts, tokenizer and form of the file
} ig_corpus_info;

typedef struct ig_corpus ig_corpus;

// Finds or makes the token file. A damaged one is warned of and made anew. IG_ERR_NOT_FOUND (no such path), IG_ERR_DATA
// (no .txt file, no sentence, UTF-16, a line over 64 MiB, a file that changed meanwhile), IG_ERR_IO, IG_STOPPED.
ig_status ig_corpus_open(const ig_corpus_options *options, ig_corpus **out);
void ig_corpus_close(ig_corpus *c);  // NULL is fine
void ig_corpus_get_info(const ig_corpus *c, ig_corpus_info *out);
const ig_tokenizer *ig_corpus_tokenizer(const ig_corpus *c);

// First token of sentence i (0 .. n_sentences; the last is n_tokens), first sentence of document i (likewise).
uint64_t ig_corpus_sentence(const ig_corpus *c, uint64_t i);
uint64_t ig_corpus_document(const ig_corpus *c, uint64_t i);
// The sentence that token t is of, and the document that sentence s is of.
uint64_t ig_corpus_sentence_of(const ig_corpus *c, uint64_t t);
uint64_t ig_corpus_document_of(const ig_corpus *c, uint64_t s);
// Ids of the tokens first .. first + n.
void ig_corpus_read(const ig_corpus *c, uint64_t first, size_t n, int32_t *ids);

// Checks a token file and maps it: header, sizes, hashes (in `threads` threads), order of the starts. What fuzzing
// calls. fingerprint: that it must carry, or NULL. No tokenizer belongs to what is opened so.
ig_status ig_corpus_open_file(const char *path, const char *fingerprint, int threads, ig_corpus **out);

#ifdef __cplusplus
}
#endif
#endif
