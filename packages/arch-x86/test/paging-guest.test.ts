/** Paging as guest code meets it, with the engine's fast translations in between: faults, rights that change, modes. */
import { createVm, type Vcpu, type Vm } from '@faultyard/core';
import { afterEach, describe, expect, test } from 'vitest';
import { assemble, SR, type X86Vcpu, x86 } from '../src/index.ts';
import { CODE, closeLabs, type LongLab, longLab } from './support/long-lab.ts';

let legacy: Vm | undefined;
afterEach(() => {
  closeLabs();
  legacy?.dispose();
  legacy = undefined;
});

/** A GiB whose directory is the test's: its first 2 MiB have a page table at {@link PT}. */
const VA = 0x1_0000_0000;
const PD = 0x1_9000;
const PT = 0x1_a000;
const [DATA, OTHER] = [0x1_b000, 0x1_c000];

/** A guest with `text` at its pc, rdi at VA, and the entry of VA's page. */
function guest(text: string, entry: bigint, o: Parameters<typeof longLab>[1] = {}): LongLab {
  const l = longLab(`${text}\nint3`, o);
  l.directory(VA, PD);
  l.vm.poke(PD, BigInt(PT) | 7n);
  l.vm.poke(PT, BigInt(DATA) | entry);
  l.vm.poke(DATA, 0x11n);
  l.vm.poke(OTHER, 0x22n);
  l.cpu.set('rdi', VA);
  return l;
}
/** Runs to the handler: its vector, and of #PF the error code. */
function taken(l: LongLab): string {
  expect(l.run().kind).toBe('hlt');
  if (l.vector !== 14) return `${l.vector}`;
  return `#PF(0x${l.pushed(0).toString(16)}) at ${l.cpu.get('cr2').toString(16)}`;
}
const at = VA.toString(16);

describe('#PF', () => {
  test.each<[string, string, bigint, 0 | 3, string]>([
    ['a read of nothing', 'mov eax, [rdi]', 0n, 0, `#PF(0x0) at ${at}`],
    ['a write of nothing by the user', 'mov [rdi], eax', 0n, 3, `#PF(0x6) at ${at}`],
    ['a write of a read-only page', 'mov [rdi], eax', 5n, 0, `#PF(0x3) at ${at}`],
    ['a read-modify-write of a read-only page', 'inc dword ptr [rdi]', 5n, 3, `#PF(0x7) at ${at}`],
    ['CMPXCHG that would not write', 'cmpxchg [rdi], edx', 5n, 0, `#PF(0x3) at ${at}`],
    ['a user read of a supervisor page', 'mov eax, [rdi]', 3n, 3, `#PF(0x5) at ${at}`],
    ['a user fetch of a supervisor page', 'jmp rdi', 3n, 3, `#PF(0x15) at ${at}`],
    ['a fetch of a page with NX', 'jmp rdi', 7n | (1n << 63n), 0, `#PF(0x11) at ${at}`],
    ['reserved bits', 'mov eax, [rdi]', 7n | (1n << 51n), 3, `#PF(0xd) at ${at}`],
    [
      '8 bytes into the next page',
      'mov rax, [rdi + 0xffc]',
      7n,
      0,
      `#PF(0x0) at ${(VA + 0x1000).toString(16)}`,
    ],
    [
      '16 bytes into the next page',
      'movups [rdi + 0xff8], xmm0',
      7n,
      3,
      `#PF(0x6) at ${(VA + 0x1000).toString(16)}`,
    ],
    [
      'REP MOVSB reaching a page',
      'mov esi, 8000h\nadd rdi, 0ffdh\nmov ecx, 9\nrep movsb',
      7n,
      0,
      `#PF(0x2) at ${(VA + 0x1000).toString(16)}`,
    ],
    ['POP into a page', 'pop qword ptr [rdi]', 0n, 0, `#PF(0x2) at ${at}`],
  ])('%s -> the handler: error code and CR2', (_, text, entry, cpl, want) => {
    expect(taken(guest(text, entry, { cpl, physicalBits: 48 }))).toBe(want);
  });
  test('REP MOVSB that faults -> what was moved is moved, the registers stand at the element', () => {
    const l = guest('mov esi, 8000h\nadd rdi, 0ffdh\nmov ecx, 9\nrep movsb', 7n);
    taken(l);
    expect([l.cpu.get('rcx'), l.cpu.get('rdi'), l.cpu.get('rsi')]).toEqual([
      6n,
      BigInt(VA + 0x1000),
      0x8003n,
    ]);
  });
  test('POP that faults -> RSP as before', () => {
    const l = guest('pop qword ptr [rdi]', 0n);
    taken(l);
    // the frame of #PF has the old RSP
    expect(l.pushed(4)).toBe(0xa000n);
  });
});

