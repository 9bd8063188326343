// Paths that predict and tokenizer work on. Rule: a path that the user wrote is taken as it is; of folders, what looks
// like a picture, or a text, by its name.
#ifndef IG_BINDINGS_PATH_LIST_H
#define IG_BINDINGS_PATH_LIST_H

#include "runtime/base/config.h"

typedef struct ig_path_list {
  char **paths;
  size_t n, capacity;
} ig_path_list;

// The positional words: files; folders (their pictures at any depth, sorted by code point); `-` (one path a line of
// standard input). A folder without pictures is IG_ERR_NOT_FOUND.
ig_status ig_path_list_read(const ig_config *config, ig_path_list *out);
// Adds a file as it is, or the .txt files of a folder. A folder without is IG_ERR_NOT_FOUND.
ig_status ig_path_list_texts(const char *path, ig_path_list *out);
void ig_path_list_fini(ig_path_list *list);

#endif
