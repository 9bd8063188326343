// Between the readers of data set forms and dataset.c. Rule: a reader only adds candidates with class name, part and
// size; numbering, checks, splits and the fingerprint are done once, for all forms, after it.
#ifndef IG_DATA_DATASET_INTERNAL_H
#define IG_DATA_DATASET_INTERNAL_H

#include <sys/types.h>

#include "runtime/base/text.h"
#include "runtime/data/dataset.h"
#include "runtime/data/table.h"

enum { IG_PART_NONE = -1 };  // a candidate that no folder or file has put into a part

typedef struct ig_candidate {
  ig_sample sample;
  const char *class_name;   // NULL: sample.label holds already (CIFAR), or there is no label
  const char *cells;        // of a table: its label columns, each text ended by NUL; NULL without
  const size_t *columns;    // their numbers in that file, from 0
  size_t row;               // its line there
  ig_text_sample text;      // of a set of texts; the labels of words are numbered from tags
  const char *const *tags;  // [text.n_words]
  int stratum;              // held-out shares are drawn within these
  uint64_t bytes;
  int part;  // ig_part or IG_PART_NONE
  int w, h;  // 0: not probed
} ig_candidate;

// A class that no sample is left of.
typedef struct ig_empty_class {
  const char *name;
  const char *first;  // of a split file: the first file that its row lists; NULL: a folder
  size_t row;
} ig_empty_class;

typedef struct ig_builder {
  const ig_dataset_options *options;
  ig_dataset *d;
  ig_candidate *items;
  size_t n, capacity;
  ig_empty_class *empty;
  size_t n_empty, empty_capacity;
  size_t n_paged;             // pictures with pages behind the first, which alone is read
  const char *first_paged;    // of the data set
  size_t n_ignored;           // files that are no pictures by name
  const char *first_ignored;  // owned by the data set
  const char *csv;            // the split file; NULL: a sample's own file is the table
  const char **columns;       // names of the label columns
  size_t n_columns, columns_capacity;
  bool tables;  // the samples are rows of tables, in the order of these
  int n_strata;
  ig_text mended;  // ig_take_text's, for a while
  size_t n_runs;   // folders of runs that lie among the data
  const char *first_run;
  size_t n_beside;  // folders beside those of the parts
  const char *first_beside;
  size_t n_outside;  // pictures outside of class folders
  const char *first_outside;
} ig_builder;

