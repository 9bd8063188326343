// Files of NumPy.
#ifndef IG_BINDINGS_NPY_H
#define IG_BINDINGS_NPY_H

#include <stddef.h>

#include "runtime/base/status.h"

// fp32 [rows, columns], C order, format 1.0; atomic.
ig_status ig_npy_write(const char *path, const float *values, size_t rows, size_t columns);

#endif
