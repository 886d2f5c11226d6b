/** What the host does under a guest: async page faults, shadow paging, poison, slots that change, snapshots. */
import { definePlugin, drive, KvmError, MemFlag, type Plugin, Prot } from '@faultyard/core';
import { afterEach, describe, expect, test } from 'vitest';
import { errorPfn, memoryRules, poisonConsumed } from '../src/index.ts';
import { CODE, closeLabs, type LongLab, longLab } from './support/long-lab.ts';

afterEach(closeLabs);

const PAGE = 4096;
const B = 0x4000_0000;
const H = 0x8000_0000;
const TABLE_B = 0x1_0000_0000;

const LOAD = 'mov eax, [rdi]\nint3';
/** A guest with `text` at its pc, rdi at `va`, and B, H and the tables at B mapped. */
function guest(text: string, va: number, o: Parameters<typeof longLab>[1] = {}): LongLab {
  const l = longLab(text, o);
  l.gib(B, B);
  l.gib(H, H);
  l.directory(TABLE_B, B);
  l.cpu.set('rdi', va);
  return l;
}
const bind = (l: LongLab, hva: number, flags = 0): void =>
  l.vm.setMemoryRegion({ slot: 5, gpa: BigInt(B), size: BigInt(PAGE), hva, flags });
const rules = (r: ReturnType<Parameters<typeof memoryRules.combine>[0][number]>): Plugin<never, void> =>
  definePlugin({
    name: 'host',
    core: '^1.0.0',
    summary: 'Host rules of a test',
    setup: (ctx) => ctx.contribute(memoryRules, () => r),
  });
/** An interrupt controller in the kernel that never has anything. */
function irqchip(l: LongLab): void {
  l.arch.events.source = { pending: () => false, acknowledge: () => -1 };
}

describe('async page faults (M7)', () => {
  const beyondEof = (l: LongLab): ReturnType<typeof l.vm.mm.file> => {
    const file = l.vm.mm.file(0);
    bind(l, l.vm.mm.map({ size: PAGE, backing: file }));
    return file;
  };
  test('file beyond its end, interrupts on and an interrupt controller in the kernel -> no exit, budget goes', () => {
    const l = guest(LOAD, B + 0x10);
    const file = beyondEof(l);
    irqchip(l);
    l.cpu.set('rflags', 0x202);
    for (let n = 0; n < 3; n++) {
      expect(l.run(50).kind).toBe('budget');
      expect(l.cpu.pc).toBe(BigInt(CODE));
    }
    drive(l.vm.mm.truncate(file, PAGE));
    // with the controller in the kernel HLT does not leave: nothing will ever wake it
    expect(l.run().kind).toBe('intr');
    expect([l.vector, l.cpu.get('rax')]).toEqual([3, 0n]);
  });
  test.each<[string, (l: LongLab) => void]>([
    ['IF = 0', (l) => irqchip(l)],
    ['the controller in user space', (l) => l.cpu.set('rflags', 0x202)],
  ])('%s -> EFAULT', (_, set) => {
    const l = guest(LOAD, B + 0x10);
    beyondEof(l);
    set(l);
    expect(l.run()).toMatchObject({ kind: 'run-error', errno: 'EFAULT' });
  });
  test('device memory whose driver refuses -> EFAULT at once, whatever IF is (M8, B17)', () => {
    const l = guest(LOAD, B + 0x10);
    bind(l, l.vm.mm.map({ size: PAGE, backing: l.vm.mm.ioRegion(PAGE, () => 'sigbus') }));
    irqchip(l);
    l.cpu.set('rflags', 0x202);
    expect(l.run()).toMatchObject({ kind: 'run-error', errno: 'EFAULT' });
  });
});

