// Pictures of steel surfaces with six kinds of defects, for the demo. Rule: a picture is a pure function of (seed,
// class, index, size), so the demo's data need neither a network nor a licence.
#ifndef IG_DATA_DEFECTS_H
#define IG_DATA_DEFECTS_H

#include <stdint.h>

#include "runtime/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { IG_DEFECTS_N_CLASSES = 6, IG_DEFECTS_MIN_SIZE = 32, IG_DEFECTS_MAX_SIZE = 1024 };

// "cracks", "inclusions", "patches", "pits", "scale", "scratches": sorted, as a data set numbers its folders. NULL
// outside 0..5.
const char *ig_defects_class_name(int cls);

// Draws picture `index` of class `cls` into rgb [size][size][3] (grey: the three channels are equal). Lengths scale
// with the size; 128 is what the classes were balanced for. Class and brightness, contrast, lighting or rolling
// direction are independent. IG_ERR_USAGE: class or size out of range.
ig_status ig_defects_draw(uint64_t seed, int cls, uint64_t index, int size, uint8_t *rgb);

// Writes folder/train/<class>/<class>_NNNN.png and folder/test/<class>/..., grey PNGs with the same bytes for the same
// arguments; test pictures have indices that no training picture has. Where the folder already holds exactly this set,
// nothing is written; a set of other arguments, or an interrupted one, is replaced. IG_ERR_USAGE: a count below 1, size
// out of range, or `folder` holds train/ or test/ that are not from here.
ig_status ig_defects_write(const char *folder, uint64_t seed, int n_train_per_class, int n_test_per_class, int size);

#ifdef __cplusplus
}
#endif
#endif
