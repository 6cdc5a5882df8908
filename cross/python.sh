#!/bin/sh
# The python through which cargo-zigbuild calls zig for 32-bit ARM (`-m ziglang cc …`; zig.sh says so). zig takes a
# processor's features from -mcpu alone and passes over -mfpu, but libjpeg-turbo compiles its NEON files, and only those,
# with -mfpu=neon: it uses them where /proc/cpuinfo lists NEON. So that flag is put in the words of the clang inside.
#
# environment:
#   CROSS_PYTHON  the real one
for word; do
  shift
  case $word in
    -mfpu=neon) set -- "$@" -Xclang -target-feature -Xclang +neon ;;
    *) set -- "$@" "$word" ;;
  esac
done
exec "$CROSS_PYTHON" "$@"
