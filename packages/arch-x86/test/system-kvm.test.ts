/** System instructions where KVM or a plugin has a say: hypercalls, random numbers, rules for control registers. */
import { createVm, definePlugin } from '@faultyard/core';
import { describe, expect, test } from 'vitest';
import { x86 } from '../src/index.ts';
import { FL } from '../src/isa/flags.ts';
import { R } from '../src/isa/layout.ts';
import { CR0, CR4, SR } from '../src/state.ts';
import { controlRegisters } from '../src/system/points.ts';
import { AT, atLevel, type FakeMachine, longMachine, protectedMachine } from './support/fake-machine.ts';
import { systemMachine } from './support/system-machine.ts';

const rax = (m: FakeMachine): readonly number[] => [m.state.lo(R.RAX), m.state.hi(R.RAX)];

describe('hypercalls', () => {
  test('vmmcall on AMD: unknown number -> -KVM_ENOSYS, CPL 3 -> -KVM_EPERM, poll -> 0', () => {
    const m = longMachine();
    const x = systemMachine(m);
    m.state.set(R.RAX, 77, 0);
    expect(x.run(0x0f, 0x01, 0xd9)).toBe('run');
    expect(rax(m)).toEqual([-1000, -1]);
    m.state.set(R.RAX, 1, 0);
    expect(x.run(0x0f, 0x01, 0xd9)).toBe('run');
    expect(rax(m)).toEqual([0, 0]);
    atLevel(m, 3);
    expect(x.run(0x0f, 0x01, 0xd9)).toBe('run');
    expect(rax(m)).toEqual([-1, -1]);
    expect(m.state.pcLo).toBe(AT.code + 3);
  });
  test('vmcall on AMD -> patched to vmmcall, which runs next; a page that may not be written -> #PF', () => {
    const m = protectedMachine();
    const x = systemMachine(m);
    expect(x.run(0x0f, 0x01, 0xc1)).toBe('run');
    expect(m.state.pcLo).toBe(AT.code);
    expect([...m.bytes.slice(AT.code, AT.code + 3)]).toEqual([0x0f, 0x01, 0xd9]);
    m.absent.add(AT.code >>> 12);
    expect(x.run(0x0f, 0x01, 0xc1)).toBe('memory');
  });
});

describe('random numbers', () => {
  test('rdrand -> CF, another value a nanosecond later, the same in another run', () => {
    const draw = (now: number, id = 0): number => {
      const m = longMachine();
      const x = systemMachine(m);
      Object.assign(m, { now: () => now, id });
      m.state.flags = FL.One | FL.ZF;
      expect(x.run(0x48, 0x0f, 0xc7, 0xf0)).toBe('run');
      expect(m.state.flags).toBe(FL.One | FL.CF);
      return m.state.lo(R.RAX);
    };
    expect(draw(5)).toBe(draw(5));
    expect(new Set([draw(5), draw(6), draw(5, 1), draw(5 + 2 ** 40)]).size).toBe(4);
  });
});

describe('x86.control-registers', () => {
  test('a plugin makes a bit of CR4 writable, forbids a value, and hears of writes', () => {
    const heard: string[] = [];
    const plugin = definePlugin({
      name: 'cr4-bit',
      core: '^1.0.0',
      setup: (ctx) => {
        ctx.contribute(controlRegisters, () => [
          {
            cr4: 1 << 27,
            check: (_m, register, lo) => (register === 4 && lo & CR4.TSD ? 'gp' : undefined),
            written: (m, register) => heard.push(`cr${register} ${m.state.cr4.toString(16)}`),
          },
        ]);
        return {};
      },
    });
    const vm = createVm({ arch: x86(), plugins: [plugin], memslots: [{ gpa: 0n, size: 1n << 20n }] });
    try {
      const v = vm.vcpus[0];
      // mov eax, 08000000h; mov cr4, eax; mov al, 4; mov cr4, eax, in real mode with an IVT of zeroes
      vm.memory.write(
        0x1000n,
        Uint8Array.of(0x66, 0xb8, 0, 0, 0, 8, 0x0f, 0x22, 0xe0, 0xb0, 4, 0x0f, 0x22, 0xe0),
      );
      vm.memory.write(13n * 4n, Uint8Array.of(0x00, 0x20, 0, 0));
      vm.memory.write(0x2000n, Uint8Array.of(0xf4));
      v?.set('cs.base', 0n);
      v?.set('cs', 0n);
      v?.set('rip', 0x1000n);
      v?.set('rsp', 0x8000n);
      expect(v?.run().kind).toBe('hlt');
      expect(v?.get('rip')).toBe(0x2001n);
      expect(v?.get('cr4')).toBe(0x800_0000n);
      expect(heard).toEqual(['cr4 8000000']);
    } finally {
      vm.dispose();
    }
  });
});

describe('task switch with paging', () => {
  /** A machine whose CR0 says paging, with a TSS at 3400h that asks for CR3 = 5000h. */
  function machine(cr4: number): FakeMachine {
    const m = protectedMachine();
    m.state.setSys(SR.CR0, CR0.PE | CR0.PG | CR0.ET, 0);
    m.state.setSys(SR.CR4, cr4, 0);
    m.put32(AT.gdt + 0x28, (AT.tss << 16) | 0x67, 0x8b00);
    m.put32(AT.gdt + 0x68, (0x3400 << 16) | 0x67, 0x8900);
    m.bytes.fill(0, 0x3400, 0x3468);
    m.put32(0x341c, 0x5000);
    m.put32(0x3420, 0x9000, FL.One);
    for (const [n, v] of [0x10, 0x08, 0x10, 0x10].entries()) m.put32(0x3448 + 4 * n, v);
    return m;
  }
  const JMP = [0xea, 0, 0, 0, 0, 0x68, 0] as const;

  test('CR3 of the new task -> loaded, translations that are not global dropped', () => {
    const m = machine(0);
    const x = systemMachine(m);
    expect(x.run(...JMP)).toBe('run');
    expect(m.state.sysLo(SR.CR3)).toBe(0x5000);
    expect(x.flushes.at(-1)).toBe('non-global -1');
  });
  test('PAE: its pointers are loaded; reserved bits -> #GP(0) in the new task', () => {
    const m = machine(CR4.PAE);
    m.put32(0x5000, 0x6001, 0);
    expect(systemMachine(m).run(...JMP)).toBe('run');
    expect(m.state.sysLo(SR.PDPTE0)).toBe(0x6001);
    const bad = machine(CR4.PAE);
    bad.put32(0x5000, 0x6003, 0);
    expect(systemMachine(bad).run(...JMP)).toEqual([13, 0]);
    expect(bad.state.segments[7]?.selector).toBe(0x68);
  });
});
