/**
 * System instructions: exception generation, MRS and MSR, SYS and SYSL. Hints and barriers are in `hints.ts`.
 *
 * Most of them are slow operations of the vCPU (`slow.ts`). Fast are the registers that software reads all the time
 * ({@link SYSTEM_STATE} and NZCV), and DC ZVA.
 */
import type { Builder, Fields, StateVar } from '@faultyard/engine';
import { AccessClass } from '../memory/access-class.ts';
import { packFlags, unpackFlags } from './flags.ts';
import type { AsmLine, Bits, Derived, Feature, Form, Operand } from './form.ts';
import { GUARD_EL0, GUARD_SP_EL0, GUARD_ZVA } from './guards.ts';
import { field, type MemoryForm, source, target } from './memory-form.ts';
import { Slow } from './slow.ts';
import { systemKey } from './sysreg-names.ts';
import { SYSTEM_OPERATIONS } from './system-operations.ts';

/** System registers that generated code reads and writes itself (`Isa.state`). */
export const SYSTEM_STATE: Readonly<Record<string, StateVar>> = {
  tpidr_el0: { ty: 'i64' },
  tpidrro_el0: { ty: 'i64' },
  tpidr_el1: { ty: 'i64' },
  /** SP_EL0 while PSTATE.SP is 1; with PSTATE.SP 0 it is the current stack pointer and this is stale. */
  sp_el0: { ty: 'i64' },
};

/** Exception generation: one immediate, one slow operation. */
const exception = (name: string, opc: string, low: string, slow: number): Form => ({
  name,
  bits: `11010100 ${opc} imm16:16 000 ${low}`,
  ref: `C6.2 ${name}`,
  ends: true,
  asm: [{ text: `${name.toLowerCase()} #<imm16>` }],
  record: (b) => ({ imm: [field(b, 'imm16'), 0] }),
  sem: (b, f) => b.slow(slow, f.i64('imm')),
});

const EXCEPTIONS: readonly Form[] = [
  exception('SVC', '000', '01', Slow.Svc),
  exception('HVC', '000', '10', Slow.Hvc),
  exception('SMC', '000', '11', Slow.Smc),
  exception('BRK', '001', '00', Slow.Brk),
  exception('HLT', '010', '00', Slow.Hlt),
  {
    name: 'DCPS',
    cold: true,
    bits: '11010100 101 imm16:16 000 LL:2',
    ref: 'C6.2 DCPS1, DCPS2, DCPS3',
    when: (b) => b.LL !== 0,
    ends: true,
    split: ['LL'],
    asm: [1, 2, 3].map((LL) => ({ text: `dcps${LL} {#<imm16>}`, with: { LL } })),
    record: (b) => ({ x: field(b, 'LL'), imm: [field(b, 'imm16'), 0] }),
    sem: (b, f) => b.slow(Slow.Dcps, f.i64('x'), f.i64('imm')),
  },
  {
    name: 'UDF',
    cold: true,
    bits: '0000000000000000 imm16:16',
    ref: 'C6.2 UDF',
    ends: true,
    asm: [{ text: 'udf #<imm16:d>' }],
    record: () => ({}),
    sem: (b) => b.slow(Slow.Undefined),
  },
];

/** Key of the register or instruction that the fields name. */
const keyOf = (b: Bits): number =>
  systemKey(
    b.o0 === undefined ? 1 : 2 + b.o0,
    field(b, 'op1'),
    field(b, 'CRn'),
    field(b, 'CRm'),
    field(b, 'op2'),
  );

/** Operand `<sysreg>`: `sctlr_el1`, or `s3_0_c1_c0_0` for any other. */
const systemRegister: Operand = {
  expect: 'a system register such as sctlr_el1 or s3_0_c1_c0_0',
  print: (b, _pc, registers) => registers.name(keyOf(b)),
  parse: (c) => {
    const name = c.word();
    if (name === undefined) return undefined;
    const key = c.registers.key(name);
    if (key === undefined) return `${name} is not a system register`;
    if (key >> 14 < 2) return `${name} is a system instruction, not a register`;
    return {
      o0: (key >> 14) & 1,
      op1: (key >> 11) & 7,
      CRn: (key >> 7) & 15,
      CRm: (key >> 3) & 15,
      op2: key & 7,
    };
  },
};

/** A register with a fast path, and the guards that say when it must not be used. */
interface FastRegister {
  readonly place: readonly [op1: number, CRn: number, CRm: number, op2: number];
  /** State variable, or NZCV. */
  readonly state: keyof typeof SYSTEM_STATE | 'nzcv';
  readonly readGuard?: number;
  readonly writeGuard?: number;
}

