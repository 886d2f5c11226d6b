/** What plugins add to the CPU: instructions, system registers, guards; and every mistake in them by name. */
import {
  type AnyPlugin,
  createVm,
  definePlugin,
  type FaultyardError,
  HostMemory,
  type SetupCtx,
} from '@faultyard/core';
import { afterAll, describe, expect, test } from 'vitest';
import {
  type Arm64Vcpu,
  arm64,
  assemble,
  disassemble,
  type Form,
  field,
  guards,
  instructions,
  intercept,
  type MemoryForm,
  type SysregDef,
  source,
  systemRegisters,
  target,
} from '../src/index.ts';

const RAM = 0x4000_0000n;
const GUARD = 16;
const host = new HostMemory();
const open: { dispose(): void }[] = [];
afterAll(() => {
  for (const vm of open) vm.dispose();
});

/** Counts ones; asks the guard. */
const POP: Form = {
  name: 'ACME POP',
  bits: '0000 0001 0000 0000 0000 00 Rn:5 Rd:5',
  ref: 'test',
  asm: [{ text: 'acmepop <Xd>, <Xn>' }],
  record: (b) => ({ rd: target(field(b, 'Rd')), rn: source(field(b, 'Rn')) }),
  sem: (b, f) => {
    b.guard(GUARD);
    b.set(f.slot('rd'), b.popcnt(b.get(f.slot('rn'))));
  },
};
/** Loads a 32-bit word. */
const LOAD: MemoryForm = {
  name: 'ACME LOAD',
  bits: '0000 0001 0000 0000 0000 01 Rn:5 Rd:5',
  ref: 'test',
  asm: [{ text: 'acmeload <Wd>, [<Xn>]' }],
  record: (b) => ({ rd: target(field(b, 'Rd')), rn: source(field(b, 'Rn')) }),
  access: (b) => ({ align: 4, syndrome: { sas: 2, sse: false, srt: field(b, 'Rd'), sf: false, ar: false } }),
  sem: (b, f) => b.set(f.slot('rd'), b.extU(b.load(4, b.get(f.slot('rn'))))),
};
const CTL: SysregDef = {
  name: 'ACME_CTL_EL1',
  enc: [3, 0, 15, 2, 0],
  doc: 'bit 0: the guard',
  el1: 'rw',
  mask: 0xffn,
  value: 0x10n,
  changed: (c, lo) => c.setGuard(GUARD, (lo & 1) !== 0),
};
const DATA: SysregDef = {
  name: 'ACME_DATA_EL1',
  enc: [3, 0, 15, 2, 1],
  doc: 'guarded',
  el1: 'rw',
  guard: GUARD,
};

const plugin = (name: string, setup: (ctx: SetupCtx) => void): AnyPlugin =>
  definePlugin({ name, core: '^1.0.0', needs: ['arm64'], setup: (ctx) => void setup(ctx) });
const acme = (answer: 'skip' | 'undefined-instruction' | 'none' = 'none', seen: string[] = []): AnyPlugin =>
  plugin('acme', (ctx) => {
    ctx.contribute(guards, () => [{ bit: GUARD, doc: 'ACME_CTL_EL1 bit 0' }]);
    ctx.contribute(instructions, () => [POP, LOAD]);
    ctx.contribute(systemRegisters, () => [CTL, DATA]);
    ctx.contribute(intercept, ({ guard, word }) => {
      seen.push(`${guard} ${word.toString(16)}`);
      return answer === 'none' ? undefined : answer;
    });
  });

function lab(code: string, ...plugins: AnyPlugin[]) {
  const arch = arm64();
  const vm = createVm({ arch, plugins, host, memslots: [{ gpa: RAM, size: 0x1_0000n }] });
  open.push(vm);
  const { table } = vm.api(arch);
  vm.write(RAM, assemble(code, { table, origin: RAM }).bytes);
  const cpu = vm.vcpus[0] as NonNullable<(typeof vm.vcpus)[0]>;
  cpu.pc = RAM;
  return { vm, cpu, table };
}

/** What `f` throws, if it is a typed error. */
function refusal(f: () => unknown): string {
  try {
    f();
  } catch (e) {
    if ((e as Error).name !== 'FaultyardError') throw e;
    return (e as FaultyardError).message;
  }
  return 'nothing';
}
const making = (...plugins: AnyPlugin[]): string =>
  refusal(() => open.push(createVm({ arch: arm64(), plugins, host })));

