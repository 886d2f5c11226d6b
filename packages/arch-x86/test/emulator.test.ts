/** KVM's emulator: device accesses of real-mode code, piece by piece (memfault.md 2.4), and port I/O. */
import { createVm, type Exit, type ExitMap, type Vcpu, type Vm } from '@faultyard/core';
import { afterEach, expect, test } from 'vitest';
import { assemble } from '../src/asm/assemble.ts';
import { type X86PluginOptions, x86 } from '../src/index.ts';

/** Memory below 90000h; DS is 0, ES is B000h: nothing is there. */
const HOLE = 0xb_0000;
let vm: Vm | undefined;
afterEach(() => vm?.dispose());

function boot(text: string, options: X86PluginOptions = {}): Vcpu {
  vm = createVm({ arch: x86(options), memslots: [{ gpa: 0n, size: 0x9_0000n }] });
  const v = vm.vcpus[0] as Vcpu;
  const prologue = 'mov ax, 0b000h\nmov es, ax\n';
  vm.write(0x1000, assemble(`.code16\n${prologue}${text}\nhlt`, { origin: 0x1000 }).bytes);
  for (const [name, value] of Object.entries({ cs: 0, 'cs.base': 0, rip: 0x1000, rsp: 0x8000 }))
    v.set(name, value);
  return v;
}
const mmio = (e: Exit): Partial<ExitMap['mmio']> => {
  if (e.kind !== 'mmio') throw new Error(`exit ${e.kind}`);
  const { gpa, size, write, value } = e;
  return { gpa: Number(gpa) as never, size, write, ...(write ? { value } : {}) };
};

test('a load from a hole -> VMM: its width and address; the answer -> the register; pc moves on completion', () => {
  const v = boot('mov bx, 0ffffh\nmov bl, es:[1234h]');
  const e = v.run();
  expect(mmio(e)).toEqual({ gpa: HOLE + 0x1234, size: 1, write: false });
  expect(v.pc).toBe(0x1008n);
  v.answer(e, 0x5a);
  expect(v.run().kind).toBe('hlt');
  expect(v.get('rbx') & 0xffffn).toBe(0xff5an);
});

test('a store to a hole -> VMM: pc is behind it already', () => {
  const v = boot('mov bx, 1234h\nmov es:[10h], bx');
  expect(mmio(v.run())).toEqual({ gpa: HOLE + 0x10, size: 2, write: true, value: 0x1234n });
  expect(v.pc).toBe(0x100dn);
  expect(v.run().kind).toBe('hlt');
});

test('add to a hole -> VMM: load, then store of the sum; the flags are the sum', () => {
  const v = boot('mov ebx, 1\nadd es:[8], ebx');
  const e = v.run();
  expect(mmio(e)).toEqual({ gpa: HOLE + 8, size: 4, write: false });
  v.answer(e, 0xffff_ffff);
  expect(mmio(v.run())).toEqual({ gpa: HOLE + 8, size: 4, write: true, value: 0n });
  expect(v.run().kind).toBe('hlt');
  expect(v.get('rflags') & 0x41n).toBe(0x41n);
});

test('a store to a hole, then add to it -> VMM: the load of the add comes next, not the store again', () => {
  const v = boot('mov ebx, 1\nmov es:[8], ebx\nadd es:[8], ebx\nxchg es:[8], ebx');
  expect(mmio(v.run())).toEqual({ gpa: HOLE + 8, size: 4, write: true, value: 1n });
  for (const [loaded, stored] of [
    [1, 2n],
    [2, 1n],
  ] as const) {
    const e = v.run();
    expect(mmio(e)).toEqual({ gpa: HOLE + 8, size: 4, write: false });
    v.answer(e, loaded);
    expect(mmio(v.run())).toEqual({ gpa: HOLE + 8, size: 4, write: true, value: stored });
  }
  expect(v.run().kind).toBe('hlt');
  expect(v.get('rbx')).toBe(2n);
});