const FAST: readonly FastRegister[] = [
  { place: [3, 4, 2, 0], state: 'nzcv' },
  { place: [3, 13, 0, 2], state: 'tpidr_el0' },
  { place: [3, 13, 0, 3], state: 'tpidrro_el0', writeGuard: GUARD_EL0 },
  { place: [0, 13, 0, 4], state: 'tpidr_el1', readGuard: GUARD_EL0, writeGuard: GUARD_EL0 },
  { place: [0, 4, 1, 0], state: 'sp_el0', readGuard: GUARD_SP_EL0, writeGuard: GUARD_SP_EL0 },
];

/** Whether the fields name `r`; it looks at no more fields than it must, so that the table's proofs stay small. */
const names = (b: Bits, { place: [op1, CRn, CRm, op2] }: FastRegister): boolean =>
  b.o0 === 1 && b.op1 === op1 && b.CRn === CRn && b.CRm === CRm && b.op2 === op2;

/** Handler constant `fast`: 1 + the register's place in {@link FAST}, 0 = a slow operation. */
const fastRegister: Readonly<Record<string, Derived>> = {
  fast: {
    values: [0, ...FAST.map((_, i) => i + 1)],
    of: (b) => 1 + FAST.findIndex((r) => names(b, r)),
  },
};

function readFast(b: Builder, f: Fields, r: FastRegister): void {
  if (r.readGuard !== undefined) b.guard(r.readGuard);
  b.set(f.slot('rd'), r.state === 'nzcv' ? packFlags(b) : b.read64(r.state));
}

function writeFast(b: Builder, f: Fields, r: FastRegister): void {
  if (r.writeGuard !== undefined) b.guard(r.writeGuard);
  const value = b.get(f.slot('rn'));
  if (r.state === 'nzcv') unpackFlags(b, value);
  else b.put(r.state, value);
}

const REGISTERS: readonly Form[] = [
  {
    name: 'MRS',
    bits: '1101010100 1 1 o0:1 op1:3 CRn:4 CRm:4 op2:3 Rt:5',
    ref: 'C6.2 MRS',
    derive: fastRegister,
    asm: [{ text: 'mrs <Xt>, <sysreg>' }],
    operands: { sysreg: systemRegister },
    record: (b) => ({ rd: target(field(b, 'Rt')), imm: [keyOf(b), 0] }),
    sem: (b, f, v) => {
      const fast = FAST[field(v, 'fast') - 1];
      if (fast) readFast(b, f, fast);
      else b.slow(Slow.Mrs, f.i64('imm'), f.i64('rd'));
    },
  },
  {
    name: 'MSR (register)',
    bits: '1101010100 0 1 o0:1 op1:3 CRn:4 CRm:4 op2:3 Rt:5',
    ref: 'C6.2 MSR (register)',
    derive: fastRegister,
    asm: [{ text: 'msr <sysreg>, <Xt>' }],
    operands: { sysreg: systemRegister },
    record: (b) => ({ rn: source(field(b, 'Rt')), imm: [keyOf(b), 0] }),
    sem: (b, f, v) => {
      const fast = FAST[field(v, 'fast') - 1];
      if (fast) writeFast(b, f, fast);
      else b.slow(Slow.Msr, f.i64('imm'), b.get(f.slot('rn')), f.i64('rn'));
    },
  },
];

/** The generic name of a PSTATE field with its value, `s0_0_c4_c2_5`: for values that a one-bit field does not have. */
const statePlace = (op1: number, op2: number): Operand => ({
  expect: `s0_${op1}_c4_c0_${op2} to s0_${op1}_c4_c15_${op2}`,
  print: (b) => `s0_${op1}_c4_c${field(b, 'CRm')}_${op2}`,
  parse: (c) => {
    const m = /^s0_(\d)_c4_c(\d\d?)_(\d)$/.exec(c.word() ?? '');
    return m && m[1] === `${op1}` && m[3] === `${op2}` && Number(m[2]) < 16
      ? { CRm: Number(m[2]) }
      : undefined;
  },
});

/** MSR (immediate) of one PSTATE field: one bit, or with `flags` the four DAIF bits. */
const stateField = (name: string, op1: number, op2: number, flags: boolean, feature?: Feature): Form => ({
  name: `MSR (immediate) ${name}`,
  bits: `1101010100 0 00 ${op1.toString(2).padStart(3, '0')} 0100 CRm:4 ${op2.toString(2).padStart(3, '0')} 11111`,
  ref: 'C6.2 MSR (immediate)',
  ...(feature ? { feature } : {}),
  asm: [
    { text: `msr ${name.toLowerCase()}, #<CRm>`, if: (b) => flags || field(b, 'CRm') < 2 },
    { text: 'msr <place>, xzr' },
  ],
  operands: { place: statePlace(op1, op2) },
  record: (b) => ({ x: (op1 << 3) | op2, y: field(b, 'CRm') }),
  sem: (b, f) => b.slow(Slow.MsrImm, f.i64('x'), f.i64('y')),
});

