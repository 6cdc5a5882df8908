# shellcheck shell=bash disable=SC2034
# Shared by the scripts of this folder: where things are, and how to complain. Sourced, not run.
# Not here: installing (setup.sh) and compiling (build.sh).

# Boards for which packages are built, in the order in which they are worth trying.
TARGETS=(
  aarch64-unknown-linux-gnu      # Pi 3, 4, 5, Zero 2 W with a 64-bit system
  arm-unknown-linux-gnueabihf    # ARMv6: Pi 1, Zero, Zero W; also runs on every later Pi in 32-bit
  armv7-unknown-linux-gnueabihf  # Pi 2, 3, 4 and other boards in 32-bit
  x86_64-unknown-linux-gnu
)
# Static, for systems with another C library, or an older one: a tarball each. The one for ARMv6 also shows that nothing in the program needs a newer
# processor, which the dynamic one cannot (run.sh).
STATIC_TARGETS=(
  aarch64-unknown-linux-musl
  arm-unknown-linux-musleabihf
  x86_64-unknown-linux-musl
)

# The oldest glibc on which the programs start (Debian 10, Pi OS buster).
GLIBC_BASELINE=2.28

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CROSS_CACHE=${PINHOLE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pinhole}/cross
TOOLCHAIN=$CROSS_CACHE/toolchain
VENV=$CROSS_CACHE/venv
TARGET_DIR=${CARGO_TARGET_DIR:-$REPO/target/cross}

say() { printf 'cross: %s\n' "$*" >&2; }
die() { printf 'cross: error: %s\n' "$*" >&2; exit 1; }
usage() { printf 'usage: %s\n' "$*" >&2; exit 2; }

known_target() {
  local t
  for t in "${TARGETS[@]}" "${STATIC_TARGETS[@]}"; do [ "$t" = "$1" ] && return 0; done
  printf 'cross: error: unknown target %s; known are:\n' "$1" >&2
  printf '  %s\n' "${TARGETS[@]}" "${STATIC_TARGETS[@]}" >&2
  exit 2
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo -- "$@"
  else die "this needs root and sudo is not installed; as root run: $*"
  fi
}

# ensure_packages NAME...: installs the Debian packages that are missing, and asks for root only then.
ensure_packages() {
  command -v apt-get >/dev/null || die "this route needs Debian 12 (no apt-get here); docs/cross-building.md has two others"
  local p missing=()
  for p in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing+=("$p")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  say "installing ${missing[*]}"
  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0)
  as_root "${apt[@]}" update >&2 || die "apt-get update failed; the lines above say why"
  as_root "${apt[@]}" install -y --no-install-recommends "${missing[@]}" >&2 \
    || die "apt-get could not install ${missing[*]}; the lines above say why"
}