test('div by 0 that a device answered, no room in the IDT -> VMM: shutdown', () => {
  const v = boot('div byte ptr es:[8]');
  v.set('idtr.limit', 0);
  const e = v.run();
  expect(mmio(e)).toEqual({ gpa: HOLE + 8, size: 1, write: false });
  v.answer(e, 0);
  expect(v.run(1000)).toMatchObject({ kind: 'shutdown', why: 'triple fault' });
});

test('div by 0 that a device answered, its handler on a page that stage 2 lacks -> guest: #DE once', () => {
  const v = boot('mov ax, 7000h\nmov ss, ax\nmov ax, 1\ndiv byte ptr es:[8]');
  (vm as Vm).write(0x6000, assemble('.code16\ninc cx\nhlt', { origin: 0x6000 }).bytes);
  (vm as Vm).write(0, Uint8Array.of(0, 0x60, 0, 0));
  const e = v.run();
  v.answer(e, 0);
  expect(v.run(1000).kind).toBe('hlt');
  expect([v.get('rcx') & 0xffffn, v.get('rsp') & 0xffffn]).toEqual([1n, 0x8000n - 6n]);
});

test.each([
  ['mapped before', 'mov al, ds:[0]'],
  ['mapped for it', 'nop'],
])('#DE whose handler has no stack, the vector table %s -> VMM: shutdown, RF clear', (_, before) => {
  const v = boot(`xor dx, dx\nmov ds, dx\n${before}\nmov sp, 1\ndiv dx`, { model: 'skylake' });
  v.set('idtr.limit', 3);
  expect(v.run(1000)).toMatchObject({ kind: 'shutdown', why: 'triple fault' });
  expect(v.get('rflags') & 0x1_0000n).toBe(0n);
});

test('outsb out of a hole -> VMM: the load, then the port with what was loaded', () => {
  const v = boot('mov dx, 80h\nmov si, 4\noutsb es:[si]');
  const e = v.run();
  expect(mmio(e)).toEqual({ gpa: HOLE + 4, size: 1, write: false });
  v.answer(e, 0x5a);
  expect(v.run()).toMatchObject({ kind: 'io', port: 0x80, write: true, size: 1, data: [0x5a] });
  expect(v.run().kind).toBe('hlt');
  expect(v.get('rsi') & 0xffffn).toBe(5n);
});

test('rep movsb out of a hole -> VMM: one element per exit; immediate_exit lets the load end', () => {
  const v = boot('push es\npop ds\nxor ax, ax\nmov es, ax\nmov si, 4\nmov di, 2000h\nmov cx, 2\nrep movsb');
  let e = v.run();
  expect(mmio(e)).toEqual({ gpa: HOLE + 4, size: 1, write: false });
  v.answer(e, 0x11);
  v.immediateExit = true;
  expect(v.run()).toMatchObject({ kind: 'intr', errno: 'EINTR' });
  expect([v.get('rcx') & 0xffffn, v.get('rdi') & 0xffffn]).toEqual([1n, 0x2001n]);
  v.immediateExit = false;
  e = v.run();
  expect(mmio(e)).toEqual({ gpa: HOLE + 5, size: 1, write: false });
  v.answer(e, 0x22);
  expect(v.run().kind).toBe('hlt');
  expect([...(vm as Vm).read(0x2000, 2)]).toEqual([0x11, 0x22]);
});

test('a 16-byte load -> VMM: two exits of 8 bytes, in address order', () => {
  const v = boot('mov eax, cr4\nor eax, 200h\nmov cr4, eax\nmovdqu xmm1, es:[20h]');
  const first = v.run();
  expect(mmio(first)).toEqual({ gpa: HOLE + 0x20, size: 8, write: false });
  v.answer(first, 0x1111n);
  const second = v.run();
  expect(mmio(second)).toEqual({ gpa: HOLE + 0x28, size: 8, write: false });
  v.answer(second, 0x2222n);
  expect(v.run().kind).toBe('hlt');
  expect(v.get('xmm1') & 0xffffn).toBe(0x1111n);
});

