/** Runs case images here and under qemu-system-x86_64. */
import { createVm } from '@faultyard/core';
import { missing, runQemuSystem } from '@faultyard/testkit/oracle';
import { type X86Vcpu, x86 } from '../../src/index.ts';
import { Seg } from '../../src/isa/layout.ts';
import { CR0 } from '../../src/state.ts';
import { CASE, RESULT } from './case-image.ts';

const PROGRAM = 'qemu-system-x86_64';
/** Why QEMU cannot be asked, or undefined. */
export const missingQemu = (): string | undefined => missing(PROGRAM);

/** Line status of the serial port: it is asked when all cases are through. */
const LINE_STATUS = 0x3fd;

/** Whose processor. */
export type Vendor = 'AMD' | 'Intel';
const CPUS = {
  AMD: { here: 'zen3', qemu: 'EPYC' },
  Intel: { here: 'skylake', qemu: 'Skylake-Client' },
} as const;

/** Results as doublewords, a row a case. */
export type Results = readonly (readonly number[])[];

/** Rows of the bytes that an image leaves: doublewords, field by field. */
export function resultRows(bytes: Uint8Array, count: number): Results {
  const dv = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const n = RESULT.length;
  return Array.from({ length: count }, (_, i) =>
    Array.from({ length: n }, (_, k) => dv.getUint32(4 * (i * n + k), true)),
  );
}
/** The reverse of {@link resultRows}. */
export const resultBytes = (r: Results): Uint8Array => new Uint8Array(Uint32Array.from(r.flat()).buffer);

/** Runs an image under QEMU's translator. */
export function runQemu(image: Uint8Array, count: number, vendor: Vendor = 'AMD'): Results {
  const ran = runQemuSystem({
    program: PROGRAM,
    kernel: image,
    machine: 'pc,accel=tcg',
    cpu: CPUS[vendor].qemu,
    memory: 32,
    timeout: 10_000,
    args: ['-device', 'isa-debug-exit,iobase=0xf4,iosize=0x04'],
  });
  if (ran.stdout.length !== count * RESULT.length * 4)
    throw new Error(`QEMU printed ${ran.stdout.length} bytes: ${ran.stderr}`);
  return resultRows(ran.stdout, count);
}

/** Runs an image here, from where a multiboot loader leaves the processor. */
export function runHere(image: Uint8Array, count: number, vendor: Vendor = 'AMD'): Results {
  const vm = createVm({ arch: x86({ model: CPUS[vendor].here }), memslots: [{ gpa: 0n, size: 32n << 20n }] });
  try {
    vm.memory.write(BigInt(CASE.image), image);
    const vcpu = vm.vcpus[0];
    if (!vcpu) throw new Error('no vCPU');
    const { arch } = vcpu as unknown as { readonly arch: X86Vcpu };
    const s = arch.state;
    s.setSys(0, CR0.PE | CR0.ET, 0);
    const flat = { selector: 0x10, attr: 0xc93, limit: -1, baseLo: 0, baseHi: 0 };
    for (const n of [Seg.ES, Seg.SS, Seg.DS, Seg.FS, Seg.GS] as const) Object.assign(s.segment(n), flat);
    Object.assign(s.segment(Seg.CS), { ...flat, selector: 8, attr: 0xc9b });
    // behind the multiboot header
    s.setIp(CASE.image + 32, 0);
    arch.modeChanged();
    arch.translationChanged();
    for (let n = 0; n < 1000; n++) {
      const e = vcpu.run(200_000_000);
      if (e.kind === 'io' && e.port === LINE_STATUS) break;
      // other ports, and lower values of CR8, are nothing to a board without devices
      if (['io', 'set-tpr'].includes(e.kind)) continue;
      throw new Error(
        `left with ${JSON.stringify(e, (_, v) => (typeof v === 'bigint' ? v.toString(16) : v))}`,
      );
    }
    return resultRows(vm.memory.read(BigInt(CASE.results), count * RESULT.length * 4), count);
  } finally {
    vm.dispose();
  }
}

/** Differences as text: the case, the field, here and there. `uncompared`: bits that do not count. */
export function differences(
  here: Results,
  there: Results,
  name: (n: number) => string,
  uncompared: (n: number, field: number, row: readonly number[]) => number,
): string[] {
  const out: string[] = [];
  for (const [n, row] of here.entries()) {
    const other = there[n] ?? [];
    const fields = RESULT.flatMap((f, k) => {
      const [a = 0, b = 0] = [row[k], other[k]];
      return (a ^ b) & ~uncompared(n, k, row) ? [`${f} here ${a.toString(16)} there ${b.toString(16)}`] : [];
    });
    if (fields.length) out.push(`${name(n)}: ${fields.join(', ')}`);
  }
  return out;
}