const STATE_FIELDS: readonly Form[] = [
  stateField('SPSel', 0, 5, false),
  stateField('DAIFSet', 3, 6, true),
  stateField('DAIFClr', 3, 7, true),
  stateField('PAN', 0, 4, false, 'pan'),
  stateField('UAO', 0, 3, false, 'uao'),
];

/** Operand `<cn>` or `<cm>`: `C7`. */
const controlRegister = (name: 'CRn' | 'CRm'): Operand => ({
  expect: 'C0 to C15',
  print: (b) => `C${field(b, name)}`,
  parse: (c) => {
    const m = /^c(\d\d?)$/.exec(c.word() ?? '');
    return m && Number(m[1]) < 16 ? { [name]: Number(m[1]) } : undefined;
  },
});

/** Syntax of the named system instructions. */
const operationLines: AsmLine[] = SYSTEM_OPERATIONS.map((o) => {
  const fixed = { op1: o.op1, CRn: o.CRn, CRm: o.CRm, op2: o.op2 };
  return o.register
    ? { text: `${o.mnemonic} ${o.name}, <Xt>`, with: fixed }
    : { text: `${o.mnemonic} ${o.name}`, with: { ...fixed, Rt: 31 } };
});

/** Whether the fields name DC ZVA. */
const isZva = (b: Bits): boolean => b.op1 === 3 && b.CRn === 7 && b.CRm === 4 && b.op2 === 1;

/** DC ZVA: zeroes the aligned 64-byte block around the address (DCZID_EL0.BS = 4). */
const ZVA: MemoryForm = {
  name: 'DC ZVA',
  bits: '1101010100 0 01 011 0111 0100 001 Rt:5',
  ref: 'C5.3 DC ZVA',
  asm: [{ text: 'dc zva, <Xt>' }],
  record: (b) => ({ rn: source(field(b, 'Rt')) }),
  access: (b) => ({ align: 1, far: source(field(b, 'Rt')) }),
  sem: (b, f) => {
    b.guard(GUARD_ZVA);
    const block = b.let(b.and(b.get(f.slot('rn')), b.c64(-64)));
    const zeroes = Array.from({ length: 8 }, () => b.c64(0));
    b.stores(8, block, zeroes, { cls: AccessClass.NoIsv | AccessClass.Zva });
  },
};

const OPERATIONS: readonly Form[] = [
  ZVA,
  {
    name: 'SYS',
    cold: true,
    bits: '1101010100 0 01 op1:3 CRn:4 CRm:4 op2:3 Rt:5',
    ref: 'C6.2 SYS, C5.3 to C5.5 (IC, DC, AT, TLBI)',
    when: (b) => !isZva(b),
    asm: [
      ...operationLines.filter((line) => line.text !== 'dc zva, <Xt>'),
      { text: 'sys #<op1:d>, <cn>, <cm>, #<op2:d>', with: { Rt: 31 } },
      { text: 'sys #<op1:d>, <cn>, <cm>, #<op2:d>, <Xt>' },
    ],
    operands: { cn: controlRegister('CRn'), cm: controlRegister('CRm') },
    record: (b) => ({ rn: source(field(b, 'Rt')), imm: [keyOf(b), 0] }),
    sem: (b, f) => b.slow(Slow.Sys, f.i64('imm'), b.get(f.slot('rn')), f.i64('rn')),
  },
  {
    name: 'SYSL',
    cold: true,
    bits: '1101010100 1 01 op1:3 CRn:4 CRm:4 op2:3 Rt:5',
    ref: 'C6.2 SYSL',
    asm: [{ text: 'sysl <Xt>, #<op1:d>, <cn>, <cm>, #<op2:d>' }],
    operands: { cn: controlRegister('CRn'), cm: controlRegister('CRm') },
    record: (b) => ({ rd: target(field(b, 'Rt')), imm: [keyOf(b), 0] }),
    sem: (b, f) => b.slow(Slow.Sysl, f.i64('imm'), f.i64('rd')),
  },
];

/** Rows of this chapter that access memory. */
export const systemAccesses: readonly MemoryForm[] = [ZVA];
/** Rows of this chapter. */
export const systemForms: readonly Form[] = [...EXCEPTIONS, ...REGISTERS, ...STATE_FIELDS, ...OPERATIONS];
