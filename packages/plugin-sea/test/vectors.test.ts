/** Section 7.1: the reference vectors, register by register. */
import type { Arm64Api } from '@faultyard/arch-arm64';
import { drive } from '@faultyard/core';
import { describe, expect, it } from 'vitest';
import vectors from '../data/vectors.json' with { type: 'json' };
import { tableGpa } from '../src/scenarios/guest/layout.ts';
import { fromExit } from '../src/vmm/event.ts';
import { injectEvents, injectRegisters } from '../src/vmm/inject.ts';
import { cutSlot, splitSlot } from '../src/vmm/unmap.ts';
import { type Bench, bench, ELSEWHERE, I, SPAN, start, UNTOUCHED } from './support/bench.ts';

interface Vector {
  readonly id: string;
  readonly row: string;
  readonly knobs: Readonly<Record<string, string>>;
  readonly exit?: Readonly<Record<string, string | number>> | null;
  readonly exit2?: Readonly<Record<string, string | number>>;
  readonly given?: Readonly<Record<string, unknown>>;
  readonly afterSetVcpuEvents?: Readonly<Record<string, Readonly<Record<string, string>>>>;
  readonly after?: Readonly<Record<string, string>>;
  readonly replayed?: Readonly<Record<string, Readonly<Record<string, string>>>>;
  readonly getVcpuEvents?: Readonly<Record<string, number | string>>;
  readonly esrWouldBe?: string;
}
const ALL = vectors.vectors as unknown as readonly Vector[];
const VMM_KNOBS = ['replay', 'hole'];

/** The vCPU of a vector, its page (or table) bad. */
function prepare(v: Vector): Bench {
  const set = Object.fromEntries(Object.entries(v.knobs).filter(([k]) => !VMM_KNOBS.includes(k)));
  const b = bench({ set: Object.fromEntries(Object.entries(set).map(([k, x]) => [`sea.${k}`, x])) });
  if (v.given?.['PSTATE'] !== undefined) b.cpu.set('pstate', BigInt(v.given['PSTATE'] as string));
  const walk = v.row === '6/l2';
  if (walk || v.knobs['hole']) b.cpu.pc = ELSEWHERE;
  b.vm.poison(walk ? tableGpa(2) : I);
  return b;
}

/** Runs to the next exit, at most one instruction behind the abort. */
const run = (b: Bench): ReturnType<Bench['cpu']['run']> => b.cpu.run(3);

/** Checks registers against the vector's; `unchanged` is what they were made with. */
function check(b: Bench, want: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(want)) {
    const got = name === 'PC' ? b.cpu.pc : b.cpu.get(name.toLowerCase());
    if (value === 'pattern') expect(got, name).toBe(0xdead_beef_dead_b000n);
    else if (value === 'unchanged') expect(got, name).toBe(name === 'SPSR_EL1' ? 0n : UNTOUCHED);
    else expect(got.toString(16), name).toBe(BigInt(value).toString(16));
  }
}
function checkEvents(b: Bench, want: Readonly<Record<string, number | string>>): void {
  const e = b.cpu.op('get-vcpu-events', {});
  const got: Record<string, bigint> = {
    serror_pending: BigInt(e.serrorPending),
    serror_has_esr: BigInt(e.serrorHasEsr),
    serror_esr: e.serrorEsr,
    ext_dabt_pending: BigInt(e.extDabtPending),
  };
  for (const [k, v] of Object.entries(want)) expect(got[k], k).toBe(BigInt(v));
}
/** The exit as userspace reads it from struct kvm_run. */
function checkExit(b: Bench, want: Readonly<Record<string, string | number>>): void {
  const page = b.cpu.kvmRun;
  const at: Record<string, () => bigint> = {
    reason: () => BigInt(page.getUint32(8, true)),
    flags: () => page.getBigUint64(32, true),
    esr: () => page.getBigUint64(40, true),
    gva: () => page.getBigUint64(48, true),
    gpa: () => page.getBigUint64(56, true),
    phys_addr: () => page.getBigUint64(32, true),
    len: () => BigInt(page.getUint32(48, true)),
    is_write: () => BigInt(page.getUint8(52)),
  };
  for (const [k, v] of Object.entries(want)) expect(at[k]?.().toString(16), k).toBe(BigInt(v).toString(16));
}

const exits = ALL.filter((v) => v.exit && !v.exit2 && !v.replayed);
describe.each(exits)('vector $id', (v) => {
  for (const [when, want] of Object.entries(v.afterSetVcpuEvents ?? { 'SPAN=1': {} }))
    it(`load from a bad page, ${when} -> exit 41, ext_dabt_pending -> registers show the entry`, () => {
      const b = prepare(v);
      if (when === 'SPAN=0') start(b.cpu, b.cpu.get('sctlr_el1') & ~SPAN);
      const e = run(b);
      expect(e).toMatchObject({ kind: 'arm-sea', ret: 0 });
      checkExit(b, v.exit ?? {});
      b.cpu.op('set-vcpu-events', { extDabtPending: true });
      check(b, want);
      if (v.getVcpuEvents) checkEvents(b, v.getVcpuEvents);
    });
});

