// Lines of files or of standard input, one at a time. Rule: a line is what stands between two line feeds, any bytes;
// a carriage return before the line feed is no part of it.
#ifndef IG_BINDINGS_TEXT_LINES_H
#define IG_BINDINGS_TEXT_LINES_H

#include <stddef.h>

#include "runtime/base/status.h"

// number: from 1.
typedef ig_status (*ig_line_fn)(void *user, const char *source, size_t number, const char *line, size_t n);
// path: a file, or "-" for standard input, of which each line is handed over as it comes.
ig_status ig_each_line(const char *path, ig_line_fn each, void *user);

#endif
