#!/usr/bin/env bash
# inspect.sh PROGRAM: what a built program asks of the machine it will run on, one `name: value` a line.
# Exit code 1 when it needs a newer glibc than the baseline, or a library beside glibc.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

[ $# -eq 1 ] || usage "cross/inspect.sh PROGRAM"
[ -f "$1" ] || die "$1 is not a file"
command -v readelf >/dev/null || die "readelf is missing; apt install binutils"

header=$(LC_ALL=C readelf -h "$1" 2>/dev/null) || die "$1 is not an ELF program"
field() { sed -n "s/^ *$1: *//p" <<< "$header"; }
attribute() { LC_ALL=C readelf -A "$1" | sed -n "s/^ *Tag_$2: *//p"; }

printf 'machine: %s, %s\n' "$(field Machine)" "$(field Class)"
printf 'size: %s bytes\n' "$(stat -L -c %s "$1")"
if [ "$(field Machine)" = ARM ]; then
  abi=$(field Flags)
  printf 'arm: CPU_arch %s, FP_arch %s, %s\n' "$(attribute "$1" CPU_arch)" "$(attribute "$1" FP_arch)" "${abi##*, }"
fi

needed=$(LC_ALL=C readelf -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
if [ -z "$needed" ]; then
  echo "needs: nothing (static)"
  exit 0
fi
# shellcheck disable=SC2086 # one word a library
printf 'needs: %s\n' "$(echo $needed)"
glibc=$(LC_ALL=C readelf -V "$1" | grep -oE 'GLIBC_[0-9.]+' | sed 's/GLIBC_//' | sort -Vu | tail -n 1)
printf 'glibc: %s (baseline %s)\n' "${glibc:-none}" "$GLIBC_BASELINE"

if [ "$(printf '%s\n' "${glibc:-0}" "$GLIBC_BASELINE" | sort -V | tail -n 1)" != "$GLIBC_BASELINE" ]; then
  die "$1 needs glibc $glibc, newer than $GLIBC_BASELINE"
fi
other=$(grep -vE '^(libc|libm|libdl|librt|libpthread|libutil|libresolv)\.so\.[0-9]+$|^ld-linux' <<< "$needed" || true)
[ -z "$other" ] || die "$1 needs more than glibc: $(echo $other)"