test('a load over the end of memory -> VMM: the part outside; the guest: both parts', () => {
  const v = boot('mov ax, 8fffh\nmov es, ax\nmov ebx, es:[0eh]');
  (vm as Vm).write(0x8_fffe, Uint8Array.of(0x34, 0x12));
  const e = v.run();
  expect(mmio(e)).toEqual({ gpa: 0x9_0000, size: 2, write: false });
  v.answer(e, 0x5678);
  expect(v.run().kind).toBe('hlt');
  expect(v.get('rbx')).toBe(0x5678_1234n);
});

test('a snapshot at a load exit -> another run ends the same', () => {
  const v = boot('mov ebx, es:[0]\nmov ecx, es:[4]');
  const e = v.run();
  v.answer(e, 7);
  const e2 = v.run();
  const s = (vm as Vm).snapshot();
  v.answer(e2, 8);
  v.run();
  const hash = (vm as Vm).stateHash();
  (vm as Vm).restore(s);
  v.answer(v.exit as Exit, 8);
  expect(v.run().kind).toBe('hlt');
  expect((vm as Vm).stateHash()).toBe(hash);
});

test('an instruction fetch from a hole -> KVM_EXIT_INTERNAL_ERROR without bytes', () => {
  const v = boot('jmp 0b000h:0');
  expect(v.run()).toMatchObject({ kind: 'internal-error', suberror: 1, ret: 0 });
  expect((v.exit as Exit<'internal-error'>).data.length).toBe(6);
});

test('out and in -> VMM: exit io, pc still at the instruction; the answer merges into al', () => {
  const v = boot('mov ax, 1234h\nout 80h, ax\nin al, 60h');
  expect(v.run()).toMatchObject({ kind: 'io', port: 0x80, size: 2, write: true, count: 1, data: [0x1234] });
  expect(v.pc).toBe(0x1008n);
  const e = v.run();
  expect(e).toMatchObject({ kind: 'io', port: 0x60, size: 1, write: false, count: 1 });
  v.answer(e, 0xff);
  expect(v.run().kind).toBe('hlt');
  expect(v.get('rax') & 0xffffn).toBe(0x12ffn);
});

test('rep insb -> VMM: all elements at once; rep outsw -> one by one, registers already moved', () => {
  const v = boot(
    'xor ax, ax\nmov es, ax\nmov dx, 1f0h\nmov di, 2000h\nmov cx, 3\nrep insb\nmov si, 2000h\nmov cx, 2\nrep outsw',
  );
  const e = v.run();
  expect(e).toMatchObject({ kind: 'io', port: 0x1f0, size: 1, write: false, count: 3 });
  v.answer(e, [1, 2, 3]);
  expect(v.run()).toMatchObject({ port: 0x1f0, size: 2, write: true, count: 1, data: [0x0201] });
  expect([v.get('rcx') & 0xffffn, v.get('rsi') & 0xffffn]).toEqual([1n, 0x2002n]);
  expect(v.run()).toMatchObject({ data: [0x0003] });
  expect(v.run().kind).toBe('hlt');
});

test('ports and memory of in-kernel devices -> no exit', () => {
  const v = boot('in al, 40h\nout 41h, al\nmov bl, es:[0]\nmov es:[1], bl');
  const seen: string[] = [];
  const device = (name: string, at: number) => ({
    name,
    gpa: at,
    size: 16,
    load: (offset: number, _size: number, _v: number, out: { lo: number; hi: number }) => {
      out.lo = 0x40 + offset;
      return true;
    },
    store: (offset: number, _size: number, _v: number, lo: number) =>
      seen.push(`${name}+${offset}=${lo}`) > 0,
  });
  (vm as Vm).ports.add(device('timer', 0x40));
  (vm as Vm).bus.add(device('block', HOLE));
  expect(v.run().kind).toBe('hlt');
  expect(seen).toEqual(['timer+1=64', 'block+1=64']);
});