// Texts that live as long as the data set.
ig_status ig_dataset_text(ig_dataset *d, const char *text, size_t n, const char **out);
// Text p [n] of a sample as models take it (mend.h): where it lies, or mended in the data set's memory and counted in
// t.
ig_status ig_take_text(ig_builder *b, const char *p, size_t n, ig_text_sample *t, const char **out, size_t *n_out);
// Gives `data` (ig_alloc*, ig_file_read) to the data set, which frees it; on failure it stays the caller's.
ig_status ig_dataset_keep(ig_dataset *d, void *data);
void ig_token_table_free(ig_token_table *t);  // NULL is fine
// "a/b" (or b where a is empty) as such a text.
ig_status ig_dataset_path(ig_dataset *d, const char *a, const char *b, const char **out);
ig_status ig_builder_add(ig_builder *b, const ig_candidate *item);
void ig_builder_warn(const ig_builder *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
// A file that cannot be used (the thread's message says why where `why` is NULL): warned and counted, or an error where
// strict. The first 20 are named.
ig_status ig_builder_skip(ig_builder *b, const char *name, const char *why);
// Tells how many more were skipped than were named.
void ig_builder_end_skips(const ig_builder *b);
// IG_PART_NONE where `text` names no part: train, training, val, valid, validation, dev, test, testing; in any case,
// and with _set, -set or set behind it.
int ig_part_from_text(const char *text);

// Entries of a folder by code point, without . and ..; zero before, names_free after. IG_ERR_IO: cannot be read.
typedef struct ig_names {
  char **at;
  size_t n, capacity;
} ig_names;
ig_status ig_list_folder(const char *path, ig_names *out);
void ig_names_free(ig_names *list);

// dataset_columns.c: which columns of a table hold what is learned, and what is read. taken[i]: column i has another
// meaning. The first table decides (b->columns), later ones must have the same names; one_left: where no column has a
// usual name, the only one that is not taken is it. *numbers lives as long as the data set; NULL: the table has none.
ig_status ig_find_label_columns(ig_builder *b, const ig_table *t, const bool *taken, bool one_left,
                                const size_t **numbers);
// The cells of these columns as ig_candidate.cells.
ig_status ig_copy_cells(ig_builder *b, const ig_table *t, const size_t *numbers, const char **cells);
typedef struct ig_text_columns {
  int first, second, part, group;  // -1 without
  bool taken[IG_TABLE_COLUMNS];
} ig_text_columns;
ig_status ig_find_text_columns(const ig_builder *b, const ig_table *t, ig_text_columns *out);
// ig_table.late_key, user the builder: refuses what has a meaning by its name (part, group, second text, label).
ig_status ig_refuse_late_key(const ig_table *t, const char *key, const char *value, size_t n);
// "a", "b" and "c", for messages.
const char *ig_column_names(char *out, size_t bytes, const ig_table *t);
// A line where a split file names no parts, so that a user's own are not taken for read.
void ig_tell_no_parts(const ig_builder *b, const ig_table *t);
// A line where a table has columns that are no text by a usual name, such as QNLI's question beside its sentence.
void ig_tell_unread(const ig_builder *b, const ig_table *t, const ig_text_columns *c, const size_t *labels);
// A line where folders name the classes beside a column that could, by no usual name. taken: [t->n_names].
void ig_tell_folder_classes(const ig_builder *b, const ig_table *t, const bool *taken);

// Is this the folder of a run (out=), which may lie in the folder of the data?
ig_status ig_is_run(const char *folder, bool *run);
bool ig_is_sample_name(const ig_builder *b, const char *name);  // by its ending
// Files by what they are, not by their names.
typedef struct ig_file_id {
  dev_t dev;
  ino_t ino;
} ig_file_id;
// split_unlisted.c: candidates from `first` on are of val=: a line where files of theirs are among those before, too.
ig_status ig_tell_shared(const ig_builder *b, size_t first);
// split_unlisted.c: notes how many pictures of the folder data= no row of the split file lists. Sorts `listed`.
ig_status ig_tell_unlisted(ig_builder *b, ig_file_id *listed, size_t n);

// The readers. root: folder or file that exists.
ig_status ig_read_folder(ig_builder *b, const char *root, int part);
ig_status ig_read_split_csv(ig_builder *b, const char *csv);
ig_status ig_read_cifar(ig_builder *b, const char *root);
// All forms of texts: data, val and split (csv: a file, not a share).
ig_status ig_read_texts(ig_builder *b, bool csv);
// Rows of a table, and sentences of a file with a word and its tag a line.
ig_status ig_read_text_table(ig_builder *b, const char *path, const char *name, int part);
ig_status ig_read_conll(ig_builder *b, const char *path, const char *name, int part);
// Texts of candidates that are files; what cannot be read or is empty is skipped.
ig_status ig_load_text_files(ig_builder *b);
bool ig_text_is_blank(const char *text, size_t n);
// What ends the lines of a file: LF, or CR where it holds no LF, as old programs of Macs write.
char ig_line_end(const char *p, size_t n);
bool ig_is_cifar(const char *root);  // by names only: a .bin file, or a folder that holds batches

// No group in two parts. csv: the table of all samples, or NULL; column: of the groups, -1 = not told.
ig_status ig_check_groups(const ig_builder *b, const char *csv, int column);

// dataset_labels.c
// Sorts by code point (or, with `numbers`, by value where all are numbers) and drops doubles.
ig_status ig_distinct_texts(const char **names, size_t *n, bool numbers);
// The order that options.order gives to names, if they are just these.
void ig_order_names(const ig_builder *b, const char **names, size_t n);
// Names found in data for weights that name none (options.n_classes without classes): they fit, become numbers, or are
// refused. *names may be replaced.
ig_status ig_fit_nameless(ig_builder *b, bool tags, const char ***names, size_t *n);
typedef struct ig_class_finder {
  const ig_builder *builder;
  const char *const *names;
  size_t n;
  void *sorted;
  bool by_number;  // texts: a label may be the number of a class that the weights have a name for
} ig_class_finder;
ig_status ig_class_finder_init(ig_class_finder *f, const ig_builder *b, const char *const *names, size_t n);
void ig_class_finder_fini(ig_class_finder *f);
ig_status ig_class_find(const ig_class_finder *f, const char *name, const char *where, int32_t *label);
ig_status ig_set_class_names(ig_builder *b, const char *const *names, size_t n);
bool ig_is_utf8(const char *text);
// What becomes of the refusal of a name that is not UTF-8: a quality report only warns of it.
ig_status ig_tell_not_utf8(const ig_builder *b, ig_status refusal);
// Numbers the classes and sets every label.
ig_status ig_set_labels(ig_builder *b);
// 44, 45, 46 and the agreement of the parts' classes.
ig_status ig_check_classes(ig_builder *b);
// tag: words of what is only to be tagged, names of the tags, labels of all words, strata (the rarest tag of a
// sentence).
ig_status ig_set_tags(ig_builder *b);

// Decides what task=auto is; for classify by a CSV file, its cells become class names.
ig_status ig_decide_task(ig_builder *b);
// regress, multilabel: names, numbers and strata of the finished candidates; refuses what cannot be learned from.
ig_status ig_set_targets(ig_builder *b);

// dataset_alike.c: warns of classes, labels or tags whose names people would take for one.
ig_status ig_tell_alike(const ig_builder *b);

// Moves a share of the training candidates to IG_PART_VAL: by stratum, or by whole groups where there are groups. Items
// are sorted and have their strata.
ig_status ig_hold_out(ig_builder *b, double fraction);

// dataset_corpus.c: raw text for task=mlm. close: corpus and mlm of any data set.
ig_status ig_open_corpus(const ig_dataset_options *options, ig_dataset **out);
void ig_close_corpus(ig_dataset *d);

#endif