describe('shadow paging', () => {
  const shadow = (text: string, va: number): LongLab =>
    guest(text, va, { plugins: [rules({ paging: 'shadow' })] });
  test.each<[string, (l: LongLab) => void]>([
    ['in a hole (H7)', () => {}],
    ['PROT_NONE (M11s)', (l) => bind(l, l.vm.mm.map({ size: PAGE, prot: Prot.None }))],
    ['beyond a file (M11s)', (l) => bind(l, l.vm.mm.map({ size: PAGE, backing: l.vm.mm.file(0) }))],
  ])('page tables %s -> #PF, not present', (_, make) => {
    for (const [text, code] of [
      [LOAD, 0n],
      ['mov [rdi], eax\nint3', 2n],
      ['jmp rdi', 16n],
    ] as const) {
      const l = shadow(text, TABLE_B + 0x2010);
      make(l);
      expect(l.run().kind).toBe('hlt');
      expect([l.vector, l.pushed(0), l.cpu.get('cr2')]).toEqual([14, code, BigInt(TABLE_B + 0x2010)]);
    }
  });
  test('page tables in PROT_READ memory, A set -> read; on nested paging the walk is a write: EFAULT', () => {
    const [s, t] = [shadow(LOAD, TABLE_B + 0x2010), guest(LOAD, TABLE_B + 0x2010)];
    for (const l of [s, t]) {
      const hva = l.vm.mm.map({ size: PAGE });
      l.vm.mm.write(hva, Uint8Array.of(0xe7, 0, 0, 0, 0, 0, 0, 0));
      drive(l.vm.mm.mprotect(hva, PAGE, Prot.Read));
      bind(l, hva);
    }
    expect(s.run().kind).toBe('hlt');
    expect(s.vector).toBe(3);
    expect(t.run()).toMatchObject({ kind: 'run-error', errno: 'EFAULT' });
  });
});

test('walkGpaReuseQuirk off -> data at the offset of a broken entry is the guest’s #PF, not MMIO', () => {
  const l = guest(LOAD, H, { plugins: [rules({ walkGpaReuseQuirk: false })] });
  l.directory(TABLE_B, H);
  l.cpu.set('rdi', TABLE_B);
  expect(l.run().kind).toBe('hlt');
  expect([l.vector, l.cpu.get('cr2')]).toEqual([14, BigInt(TABLE_B)]);
});

describe('poison', () => {
  const poisoned = (text: string): LongLab => {
    const l = guest(text, 0x1_8010);
    l.vm.poke(0x1_8010, 0x55n);
    l.vm.memory.poison(0x1_8000, true);
    return l;
  };
  test('a load consumes it -> the host loses the page: SIGBUS, action required; EINTR; again until it is replaced', () => {
    const l = poisoned(LOAD);
    const hva = l.vm.memory.hvaOf(0x1_8000) as number;
    for (let n = 0; n < 2; n++) {
      expect(l.run()).toMatchObject({ kind: 'intr', errno: 'EINTR' });
      expect(l.vm.signals.pending()).toMatchObject([
        { signal: 'SIGBUS', code: 'BUS_MCEERR_AR', lsb: 12, to: { vcpu: 0 } },
      ]);
      expect(Number((l.vm.signals.pending()[0] as { addr: bigint }).addr)).toBe(hva);
      l.vm.signals.drain();
      expect(l.cpu.pc).toBe(BigInt(CODE));
    }
  });
  test('a store hands it on; its bytes and the poison are there', () => {
    const l = poisoned('mov dword ptr [rdi], 77h\nint3');
    expect(l.run().kind).toBe('hlt');
    expect(l.vector).toBe(3);
    expect(l.vm.peek(0x1_8010) & 0xffffn).toBe(0x77n);
  });
  test('page tables that are poisoned -> consumed by the walk', () => {
    const seen: object[] = [];
    const plugin = definePlugin<never, void>({
      name: 'mce',
      core: '^1.0.0',
      summary: 'Sees what consumes poison',
      setup: (ctx) =>
        // biome-ignore lint/correctness/useYield: nothing else could run here
        ctx.contribute(poisonConsumed, function* (q) {
          seen.push(q.fault);
          return { kind: 'shutdown', vcpu: q.vcpu.id, ret: 0, why: 'machine check' };
        }),
    });
    const l = guest(LOAD, 0x1_0000_2010, { plugins: [plugin] });
    l.directory(TABLE_B, 0x1_9000);
    l.vm.poke(0x1_9000, 0x87n);
    l.vm.memory.poison(0x1_9000, true);
    expect(l.run()).toMatchObject({ kind: 'shutdown', why: 'machine check' });
    expect(seen).toMatchObject([{ walk: true, level: 2, gpa: 0x1_9000, kind: 0 }]);
  });
});

