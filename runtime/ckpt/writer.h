// Checkpoints written behind the caller's back: start copies the tensors, a thread does the hashing, HDF5, fsync,
// rename and pruning. Rule: the caller's memory is read inside ig_ckpt_writer_start only, and one save is in flight at
// most.
//
// The copy is given back to the system tensor by tensor while the image of the file grows, so that a save takes about
// the state's size once (ig_ckpt_peak_bytes), and nothing between saves.
#ifndef IG_CKPT_WRITER_H
#define IG_CKPT_WRITER_H

#include "runtime/ckpt/checkpoint.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ig_ckpt_writer ig_ckpt_writer;

// Reserves address space for copies of such tensors (their data are not looked at) and starts the thread; it blocks all
// signals and runs at a lower priority than its maker.
ig_status ig_ckpt_writer_create(const ig_ckpt_tensor *tensors, size_t n, ig_ckpt_writer **out);
// Waits for a save in flight. NULL is fine.
void ig_ckpt_writer_destroy(ig_ckpt_writer *w);

// Copies everything that the arguments point at and returns; the single rank's ig_ckpt_save follows on the thread.
// options->warn is called by ig_ckpt_writer_collect, on its caller's thread; options->consumed is not used.
// IG_ERR_INTERNAL where a save has not been collected.
ig_status ig_ckpt_writer_start(ig_ckpt_writer *w, const ig_ckpt_save_options *options, const ig_ckpt_tensor *tensors,
                               size_t n);
// The outcome of a save, each once. Returns false where there is none: nothing was started, or `wait` is false and the
// save is still in flight. Else *step is its step and *status what ig_ckpt_save returned, with its message.
bool ig_ckpt_writer_collect(ig_ckpt_writer *w, bool wait, int64_t *step, ig_status *status);

#ifdef __cplusplus
}
#endif
#endif
