#!/bin/sh
# Builds the AArch64 guest images: the committed ones beside this script, or into the directory given. Needs a GNU cross
# compiler for AArch64 (or CROSS=prefix).
set -eu
cd "$(dirname "$0")"
out=${1-.}
cross=${CROSS-aarch64-linux-gnu-}
flags="-O2 -ffreestanding -nostdlib -static -fno-pic -no-pie -march=armv8-a -mgeneral-regs-only -mno-outline-atomics
  -fno-tree-vectorize -fno-tree-loop-distribute-patterns -fno-stack-protector -fno-asynchronous-unwind-tables"
for scale in 1 10; do
  # shellcheck disable=SC2086
  "${cross}gcc" $flags -DSCALE=$scale -T link-arm64.ld -Wl,--build-id=none,-z,max-page-size=4096,--no-warn-rwx-segments \
    start-arm64.S speed.c -o "$out/speed-arm64-$scale.elf"
  "${cross}strip" "$out/speed-arm64-$scale.elf"
done
"${cross}gcc" --version | head -n 1
