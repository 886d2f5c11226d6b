/** How many device accesses a second leave the guest, are answered, and go back. */

import { arm64, assemble } from '@faultyard/arch-arm64';
import { answer, createVm, type Exit, type KernelDevice, resume } from '@faultyard/core';
import { match } from 'ts-pattern';
import { type Clock, median } from './measure.ts';

const RAM = 0x4000_0000n;
const DEVICE = 0x0900_0000;

/** What is measured. */
export interface ExitRate {
  readonly name: string;
  /** Median over the rounds, in million exits a second. */
  readonly perSecond: number;
  readonly unit: 'M/s';
  /** What the project asks for, in the same unit; absent: reported only. */
  readonly wanted?: number;
}

/** The guest: a loop of one device access and a branch, with the MMU off, or on with the device page mapped. */
export function guest(access: 'ldr' | 'str', mmu: boolean) {
  const vm = createVm({ arch: arm64(), memslots: [{ gpa: RAM, size: 1n << 20n }] });
  const code = assemble(
    `
      ldr x2, =0x09000000
      ldr x1, =0x12345678
      cbz x0, loop
      ldr x3, =0x40010000
      msr ttbr0_el1, x3
      ldr x3, =0x80001f19
      msr tcr_el1, x3
      ldr x3, =0xff04
      msr mair_el1, x3
      isb
      mrs x3, sctlr_el1
      orr x3, x3, #1
      msr sctlr_el1, x3
      isb
      .balign 64
    loop:
      ${access} w1, [x2]
      b loop`,
    { origin: RAM },
  );
  vm.write(RAM, code.bytes);
  // 39 bits of virtual address: 1 GiB blocks, the first Device-nGnRE, the second Normal
  vm.poke(RAM + 0x1_0000n, 0x0060_0000_0000_0401n);
  vm.poke(RAM + 0x1_0008n, 0x0000_0000_4000_0705n);
  const cpu = vm.vcpus[0] as (typeof vm.vcpus)[0] & object;
  cpu.pc = RAM;
  cpu.set('x0', mmu ? 1 : 0);
  return { vm, cpu };
}

const EXPECTED = 0x1234_5678;

/** run -> switch -> run (answering loads), `n` times. Returns the bytes stored. */
export function roundTrip(cpu: ReturnType<typeof guest>['cpu'], n: number): number {
  let left = n;
  let stored = 0;
  while (left > 0) {
    const e = cpu.run();
    switch (e.kind) {
      case 'mmio':
        if (e.write) stored += e.size;
        else cpu.answer(e, EXPECTED);
        left--;
        break;
      default:
        throw new Error(`unexpected exit ${e.kind}`);
    }
  }
  return stored;
}

/** Exit rates through the public API, `rounds` of `n` exits each, after as much warm-up. */
export function exitRates(clock: Clock, rounds: number = 7, n: number = 1_000_000): ExitRate[] {
  const out: ExitRate[] = [];
  const rate = (name: string, f: (n: number) => void, wanted?: number, factor = 1): void => {
    f(n / 2);
    f(n / 2);
    const each = Array.from({ length: rounds }, () => {
      const t = clock.now();
      f(n * factor);
      return (n * factor) / (clock.now() - t) / 1000;
    });
    out.push({ name, perSecond: median(each), unit: 'M/s', ...(wanted === undefined ? {} : { wanted }) });
  };
  for (const mmu of [false, true]) {
    const mode = mmu ? 'MMU on' : 'MMU off';
    for (const access of ['str', 'ldr'] as const) {
      const what = access === 'str' ? 'store' : 'load';
      const a = guest(access, mmu);
      rate(
        `vcpu.run + switch, device ${what}, ${mode}`,
        (k) => roundTrip(a.cpu, k),
        access === 'str' ? 5 : 3,
      );
      a.vm.dispose();
      const b = guest(access, mmu);
      let hits = 0;
      const device: KernelDevice = {
        name: 'bench',
        gpa: DEVICE,
        size: 4096,
        load(_at, _size, _vcpu, o) {
          hits++;
          o.lo = EXPECTED;
          return true;
        },
        store(_at, _size, _vcpu, lo) {
          hits += lo === EXPECTED ? 1 : 0;
          return true;
        },
      };
      b.vm.bus.add(device);
      rate(
        `in-kernel device, ${what}, ${mode}`,
        (k) => {
          const before = hits;
          const e = b.cpu.run(2 * k);
          if (e.kind !== 'budget' || Math.abs(hits - before - k) > 16)
            throw new Error(`${e.kind} after ${hits - before}`);
        },
        30,
        8,
      );
      b.vm.dispose();
    }
  }
  for (const access of ['str', 'ldr'] as const) {
    const { vm } = guest(access, false);
    let left = 0;
    const handler = (e: Exit<'mmio' | 'budget' | 'intr' | 'run-error'>) =>
      match(e)
        .with({ kind: 'mmio', write: true }, () =>
          --left > 0 ? resume : { verdict: 'stop' as const, why: 'done' },
        )
        .with({ kind: 'mmio', write: false }, () =>
          --left > 0 ? answer(EXPECTED) : { verdict: 'stop' as const, why: 'done' },
        )
        .otherwise((x) => {
          throw new Error(x.kind);
        });
    rate(`vm.drive + ts-pattern, device ${access === 'str' ? 'store' : 'load'}, MMU off`, (k) => {
      left = k;
      vm.drive(handler as never);
    });
    vm.dispose();
  }
  return out;
}
