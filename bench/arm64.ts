/** AArch64: the machine is QEMU's `virt`. */
import { arm64, assemble } from '@faultyard/arch-arm64';
import { type AnyPlugin, createVm, type Vcpu, type Vm } from '@faultyard/core';
import { loadElf, loadFlat, virtBoard } from '@faultyard/vmm';
import { BLOCKS_PER_FUNCTION, FUNCTIONS, generator } from './cold.ts';
import { type Access, type GuestRun, type Subject, VALUE } from './subject.ts';

const RAM = 0x4000_0000n;
/** Where QEMU puts a flat kernel. */
const LOAD = RAM + 0x8_0000n;
const CALLS = 0x10_0000;
const CODE = 0x20_0000;
/** A hole in guest memory; on QEMU's `virt` the PL011, whose baud rate divisor at 0x24 can be written at will. */
const DEVICE = 0x0900_0000;
const REGISTER = 0x24;

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

/** The words of each line of assembly, alone. */
function words(lines: readonly string[]): Int32Array {
  const b = assemble(lines.join('\n'), { origin: 0n }).bytes;
  return new Int32Array(b.buffer.slice(b.byteOffset, b.byteOffset + 4 * lines.length));
}

/** The image: deterministic pseudo-random functions of eight blocks with forward branches, and the list of calls. */
function coldImage(): Uint8Array {
  const random = generator();
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
  return bytes;
}

/** Turns the MMU on: 39 bits of virtual address in blocks of 1 GiB, the first Device-nGnRE, the second Normal. */
const mmuOn = `
      ldr x3, =0x400f0000
      ldr x4, =0x0060000000000401
      str x4, [x3]
      ldr x4, =0x40000705
      str x4, [x3, #8]
      msr ttbr0_el1, x3
      ldr x4, =0x80001f19
      msr tcr_el1, x4
      ldr x4, =0xff04
      msr mair_el1, x4
      isb
      mrs x4, sctlr_el1
      orr x4, x4, #1
      msr sctlr_el1, x4
      isb`;

const instruction = (a: Access): string => (a.write ? 'str' : 'ldr');

function device(access: Access, paging: boolean): { vm: Vm; cpu: Vcpu } {
  const vm = createVm({ arch: arm64(), memslots: [{ gpa: RAM, size: 1n << 20n }] });
  const code = assemble(
    `
      ldr x2, =${DEVICE}
      ldr x1, =${VALUE}
      ${paging ? mmuOn : ''}
      b loop
      .balign 64
    loop:
      ${instruction(access)} w1, [x2, #${REGISTER}]
      b loop`,
    { origin: RAM },
  );
  vm.write(RAM, code.bytes);
  const cpu = vm.vcpus[0] as Vcpu;
  cpu.pc = RAM;
  return { vm: vm as Vm, cpu };
}

function run(image: Uint8Array, clock: { now(): number }, plugins: readonly AnyPlugin[] = []): GuestRun {
  const vm = createVm({ arch: arm64(), plugins, memslots: [{ gpa: RAM, size: 128n << 20n }] });
  const board = virtBoard(vm);
  const cpu = vm.vcpus[0] as Vcpu;
  const elf = image[0] === 0x7f;
  cpu.pc = (elf ? loadElf(vm, image) : loadFlat(vm, LOAD, image)).entry;
  const started = clock.now();
  const end = vm.drive(board.handler as never);
  const ms = clock.now() - started;
  const result = { instructions: cpu.retired, ms, text: board.uart.text };
  vm.dispose();
  if (end.exit.kind !== 'system-event') throw new Error(`the guest ended with ${end.exit.kind}: ${end.why}`);
  return result;
}

/** The subject. */
export const arm64Subject: Subject = {
  name: 'AArch64',
  tag: 'arm64',
  qemu: {
    binary: 'qemu-system-aarch64',
    arguments: (image) =>
      `-M virt -cpu cortex-a57 -m 128 -accel tcg -nographic -no-reboot -kernel ${image}`.split(' '),
  },
  off: () => assemble('ldr x0, =0x84000008\nhvc #0\nb .', { origin: LOAD }).bytes,
  run,
  cold: coldImage,
  wanted: { ratio: 0.27, note: '0.30 aimed at' },
  accesses: [
    { name: 'device store', exit: 'mmio', write: true, wanted: 5, loop: 2, at: DEVICE, size: 4096 },
    { name: 'device load', exit: 'mmio', write: false, wanted: 3, loop: 2, at: DEVICE, size: 4096 },
  ],
  device,
  theirDevice: (access, count) => ({
    name: 'PL011 register',
    image: assemble(
      `
      ldr x2, =${DEVICE}
      ldr x5, =${count}
      mov w1, #26
    loop:
      ${instruction(access)} w1, [x2, #${REGISTER}]
      subs x5, x5, #1
      b.ne loop
      ldr x0, =0x84000008
      hvc #0
      b .`,
      { origin: LOAD },
    ).bytes,
  }),
};
