/** Interrupts, timers, WFI, PSCI's exits, register access by name and ONE_REG, and what QEMU cannot be asked about. */
import { KvmError } from '@faultyard/core';
import { afterEach, describe, expect, test } from 'vitest';
import { SYSTEM_REGISTERS } from '../src/index.ts';
import { closeLabs, type Lab, lab, RAM } from './support/lab.ts';

afterEach(closeLabs);

const get = (l: Lab, ...names: string[]): bigint[] => names.map((n) => l.cpu.get(n));
const op = (l: Lab, name: 'set-one-reg' | 'get-one-reg' | 'irq-line', arg: object): unknown =>
  l.vm.ops.call(name === 'irq-line' ? l.vm : l.cpu, name, arg as never);

describe('interrupts', () => {
  test('KVM_IRQ_LINE high, I clear -> IRQ vector, ELR = next instruction', () => {
    const l = lab('nop\nnop\nwfi');
    op(l, 'irq-line', { vcpu: 0, line: 'irq', level: true });
    l.cpu.run(10);
    expect(l.vector).toBe(0x280);
    expect(get(l, 'elr_el1')).toEqual([RAM]);
  });
  test('FIQ and IRQ together -> FIQ first; masked ones show in ISR_EL1 and end WFI', () => {
    const l = lab('nop\nwfi');
    op(l, 'irq-line', { vcpu: 0, line: 'irq', level: true });
    op(l, 'irq-line', { vcpu: 0, line: 'fiq', level: true });
    l.cpu.run(10);
    expect(l.vector).toBe(0x300);
    const m = lab('wfi\nmrs x0, isr_el1\nb .', { daif: true });
    op(m, 'irq-line', { vcpu: 0, line: 'irq', level: true });
    expect(m.cpu.run(10).kind).toBe('budget');
    expect(get(m, 'x0')).toEqual([0x80n]);
  });
  test('an IRQ that is unmasked by MSR DAIFClr -> taken before the next instruction', () => {
    const l = lab('msr daifclr, #2\nmov x0, #1\nwfi', { daif: true });
    op(l, 'irq-line', { vcpu: 0, line: 'irq', level: true });
    l.cpu.run(20);
    expect(l.vector).toBe(0x280);
    expect(get(l, 'x0', 'elr_el1')).toEqual([0n, RAM + 4n]);
  });
  test('from EL0 -> lower-level group', () => {
    const l = lab('nop\nb .');
    l.cpu.set('pstate', 0n);
    op(l, 'irq-line', { vcpu: 0, line: 'irq', level: true });
    l.cpu.run(10);
    expect(l.vector).toBe(0x480);
  });
});

describe('timers', () => {
  const arm = (v: string, ticks: number): string =>
    `mov x0, #${ticks}\nmsr cnt${v}_tval_el0, x0\nmov x0, #1\nmsr cnt${v}_ctl_el0, x0\n`;
  test('virtual timer armed, WFI -> time jumps to the deadline, IRQ is taken, CVAL has passed', () => {
    const l = lab(`${arm('v', 1000)}wfi\nb .`);
    const e = l.cpu.run(100);
    expect(e.kind).toBe('budget');
    expect(l.vector).toBe(0x280);
    // 1000 ticks at 62.5 MHz are 16 us
    expect(l.cpu.now).toBeGreaterThanOrEqual(16_000);
    expect(l.cpu.now).toBeLessThan(16_300);
    expect(get(l, 'cntv_ctl_el0')).toEqual([5n]);
  });
  test('physical timer while the guest spins -> taken within the tick it is due', () => {
    const l = lab(`${arm('p', 10)}mov x5, #0\nagain: add x5, x5, #1\nb again`);
    l.cpu.run(5000);
    expect(l.vector).toBe(0x280);
    const spins = Number(l.cpu.get('x5'));
    expect(spins).toBeGreaterThan(60);
    expect(spins).toBeLessThan(90);
  });
  test('IMASK keeps the line low; CNTVCT_EL0 is the clock at 62.5 MHz', () => {
    const l = lab(
      'mov x0, #3\nmsr cntv_ctl_el0, x0\nmsr cntv_cval_el0, xzr\nmrs x1, cntvct_el0\nmrs x2, cntfrq_el0\nwfi',
    );
    expect(l.run().kind).toBe('intr');
    expect(l.vector).toBeUndefined();
    expect(get(l, 'x1', 'x2')).toEqual([0n, 62_500_000n]);
  });
  test('a frequency of one tick per ns -> the count is the number of instructions before it', () => {
    const l = lab('nop\nnop\nnop\nmrs x1, cntvct_el0\nnop\nmrs x2, cntvct_el0\nwfi', {
      frequency: 1_000_000_000,
    });
    l.run();
    const [a = 0n, b = 0n] = get(l, 'x1', 'x2');
    expect(b - a).toBe(2n);
  });
});

