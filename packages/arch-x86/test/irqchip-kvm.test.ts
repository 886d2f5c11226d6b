/** State and answers of interrupt controllers by KVM's ioctls, on KVM and here; nothing runs. */
import { accessSync, constants } from 'node:fs';
import { createVm, type Vcpu, type Vm } from '@faultyard/core';
import { capture, missingFor, runC } from '@faultyard/testkit/oracle';
import { describe, expect, it } from 'vitest';
import { x86 } from '../src/index.ts';

function missingKvm(): string | undefined {
  const compiler = missingFor('native');
  if (compiler !== undefined || process.arch !== 'x64') return compiler ?? 'this machine is not x86';
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK);
    return undefined;
  } catch {
    return '/dev/kvm cannot be opened';
  }
}
const unless = missingKvm();
const said = capture({
  record: new URL('recorded/irqchip-states.txt', import.meta.url),
  unless,
  live: () => runC({ source: new URL('abi/irqchip-kvm.c', import.meta.url) }),
});
const lines = (text: string): string[] => text.split('\n').filter((l) => l);

/** The same as `abi/irqchip-kvm.c`. */
function here(): string[] {
  const out: string[] = [];
  const vm = createVm({ arch: x86({ model: 'zen3' }), vcpus: 2, memslots: [] }) as unknown as Vm;
  const cpu = (n: number): Vcpu => vm.vcpus[n] as Vcpu;
  const ERRNO: Readonly<Record<string, number>> = { EPERM: 1, ENOENT: 2, ENXIO: 6, EEXIST: 17, EINVAL: 22 };
  const answer = (name: string, target: Vm | Vcpu, number: number, arg: Uint8Array | number = 0): void => {
    const { ret, errno } = target.ioctl(number, arg);
    out.push(`${name} ${ret < 0 ? -(ERRNO[errno ?? ''] ?? 0) : ret}`);
  };
  const words = (size: number, ...v: readonly number[]): Uint8Array => {
    const b = new Uint8Array(size);
    for (const [i, x] of v.entries()) new DataView(b.buffer).setUint32(4 * i, x, true);
    return b;
  };
  const hex = (name: string, b: Uint8Array): void => {
    out.push(`${name} ${Buffer.from(b).toString('hex')}`);
  };
  const [GET, SET, PIT, GET_PIT, MSI, ROUTES] = [
    0xc208_ae62, 0x8208_ae63, 0x4040_ae77, 0x8070_ae9f, 0x4020_aea5, 0x4008_ae6a,
  ];
  const pit = (name: string): void => answer(name, vm, PIT, words(64, 1));
  const msi = (name: string, address: number, data: number): void =>
    answer(name, vm, MSI, words(32, address, 0, data));
  const routing = (name: string, chip: number, pin: number, flags: number, again: number): void => {
    const one = [3, 1, 0, 0, chip, pin, 0, 0, 0, 0, 0, 0];
    answer(name, vm, ROUTES, words(104, 1 + again, flags, ...one, ...one));
  };
  const chip = (n: number): Uint8Array => vm.ioctl(GET, words(520, n)).bytes;
  const status = (irq: number, level: number): string => {
    const { ret, bytes } = vm.ioctl(0xc008_ae67, words(8, irq, level));
    return ret < 0 ? 'refused' : String(new DataView(bytes.buffer).getInt32(0, true));
  };
  const line = (name: string, irq: number): void => {
    out.push(`${name} ${[1, 1, 0, 1].map((level) => status(irq, level)).join(',')}`);
  };
  const entry = (pin: number, bits: bigint): void => {
    const b = chip(2);
    new DataView(b.buffer).setBigUint64(8 + 24 + 8 * pin, bits, true);
    vm.ioctl(SET, b);
  };
  const lapic = (n: number): Uint8Array => cpu(n).ioctl(0x8400_ae8e, new Uint8Array(1024)).bytes;
  const setLapic = (n: number, b: Uint8Array): void => {
    cpu(n).ioctl(0x4400_ae8f, b);
  };

  answer('none.get-irqchip', vm, GET, words(520, 0));
  pit('none.create-pit2');
  answer('none.irq-line', vm, 0xc008_ae67, words(8, 4, 1));
  msi('none.signal-msi', 0xfee0_0000, 0x41);
  routing('none.set-gsi-routing', 2, 3, 0, 0);
  answer('create-irqchip', vm, 0xae60);
  answer('create-irqchip.again', vm, 0xae60);
  answer('get-pit2.none', vm, GET_PIT, words(112));
  pit('create-pit2');
  pit('create-pit2.again');
  for (const n of [0, 1]) {
    hex(`lapic.${n}`, lapic(n));
    out.push(`mp-state.${n} ${cpu(n).op('get-mp-state', {})}`);
  }
  for (const n of [0, 1, 2]) hex(`irqchip.${n}`, chip(n).slice(8, n < 2 ? 24 : 224));
  answer('get-irqchip.3', vm, GET, words(520, 3));
  hex('pit2', vm.ioctl(GET_PIT, words(112)).bytes);
  for (const n of [0, 1]) setLapic(n, lapic(n));
  msi('msi.nobody', 0xfee0_9000, 0x41);
  msi('msi.disabled', 0xfee0_0000, 0x41);
  msi('msi.broadcast', 0xfeef_f000, 0x41);
  msi('msi.nmi', 0xfee0_1000, 0x400);
  routing('routing.pin 24', 2, 24, 0, 0);
  routing('routing.pin 8', 0, 8, 0, 0);
  routing('routing.chip 3', 3, 0, 0, 0);
  routing('routing.flags', 2, 3, 1, 0);
  routing('routing.twice', 2, 3, 0, 1);
  line('line.4', 4);
  line('line.16', 16);
  line('line.30', 30);
  const on = lapic(0);
  new DataView(on.buffer).setUint32(0xf0, 0x1ff, true);
  setLapic(0, on);
  msi('msi.enabled', 0xfee0_0000, 0x41);
  entry(17, 0x42n);
  line('line.17 edge', 17);
  entry(18, 0x8043n);
  line('line.18 level', 18);
  entry(19, 0x0900_0000_0000_8044n);
  line('line.19 level, for nobody', 19);
  hex('irqchip.2 after', chip(2).slice(8, 224));
  hex('lapic.0 after', lapic(0));
  vm.dispose();
  return out;
}

it.skipIf(unless !== undefined)(
  `KVM on this machine -> the recording: equal${unless ? ` (skipped: ${unless})` : ''}`,
  () => {
    expect(lines(said.text)).toEqual(lines(said.recorded ?? ''));
  },
);
const there = lines(said.text);
const ours = here();
it('as many answers as there', () => expect(ours).toHaveLength(there.length));
describe(`a VM whose controllers were just made, and what is asked of it, ${said.how}`, () => {
  it.each(there.map((l, i) => [l.slice(0, l.lastIndexOf(' ')), l, ours[i]] as const))(
    '%s -> as KVM',
    (_, l, our) => {
      expect(our).toBe(l);
    },
  );
});