describe('rights that change under translations in use', () => {
  const SUPERVISOR_WRITE = 'mov [rdi], eax';
  test('CR0.WP cleared and set again -> the write goes through, then faults', () => {
    const l = guest(
      `mov rbx, cr0\nand ebx, 0fffeffffh\nmov cr0, rbx\n${SUPERVISOR_WRITE}\nor ebx, 10000h\nmov cr0, rbx\n${SUPERVISOR_WRITE}`,
      5n,
    );
    expect(taken(l)).toBe(`#PF(0x3) at ${at}`);
    expect(l.vm.peek(DATA) & 0xffff_ffffn).toBe(0n);
  });
  test('SMAP: STAC and CLAC around an access of a user page', () => {
    const enable = 'mov rbx, cr4\nor ebx, 200000h\nmov cr4, rbx\n';
    const l = guest(`mov eax, [rdi]\n${enable}stac\nmov ecx, [rdi]\nclac\nmov edx, [rdi]`, 7n);
    l.vm.poke(0x2000, 0x83n);
    l.cpu.set('rdx', 0);
    expect(taken(l)).toBe(`#PF(0x1) at ${at}`);
    expect([l.cpu.get('rax'), l.cpu.get('rcx'), l.cpu.get('rdx')]).toEqual([0x11n, 0x11n, 0n]);
  });
  test('SMEP switched on -> the next fetch of a user page faults', () => {
    // ret at VA, once before and once after
    const l = guest('call rdi\nmov rbx, cr4\nor ebx, 100000h\nmov cr4, rbx\ncall rdi', 7n);
    l.vm.write(DATA, Uint8Array.of(0xc3));
    // the code itself must be the supervisor's
    l.vm.poke(0x2000, 0x83n);
    expect(taken(l)).toBe(`#PF(0x11) at ${at}`);
  });
  test('PKRU: a key denied, then allowed for reading, then for writing', () => {
    const l = guest(
      'mov rbx, cr4\nor ebx, 400000h\nmov cr4, rbx\nxor ecx, ecx\nxor edx, edx\nmov eax, 8\nwrpkru\nmov esi, [rdi]\nmov [rdi], esi',
      7n | (1n << 59n),
      { features: { pku: true, ospke: true } },
    );
    expect(taken(l)).toBe(`#PF(0x23) at ${at}`);
    expect(l.cpu.get('rsi')).toBe(0x11n);
  });
  test.each([
    ['nothing', 'nop', 0x11n],
    ['INVLPG', 'invlpg [rdi]', 0x22n],
    ['MOV CR3', 'mov rbx, cr3\nmov cr3, rbx', 0x22n],
    ['CR4.PGE off and on', 'mov rbx, cr4\nxor ebx, 80h\nmov cr4, rbx\nxor ebx, 80h\nmov cr4, rbx', 0x22n],
    ['INVLPG of another page', 'invlpg [rdi + 0x1000]', 0x11n],
  ])('an entry changed, then %s -> the load sees 0x%s', (_, flush, seen) => {
    const change = `mov dword ptr [${PT}], ${OTHER | 7}`;
    const l = guest(`mov eax, [rdi]\n${change}\n${flush}\nmov ecx, [rdi]`, 7n);
    expect(taken(l)).toBe('3');
    expect([l.cpu.get('rax'), l.cpu.get('rcx')]).toEqual([0x11n, seen]);
  });
  test('a global page -> MOV CR3 leaves it, CR4.PGE takes it', () => {
    const change = `mov dword ptr [${PT}], ${OTHER | 0x107}`;
    const l = guest(
      `mov eax, [rdi]\n${change}\nmov rbx, cr3\nmov cr3, rbx\nmov ecx, [rdi]\nmov rbx, cr4\nxor ebx, 80h\nmov cr4, rbx\nmov edx, [rdi]`,
      0x107n,
    );
    expect(taken(l)).toBe('3');
    expect(['rax', 'rcx', 'rdx'].map((r) => l.cpu.get(r))).toEqual([0x11n, 0x11n, 0x22n]);
  });
  test('A and D of guest code’s accesses: read, write, fetch', () => {
    for (const [text, bits] of [
      ['mov eax, [rdi]', 0x20n],
      ['mov [rdi], eax', 0x60n],
      ['lock xadd [rdi], eax', 0x60n],
      ['call rdi', 0x20n],
      ['mov eax, [rdi]\nmov [rdi + 8], eax', 0x60n],
      ['prefetcht0 [rdi]', 0n],
    ] as const) {
      const l = guest(text, 7n);
      l.vm.write(DATA, Uint8Array.of(0xc3));
      expect([text, taken(l), l.vm.peek(PT) & 0x60n]).toEqual([text, '3', bits]);
    }
  });
});

