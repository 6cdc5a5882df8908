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
case $target in
  aarch64-* | arm*-gnueabihf) ;;
  *) die "$target runs without qemu, or is for a processor without NEON" ;;
esac
[ -n "$(LC_ALL=C readelf -S "$program" | grep '\.symtab')" ] || die "$program has no symbols; build it with CARGO_PROFILE_RELEASE_STRIP=none"

command -v python3 >/dev/null || die "python3 is missing; apt install python3"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# A picture in YUYV, which is converted: lines of 14 bytes, which do not divide a picture's 153,600, so that it moves.
SESSION_CAMERA="process:yuyv:320x240@10:yes 'pinhole moves'" QEMU_LOG=in_asm QEMU_LOG_FILENAME=$work/executed "$REPO/cross/session.sh" "$target" "$program" 3 > "$work/seen"
# functions: the names of what was executed. By address, as qemu names no function whose size the symbols do not tell, and OpenH264's assembly tells none.
functions() {
  LC_ALL=C readelf -sW "$program" | awk '$4 == "FUNC" && $7 != "UND" { print $2, $3, $8 }' > "$work/symbols"
  python3 - "$work/symbols" "$work/executed" <<'P'
import bisect, collections, re, sys
symbols = sorted({(int(value, 16) & ~1, int(size, 0), name) for value, size, name in map(str.split, open(sys.argv[1]))})
starts = [value for value, _, _ in symbols]
place = {name: value for value, _, name in symbols}
blocks, named, name, first = set(), collections.Counter(), None, False
for line in open(sys.argv[2], errors="replace"):
    if line.startswith("IN: "):
        name, first = line[4:].strip(), True
    elif first and (address := re.match("0x([0-9a-f]+):", line)):
        blocks.add(int(address[1], 16))
        named[int(address[1], 16) - place.get(name, 1)] += 1
        first = False
# Where the program lies: so far from its symbols as most functions' first blocks are, by whole pages.
base = max((far for far in named if far % 4096 == 0), key=named.__getitem__)
ran = set()
for address in blocks:
    at = bisect.bisect_right(starts, address - base) - 1
    value = starts[at] if at >= 0 else None
    while at >= 0 and starts[at] == value:
        if symbols[at][1] == 0 or address - base < value + symbols[at][1]:
            ran.add(symbols[at][2])
        at -= 1
print("\n".join(sorted(ran)))
P
}
functions > "$work/functions"
# The names of OpenH264's assembly (C++ and Rust begin theirs with an underscore, libjpeg-turbo and ring with a small letter).
grep -E '^[A-Z].*_neon$' "$work/functions" > "$work/openh264" || true
# On 64-bit ARM the crate `yuv` converts, on 32-bit ARM src/sys/neon.rs.
grep -E 'yuv.*neon|3sys4neon.*6blocks' "$work/functions" > "$work/conversion" || true
printf 'neon: %d functions of OpenH264, %d of the conversion were executed\n' "$(wc -l < "$work/openh264")" "$(wc -l < "$work/conversion")"
for part in openh264 conversion; do
  [ -s "$work/$part" ] || die "no vector function of $part was executed: the emulated processor has NEON and it is not used"
done
# What takes the encoder's time: to search where the picture has moved to, and to transform what is left.
for work_of in Sad Dct; do
  grep -q "$work_of" "$work/openh264" || die "no $work_of function of OpenH264 is a vector one; those are: $(paste -sd ' ' "$work/openh264")"
done
cat "$work/seen"
