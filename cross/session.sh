#!/usr/bin/env bash
# session.sh TARGET PROGRAM [SECONDS]: runs a cross-built pinhole with its synthetic picture, under qemu-user where it
# is for ARM, and watches it from this machine for so many seconds (default 5): pairing, signaling, WebRTC, decoding.
# Prints what the viewer saw, one JSON object. Exit code 1 when it saw no picture.
#
# environment:
#   SESSION_CAMERA  another camera than the synthetic one
#   PINHOLE_VIEWER  the viewer (cargo build --example viewer); built here with this machine's cargo where it is not set
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

[ $# -ge 2 ] || usage "cross/session.sh TARGET PROGRAM [SECONDS]"
target=$1 program=$2 seconds=${3:-5}
known_target "$target"

viewer=${PINHOLE_VIEWER:-}
if [ -z "$viewer" ]; then
  command -v cargo >/dev/null || PATH=$TOOLCHAIN/bin:$PATH
  command -v cargo >/dev/null || die "no cargo to build the viewer with; cross/setup.sh unpacks one, or set PINHOLE_VIEWER"
  ensure_packages g++ cmake make nasm libclang-dev
  (cd "$REPO" && env -u CARGO_TARGET_DIR cargo build --locked --example viewer --target-dir "$REPO/target") >&2 || die "the viewer does not build; the lines above say why"
  viewer=$REPO/target/debug/examples/viewer
fi
[ -x "$viewer" ] || die "PINHOLE_VIEWER names no program: $viewer"

work=$(mktemp -d)
agent=
trap '[ -z "$agent" ] || { kill "$agent"; wait "$agent"; } 2>/dev/null || true; rm -rf "$work"' EXIT
# Small and slow: the emulated CPU encodes some twenty times slower than this one.
"$REPO/cross/run.sh" "$target" "$program" --camera "${SESSION_CAMERA:-synthetic}" --size 320x240 --fps 10 \
  --listen 127.0.0.1:0 --state "$work/state" > "$work/log" 2>&1 &
agent=$!
link=
for _ in $(seq 300); do
  link=$(grep -oE 'http://127[^ ]+#[^ ]+' "$work/log" | head -n 1) && break
  kill -0 "$agent" 2>/dev/null || break
  sleep 0.2
done
if [ -z "$link" ] || ! timeout $((seconds + 90)) "$viewer" "$link" "$seconds"; then
  cat "$work/log" >&2
  die "no session with $program; its log is above"
fi
