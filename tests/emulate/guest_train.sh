#!/bin/sh
# Two steps of training and an evaluation in fp32, without Winograd, and where the processor has it in bf16: the losses
# agree to 0.1 % and to 2 %.
set -e
train() { # NAME KEY...
  name=$1
  shift
  ingot train model=resnet20 data=/data steps=2 batch=4 quiet=1 out="$name" "$@" > "$name.txt"
  echo "$name: $(grep -E '^(train_loss|loss) ' "$name.txt" | tr -s ' \n' ' ')"
}
agree() { # FILE FILE SHARE
  paste "$1.txt" "$2.txt" | awk -v share="$3" '/^(train_loss|loss) / {
    d = $2 - $4; if (d < 0) d = -d
    if (!($2 > 0) || d > share * $2) bad = 1
    n++
  } END { exit n != 2 || bad }' || { echo "$1 and $2 differ by more than $3 of it"; exit 1; }
}
train fp32 precision=fp32
train direct precision=fp32 winograd=0
agree fp32 direct 0.001
if ingot doctor | grep -q '^bf16 *yes'; then
  train bf16 precision=bf16
  agree fp32 bf16 0.02
fi
