// Opens a data set and demands what dataset.h promises of one that opens.
#ifndef INGOT_TESTS_FUZZ_DATASET_H
#define INGOT_TESTS_FUZZ_DATASET_H

#include "runtime/data/dataset.h"
#include "tests/fuzz/fuzz.h"

static inline ig_dataset *fuzz_open(const ig_dataset_options *options) {
  ig_dataset *d;
  if (!fuzz_ok(ig_dataset_open(options, &d)))
    return NULL;
  size_t n = 0;
  for (int part = 0; part < IG_N_PARTS; part++) {
    n += d->count[part];
    for (size_t i = 0; i < d->count[part]; i++)
      fuzz_demand(d->index[part][i] < d->n && d->samples[d->index[part][i]].part == (ig_part)part, "parts hold theirs");
  }
  fuzz_demand(n == d->n && d->n > 0 && strlen(d->fingerprint) == 64, "every sample is in a part");
  for (size_t i = 0; i < d->n; i++)
    fuzz_demand(d->samples[i].label >= -1 && d->samples[i].label < (d->n_classes > 0 ? d->n_classes : 1),
                "labels are in range");
  return d;
}

#endif
