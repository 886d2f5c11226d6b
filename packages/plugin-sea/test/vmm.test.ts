/** The VMM's steps (a) to (d), kill and ignore: what each does, and that they compose. */
import { type Exit, KvmError, type Vm } from '@faultyard/core';
import { describe, expect, it } from 'vitest';
import { PORT, tableGpa, VICTIMS } from '../src/scenarios/guest/layout.ts';
import {
  guard,
  ignore,
  inject,
  kill,
  observe,
  type SeaEvent,
  SeaPolicy,
  splitSlot,
  threshold,
  unmap,
} from '../src/vmm/index.ts';
import { type Bench, bench, ELSEWHERE, I, PC, V, VBAR } from './support/bench.ts';
import { deaths, drive, guestVm, records } from './support/guest.ts';

const ON = { 'sea.capEnabled': 'on' } as const;
const PAGE = 4096;

/** A bench whose load from I has just left with exit 41. */
function exited(o: Parameters<typeof bench>[0] = {}): { b: Bench; e: Exit } {
  const b = bench({ ...o, set: { ...ON, ...o.set } });
  b.cpu.pc = ELSEWHERE;
  b.vm.poison(I);
  const e = b.cpu.run(1);
  expect(e.kind).toBe('arm-sea');
  return { b, e };
}
const event = (over: Partial<SeaEvent> = {}): SeaEvent => ({
  id: 1,
  door: 'exit',
  vcpu: 0,
  time: 0,
  esr: 0x9200_0010n,
  flags: 1n,
  gva: V,
  gpa: I,
  el: 0,
  pc: PC,
  ...over,
});

describe('(a) observe', () => {
  it('exit 41 -> one frozen record made before anything is done, the page named, the bad page not read', () => {
    const { b, e } = exited();
    const watching = observe();
    const order: string[] = [];
    const policy = new SeaPolicy(b.vm, [
      watching,
      {
        name: 'then',
        on: () => {
          order.push(`after ${watching.records.length} record`);
          return 'next';
        },
      },
    ]);
    expect(policy.handle(e)).toEqual({ verdict: 'run' });
    expect(order).toEqual(['after 1 record']);
    const r = watching.records[0];
    expect(Object.isFrozen(r)).toBe(true);
    expect(r).toMatchObject({
      eventId: 1,
      vcpu: 0,
      door: 'exit',
      esr: 0x9200_0010n,
      access: 'data',
      fsc: 'synchronous external abort',
      el: 0,
      gva: V,
      gpa: I,
      slot: 0,
      slotOffset: I - 0x8000_0000n,
      isRam: true,
      repeatOf: null,
      distinctPages: 1,
      totalEvents: 1,
    });
    expect(b.vm.signals.pending()).toEqual([]);
  });
  it('no gpa -> the record says null, not 0', () => {
    const b = bench({ set: ON });
    b.cpu.pc = ELSEWHERE;
    b.vm.poison(tableGpa(3));
    const watching = observe();
    new SeaPolicy(b.vm, [watching]).handle(b.cpu.run(1));
    expect(watching.records[0]).toMatchObject({
      gpa: null,
      slot: null,
      isRam: false,
      fsc: 'level 3 (translation table walk)',
    });
  });
  it('the same page again -> repeatOf, distinct pages stay; print is limited, counting is not', () => {
    const { b, e } = exited();
    const printed: number[] = [];
    const watching = observe({ print: (r) => printed.push(r.eventId), limit: 2 });
    const policy = new SeaPolicy(b.vm, [watching]);
    for (let n = 0; n < 5; n++) policy.handle(e);
    expect(watching.records.map((r) => r.repeatOf)).toEqual([null, 1, 1, 1, 1]);
    expect(watching.records[4]).toMatchObject({ distinctPages: 1, totalEvents: 5 });
    expect(printed).toEqual([1, 2]);
  });
  it('no host address is in any field', () => {
    const { b, e } = exited();
    const watching = observe();
    new SeaPolicy(b.vm, [watching]).handle(e);
    const frame = BigInt(b.vm.stage2.frameOf(Number(I >> 12n)));
    const values = Object.values(watching.records[0] ?? {}).filter((v) => typeof v === 'bigint');
    for (const v of values) expect([frame, frame << 12n]).not.toContain(v);
  });
});

