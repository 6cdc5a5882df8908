#!/usr/bin/env bash
# build.sh TARGET [cargo args...]: a release build of pinhole for TARGET, on a Debian 12 amd64 machine.
# Installs what it needs first (setup.sh). Prints the path of the program on standard output, all else on standard error.
#
# TARGET  aarch64-unknown-linux-gnu | arm-unknown-linux-gnueabihf (ARMv6) | armv7-unknown-linux-gnueabihf |
#         x86_64-unknown-linux-gnu; static: aarch64-unknown-linux-musl | arm-unknown-linux-musleabihf (ARMv6) | x86_64-unknown-linux-musl
# environment:
#   PINHOLE_CACHE      folder for the toolchain (default ~/.cache/pinhole; this uses its subfolder cross)
#   CARGO_TARGET_DIR   folder for build results (default target/cross in the source tree)
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
. "$REPO/cross/zig.sh"

[ $# -ge 1 ] || usage "cross/build.sh TARGET [cargo args...]   (targets: ${TARGETS[*]} ${STATIC_TARGETS[*]})"
target=$1; shift
known_target "$target"
cargo_zig zigbuild "$target" --release "$@" >&2 || die "cargo could not build $target; the lines above say why"
printf '%s\n' "$TARGET_DIR/$target/release/pinhole"
