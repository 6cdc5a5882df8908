#!/bin/sh
# zig for 32-bit ARM. zig takes a processor's features from -mcpu alone and passes over -mfpu, but libjpeg-turbo compiles
# its NEON files, and only those, with -mfpu=neon: it uses them where /proc/cpuinfo lists NEON. So that flag is put in
# the words of the clang inside. zig.sh has cargo-zigbuild call this as zig.
#
# environment:
#   CROSS_PYTHON  the python that has zig as its module ziglang
for word; do
  shift
  case $word in
    -mfpu=neon) set -- "$@" -Xclang -target-feature -Xclang +neon ;;
    *) set -- "$@" "$word" ;;
  esac
done
exec "$CROSS_PYTHON" -m ziglang "$@"
