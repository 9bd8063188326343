#!/usr/bin/env bash
# ./dev as a user without rights meets it: names every missing package, prints one command, changes nothing.
set -euo pipefail
source=${INGOT_SOURCE:?}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "FAIL: $*"; exit 1; }

bash -n "$source/dev"
for word in setup build test demo bench format lint clean help rivals emulate fuzz; do
  "$source/dev" help | grep -q "^  $word " || fail "help does not name $word"
done
status=0
"$source/dev" no-such-command > "$work/out" 2>&1 || status=$?
[[ $status -eq 2 ]] || fail "an unknown command exits $status, not 2"

# A machine without any of the packages, for a user who is neither root nor in sudoers; apt-get must not be reached.
mkdir "$work/bin"
fake() { printf '#!/bin/sh\n%s\n' "$2" > "$work/bin/$1"; chmod +x "$work/bin/$1"; }
fake id 'echo 1000'
fake dpkg-query 'exit 1'
fake sudo 'exit 1'
fake apt-get "touch $work/reached; exit 1"
status=0
PATH="$work/bin:$PATH" "$source/dev" setup > "$work/out" 2>&1 < /dev/null || status=$?
[[ $status -eq 1 ]] || fail "set-up without rights exits $status, not 1"
[[ ! -e $work/reached ]] || fail "apt-get was run without rights"
[[ $(grep -c 'sudo apt-get' "$work/out") -eq 1 ]] || fail "not exactly one command: $(cat "$work/out")"
for package in libdnnl-dev libhdf5-dev libjpeg-dev clang-format; do
  grep -q "^  $package .*[a-z]" "$work/out" || fail "$package is not named with its reason"
  grep 'sudo apt-get' "$work/out" | grep -qw -- "$package" || fail "$package is not in the command"
done

# With all of them there, nothing is asked for.
fake dpkg-query 'echo installed'
PATH="$work/bin:$PATH" "$source/dev" setup > "$work/out" 2>&1 < /dev/null || fail "set-up fails though all is there"
[[ ! -e $work/reached ]] || fail "apt-get was run though all is there"

# A refused installation is an error that names the packages, also for root.
fake id 'echo 0'
fake dpkg-query 'exit 1'
fake apt-get '[ "$4" = update ] || exit 100'
status=0
PATH="$work/bin:$PATH" "$source/dev" setup > "$work/out" 2>&1 < /dev/null || status=$?
[[ $status -eq 1 ]] || fail "a failed installation exits $status, not 1"
grep -q 'could not install: gcc .*libdnnl-dev' "$work/out" || fail "$(cat "$work/out")"
echo "dev: names, rights, refusals as stated"
