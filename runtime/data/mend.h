// Texts as models take them. Rule: see mend.c.
#ifndef IG_DATA_MEND_H
#define IG_DATA_MEND_H

#include "runtime/base/text.h"

// p [n] itself where it is UTF-8 without NUL; else *out is a copy in buffer, which it overwrites, with U+FFFD for each
// NUL and each maximal invalid part, and *n_invalid grows by their number.
ig_status ig_mend_text(const char *p, size_t n, ig_text *buffer, size_t *n_invalid, const char **out, size_t *n_out);

#endif
