import { toy, toyAddi, toyHalt, toyLoad, toyStore } from '@faultyard/testkit';
import { afterEach, describe, expect, test } from 'vitest';
import { createVm, type Exit, MemFlag, type Vcpu, type Vm } from '../src/index.ts';

const RAM = 0x10_0000;
const HOLE = 0x900_0000;
const open: { dispose(): void }[] = [];
afterEach(() => {
  for (const x of open.splice(0).reverse()) x.dispose();
});
const track = <T extends { dispose(): void }>(x: T): T => {
  open.push(x);
  return x;
};
function make(code: number[] = [...toyLoad(4, 1, 0, HOLE), ...toyLoad(4, 2, 0, HOLE + 4), ...toyHalt()]): Vm {
  const vm = createVm({ arch: toy(), memslots: [{ gpa: BigInt(RAM), size: 0x10000n }] }) as unknown as Vm;
  vm.write(RAM, Uint8Array.from(code));
  for (const v of vm.vcpus) v.pc = BigInt(RAM);
  return track(vm);
}
const cpu = (vm: Vm): Vcpu => vm.vcpus[0] as Vcpu;
const snapshot = (vm: Vm) => track(vm.snapshot());

describe('a snapshot at an mmio load', () => {
  test('restored after going on -> the same exit object can be answered again', () => {
    const vm = make();
    const e = cpu(vm).run();
    const s = snapshot(vm);
    cpu(vm).answer(e, 1);
    const second = cpu(vm).run();
    vm.restore(s);
    expect(() => cpu(vm).answer(second, 9)).toThrow(/FY_EXIT_ANSWER/);
    cpu(vm).answer(e, 2);
    cpu(vm).run();
    expect(cpu(vm).get('r1')).toBe(2n);
  });
  test('restored into another VM -> vcpu.exit is the exit, and can be answered there', () => {
    const vm = make();
    const e = cpu(vm).run();
    const other = make();
    other.restore(snapshot(vm));
    expect(cpu(other).exit).toBe(e);
    cpu(other).answer(cpu(other).exit as Exit, 3);
    cpu(other).run();
    expect([cpu(other).get('r1'), cpu(vm).get('r1')]).toEqual([3n, 0n]);
  });
  test('taken after the answer -> the answer goes with it', () => {
    const vm = make();
    cpu(vm).answer(cpu(vm).run(), 0x1234);
    const other = make();
    other.restore(snapshot(vm));
    cpu(other).run();
    expect(cpu(other).get('r1')).toBe(0x1234n);
  });
  test('stale bytes of the kvm_run page -> go with it', () => {
    const vm = make();
    cpu(vm).answer(cpu(vm).run(), 0x5a5a);
    cpu(vm).run();
    const other = make();
    other.restore(snapshot(vm));
    expect(cpu(other).kvmRun.getUint32(40, true)).toBe(0x5a5a);
    cpu(other).run();
    expect(cpu(other).get('r2')).toBe(0x5a5an);
    expect(cpu(other).exit?.kind).toBe('hlt');
  });
});

