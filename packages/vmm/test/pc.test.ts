/** The PC board under real x86 guests: multiboot kernel, boot sector, ELF of both widths; and its devices by themselves. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { asm, asm16, asm32, x86 } from '@faultyard/arch-x86';
import { createVm, type Vm } from '@faultyard/core';
import { scratch } from '@faultyard/testkit/oracle';
import { afterEach, describe, expect, test } from 'vitest';
import {
  bootElf,
  bootFlat,
  bootMultiboot,
  PC,
  type PcBoard,
  type PcBoardOptions,
  pcBoard,
  pcMemory,
  readElf,
  readMultibootHeader,
} from '../src/index.ts';
import { buildKernel, missingTools } from './guest/build.ts';

const open: Vm[] = [];
afterEach(() => {
  for (const vm of open.splice(0)) vm.dispose();
});

/** A PC with 16 MiB. */
function pc(o: PcBoardOptions = {}): PcBoard {
  const vm = createVm({ arch: x86(), memslots: pcMemory(16 << 20) }) as unknown as Vm;
  open.push(vm);
  return pcBoard(vm, o);
}

const recorded = new URL('recorded/multiboot.elf', import.meta.url);
const unless = missingTools();
const prebuilt = (): Uint8Array => new Uint8Array(readFileSync(recorded));

/** The kernel as this machine builds it; recorded where there is no recording yet, or it is asked for. */
function built(): Uint8Array {
  return scratch((dir) => {
    const bytes = new Uint8Array(readFileSync(buildKernel(dir)));
    if (process.env['FAULTYARD_RECORD'] === '1' || !existsSync(recorded)) writeFileSync(recorded, bytes);
    return bytes;
  });
}

const REPORT = `magic 2badb002, lower 280, upper 3c00
command line: console=ttyS0
module hello.txt: Hello!
module second: 2
memory 0+a0000 ram
memory a0000+60000 reserved
memory 100000+f00000 ram
`;

describe.each([
  { how: 'built here', file: built, skip: unless },
  { how: 'prebuilt', file: prebuilt, skip: undefined },
])('a multiboot kernel $how', ({ file, skip }) => {
  const why = skip ? ` (skipped: ${skip})` : '';
  test.skipIf(skip !== undefined)(
    `booted with a command line and modules -> COM1: what it was given; exit port: long mode reached${why}`,
    () => {
      const board = pc();
      const text = new TextEncoder();
      const { info, modules, vcpu } = bootMultiboot(board.vm, file(), {
        commandLine: 'console=ttyS0',
        modules: [
          { bytes: text.encode('Hello!'), text: 'hello.txt' },
          { bytes: text.encode('2'), text: 'second' },
        ],
      });
      expect([vcpu.get('rax'), vcpu.get('rbx')]).toEqual([0x2bad_b002n, BigInt(info)]);
      expect(modules.map((m) => m.start % 4096)).toEqual([0, 0]);
      const end = board.vm.drive(board.handler);
      expect(board.uart.text).toBe(REPORT);
      expect(end.why).toBe('guest exit 33');
      expect(board.exitPort.status).toBe(33);
      expect(Number(vcpu.get('efer')) & 0x500).toBe(0x500);
    },
  );
});

/** An executable of one segment, with nothing but headers and bytes. */
function elf(bits: 32 | 64, vaddr: bigint, paddr: bigint, code: Uint8Array): Uint8Array {
  const wide = bits === 64;
  const [header, program] = wide ? [64, 56] : [52, 32];
  const bytes = new Uint8Array(header + program + code.length);
  const v = new DataView(bytes.buffer);
  const word = (at32: number, at64: number, value: bigint): void =>
    wide ? v.setBigUint64(at64, value, true) : v.setUint32(at32, Number(value), true);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, wide ? 2 : 1, 1, 1]);
  v.setUint16(16, 2, true);
  v.setUint16(18, wide ? 62 : 3, true);
  word(24, 24, vaddr);
  word(28, 32, BigInt(header));
  v.setUint16(wide ? 54 : 42, program, true);
  v.setUint16(wide ? 56 : 44, 1, true);
  v.setUint32(header, 1, true);
  const size = BigInt(code.length);
  word(header + 4, header + 8, BigInt(header + program));
  word(header + 8, header + 16, vaddr);
  word(header + 12, header + 24, paddr);
  word(header + 16, header + 32, size);
  word(header + 20, header + 40, size);
  bytes.set(code, header + program);
  return bytes;
}

