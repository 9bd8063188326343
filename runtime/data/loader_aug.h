// The columns of ig_batch.aug by name. Rule: the same order as in kernels/picture/picture.h, which stands above this
// floor.
#ifndef IG_DATA_LOADER_AUG_H
#define IG_DATA_LOADER_AUG_H

// Fields of a row of ig_batch.aug: the columns of enum ig_aug_field of kernels/picture/picture.h, which this floor does
// not include; tests/data_test.cc holds the two together.
enum {
  AUG_TRANSPOSE,
  AUG_HFLIP,
  AUG_VFLIP,
  AUG_BRIGHTNESS,
  AUG_CONTRAST,
  AUG_SATURATION,
  AUG_ERASE_X0,
  AUG_ERASE_Y0,
  AUG_ERASE_X1,
  AUG_ERASE_Y1,
  AUG_MIX_MODE,
  AUG_LAMBDA,
  AUG_CUT_X0,
  AUG_CUT_Y0,
  AUG_CUT_X1,
  AUG_CUT_Y1,
  AUG_N
};
enum { MIX_NONE, MIX_MIXUP, MIX_CUTMIX };

#endif
