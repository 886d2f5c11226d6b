/** Local APICs, their timer, and whom messages go to, as KVM has it. */
import { describe, expect, it } from 'vitest';
import { Apic, type ApicMessage, Delivery, type Destination } from '../src/irqchip/apic-registers.ts';
import { ApicTimer } from '../src/irqchip/apic-timer.ts';
import { deliver } from '../src/irqchip/delivery.ts';
import { type ApicPlace, LocalApic } from '../src/irqchip/local-apic.ts';

interface World {
  now: number;
  base: number;
  log: string[];
}
function apicOf(w: World, id: number, send: ApicPlace['send'] = () => 0): LocalApic {
  const say = (what: string) => (): void => {
    w.log.push(`${id} ${what}`);
  };
  return new LocalApic({
    id,
    base: () => w.base,
    intel: () => false,
    hasDeadline: () => true,
    now: () => w.now,
    untilTsc: (lo) => lo - w.now,
    attend: () => {},
    retime: () => {},
    cr8: () => {},
    nmi: say('nmi'),
    smi: say('smi'),
    unhalt: say('unhalt'),
    send,
    ended: (vector, level) => w.log.push(`${id} ended ${vector} ${level}`),
  });
}
const world = (): World => ({ now: 0, base: 0xfee0_0800 | 0, log: [] });

describe('local APIC', () => {
  it('fixed, NMI, SMI, remote read, ExtINT -> IRR, the vCPU, nowhere', () => {
    const w = world();
    const apic = apicOf(w, 0);
    const m = (mode: number, vector = 0x50): boolean =>
      apic.accept({ mode, vector, level: false, assert: true });
    expect(m(Delivery.Fixed)).toBe(false);
    apic.write(Apic.Spiv, 0x1ff);
    expect([0, 1, 2, 3, 4, 7].map((mode) => m(mode))).toEqual([true, true, true, true, true, false]);
    expect(w.log).toEqual(['0 smi', '0 unhalt', '0 nmi']);
    expect(apic.acknowledge()).toBe(0x50);
    expect(apic.requested).toBe(-1);
  });
  it('level-triggered, deasserted -> nothing; ended -> told with its trigger mode', () => {
    const w = world();
    const apic = apicOf(w, 0);
    apic.write(Apic.Spiv, 0x1ff);
    expect(apic.accept({ mode: 0, vector: 0x60, level: true, assert: false })).toBe(false);
    apic.accept({ mode: 0, vector: 0x60, level: true, assert: true });
    apic.acknowledge();
    apic.write(Apic.Eoi, 0);
    apic.write(Apic.Eoi, 0);
    expect(w.log).toEqual(['0 ended 96 true']);
  });
  it('a vector of the class in service, or of the task priority -> waits', () => {
    const apic = apicOf(world(), 0);
    apic.write(Apic.Spiv, 0x1ff);
    for (const vector of [0x61, 0x6f, 0x72]) apic.accept({ mode: 0, vector, level: false, assert: true });
    expect(apic.acknowledge()).toBe(0x72);
    expect(apic.requested).toBe(-1);
    apic.write(Apic.Eoi, 0);
    apic.write(Apic.Tpr, 0x60);
    expect(apic.requested).toBe(-1);
    apic.write(Apic.Tpr, 0x5f);
    expect(apic.requested).toBe(0x6f);
  });
  it('LVT CMCI -> there with CMCI_P only, masked at first; delivered when unmasked', () => {
    const apic = apicOf(world(), 0);
    apic.write(Apic.Spiv, 0x1ff);
    expect([apic.read(Apic.LvtCmci), apic.write(Apic.LvtCmci, 0xf1)]).toEqual([undefined, false]);
    apic.setCmci(true);
    expect([apic.read(Apic.LvtCmci), apic.read(Apic.Version)]).toEqual([0x1_0000, 0x6_0014]);
    expect(apic.local(Apic.LvtCmci)).toBe(false);
    apic.write(Apic.LvtCmci, 0xf1);
    expect([apic.local(Apic.LvtCmci), apic.requested]).toEqual([true, 0xf1]);
  });
  it('software-disabled -> every LVT entry masked, and stays so when written', () => {
    const apic = apicOf(world(), 0);
    apic.write(Apic.Spiv, 0x1ff);
    apic.write(Apic.LvtTimer, 0x40);
    apic.write(Apic.Spiv, 0xff);
    apic.write(Apic.LvtError, 0x41);
    expect([apic.read(Apic.LvtTimer), apic.read(Apic.LvtError)]).toEqual([0x1_0040, 0x1_0041]);
  });
  it('INIT -> ids and mode stay; SIPI waits with it; a later INIT takes the SIPI away', () => {
    const w = world();
    const apic = apicOf(w, 3);
    apic.write(Apic.Id, 0x0900_0000);
    apic.accept({ mode: Delivery.Startup, vector: 8, level: false, assert: true });
    apic.accept({ mode: Delivery.Init, vector: 0, level: true, assert: false });
    expect([apic.pendingInit, apic.pendingSipi]).toEqual([false, true]);
    apic.accept({ mode: Delivery.Init, vector: 0, level: true, assert: true });
    expect([apic.pendingInit, apic.pendingSipi]).toEqual([true, false]);
    apic.reset(true);
    expect(apic.xapicId).toBe(9);
    apic.reset(false);
    expect(apic.xapicId).toBe(3);
  });
  it('state to another one -> registers, and the timer goes on from its count', () => {
    const w = world();
    const a = apicOf(w, 0);
    a.write(Apic.Spiv, 0x1ff);
    a.write(Apic.Divide, 0xb);
    a.write(Apic.LvtTimer, 0x44);
    a.write(Apic.InitialCount, 1000);
    w.now = 400;
    const b = apicOf(w, 0);
    b.setImage(a.image());
    expect(b.image()).toEqual(a.image());
    expect([b.read(Apic.CurrentCount), b.timer.due]).toEqual([600, 1000]);
  });
});

