#!/usr/bin/env bash
# One sitting on a machine with a GPU: correctness first, then times, all into one folder. Rule: nothing is built or
# fetched there: `pack` gathers programs, the back end, the rivals' scripts and every library beyond glibc into one file
# that can be carried, `run` needs only that file and a driver; a Python with PyTorch for CUDA is used where there is one.
#   gpu_session.sh pack BUILD FILE.tar.gz     (here; ./dev gpu does it)
#   gpu_session.sh run FILE.tar.gz OUT        (there; OUT is made; INGOT_GPU_SECONDS at most, by default 560)
#   gpu_session.sh dry FILE.tar.gz OUT BUILD  (here: the same on the simulator of BUILD, everything tiny)
# OUT: summary.txt (a line a step), machine.txt, tests.txt, sanitizer.txt, kernels.jsonl and steps.jsonl (a line an
# answer of ingot bench, "session": its name), errors.txt. Each is written as a step ends: what is cut off keeps the rest.
set -euo pipefail

# Reference results of what runs on a device.
pack_golden() {
  local case
  mkdir "$1"
  for case in "$2"/{attention,bert,losses,optim,vision}*/; do
    [[ ! -d $case ]] || cp -rL "$case" "$1/"
  done
}

pack() {
  local build=$1 source to program library
  source=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
  to=$(mktemp -d)
  mkdir "$to/lib"
  for program in ingot ingot-bench tests/cuda_{ops,text,gemm,libraries,train}_test tests/golden_test; do
    if [[ -x $build/$program ]]; then
      install -s "$build/$program" "$to/"
      ldd "$build/$program" | awk '$3 ~ /^\// { print $3 }'
    fi
  done | sort -u | while read -r library; do
    case $(basename "$library") in libc.so* | libm.so* | libdl.so* | libpthread.so* | librt.so* | ld-linux*) ;;
      *) cp -L "$library" "$to/lib/" ;;
    esac
  done
  install -s "$build/libingot_cuda.so" "$to/"
  pack_golden "$to/golden" "${INGOT_GOLDEN:-$source/../../shared/golden}"
  mkdir "$to/rivals"
  cp "$source"/rivals/*.py "$to/rivals/"
  tar -C "$to" -cf - . | gzip -6 > "$2"
  rm -rf "$to"
  du -h "$2"
}

say() { echo "$*" | tee -a "$out/summary.txt"; }

# step SECONDS FILE NAME COMMAND...: its output into OUT/FILE, one line of what became of it. Into a .jsonl goes what
# it says on standard output, and what it says on standard error into errors.txt.
step() {
  local limit=$1 file=$2 name=$3 status=0 begin=$SECONDS left=$((deadline - SECONDS))
  shift 3
  if [[ $left -lt 3 ]]; then
    say "NO TIME  $name"
    return 0
  fi
  [[ $limit -lt $left ]] || limit=$left
  timeout -k 5 "$limit" "$@" > "$work/stdout" 2> "$work/stderr" || status=$?
  # A filter that leaves no test proves nothing.
  if [[ $status == 0 && $file == tests.txt ]] && grep -q 'PASSED.* 0 tests' "$work/stdout"; then
    status=99
  fi
  if [[ $file == *.jsonl ]]; then
    sed -n "s/^{/{\"session\": \"$name\", /p" "$work/stdout" >> "$out/$file"
    { echo "== $name"; cat "$work/stderr"; } >> "$out/errors.txt"
  else
    { echo "== $name"; cat "$work/stdout" "$work/stderr"; } >> "$out/$file"
  fi
  case $status in
    0) say "ok       $name ($((SECONDS - begin)) s)" ;;
    77) say "skipped  $name: $(tail -n 1 "$work/stdout")" ;;
    124 | 137) say "TOO LONG $name ($limit s)" ;;
    *) say "FAILED   $name ($status): $(cat "$work/stdout" "$work/stderr" | tail -n 1 | cut -c 1-300)" ;;
  esac
}

# The first Python whose PyTorch finds a GPU; in `python`, and in `has` which of the rivals' other packages it has.
find_python() {
  local p
  python='' has=''
  for p in ${INGOT_RIVALS_PYTHON:-} python3 python /opt/conda/bin/python /usr/local/bin/python3 /opt/venv/bin/python; do
    p=$(command -v "$p" || true)
    if [[ -n $p ]] && timeout 60 "$p" -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2> /dev/null; then
      python=$p
      has=$("$p" -c 'import importlib.util as u; print(*[m for m in ("torchvision", "transformers") if u.find_spec(m)])')
      break
    fi
  done
  if [[ -z $python ]]; then
    say "skipped  rivals: no Python here has a PyTorch that finds a GPU (INGOT_RIVALS_PYTHON names one)"
  else
    # Our libraries are not PyTorch's.
    printf '#!/bin/sh\nLD_LIBRARY_PATH="%s" exec "%s" "$@"\n' "$libraries" "$python" > "$work/python"
    chmod +x "$work/python"
    export INGOT_RIVALS_PYTHON=$work/python
    say "rivals   $python with $has"
  fi
}

# rivals PACKAGE NAMES: the word for ingot bench, or nothing.
rivals() {
  if [[ -n $python && " $has " == *" $1 "* ]]; then
    echo "rivals=$2"
  fi
}

correctness() {
  if command -v nvidia-smi > /dev/null; then
    step 20 machine.txt nvidia-smi nvidia-smi -q
  fi
  step 20 machine.txt doctor "$here/ingot" doctor device=cuda --json
  local name filter=()
  for name in ops gemm libraries text train; do
    [[ -z ${dry:-} ]] || filter=("--gtest_filter=${tiny[$name]}")
    step 90 tests.txt "$name" "$here/cuda_${name}_test" "${filter[@]}"
  done
  if [[ -n $(ls "$here/golden") ]]; then
    INGOT_GOLDEN=$here/golden step 90 tests.txt golden "$here/golden_test" device=cuda ${dry:+losses}
  else
    say "skipped  golden: no reference results were packed"
  fi
}

# sanitizer TOOL...
sanitizer() {
  local tool
  if ! command -v compute-sanitizer > /dev/null; then
    say "skipped  sanitizer $*: there is no compute-sanitizer on this machine"
    return 0
  fi
  for tool in "$@"; do
    step 40 sanitizer.txt "sanitizer-$tool" compute-sanitizer --tool "$tool" --error-exitcode 1 "$here/cuda_ops_test" \
      --gtest_filter='*conv2d*:*bn_*:*pool*:*linear*:*attention*:*layernorm*:*embedding*:*gelu*:*rows*:*segment*'
  done
}

# bench_step NAME PACKAGE RIVALS WORD...
bench_step() {
  local name=$1 package=$2 names=$3
  shift 3
  step 90 steps.jsonl "$name" "$here/ingot-bench" step device=cuda detail=1 --json --quiet $(rivals "$package" "$names") \
    "${small[@]}" "$@"
}

bench_kernels() {
  local name=$1
  shift
  step 60 kernels.jsonl "$name" "$here/ingot-bench" kernels device=cuda seconds=40 --json --quiet "$@"
}

times() {
  local all=pytorch,pytorch-tuned,pytorch-compile most=pytorch,pytorch-tuned precision
  for precision in fp16 bf16 tf32; do
    bench_step "resnet50-$precision" torchvision "$([[ $precision = fp16 ]] && echo $all || echo $most)" \
      model=resnet50 precision="$precision" batch=256 image_size=224
  done
  bench_step bert_large-128-bf16 transformers $all model=bert_large precision=bf16 batch=64 max_length=128
  bench_step bert_large-512-bf16 transformers $most model=bert_large precision=bf16 batch=16 max_length=512
  bench_step bert_large-128-corpus-bf16 transformers $most model=bert_large precision=bf16 batch=64 lengths=corpus
  bench_step bert_large-512-corpus-bf16 transformers $most model=bert_large precision=bf16 batch=16 lengths=corpus \
    max_length=512
  # Every row by hand-written kernels and by libraries, beside each other.
  bench_kernels kernels-resnet50-bf16 model=resnet50 precision=bf16 batch=64
  bench_kernels kernels-bert_large-bf16 model=bert_large precision=bf16 batch=16 max_length=128 \
    op='linear*,attention*,layernorm*,bias_gelu*,embedding*,gather*,dropout*,adam,lamb,segment*'
  bench_kernels kernels-resnet50-tf32 model=resnet50 precision=tf32 batch=64
}

run() {
  out=$2 work=$(mktemp -d) deadline=$((SECONDS + ${INGOT_GPU_SECONDS:-560})) here=$(mktemp -d)
  trap 'rm -rf "$work" "$here"' EXIT
  mkdir -p "$out"
  tar -C "$here" -xzf "$1"
  local libraries=${LD_LIBRARY_PATH:-}
  export LD_LIBRARY_PATH=$here/lib XDG_CACHE_HOME=$work/cache GTEST_COLOR=no INGOT_RIVALS=$here/rivals
  export INGOT_CUDA_LIBRARY=${library:-$here/libingot_cuda.so}
  small=(steps=20 rounds=3)
  correctness
  LD_LIBRARY_PATH=$libraries find_python
  if [[ -n ${dry:-} ]]; then
    small=(steps=1 rounds=1)
    bench_step tiny-pictures torchvision pytorch model=resnet20 precision=fp16 batch=2 image_size=8
    bench_step tiny-texts transformers pytorch model=bert_tiny precision=bf16 batch=2 max_length=16
    bench_kernels kernels-tiny model=resnet20 precision=bf16 batch=1 image_size=8 op='bn_apply,conv2d' 'shape=1x2x2x64*'
    sanitizer memcheck
  else
    sanitizer memcheck racecheck
    times
    # What there is still time for.
    sanitizer synccheck initcheck
    bench_step resnet18-bf16 torchvision pytorch-tuned model=resnet18 precision=bf16 batch=256 image_size=224
    bench_step bert_base-128-bf16 transformers pytorch-tuned model=bert_base precision=bf16 batch=64 max_length=128
    bench_kernels kernels-rows-fp16 model=none precision=fp16
  fi
  say "done     $SECONDS s"
}

# Of each test program what a simulator runs in a second.
declare -A tiny=([ops]='*softmax_xent*' [gemm]='Tf32.*' [libraries]='*linear_cublaslt*' [text]='LinearXent.*' [train]='*StopsAt*')

dry() {
  dry=1 library=$3/libingot_cuda_sim.so
  export INGOT_CUDA_LIBRARIES=$3/fake_libraries INGOT_SIM_MEMORY=${INGOT_SIM_MEMORY:-1073741824}
  run "$1" "$2"
}

case ${1:-} in
  pack) pack "$2" "$3" ;;
  run) run "$2" "$3" ;;
  dry) dry "$2" "$3" "$(cd "$4" && pwd)" ;;
  *) sed -n '2,10s/^# //p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
