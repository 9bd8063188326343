// The quality report of a data set as one HTML file. Rule: as the report of a run: no script, no address, text escaped.
#ifndef IG_TRAIN_DATA_REPORT_H
#define IG_TRAIN_DATA_REPORT_H

#include <jansson.h>

#include "runtime/data/quality.h"
#include "runtime/data/text_quality.h"

#ifdef __cplusplus
extern "C" {
#endif

// path: the data set as the user named it; out: the file that is written (atomically). Shows at most 40 groups of equal
// pictures, 24 odd pictures and 48 suspicious labels with thumbnails; says how many there are. IG_ERR_IO.
ig_status ig_data_report_write(const ig_quality *q, const char *path, const char *out);
// The same for texts: the answer of `ingot data` (bindings/c/data_texts.h) as a page; long lists are cut and say so.
ig_status ig_text_report_write(const json_t *answer, const char *out);

#ifdef __cplusplus
}
#endif
#endif
