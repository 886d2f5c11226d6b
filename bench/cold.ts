/**
 * Cold code: 100,000 basic blocks, every one run twice or so and then never again. What counts is how fast code gets
 * from memory to running, not how fast it runs.
 */

import { arm64, assemble } from '@faultyard/arch-arm64';
import { createVm } from '@faultyard/core';
import { loadFlat, virtBoard } from '@faultyard/vmm';
import type { Clock } from './measure.ts';

const RAM = 0x4000_0000n;
/** Where QEMU puts a flat kernel. */
const LOAD = RAM + 0x8_0000n;
const CALLS = 0x10_0000;
const CODE = 0x20_0000;

const BLOCKS_PER_FUNCTION = 8;
/** Functions, of eight blocks each. */
export const FUNCTIONS = 12_500;

/** Calls every function in the list at {@link CALLS}, twice; then SYSTEM_OFF. x20: code, x19: data. */
const main = `
      ldr x0, =0x40081000
      ldr x1, =0x0060000000000401
      str x1, [x0]
      ldr x1, =0x40000705
      str x1, [x0, #8]
      ldr x1, =0xff04
      msr mair_el1, x1
      ldr x1, =0x803519
      msr tcr_el1, x1
      msr ttbr0_el1, x0
      tlbi vmalle1
      dsb sy
      isb
      mrs x1, sctlr_el1
      ldr x2, =0x1005
      orr x1, x1, x2
      msr sctlr_el1, x1
      isb
      ldr x19, =0x47f00000
      ldr x20, =0x40280000
      mov x22, #2
    again:
      ldr x21, =0x40180000
    next:
      ldr w0, [x21], #4
      cbz w0, done
      add x0, x20, x0
      blr x0
      eor x9, x9, x9, lsl #13
      eor x9, x9, x9, lsr #7
      b next
    done:
      subs x22, x22, #1
      b.ne again
      ldr x0, =0x84000008
      hvc #0
      b .`;

/** A guest that switches itself off at once: what starting QEMU costs. */
export function offImage(): Uint8Array {
  return assemble('ldr x0, =0x84000008\nhvc #0\nb .', { origin: LOAD }).bytes;
}

/** The words of each line of assembly, alone. */
function words(lines: readonly string[]): Int32Array {
  const b = assemble(lines.join('\n'), { origin: 0n }).bytes;
  return new Int32Array(b.buffer.slice(b.byteOffset, b.byteOffset + 4 * lines.length));
}

/** The image: deterministic pseudo-random functions of eight blocks with forward branches, and the list of calls. */
export function coldImage(): { readonly bytes: Uint8Array; readonly instructions: number } {
  let seed = 7;
  const random = (n: number): number => {
    seed = (Math.imul(seed, 1664525) + 1013904223) | 0;
    return (seed >>> 8) % n;
  };
  const reg = (): string => `x${9 + random(9)}`;
  const to = (): string => `x${10 + random(8)}`;
  const work = words(
    Array.from({ length: 2000 }, (): string => {
      const kinds = [
        () => `add ${to()}, ${reg()}, ${reg()}`,
        () => `eor ${to()}, ${reg()}, ${reg()}`,
        () => `add ${to()}, ${reg()}, #${random(4096)}`,
        () => `sub ${to()}, ${reg()}, #${random(4096)}`,
        () => `add ${to().replace('x', 'w')}, ${reg().replace('x', 'w')}, ${reg().replace('x', 'w')}`,
        () => `add ${to()}, ${reg()}, ${reg()}, lsl #${1 + random(60)}`,
        () => `mov ${to()}, ${reg()}`,
        () => `mov ${to()}, #${random(65536)}`,
        () => `ldr ${to()}, [x19, #${8 * random(512)}]`,
        () => `str ${to()}, [x19, #${8 * random(512)}]`,
      ];
      return (kinds[random(kinds.length)] as () => string)();
    }),
  );
  const compare = words(Array.from({ length: 200 }, () => `cmp ${to()}, ${to()}`));
  const longest = 20;
  const conditions = ['eq', 'ne', 'hs', 'lo', 'hi', 'ls', 'ge', 'lt', 'gt', 'le'];
  const distances = Array.from({ length: longest }, (_, i) => i + 1);
  const conditional = conditions.map((c) => words(distances.map((d) => `b.${c} .+${4 * d}`)));
  const bits = Array.from({ length: 64 }, (_, i) =>
    words(distances.map((d) => `tbz ${to()}, #${i % 32}, .+${4 * d}`)),
  );
  const always = words(distances.map((d) => `b .+${4 * d}`));
  const [ret] = words(['ret']) as unknown as [number];

  // A call to offset 0 would end the list.
  const code: number[] = [ret];
  const starts: number[] = [];
  for (let f = 0; f < FUNCTIONS; f++) {
    starts.push(4 * code.length);
    const blocks: number[] = [];
    const branches: { readonly at: number; readonly block: number; readonly kind: Int32Array }[] = [];
    for (let block = 0; block < BLOCKS_PER_FUNCTION; block++) {
      blocks.push(code.length);
      for (let n = 3 + random(4); n > 0; n--) code.push(work[random(work.length)] ?? 0);
      if (block === BLOCKS_PER_FUNCTION - 1) {
        code.push(ret);
        break;
      }
      const kind = random(4);
      if (kind < 2) code.push(compare[random(compare.length)] ?? 0);
      const skip = Math.min(block + 2, BLOCKS_PER_FUNCTION - 1);
      const table = kind < 2 ? conditional[random(10)] : kind === 2 ? bits[random(64)] : always;
      branches.push({ at: code.length, block: kind === 3 ? block + 1 : skip, kind: table as Int32Array });
      code.push(0);
    }
    for (const b of branches) code[b.at] = b.kind[(blocks[b.block] ?? 0) - b.at - 1] ?? 0;
  }
  const bytes = new Uint8Array(CODE + 4 * code.length);
  bytes.set(assemble(main, { origin: LOAD }).bytes);
  const i32 = new Int32Array(bytes.buffer);
  starts.forEach((s, i) => {
    i32[CALLS / 4 + i] = s;
  });
  i32.set(code, CODE / 4);
  return { bytes, instructions: code.length };
}

/** Runs the image once on a VM of its own; only running is timed. */
export function runCold(
  image: Uint8Array,
  clock: Clock,
): { readonly ms: number; readonly instructions: number } {
  const vm = createVm({ arch: arm64(), memslots: [{ gpa: RAM, size: 128n << 20n }] });
  const board = virtBoard(vm);
  const cpu = vm.vcpus[0] as (typeof vm.vcpus)[0] & object;
  cpu.pc = loadFlat(vm, LOAD, image).entry;
  const started = clock.now();
  const end = vm.drive(board.handler as never);
  const ms = clock.now() - started;
  const { retired } = cpu;
  vm.dispose();
  if (end.exit.kind !== 'system-event')
    throw new Error(`the cold guest ended with ${end.exit.kind}: ${end.why}`);
  return { ms, instructions: retired };
}
