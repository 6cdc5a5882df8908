# shellcheck shell=bash
# cargo_zig COMMAND TARGET [cargo args...]: runs cargo for TARGET with zig as compiler and linker. Sourced after common.sh.
# Not here: what to do with the result (build.sh, test.sh).

# musl_crt TARGET: cargo-zigbuild leaves rustc's start files out in favour of zig's only where rustc's lie in its
# self-contained folder. A standard library built from source has no such folder, and both would be linked.
musl_crt() {
  local dir=$TOOLCHAIN/usr/lib/rustlib/$1/lib/self-contained name
  mkdir -p "$dir"
  for name in crt1 rcrt1 Scrt1 crti crtn crtbegin crtend crtbeginS crtendS; do
    [ -e "$dir/$name.o" ] || : > "$dir/$name.o"
  done
}

cargo_zig() {
  local command=$1 target=$2 zig_target=$2 std=std,panic_unwind
  shift 2
  "$REPO/cross/setup.sh"

  # cargo-zigbuild starts `cargo`, and asks RUSTC about the target.
  export PATH=$VENV/bin:$TOOLCHAIN/bin:$PATH
  export CARGO=$TOOLCHAIN/bin/cargo RUSTC=$TOOLCHAIN/bin/rustc RUSTDOC=$TOOLCHAIN/bin/rustdoc
  # Of each target alone: what is written there has python.sh in it or not, and two builds at once would run each other's.
  export CARGO_ZIGBUILD_CACHE_DIR=$CROSS_CACHE/zigbuild/$target ZIG_GLOBAL_CACHE_DIR=$CROSS_CACHE/zig
  case $target in arm*) export CROSS_PYTHON=$VENV/bin/python3 CARGO_ZIGBUILD_PYTHON_PATH=$REPO/cross/python.sh ;; esac
  # Flags meant for this machine would reach the target's objects too.
  unset CC CXX AR CFLAGS CXXFLAGS LDFLAGS RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET

  local args=(--target-dir "$TARGET_DIR") parts=$TARGET_DIR/parts
  case $target in
    *-gnu*) zig_target=$target.$GLIBC_BASELINE ;;
    *-musl*) musl_crt "$target" ;;
  esac
  args+=(--target "$zig_target")
  if ! compgen -G "$TOOLCHAIN/usr/lib/rustlib/$target/lib/libstd-*.rlib" >/dev/null; then
    # A stable rustc takes -Z only when told so. Build scripts look at that variable, so what was compiled with and
    # without it is kept apart: else each change between such targets compiles nearly everything again.
    export RUSTC_BOOTSTRAP=1
    parts+=-std
    [ "$command" = test ] && std+=,test
    args+=("-Zbuild-std=$std")
  fi
  export CARGO_BUILD_BUILD_DIR=$parts
  say "cargo $command for $target, into $TARGET_DIR"
  (cd "$REPO" && cargo-zigbuild "$command" "${args[@]}" "$@")
}
