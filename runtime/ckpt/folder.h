// Names and housekeeping in RUN/checkpoints. Internal to the checkpoint floor.
// Rule: what is not named exactly step-N is never taken for a checkpoint, nor touched unless it is our own left-over.
#ifndef IG_CKPT_FOLDER_H
#define IG_CKPT_FOLDER_H

#include "runtime/ckpt/checkpoint.h"

// FOLDER/step-N<suffix> (ig_free).
ig_status ig_step_path(const char *folder, int64_t step, const char *suffix, char **out);
// Steps of all entries named step-N<suffix>, ascending (ig_free). A missing folder is an empty list.
ig_status ig_step_list(const char *folder, const char *suffix, int64_t **steps, size_t *n);
// The MANIFEST reads well, is of the step that the folder's name says, and all files have their size.
ig_status ig_step_check(const char *step_folder, uint64_t *bytes);
// Removes checkpoints older than the newest `keep` valid ones up to options->step, but `protect`. Failures go to warn.
void ig_step_prune(const ig_ckpt_save_options *options);
// fsync of the folder that holds path.
ig_status ig_fsync_parent(const char *path);

#endif