describe('(b) unmap', () => {
  const slots = (vm: Vm): readonly (readonly [bigint, bigint])[] =>
    vm.memslots.list().map((s) => [s.gpa, s.size]);
  it('page of RAM -> the slot is cut around it, once', () => {
    const { b, e } = exited();
    const policy = new SeaPolicy(b.vm, [unmap()]);
    policy.handle(e);
    policy.handle(e);
    expect(slots(b.vm)).toEqual([
      [0x8000_0000n, 0x12_3000n],
      [0x8012_4000n, 0x3fed_c000n],
    ]);
    expect(policy.isolated(I)).toBe(true);
    expect(b.vm.memory.slotAt(I)).toBeUndefined();
  });
  it('the hva moves along: the neighbours keep their content', () => {
    const { b, e } = exited();
    b.vm.poke(I - 8n, 0x1111);
    b.vm.poke(I + 0x1000n, 0x2222);
    new SeaPolicy(b.vm, [unmap()]).handle(e);
    expect(b.vm.peek(I - 8n)).toBe(0x1111n);
    expect(b.vm.peek(I + 0x1000n)).toBe(0x2222n);
  });
  it('slot that logs dirty pages -> the log is saved first, without the bit of the page; the parts log on', () => {
    const { b } = exited({ flags: 1 });
    b.vm.op('get-dirty-log', { slot: 0 });
    for (const page of [I - 0x1000n, I, I + 0x1000n]) {
      const s = b.vm.memslots.byId(0);
      if (s) b.vm.memslots.markDirty(s, Number(page >> 12n));
    }
    const saved = splitSlot(b.vm, Number(I));
    const bits = [...(saved ?? [])].flatMap((byte, k) =>
      [0, 1, 2, 3, 4, 5, 6, 7].flatMap((n) => ((byte >> n) & 1 ? [8 * k + n] : [])),
    );
    expect(bits).toEqual([0x122, 0x124]);
    expect(b.vm.memslots.list().map((s) => s.flags)).toEqual([1, 1]);
  });
  it('a part is refused -> the original slot is back, and KVM’s errno comes out', () => {
    const { b } = exited();
    const before = b.vm.memslots.list();
    let sets = 0;
    const vm = new Proxy(b.vm, {
      get(target, key) {
        if (key === 'setMemoryRegion')
          return (r: Parameters<Vm['setMemoryRegion']>[0]) => {
            if (++sets === 3) throw new KvmError('KVM_SET_USER_MEMORY_REGION', 'ENOMEM', 'no memory');
            target.setMemoryRegion(r);
          };
        const v: unknown = Reflect.get(target, key);
        return typeof v === 'function' ? v.bind(target) : v;
      },
    });
    expect(() => splitSlot(vm, Number(I))).toThrow(/ENOMEM/);
    expect(b.vm.memslots.list()).toEqual(before);
  });
  it('a vCPU inside KVM_RUN -> refused: it would see a hole for the whole slot', () => {
    const { b } = exited({ vcpus: 2 });
    const other = b.vm.vcpus[1];
    if (!other) throw new Error('no vcpu 1');
    const task = other.runTask(100, 1);
    task.next();
    expect(() => splitSlot(b.vm, Number(I))).toThrow(/FY_POLICY/);
  });
  it.each([
    ['page unknown', event({ gpa: undefined as never, esr: 0x9200_0017n })],
    ['EC 0x25', event({ esr: 0x9600_0010n })],
    ['outside all slots', event({ gpa: 0x4000_0000n })],
    ['an access to a hole', event({ door: 'hole' })],
  ])('%s -> left alone', (_, e) => {
    const { b } = exited();
    const before = slots(b.vm);
    const { gpa, ...rest } = e;
    const policy = new SeaPolicy(b.vm, [unmap()]);
    unmap().on(gpa === undefined ? rest : e, policy);
    expect(slots(b.vm)).toEqual(before);
  });
  it('a claimed hugetlb page (lsb 21) -> the whole 2 MiB is cut', () => {
    const { b } = exited();
    const policy = new SeaPolicy(b.vm, [unmap()]);
    const {
      esr: _esr,
      flags: _flags,
      gva: _gva,
      ...claimed
    } = event({ door: 'sigbus', lsb: 21, gpa: 0x8020_0000n });
    policy.steps[0]?.on(claimed, policy);
    expect(slots(b.vm)).toEqual([
      [0x8000_0000n, 0x20_0000n],
      [0x8040_0000n, 0x3fc0_0000n],
    ]);
  });
  it('userfault: slots stay, the page gives exit 39 with flag 4 and -1/EFAULT, its neighbours work', () => {
    const { b, e } = exited();
    new SeaPolicy(b.vm, [unmap({ hole: 'userfault' })]).handle(e);
    expect(b.vm.memslots.list()).toHaveLength(1);
    expect(b.cpu.run(3)).toMatchObject({
      kind: 'memory-fault',
      ret: -1,
      errno: 'EFAULT',
      flags: 16n,
      gpa: I,
      size: BigInt(PAGE),
    });
    b.cpu.set('x0', VICTIMS.D.va - 0x1000n);
    b.cpu.pc = ELSEWHERE;
    b.cpu.set('x0', V);
    b.vm.memslots.byId(0)?.userfault?.fill(0);
    b.vm.heal(I);
    expect(b.cpu.run(1).kind).toBe('budget');
  });
});

