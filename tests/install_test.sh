#!/usr/bin/env bash
# `cmake --install` into an empty folder, moved elsewhere, serves a C program through its CMake package and through
# pkg-config, and Python, and libingot.so shows nothing but the public interface.
set -euo pipefail
[[ -z ${INGOT_SLOWER-} ]] || { echo "skipped: a program of the user's has no sanitizer to load first"; exit 77; }
build=$(dirname "${INGOT_BIN:?}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

DESTDIR= cmake --install "$build" --prefix "$work/first" > "$work/log" || { cat "$work/log"; exit 1; }
mv "$work/first" "$work/tree"
test -x "$work/tree/bin/ingot"
lib=$(dirname "$(find "$work/tree" -name libingot.so)")

# Every program finds the CUDA back end of its own tree, by whatever name it is called.
mkdir -p "$lib/ingot"
echo 'no library' > "$lib/ingot/libingot_cuda.so"
ln -s "$work/tree/bin/ingot" "$work/link"
for words in "tree/bin/ingot doctor" "tree/bin/ingot bench step device=cuda" "link doctor" "link bench step device=cuda"; do
  # shellcheck disable=SC2086
  said=$("$work"/$words 2>&1 || true)
  [[ $said == *"$work/tree/"*ingot/libingot_cuda.so* ]] || { echo "$words looked elsewhere: $said"; exit 1; }
done

# --version names the back ends that can be loaded.
[[ $("$work/link" --version) == *"back ends: cpu"$'\n'* ]] || { echo "a back end that is no library is named"; exit 1; }
echo 'int ig_backend_open(void) { return 0; }' | cc -shared -fPIC -x c - -o "$lib/ingot/libingot_cuda.so"
[[ $("$work/link" --version) == *"back ends: cpu, cuda"$'\n'* ]] || { echo "the CUDA back end is not named"; exit 1; }
[[ $("$work/link" version --json) == *'"back_ends":["cpu","cuda"]'* ]] || { echo "back_ends lacks cuda"; exit 1; }

leaked=$(nm -D --defined-only "$lib/libingot.so" | awk '{print $3}' |
  grep -vxE 'ig_(call|version|error_message|status_name|status_exit_code)' || true)
test -z "$leaked" || { echo "libingot.so shows more than ingot.h: $leaked"; exit 1; }

cat > "$work/user.c" << 'END'
#include <ingot.h>
#include <stdio.h>
int main(void) {
  const char *const words[] = {"no_such_key=1"};
  ig_status status = ig_call("train", 1, words, NULL);
  printf("%s %s %d %s\n", ig_version(), ig_status_name(status), ig_status_exit_code(status), ig_error_message());
  if (status != IG_ERR_USAGE)
    return 1;
  const char *const missing[] = {"data=x", NULL};
  return ig_call(NULL, 0, NULL, NULL) == IG_ERR_USAGE && ig_call("train", 1, NULL, NULL) == IG_ERR_USAGE &&
                 ig_call("train", 2, missing, NULL) == IG_ERR_USAGE && ig_call("train", -1, words, NULL) == IG_ERR_USAGE
             ? 0
             : 2;
}
END
cp "$work/user.c" "$work/user.cc"
cat > "$work/CMakeLists.txt" << 'END'
cmake_minimum_required(VERSION 3.24)
project(user C)
find_package(ingot 0.1 REQUIRED)
add_executable(user user.c)
target_link_libraries(user PRIVATE ingot::ingot)
END
check() {
  local said
  said=$("$@") || { echo "$* failed: $said"; exit 1; }
  [[ $said == *no_such_key* ]] || { echo "unexpected answer: $said"; exit 1; }
  echo "$said"
}
cmake -G Ninja -S "$work" -B "$work/build" -DCMAKE_PREFIX_PATH="$work/tree" > "$work/log" || { cat "$work/log"; exit 1; }
cmake --build "$work/build" > "$work/log" || { cat "$work/log"; exit 1; }
check "$work/build/user"

# The Python module finds the library of its own tree.
said=$(cd "$work" && env -u INGOT_LIBRARY PYTHONPATH="$lib/ingot/python" python3 -c '
import ingot
try:
  ingot.train(no_such_key=1)
except ingot.Error as e:
  print(ingot.__version__, e.status, e.exit_code, e)')
[[ $said == *no_such_key* ]] || { echo "the Python module failed: $said"; exit 1; }
echo "$said"

export PKG_CONFIG_PATH="$lib/pkgconfig"
# shellcheck disable=SC2046
cc -std=c11 -Wall -Wextra -Wpedantic -Werror "$work/user.c" -o "$work/user" $(pkg-config --cflags --libs ingot) -Wl,-rpath,"$lib"
check "$work/user"
# shellcheck disable=SC2046
c++ -std=c++17 -Wall -Wextra -Wpedantic -Werror "$work/user.cc" -o "$work/user" $(pkg-config --cflags --libs ingot) -Wl,-rpath,"$lib"
check "$work/user"

# A program whose locale writes 0,5 reads and writes files as all others do, and has its locale back.
localedef -i de_DE -f UTF-8 "$work/de_DE.UTF-8" 2> "$work/log" || { echo "locale part skipped: no localedef or no de_DE"; exit 0; }
cat > "$work/user.c" << 'END'
#include <ingot.h>
#include <locale.h>
#include <stdio.h>
static void show(void *user, const char *text) { (void)user, puts(text); }
int main(void) {
  ig_callbacks callbacks = {.size = sizeof callbacks, .table = show};
  if (!setlocale(LC_ALL, ""))
    return 1;
  fprintf(stderr, "%.1f ", 0.5);
  ig_status status = ig_call("keys", 0, NULL, &callbacks);
  fprintf(stderr, "%.1f\n", 0.5);
  return status != IG_OK;
}
END
# shellcheck disable=SC2046
cc -std=c11 "$work/user.c" -o "$work/user" $(pkg-config --cflags --libs ingot) -Wl,-rpath,"$lib"
LC_ALL=C "$work/user" > "$work/plain" 2> "$work/log"
LOCPATH=$work LC_ALL=de_DE.UTF-8 "$work/user" > "$work/german" 2> "$work/log"
[[ $(< "$work/log") == "0,5 0,5" ]] || { echo "the locale is not that of before: $(< "$work/log")"; exit 1; }
cmp "$work/plain" "$work/german"
