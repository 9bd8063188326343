// What decides a training step: the reference.
#include "kernels/train_step/train_step_run.h"

IG_IMPLS(train_step_ref) = IG_STEP_IMPLS("_ref", IG_IMPL_REF, IG_ISA_BASE);
