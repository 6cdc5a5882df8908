#!/usr/bin/env bash
# test.sh TARGET [cargo test args...]: builds the tests for TARGET and runs them on this machine under qemu-user.
# Example: cross/test.sh aarch64-unknown-linux-gnu --lib -- signal
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
. "$REPO/cross/zig.sh"

[ $# -ge 1 ] || usage "cross/test.sh TARGET [cargo test args...]   (targets: ${TARGETS[*]} ${STATIC_TARGETS[*]})"
target=$1; shift
known_target "$target"
runner=CARGO_TARGET_$(tr 'a-z-' 'A-Z_' <<< "$target")_RUNNER
# cargo splits this at spaces, so a path with one in it cannot be a runner.
case $REPO in *' '*) die "$REPO has a space in its name; cargo cannot run tests through it" ;; esac
export "$runner=$REPO/cross/run.sh $target"
cargo_zig test "$target" "$@"
