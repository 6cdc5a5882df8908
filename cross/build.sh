#!/usr/bin/env bash
# build.sh TARGET [cargo args...]: a release build of pinhole for TARGET, on a Debian 12 amd64 machine.
# Installs what it needs first (setup.sh). Prints the path of the program on standard output, all else on standard error.
#
# TARGET  aarch64-unknown-linux-gnu | arm-unknown-linux-gnueabihf (ARMv6) | armv7-unknown-linux-gnueabihf |
#         x86_64-unknown-linux-gnu | arm-unknown-linux-musleabihf (static, for the ARMv6 proof)
# environment:
#   PINHOLE_CACHE      folder for the toolchain (default ~/.cache/pinhole; this uses its subfolder cross)
#   CARGO_TARGET_DIR   folder for build results (default target/cross in the source tree)
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

[ $# -ge 1 ] || usage "cross/build.sh TARGET [cargo args...]   (targets: ${TARGETS[*]} $PROOF_TARGET)"
target=$1; shift
known_target "$target"
"$REPO/cross/setup.sh"

# cargo-zigbuild starts `cargo`, and reads RUSTC to learn of the target.
export PATH=$VENV/bin:$TOOLCHAIN/bin:$PATH
export CARGO=$TOOLCHAIN/bin/cargo RUSTC=$TOOLCHAIN/bin/rustc RUSTDOC=$TOOLCHAIN/bin/rustdoc
export CARGO_ZIGBUILD_CACHE_DIR=$CROSS_CACHE/zigbuild
export ZIG_GLOBAL_CACHE_DIR=$CROSS_CACHE/zig
# Flags meant for this machine would reach the target's objects too.
unset CC CXX AR CFLAGS CXXFLAGS LDFLAGS RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET

# musl_crt: cargo-zigbuild leaves rustc's start files out in favour of zig's only where rustc's lie in its
# self-contained folder. A standard library built from source has no such folder, and both would be linked.
musl_crt() {
  local dir=$TOOLCHAIN/usr/lib/rustlib/$target/lib/self-contained name
  mkdir -p "$dir"
  for name in crt1 rcrt1 Scrt1 crti crtn crtbegin crtend crtbeginS crtendS; do
    [ -e "$dir/$name.o" ] || : > "$dir/$name.o"
  done
}

cd "$REPO"
args=(--release --target-dir "$TARGET_DIR")
if ! compgen -G "$TOOLCHAIN/usr/lib/rustlib/$target/lib/libstd-*.rlib" >/dev/null; then
  # rustc accepts -Z in a stable release only when told so.
  export RUSTC_BOOTSTRAP=1
  args+=(-Zbuild-std=std,panic_unwind)
fi
case $target in
  *-gnu*) args+=(--target "$target.$GLIBC_BASELINE") ;;
  *-musl*) musl_crt; args+=(--target "$target") ;;
esac

say "building $target into $TARGET_DIR"
cargo-zigbuild zigbuild "${args[@]}" "$@" >&2 || die "cargo could not build $target; the lines above say why"
binary=$TARGET_DIR/$target/release/pinhole
if [ -e "$binary" ]; then printf '%s\n' "$binary"; fi
