/** Runs case images (`bare-image.ts`) here, under qemu-system-x86_64 and on KVM. */
import { accessSync, constants, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createVm } from '@faultyard/core';
import { missing, output, runQemuSystem, scratch } from '@faultyard/testkit/oracle';
import { type X86PluginOptions, type X86Vcpu, x86 } from '../../src/index.ts';
import { Seg } from '../../src/isa/layout.ts';
import { CR0, SR } from '../../src/state.ts';
import type { Image } from './bare-image.ts';
import { AT, SHUTDOWN } from './bare-layout.ts';

const PROGRAM = 'qemu-system-x86_64';
/** Why QEMU cannot be asked, or undefined. */
export const missingQemu = (): string | undefined => missing(PROGRAM);

/** Records as they lie in memory: the length is cut off. */
function results(bytes: Uint8Array): Uint8Array {
  const length = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(0, true);
  if (bytes.length < 4 + length) throw new Error(`${bytes.length} bytes of ${length}`);
  return bytes.slice(4, 4 + length);
}

/** Runs an image under QEMU's translator. A shutdown restarts the machine, and the image goes on. */
export function runQemu(image: Image, cpu: string): Uint8Array {
  const ran = runQemuSystem({
    program: PROGRAM,
    kernel: image.bytes,
    machine: 'pc,accel=tcg',
    cpu,
    memory: 32,
    timeout: 120_000,
    args: ['-action', 'reboot=reset', '-device', 'isa-debug-exit,iobase=0xf4,iosize=0x04'],
  });
  if (ran.stdout.length < 4) throw new Error(`QEMU printed ${ran.stdout.length} bytes: ${ran.stderr}`);
  return results(ran.stdout);
}

const source = new URL('../tools/kvm-system.c', import.meta.url);

/** Why KVM cannot be asked, or undefined. */
export function missingKvm(): string | undefined {
  const none = missing('cc');
  if (none) return none;
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK);
    return undefined;
  } catch {
    return '/dev/kvm does not open';
  }
}

/** Runs an image on KVM. @throws Error when KVM does not open, or cannot get through it. */
export function runKvm(image: Image): Uint8Array {
  return scratch((dir) => {
    const program = join(dir, 'kvm-system');
    output('cc', ['-O1', '-o', program, fileURLToPath(source)]);
    writeFileSync(join(dir, 'image'), image.bytes);
    output(program, [join(dir, 'image'), join(dir, 'out')], { timeout: 300_000 });
    return results(readFileSync(join(dir, 'out')));
  });
}

/** Addresses at the image's beginning: entries and results. */
function entries(image: Image): { start: number; failed: number } {
  const dv = new DataView(image.bytes.buffer, image.bytes.byteOffset);
  return { start: dv.getUint32(28, true), failed: dv.getUint32(32, true) };
}

/** Puts a vCPU where a multiboot loader leaves it: flat 32-bit protected mode. */
function flat(arch: X86Vcpu, ip: number): void {
  const s = arch.state;
  s.setSys(0, CR0.PE | CR0.ET, 0);
  s.setSys(3, 0, 0);
  s.setSys(4, 0, 0);
  s.setSys(SR.EFER, 0, 0);
  const data = { selector: 0x10, attr: 0xc93, limit: -1, baseLo: 0, baseHi: 0 };
  for (const n of [Seg.ES, Seg.SS, Seg.DS, Seg.FS, Seg.GS] as const) Object.assign(s.segment(n), data);
  Object.assign(s.segment(Seg.CS), { ...data, selector: 8, attr: 0xc9b });
  s.flags = 2;
  s.setIp(ip, 0);
  arch.modeChanged();
  arch.translationChanged();
}

/** Runs an image here. */
export function runHere(image: Image, options: X86PluginOptions = {}): Uint8Array {
  const vm = createVm({ arch: x86(options), memslots: [{ gpa: 0n, size: 32n << 20n }] });
  try {
    vm.memory.write(BigInt(AT.image), image.bytes);
    const vcpu = vm.vcpus[0];
    if (!vcpu) throw new Error('no vCPU');
    const { arch } = vcpu as unknown as { readonly arch: X86Vcpu };
    const { start, failed } = entries(image);
    flat(arch, start);
    for (let n = 0; n < 100_000; n++) {
      const e = vcpu.run(2_000_000_000);
      if (e.kind === 'io' && e.port === 0x3fd) {
        const head = vm.memory.read(BigInt(AT.results), 4);
        const length = new DataView(head.buffer, head.byteOffset).getUint32(0, true);
        return results(vm.memory.read(BigInt(AT.results), length + 4));
      }
      // nothing answers: reads give 0, as under QEMU
      if (e.kind === 'io' || e.kind === 'mmio' || (e.kind as string) === 'set-tpr') continue;
      if (e.kind === 'shutdown') {
        arch.reset(true);
        flat(arch, failed);
        arch.state.setSized(0, 4, SHUTDOWN, 0);
        continue;
      }
      throw new Error(
        `left with ${JSON.stringify(e, (_, v) => (typeof v === 'bigint' ? v.toString(16) : v))}`,
      );
    }
    throw new Error('no end');
  } finally {
    vm.dispose();
  }
}
