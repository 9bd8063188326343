// placeholder until wt-data lands
#ifndef IG_DATA_TEXT_BATCH_H
#define IG_DATA_TEXT_BATCH_H
#include "runtime/data/loader.h"
#define IG_MAX_RUNGS 8
ig_status ig_text_ladder(const ig_dataset *d, ig_part part, int batch, uint64_t seed, int64_t rungs[IG_MAX_RUNGS],
                         int *n);
#endif
