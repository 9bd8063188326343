#!/usr/bin/env bash
# One sitting on a machine with a GPU: correctness first, then times, all into one folder. Rule: nothing is built or
# fetched there: `pack` gathers programs, the back end and every library beyond glibc into one file that can be
# carried, `run` needs only that file and a driver.
#   gpu_session.sh pack BUILD FILE.tar.gz     (here; ./dev gpu does it)
#   gpu_session.sh run FILE.tar.gz OUT        (there; OUT is made; about 9 minutes at most)
set -euo pipefail

pack() {
  local build=$1 to program library
  to=$(mktemp -d)
  mkdir "$to/lib"
  for program in ingot ingot-bench tests/cuda_ops_test tests/cuda_text_test tests/cuda_train_test; do
    if [[ -x $build/$program ]]; then
      install -s "$build/$program" "$to/"
      ldd "$build/$program" | awk '$3 ~ /^\// { print $3 }'
    fi
  done | sort -u | while read -r library; do
    case $(basename "$library") in libc.so* | libm.so* | libdl.so* | libpthread.so* | librt.so* | ld-linux*) ;;
      *) cp -L "$library" "$to/lib/" ;;
    esac
  done
  cp "$build/libingot_cuda.so" "$to/"
  tar -C "$to" -czf "$2" .
  rm -rf "$to"
  du -h "$2"
}

# step SECONDS NAME COMMAND...: its output in OUT/NAME.txt, one line of what became of it.
step() {
  local limit=$1 name=$2 status=0 begin=$SECONDS
  shift 2
  timeout "$limit" "$@" > "$out/$name.txt" 2>&1 || status=$?
  case $status in
    0) echo "ok       $name ($((SECONDS - begin)) s)" ;;
    77) echo "skipped  $name: $(tail -n 1 "$out/$name.txt")" ;;
    124) echo "TOO LONG $name ($limit s)" ;;
    *) echo "FAILED   $name ($status): $(tail -n 1 "$out/$name.txt")" ;;
  esac | tee -a "$out/summary.txt"
}

run() {
  local here out=$2 tool model precision
  here=$(mktemp -d)
  mkdir -p "$out"
  tar -C "$here" -xzf "$1"
  export LD_LIBRARY_PATH=$here/lib INGOT_CUDA_LIBRARY=$here/libingot_cuda.so XDG_CACHE_HOME=$out/cache
  export GTEST_COLOR=no
  step 20 nvidia-smi nvidia-smi -q
  step 20 doctor "$here/ingot" doctor --json
  step 120 ops "$here/cuda_ops_test"
  step 60 text "$here/cuda_text_test"
  step 60 train "$here/cuda_train_test"
  if command -v compute-sanitizer > /dev/null; then
    for tool in memcheck racecheck initcheck synccheck; do
      step 60 "sanitizer-$tool" compute-sanitizer --tool "$tool" --error-exitcode 1 "$here/cuda_ops_test" \
        --gtest_filter='*conv2d*:*bn_*:*pool*:*linear*:*attention*:*layernorm*:*embedding*:*gelu*:*rows*:*segment*'
    done
  else
    echo "skipped  sanitizer: there is no compute-sanitizer on this machine" | tee -a "$out/summary.txt"
  fi
  for model in resnet18 resnet50; do
    for precision in fp16 bf16 tf32; do
      step 60 "step-$model-$precision" "$here/ingot-bench" step device=cuda model="$model" precision="$precision" \
        batch=256 image_size=224 steps=20 detail=1 --json
    done
  done
  for model in bert_base bert_large; do
    for precision in fp16 bf16 tf32; do
      step 60 "step-$model-$precision" "$here/ingot-bench" step device=cuda model="$model" precision="$precision" \
        batch=64 max_length=128 steps=20 detail=1 --json
    done
  done
  rm -rf "$out/cache" "$here"
}

case ${1:-} in
  pack) pack "$2" "$3" ;;
  run) run "$2" "$3" ;;
  *) sed -n '2,7s/^# //p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
