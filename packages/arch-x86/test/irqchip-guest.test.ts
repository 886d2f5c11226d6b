/**
 * A guest of several CPUs tries out interrupt controllers (`support/apic-image.ts`): here, under qemu-system-x86_64 and on
 * KVM with its own. QEMU's I/O APIC and local APIC differ in registers, and in whom lowest priority chooses: that part is
 * asked of KVM alone.
 */
import type { Schedule } from '@faultyard/core';
import { capture } from '@faultyard/testkit/oracle';
import { describe, expect, it } from 'vitest';
import { APIC_IMAGE, type ApicHost, apicImage, phases } from './support/apic-image.ts';
import {
  apicVm,
  finish,
  missingKvm,
  missingQemu,
  runApicHere,
  runApicKvm,
  runApicQemu,
} from './support/apic-runner.ts';

const CPUS = [1, 2, 4, 8];
/** Two CPUs get two of the lowest-priority vectors each: in which order is up to real time. */
const KVM_CPUS = [1, 4, 8];

const text = (results: Uint8Array, cpus: number): string =>
  Object.entries(phases(results))
    .map(([phase, words]) => `${cpus} ${phase}: ${words}\n`)
    .join('');
const lines = (all: string): string[] => all.split('\n').filter((l) => l);
const ofCpus = (all: string, cpus: number): string[] => lines(all).filter((l) => l.startsWith(`${cpus} `));

const oracles = {
  qemu: {
    name: 'QEMU',
    cpus: CPUS,
    said: capture({
      record: new URL('recorded/irqchip-qemu.txt', import.meta.url),
      unless: missingQemu(),
      live: () => CPUS.map((n) => text(runApicQemu(apicImage('qemu', n), n), n)).join(''),
    }),
  },
  kvm: {
    name: 'KVM',
    cpus: KVM_CPUS,
    said: capture({
      record: new URL('recorded/irqchip-kvm.txt', import.meta.url),
      unless: missingKvm(),
      live: () => KVM_CPUS.map((n) => text(runApicKvm(apicImage('kvm', n), n), n)).join(''),
    }),
  },
} as const;

const here = (host: ApicHost, cpus: number, schedule?: Schedule): string[] => {
  const o = { pin2: host === 'qemu', ...(schedule ? { schedule } : {}) };
  return lines(text(runApicHere(apicImage(host, cpus), cpus, o), cpus));
};

describe.each(Object.entries(oracles))('%s', (host, { name, cpus, said }) => {
  const why = said.how === 'live' ? '' : ` (skipped: ${said.why})`;
  it.skipIf(said.how !== 'live')(`${name} on this machine -> the recording: equal${why}`, () => {
    expect(lines(said.text)).toEqual(lines(said.recorded ?? ''));
  });
  it.each(cpus)(
    `%i CPUs: start, IPIs, priorities, timers, 8259, I/O APIC -> as ${name}${said.how === 'live' ? '' : ', recorded'}`,
    (n) => {
      expect(here(host as ApicHost, n)).toEqual(ofCpus(said.text, n));
    },
  );
});

const SCHEDULES: readonly Schedule[] = [
  { kind: 'round-robin', quantum: 100 },
  { kind: 'round-robin', quantum: 20_000 },
  ...[1, 2, 3].map((seed): Schedule => ({ kind: 'random', seed, quantum: 3000 })),
];
it.each(SCHEDULES)('4 CPUs, schedule %j -> results as round robin', (schedule) => {
  expect(here('kvm', 4, schedule)).toEqual(here('kvm', 4));
});

it('3 CPUs stopped anywhere and moved to another VM -> results and hash: as run whole', () => {
  const image = apicImage('kvm', 3);
  const whole = apicVm(image, 3);
  const results = finish(whole);
  const hash = whole.stateHash();
  const total = whole.vcpus.reduce((n, v) => n + v.retired, 0);
  whole.dispose();
  let seed = 12345;
  const draw = (below: number): number => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
    return seed % below;
  };
  let vm = apicVm(image, 3);
  for (let cuts = 0; cuts < 25; cuts++) {
    const e = vm.run(1 + draw(Math.floor(total / 15)));
    if (e.kind !== 'budget') break;
    const twin = vm.fork();
    expect(twin.stateHash()).toBe(vm.stateHash());
    vm.dispose();
    vm = twin;
  }
  if (vm.vcpus[0]?.exit?.kind !== 'io') expect(finish(vm)).toEqual(results);
  expect(vm.peek(APIC_IMAGE.results, 4)).toBe(BigInt(results.length));
  expect(vm.stateHash()).toBe(hash);
  vm.dispose();
});
