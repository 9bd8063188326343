// Between the readers of data set forms and dataset.c. Rule: a reader only adds candidates with class name, part and
// size; numbering, checks, splits and the fingerprint are done once, for all forms, after it.
#ifndef IG_DATA_DATASET_INTERNAL_H
#define IG_DATA_DATASET_INTERNAL_H

#include "runtime/data/dataset.h"

enum { IG_PART_NONE = -1 };  // a candidate that no folder or file has put into a part

typedef struct ig_candidate {
  ig_sample sample;
  const char *class_name;  // NULL: sample.label holds already (CIFAR), or there is no label
  const char *cells;       // of a CSV file: its label columns, each text ended by NUL; NULL without
  size_t row;              // its line there
  int stratum;             // held-out shares are drawn within these
  uint64_t bytes;
  int part;  // ig_part or IG_PART_NONE
  int w, h;  // 0: not probed
} ig_candidate;

typedef struct ig_builder {
  const ig_dataset_options *options;
  ig_dataset *d;
  ig_candidate *items;
  size_t n, capacity;
  const char **empty;  // class folders without a picture, as texts for people
  size_t n_empty, empty_capacity;
  size_t n_ignored;           // files that are no pictures by name
  const char *first_ignored;  // owned by the data set
  const char *csv;            // the split file
  const char **columns;       // its label columns: names and numbers from 0
  size_t *column_numbers;
  size_t n_columns, columns_capacity, numbers_capacity;
  int n_strata;
  size_t n_outside;  // pictures outside of class folders
  const char *first_outside;
} ig_builder;

// Texts that live as long as the data set.
ig_status ig_dataset_text(ig_dataset *d, const char *text, size_t n, const char **out);
// "a/b" (or b where a is empty) as such a text.
ig_status ig_dataset_path(ig_dataset *d, const char *a, const char *b, const char **out);
ig_status ig_builder_add(ig_builder *b, const ig_candidate *item);
void ig_builder_warn(const ig_builder *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
// A file that cannot be used (the thread's message says why where `why` is NULL): warned and counted, or an error where
// strict. The first 20 are named.
ig_status ig_builder_skip(ig_builder *b, const char *name, const char *why);
// IG_PART_NONE where `text` names no part: train, training, val, valid, validation, test, testing; in any case.
int ig_part_from_text(const char *text);

// The readers. root: folder or file that exists.
ig_status ig_read_folder(ig_builder *b, const char *root, int part);
ig_status ig_read_split_csv(ig_builder *b, const char *csv);
ig_status ig_read_cifar(ig_builder *b, const char *root);
bool ig_is_cifar(const char *root);  // by names only: a .bin file, or a folder that holds batches

// Decides what task=auto is; for classify by a CSV file, its cells become class names.
ig_status ig_decide_task(ig_builder *b);
// regress, multilabel: names, numbers and strata of the finished candidates; refuses what cannot be learned from.
ig_status ig_set_targets(ig_builder *b);

// Moves a share of the training candidates to IG_PART_VAL: by stratum, or by whole groups where there are groups. Items
// are sorted and have their strata.
ig_status ig_hold_out(ig_builder *b, double fraction);

#endif
