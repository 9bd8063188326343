// Whether direction tells classes apart, so that turning pictures over would confuse them. Rule: a fixed spread of
// training pictures is looked at; nothing is drawn, and the same data give the same answer.
#ifndef IG_DATA_DIRECTION_H
#define IG_DATA_DIRECTION_H

#include "runtime/data/dataset.h"

#ifdef __cplusplus
extern "C" {
#endif

// Two classes that are each other's image; NULL: there are none.
typedef struct ig_direction {
  const char *a, *b;
} ig_direction;

typedef struct ig_directions {
  ig_direction flip;       // left and right
  ig_direction vflip;      // up and down
  ig_direction transpose;  // rows and columns
} ig_directions;

// For each turn a number of a picture that changes its sign with it: the logarithm of the gradients' energy along rows
// over that along columns (transpose), and the moments of brightness and of that energy about the middle (flips). Where
// the number is clearly above 0 in one class and clearly below in another (its mean beyond 2 standard deviations,
// over up to 24 pictures), the turn makes one look like the other. Of data sets of picture files for classify with 2 to
// 64 classes; of others nothing is said. Pictures that cannot be read are passed over.
ig_status ig_dataset_directions(const ig_dataset *d, int threads, ig_directions *out);

#ifdef __cplusplus
}
#endif
#endif