describe('addresses that are not canonical', () => {
  test.each<[string, string, number]>([
    ['a load', 'mov rax, [r8]', 13],
    ['a store that only ends there', 'mov [r8 - 4], rax', 13],
    ['a push', 'lea rsp, [r8 + 8]\npush rax', 12],
    ['a pop', 'mov rsp, r8\npop rax', 12],
    ['a load through RBP', 'mov rbp, r8\nmov rax, [rbp + 0]', 12],
    ['a load through RSP', 'mov rsp, r8\nmov rax, [rsp]', 12],
    ['a push of such memory', 'push qword ptr [r8]', 13],
    ['a load through RBP with FS', 'mov rbp, r8\nmov rax, fs:[rbp + 0]', 13],
    ['16 bytes', 'movups xmm0, [r8 - 8]', 13],
    ['a jump', 'jmp r8', 13],
  ])('%s -> #%s', (_, text, vector) => {
    const l = longLab(`mov r8, 800000000000h\n${text}\nint3`);
    // an IST keeps the handler's own stack good
    l.vm.poke(0x5024, 0xb000n);
    for (const v of [12, 13]) l.vm.poke(0x4000 + 16 * v, l.vm.peek(0x4000 + 16 * v) | (1n << 32n));
    expect(l.run().kind).toBe('hlt');
    expect([l.vector, l.pushed(0)]).toEqual([vector, 0n]);
  });
});

describe('alignment', () => {
  const CHECKED = 'pushfq\nor dword ptr [rsp], 40000h\npopfq\n';
  const UNCHECKED = 'pushfq\nand dword ptr [rsp], 0fffbffffh\npopfq\n';
  const user = (text: string): LongLab => {
    const l = guest(text, 7n, { cpl: 3 });
    l.cpu.set('cr0', 0x8005_0033n);
    return l;
  };
  test('AC set by POPF at CPL 3, with a translation in use -> the misaligned load faults: #AC(0)', () => {
    const l = user(`mov eax, [rdi + 1]\n${CHECKED}mov ecx, [rdi + 4]\nmov edx, [rdi + 1]`);
    l.cpu.set('rdx', 0);
    expect(taken(l)).toBe('17');
    expect([l.pushed(0), l.cpu.get('rdx')]).toEqual([0n, 0n]);
  });
  test('AC cleared again -> no check', () => {
    const l = user(`${CHECKED}mov ecx, [rdi + 4]\n${UNCHECKED}mov edx, [rdi + 1]`);
    expect(taken(l)).toBe('3');
  });
  test('AC at CPL 0 -> no check', () => {
    const l = guest(`${CHECKED}mov edx, [rdi + 1]`, 7n);
    l.cpu.set('cr0', 0x8005_0033n);
    expect(taken(l)).toBe('3');
  });
});

/** A VM in protected mode without paging: flat 32-bit segments, code at 8000h, `registers` on top. */
function flat32(text: string, registers: Readonly<Record<string, number | bigint>> = {}): Vcpu {
  legacy = createVm({ arch: x86(), memslots: [{ gpa: 0n, size: 2n ** 22n }] });
  const v = legacy.vcpus[0] as Vcpu;
  legacy.write(CODE, assemble(`.code32\n${text}`, { origin: CODE }).bytes);
  const all: Record<string, number | bigint> = { cr0: 0x11, 'cs.attr': 0xc9b, cs: 8, 'cs.base': 0 };
  for (const s of ['ss', 'ds', 'es']) {
    all[s] = 0x10;
    all[`${s}.attr`] = 0xc93;
  }
  for (const s of ['cs', 'ss', 'ds', 'es']) all[`${s}.limit`] = 0xffff_ffffn;
  for (const [n, x] of Object.entries({ ...all, rsp: 0x7000, ...registers, rip: CODE })) v.set(n, x);
  return v;
}

