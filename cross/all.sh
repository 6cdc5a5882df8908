#!/usr/bin/env bash
# all.sh [TARGET...]: builds every target (or those named), inspects each program, runs it with --version and `check` (doctor.sh), and watches
# its synthetic picture from here (session.sh), under qemu-user where it is for ARM. Of a program that has its symbols it also shows that NEON is
# used (neon.sh). Prints one line a target and a line of counts. 10 to 16 CPU-minutes a target. Exit code 1 when a target failed; its log's place
# is printed.
# environment: PINHOLE_VIEWER as for session.sh.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

[ $# -gt 0 ] || set -- "${TARGETS[@]}" "${STATIC_TARGETS[@]}"
for target in "$@"; do known_target "$target"; done
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$REPO/Cargo.toml" | head -n 1)
logs=$CROSS_CACHE/logs
mkdir -p "$logs"

# watch TARGET PROGRAM: a session, with a look at the vector code where the symbols of an ARM program let that be seen.
watch() {
  local with=session.sh
  case $1 in aarch64-* | arm*-gnueabihf) [ -z "$(LC_ALL=C readelf -S "$2" | grep '\.symtab')" ] || with=neon.sh ;; esac
  "$REPO/cross/$with" "$1" "$2"
}

# prove TARGET: set -e does not reach into a function whose result is tested, hence the chain.
prove() {
  local binary output
  binary=$("$REPO/cross/build.sh" "$1" --locked) \
    && "$REPO/cross/inspect.sh" "$binary" \
    && output=$("$REPO/cross/run.sh" "$1" "$binary" --version) \
    && printf 'run: %s\n' "$output" \
    && { [ "$output" = "pinhole $version" ] || { printf 'cross: error: --version should say: pinhole %s\n' "$version"; return 1; }; } \
    && "$REPO/cross/doctor.sh" "$1" "$binary" \
    && output=$(watch "$1" "$binary") \
    && { grep '^neon: ' <<< "$output" || true; } \
    && printf 'session: %s frames decoded\n' "$(sed -n 's/.*"decoded":\([0-9]*\).*/\1/p' <<< "$output")"
}

passed=0 failed=0
for target in "$@"; do
  log=$logs/$target.log
  started=$SECONDS
  if prove "$target" > "$log" 2>&1; then
    passed=$((passed + 1))
    printf '%s: ok, %d s; %s\n' "$target" $((SECONDS - started)) "$(grep -E '^(size|arm|glibc|needs|run|neon|session): ' "$log" | paste -sd ';' | sed 's/;/; /g')"
  else
    failed=$((failed + 1))
    printf '%s: FAILED, %d s; %s\n' "$target" $((SECONDS - started)) "$log"
    tail -n 20 "$log" >&2
  fi
done
printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" = 0 ]