describe('other images', () => {
  test('a boot sector -> real mode at 0:7C00h with DL = 80h; it prints and exits', () => {
    const board = pc();
    const { bytes } = asm16`
        mov si, offset text
        mov dx, ${PC.com1}
    1:  lodsb
        test al, al
        jz 1f
        out dx, al
        jmp 1b
    1:  mov ax, cs
        out 0xf4, ax
    text: .asciz "boot"
        .org 0x7c00 + 510
        .word 0xaa55
      `.at(0x7c00);
    expect(bytes.length).toBe(512);
    const { entry, vcpu } = bootFlat(board.vm, bytes);
    expect([entry, vcpu.get('rdx'), vcpu.get('cs'), vcpu.pc]).toEqual([0x7c00n, 0x80n, 0n, 0x7c00n]);
    expect(board.vm.drive(board.handler).why).toBe('guest exit 1');
    expect(board.uart.text).toBe('boot');
  });

  test('a flat image above 64 KiB -> a segment that reaches it; above 1 MiB -> FY_IMAGE', () => {
    const board = pc();
    const { vcpu } = bootFlat(board.vm, asm16`mov ax, cs; out 0xf4, ax`.bytes, { at: 0x1_2340 });
    expect([vcpu.get('cs'), vcpu.pc]).toEqual([0x1234n, 0n]);
    expect(board.vm.drive(board.handler).why).toBe(`guest exit ${0x1234 * 2 + 1}`);
    expect(() => bootFlat(board.vm, new Uint8Array(1), { at: 0x10_0000 })).toThrow(/FY_IMAGE.*real mode/);
  });

  test('ELF of 32 bits -> flat protected mode, with segments that the guest can load again', () => {
    const board = pc();
    const { bytes } = asm32`
        mov ax, 0x10; mov ds, ax; push ds; pop eax
        mov ebx, 0x200000; mov dword ptr [ebx], 21
        mov eax, [ebx]; out 0xf4, eax`.at(0x10_0000);
    const { entry } = bootElf(board.vm, elf(32, 0x10_0000n, 0x10_0000n, bytes));
    expect(entry).toBe(0x10_0000n);
    expect(board.vm.drive(board.handler).why).toBe('guest exit 43');
  });

  test('ELF of 64 bits in the upper half -> long mode at its virtual address, memory also at its own', () => {
    const board = pc();
    const base = 0xffff_ffff_8010_0000n;
    const { bytes } = asm`
        call here
        here: pop rax
        mov rbx, offset here; cmp rax, rbx; jne wrong
        mov eax, [abs 0x100000]; cmp eax, [rip + first]; jne wrong
        mov eax, 7; out 0xf4, eax
        wrong: mov eax, 1; out 0xf4, eax
        first: .byte 0xe8, 0, 0, 0`.at(base);
    const { entry, vcpu } = bootElf(board.vm, elf(64, base, 0x10_0000n, bytes));
    expect(entry).toBe(base);
    expect(vcpu.get('cs.attr')).toBe(0xa9bn);
    expect(board.vm.drive(board.handler).why).toBe('guest exit 15');
  });

  test('an image for another machine, a vCPU that is not there, memory that is missing -> errors that say so', () => {
    const board = pc();
    const code = elf(64, 0x10_0000n, 0x10_0000n, Uint8Array.of(0xf4));
    code[18] = 183;
    expect(() => bootElf(board.vm, code)).toThrow(/FY_IMAGE.*machine 183, not 62/);
    expect(() => bootFlat(board.vm, Uint8Array.of(0xf4), { vcpu: 1 })).toThrow(/vcpu 1 does not exist/);
    const far = elf(32, 0x800_0000n, 0x800_0000n, Uint8Array.of(0xf4));
    expect(() => bootElf(board.vm, far)).toThrow(/FY_IMAGE.*in no memslot/);
  });
});

describe('a multiboot header', () => {
  const header = (flags: number, ...more: number[]): Uint8Array =>
    new Uint8Array(Uint32Array.of(0, 0x1bad_b002, flags, -(0x1bad_b002 + flags), ...more).buffer);

  test('with address fields -> the file lies where they say, its bss is zero, its entry runs', () => {
    const board = pc();
    const code = asm32`
        header: .long 0x1badb002, 0x10000, -(0x1badb002 + 0x10000)
        .long header, header, end, end + 64, start
        start: mov eax, [end + 60]; out 0xf4, eax
        end:`.at(0x20_0000);
    board.vm.write(code.symbols.end ?? 0n, new Uint8Array(64).fill(0xff));
    const { entry } = bootMultiboot(board.vm, code.bytes);
    expect(entry).toBe(code.symbols.start);
    expect(board.vm.drive(board.handler).why).toBe('guest exit 1');
  });

  test('anywhere in the first 8 KiB -> its offset; none, or features nobody has -> FY_IMAGE', () => {
    expect(readMultibootHeader(header(3))).toEqual({ offset: 4, flags: 3, addresses: undefined });
    expect(() => readMultibootHeader(new Uint8Array(64))).toThrow(/FY_IMAGE.*no multiboot header/);
    expect(() => readMultibootHeader(header(8))).toThrow(/FY_IMAGE.*requires features 0x8/);
    const wrong = header(3);
    wrong[12] = 0;
    expect(() => readMultibootHeader(wrong)).toThrow(/no multiboot header/);
  });

  test('a kernel without address fields -> ELF, or FY_IMAGE', () => {
    expect(() => bootMultiboot(pc().vm, header(3))).toThrow(/FY_IMAGE.*no ELF file/);
    expect(readElf(prebuilt()).bits).toBe(32);
  });
});