describe('what a snapshot brings back', () => {
  test('kicks, signals, immediate_exit, clock, memslots, dirty log, poison, memory -> as they were', () => {
    const vm = make();
    vm.addMemory({ gpa: 0x20_0000n, size: 0x2000n, slot: 4, flags: MemFlag.LogDirty });
    cpu(vm).run();
    vm.poison(RAM + 0x8000);
    vm.signals.send({ signal: 'SIGBUS', code: 'BUS_MCEERR_AO', to: 'main' });
    vm.signals.kick(0);
    const hash = vm.stateHash();
    const s = snapshot(vm);
    vm.heal(RAM + 0x8000);
    vm.signals.drain();
    cpu(vm).run();
    cpu(vm).immediateExit = true;
    cpu(vm).run();
    vm.clock.advanceTo(123456);
    vm.poke(0x20_0000, 7);
    vm.poke(RAM + 0x100, 7);
    vm.setMemoryRegion({ slot: 4, gpa: 0x20_0000n, size: 0n, hva: 0n });
    expect(vm.stateHash()).not.toBe(hash);
    vm.restore(s);
    expect(vm.stateHash()).toBe(hash);
    expect(vm.signals.pending()).toEqual([{ signal: 'SIGBUS', code: 'BUS_MCEERR_AO', to: 'main' }]);
    expect(cpu(vm).run().kind).toBe('intr');
    expect([vm.peek(0x20_0000), vm.peek(RAM + 0x100)]).toEqual([0n, 0n]);
  });
  test.each([
    ['a register', (vm: Vm) => cpu(vm).set('r5', 1)],
    ['memory', (vm: Vm) => vm.poke(RAM + 0x4000, 1, 1)],
    ['poison', (vm: Vm) => vm.poison(RAM)],
    ['a memslot', (vm: Vm) => vm.addMemory({ gpa: 0x20_0000n, size: 0x1000n })],
    ['a signal', (vm: Vm) => vm.signals.send({ signal: 'SIGBUS', code: 'BUS_ADRERR', to: 'main' })],
    ['a kick', (vm: Vm) => vm.signals.kick(0)],
    ['time', (vm: Vm) => vm.clock.advanceTo(vm.clock.now + 1)],
    ['immediate_exit', (vm: Vm) => void Object.assign(cpu(vm), { immediateExit: true })],
  ])('%s alone -> another state hash', (_, change) => {
    const vm = make();
    cpu(vm).run();
    const before = vm.stateHash();
    change(vm);
    expect(vm.stateHash()).not.toBe(before);
  });
  test('memory that was only looked at -> the same state hash', () => {
    const vm = make();
    const before = vm.stateHash();
    vm.read(RAM + 0x8000, 64);
    vm.memory.load(RAM + 0x9000, 64);
    expect(vm.stateHash()).toBe(before);
  });
});

describe('memory of snapshots and forks', () => {
  test('hashed while shared, then read and written when it no longer is -> the hash of what it is', () => {
    const code = [
      ...toyLoad(4, 2, 0, RAM + 0x3000),
      ...toyAddi(1, 0, 5),
      ...toyStore(4, 1, 0, RAM + 0x3000),
      ...toyHalt(),
    ];
    const run = (move: boolean): string => {
      let vm = make(code);
      vm.poke(RAM + 0x3000, 1);
      if (move) {
        const twin = track(vm.fork());
        twin.stateHash();
        vm.dispose();
        open.splice(open.indexOf(vm), 1);
        vm = twin;
      }
      cpu(vm).run();
      return vm.stateHash();
    };
    expect(run(true)).toBe(run(false));
  });
  test('snapshots and forks given back -> no frame is left in use', () => {
    const vm = make([...toyAddi(1, 0, 5), ...toyStore(4, 1, 0, RAM + 0x3000), ...toyHalt()]);
    vm.poke(RAM + 0x3000, 1);
    const before = vm.host.framesInUse;
    const s = vm.snapshot();
    const twins = [vm.fork(), vm.fork()];
    for (const t of twins) cpu(t).run();
    cpu(vm).run();
    expect(vm.host.framesInUse).toBeGreaterThan(before);
    for (const t of twins) t.dispose();
    s.dispose();
    expect(vm.host.framesInUse).toBe(before);
  });
  test('a fork of a VM with devices -> built around it, their state goes along; not built, it stays behind', () => {
    const vm = make();
    const count = (): { n: number; on: (vm: Vm) => void } => {
      const c = {
        n: 0,
        on: (m: Vm): void =>
          void m.keep({
            name: 'vmm.count',
            version: 1,
            side: 'vmm',
            read: () => c.n,
            write: (v) => {
              c.n = v as number;
            },
          }),
      };
      return c;
    };
    const mine = count();
    mine.on(vm);
    mine.n = 5;
    const theirs = count();
    track(vm.fork(theirs.on));
    expect(theirs.n).toBe(5);
    expect(track(vm.fork()).cells.has('vmm.count')).toBe(false);
  });
  test('a snapshot restored while a task stands in the middle -> FY_SNAPSHOT_BUSY', () => {
    const vm = make();
    const s = snapshot(vm);
    vm.busy = { task: 'config-write', point: 'K3' };
    expect(() => vm.restore(s)).toThrow(/FY_SNAPSHOT_BUSY/);
  });
});
