// A data set of labelled pictures or texts: what is there, which part each sample belongs to, and its fingerprint.
// Rule: opening lists and checks names, labels and parts, and never writes beside the user's files; pixels and token
// ids are made later.
#ifndef IG_DATA_DATASET_H
#define IG_DATA_DATASET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/base/status.h"
#include "runtime/tokenizer/tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum ig_part { IG_PART_TRAIN, IG_PART_VAL, IG_PART_TEST, IG_N_PARTS, IG_PART_ALL = IG_N_PARTS } ig_part;
const char *ig_part_name(ig_part part);  // "train", "val", "test", "all"

// What is learned of a sample: its class, numbers, or which of several labels hold; of texts also the class of each
// word, or masked words themselves.
typedef enum ig_task {
  IG_TASK_AUTO,
  IG_TASK_CLASSIFY,
  IG_TASK_REGRESS,
  IG_TASK_MULTILABEL,
  IG_TASK_TAG,
  IG_TASK_MLM,
} ig_task;
const char *ig_task_name(ig_task task);       // "auto", "classify", "regress", "multilabel", "tag", "mlm"
ig_task ig_task_from_text(const char *text);  // IG_TASK_AUTO for other words

typedef struct ig_sample {
  const char *path;  // absolute or as given; the file that holds it
  const char *name;  // for people and logs: relative to the data folder, "file.bin:17" for a record; may be not UTF-8
  int64_t record;    // CIFAR: index within the file; texts: line of the row; -1: the file is one sample
  int32_t label;     // 0..n_classes-1; -1 without a class (regress, multilabel: see ig_dataset.targets)
  ig_part part;
  const char *group;  // part or lot; NULL without
} ig_sample;

static inline bool ig_task_has_classes(ig_task task) { return task == IG_TASK_CLASSIFY || task == IG_TASK_TAG; }
enum { IG_NO_LABEL = -100 };  // label of a row that does not count (tag), as Hugging Face has it

// Raw text of a sample, owned by the data set: as it stands in the file, but that a NUL and each place that is no UTF-8
// is U+FFFD.
typedef struct ig_text_sample {
  const char *first, *second;  // second: of a pair; NULL without
  size_t n_first, n_second;    // bytes
  const char *const *words;    // tag: n_words texts; NULL otherwise. first is there too where there are no tags
  const int32_t *word_labels;  // [n_words], -1 = not known
  size_t n_words;
  size_t n_invalid;  // places that became U+FFFD
} ig_text_sample;

// Token ids of all samples, one after the other, special tokens included. Made once by ig_dataset_tokenize.
typedef struct ig_token_table {
  uint64_t *start;     // [n + 1]
  int32_t *ids;        // [start[n]]
  uint32_t *second;    // [n] tokens before the second text: types are 1 from there on; the sample's length without one
  int32_t *labels;     // [start[n]] tag: the word's label (0 where it has none) at its first token, else -100; or NULL
  int32_t *words;      // [start[n]] tag: which word of the sample that is, else -1; or NULL. Words that were cut off,
                       // or of which the tokenizer leaves nothing (a zero-width space), have no token
  int max_length;      // that they were cut to
  int longest;         // tokens of the longest sample
  size_t n_truncated;  // samples
  uint64_t n_tokens, n_unknown;  // special tokens are not counted
} ig_token_table;

typedef enum ig_dataset_kind {
  IG_DATASET_FOLDER,
  IG_DATASET_CIFAR10,
  IG_DATASET_CIFAR100,
  IG_DATASET_TEXT,    // labelled texts: samples, texts and, after ig_dataset_tokenize, tokens
  IG_DATASET_CORPUS,  // raw text for pre-training: corpus; samples is NULL
} ig_dataset_kind;

typedef struct ig_dataset_options {
  size_t size;                 // sizeof(ig_dataset_options)
  const char *data;            // folder or file (data=)
  const char *val;             // another folder that is the validation part, or NULL
  const char *split;           // a fraction ("0.2") or a CSV file (split=), or NULL = 0.2
  ig_task task;                // auto: by the data (dataset_targets.c)
  const char *const *columns;  // label_column=: columns of the CSV file that hold what is learned, or NULL
  size_t n_columns;
  uint64_t seed;               // of a stratified split
  const char *const *classes;  // names that labels must be numbered by (the weights' own), or NULL = from the data
  int n_classes;               // without names: the outputs of weights that name none, which the data must fit; or 0
  const char *const *order;    // without names: the order of these where the data have just them, or NULL
  int n_order;
  bool text;                // the model reads text: forms of dataset_text.c in place of pictures
  const char *text_column;  // text_column=, text2_column=; NULL = by name (formats.md, cli.md)
  const char *text2_column;
  const char *lines;  // prediction: texts, one a line, in place of the file `data`, which then is only their name
  size_t lines_bytes;
  // task=mlm: data= is raw text (corpus.h); split's fraction is held out by ig_dataset_mlm, not here.
  const ig_tokenizer *tokenizer;                   // must outlive the data set
  const char *cache, *beside;                      // folders for its tokens
  int threads;                                     // that tokenise
  void (*progress)(void *user, const char *line);  // with warn_user, as should_stop
  bool (*should_stop)(void *user);
  bool needs_labels;     // train, eval: a class folder or column is expected; predict: not
  bool allow_none;       // prediction: no text in `lines`, or none that `skipped` was not told, is no error
  bool allow_one_class;  // evaluation: one class or an empty class folder is fine; training: an error
  bool strict;           // a file that cannot be read at the opening scan is an error, not skipped
  void (*warn)(void *user, const char *text);
  void *warn_user;
  // Quality report: what training refuses (a name that is not UTF-8; in a split file a group in two parts, a file
  // listed twice or missing) is read as far as it goes. Each file that cannot be used is told by `skipped`, where
  // given, in place of a warning.
  bool inspect;
  void (*skipped)(void *user, const char *name, const char *reason);
  void *skipped_user;
} ig_dataset_options;

