#!/usr/bin/env bash
# bench/gpu_session.sh without a GPU: packs, and runs every kind of step on the simulator, tiny; what comes back can be
# read and is at most 8 files; a sitting that is cut off keeps what was done. Skipped where there is no simulator.
set -euo pipefail
source=${INGOT_SOURCE:?}
build=$(dirname "${INGOT_BIN:?}")
[[ -e $build/libingot_cuda_sim.so && -e $build/libingot_cuda.so ]] || { echo "skipped: no CUDA back end in $build"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "FAIL: $*"; cat "$work"/*/summary.txt; exit 1; }
session=$source/bench/gpu_session.sh
bash -n "$session"

# Programs of a sanitizer's build (INGOT_SLOWER) are larger and go nowhere.
[[ -z ${INGOT_SLOWER-} ]] || export INGOT_PACK_BYTES=$((1 << 30))
"$session" pack "$build" "$work/pack.tar.gz"
[[ $(stat -c %s "$work/pack.tar.gz") -lt ${INGOT_PACK_BYTES:-$((64 << 20))} ]] || fail "the pack is larger than may be carried"
# One that can't be carried even so is refused in words.
! INGOT_GOLDEN=/nowhere INGOT_PACK_BYTES=1000 "$session" pack "$build" "$work/refused.tar.gz" > "$work/said" 2>&1 || fail "a pack too large is made"
grep -q ' bytes without any reference result, 1000 may be carried$' "$work/said" || fail "of a pack too large: $(cat "$work/said")"
# Each program finds what was packed beside it, also what that needs in turn.
mkdir "$work/unpacked"
tar -C "$work/unpacked" -xzf "$work/pack.tar.gz"
for program in "$work"/unpacked/{ingot,ingot-bench,*_test}; do
  LD_LIBRARY_PATH='' ldd "$program" > "$work/said"
  for library in "$work"/unpacked/lib/*; do
    name=$(basename "$library")
    ! grep -q "^[[:space:]]*$name => " "$work/said" || grep -q "^[[:space:]]*$name => $work/unpacked/lib/$name " "$work/said" ||
      fail "$program takes another $name: $(grep "$name" "$work/said")"
  done
  grep -q "=> $work/unpacked/lib/" "$work/said" || fail "$program takes nothing of what was packed"
done
rm -rf "$work/unpacked"
# A name of a Python that is none: no rivals, and it is said.
INGOT_RIVALS_PYTHON=/nowhere/python "$session" dry "$work/pack.tar.gz" "$work/out" "$build" > "$work/said"
golden=golden
[[ -d ${INGOT_GOLDEN:-$source/../shared/golden} ]] || golden=
data=data
[[ -d ${INGOT_DATA:-$source/../shared/data} ]] || data=
for name in doctor ops gemm libraries text train $golden $data tiny-pictures tiny-texts kernels-tiny; do
  grep -q "^ok       $name (" "$work/out/summary.txt" || fail "$name is not ok"
done
! grep -E '^(FAILED|TOO LONG|NO TIME)' "$work/out/summary.txt" || fail "not all is ok"
[[ $(ls "$work/out" | wc -l) -le 8 ]] || fail "more than 8 files: $(ls "$work/out")"
python3 - "$work/out" "$data" << 'END' || fail "answers cannot be read"
import json, sys
steps = [json.loads(line) for line in open(sys.argv[1] + "/steps.jsonl")]
kernels = [json.loads(line) for line in open(sys.argv[1] + "/kernels.jsonl")]
assert [s["session"] for s in steps] == ["tiny-pictures", "tiny-texts"], [s["session"] for s in steps]
assert all(s["rows"][0]["ns"] > 0 and s["ops"] and s["machine"]["device"] for s in steps)
if sys.argv[2]:
    data = [json.loads(line) for line in open(sys.argv[1] + "/data.jsonl")]
    assert {d["precision"] for d in data} == {"fp32", "tf32", "bf16", "fp16"}, data
    assert all(d["session"] == "data" and d["right"] == d["expected_right"] and d["of"] == 4 for d in data), data
    summary = open(sys.argv[1] + "/summary.txt").read()
    assert all(f"resnet8_mlperf {d['precision']}: right: 3," in summary for d in data), summary
impls = {r["impl"] for r in kernels[0]["rows"]}
assert kernels[0]["session"] == "kernels-tiny" and {"conv2d_cuda", "conv2d_cudnn", "bn_apply_cuda"} <= impls, impls
END

# A program that fails is told and does not end the sitting; without time left nothing more starts, and what was
# measured before stays.
INGOT_SIM_MEMORY=100000 "$session" dry "$work/pack.tar.gz" "$work/failing" "$build" > "$work/said"
grep -q '^FAILED   tiny-pictures (.*out of device memory' "$work/failing/summary.txt" || fail "a failure is not told"
grep -q '^done' "$work/failing/summary.txt" || fail "a failure ended the sitting"
INGOT_GPU_SECONDS=0 "$session" dry "$work/pack.tar.gz" "$work/short" "$build" > "$work/said"
grep -q '^NO TIME  ops' "$work/short/summary.txt" || fail "no end at the time that was given"
"$session" dry "$work/pack.tar.gz" "$work/cut" "$build" > "$work/said" &
for _ in $(seq 600); do
  ! grep -qs '^ok       ops' "$work/cut/summary.txt" || break
  sleep 0.1
done
kill $!
wait $! || true
grep -q '^ok       ops' "$work/cut/summary.txt" && [[ -s $work/cut/tests.txt ]] || fail "what was done is lost"
! grep -q '^done' "$work/cut/summary.txt" || fail "it was not cut off"
# What may not be carried is left out in words, the largest reference result first. (Two packs of the same files differ
# by some bytes: times are packed, too.)
if [[ -n $golden ]]; then
  INGOT_PACK_BYTES=$(($(stat -c %s "$work/pack.tar.gz") - 65536)) "$session" pack "$build" "$work/smaller.tar.gz" > "$work/said"
  [[ $(stat -c %s "$work/smaller.tar.gz") -lt $(stat -c %s "$work/pack.tar.gz") ]] || fail "the pack did not become smaller"
  grep -q '^left out of the pack: reference result ' "$work/said" || fail "what is left out is not told"
  INGOT_GPU_SECONDS=0 "$session" dry "$work/smaller.tar.gz" "$work/smaller" "$build" > "$work/said"
  grep -q '^left out of the pack: reference result ' "$work/smaller/summary.txt" || fail "nor in the summary"
  rm "$work/smaller.tar.gz"
fi

# A tool of compute-sanitizer: skipped without it, its findings are a failure, and it is given a program that runs.
status=0
PATH=/usr/bin:/bin "$session" sanitizer memcheck "$build/tests/cuda_ops_test" > "$work/said" || status=$?
[[ $status -eq 77 ]] || fail "without compute-sanitizer the exit is $status"
mkdir "$work/bin"
printf '#!/bin/sh\n[ "$1 $2 $3 $4" = "--tool racecheck --error-exitcode 1" ] || exit 3\nshift 4\necho "$@"\nexit ${FOUND:-0}\n' \
  > "$work/bin/compute-sanitizer"
chmod +x "$work/bin/compute-sanitizer"
PATH=$work/bin:$PATH "$session" sanitizer racecheck "$build/tests/cuda_ops_test" > "$work/said" || fail "the tool is called otherwise"
grep -q 'tests/cuda_ops_test --gtest_filter=.*conv2d' "$work/said" || fail "the tool is given: $(cat "$work/said")"
! FOUND=1 PATH=$work/bin:$PATH "$session" sanitizer racecheck "$build/tests/cuda_ops_test" > "$work/said" || fail "a finding is no failure"

echo "gpu session: packed, run on the simulator, cut off as stated"
