#!/usr/bin/env bash
# run.sh TARGET PROGRAM [args...]: runs a cross-built program on this machine, under qemu-user where it is for ARM.
# Serves as cargo's runner too. Needs qemu-user-static and the target's C library, and installs them.
#
# environment:
#   CROSS_CPU  the CPU to be (default by target: cortex-a53, cortex-a7; arm1176 for the static ARMv6 program).
#              arm1176 is the Pi Zero's: an instruction newer than ARMv6 ends the program with SIGILL.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

[ $# -ge 2 ] || usage "cross/run.sh TARGET PROGRAM [args...]"
target=$1 program=$2; shift 2
known_target "$target"
[ -x "$program" ] || die "$program is not a program; cross/build.sh $target builds one and prints its path"

case $target in
  x86_64-*) exec "$program" "$@" ;;
  aarch64-*-musl) qemu=qemu-aarch64-static cpu=cortex-a53 package="" libc="" ;;
  aarch64-*) qemu=qemu-aarch64-static cpu=cortex-a53 package=libc6-arm64-cross libc=/usr/aarch64-linux-gnu ;;
  # Debian's armhf C library is built for ARMv7, so a dynamic ARMv6 program cannot be shown here to stay within
  # ARMv6; the static one can.
  arm-*-gnueabihf | armv7-*) qemu=qemu-arm-static cpu=cortex-a7 package=libc6-armhf-cross libc=/usr/arm-linux-gnueabihf ;;
  arm-*-musl*) qemu=qemu-arm-static cpu=arm1176 package="" libc="" ;;
esac
cpu=${CROSS_CPU:-$cpu}
# shellcheck disable=SC2086 # package may be empty
ensure_packages qemu-user-static $package

# Files below -L hide the machine's own. OpenH264 on 32-bit ARM asks /proc/cpuinfo whether there is NEON,
# and qemu 7.2 shows the host's there, so a board's own stands in.
root=$CROSS_CACHE/sysroot/$target-$cpu
if [ ! -e "$root/.complete" ]; then
  mkdir -p "$root/proc"
  [ -z "$libc" ] || ln -sfn "$libc/lib" "$root/lib"
  case $qemu:$cpu in
    qemu-arm-static:arm11*) printf 'model name\t: ARMv6-compatible processor rev 7 (v6l)\nFeatures\t: half thumb fastmult vfp edsp java tls \n' > "$root/proc/cpuinfo" ;;
    qemu-arm-static:*) printf 'model name\t: ARMv7 Processor rev 4 (v7l)\nFeatures\t: half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae evtstrm crc32 \n' > "$root/proc/cpuinfo" ;;
  esac
  : > "$root/.complete"
fi
exec "$qemu" -cpu "$cpu" -L "$root" "$program" "$@"