describe('a row of a plugin', () => {
  test('its text -> the VM assembles, runs and disassembles it; another VM does not know it', () => {
    const { cpu, table } = lab('mov x1, #0xff0\nacmepop x0, x1\nwfi', acme());
    expect(cpu.run().kind).toBe('intr');
    expect(cpu.get('x0')).toBe(8n);
    expect(cpu.arch.disassemble(RAM + 4n, 1)[0]?.text).toBe('acmepop x0, x1');
    expect(disassemble(table, 0x0100_0020)).toBe('acmepop x0, x1');
    expect(disassemble(lab('wfi').table, 0x0100_0020)).toBe('.inst 0x01000020');
  });

  test('an access to a hole -> exit mmio with its size, its answer completes it; MMU off: alignment is checked', () => {
    const { cpu } = lab('acmeload w3, [x1]\nwfi', acme());
    cpu.set('x1', 0x900_0004n);
    const e = cpu.run();
    expect(e).toMatchObject({ kind: 'mmio', size: 4, gpa: 0x900_0004n, write: false });
    cpu.answer(e, 0x8000_0001n);
    expect(cpu.run().kind).toBe('intr');
    expect(cpu.get('x3')).toBe(0x8000_0001n);
    const misaligned = lab('acmeload w3, [x1]', acme()).cpu;
    misaligned.set('x1', RAM + 2n);
    misaligned.run(1);
    expect(misaligned.get('esr_el1') & 0x3fn).toBe(0x21n);
  });
});

describe('a register of a plugin', () => {
  const code = 'mov x1, #-1\nmsr acme_ctl_el1, x1\nmrs x2, s3_0_c15_c2_0\nwfi';

  test('MSR of ones -> RES0 bits stay 0; it is named in disassembly, reset, saved, hashed and one of ONE_REG', () => {
    const { vm, cpu } = lab(code, acme());
    expect(cpu.get('acme_ctl_el1')).toBe(0x10n);
    const before = vm.stateHash();
    const s = vm.snapshot();
    cpu.run();
    expect(cpu.get('x2')).toBe(0xffn);
    expect(cpu.arch.disassemble(RAM + 8n, 1)[0]?.text).toBe('mrs x2, acme_ctl_el1');
    expect(cpu.op('get-one-reg', { id: 0x6030_0000_0013_c790n })).toBe(0xffn);
    vm.restore(s);
    expect(cpu.get('acme_ctl_el1')).toBe(0x10n);
    expect(vm.stateHash()).toBe(before);
    cpu.set('acme_ctl_el1', 0x20);
    expect(vm.stateHash()).not.toBe(before);
    cpu.op('arm-vcpu-init', {});
    expect(cpu.get('acme_ctl_el1')).toBe(0x10n);
    s.dispose();
  });

  test('EL0 -> UNDEFINED: it has no el0', () => {
    const { cpu } = lab('mrs x2, acme_ctl_el1', acme());
    cpu.set('pstate', 0);
    cpu.run(1);
    expect(cpu.get('esr_el1') >> 26n).toBe(0n);
    expect(cpu.get('elr_el1')).toBe(RAM);
  });
});

describe('a guard of a plugin', () => {
  const code = 'mov x1, #1\nmsr acme_ctl_el1, x1\nmov x0, #7\nacmepop x0, x1\nmrs x2, acme_data_el1\nwfi';

  test('nobody answers -> UNDEFINED at the instruction', () => {
    const seen: string[] = [];
    const { cpu } = lab(code, acme('none', seen));
    cpu.run(4);
    expect(seen).toEqual(['16 1000020']);
    expect(cpu.get('elr_el1')).toBe(RAM + 12n);
    expect(cpu.get('esr_el1') >> 26n).toBe(0n);
  });

  test('skip -> instruction and MRS are retired without effect, each counted once', () => {
    const seen: string[] = [];
    const { cpu } = lab(code, acme('skip', seen));
    cpu.set('x2', 9);
    expect(cpu.run().kind).toBe('intr');
    expect(seen).toEqual(['16 1000020', '16 d538f222']);
    expect([cpu.get('x0'), cpu.get('x2'), cpu.pc, cpu.retired]).toEqual([7n, 9n, RAM + 24n, 6]);
  });

  test('reset of the register that drives it -> the guard follows', () => {
    const { cpu } = lab(code, acme('skip'));
    cpu.run();
    expect((cpu.arch as Arm64Vcpu).guarded(GUARD)).toBe(true);
    cpu.op('arm-vcpu-init', {});
    expect((cpu.arch as Arm64Vcpu).guarded(GUARD)).toBe(false);
  });
});

