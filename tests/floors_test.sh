#!/bin/sh
# The floors of docs/design.md hold: a folder includes only what lies below it. Rule: every quoted #include counts; one
# that names no folder of the project is a file of its own folder.
cd "${INGOT_SOURCE:-$(dirname "$0")/..}" || exit 1
failed=0
n_files=0

# check FOLDER PATTERN: every include of FOLDER's sources must match the pattern (or be local).
check() {
  folder=$1
  allowed=$2
  [ -d "$folder" ] || return 0
  n_files=$((n_files + $(find "$folder" -name '*.[ch]' -o -name '*.cc' -o -name '*.cu' | wc -l)))
  bad=$(grep -rnE --include='*.[ch]' --include='*.cc' --include='*.cu' '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' \
    "$folder" | grep -vE "include[[:space:]]*\"($allowed)" | grep -vE 'include[[:space:]]*"[^/"]*"')
  if [ -n "$bad" ]; then
    echo "$folder may include only $allowed:"
    echo "$bad"
    failed=1
  fi
}

base='runtime/base/'
graph="$base|runtime/device/|runtime/graph/|runtime/comm/comm\.h"
check runtime/base "$base"
check runtime/tokenizer "$base|runtime/tokenizer/"
check runtime/device "$graph"
check runtime/graph "$graph"
check kernels "$graph|kernels/"
check runtime/data "$graph|runtime/tokenizer/|runtime/data/"
check runtime/comm "$graph|runtime/comm/"
check runtime/ckpt "$graph|runtime/ckpt/"
check models "$graph|kernels/|models/"
check runtime/train "$graph|runtime/tokenizer/|kernels/|runtime/data/|runtime/comm/|runtime/ckpt/|models/|runtime/train/"
check bindings/c "$graph|runtime/tokenizer/|kernels/|runtime/data/|runtime/comm/|runtime/ckpt/|models/|runtime/train/|bindings/c/"
check bindings/cli 'bindings/c/ingot\.h|ingot\.h|ingot_status\.h|bindings/cli/|runtime/base/ingot_status\.h'

# Headers named without a folder lie in the including folder, except the public ones.
for folder in runtime/base runtime/tokenizer runtime/device runtime/graph runtime/data runtime/ckpt runtime/comm runtime/train models \
  bindings/c bindings/cli; do
  [ -d "$folder" ] || continue
  for header in $(grep -rhoE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"[^/"]*"' "$folder" | sed 's/.*"\(.*\)"/\1/' |
    sort -u); do
    case $header in ingot.h | ingot_status.h) continue ;; esac
    [ -f "$folder/$header" ] || {
      echo "$folder includes \"$header\", which is no file of that folder"
      failed=1
    }
  done
done

# Models build graphs: of an op folder they see the builders' header only, and nothing internal of the graph.
if grep -rn 'plan_internal\.h' models kernels runtime/train runtime/data runtime/ckpt bindings 2>/dev/null; then
  echo "plan_internal.h is for runtime/graph alone"
  failed=1
fi
# Nothing includes tests or benches; the large vendor libraries stay in their folders (environment.c tells
# their versions).
if grep -rnE '#include "(tests|bench)/' runtime kernels models bindings 2>/dev/null; then
  echo "nothing may include tests or benches"
  failed=1
fi
vendor() { # vendor HEADER FOLDERS-PATTERN
  found=$(grep -rlE "#[[:space:]]*include[[:space:]]*<($1)" runtime kernels models bindings 2>/dev/null | grep -vE "^($2)")
  if [ -n "$found" ]; then
    echo "<$1> belongs to $2, found in:"
    echo "$found"
    failed=1
  fi
}
vendor 'dnnl|oneapi/' 'kernels/|bindings/c/environment\.c'
vendor 'hdf5' 'runtime/ckpt/|bindings/c/environment\.c'
vendor 'cuda|cublas|cudnn|nccl|mpi\.h' 'kernels/|runtime/device/|runtime/comm/'

[ "$n_files" -gt 100 ] || {
  echo "only $n_files files looked at: the folders have moved"
  failed=1
}
[ $failed = 0 ] && echo "$n_files files: the floors hold"
exit $failed