describe('legacy paging, switched on by the guest', () => {
  test('32-bit with 4 MiB pages, then a page table: loads, A and D', () => {
    const v = flat32('mov cr3, eax\nmov cr4, ebx\nmov cr0, ecx\nmov esi, [edi]\nmov [edi + 4], esi\nhlt', {
      rax: 0x1_0000,
      rbx: 0x10,
      rcx: 0x8000_0011n,
      rdi: 0x8040_5000n,
    });
    const vm = legacy as Vm;
    vm.poke(0x1_0000, 0x83n);
    vm.poke(0x1_0000 + 0x201 * 4, 0x1_1003n);
    vm.poke(0x1_1000 + 5 * 4, BigInt(DATA) | 3n);
    vm.poke(DATA, 0x1234_5678n);
    expect(v.run().kind).toBe('hlt');
    expect(v.get('rsi')).toBe(0x1234_5678n);
    expect(vm.peek(DATA)).toBe(0x1234_5678_1234_5678n);
    const word = (a: number): bigint => vm.peek(a) & 0xffff_ffffn;
    expect([word(0x1_0000), word(0x1_0804), word(0x1_1014)]).toEqual([
      0xa3n,
      0x1_1023n,
      BigInt(DATA) | 0x63n,
    ]);
  });
  test('PAE: pointers loaded by MOV CR0 and kept though their memory changes, until MOV CR3', () => {
    const v = flat32(
      'mov cr3, eax\nmov cr4, ebx\nmov cr0, ecx\nmov esi, [edi]\nmov dword ptr [10008h], 12001h\nmov edx, [edi + 400000h]\nmov cr3, eax\nmov ebp, [edi]\nhlt',
      { rax: 0x1_0000, rbx: 0x20, rcx: 0x8000_0011n, rdi: 0x4000_0000 },
    );
    const vm = legacy as Vm;
    vm.poke(0x1_0000, 0x1_1001n);
    vm.poke(0x1_0008, 0x1_3001n);
    vm.poke(0x1_1000, 0x83n);
    // the directory of the second GiB, and the one that takes its place
    for (const n of [0, 2]) vm.poke(0x1_3000 + 8 * n, 0x20_0083n);
    vm.poke(0x1_2000, 0x83n);
    vm.poke(0x20_0000, 0x77n);
    vm.poke(0, 0x99n);
    expect(v.run().kind).toBe('hlt');
    expect(['rsi', 'rdx', 'rbp'].map((r) => v.get(r))).toEqual([0x77n, 0x77n, 0x99n]);
  });
  test('compatibility mode: addresses wrap at 4 GiB, whatever RDI holds', () => {
    const l = longLab('hlt');
    l.vm.write(
      CODE,
      assemble('.code32\nmov eax, [edi + 0x10]\nmov ecx, [edi + 0x10]\nhlt', { origin: CODE }).bytes,
    );
    l.cpu.set('cs.attr', 0xc9b);
    for (const s of ['ds', 'es']) {
      l.cpu.set(`${s}.attr`, 0xc93);
      l.cpu.set(`${s}.limit`, 0xffff_ffffn);
      l.cpu.set(`${s}.base`, 0x1_b000);
    }
    l.vm.poke(DATA, 0x55n);
    l.cpu.set('rdi', 0xffff_fff0n);
    expect(l.run().kind).toBe('hlt');
    expect([l.cpu.get('rax'), l.cpu.get('rcx')]).toEqual([0x55n, 0x55n]);
  });
});

describe('5 levels', () => {
  test('an address of 57 bits -> reached; without LA57 it is not canonical', () => {
    const l = longLab('mov rdi, 80000000000000h\nmov eax, [rdi + 0x10]\nhlt', { features: { la57: true } });
    // PML5 at 1_d000h: entry 0 and entry 80h are the PML4 of the lab
    l.vm.poke(0x1_d000, 0x1007n);
    l.vm.poke(0x1_d000 + 8 * 0x80, 0x1007n);
    l.vm.poke(0x10, 0x5an);
    l.cpu.set('cr3', 0x1_d000);
    l.cpu.set('cr4', 0x16a0);
    expect(l.run().kind).toBe('hlt');
    expect(l.cpu.get('rax')).toBe(0x5an);
    const four = longLab('mov rdi, 80000000000000h\nmov eax, [rdi + 0x10]\nhlt');
    four.run();
    expect(four.vector).toBe(13);
  });
});