describe('mistakes of a plugin, when the VM is made', () => {
  const zeta = (what: (ctx: SetupCtx) => void): AnyPlugin => plugin('zeta', what);
  const rows = (form: Partial<Form>): AnyPlugin =>
    zeta((c) => c.contribute(instructions, () => [{ ...POP, ...form }]));
  const regs = (def: Partial<SysregDef>): AnyPlugin =>
    zeta((c) => c.contribute(systemRegisters, () => [{ ...CTL, ...def }]));
  const claim = (bit: number): AnyPlugin => zeta((c) => c.contribute(guards, () => [{ bit, doc: '' }]));

  test.each([
    [
      'a word of the architecture',
      () => making(rows({ bits: '1101 0101 0000 0011 0010 0000 000 Rn:5' })),
      /^FY_PLUGIN_CLASH: instruction word 0xd50320\w\w is defined by both zeta \(row "ACME POP", .*\) and arm64 \(row "/,
    ],
    [
      'a word of another plugin',
      () => making(acme(), rows({ name: 'ZETA' })),
      /^FY_PLUGIN_CLASH: instruction word 0x01000000 is defined by both zeta \(row "ZETA", .*\) and acme \(row "ACME POP"/,
    ],
    [
      "another row's name",
      () => making(acme(), rows({ bits: '0000 0001 1000 0000 0000 00 Rn:5 Rd:5' })),
      /^FY_PLUGIN_CLASH: instruction row ACME POP is defined by both zeta and acme; rename one/,
    ],
    [
      '31 bits',
      () => making(rows({ bits: '0 n:30' })),
      /^FY_PLUGIN_INVALID: plugin zeta: row "ACME POP": .*31 bits/,
    ],
    [
      'an operand that nobody knows',
      () => making(rows({ asm: [{ text: 'zeta <colour>' }] })),
      /^FY_PLUGIN_INVALID: plugin zeta: row "ACME POP": <colour> is neither/,
    ],
    [
      'a meaning that asks for a field the record lacks',
      () => making(rows({ name: 'ZETA', sem: (b, f) => b.set(f.slot('rx'), b.c64(0)) })),
      /^FY_PLUGIN_INVALID: plugin zeta: row "ZETA": .*no record field "rx"/,
    ],
    [
      "the architecture's encoding",
      () => making(regs({ enc: [3, 0, 1, 0, 0] })),
      /^FY_PLUGIN_CLASH: system register ACME_CTL_EL1 \(3, 0, 1, 0, 0\) is defined by both zeta and arm64 \(SCTLR_EL1\)/,
    ],
    [
      "another plugin's encoding",
      () => making(acme(), regs({ name: 'ZETA_EL1' })),
      /^FY_PLUGIN_CLASH: system register ZETA_EL1 .* both zeta and acme \(ACME_CTL_EL1\)/,
    ],
    [
      "another plugin's name",
      () => making(acme(), regs({ enc: [3, 0, 15, 7, 7] })),
      /^FY_PLUGIN_CLASH: system register ACME_CTL_EL1 .* both zeta and acme/,
    ],
    [
      'an op0 of 1',
      () => making(regs({ enc: [1, 0, 0, 0, 0] as never })),
      /^FY_PLUGIN_INVALID: .* op0 is 2 or 3/,
    ],
    [
      'the name of a general register',
      () => making(regs({ name: 'PC' })),
      /^FY_PLUGIN_INVALID: .*cannot be written/,
    ],
    [
      "the manual's name of another",
      () => making(regs({ name: 'VPIDR_EL2' })),
      /^FY_PLUGIN_INVALID: .*of the manual/,
    ],
    ['a slot', () => making(regs({ slot: 3 })), /^FY_PLUGIN_INVALID: .*it gets one of its own/],
    [
      'a guard it did not claim',
      () => making(regs({ guard: 17 })),
      /^FY_PLUGIN_INVALID: .*guard bit 17, which it did/,
    ],
    [
      "one of the architecture's guards",
      () => making(claim(3)),
      /^FY_PLUGIN_INVALID: .*guard bit 3; plugins have 16/,
    ],
    [
      'a claimed guard',
      () => making(acme(), claim(16)),
      /^FY_PLUGIN_CLASH: guard bit 16 is defined by both zeta and acme/,
    ],
  ])('%s -> refused by name', (_, made, says) => {
    expect(made()).toMatch(says);
  });

  test('setGuard of a bit that nobody claimed -> FY_ARGUMENT', () => {
    const { cpu } = lab('wfi', acme());
    expect(refusal(() => (cpu.arch as Arm64Vcpu).setGuard(20, true))).toMatch(
      /^FY_ARGUMENT: guard bit 20 is claimed by no plugin; claim it at the point arm64.guards/,
    );
  });
});
