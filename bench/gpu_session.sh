#!/usr/bin/env bash
# One sitting on a machine with a GPU: correctness first, then times, all into one folder. Rule: nothing is built or
# fetched there: `pack` gathers programs, the back end, the rivals' scripts and every library beyond glibc into one file
# that can be carried, `run` needs only that file and a driver; a Python with PyTorch for CUDA is used where there is one.
#   gpu_session.sh pack BUILD FILE.tar.gz     (here; ./dev gpu does it)
#   gpu_session.sh run FILE.tar.gz OUT        (there; OUT is made; INGOT_GPU_SECONDS at most, by default 560)
#   gpu_session.sh dry FILE.tar.gz OUT BUILD  (here: the same on the simulator of BUILD, everything tiny)
#   gpu_session.sh sanitizer TOOL PROGRAM     (one tool of compute-sanitizer over tests/cuda_ops_test; ctest -L gpu)
# OUT: summary.txt (a line a step), machine.txt, tests.txt, sanitizer.txt, data.jsonl (a line a comparison with what is
# known of real data), kernels.jsonl and steps.jsonl (a line an answer of ingot bench, "session": its name), errors.txt.
# Each is written as a step ends: what is cut off keeps the rest.
set -euo pipefail

# Reference results of what runs on a device.
pack_golden() {
  local case
  mkdir "$1"
  for case in "$2"/{attention,bert,losses,optim,vision}*/; do
    [[ ! -d $case ]] || cp -rL "$case" "$1/"
  done
}

# Small real data with what is known of it: two published networks, 200 pictures and their logits; 48 photographs of
# defects; messages and a vocabulary (tests/cuda_data_test.cc).
pack_data() {
  local to=$1 from=$2 file
  mkdir "$to"
  [[ -d $from ]] || return 0
  for file in cifar10_exact200/{test200.bin,expected_logits_resnet20-12fca82f.npy} \
    resnet_cifar_weights/resnet20-12fca82f.safetensors \
    mlperf_tiny_resnet8/{pretrainedResnet.safetensors,expected_logits_on_cifar10_exact200.npy} \
    neu_cls/images/{crazing,inclusion,patches,pitted_surface,rolled-in_scale,scratches} \
    banking77/train.csv bert_vocab/bert-base-uncased.vocab.txt; do
    mkdir -p "$to/$(dirname "$file")"
    if [[ -d $from/$file ]]; then
      mkdir "$to/$file"
      cp -L "$from/$file/$(basename "$file")"_[1-8].jpg "$to/$file/"
    elif [[ -e $from/$file ]]; then
      cp -L "$from/$file" "$to/$file"
    fi
  done
}

pack() {
  local build=$1 source to program library
  source=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
  to=$(mktemp -d)
  mkdir "$to/lib"
  for program in ingot ingot-bench tests/cuda_{ops,text,gemm,libraries,train,data}_test tests/golden_test; do
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
  pack_data "$to/data" "${INGOT_DATA:-$source/../../shared/data}"
  mkdir "$to/rivals"
  cp "$source"/rivals/*.py "$to/rivals/"
  compress "$to" "$2" || { rm -rf "$to" "$2"; return 1; }
  rm -rf "$to"
  du -h "$2"
}

# At most 64 MiB, which is what may be carried: what is too much is told, here and in the sitting's summary.
compress() {
  local largest limit=${INGOT_PACK_BYTES:-$((64 << 20))}
  while :; do
    tar -C "$1" -cf - . | gzip -6 > "$2" || return 1
    [[ $(stat -c %s "$2") -gt $limit ]] || return 0
    largest=$({ du -s "$1"/golden/* 2> /dev/null || true; } | sort -n | tail -n 1 | cut -f 2)
    if [[ -z $largest ]]; then
      echo "gpu_session.sh: the pack has $(stat -c %s "$2") bytes without any reference result, $limit may be carried" >&2
      return 1
    fi
    echo "left out of the pack: reference result $(basename "$largest")" | tee -a "$1/left_out.txt"
    rm -rf "$largest"
  done
}

say() { echo "$*" | tee -a "$out/summary.txt"; }

# step SECONDS FILE NAME COMMAND...: its output into OUT/FILE, one line of what became of it. Into a .jsonl go the objects
# that it says on standard output, and all else into errors.txt.
step() {
  local limit=$1 file=$2 name=$3 status=0 begin=$SECONDS left=$((deadline - SECONDS))
  shift 3
  if [[ $left -lt 3 ]]; then
    say "NO TIME  $name"
    return 0
  fi
  [[ $limit -lt $left ]] || limit=$left
  timeout -k 5 "$limit" "$@" > "$work/stdout" 2> "$work/stderr" || status=$?
  # A filter that leaves no test proves nothing, nor does an answer without a line.
  if [[ $status == 0 ]] && { [[ $file == tests.txt ]] && grep -q 'PASSED.* 0 tests' "$work/stdout" ||
    [[ $file == *.jsonl ]] && ! grep -q '^{' "$work/stdout"; }; then
    status=99
  fi
  if [[ $file == *.jsonl ]]; then
    sed -n "s/^{/{\"session\": \"$name\", /p" "$work/stdout" >> "$out/$file"
    { echo "== $name"; sed '/^{/d' "$work/stdout"; cat "$work/stderr"; } >> "$out/errors.txt"
  else
    { echo "== $name"; cat "$work/stdout" "$work/stderr"; } >> "$out/$file"
  fi
  case $status in
    0) say "ok       $name ($((SECONDS - begin)) s)" ;;
    77) say "skipped  $name: $(tail -n 1 "$work/stdout" | sed 's/^skipped: //')" ;;
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
    export INGOT_RIVALS_PYTHON=$python
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
  if [[ -e $here/left_out.txt ]]; then
    say "$(cat "$here/left_out.txt")"
  fi
  filter=()
  [[ -z ${dry:-} ]] || filter=("--gtest_filter=${tiny[data]}")
  if [[ -n $(ls "$here/data") ]]; then
    INGOT_DATA=$here/data step 90 data.jsonl data "$here/cuda_data_test" "${filter[@]}"
    # What was found of each network and each course, beside what was allowed.
    if [[ -e $out/data.jsonl ]]; then
      sed -n 's/.*"test": "\([^"]*\)", "precision": "\([^"]*\)", \(.*allowed": [^,}]*\).*/         \1 \2: \3/p' \
        "$out/data.jsonl" | tr -d '"' | tee -a "$out/summary.txt"
    fi
  else
    say "skipped  data: there was no ../shared/data to pack (INGOT_DATA)"
  fi
}

