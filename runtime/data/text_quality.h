// Quality of a set of texts: what stands there twice, what leaks between the parts, what the tokenizer does not know.
// Rule: what is found is a pure function of texts, labels, parts and tokens.
#ifndef IG_DATA_TEXT_QUALITY_H
#define IG_DATA_TEXT_QUALITY_H

#include "runtime/data/quality.h"

#ifdef __cplusplus
extern "C" {
#endif

// Texts (pairs, sentences of words) that are the same byte for byte. The first stands for the others.
typedef struct ig_text_group {
  size_t first, n;  // in members
  unsigned parts;   // bit 1 << ig_part
  bool labels_differ;
} ig_text_group;

enum { IG_TEXT_BINS = 32 };

typedef struct ig_text_quality {
  const ig_dataset *data;  // borrowed
  size_t *members;         // sample numbers, ascending within a group
  ig_text_group *groups;   // of two members at least; in the order of their first members
  size_t n_members, n_groups;
  size_t n_copies;                           // texts that stand there already
  size_t n_leaks;                            // of a given val or test part: stands in the training part too
  size_t n_conflicts;                        // groups with several labels
  size_t lengths[IG_N_PARTS][IG_TEXT_BINS];  // samples of 2^k to 2^(k+1) - 1 tokens (bytes before tokenisation)
  int64_t *counts;                           // [IG_N_PARTS, n_classes] texts, of a tag words; regress: NULL
  ig_quality_suspect *suspects;              // the most certain contradiction first
  size_t n_suspects;
  bool asked_model;
  ig_quality_finding *findings;  // the most severe first
  size_t n_findings, findings_capacity;
} ig_text_quality;

// data best opened with inspect and allow_one_class; with tokens, unknown words and cut texts are judged too. Start
// from {0}; fini in any case. IG_ERR_USAGE (no texts), IG_ERR_MEMORY.
ig_status ig_text_quality_scan(const ig_dataset *data, ig_text_quality *q);
// Before the scan, where a model of classes has answered: labels that it contradicts (ig_find_suspects).
ig_status ig_text_quality_suspects(const ig_dataset *data, const float *logits, const uint64_t *samples, size_t n,
                                   int classes, ig_text_quality *q);
void ig_text_quality_fini(ig_text_quality *q);

#ifdef __cplusplus
}
#endif
#endif
