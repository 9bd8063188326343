#!/usr/bin/env bash
# fuzz.sh BUILD SECONDS NAME: runs one target from its committed corpus in a folder of its own. Rule: exit 77 where the
# programs were not built (no clang runtime), else the fuzzer's. What it breaks on stays as BUILD/found-NAME-*.
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
program=$1/tests/fuzz/fuzz_$3
if [[ ! -x $program ]]; then
  echo "skipped: $program is not there; ./dev test builds it where clang and its libclang-rt-dev are installed"
  exit 77
fi
base=/tmp
[[ -w /dev/shm ]] && base=/dev/shm
work=$(mktemp -d -p "$base" ingot-fuzz-XXXXXX)
trap 'rm -rf "$work"' EXIT
mkdir "$work/new"
cd "$work" || exit 1
export ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1
"$program" -max_total_time="$2" -timeout="${FUZZ_TIMEOUT:-60}" -rss_limit_mb=2048 -max_len="${FUZZ_MAX_LEN:-16384}" -print_final_stats=1 \
  -artifact_prefix="$1/found-$3-" "${@:4}" new "$here/corpus/$3" > log 2>&1
code=$?
[[ $code -ne 77 ]] || code=1 # libFuzzer's word for a finding; here 77 is "skipped"
if [[ $code -ne 0 ]]; then
  tail -n 60 log
elif [[ -n ${FUZZ_KEEP:-} ]]; then
  mkdir -p "$FUZZ_KEEP/$3" && cp -n new/* "$FUZZ_KEEP/$3/" 2> /dev/null
fi
printf '%s: %s executions in %s s, %s\n' "$3" "$(sed -n 's/^stat::number_of_executed_units: *//p' log)" "$2" \
  "$(grep -o 'cov: [0-9]* ft: [0-9]*' log | tail -n 1)"
exit $code
