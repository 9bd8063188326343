// Status codes and the message of the last failure: the part of floor 0 that is public (installed beside ingot.h).
// Rule: whoever finds the fault sets code and message together, once; callers propagate and never overwrite.
#ifndef INGOT_STATUS_H
#define INGOT_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

// What libingot.so shows; everything else in it is hidden.
#define IG_PUBLIC __attribute__((visibility("default")))

// What a function that can fail returns; 0 is success. The CLI maps these to exit codes (see ig_status_exit_code).
typedef enum ig_status {
  IG_OK = 0,
  IG_ERR_USAGE,        // unknown verb or key, value of the wrong type, contradiction between keys, a plan
                       // that exceeds memory=, a path that may not be read                              -> exit 2
  IG_ERR_FORMAT,       // a file is not what it claims to be: truncated, hostile, unknown version        -> exit 2
  IG_ERR_DATA,         // a data set or sample cannot be used: empty, one class, label out of range      -> exit 2
  IG_ERR_MISMATCH,     // two valid things do not fit: weights and model, run folder and configuration   -> exit 2
  IG_ERR_NOT_FOUND,    // a path, tensor, class or checkpoint does not exist                             -> exit 2
  IG_ERR_UNSUPPORTED,  // valid, but this build, processor or device cannot do it; a plan that exceeds
                       // what the machine allows                                                        -> exit 2
  IG_ERR_BUSY,         // another process owns the run folder                                            -> exit 2
  IG_ERR_MEMORY,       // host or device memory exhausted while running                                  -> exit 1
  IG_ERR_IO,           // reading or writing failed (errno is in the message)                            -> exit 1
  IG_ERR_DEVICE,       // a device or vendor library call failed                                         -> exit 1
  IG_ERR_NUMERIC,      // NaN or infinite loss beyond what is tolerated                                  -> exit 1
  IG_ERR_PARTIAL,      // done, but some samples failed and were named                                   -> exit 1
  IG_ERR_INTERNAL,     // our own bug; never the user's fault                                            -> exit 1
  IG_STOPPED           // stopped on purpose; the message names the checkpoint where there is one        -> exit 75
} ig_status;

// Message of the calling thread's last failure ("" if none); it says nothing after a call that returned IG_OK. Valid
// until the next call on this thread.
IG_PUBLIC const char *ig_error_message(void);
// Short name of a status: "ok", "usage", "format", ...
IG_PUBLIC const char *ig_status_name(ig_status status);
// Process exit code of cli.md for a status.
IG_PUBLIC int ig_status_exit_code(ig_status status);

#ifdef __cplusplus
}
#endif
#endif
