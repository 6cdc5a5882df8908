#!/bin/sh
# The python through which cargo-zigbuild calls zig for 32-bit ARM (`-m ziglang cc …`; zig.sh says so). zig takes a
# processor's features from -mcpu alone and passes over -mfpu, but libjpeg-turbo compiles its NEON files, and only those,
# with -mfpu=neon: it uses them where /proc/cpuinfo lists NEON. So for these the processor is one that has it.
#
# environment:
#   CROSS_PYTHON  the real one
for word; do
  [ "$word" = -mfpu=neon ] || continue
  for word; do
    shift
    case $word in
      -mcpu=*) set -- "$@" -mcpu=generic+v7a+neon ;;
      *) set -- "$@" "$word" ;;
    esac
  done
  break
done
exec "$CROSS_PYTHON" "$@"