describe.each(ALL.filter((v) => v.exit === null && !v.esrWouldBe))('vector $id', (v) => {
  it('load from a bad page, capability off -> no exit, registers and events as KVM leaves them', () => {
    const b = prepare(v);
    // the guest is left before it executes again: one entry that retires nothing but the abort's handling
    const task = b.cpu.runTask(10, 1);
    for (let n = 0; n < 30; n++) {
      const s = task.next();
      if (s.done) throw new Error(`exit ${s.value.kind}`);
      if (b.cpu.pc !== 0x40_0800n || b.cpu.op('get-vcpu-events', {}).serrorPending) break;
    }
    check(b, v.after ?? {});
    if (v.getVcpuEvents) checkEvents(b, v.getVcpuEvents);
  });
});

describe.each(ALL.filter((v) => v.replayed))('vector $id', (v) => {
  for (const [column, want] of Object.entries(v.replayed ?? {}))
    it(`replayed as ${column} -> ${Object.keys(want).join(', ')}`, () => {
      const b = prepare(v);
      const e = run(b);
      if (e.kind !== 'arm-sea') throw new Error(e.kind);
      checkExit(b, v.exit ?? {});
      const event = fromExit(e, b.cpu, 1);
      if (column === 'P2') injectEvents(b.cpu, event, false);
      else injectRegisters(b.cpu, event);
      check(b, want);
    });
});

it('vector P4/R1: page cut out, re-run -> exit 6 at the byte, 8 long, a read', () => {
  const v = ALL.find((x) => x.id === 'P4/R1') as Vector;
  const b = prepare(v);
  expect(run(b).kind).toBe('arm-sea');
  splitSlot(b.vm, Number(I));
  expect(run(b)).toMatchObject({ kind: 'mmio', ret: 0 });
  checkExit(b, v.exit2 ?? {});
});

describe('vector R7b', () => {
  const v = ALL.find((x) => x.id === 'R7b') as Vector;
  const meet = (knobs: Readonly<Record<string, string>>): Bench => {
    const b = bench({ set: { 'sea.capEnabled': 'on', 'sea.vserrorTopByte': 'BF', ...knobs } });
    b.cpu.pc = ELSEWHERE;
    const arch = b.vm.api<never, Arm64Api>('arm64');
    arch.poisonStage2Table(tableGpa(3), {
      level: Number(v.given?.['fsc']) - 0x14,
      s1ptw: v.given?.['s1ptw'] === 1,
    });
    return b;
  };
  it('walk for a stage 1 table, S1PTW=1 -> no exit, SError at +580', () => {
    const b = meet({});
    expect(b.cpu.run(1).kind).toBe('budget');
    expect(b.cpu.get('esr_el1')).toBe(0xbf00_0000n);
    expect(b.cpu.get('elr_el1')).toBe(ELSEWHERE);
  });
  it('shown raw by a KVM that keeps no walk -> the syndrome of the vector', () => {
    const b = meet({ 'sea.walkRule': 'rfc3', 'sea.esrMask': 'raw' });
    expect(b.cpu.run(1)).toMatchObject({ kind: 'arm-sea', esr: BigInt(v.esrWouldBe ?? 0) });
  });
});

describe('slot arithmetic', () => {
  const s = vectors.slotArithmetic;
  const n = (x: string): number => Number(BigInt(x));
  const before = s.before[0] as { slot: number; gpa: string; size: string; hva: string };
  const slot = { slot: 0, gpa: n(before.gpa), size: n(before.size), hva: n(before.hva), flags: 0 };
  it('a page in the middle -> two parts, hva moved along', () => {
    expect(cutSlot(slot, n(s.page), 7)).toEqual(
      s.after.map((a) => ({
        slot: a.slot === 'new' ? 7 : a.slot,
        gpa: n(a.gpa),
        size: n(a.size),
        hva: n(a.hva),
        flags: 0,
      })),
    );
  });
  it('first page -> only what follows; last page -> only what precedes; one page -> nothing', () => {
    const small = { slot: 3, gpa: 0x1000, size: 0x3000, hva: 0x9000, flags: 1 };
    expect(cutSlot(small, 0x1000, 9)).toEqual([{ ...small, gpa: 0x2000, size: 0x2000, hva: 0xa000 }]);
    expect(cutSlot(small, 0x3000, 9)).toEqual([{ ...small, size: 0x2000 }]);
    expect(cutSlot({ ...small, size: 0x1000 }, 0x1000, 9)).toEqual([]);
  });
  it('THP behind the slot -> only the 2 MiB block of the page degrades to 4 KiB', () => {
    const { vm } = bench();
    const { size } = slot;
    const hva = drive(vm.mm.mmap({ size, thp: true }));
    vm.setMemoryRegion({ slot: 0, gpa: slot.gpa, size: 0, hva: 0 });
    vm.setMemoryRegion({ slot: 0, gpa: slot.gpa, size, hva });
    const shift = (gpa: number): number | string => {
      const out = drive(vm.stage2.fault({ gpa, write: false, exec: false, origin: 'hardware' }));
      return out.kind === 'mapped' ? out.shift : out.kind;
    };
    const block = s.degradedBlocks[0] as { gpa: string; size: string };
    const [inside, beside] = [n(block.gpa) + 0x5000, n(block.gpa) + n(block.size) + 0x5000];
    expect([shift(inside), shift(beside)]).toEqual([21, 21]);
    splitSlot(vm, n(s.page));
    expect([shift(inside), shift(n(s.page)), shift(beside)]).toEqual([12, 'noslot', 21]);
  });
});
