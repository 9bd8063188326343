#!/usr/bin/env bash
# Runs test programs on an emulated processor that this machine need not have: AVX-512, AVX-512 BF16, AMX. README.md
# tells why and how. Rule: a run is good only when every job ended with status 0 and the machine reached its end.
#
#   emulate.sh BUILD [ISA [JOB...]]   ISA: amx (default), avx512_bf16 or avx512; JOB: a shell line, in place of jobs.txt
# DIR (default build-emulate) is where everything is made and kept; BOCHS: a Bochs that is already there.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source=$(cd "$here/../.." && pwd)
build=$(cd "${1:?usage: emulate.sh BUILD [ISA [JOB...]]}" && pwd)
isa=${2:-amx}
shift $(($# < 2 ? $# : 2))
mkdir -p "${DIR:-$source/build-emulate}"
dir=$(cd "${DIR:-$source/build-emulate}" && pwd)
bochs=${BOCHS:-$dir/bochs/bochs}
golden=${INGOT_GOLDEN:-$source/../shared/golden}
say() { printf 'emulate: %s\n' "$*" >&2; }

# A processor without fast short REP MOVSB (580), which Linux takes wrongly where BIOS settings forbid the other one.
cleared=580
case "$isa" in
  amx) cpu=sapphire_rapids ;;
  avx512_bf16) cpu=sapphire_rapids cleared+=,600 ;; # 600: AMX tiles
  avx512) cpu=corei7_skylake_x ;;
  *) say "ISA is \"$isa\"; expected amx, avx512_bf16 or avx512" && exit 2 ;;
esac

# From Debian 13's source package: Debian 12 has Bochs 2.7, which knows no bf16; the built package of 3.0 has its
# debugger in and is several times slower, and needs mending.
get_bochs() {
  [[ ! -x $bochs ]] || return 0
  say "building Bochs (minutes, once)"
  rm -rf "$dir/apt" "$dir/bochs"
  mkdir -p "$dir/apt/lists/partial" "$dir/bochs"
  cd "$dir/apt"
  echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian trixie main" \
    > sources.list
  local o=(-q -o "Dir::Etc::sourcelist=$PWD/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::Lists=$PWD/lists" -o "Dir::Cache=$PWD" -o APT::Sandbox::User=)
  apt-get "${o[@]}" update > log 2>&1 && apt-get "${o[@]}" source --download-only --tar-only bochs >> log 2>&1 ||
    { cat log >&2 && exit 1; }
  tar xf bochs_*.orig.tar.* -C "$dir/bochs" --strip-components=1
  bash "$here/mend_bochs.sh" "$dir/bochs"
  cd "$dir/bochs"
  { CFLAGS="-O2 -march=native" CXXFLAGS="-O2 -march=native" ./configure --with-nogui --without-x --without-x11 \
    --enable-cpu-level=6 --enable-x86-64 --enable-avx --enable-evex --enable-amx --enable-cet --enable-vmx=2 \
    --enable-protection-keys --enable-memtype --enable-long-phy-address --enable-repeat-speedups \
    --enable-fast-function-calls --enable-handlers-chaining --enable-trace-linking --disable-large-ramfile \
    --disable-docbook --disable-plugins --disable-readline && make -j"$(nproc)"; } > log 2>&1 ||
    { tail -n 20 log >&2 && exit 1; }
}

get_kernel() {
  local package
  [[ ! -f $dir/vmlinuz ]] || return 0
  package=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends:/ {print $2; exit}')
  mkdir -p "$dir/kernel"
  cd "$dir/kernel"
  apt-get -q -o APT::Sandbox::User= download "$package" > /dev/null
  dpkg -x "$package"_*.deb .
  cp boot/vmlinuz-* "$dir/vmlinuz"
}