describe('PSCI', () => {
  test('SYSTEM_OFF -> exit system-event 1; SYSTEM_RESET -> 2; every vCPU is off', () => {
    for (const [fn, type] of [
      ['0x84000008', 1],
      ['0x84000009', 2],
    ] as const) {
      const l = lab(`ldr x0, =${fn}\nhvc #0\nwfi\n.ltorg`);
      expect(l.run()).toMatchObject({ kind: 'system-event', type, ret: 0 });
      expect(l.arch.power).toBe('off');
    }
  });
  test('VERSION -> 1.0; FEATURES of what is there -> 0; unknown -> -1; SMC with an immediate -> -1', () => {
    const call = (fn: string, x1 = '0', how = 'hvc #0'): bigint => {
      const l = lab(`ldr x0, =${fn}\nldr x1, =${x1}\n${how}\nwfi\n.ltorg`);
      l.run();
      return l.cpu.get('x0');
    };
    expect(call('0x84000000')).toBe(0x1_0000n);
    expect(call('0x84000000', '0', 'smc #0')).toBe(0x1_0000n);
    expect(call('0x8400000a', '0xc4000003')).toBe(0n);
    expect(call('0x8400000a', '0x84000020')).toBe(2n ** 64n - 1n);
    expect(call('0x80000000')).toBe(0x1_0001n);
    expect(call('0x12345678')).toBe(2n ** 64n - 1n);
    expect(call('0x84000000', '0', 'smc #1')).toBe(2n ** 64n - 1n);
  });
  test('a vCPU that is off waits; CPU_ON starts it at the entry with the context', () => {
    const l = lab(
      'ldr x0, =0xc4000003\nmov x1, #1\nadr x2, second\nmov x3, #77\nhvc #0\nwfi\nsecond: mov x9, x0\nwfi\n.ltorg',
      {
        vcpus: 2,
      },
    );
    const second = l.vm.vcpus[1];
    expect(second?.arch.power).toBe('off');
    l.vm.run(1000);
    expect(get(l, 'x0')).toEqual([0n]);
    expect(second?.get('x9')).toBe(77n);
  });
});