describe('(c) inject: KVM_SET_VCPU_EVENTS is not atomic', () => {
  it('SEA and a bad SError syndrome -> EINVAL, and the SEA is there', () => {
    const { b } = exited();
    const bad = { extDabtPending: true, serrorPending: true, serrorHasEsr: true, serrorEsr: 1n << 25n };
    expect(() => b.cpu.op('set-vcpu-events', bad)).toThrow(/EINVAL/);
    expect(b.cpu.pc).toBe(VBAR + 0x400n);
  });
  it('SEA and SError in one call -> entry, and the SError stays pending behind PSTATE.A', () => {
    const { b } = exited();
    b.cpu.op('set-vcpu-events', { extDabtPending: true, serrorPending: true });
    expect(b.cpu.pc).toBe(VBAR + 0x400n);
    expect(b.cpu.op('get-vcpu-events', {})).toMatchObject({ serrorPending: true, extDabtPending: false });
  });
  it('twice -> two exceptions nest: the second one’s ELR is the first one’s handler', () => {
    const { b } = exited();
    b.cpu.op('set-vcpu-events', { extDabtPending: true });
    b.cpu.op('set-vcpu-events', { extDabtPending: true });
    expect(b.cpu.pc).toBe(VBAR + 0x200n);
    expect(b.cpu.get('elr_el1')).toBe(VBAR + 0x400n);
    expect(b.cpu.get('esr_el1')).toBe(0x9600_0010n);
  });
  it('has_esr on a host without RAS -> EINVAL', () => {
    const b = bench({ set: { 'sea.hostRas': '0' } });
    const e = { serrorPending: true, serrorHasEsr: true, serrorEsr: 1n };
    expect(() => b.cpu.op('set-vcpu-events', e)).toThrow(/EINVAL/);
  });
  it('a pending load from a device is dropped, its register untouched', () => {
    const b = bench({ set: ON });
    b.cpu.pc = ELSEWHERE;
    b.cpu.set('x0', VICTIMS.outside.va);
    b.cpu.set('x1', 0x77);
    expect(b.cpu.run(1).kind).toBe('mmio');
    b.cpu.op('set-vcpu-events', { extDabtPending: true });
    expect(b.cpu.get('elr_el1')).toBe(ELSEWHERE);
    b.cpu.run(1);
    expect(b.cpu.get('x1')).toBe(0x77n);
  });
});

describe('(d) threshold', () => {
  const counting = (o: Parameters<typeof threshold>[0]) => {
    const b = bench({ set: ON });
    const step = threshold(o);
    const policy = new SeaPolicy(b.vm, [step]);
    return { step, policy, on: (e: SeaEvent) => step.on(e, policy) };
  };
  const page = (n: number): bigint => 0x8020_0000n + BigInt(n * PAGE);
  it('T pages -> stop, told once; repeats do not move it', () => {
    const told: string[] = [];
    const { step, on } = counting({ pages: 3, onRestart: (r) => told.push(r.reason) });
    expect(on(event({ gpa: page(0) }))).toBe('next');
    expect(on(event({ gpa: page(0) }))).toBe('next');
    expect(on(event({ gpa: page(1) }))).toBe('next');
    expect(step.pages).toHaveLength(2);
    expect(on(event({ gpa: page(2) }))).toMatchObject({ verdict: 'stop' });
    expect(on(event({ gpa: page(3) }))).toMatchObject({ verdict: 'stop' });
    expect(told).toEqual(['3 bad pages']);
    expect(step.order?.pages).toContain(page(2));
  });
  it('window -> K events in W ns, whatever their pages', () => {
    const { on } = counting({ pages: 100, window: { events: 3, ns: 1000 } });
    expect(on(event({ time: 0 }))).toBe('next');
    expect(on(event({ time: 900 }))).toBe('next');
    expect(on(event({ time: 1500 }))).toBe('next');
    expect(on(event({ time: 1600 }))).toMatchObject({ verdict: 'stop' });
  });
  const unknown = (gva: bigint): SeaEvent => {
    const { gpa: _gpa, ...rest } = event({ esr: 0x9200_0017n, gva, flags: 0n });
    return rest;
  };
  it.each([
    ['each', 3],
    ['never', 0],
    ['byGva', 2],
  ] as const)('unknown pages counted %s -> %i', (unknownCounts, n) => {
    const { step, on } = counting({ pages: 100, unknownCounts });
    for (const gva of [V, V, V + 8n]) on(unknown(gva));
    expect(step.unknown).toBe(n);
    expect(step.total).toBe(3);
  });
  it('hard rules: EL1, SET=2, a page that was isolated', () => {
    expect(counting({ pages: 9, el1: true }).on(event({ el: 1 }))).toMatchObject({ verdict: 'stop' });
    expect(counting({ pages: 9 }).on(event({ el: 1 }))).toBe('next');
    expect(counting({ pages: 9 }).on(event({ esr: 0x9200_1010n }))).toMatchObject({ verdict: 'stop' });
    const c = counting({ pages: 9 });
    c.policy.markIsolated(0x4000_0000n);
    // an exit that was on its way when the page went; and one that came after the vCPU ran again
    expect(c.on(event({ gpa: 0x4000_0000n, time: 0 }))).toBe('next');
    expect(c.on(event({ gpa: 0x4000_0000n, time: 1 }))).toMatchObject({ verdict: 'stop' });
  });
  it('key by huge page -> two pages of one block are one', () => {
    const { step, on } = counting({ pages: 9, keyBytes: 2 << 20 });
    on(event({ gpa: page(0) }));
    on(event({ gpa: page(1) }));
    expect(step.pages).toEqual([0x8020_0000n]);
  });
});