# Programs to $root/ingot, with every library that they load at its own path.
copy_programs() {
  local root=$1 library
  shift
  cp "$@" "$root/ingot/"
  strip "$root"/ingot/* 2> /dev/null || true
  for library in $(ldd "$@" | grep -o '/[^ ]*\.so[^ ]*' | sort -u); do
    mkdir -p "$root$(dirname "$library")"
    [[ -e $root$library ]] || cp -L "$library" "$root$library"
  done
}

# Twenty and ten CIFAR records, a stripe pattern a class.
make_data() {
  local part label i
  for part in data_batch_1:20 test_batch:10; do
    for ((i = 0; i < ${part#*:}; i++)); do
      label=$((i % 10))
      printf '%b' "\\x0$label"
      yes "$label pictures $((i * label))" 2> /dev/null | head -c 3072 || true
    done > "$1/${part%:*}.bin"
  done
}

make_disc() {
  local root=$dir/root iso=$dir/iso name
  rm -rf "$root" "$iso"
  mkdir -p "$root"/{bin,dev,ingot,golden,source/tests,data} "$iso/isolinux"
  cp "$(command -v busybox)" "$root/bin/busybox"
  install -m 755 "$here/guest_init.sh" "$root/init"
  install -m 755 "$here/guest_train.sh" "$root/ingot/guest_train"
  mapfile -t programs < <(printf '%s\n' "$@" | grep -o '[a-z0-9_]*_test' | sort -u)
  copy_programs "$root" "$build/ingot" "${programs[@]/#/$build/tests/}"
  for name in vision_resnet_small vision_resnet_small_bottleneck optim losses; do
    [[ ! -d $golden/$name ]] || cp -r "$golden/$name" "$root/golden/"
  done
  make_data "$root/data"
  printf '%s\n' "$@" > "$root/jobs"
  (cd "$root" && find . | cpio --quiet -o -H newc -R 0:0 | lz4 -q -l -9 > "$iso/initrd")
  cp "$dir/vmlinuz" "$iso/"
  cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 "$iso/isolinux/"
  cat > "$iso/isolinux/isolinux.cfg" << END
DEFAULT ingot
LABEL ingot
  KERNEL /vmlinuz
  INITRD /initrd
  APPEND console=ttyS0 quiet loglevel=4 mitigations=off nosmp noapic acpi=off tsc=reliable random.trust_cpu=on panic=1 reboot=t clearcpuid=$cleared
END
  xorriso -as mkisofs -quiet -o "$dir/disc.iso" -b isolinux/isolinux.bin -c isolinux/boot.cat -no-emul-boot \
    -boot-load-size 4 -boot-info-table "$iso" 2> /dev/null
}

run_machine() {
  cat > "$dir/bochsrc" << END
cpu: model=$cpu, count=1, ips=50000000, reset_on_triple_fault=0, cpuid_limit_winnt=0
memory: guest=2048, host=2048
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/vgabios/vgabios.bin
ata0: enabled=1
ata0-master: type=cdrom, path=$dir/disc.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=$dir/serial.txt
clock: sync=none, time0=1700000000
display_library: nogui
log: $dir/bochs.log
panic: action=fatal
error: action=ignore
info: action=ignore
END
  # Now and then the kernel meets an instruction of its own that it has just replaced, and dies: booted again.
  for _ in 1 2 3 4 5; do
    : > "$dir/serial.txt"
    (cd "$dir" && exec "$bochs" -q -f bochsrc < /dev/null > bochs.out 2>&1) || true # the machine's reset is its end
    tr -d '\r' < "$dir/serial.txt" > "$dir/console.txt"
    ! grep -aq '^MACHINE' "$dir/console.txt" || return 0
  done
}

mapfile -t jobs < <(if [[ $# -gt 0 ]]; then printf '%s\n' "$@"; else grep -v '^#' "$here/jobs.txt"; fi)
(get_bochs)
(get_kernel)
make_disc "${jobs[@]}"
say "${#jobs[@]} jobs on $isa; what they print: $dir/serial.txt"
run_machine
grep -aE '^(MACHINE|JOB end|ALL)' "$dir/console.txt" || true
grep -aq '^ALL ' "$dir/console.txt" || { say "the machine stopped early; see console.txt and bochs.log in $dir" && exit 1; }
! grep -aq '^JOB end [1-9]' "$dir/console.txt" || { say "a job failed; see $dir/console.txt" && exit 1; }