describe('registers', () => {
  test('every one reads; what is written sticks as its mask says', () => {
    const l = lab('wfi');
    for (const r of l.cpu.arch.registers) expect(l.cpu.get(r.name)).toBeTypeOf('bigint');
    for (const [name, wrote, reads] of [
      ['vbar_el1', -1n, 0xffff_ffff_ffff_f800n],
      ['contextidr_el1', -1n, 0xffff_ffffn],
      ['esr_el1', -1n, 0xffff_ffffn],
      ['sctlr_el1', 0n, 0x3050_0800n],
      ['tcr_el1', -1n, 0x77_ffff_ffbfn],
      ['cpacr_el1', -1n, 0x30_0000n],
      ['csselr_el1', -1n, 0xfn],
      ['cntkctl_el1', -1n, 0x3ffn],
      ['spsr_el1', -1n, 0xf070_03dfn],
      ['ttbr0_el1', -1n, 2n ** 64n - 2n],
      ['midr_el1', 0n, l.cpu.get('midr_el1')],
    ] as const) {
      l.cpu.set(name, wrote);
      expect([name, l.cpu.get(name)]).toEqual([name, reads]);
    }
  });
  test('rows are documented; no two share an encoding or a name', () => {
    const keys = SYSTEM_REGISTERS.map((r) => r.enc.join('.'));
    expect(new Set(keys).size).toBe(keys.length);
    expect(new Set(SYSTEM_REGISTERS.map((r) => r.name)).size).toBe(SYSTEM_REGISTERS.length);
    for (const r of SYSTEM_REGISTERS) expect(r.doc.length).toBeGreaterThan(4);
  });
  test('the id registers of generic-v8.0+ras', () => {
    const l = lab('wfi');
    expect(get(l, 'id_aa64pfr0_el1', 'id_aa64isar0_el1', 'id_aa64mmfr0_el1', 'id_aa64mmfr1_el1')).toEqual([
      0x1000_0011n,
      0x0021_0000n,
      0x0010_0025n,
      0x0010_0000n,
    ]);
    expect(get(lab('wfi', { model: 'generic-v8.0' }), 'id_aa64pfr0_el1', 'id_aa64isar0_el1')).toEqual([
      0x11n,
      0n,
    ]);
    expect(get(lab('wfi', { df2: true }), 'id_aa64pfr1_el1', 'id_aa64mmfr3_el1')).toEqual([1n << 56n, 0x10n]);
  });
  test('ONE_REG: ids of sea.md 9.5 read and write the registers they name; others are ENOENT', () => {
    const l = lab('wfi');
    const ids: readonly (readonly [bigint, string])[] = [
      [0x6030_0000_0010_0000n, 'x0'],
      [0x6030_0000_0010_003cn, 'x30'],
      [0x6030_0000_0010_003en, 'sp_el0'],
      [0x6030_0000_0010_0040n, 'pc'],
      [0x6030_0000_0010_0044n, 'sp_el1'],
      [0x6030_0000_0010_0046n, 'elr_el1'],
      [0x6030_0000_0013_c300n, 'far_el1'],
      [0x6030_0000_0013_c600n, 'vbar_el1'],
      [0x6030_0000_0013_c510n, 'mair_el1'],
      [0x6030_0000_0013_c100n, 'ttbr0_el1'],
    ];
    for (const [id, name] of ids) {
      op(l, 'set-one-reg', { id, value: 0x4000_1000n });
      expect([name, l.cpu.get(name)]).toEqual([name, 0x4000_1000n]);
      expect(op(l, 'get-one-reg', { id })).toBe(0x4000_1000n);
    }
    op(l, 'set-one-reg', { id: 0x6030_0000_0010_0042n, value: 0x6000_03c4n });
    expect(get(l, 'pstate')).toEqual([0x6000_03c4n]);
    expect(() => op(l, 'get-one-reg', { id: 0x6030_0000_0013_ffffn })).toThrow(KvmError);
  });
  test('v registers hold 128 bits, w registers clear the top half', () => {
    const l = lab('wfi');
    const v = (0x1122_3344_5566_7788n << 64n) | 0x99aa_bbcc_ddee_ff00n;
    l.cpu.set('v7', v & (2n ** 64n - 1n));
    expect(l.cpu.get('v7')).toBe(v & (2n ** 64n - 1n));
    l.cpu.set('x3', -1n);
    l.cpu.set('w3', 5n);
    expect(l.cpu.get('x3')).toBe(5n);
  });
});

