#!/usr/bin/env bash
# neon.sh TARGET PROGRAM: a session as session.sh has it, with a YUYV picture, in which qemu notes what it executes: prints how many of the vector (NEON) functions of
# the encoder and of the colour conversion ran, then what the viewer saw. Exit code 1 when one of both ran none where the processor has NEON.
# The program must have its symbols: CARGO_PROFILE_RELEASE_STRIP=none cross/build.sh TARGET.
#
# environment: PINHOLE_VIEWER as for session.sh.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

[ $# -eq 2 ] || usage "cross/neon.sh TARGET PROGRAM"
target=$1 program=$2
known_target "$target"
# `yuv` has vector code for 64-bit ARM alone (docs/cross-building.md).
case $target in
  aarch64-*) needed=(openh264 yuv) ;;
  arm*-gnueabihf) needed=(openh264) ;;
  *) die "$target runs without qemu, or is for a processor without NEON" ;;
esac
LC_ALL=C readelf -S "$program" | grep -q '\.symtab' || die "$program has no symbols; build it with CARGO_PROFILE_RELEASE_STRIP=none"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# A picture in YUYV, which is converted: of zeros, as much as is wanted.
SESSION_CAMERA='process:yuyv:320x240@10:cat /dev/zero' QEMU_LOG=in_asm QEMU_LOG_FILENAME=$work/executed "$REPO/cross/session.sh" "$target" "$program" 3 > "$work/seen"
sed -n 's/^IN: \(.*\)/\1/p' "$work/executed" | sort -u > "$work/functions"
grep -E '^(Wels|Deblock|Ml|.*_AArch64).*neon$' "$work/functions" > "$work/openh264" || true
grep -E 'yuv.*neon' "$work/functions" > "$work/yuv" || true
printf 'neon: %d functions of OpenH264, %d of yuv were executed\n' "$(wc -l < "$work/openh264")" "$(wc -l < "$work/yuv")"
for part in "${needed[@]}"; do
  [ -s "$work/$part" ] || die "no vector function of $part was executed: the emulated processor has NEON and it is not used"
done
cat "$work/seen"
