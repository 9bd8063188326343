// bench: a program of its own, so that no measuring code is in the library. Rule: the program `ingot` becomes
// ingot-bench before this is reached; here is only what a library's caller is told, and who lacks that program.
#include "bindings/c/call.h"

ig_status ig_verb_bench(ig_call_state *c) {
  IG_TRY(ig_want_paths(c, 1, 1));
  return ig_fail(IG_ERR_UNSUPPORTED,
                 "bench is the program ingot-bench, which stands neither beside this program nor in libexec/ingot; "
                 "./dev build makes it");
}
