#!/bin/sh
# Builds the PC's guest images: the committed ones beside this script, or into the directory given. Needs a GNU compiler
# for x86-64 (or CROSS=prefix).
set -eu
cd "$(dirname "$0")"
out=${1-.}
cross=${CROSS-}
case $("${cross}gcc" -dumpmachine) in x86_64-*) ;; *) exit 1 ;; esac
flags="-O2 -ffreestanding -nostdlib -static -fno-pic -no-pie -mgeneral-regs-only -mno-red-zone -mcmodel=small
  -fno-tree-vectorize -fno-tree-loop-distribute-patterns -fno-stack-protector -fno-asynchronous-unwind-tables
  -fcf-protection=none"
for scale in 1 10; do
  # shellcheck disable=SC2086
  "${cross}gcc" $flags -DSCALE=$scale -T link-x86.ld -Wl,--build-id=none,-z,max-page-size=4096,--no-warn-rwx-segments \
    start-x86.S speed.c -o "$out/speed-x86-$scale.elf"
  # multiboot loaders want 32-bit ELF
  "${cross}objcopy" --strip-all -O elf32-i386 "$out/speed-x86-$scale.elf"
done
"${cross}gcc" --version | head -n 1
