#!/bin/busybox sh
# shellcheck shell=dash
# /init of the emulated machine: runs /jobs line by line, each with its time and exit status on the serial console,
# and resets the machine, which ends Bochs. Rule: every job is reported by a line "JOB end STATUS ..."; the host counts those.
/bin/busybox --install -s /bin
mkdir -p /proc /sys /dev /tmp
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev 2> /dev/null
exec < /dev/null > /dev/ttyS0 2>&1
export PATH=/bin:/ingot HOME=/tmp OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive INGOT_SOURCE=/source INGOT_GOLDEN=/golden \
  INGOT_DATA=/data INGOT_BIN=/ingot/ingot
echo "MACHINE $(grep -m1 'model name' /proc/cpuinfo): $(grep -m1 flags /proc/cpuinfo | tr ' ' '\n' | grep -E 'avx512|amx' | tr '\n' ' ')"
cd /tmp || exit 1
n=0
while read -r line; do
  n=$((n + 1))
  echo "JOB start $n: $line"
  from=$(cut -d' ' -f1 /proc/uptime)
  sh -c "$line"
  status=$?
  echo "JOB end $status ($from to $(cut -d' ' -f1 /proc/uptime) s of the machine's clock): $line"
done < /jobs
echo "ALL $n JOBS DONE"
sleep 1
reboot -f