describe('code at the end of its segment', () => {
  /** Real mode: IVT at 0, #GP at 0:50h, within every limit, code where the test wants it. */
  const real = (): Vcpu => {
    legacy = createVm({ arch: x86(), memslots: [{ gpa: 0n, size: 2n ** 20n }] });
    const v = legacy.vcpus[0] as Vcpu;
    legacy.poke(13 * 4, 0x0050n);
    legacy.write(0x50, Uint8Array.of(0xf4));
    v.set('rsp', 0x4000);
    return v;
  };
  const go = (v: Vcpu, cs: number, ip: number): string => {
    v.set('cs', cs);
    v.set('cs.base', cs << 4);
    v.set('rip', ip);
    const e = v.run(1000);
    return `${e.kind} at ${v.get('cs.base').toString(16)}:${v.get('rip').toString(16)}`;
  };
  test('running over the limit -> #GP, also where the next page ran under another segment before', () => {
    const v = real();
    const vm = legacy as Vm;
    // inc dl; jmp 1000:fffd
    vm.write(0x2_0000, Uint8Array.of(0xfe, 0xc2, 0xea, 0xfd, 0xff, 0x00, 0x10));
    vm.write(0x1_fffd, Uint8Array.of(0x90, 0x90, 0x90));
    v.set('rdx', 0);
    expect(go(v, 0x2000, 0)).toBe('hlt at 0:51');
    expect(v.get('rdx')).toBe(1n);
  });
  test('a limit inside a page: the instruction that ends at it runs, one that ends behind it does not', () => {
    for (const [limit, where] of [
      [0x102, 'hlt at 10000:103'],
      [0x101, 'hlt at 0:51'],
    ] as const) {
      const v = real();
      // mov al, 5; hlt
      (legacy as Vm).write(0x1_0100, Uint8Array.of(0xb0, 5, 0xf4));
      v.set('cs.limit', limit);
      expect(go(v, 0x1000, 0x100)).toBe(where);
      expect(v.get('rax')).toBe(5n);
    }
    const v = real();
    (legacy as Vm).write(0x1_0100, Uint8Array.of(0xb0, 5, 0xf4));
    v.set('cs.limit', 0x100);
    expect(go(v, 0x1000, 0x100)).toBe('hlt at 0:51');
    expect(v.get('rax')).toBe(0n);
  });
});

describe('walks for people', () => {
  test('every step, rights and fault; nothing is marked or mapped', () => {
    const l = guest('hlt', 7n);
    const before = l.vm.stage2.mapped;
    const w = (l.cpu.arch as X86Vcpu).walk(BigInt(VA) + 0x10n, 'write');
    expect(w.steps.map((s) => [s.level, Number(s.gpa), Number(s.descriptor)])).toEqual([
      [4, 0x1000, 0x2007],
      [3, 0x2000 + 4 * 8, PD | 7],
      [2, PD, PT | 7],
      [1, PT, DATA | 7],
    ]);
    expect(w).toMatchObject({
      gpa: BigInt(DATA) + 0x10n,
      attributes: { write: true, user: true, size: 4096 },
    });
    expect([l.vm.peek(PT), l.vm.stage2.mapped]).toEqual([BigInt(DATA) | 7n, before]);
    l.vm.poke(PT, BigInt(DATA) | 5n);
    expect(l.arch.walk(BigInt(VA), 'write')).toMatchObject({ fault: '#PF(0x3: P W), level 1' });
    l.vm.poke(PT, 0n);
    expect(l.arch.walk(BigInt(VA), 'read')).toMatchObject({ fault: '#PF(0x0), level 1' });
    expect(l.arch.walk(1n << 60n, 'read')).toMatchObject({ fault: 'not canonical', steps: [] });
    l.directory(VA, 0x8000_0000);
    expect(l.arch.walk(BigInt(VA), 'read').fault).toContain('no memory at the level 2 table');
    l.arch.state.setSys(SR.CR0, 0x11, 0);
    expect(l.arch.walk(0x1234n, 'read')).toMatchObject({ gpa: 0x1234n, steps: [] });
  });
});
