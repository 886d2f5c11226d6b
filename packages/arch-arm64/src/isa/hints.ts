/**
 * Hints and barriers. One thread runs all vCPUs in program order, so memory barriers do nothing; hints that another vCPU
 * or an interrupt can answer, and ISB, are slow operations of the vCPU.
 */
import type { Form, Operand } from './form.ts';
import { field } from './memory-form.ts';
import { Slow } from './slow.ts';

/** A hint that the vCPU acts on. */
const slowHint = (name: string, hint: number, slow: number): Form => ({
  name,
  bits: `11010101000000110010 ${hint.toString(2).padStart(7, '0')} 11111`,
  ref: `C6.2 ${name}`,
  asm: [{ text: name.toLowerCase() }],
  record: () => ({}),
  sem: (b) => b.slow(slow),
});

/* ESB is a hint: without FEAT_RAS the vCPU retires it as one. */
const SLOW_HINTS: readonly Form[] = [
  slowHint('YIELD', 1, Slow.Yield),
  slowHint('WFE', 2, Slow.Wfe),
  slowHint('WFI', 3, Slow.Wfi),
  slowHint('SEV', 4, Slow.Sev),
  slowHint('SEVL', 5, Slow.Sevl),
  slowHint('ESB', 16, Slow.Esb),
];

/** Hints with a name that do nothing on an Armv8.0 PE, pointer authentication and branch targets among them. */
const HINT_NAMES: Readonly<Record<number, string>> = {
  0: 'nop',
  7: 'xpaclri',
  8: 'pacia1716',
  10: 'pacib1716',
  12: 'autia1716',
  14: 'autib1716',
  17: 'psb csync',
  18: 'tsb csync',
  20: 'csdb',
  24: 'paciaz',
  25: 'paciasp',
  26: 'pacibz',
  27: 'pacibsp',
  28: 'autiaz',
  29: 'autiasp',
  30: 'autibz',
  31: 'autibsp',
  32: 'bti',
  34: 'bti c',
  36: 'bti j',
  38: 'bti jc',
};

const HINT: Form = {
  name: 'HINT',
  bits: '11010101000000110010 hint:7 11111',
  ref: 'C6.2 HINT, NOP, CSDB, PSB CSYNC',
  when: (b) => b.hint !== 16 && (b.hint === 0 || field(b, 'hint') > 5),
  asm: [
    ...Object.entries(HINT_NAMES).map(([hint, text]) => ({ text, with: { hint: Number(hint) } })),
    { text: 'hint #<hint>' },
  ],
  record: () => ({}),
  sem: () => {},
};

/** Names of barrier domains and types by CRm. */
const BARRIERS: Readonly<Record<number, string>> = {
  1: 'oshld',
  2: 'oshst',
  3: 'osh',
  5: 'nshld',
  6: 'nshst',
  7: 'nsh',
  9: 'ishld',
  10: 'ishst',
  11: 'ish',
  13: 'ld',
  14: 'st',
  15: 'sy',
};

/** Operand `<barrier>`: a domain and type, or `#0x08`. */
const barrier: Operand = {
  expect: 'a barrier option such as ish or sy, or a number from 0 to 15',
  print: (b) => BARRIERS[field(b, 'CRm')] ?? `#0x${field(b, 'CRm').toString(16).padStart(2, '0')}`,
  parse: (c) => {
    const word = c.word();
    const n = word === undefined ? c.number() : undefined;
    if (n !== undefined)
      return n < 0n || n > 15n ? 'a barrier option is a number from 0 to 15' : { CRm: Number(n) };
    const named = Object.entries(BARRIERS).find(([, name]) => name === word);
    return named && { CRm: Number(named[0]) };
  },
};

const MEMORY_BARRIERS: readonly Form[] = [
  {
    name: 'DSB',
    bits: '11010101000000110011 CRm:4 100 11111',
    ref: 'C6.2 DSB, SSBB, PSSBB',
    asm: [{ text: 'ssbb', with: { CRm: 0 } }, { text: 'pssbb', with: { CRm: 4 } }, { text: 'dsb <barrier>' }],
    operands: { barrier },
    record: () => ({}),
    sem: () => {},
  },
  {
    name: 'DMB',
    bits: '11010101000000110011 CRm:4 101 11111',
    ref: 'C6.2 DMB',
    asm: [{ text: 'dmb <barrier>' }],
    operands: { barrier },
    record: () => ({}),
    sem: () => {},
  },
  {
    name: 'ISB',
    bits: '11010101000000110011 CRm:4 110 11111',
    ref: 'C6.2 ISB',
    ends: true,
    asm: [
      { text: 'isb', with: { CRm: 15 } },
      { text: 'isb sy', with: { CRm: 15 }, asmOnly: true },
      { text: 'isb #<CRm>' },
    ],
    record: () => ({}),
    sem: (b) => b.slow(Slow.Isb),
  },
  {
    name: 'SB',
    bits: '11010101000000110011 0000 111 11111',
    ref: 'C6.2 SB',
    feature: 'sb',
    asm: [{ text: 'sb' }],
    record: () => ({}),
    sem: () => {},
  },
];

/** Rows of this chapter. */
export const hintForms: readonly Form[] = [...SLOW_HINTS, HINT, ...MEMORY_BARRIERS];
