#!/usr/bin/env bash
# package.sh TARGET [PROGRAM]: a Debian package and a tarball of pinhole for TARGET, in target/packages. PROGRAM is taken where it is given
# (as one built natively), else it is built by build.sh. Prints the paths of both on standard output, all else on standard error.
# Installs what it needs on Debian 12. One armhf package serves every 32-bit Pi: it is built for ARMv6 (arm-unknown-linux-gnueabihf).
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# Pinned: what it writes into packages is looked at by tests/package.
CARGO_DEB=3.8.0

[ $# -ge 1 ] && [ $# -le 2 ] || usage "cross/package.sh TARGET [PROGRAM]   (targets: ${TARGETS[*]} ${STATIC_TARGETS[*]})"
target=$1
known_target "$target"
case $target in
  aarch64-*-gnu) arch=arm64 ;;
  arm-*gnueabihf) arch=armhf ;;
  x86_64-*-gnu) arch=amd64 ;;
  # A tarball alone: what is static needs no package, and one for ARMv7 would take the place of the one for every Pi.
  *) arch= ;;
esac
export PATH=$PATH:$HOME/.cargo/bin
if ! command -v cargo >/dev/null; then "$REPO/cross/setup.sh" >&2; PATH=$TOOLCHAIN/bin:$PATH; fi
program=${2:-$("$REPO/cross/build.sh" "$target" --locked)}
[ -x "$program" ] || die "no program at $program"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$REPO/Cargo.toml" | head -n 1)

# Times in the packages are those of the last commit, so that the same tree gives the same packages.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$REPO" log -1 --format=%ct 2>/dev/null || stat -c %Y "$REPO/Cargo.lock")}
export SOURCE_DATE_EPOCH

cd "$REPO"
ensure_packages g++ cmake make nasm libclang-dev python3 dpkg
parts=target/package out=target/packages
rm -rf "$parts"
mkdir -p "$parts" "$out"
cp "$program" "$parts/pinhole"
chmod 755 "$parts/pinhole"
# Build scripts of the C parts look at that variable, and would build all anew after each commit.
env -u CARGO_TARGET_DIR -u SOURCE_DATE_EPOCH cargo run --quiet --locked --example manual -- "$parts" >&2 || die "the manual could not be written; the lines above say why"
"$REPO/cross/licences.py" | gzip -9n > "$parts/third-party-licences.txt.gz" || die "the licences of the parts could not be gathered"
printf 'pinhole (%s-1) unstable; urgency=medium\n\n  * See CHANGELOG.md.\n\n -- pinhole maintainers <maintainers@pinhole.example>  %s\n' \
  "$version" "$(date -u -R -d "@$SOURCE_DATE_EPOCH")" > "$parts/changelog.Debian"

if [ -n "$arch" ]; then
  [ "$(cargo deb --version 2>/dev/null)" = "cargo-deb $CARGO_DEB" ] || cargo install --locked "cargo-deb@$CARGO_DEB" >&2 || die "cargo-deb $CARGO_DEB could not be installed; the lines above say why"
  cargo deb --quiet --locked --no-build --no-strip --target "$target" --output "$out/pinhole_$version-1_$arch.deb" >&2 || die "cargo-deb made no package; the lines above say why"
  printf '%s\n' "$REPO/$out/pinhole_$version-1_$arch.deb"
fi

name=pinhole-$version-$target
rm -rf "${out:?}/$name"
mkdir -p "$out/$name"
cp -r "$parts/pinhole" "$parts/man" "$parts/completions" "$parts/third-party-licences.txt.gz" README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE docs "$out/$name/"
mkdir "$out/$name/systemd"
cp systemd/pinhole.service systemd/pinhole.toml "$out/$name/systemd/"
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" -C "$out" -c "$name" | gzip -9n > "$out/$name.tar.gz"
rm -rf "${out:?}/$name"
printf '%s\n' "$REPO/$out/$name.tar.gz"