describe('error pfns, as a plugin decides', () => {
  const deciding = (f: Parameters<typeof errorPfn.combine>[0][number]): Plugin<never, void> =>
    definePlugin({
      name: 'policy',
      core: '^1.0.0',
      summary: 'Decides error pfns',
      setup: (ctx) => ctx.contribute(errorPfn, f),
    });
  test('mmio for device memory alone -> MMIO exit there, EFAULT elsewhere', () => {
    const asked: object[] = [];
    const policy = deciding((q) => {
      asked.push({ ...q, vcpu: q.vcpu.id });
      return q.pfnmap ? 'mmio' : undefined;
    });
    const device = guest(LOAD, B + 0x10, { plugins: [policy] });
    bind(device, device.vm.mm.map({ size: PAGE, backing: device.vm.mm.ioRegion(PAGE, () => 'sigbus') }));
    expect(device.run()).toMatchObject({ kind: 'mmio', gpa: BigInt(B + 0x10), size: 4, write: false });
    const none = guest(LOAD, B + 0x10, { plugins: [policy] });
    bind(none, none.vm.mm.map({ size: PAGE, prot: Prot.None }));
    expect(none.run()).toMatchObject({ kind: 'run-error', errno: 'EFAULT' });
    const q = { pfn: 'fault', gpa: B, write: false, fetch: false, walk: false, vcpu: 0 };
    expect(asked).toEqual([
      { ...q, pfnmap: true },
      { ...q, pfnmap: false },
    ]);
  });
  test('an exit -> it is the result', () => {
    const policy = deciding((q) => ({ kind: 'shutdown', vcpu: q.vcpu.id, ret: 0, why: q.pfn }));
    const l = guest('jmp rdi', B + 0x10, { plugins: [policy] });
    bind(l, l.vm.mm.map({ size: PAGE, prot: Prot.None }));
    expect(l.run()).toMatchObject({ kind: 'shutdown', why: 'fault' });
  });
});

describe('memslots of x86', () => {
  const set = (l: LongLab, o: object): string => {
    const hva = l.vm.mm.map({ size: PAGE });
    try {
      l.vm.setMemoryRegion({ slot: 7, gpa: BigInt(B), size: BigInt(PAGE), hva, ...o });
    } catch (e) {
      if (e instanceof KvmError) return e.errno;
      throw e;
    }
    return 'ok';
  };
  test.each<[string, object, string]>([
    ['id 32763', { slot: 32763 }, 'ok'],
    ['id 32764 (KVM’s own begin)', { slot: 32764 }, 'EINVAL'],
    ['address space 1 (SMM)', { asId: 1 }, 'ok'],
    ['address space 2', { asId: 2 }, 'EINVAL'],
    ['the last page below MAXPHYADDR', { gpa: 2n ** 48n - 4096n }, 'ok'],
    ['one beyond it', { gpa: 2n ** 48n }, 'EINVAL'],
    ['overlap', { gpa: 0n }, 'EEXIST'],
    ['the same place in address space 1', { gpa: 0n, asId: 1 }, 'ok'],
    ['unknown flags', { flags: 16 }, 'EINVAL'],
  ])('%s -> %s', (_, o, result) => {
    expect(set(longLab('hlt', { physicalBits: 48 }), o)).toBe(result);
  });
  test('dirty logging over device memory -> ok, unlike arm64', () => {
    const l = longLab('hlt');
    const hva = l.vm.mm.map({ size: PAGE, backing: l.vm.mm.ioRegion(PAGE, () => 'map') });
    expect(set(l, { hva, flags: MemFlag.LogDirty })).toBe('ok');
  });
  test('dirty log -> pages stored to, and tables whose entries the CPU marks', () => {
    const l = guest('mov [rdi], eax\nint3', B + 0x10);
    const hva = l.vm.mm.map({ size: 4 * PAGE });
    l.vm.setMemoryRegion({ slot: 5, gpa: BigInt(B), size: BigInt(4 * PAGE), hva, flags: MemFlag.LogDirty });
    // the GiB at TABLE_B: its directory in page 3, one 2 MiB page at B
    l.directory(TABLE_B, B + 3 * PAGE);
    l.vm.mm.write(hva + 3 * PAGE, new Uint8Array(new BigUint64Array([BigInt(B) | 0x87n]).buffer));
    l.cpu.set('rdi', TABLE_B + PAGE + 0x10);
    l.vm.memslots.getDirtyLog(5);
    expect(l.run().kind).toBe('hlt');
    expect(l.vm.memslots.getDirtyLog(5)[0]).toBe(0b1010);
    expect(l.vm.peek(B + 3 * PAGE) & 0x60n).toBe(0x60n);
  });
  test('a slot deleted between KVM_RUNs -> a broken page becomes a device (B13)', () => {
    const l = guest(LOAD, B + 0x10);
    const hva = l.vm.mm.map({ size: PAGE, prot: Prot.None });
    bind(l, hva);
    expect(l.run()).toMatchObject({ kind: 'run-error', errno: 'EFAULT' });
    l.vm.setMemoryRegion({ slot: 5, gpa: BigInt(B), size: 0n, hva });
    expect(l.run()).toMatchObject({ kind: 'mmio', gpa: BigInt(B + 0x10), size: 4 });
  });
  test('userfault bitmap -> exit 39 with its flag', () => {
    const l = guest(LOAD, B + 0x10);
    const hva = l.vm.mm.map({ size: PAGE });
    const userfaultBitmap = new Uint8Array([1]);
    const slot = { slot: 5, gpa: BigInt(B), size: BigInt(PAGE), hva, flags: MemFlag.Userfault };
    l.vm.setMemoryRegion({ ...slot, userfaultBitmap });
    expect(l.run()).toMatchObject({ kind: 'memory-fault', errno: 'EFAULT', flags: 16n, gpa: BigInt(B) });
    userfaultBitmap[0] = 0;
    expect(l.run().kind).toBe('hlt');
  });
});

