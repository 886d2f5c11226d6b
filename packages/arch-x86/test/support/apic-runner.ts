/** Runs the guest of `apic-image.ts` here, under qemu-system-x86_64 and on KVM. */
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createVm, type Schedule, type Vm } from '@faultyard/core';
import { missing, output, runQemuSystem, scratch } from '@faultyard/testkit/oracle';
import { type X86Vcpu, x86 } from '../../src/index.ts';
import { Seg } from '../../src/isa/layout.ts';
import { CR0 } from '../../src/state.ts';
import { APIC_IMAGE } from './apic-image.ts';

function results(bytes: Uint8Array): Uint8Array {
  const length = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(0, true);
  if (bytes.length < 4 + length) throw new Error(`${bytes.length} bytes of ${length}`);
  return bytes.slice(4, 4 + length);
}

/** Runs an image under QEMU's translator. */
export function runApicQemu(image: Uint8Array, cpus: number): Uint8Array {
  const ran = runQemuSystem({
    program: 'qemu-system-x86_64',
    kernel: image,
    machine: 'pc,accel=tcg',
    cpu: 'EPYC',
    memory: 32,
    smp: cpus,
    timeout: 120_000,
    args: ['-device', 'isa-debug-exit,iobase=0xf4,iosize=0x04'],
  });
  if (ran.stdout.length < 4) throw new Error(`QEMU printed ${ran.stdout.length} bytes: ${ran.stderr}`);
  return results(ran.stdout);
}

const source = new URL('../tools/kvm-apic.c', import.meta.url);

/** Why KVM cannot be asked, or undefined. */
export function missingKvm(): string | undefined {
  const tool = missing('cc');
  if (tool !== undefined) return tool;
  try {
    closeSync(openSync('/dev/kvm', 'r+'));
    return undefined;
  } catch {
    return '/dev/kvm does not open';
  }
}
/** Why QEMU cannot be asked, or undefined. */
export const missingQemu = (): string | undefined => missing('qemu-system-x86_64');

/** Runs an image on KVM with its interrupt controllers. @throws Error when KVM does not open. */
export function runApicKvm(image: Uint8Array, cpus: number): Uint8Array {
  return scratch((dir) => {
    const program = join(dir, 'kvm-apic');
    output('cc', ['-O1', '-pthread', '-o', program, fileURLToPath(source)]);
    writeFileSync(join(dir, 'image'), image);
    output(program, [join(dir, 'image'), join(dir, 'out'), String(cpus)], { timeout: 60_000 });
    return results(readFileSync(join(dir, 'out')));
  });
}

/** A VM with the image loaded, its first vCPU where a multiboot loader leaves it. */
export function apicVm(image: Uint8Array, cpus: number, schedule?: Schedule): Vm {
  const vm = createVm({
    arch: x86({ irqchip: 'kernel' }),
    vcpus: cpus,
    memslots: [{ gpa: 0n, size: 32n << 20n }],
    ...(schedule ? { schedule } : {}),
  }) as unknown as Vm;
  vm.memory.write(BigInt(APIC_IMAGE.image), image);
  const arch = vm.vcpus[0]?.arch as X86Vcpu;
  const s = arch.state;
  s.setSys(0, CR0.PE | CR0.ET, 0);
  const data = { selector: 0x10, attr: 0xc93, limit: -1, baseLo: 0, baseHi: 0 };
  for (const n of [Seg.ES, Seg.SS, Seg.DS, Seg.FS, Seg.GS] as const) Object.assign(s.segment(n), data);
  Object.assign(s.segment(Seg.CS), { ...data, selector: 8, attr: 0xc9b });
  s.setIp(new DataView(image.buffer, image.byteOffset).getUint32(28, true), 0);
  arch.modeChanged();
  arch.translationChanged();
  return vm;
}

/** Runs a VM of {@link apicVm} until it has its results. @throws Error when it leaves otherwise. */
export function finish(vm: Vm): Uint8Array {
  const e = vm.run(1_000_000_000);
  if (e.kind !== 'io' || e.port !== 0x3fd) {
    const text = JSON.stringify(e, (_, v) => (typeof v === 'bigint' ? v.toString(16) : v));
    throw new Error(`left with ${text} at ${vm.vcpus.map((v) => v.pc.toString(16))}`);
  }
  const head = vm.memory.read(BigInt(APIC_IMAGE.results), 4);
  const length = new DataView(head.buffer, head.byteOffset).getUint32(0, true);
  return results(vm.memory.read(BigInt(APIC_IMAGE.results), length + 4));
}

/** Runs an image here; `pin2`: with the PIT on pin 2 of the I/O APIC, as boards have it. */
export function runApicHere(
  image: Uint8Array,
  cpus: number,
  o: { readonly schedule?: Schedule; readonly pin2?: boolean } = {},
): Uint8Array {
  const vm = apicVm(image, cpus, o.schedule);
  try {
    if (o.pin2)
      vm.op('set-gsi-routing', {
        routes: [
          { gsi: 0, chip: 0, pin: 0 },
          { gsi: 0, chip: 2, pin: 2 },
        ],
      });
    return finish(vm);
  } finally {
    vm.dispose();
  }
}