describe('kill, ignore, guard', () => {
  it('kill -> stop at once; ignore -> run on', () => {
    const { b, e } = exited();
    expect(new SeaPolicy(b.vm, [kill()]).handle(e)).toMatchObject({ verdict: 'stop' });
    const c = exited();
    expect(new SeaPolicy(c.b.vm, [ignore()]).handle(c.e)).toEqual({ verdict: 'run' });
    expect(c.b.cpu.run(3)).toEqual(c.e);
  });
  it('guard -> EC 0x25 and unknown classes stop the VM, aborts pass', () => {
    const { b } = exited();
    const policy = new SeaPolicy(b.vm, [guard()]);
    const on = (esr: bigint) => policy.steps[0]?.on(event({ esr }), policy);
    expect(on(0x9600_0010n)).toMatchObject({ verdict: 'stop' });
    expect(on(0x5600_0000n)).toMatchObject({ verdict: 'stop' });
    expect(on(0x8200_0010n)).toBe('next');
  });
  it('two steps of one name -> FY_POLICY', () => {
    const { b } = exited();
    expect(() => new SeaPolicy(b.vm, [observe(), observe()])).toThrow(/FY_POLICY/);
  });
  it('exits that are no business of the policy -> undefined', () => {
    const { b } = exited();
    const policy = new SeaPolicy(b.vm, [kill()]);
    const mmio = {
      kind: 'mmio',
      vcpu: 0,
      ret: 0,
      gpa: PORT.gpa,
      size: 4,
      write: true,
      value: 1n,
    } as unknown as Exit;
    expect(policy.handle(mmio)).toBeUndefined();
    expect(policy.handle({ kind: 'intr', vcpu: 0, ret: -1, errno: 'EINTR' })).toBeUndefined();
  });
});

describe('composed', () => {
  it('observe, unmap, inject, threshold 3 over two bad pages -> two deaths, two holes, the VM goes on to its report', () => {
    const watching = observe();
    const counting = threshold({ pages: 3 });
    const g = guestVm([V, VICTIMS.F.va], [watching, counting, unmap(), inject()]);
    expect(drive(g, [VICTIMS.D.gpa, VICTIMS.F.gpa])).toBe('report');
    expect(deaths(g.vm)).toBe(2);
    expect(counting.pages).toEqual([VICTIMS.D.gpa, VICTIMS.F.gpa]);
    expect(watching.records.map((r) => r.gpa)).toEqual([VICTIMS.D.gpa, VICTIMS.F.gpa]);
    expect(g.vm.memory.slotAt(VICTIMS.D.gpa)).toBeUndefined();
    expect(g.vm.memory.slotAt(VICTIMS.F.gpa)).toBeUndefined();
    expect(records(g.vm).at(-1)).toMatchObject({ note: 'finished', esr: g.image.checksum });
  });
  it('threshold 2 -> stops at the second page; no guest instruction retires after it', () => {
    const g = guestVm([V, VICTIMS.F.va], [threshold({ pages: 2 }), inject()]);
    expect(drive(g, [VICTIMS.D.gpa, VICTIMS.F.gpa])).toMatch(/^restart: 2 bad pages/);
    expect(deaths(g.vm)).toBe(1);
    const retired = g.vm.vcpus.map((v) => v.retired);
    expect(g.vm.vcpus.map((v) => v.retired)).toEqual(retired);
    expect(records(g.vm).some((r) => r.note === 'finished')).toBe(false);
  });
  it('claimed by the host, replayed at the SIGBUS door -> the process dies, the VM lives', () => {
    const g = guestVm([V], [observe(), inject()], { machine: { knobs: { apei: 'claims' } } });
    expect(drive(g, [VICTIMS.D.gpa])).toBe('report');
    expect(deaths(g.vm)).toBe(1);
  });
});
