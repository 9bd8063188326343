// What decides a training step on the CPU.
#include "kernels/train_step/train_step_run.h"

IG_IMPLS(train_step_cpu) = IG_STEP_IMPLS("_cpu", 0, IG_ISA_LEVEL);