describe('timer', () => {
  function timer(): { t: ApicTimer; w: { now: number; tsc: number; futile: boolean; fired: number[] } } {
    const w = { now: 0, tsc: 0, futile: false, fired: [] as number[] };
    const t = new ApicTimer({
      now: () => w.now,
      untilTsc: (lo) => lo - w.now - w.tsc,
      retime: () => {},
      fire: () => w.fired.push(w.now),
      futile: () => w.futile,
    });
    return { t, w };
  }
  const at = (w: { now: number }, t: ApicTimer, now: number): void => {
    w.now = now;
    t.expire();
  };
  it('one-shot, divisor 2 -> fires once after count * 2', () => {
    const { t, w } = timer();
    t.setInitial(1000);
    at(w, t, 1999);
    expect([w.fired, t.current]).toEqual([[], 0]);
    at(w, t, 2000);
    at(w, t, 9000);
    expect([w.fired, t.due]).toEqual([[2000], Infinity]);
  });
  it('periodic -> at least 200 microseconds apart; what was missed does not move it', () => {
    const { t, w } = timer();
    t.setMode(1);
    t.setInitial(10);
    expect(t.due).toBe(200_000);
    at(w, t, 200_000);
    at(w, t, 1_050_000);
    expect([w.fired, t.due]).toEqual([[200_000, 1_050_000], 1_200_000]);
  });
  it('the divisor changed -> what is left counts at the new rate', () => {
    const { t, w } = timer();
    t.setInitial(1000);
    w.now = 1000;
    t.setDivide(1);
    expect([t.due, t.current]).toEqual([3000, 500]);
  });
  it('periodic made one-shot -> fires once more; made TSC-deadline -> stops, count 0', () => {
    const { t, w } = timer();
    t.setMode(1);
    t.setInitial(500_000);
    t.setMode(0);
    at(w, t, 1_000_000);
    expect([w.fired, t.due]).toEqual([[1_000_000], Infinity]);
    t.setInitial(5);
    t.setMode(2);
    expect([t.due, t.initial]).toEqual([Infinity, 0]);
    t.setInitial(7);
    expect(t.initial).toBe(0);
  });
  it('a TSC deadline -> fires when the TSC is there, even if it is moved; the register is 0 then', () => {
    const { t, w } = timer();
    t.setDeadline(5000, 0);
    expect(t.deadline.lo).toBe(0);
    t.setMode(2);
    t.setDeadline(5000, 0);
    expect(t.due).toBe(5000);
    w.tsc = 2000;
    t.tscChanged();
    expect(t.due).toBe(3000);
    at(w, t, 3000);
    expect([w.fired, t.deadline.lo]).toEqual([[3000], 0]);
    t.setDeadline(100, 0);
    expect(t.due).toBe(3000);
  });
  it('saved late while it can do nothing -> as if it had been looked at', () => {
    const { t, w } = timer();
    t.setMode(1);
    t.setInitial(500_000);
    w.futile = true;
    w.now = 3_500_000;
    const saved = t.save();
    t.expire();
    expect(t.save()).toEqual(saved);
  });
});

