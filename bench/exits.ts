/** How many device accesses a second leave the guest, are answered, and go back. */
import { arm64, assemble } from '@faultyard/arch-arm64';
import { answer, createVm, type Exit, type KernelDevice, resume, stop, type Verdict } from '@faultyard/core';
import { match } from 'ts-pattern';
import { type Clock, median } from './measure.ts';

const RAM = 0x4000_0000n;
/** A hole in guest memory; on QEMU's `virt` the PL011, whose baud rate divisor at 0x24 can be written at will. */
const DEVICE = 0x0900_0000;
const REGISTER = 0x24;
const VALUE = 0x1234_5678;
const STORED = BigInt(VALUE);
const done = stop('done');

/** A rate. */
export interface ExitRate {
  readonly name: string;
  /** Median over the rounds, in million exits a second. */
  readonly perSecond: number;
  readonly unit: 'M/s';
  /** What the project asks for, in the same unit; absent: reported only. */
  readonly wanted?: number;
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

/** A VM whose guest makes one device access and branches back, for ever. */
function guest(access: 'ldr' | 'str', mmu: boolean) {
  const vm = createVm({ arch: arm64(), memslots: [{ gpa: RAM, size: 1n << 20n }] });
  const code = assemble(
    `
      ldr x2, =${DEVICE}
      ldr x1, =${VALUE}
      ${mmu ? mmuOn : ''}
      b loop
      .balign 64
    loop:
      ${access} w1, [x2, #${REGISTER}]
      b loop`,
    { origin: RAM },
  );
  vm.write(RAM, code.bytes);
  const cpu = vm.vcpus[0] as (typeof vm.vcpus)[0] & object;
  cpu.pc = RAM;
  return { vm, cpu };
}

/** An image for QEMU's `virt` that makes `count` device accesses and switches the machine off. */
export function deviceImage(access: 'ldr' | 'str', count: number): Uint8Array {
  return assemble(
    `
      ldr x2, =${DEVICE}
      ldr x5, =${count}
      mov w1, #26
    loop:
      ${access} w1, [x2, #${REGISTER}]
      subs x5, x5, #1
      b.ne loop
      ldr x0, =0x84000008
      hvc #0
      b .`,
    { origin: RAM + 0x8_0000n },
  ).bytes;
}

/** run -> switch -> run, `n` exits. */
function roundTrip(cpu: ReturnType<typeof guest>['cpu'], n: number): void {
  for (let left = n; left > 0; left--) {
    const e = cpu.run();
    switch (e.kind) {
      case 'mmio':
        if (!e.write) cpu.answer(e, VALUE);
        else if (e.value !== STORED) throw new Error(`the guest stored ${e.value}`);
        break;
      default:
        throw new Error(`unexpected exit ${e.kind}`);
    }
  }
}

/** A device on the in-kernel bus that counts what it is asked. */
function counter(): KernelDevice & { hits: number } {
  return {
    name: 'counter',
    gpa: DEVICE,
    size: 4096,
    hits: 0,
    load(_at, _size, _vcpu, out) {
      this.hits++;
      out.lo = VALUE;
      return true;
    },
    store(_at, _size, _vcpu, lo) {
      if (lo === VALUE) this.hits++;
      return true;
    },
  };
}

type Handled = Exit<'mmio' | 'budget' | 'intr' | 'run-error'>;

/** Handlers that stop after `left` exits. */
function handlers() {
  const count = { left: 0 };
  const more = (v: Verdict): Verdict => (--count.left > 0 ? v : done);
  const bad = (e: { readonly kind: string }): never => {
    throw new Error(`unexpected exit ${e.kind}`);
  };
  const pattern = (e: Handled): Verdict =>
    match(e)
      .with({ kind: 'mmio', write: true }, () => more(resume))
      .with({ kind: 'mmio', write: false }, () => more(answer(VALUE)))
      .otherwise(bad);
  const plain = (e: Handled): Verdict => {
    switch (e.kind) {
      case 'mmio':
        return more(e.write ? resume : answer(VALUE));
      default:
        return bad(e);
    }
  };
  return { count, pattern, plain };
}

/** Exit rates through the public API: `rounds` of at least `n` exits each, after a warm-up. */
export function exitRates(clock: Clock, rounds: number = 7, n: number = 1_000_000): ExitRate[] {
  const out: ExitRate[] = [];
  const rate = (name: string, wanted: number | undefined, factor: number, f: (n: number) => void): void => {
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
      rate(`vcpu.run + switch, device ${what}, ${mode}`, access === 'str' ? 5 : 3, 1, (k) =>
        roundTrip(a.cpu, k),
      );
      a.vm.dispose();
      const b = guest(access, mmu);
      const device = counter();
      b.vm.bus.add(device);
      rate(`in-kernel device, ${what}, ${mode}`, 30, 8, (k) => {
        const before = device.hits;
        const e = b.cpu.run(2 * k);
        const hits = device.hits - before;
        if (e.kind !== 'budget' || Math.abs(hits - k) > 16)
          throw new Error(`${e.kind} after ${hits} of ${k}`);
      });
      b.vm.dispose();
    }
  }
  for (const how of ['plain', 'pattern'] as const)
    for (const access of ['str', 'ldr'] as const) {
      const { vm } = guest(access, false);
      const h = handlers();
      const name = `vm.drive + ${how === 'plain' ? 'switch' : 'ts-pattern'}, device ${access === 'str' ? 'store' : 'load'}`;
      rate(name, undefined, 1, (k) => {
        h.count.left = k;
        vm.drive(h[how] as never);
      });
      vm.dispose();
    }
  return out;
}
