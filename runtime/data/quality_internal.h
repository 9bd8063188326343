// Between the files of the quality report. Rule: a picture leaves nothing behind but its marks (about 400 bytes);
// whoever needs pixels again decodes again.
#ifndef IG_DATA_QUALITY_INTERNAL_H
#define IG_DATA_QUALITY_INTERNAL_H

#include "runtime/data/image.h"
#include "runtime/data/quality.h"
#include "runtime/data/resize.h"

enum {
  QUALITY_SIDE = 16,     // of the kept thumbnail
  QUALITY_HASH_IN = 32,  // of the picture that the hash is made of
  QUALITY_FINE = 64,     // of the pictures that are compared in the end
  QUALITY_NEAREST = 4    // candidates of each picture that are compared in the end
};

// What the search for duplicates keeps of a picture.
typedef struct quality_marks {
  uint8_t bytes[32], pixels[32];              // SHA-256 of the file, and of size and decoded pixels
  uint64_t hash[IG_QUALITY_TURNS];            // perceptual hash of the picture turned by each symmetry
  int8_t thumb[QUALITY_SIDE * QUALITY_SIDE];  // grey without its mean, as large as 8 bits allow
  float length;                               // of thumb as a vector
  bool plain;                                 // too little contrast for a comparison
} quality_marks;

// A picture that the index offers for comparison.
typedef struct quality_candidate {
  uint32_t at;  // position in the index
  uint8_t turn, bits;
} quality_candidate;

// A thread's working memory.
typedef struct quality_work {
  ig_image image;
  ig_resize resize;
  uint8_t small[QUALITY_FINE * QUALITY_FINE * 3];
  quality_candidate *found;
  size_t n_found, found_capacity;
} quality_work;
void ig_quality_work_fini(quality_work *w);

// Decodes sample i into w->image as training does. bytes: SHA-256 of the file (or of a record's pixels); info: of its
// header. Either may be NULL.
ig_status ig_quality_read(const ig_dataset *d, size_t i, quality_work *w, uint8_t bytes[32], ig_image_info *info);
// SHA-256 of size and pixels of w->image.
ig_status ig_quality_pixels(const quality_work *w, uint8_t out[32]);
// Grey values of w->image at side x side (at most QUALITY_FINE).
ig_status ig_quality_grey(quality_work *w, int side, float *out);
// Fills hash, thumb, length and plain from w->image.
ig_status ig_quality_mark(quality_work *w, quality_marks *m);

// Runs body for all i < n in the options' threads; progress is told and the stop asked for on the calling thread.
typedef ig_status (*quality_body)(void *shared, quality_work *w, size_t i);
ig_status ig_quality_each(const ig_quality_options *o, const char *what, size_t n, void *shared, quality_body body);

// a turned by `turn` is nearly b.
typedef struct quality_pair {
  uint32_t a, b;  // sample numbers
  uint8_t turn;
  float difference, local;  // see IG_QUALITY_DIFFERENCE, IG_QUALITY_LOCAL
} quality_pair;

// The nearly equal pairs among the samples use[0..n) (marks by sample number), the most alike first. pairs: ig_free.
ig_status ig_quality_near(const ig_quality_options *o, const quality_marks *marks, const uint32_t *use, size_t n,
                          quality_pair **pairs, size_t *n_pairs);

#endif