describe('snapshots', () => {
  test('the TLB is state: a stale translation is used on, here and in another VM', () => {
    // the first load brings the translation in; the entry changes behind its back
    const text = 'mov eax, [rdi]\nnop\nmov ebx, [rdi]\ninvlpg [rdi]\nmov ecx, [rdi]\nint3';
    const stale = (): LongLab => {
      const l = guest(text, 0x1_0000_0010);
      l.directory(TABLE_B, 0x1_9000);
      l.vm.poke(0x1_9000, 0x1_a007n);
      l.vm.poke(0x1_a000, 0x1_b007n);
      l.vm.poke(0x1_b010, 0x11n);
      l.vm.poke(0x1_c010, 0x22n);
      return l;
    };
    const l = stale();
    l.cpu.run(2);
    l.vm.poke(0x1_a000, 0x1_c007n);
    const s = l.vm.snapshot();
    const other = longLab('hlt');
    other.vm.restore(s);
    s.dispose();
    for (const x of [l, other]) {
      expect(x.run().kind).toBe('hlt');
      expect(['rax', 'rbx', 'rcx'].map((r) => x.cpu.get(r))).toEqual([0x11n, 0x11n, 0x22n]);
    }
  });
  test('pages shared with a snapshot -> pushes of an exception go into copies, the snapshot keeps its own', () => {
    const l = guest('ud2', 0);
    const before = l.vm.peek(0xa000 - 40);
    const s = l.vm.snapshot();
    expect(l.run().kind).toBe('hlt');
    expect([l.vector, l.pushed(0)]).toEqual([6, BigInt(CODE)]);
    l.vm.restore(s);
    s.dispose();
    expect([l.cpu.pc, l.vm.peek(0xa000 - 40)]).toEqual([BigInt(CODE), before]);
  });
});

describe('code under memory that changes', () => {
  test('the frame of an exception lands on code that ran before -> the new bytes run', () => {
    const l = longLab('int3');
    const target = 0x8100;
    l.vm.write(target, new Uint8Array(64).fill(0x90));
    l.vm.write(target + 64, Uint8Array.of(0xf4));
    l.cpu.pc = BigInt(target);
    expect(l.run().kind).toBe('hlt');
    // SS, RSP, RFLAGS, CS from 8118h down: 08 00 is or [rax], al
    l.cpu.set('rsp', 0x8128);
    l.cpu.pc = BigInt(CODE);
    expect(l.run().kind).toBe('hlt');
    expect(l.vm.peek(target)).toBe(8n);
    l.cpu.set('rax', 0x1_0077);
    l.cpu.set('rcx', 0x1_1000);
    l.cpu.pc = BigInt(target);
    // HLT is one, too
    l.cpu.run(2);
    expect(l.vm.peek(0x1_0077) & 0xffn).toBe(0x77n);
  });
});