describe('what QEMU 7.2 does otherwise', () => {
  test('a misaligned SP at EL0 with SA0 -> EC 26; without it the access runs', () => {
    for (const [sa0, vector] of [
      [16n, 0x400],
      [0n, undefined],
    ] as const) {
      const l = lab('ldr x1, [sp]\nb .');
      l.cpu.set('sctlr_el1', sa0);
      l.cpu.set('sp_el0', RAM + 0x8008n);
      l.cpu.set('pstate', 0x3c0n);
      l.cpu.run(10);
      expect(l.vector).toBe(vector);
      if (vector) expect(get(l, 'esr_el1')).toEqual([0x9a00_0000n]);
    }
  });
  test('MSR DAIFSet at EL0 without UMA -> EC 18 with op1 3, op2 6', () => {
    const l = lab('msr daifset, #3\nb .');
    l.cpu.set('pstate', 0n);
    l.cpu.run(10);
    expect(get(l, 'esr_el1')).toEqual([0x620c_d3e6n]);
  });
  test('DC ZVA on Device memory -> alignment fault, FAR = the operand', () => {
    const l = lab(`ldr x1, =${RAM + 0x8004n}\ndc zva, x1\nwfi\n.ltorg`);
    l.run();
    expect(get(l, 'esr_el1', 'far_el1')).toEqual([0x9600_0061n, RAM + 0x8004n]);
  });
  test('an unaligned ldr with the MMU off -> alignment fault; on Normal memory it runs', () => {
    const l = lab(`ldr x1, =${RAM + 0x8001n}\nldr x2, [x1]\nwfi\n.ltorg`);
    l.run();
    expect(get(l, 'esr_el1', 'far_el1')).toEqual([0x9600_0021n, RAM + 0x8001n]);
  });
  test('a block at level 0 -> translation fault, level 0', () => {
    const l = lab(`ldr x1, =${1n << 40n}\nldr x2, [x1]\nwfi\n.ltorg`);
    const root = RAM + 0x10_0000n;
    l.vm.poke(root, (root + 0x1000n) | 3n);
    l.vm.poke(root + 16n, 0x701n);
    for (let n = 0n; n < 4n; n++) l.vm.poke(root + 0x1000n + 8n * n, (n << 30n) | 0x701n);
    l.cpu.set('mair_el1', 0xffn);
    l.cpu.set('tcr_el1', 16n | (1n << 23n) | (5n << 32n));
    l.cpu.set('ttbr0_el1', root);
    l.cpu.set('sctlr_el1', 5n);
    l.run();
    expect(get(l, 'esr_el1')).toEqual([0x9600_0004n]);
    const w = l.arch.walk(1n << 40n, 'read');
    expect(w.fault).toBe('translation fault, level 0');
    expect(l.arch.walk(RAM, 'exec')).toMatchObject({ gpa: RAM });
  });
});

test('disassemble: guest memory as a fetch would find it, holes say so', () => {
  const l = lab('mov x0, #1\nret');
  expect(l.arch.disassemble(RAM, 2).map((d) => d.text)).toEqual(['mov x0, #0x1', 'ret']);
  expect(l.arch.disassemble(0x900_0000n, 1)[0]?.text).toBe('<unreadable>');
});

test('traced: entries, stage 2 faults, exceptions and exits appear in order; untraced: nothing', () => {
  const l = lab('svc #1\nwfi');
  l.run();
  expect(l.vm.trace.events()).toEqual([]);
  const t = lab('svc #1\nwfi');
  t.vm.traced = true;
  t.run();
  const events = t.vm.trace.events();
  expect(events.map((e) => e.name)).toContain('kvm_guest_fault');
  expect(events.find((e) => e.name === 'arm64_exception')).toMatchObject({
    vcpu: 0,
    offset: 0x200,
    esr: 0x5600_0001n,
    elr: RAM + 4n,
  });
  expect(events[0]).toMatchObject({ name: 'kvm_entry', pc: RAM });
  expect(events.filter((e) => e.name === 'kvm_exit').at(-1)).toMatchObject({ reason: 'wait' });
});
