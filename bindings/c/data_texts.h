// data PATH of texts: the quality report of tables, files of words with tags, and class folders of .txt files.
#ifndef IG_BINDINGS_DATA_TEXTS_H
#define IG_BINDINGS_DATA_TEXTS_H

#include "bindings/c/call.h"

// By names only (of a .csv by its header): a table, a file of words with tags, or a folder of such or of .txt files.
bool ig_looks_like_texts(const char *path);
// The answer as JSON:
//   path, task, texts    as given; classify, regress, multilabel or tag; those that can be used
//   parts                {train, val, test}: texts; held_out: the val part is one that training would hold out
//   classes              [{class, train, val, test, all}]; tag: words; without labels, and of numbers: empty
//   serious, care, note  numbers of findings
//   findings             [{severity, code, count, text}], the most severe first; codes: unreadable, leak,
//                        label_conflict, few_texts, imbalance, duplicates, suspicious_labels, unknown, truncated,
//                        not_utf8, labels_by_heart
//   unreadable           [{path, reason}]
//   duplicates           [{parts [..], labels_differ, texts: [{path, part, label}]}], the same byte for byte
//   unit, lengths        tokens with tokenizer=, else bytes; [{from, to, train, val, test}]
//   tokens               only with tokenizer=: {n, longest, max_length, truncated, unknown_share, invalid}
//   suspects             only with weights=: [{path, part, label, said, p_label, p_said, seen, text}], the surest first
//   seconds              of reading and comparing
//   warnings             [text]: what opening the set told
ig_status ig_data_texts(ig_call_state *c, const char *path);
// That answer for people.
ig_status ig_data_texts_show(const json_t *result, ig_text *out);

#endif
