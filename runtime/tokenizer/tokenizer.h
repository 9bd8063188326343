// BERT's WordPiece, as Hugging Face computes it: text in, token ids and offsets out; vocabularies read, trained and
// written. Rule: a tokenizer never changes after it is opened, so that any number of threads share one; each thread has
// an encoding of its own.
#ifndef IG_TOKENIZER_TOKENIZER_H
#define IG_TOKENIZER_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ig_tokenizer ig_tokenizer;

// path: vocab.txt (a token a line; uncased unless a tokenizer_config.json beside it says do_lower_case false),
// tokenizer.json, or a folder that holds one of them (tokenizer.json first). IG_ERR_NOT_FOUND, IG_ERR_FORMAT,
// IG_ERR_UNSUPPORTED (a tokenizer.json of another kind than WordPiece). The message names file, place, found, expected.
ig_status ig_tokenizer_open(const char *path, ig_tokenizer **out);
void ig_tokenizer_close(ig_tokenizer *t);

typedef struct ig_tokenizer_info {
  int32_t vocabulary;                // ids are 0 .. vocabulary-1, added tokens included
  int32_t pad, unk, cls, sep, mask;  // ids; -1 where there is none
  bool lowercase;
  const char *prefix;    // "##"
  int max_length;        // of the file's truncation or tokenizer_config.json's model_max_length; 0 = not said
  bool cut_left;         // texts that are too long lose their first tokens, not their last
  char fingerprint[65];  // SHA-256 over everything that decides ids
  const char *warning;   // one line for the user: where the files contradict each other; NULL where all is well
} ig_tokenizer_info;
void ig_tokenizer_get_info(const ig_tokenizer *t, ig_tokenizer_info *out);
const char *ig_tokenizer_token(const ig_tokenizer *t, int32_t id);  // borrowed; NULL outside of the vocabulary
int32_t ig_tokenizer_id(const ig_tokenizer *t, const char *token);  // -1 where there is none

typedef enum ig_truncation {
  IG_TRUNCATE_LONGEST_FIRST,  // Hugging Face's default: a token at a time off the longer of the two
  IG_TRUNCATE_ONLY_FIRST,
  IG_TRUNCATE_ONLY_SECOND,
} ig_truncation;

typedef struct ig_encode_options {
  bool special;    // [CLS] a [SEP] b [SEP], or what the file's post-processor says
  int max_length;  // tokens, special ones included; 0 = no limit
  ig_truncation truncation;
  bool offsets;  // begin, end and word are wanted (slower)
} ig_encode_options;

// Memory that encode fills and grows; start it zeroed, one a thread.
typedef struct ig_encoding {
  size_t n;
  int32_t *ids;           // [n]
  uint8_t *types;         // [n] 0, or 1 for the second text
  uint8_t *special;       // [n] 1 for tokens that stand for no text
  uint32_t *begin, *end;  // [n] of the token in its text, in code points; 0, 0 for special ones; only with offsets
  int32_t *word;     // [n] number of the word that it is of, from 0 in each text; -1 for special ones; with offsets
  size_t n_unknown;  // tokens that are [UNK]
  size_t n_invalid;  // byte sequences that were not UTF-8 and became U+FFFD
  bool truncated;
  void *work;  // the encoder's own
} ig_encoding;
void ig_encoding_fini(ig_encoding *e);

// second: NULL for a single text.
ig_status ig_tokenizer_encode(const ig_tokenizer *t, const char *text, size_t text_bytes, const char *second,
                              size_t second_bytes, const ig_encode_options *options, ig_encoding *e);
// Words split by the user (tagging): word[] tells which of them a token is of, so offsets is taken as wanted.
ig_status ig_tokenizer_encode_words(const ig_tokenizer *t, size_t n_words, const char *const *words,
                                    const ig_encode_options *options, ig_encoding *e);
// Ids back to text, special tokens left out on wish, as Hugging Face's WordPiece decoder with clean-up. ig_free.
ig_status ig_tokenizer_decode(const ig_tokenizer *t, const int32_t *ids, size_t n, bool skip_special, char **text);

typedef struct ig_tokenizer_train_options {
  size_t size;               // sizeof(ig_tokenizer_train_options)
  const char *const *files;  // raw text
  size_t n_files;
  int vocabulary;  // tokens, special ones included
  bool lowercase;
  int min_frequency;   // of a pair that is merged; Hugging Face's default for BERT: 2
  int limit_alphabet;  // characters kept, by frequency; 1000
  int threads;
  uint64_t *n_invalid;  // NULL, or gets how many byte sequences of the files were no UTF-8
} ig_tokenizer_train_options;
// The vocabulary that tokenizers.BertWordPieceTokenizer.train makes: [PAD] [UNK] [CLS] [SEP] [MASK], the alphabet, then
// merges by frequency. IG_ERR_DATA: no word, or UTF-16.
ig_status ig_tokenizer_train(const ig_tokenizer_train_options *options, ig_tokenizer **out);
// vocab.txt, tokenizer.json and tokenizer_config.json as AutoTokenizer takes them; max_length: model_max_length.
ig_status ig_tokenizer_write(const ig_tokenizer *t, const char *folder, int max_length);

#ifdef __cplusplus
}
#endif
#endif
