// The answer of `data` as JSON and as text. Rule: lists that text cuts are whole in JSON.
#ifndef IG_BINDINGS_DATA_JSON_H
#define IG_BINDINGS_DATA_JSON_H

#include <jansson.h>

#include "bindings/c/options.h"
#include "runtime/base/text.h"
#include "runtime/data/quality.h"

// A new object, NULL without memory:
//   path                 as given
//   pictures, readable   counts; files that the opening scan left out are not in `pictures`
//   parts                {train, val, test}: pictures; held_out: the val part is one that training would hold out
//   classes              [{class, train, val, test, all}]; of several labels: these; of numbers: none
//   serious, care, note  numbers of findings
//   findings             [{severity, code, count, text}], the most severe first; codes: unreadable, leak,
//                        label_conflict, group_in_two_parts, one_class, class_not_in_part, near_leak,
//                        near_label_conflict, held_out_apart, duplicates, few_pictures, imbalance, constant, extreme,
//                        mixed_channels, mixed_bits, gives_label_away, suspicious_labels, near_duplicates, clipped,
//                        mixed_sizes, mixed_formats, mixed_aspects, no_labels, numbers, labels_by_heart
//   unreadable           [{path, reason}]
//   duplicates           [{kind: same file | same pixels | nearly the same, parts [..], labels [..], pictures: [{path,
//                        part, label, like (path of the nearest), turn, difference}]}], what spoils results first
//   groups_in_two_parts  [{group, train, val, test}]
//   odd                  [{path, why: constant | nearly black | nearly white | clipped, mean, contrast}]
//   size, channels, bits, format   [{value, pictures}], the most frequent first
//   suspects             only with weights=: [{path, part, label, said, p_label, p_said, seen}], the surest first;
//                        seen: stands in the training part, whose labels the model may know by heart
//   thresholds           {hash_bits, thumb, difference, local, plain} of quality.h
//   seconds, pictures_per_second   of reading and comparing
// The verb adds warnings: [text], what opening the set told (files that are ignored, names that look alike).
json_t *ig_data_json(const ig_quality *q, const char *path);
// Appends `item` (taken) unless it could not be made; false without memory.
bool ig_json_push(json_t *list, json_t *item);
// Appends the suspects to a list as said above; of texts the path is a file and a line, and each has its text (cut).
bool ig_data_suspects(const ig_dataset *d, const ig_quality_suspect *suspects, size_t n, json_t *list);
// The same for people; at most `rows` lines a list.
ig_status ig_data_text(const ig_quality *q, const char *path, size_t rows, ig_text *out);

// The model's opinion of every sample that can be read (data_verb.c). scores: fini by the caller, whatever is returned.
ig_status ig_data_ask_model(ig_call_state *c, ig_use *use, const ig_dataset *data, ig_scores *scores);

#endif