describe('destinations', () => {
  const cast = (n: number, setup: (a: LocalApic, i: number) => void = () => {}): LocalApic[] =>
    Array.from({ length: n }, (_, i) => {
      const a = apicOf(world(), i);
      a.write(Apic.Spiv, 0x1ff);
      a.write(Apic.Ldr, 1 << (24 + i));
      setup(a, i);
      return a;
    });
  const m = (vector: number, mode = 0): ApicMessage => ({ vector, mode, level: false, assert: true });
  const got = (all: readonly LocalApic[]): number[] => all.filter((a) => a.requested >= 0).map((a) => a.id);
  const to = (id: number, logical = false, shorthand = 0): Destination => ({ id, logical, shorthand });

  it.each([
    ['physical 2', to(2), [2], 1],
    ['physical that nobody has', to(9), [], 0],
    ['physical broadcast', to(0xff), [0, 1, 2, 3], 4],
    ['flat bits', to(0x0a, true), [1, 3], 2],
    ['self', to(0, false, 1), [1], 1],
    ['all', to(0, false, 2), [0, 1, 2, 3], 4],
    ['all but self', to(0, false, 3), [0, 2, 3], 3],
  ] as const)('%s -> who', (_, dest, who, told) => {
    const all = cast(4);
    expect(deliver(all, all[1], m(0x50), dest)).toBe(told);
    expect(got(all)).toEqual(who);
  });
  it('lowest priority to flat bits -> one by vector hashing, over the bits and not who has them', () => {
    // three bits, two CPUs: what hashes to the third is lost
    for (const vector of [0x51, 0x52, 0x53]) {
      const all = cast(2);
      deliver(all, all[0], m(vector, Delivery.Lowest), to(0x7, true));
      expect(got(all)).toEqual(vector % 3 < 2 ? [vector % 3] : []);
    }
  });
  it('clusters -> members of one cluster', () => {
    const all = cast(4, (a, i) => {
      a.write(Apic.Dfr, 0);
      a.write(Apic.Ldr, ((i >> 1) << 28) | (1 << (24 + (i & 1))));
    });
    deliver(all, undefined, m(0x50), to(0x12, true));
    expect(got(all)).toEqual([3]);
  });
  it('x2APIC -> ids and clusters of 16 follow from the number; 8-bit broadcasts of devices reach it', () => {
    const all = Array.from({ length: 18 }, (_, i) => {
      const w = world();
      const a = apicOf(w, i);
      a.write(Apic.Spiv, 0x1ff);
      const old = w.base;
      w.base |= 0x400;
      a.baseChanged(old);
      return a;
    });
    expect([all[17]?.read(Apic.Id), all[17]?.read(Apic.Ldr)]).toEqual([17, 0x1_0002]);
    deliver(all, all[0], m(0x50), to(0x1_0003, true));
    expect(got(all)).toEqual([16, 17]);
    deliver(all, all[0], m(0x50), to(5));
    expect(got(all)).toEqual([5, 16, 17]);
    expect(deliver(all, all[0], m(0x51), to(0xff))).toBe(0);
    expect(deliver(all, undefined, m(0x51), to(0xff))).toBe(18);
    expect(deliver(all, all[0], m(0x52), to(0xffff_ffff))).toBe(18);
  });
  it('flat and cluster mixed, or one bit twice -> everybody is asked', () => {
    const mixed = cast(3, (a, i) => i === 2 && a.write(Apic.Dfr, 0));
    deliver(mixed, undefined, m(0x50), to(0x03, true));
    expect(got(mixed)).toEqual([0, 1]);
    const twice = cast(3, (a) => a.write(Apic.Ldr, 1 << 24));
    expect(deliver(twice, undefined, m(0x50), to(0x01, true))).toBe(3);
    expect(deliver(twice, undefined, m(0x50), to(0x02, true))).toBe(-1);
  });
  it('ids changed to the same -> both', () => {
    const all = cast(3, (a, i) => i > 0 && a.write(Apic.Id, 0x0500_0000));
    expect(deliver(all, undefined, m(0x50), to(5))).toBe(2);
  });
});