# sanitize TOOL PROGRAM: of the op table what has addresses, barriers and shared memory of its own. Of no GPU the program
# says so itself, and exits with the same 77.
sanitize() {
  if ! command -v compute-sanitizer > /dev/null; then
    echo "skipped: there is no compute-sanitizer on this machine"
    return 77
  fi
  compute-sanitizer --tool "$1" --error-exitcode 1 "$2" \
    --gtest_filter='*conv2d*:*bn_*:*pool*:*linear*:*attention*:*layernorm*:*embedding*:*gelu*:*rows*:*segment*'
}

# sanitizers TOOL...
sanitizers() {
  local tool
  for tool in "$@"; do
    step 40 sanitizer.txt "sanitizer-$tool" bash "${BASH_SOURCE[0]}" sanitizer "$tool" "$here/cuda_ops_test"
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
  # Programs find their libraries in lib/ by their own rpath: PyTorch's are another matter.
  export XDG_CACHE_HOME=$work/cache GTEST_COLOR=no INGOT_RIVALS=$here/rivals
  export INGOT_CUDA_LIBRARY=${library:-$here/libingot_cuda.so}
  small=(steps=20 rounds=3)
  correctness
  find_python
  if [[ -n ${dry:-} ]]; then
    small=(steps=1 rounds=1)
    bench_step tiny-pictures torchvision pytorch model=resnet20 precision=fp16 batch=2 image_size=8
    bench_step tiny-texts transformers pytorch model=bert_tiny precision=bf16 batch=2 max_length=16
    bench_kernels kernels-tiny model=resnet20 precision=bf16 batch=1 image_size=8 op='bn_apply,conv2d' 'shape=1x2x2x64*'
    sanitizers memcheck
  else
    sanitizers memcheck racecheck
    times
    # What there is still time for.
    sanitizers synccheck initcheck
    bench_step resnet18-bf16 torchvision pytorch-tuned model=resnet18 precision=bf16 batch=256 image_size=224
    bench_step bert_base-128-bf16 transformers pytorch-tuned model=bert_base precision=bf16 batch=64 max_length=128
    bench_kernels kernels-rows-fp16 model=none precision=fp16
  fi
  say "done     $SECONDS s"
}

# Of each test program what a simulator runs in a second.
declare -A tiny=([ops]='*softmax_xent*' [gemm]='Tf32.*' [libraries]='*linear_cublaslt*' [text]='LinearXent.*' [train]='*StopsAt*'
  [data]='Network.ResNet8*')

dry() {
  dry=1 library=$3/libingot_cuda_sim.so
  export INGOT_CUDA_LIBRARIES=$3/fake_libraries INGOT_SIM_MEMORY=${INGOT_SIM_MEMORY:-1073741824}
  run "$1" "$2"
}

case ${1:-} in
  pack) pack "$2" "$3" ;;
  run) run "$2" "$3" ;;
  dry) dry "$2" "$3" "$(cd "$4" && pwd)" ;;
  sanitizer) sanitize "$2" "$3" ;;
  *) sed -n '2,13s/^# //p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
