// The lock on a run folder: two runs never write one directory.
// Rule: the kernel's lock decides, not the file's existence, so that a killed run leaves no stale lock.
#ifndef IG_CKPT_LOCK_H
#define IG_CKPT_LOCK_H

#include "runtime/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ig_lock ig_lock;

// Takes RUN/.lock and writes "pid host" into it. IG_ERR_BUSY names the pid and host of the process that has it.
// Held until ig_lock_release or the end of this process and of every child that inherits it by fork without exec.
ig_status ig_lock_acquire(const char *run_folder, ig_lock **out);
void ig_lock_release(ig_lock *lock);  // NULL is fine
// The same, and the file goes: where the run left nothing. Who opened the file before and locks it later sees that it
// is no longer the one at its path, and takes the new one.
void ig_lock_remove(ig_lock *lock);

#ifdef __cplusplus
}
#endif
#endif