describe('ports', () => {
  /** Runs 16-bit code that ends in HLT. */
  const run = (board: PcBoard, code: Uint8Array): bigint => {
    const { vcpu } = bootFlat(board.vm, code);
    expect(board.vm.drive(board.handler).why).toBe('hlt');
    return vcpu.get('rax');
  };

  test('nobody there -> ones of the access, and an event in the trace; a store is lost', () => {
    const board = pc();
    expect(run(board, asm16`mov dx, 0x1234; out dx, eax; in eax, dx; hlt`.bytes)).toBe(0xffff_ffffn);
    expect(
      board.vm.trace
        .events()
        .filter((e) => e.name === 'unmapped_port')
        .at(0),
    ).toMatchObject({
      port: 0x1234,
    });
  });

  test('a wide access to byte registers -> split, lowest port first', () => {
    const board = pc();
    // divisor latch of COM1 as one word
    const code = asm16`mov dx, 0x3fb; mov al, 0x80; out dx, al; mov dx, 0x3f8; mov ax, 0x1234; out dx, ax
      xor ax, ax; in al, dx; mov ah, al; inc dx; in al, dx; hlt`;
    expect(run(board, code.bytes)).toBe(0x3412n);
  });

  test('string instructions -> every element goes to the device and comes from it', () => {
    const board = pc();
    board.uart.send('x');
    const code = asm16`mov dx, 0x3f8; mov si, offset text; mov cx, 5; cld; rep outsb
      mov di, 0x600; insb; mov al, [0x600]; xor ah, ah; hlt; text: .ascii "abcde"`.at(0x7c00);
    expect(run(board, code.bytes)).toBe(0x78n);
    expect(board.uart.text).toBe('abcde');
  });

  test.each([
    ['CF9h', asm16`mov dx, 0xcf9; mov al, 6; out dx, al`],
    ['92h', asm16`in al, 0x92; or al, 1; out 0x92, al`],
  ])('the reset bit of port %s -> the drive stops with a reset', (_, code) => {
    const board = pc();
    bootFlat(board.vm, code.bytes);
    expect(board.vm.drive(board.handler).why).toBe('guest reset');
  });

  test('CMOS -> memory sizes, and a clock on virtual time', () => {
    // 2024-02-29 23:59:58 UTC
    const board = pc({ start: 1_709_251_198 });
    const { cmos } = board;
    const read = (index: number): number => {
      cmos.store(0, 1, index);
      return cmos.load(1);
    };
    expect(read(0x34) | (read(0x35) << 8)).toBe(0);
    expect(read(0x17) | (read(0x18) << 8)).toBe(15 * 1024);
    const date = (): number[] => [0x32, 0x09, 0x08, 0x07, 0x04, 0x02, 0x00, 0x06].map(read);
    expect(date()).toEqual([0x20, 0x24, 0x02, 0x29, 0x23, 0x59, 0x58, 5]);
    board.vm.clock.advanceTo(board.vm.clock.now + 3e9);
    expect(date()).toEqual([0x20, 0x24, 0x03, 0x01, 0x00, 0x00, 0x01, 6]);
  });

  test('a snapshot between two characters -> text, exit status and CMOS go back with it', () => {
    const board = pc();
    bootFlat(
      board.vm,
      asm16`mov dx, 0x3f8; mov al, 'a'; out dx, al; mov al, 'b'; out dx, al; out 0xf4, al`.bytes,
    );
    board.handler(board.vm.run(), board.vm);
    const s = board.vm.snapshot();
    expect(board.vm.drive(board.handler).why).toBe('guest exit 197');
    board.vm.restore(s);
    expect([board.uart.text, board.exitPort.status]).toEqual(['a', undefined]);
    expect(board.vm.drive(board.handler).why).toBe('guest exit 197');
    expect(board.uart.text).toBe('ab');
  });

  test('overlapping devices -> FY_ADDRESS', () => {
    const board = pc();
    expect(() =>
      board.ports.add({ ...board.ports.devices[0], name: 'second', port: PC.cmos + 1 } as never),
    ).toThrow(/FY_ADDRESS: device second at port 0x71 overlaps cmos/);
  });

  test('memory beyond the hole -> a second slot at 4 GiB', () => {
    expect(pcMemory(4n << 30n)).toEqual([
      { gpa: 0n, size: 0xc000_0000n },
      { gpa: 0x1_0000_0000n, size: 0x4000_0000n },
    ]);
  });
});
