#!/bin/sh
# Runs nvcc and keeps what it says (ptxas -v) in a file; on failure, and for warnings, it is shown.
report=$1
shift
"$@" 2> "$report"
status=$?
[ $status = 0 ] || cat "$report" >&2
grep -i 'warning' "$report" >&2
exit $status
