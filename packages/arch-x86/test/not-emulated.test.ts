/** Instructions that KVM's emulator has no entry for, or gives up in the middle of, with operands outside memory. */
import { createVm, type Vcpu, type Vm } from '@faultyard/core';
import { afterEach, expect, test } from 'vitest';
import { assemble } from '../src/asm/assemble.ts';
import { x86 } from '../src/index.ts';
import { longGuest } from './support/long-guest.ts';

let vm: Vm | undefined;
afterEach(() => vm?.dispose());

/** Real-mode code with SSE enabled; ES:0 is where nothing is. */
function boot(text: string): Vcpu {
  vm = createVm({ arch: x86({ model: 'zen3' }), memslots: [{ gpa: 0n, size: 0x9_0000n }] });
  const v = vm.vcpus[0] as Vcpu;
  const prologue = 'mov eax, 600h\nmov cr4, eax\nmov ax, 0b000h\nmov es, ax\nxor ax, ax\n';
  vm.write(0x1000, assemble(`.code16\n${prologue}${text}\nhlt`, { origin: 0x1000 }).bytes);
  for (const [name, value] of Object.entries({ cs: 0, 'cs.base': 0, rip: 0x1000 })) v.set(name, value);
  return v;
}

test.each([
  'popcnt ax, es:[0]',
  'crc32 eax, byte ptr es:[0]',
  'adcx eax, es:[0]',
  'movss xmm0, es:[0]',
  'movq xmm0, qword ptr es:[0]',
  'movhps es:[0], xmm0',
  'movddup xmm0, es:[0]',
])('%s, a hole -> VMM: emulation failure, the register is unchanged', (text) => {
  const v = boot(text);
  expect(v.run()).toMatchObject({ kind: 'internal-error', suberror: 1 });
  expect([v.get('rax'), v.get('xmm0')]).toEqual([0n, 0n]);
});

test.each(['bsf ax, es:[0]', 'movbe ax, es:[0]', 'bt word ptr es:[0], ax', 'movups xmm0, es:[0]'])(
  '%s, a hole -> VMM: a load',
  (text) => {
    expect(boot(text).run()).toMatchObject({ kind: 'mmio', write: false });
  },
);

test('cmpxchg16b, a hole -> VMM: two loads of 8 bytes, then emulation failure; nothing of it is done', () => {
  vm = longGuest('mov ebx, 100000h\ncmpxchg16b [rbx]');
  const v = vm.vcpus[0] as Vcpu;
  const first = v.run();
  expect(first).toMatchObject({ kind: 'mmio', write: false, size: 8, gpa: 0x10_0000n });
  const rax = v.get('rax');
  v.answer(first, 1);
  const second = v.run();
  expect(second).toMatchObject({ kind: 'mmio', write: false, size: 8, gpa: 0x10_0008n });
  v.answer(second, 2);
  expect(v.run()).toMatchObject({ kind: 'internal-error', suberror: 1 });
  expect(v.get('rax')).toBe(rax);
});