typedef struct ig_dataset {
  ig_dataset_kind kind;
  ig_task task;  // never auto
  char *path;
  ig_sample *samples;  // sorted by code point of (class, name), records in the file's order; part of the fingerprint;
                       // rows of tables: by part file, then by row
  size_t n;
  char **classes;  // names: sorted, or as the options or the CIFAR file number them
  int n_classes;   // regress: names of the numbers; multilabel: of the labels
  float *targets;  // [n, n_classes] regress: the numbers; multilabel: 1 or 0; NULL for classify
  size_t count[IG_N_PARTS];
  size_t *index[IG_N_PARTS];         // sample numbers of each part, in order
  char fingerprint[65];              // SHA-256 over names, sizes, labels and parts (not pixels), and over texts
  bool val_was_given;                // false: the validation part was held out of the training data here
  int typical_w, typical_h;          // median picture size of a fixed spread of at most 64 samples
  double mean_pixels;                // of the pictures whose headers were read: all, unless the set is large
  ig_text_sample *texts;             // [n] of IG_DATASET_TEXT, else NULL
  ig_token_table *tokens;            // of IG_DATASET_TEXT after ig_dataset_tokenize
  struct ig_corpus *corpus;          // of IG_DATASET_CORPUS (corpus.h); NULL where mlm is made of given samples
  int max_masked;                    // task=mlm: masked words of a sample at most
  struct ig_mlm *mlm;                // of IG_DATASET_CORPUS after ig_dataset_mlm (mlm.h); n and count are its samples'
  uint64_t n_invalid;                // places of all texts that were no UTF-8, or NUL, and are read as U+FFFD
  size_t n_skipped;                  // files that the opening scan could not read; each was named by a warning
  struct ig_dataset_memory *memory;  // owns all texts
} ig_dataset;

// Forms: a folder of class folders (pictures at any depth below; folders of runs are passed over); folders train, val
// (valid, validation, dev), test of such; a split file (see split_csv.c; data= may be that file itself); a CIFAR-10/100
// binary file or folder. The headers of up to 20,000 pictures are read: what is no picture is skipped with a warning.
// Without a validation part, a share of the training samples is held out for it (split's fraction; by default 0.2, or,
// where there is a test part, 0.15 of pictures and 0.1 of texts), stratified (by class; regress: by the first number's
// rank; multilabel: by the rarest label), groups kept whole; test samples never move. With neither labels nor parts
// (needs_labels false) all samples stand in IG_PART_TEST. Texts (options.text): a table (.csv, .tsv, .json, .jsonl;
// table.h), a sample a row; a folder of such files named train, dev (val, valid, validation) and test; words with tags
// (.conll, .iob, .bio; with task=tag also .txt and .tsv), a sample a sentence; class folders of .txt files, a sample a
// file; a split file that lists such, or that is a table itself. A table may have columns split and group. A test file
// without labels is left out with a warning where labels are needed; without that need a .txt file is a text a line.
// Rows without text are skipped with a warning. A label is a class's name or, where the weights name theirs, its
// number. IG_ERR_NOT_FOUND, IG_ERR_DATA (empty, one class, empty class, label out of range, group in two parts, ...),
// IG_ERR_FORMAT (a split file's row and column). The message names path, field, found, expected and what to do.
ig_status ig_dataset_open(const ig_dataset_options *options, ig_dataset **out);
void ig_dataset_close(ig_dataset *d);
// Whether a file is taken for a picture by its ending; formats that are not read belong to it, to be named.
bool ig_is_picture_name(const char *name);
// "pictures", "texts": what its samples are called in lines for people.
const char *ig_dataset_noun(const ig_dataset *d);
const char *ig_dataset_noun_of(const ig_dataset *d, size_t n);  // the same for n of them: "picture" for 1
// Token ids of all texts, cut to max_length tokens (3 to 32768), the longer of a pair first; on `threads` threads, the
// result does not depend on their number. A second call replaces the table. IG_ERR_UNSUPPORTED: types that are not 0,
// then 1.
ig_status ig_dataset_tokenize(ig_dataset *d, const ig_tokenizer *tokenizer, int max_length, int threads);
// Samples of each class in a part (multilabel: of each label; tag: words of each tag; regress: 0): counts has n_classes
// entries.
void ig_dataset_class_counts(const ig_dataset *d, ig_part part, int64_t *counts);

#ifdef __cplusplus
}
#endif
#endif
