#!/usr/bin/env bash
# `./dev test` on Debian 13, in a folder that debootstrap fills: tests/debian13.sh FOLDER (outside of the repository; kept,
# so that a second run is quick). Tests the committed state. Needs root and debootstrap.
set -euo pipefail
source=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
root=$(realpath -m "${1:?usage: tests/debian13.sh FOLDER}")
[[ -e $root/etc/debian_version ]] || debootstrap --variant=minbase --include=ca-certificates,git trixie "$root"
mounts=(proc dev sys)
undo() {
  for m in "${mounts[@]}" root/shared; do umount -R "$root/$m" 2> /dev/null || true; done
}
trap undo EXIT
for m in "${mounts[@]}"; do mount --rbind --make-rslave "/$m" "$root/$m"; done
cp /etc/resolv.conf "$root/etc/"
mkdir -p "$root/root/shared"
[[ ! -d $source/../shared ]] || mount --bind -o ro "$source/../shared" "$root/root/shared"
rm -rf "$root/root/ingot/.git"
git clone -q --bare "$source" "$root/root/ingot/.git"
chroot "$root" /usr/bin/env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin bash -c '
  cd /root/ingot && git config core.bare false && git reset -q --hard && git clean -qfd && ./dev test'
