import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createVm, type Vm } from '@faultyard/core';
import { toy } from '@faultyard/testkit';
import { missing, output, scratch, tool } from '@faultyard/testkit/oracle';
import { afterEach, describe, expect, test } from 'vitest';
import { loadElf, loadFlat, readElf } from '../src/index.ts';

const RAM = 0x4000_0000;
const open: Vm[] = [];
afterEach(() => {
  for (const vm of open.splice(0)) vm.dispose();
});
const make = (): Vm => {
  const vm = createVm({ arch: toy(), memslots: [{ gpa: BigInt(RAM), size: 1n << 20n }] }) as unknown as Vm;
  open.push(vm);
  return vm;
};
const here = (name: string): URL => new URL(name, import.meta.url);

/** The executable: built here where a cross compiler is installed, else the recorded one. */
const cc = 'aarch64-linux-gnu-gcc';
const unless = missing(cc);
const recorded = here('recorded/elf.bin');
const file: Uint8Array = unless
  ? new Uint8Array(readFileSync(recorded))
  : scratch((dir) => {
      const exe = join(dir, 'elf');
      const args = ['-nostdlib', '-static', '-O1', '-Wl,--build-id=none', '-Wl,-z,max-page-size=4096'];
      output(cc, [...args, '-T', fileURLToPath(here('elf.ld')), '-o', exe, fileURLToPath(here('elf.c'))]);
      const bytes = new Uint8Array(readFileSync(exe));
      if (process.env['FAULTYARD_RECORD'] === '1' || !existsSync(recorded)) writeFileSync(recorded, bytes);
      return bytes;
    });

describe(`an executable ${unless ? `recorded earlier (${unless})` : 'built here'}`, () => {
  const elf = readElf(file);
  test('header -> machine, entry', () => {
    expect(elf.machine).toBe(183);
    expect(elf.entry).toBe(0xffff_8000_4008_0000n);
  });
  const readelf = tool('readelf');
  test.skipIf(!readelf)(
    `segments and symbols -> as readelf prints them${readelf ? '' : ' (skipped: readelf not installed)'}`,
    () => {
      scratch((dir) => {
        const path = join(dir, 'elf');
        writeFileSync(path, file);
        const text = (...args: string[]): string =>
          new TextDecoder().decode(output('readelf', [...args, path]));
        const hex = (n: bigint, digits: number): string => n.toString(16).padStart(digits, '0');
        const loads = [...text('-lW').matchAll(/^ +LOAD +\S+ 0x(\S+) 0x(\S+) 0x(\S+) 0x(\S+)/gm)].map((m) =>
          m.slice(1),
        );
        expect(
          elf.segments.map((s) => [
            hex(s.vaddr, 16),
            hex(s.paddr, 16),
            hex(BigInt(s.bytes.length), 6),
            hex(s.size, 6),
          ]),
        ).toEqual(loads);
        const symbols = [
          ...text('-sW').matchAll(/^ +\d+: ([0-9a-f]{16}) +(\d+) (?!SECTION)\w+ +\w+ +\w+ +\S+ (\S+)$/gm),
        ];
        expect(elf.symbols.map((s) => [hex(s.value, 16), String(s.size), s.name])).toEqual(
          symbols.map((m) => [m[1], m[2], m[3]]),
        );
      });
    },
  );
  test('loadElf -> bytes at physical addresses, BSS zeroed, entry moved along, symbols', () => {
    const vm = make();
    vm.write(RAM + 0x9_0000, new Uint8Array(0x4000).fill(0xee));
    const { entry, symbols } = loadElf(vm, file, { machine: 183 });
    expect(entry).toBe(0x4008_0000n);
    expect(vm.peek(entry, 4)).toBe(0x1400_0000n);
    expect(vm.peek(RAM + 0x9_0000)).toBe(0x1122_3344_5566_7788n);
    const bss = RAM + 0x9_0000 + 8;
    expect([...vm.read(bss, 5000)].every((b) => b === 0)).toBe(true);
    expect(symbols.get('counter')).toBe(elf.segments.at(-1)?.vaddr);
    const text = symbols.get('text') ?? 0n;
    const at = text - 0xffff_8000_0000_0000n;
    expect(new TextDecoder().decode(vm.read(at, 9))).toBe('faultyard');
  });
  test('an offset -> everything lies that much higher', () => {
    const vm = make();
    expect(loadElf(vm, file, { offset: 0x1000n }).entry).toBe(0x4008_1000n);
    expect(vm.peek(0x4008_1000n, 4)).toBe(0x1400_0000n);
  });
});

describe('what cannot be loaded', () => {
  const changed = (f: (b: Uint8Array, v: DataView) => void): Uint8Array => {
    const b = file.slice();
    f(b, new DataView(b.buffer));
    return b;
  };
  test.each([
    ['an empty file', new Uint8Array(), /is no ELF file/],
    ['a big-endian file', changed((b) => b.fill(2, 5, 6)), /not little-endian of 32 or 64 bits/],
    [
      'headers beyond the end',
      changed((_, v) => v.setBigUint64(32, 1n << 40n, true)),
      /program headers at 0x1\d* lies beyond/,
    ],
    [
      'a segment beyond the end',
      changed((_, v) => v.setBigUint64(64 + 8, 1n << 30n, true)),
      /segment 0 .*beyond the end/,
    ],
    [
      'a segment larger in the file',
      changed((_, v) => v.setBigUint64(64 + 40, 1n, true)),
      /segment 0 is larger in the file/,
    ],
  ])('%s -> FY_IMAGE', (_, bytes, says) => {
    expect(() => readElf(bytes)).toThrow(/^FY_IMAGE/);
    expect(() => readElf(bytes)).toThrow(says);
  });
  test('another machine -> FY_IMAGE', () => {
    expect(() => loadElf(make(), file, { machine: 62, name: 'vmlinux' })).toThrow(
      /FY_IMAGE: image vmlinux: is for machine 183, not 62/,
    );
  });
  test('memory that is not there -> FY_IMAGE, nothing written', () => {
    const vm = make();
    const before = vm.stateHash();
    expect(() => loadElf(vm, file, { offset: 0x7_0000n })).toThrow(/0x40100000 is in no memslot/);
    expect(() => loadFlat(vm, RAM + 0xf_f000, new Uint8Array(0x1001))).toThrow(/FY_IMAGE.*0x40100000/);
    expect(vm.stateHash()).toBe(before);
  });
});

test('loadFlat -> bytes and entry where it was asked to', () => {
  const vm = make();
  expect(loadFlat(vm, RAM + 8, Uint8Array.of(1, 2, 3)).entry).toBe(BigInt(RAM + 8));
  expect([...vm.read(RAM + 7, 5)]).toEqual([0, 1, 2, 3, 0]);
});
