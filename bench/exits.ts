/** How many device accesses a second leave the guest, are answered, and go back. */
import { answer, type Exit, type KernelDevice, resume, stop, type Vcpu, type Verdict } from '@faultyard/core';
import { match } from 'ts-pattern';
import { type Clock, median } from './measure.ts';
import { type Access, type Subject, VALUE } from './subject.ts';

const STORED = BigInt(VALUE);
const done = stop('done');
/** More instructions than a guest needs before its loop. */
const SETUP = 8192;

/** A rate. */
export interface ExitRate {
  readonly name: string;
  /** Median over the rounds, in million exits a second. */
  readonly perSecond: number;
  readonly unit: 'M/s';
  /** What the project asks for, in the same unit; absent: reported only. */
  readonly wanted?: number;
  /** Of the in-kernel device without paging: which access. */
  readonly access?: Access;
}

/** run -> switch -> run, `n` exits. */
function roundTrip(cpu: Vcpu, n: number): void {
  for (let left = n; left > 0; left--) {
    const e = cpu.run();
    switch (e.kind) {
      case 'mmio':
        if (!e.write) cpu.answer(e, VALUE);
        else if (e.value !== STORED) throw new Error(`the guest stored ${e.value}`);
        break;
      case 'io':
        if (!e.write) cpu.answer(e, VALUE);
        else if (e.data[0] !== VALUE) throw new Error(`the guest wrote ${e.data[0]}`);
        break;
      default:
        throw new Error(`unexpected exit ${e.kind}`);
    }
  }
}

/** An in-kernel device that counts what it is asked. */
function counter(access: Access): KernelDevice & { hits: number } {
  return {
    name: 'counter',
    gpa: access.at,
    size: access.size,
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

type Handled = Exit<'mmio' | 'io' | 'budget' | 'intr' | 'run-error'>;

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

/** Exit rates of a subject through the public API: `rounds` of at least `n` exits each, after a warm-up. */
export function exitRates(s: Subject, clock: Clock, rounds: number, n: number): ExitRate[] {
  const out: ExitRate[] = [];
  const rate = (r: Omit<ExitRate, 'perSecond' | 'unit'>, factor: number, f: (n: number) => void): void => {
    f(n / 2);
    f(n / 2);
    const each = Array.from({ length: rounds }, () => {
      const t = clock.now();
      f(n * factor);
      return (n * factor) / (clock.now() - t) / 1000;
    });
    out.push({ ...r, perSecond: median(each), unit: 'M/s' });
  };
  for (const paging of [false, true])
    for (const access of s.accesses) {
      if (paging && access.exit === 'io') continue;
      const mode = access.exit === 'io' ? '' : paging ? ', paging' : ', no paging';
      const a = s.device(access, paging);
      rate({ name: `vcpu.run + switch, ${access.name}${mode}`, wanted: access.wanted }, 1, (k) =>
        roundTrip(a.cpu, k),
      );
      a.vm.dispose();
      const b = s.device(access, paging);
      const device = counter(access);
      (access.exit === 'io' ? b.vm.ports : b.vm.bus).add(device);
      // past what leads to the loop
      b.cpu.run(SETUP);
      const limit = access.exit === 'io' ? {} : { wanted: 30 };
      const which = paging ? {} : { access };
      rate({ name: `in-kernel, ${access.name}${mode}`, ...limit, ...which }, 8, (k) => {
        const before = device.hits;
        const e = b.cpu.run(access.loop * k);
        const hits = device.hits - before;
        if (e.kind !== 'budget' || Math.abs(hits - k) > 16)
          throw new Error(`${e.kind} after ${hits} of ${k}`);
      });
      b.vm.dispose();
    }
  for (const how of ['plain', 'pattern'] as const)
    for (const access of s.accesses) {
      if (access.exit === 'io') continue;
      const { vm } = s.device(access, false);
      const h = handlers();
      rate({ name: `vm.drive + ${how === 'plain' ? 'switch' : 'ts-pattern'}, ${access.name}` }, 1, (k) => {
        h.count.left = k;
        vm.drive(h[how] as never);
      });
      vm.dispose();
    }
  return out;
}
