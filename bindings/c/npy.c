// Writes NumPy's files.
#include "bindings/c/npy.h"

#include <stdio.h>
#include <string.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"

// NumPy's format 1.0: magic, header length, a Python dict padded with blanks to a multiple of 64, C-order floats.
ig_status ig_npy_write(const char *path, const float *values, size_t rows, size_t columns) {
  enum { HEADER = 128 };
  char *bytes;
  char dict[HEADER];
  size_t n = rows * columns * sizeof *values;
  IG_TRY(ig_alloc(HEADER + n, "logits for a file", &bytes));
  int used =
      snprintf(dict, sizeof dict, "{'descr': '<f4', 'fortran_order': False, 'shape': (%zu, %zu), }", rows, columns);
  memset(bytes, ' ', HEADER);
  static const char magic[] = {'\x93', 'N', 'U', 'M', 'P', 'Y', 1, 0, HEADER - 10, 0};
  memcpy(bytes, magic, sizeof magic);
  memcpy(bytes + sizeof magic, dict, (size_t)used);
  bytes[HEADER - 1] = '\n';
  if (n)
    memcpy(bytes + HEADER, values, n);
  ig_status status = ig_file_write_atomic(path, bytes, HEADER + n);
  ig_free(bytes);
  return status;
}
