#!/usr/bin/env bash
# setup.sh: installs what cross/build.sh needs on a Debian 12 amd64 machine. Changes nothing when all is there.
#
# - Debian packages, by apt (root or sudo): a C compiler for build scripts, libclang for bindgen, cmake, nasm.
# - Debian's current Rust (rustc-web, cargo-web), unpacked into the cache and not installed: beside rustup it conflicts.
# - zig from PyPI as C and C++ compiler and linker for every target, with cargo-zigbuild to drive it.
# Nothing is added to the machine's dpkg architectures or apt sources.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# Pinned: what these two emit decides which glibc the packages need.
ZIGLANG=0.17.1
ZIGBUILD=0.24.0

# cargo-web and rustc-web are only unpacked, so their libraries are named here.
PACKAGES=(gcc libc6-dev binutils file cmake make nasm clang libclang1-14 python3-venv ca-certificates
  libcurl4 libgit2-1.5 libsqlite3-0 libssh2-1 libedit2 libxml2 libz3-4)

check_host() {
  [ "$(uname -m)" = x86_64 ] || die "the zig route is written for an amd64 machine, this is $(uname -m); on a Pi build natively (docs/cross-building.md)"
  . /etc/os-release
  [ "${ID:-}" = debian ] && [ "${VERSION_ID:-}" = 12 ] \
    || die "the zig route takes its Rust from Debian 12, this is ${PRETTY_NAME:-an unknown system}; docs/cross-building.md has two other routes"
}

# std_from_debian ARCH: fetches that architecture's prebuilt standard library through an apt state of its own.
# Succeeds only with the compiler's own version: rustc refuses any other.
std_from_debian() {
  local arch=$1 state=$CROSS_CACHE/apt-$1
  mkdir -p "$state/state/lists/partial" "$state/cache/archives/partial"
  : > "$state/status"
  local apt=(apt-get -q -o "APT::Architecture=$arch" -o "APT::Architectures::=$arch"
    -o "Dir::State=$state/state" -o "Dir::State::status=$state/status" -o "Dir::Cache=$state/cache"
    -o APT::Sandbox::User= -o Acquire::Languages=none)
  { "${apt[@]}" update && "${apt[@]}" download "libstd-rust-web-dev=$RUST_VERSION"; } > "$state/log" 2>&1
}

install_rust() {
  RUST_VERSION=$(apt-cache policy rustc-web | sed -n 's/^  Candidate: //p')
  case $RUST_VERSION in
    ''|'(none)')
      as_root apt-get -q update >&2
      RUST_VERSION=$(apt-cache policy rustc-web | sed -n 's/^  Candidate: //p') ;;
  esac
  case $RUST_VERSION in
    ''|'(none)') die "apt knows no rustc-web; it is in bookworm-security, which this machine's apt sources lack" ;;
  esac
  [ "$(cat "$TOOLCHAIN/.version" 2>/dev/null)" = "$RUST_VERSION" ] && return 0

  say "unpacking Debian's Rust $RUST_VERSION into $TOOLCHAIN"
  local debs=$CROSS_CACHE/debs new=$TOOLCHAIN.new arch
  rm -rf "$debs" "$new"
  mkdir -p "$debs" "$new/bin"
  (
    cd "$debs"
    std=$(apt-cache depends "libstd-rust-web-dev=$RUST_VERSION" | sed -n 's/.*Depends: \(libstd-rust-web-[0-9.]*\)$/\1/p' | head -n 1)
    llvm=$(apt-cache depends "$std=$RUST_VERSION" | sed -n 's/.*Depends: \(libllvm[0-9]*\)$/\1/p' | head -n 1)
    [ -n "$std" ] && [ -n "$llvm" ] || die "cannot tell which libraries rustc-web $RUST_VERSION needs; apt-cache depends libstd-rust-web-dev shows them"
    apt-get -q -o APT::Sandbox::User= download "rustc-web=$RUST_VERSION" "cargo-web=$RUST_VERSION" "rust-web-src=$RUST_VERSION" \
      "libstd-rust-web-dev=$RUST_VERSION" "$std=$RUST_VERSION" "$llvm" >&2 || die "apt-get could not download Debian's Rust $RUST_VERSION; the lines above say why (stale index? run apt-get update)"
    for arch in arm64 armhf; do
      std_from_debian "$arch" || say "no prebuilt standard library $RUST_VERSION for $arch to be had ($CROSS_CACHE/apt-$arch/log says why); it will be built from source"
    done
  )
  local deb
  for deb in "$debs"/*.deb; do dpkg-deb -x "$deb" "$new"; done
  local tool
  for tool in cargo rustc rustdoc; do
    cat > "$new/bin/$tool" <<WRAPPER
#!/bin/sh
here=\$(cd "\$(dirname "\$0")/.." && pwd)
export LD_LIBRARY_PATH="\$here/usr/lib/x86_64-linux-gnu\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}"
exec "\$here/usr/bin/$tool" "\$@"
WRAPPER
    chmod +x "$new/bin/$tool"
  done
  "$new/bin/rustc" --version >&2 || die "the unpacked rustc does not run; ldd $new/usr/bin/rustc shows what it misses"
  "$new/bin/cargo" --version >&2 || die "the unpacked cargo does not run; ldd $new/usr/bin/cargo shows what it misses"
  printf '%s\n' "$RUST_VERSION" > "$new/.version"
  rm -rf "$TOOLCHAIN" "$debs"
  mv "$new" "$TOOLCHAIN"
}

install_zig() {
  local want="ziglang==$ZIGLANG cargo-zigbuild==$ZIGBUILD"
  [ "$(cat "$VENV/.version" 2>/dev/null)" = "$want" ] && return 0
  say "installing zig $ZIGLANG and cargo-zigbuild $ZIGBUILD into $VENV"
  rm -rf "$VENV"
  python3 -m venv "$VENV" || die "python3 could not make a virtual environment in $VENV"
  # shellcheck disable=SC2086 # two words on purpose
  "$VENV/bin/pip" install -q --disable-pip-version-check $want >&2 || die "pip could not install $want; the lines above say why"
  printf '%s\n' "$want" > "$VENV/.version"
}

check_host
mkdir -p "$CROSS_CACHE" || die "cannot make the cache $CROSS_CACHE; set PINHOLE_CACHE to a folder you may write to"
# Two builds at once must not unpack over each other.
exec 9> "$CROSS_CACHE/.lock"
flock 9
ensure_packages "${PACKAGES[@]}"
install_rust
install_zig
