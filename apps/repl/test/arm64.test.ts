/** The built-in architecture and plugin in a session: the lines a newcomer types first. */
import { describe, expect, test } from 'vitest';
import { syndromeText } from '../src/architectures/arm64.ts';
import { program } from './commands.ts';

const POISONED = [
  'const { vm, cpu, asm } = lab.arm64({ plugins: [sea()] })',
  'load(0x4000_0000n, asm`ldr x1, [x2]; wfi`); cpu.x2 = 0x4000_2000n',
  'poison(0x4000_2000n)',
];

describe('a poisoned page', () => {
  test('capability on -> exit arm-sea; injected, the vector runs; healed from a snapshot, the load ends', async () => {
    const { out, err, status } = await program([], {
      input: [
        ...POISONED,
        "vm.enableCap('arm-sea-to-user')",
        'let e = run()',
        'const s = snap()',
        'load(0x4000_1200n, asm`mrs x5, esr_el1; wfi`, { pc: false }); cpu.vbar_el1 = 0x4000_1000n',
        "inject('sea'); run()",
        "regs('esr_el1')",
        'restore(s); heal(e.gpa); run()',
        'cpu.x1',
        'const told = match(e).with({ kind: "arm-sea", gpa: P.bigint }, (x) => hex(x.gpa)).otherwise((x) => x.kind)',
        'told',
      ].join('\n'),
    });
    expect(err).toBe('');
    const lines = out.trim().split('\n');
    expect(lines).toEqual([
      '0x40002000n',
      'arm-sea pc=0x40000000 flags=0x1 esr=0x92000010{DABT_LOW,EXTABT} gva=0x40002000 gpa=0x40002000',
      expect.stringMatching(/0x40001000n/),
      expect.stringMatching(/^intr pc=0x40001208 /),
      expect.stringMatching(/^esr_el1 0x0000000096000010 .*\{DABT_CUR,EXTABT\}$/),
      expect.stringMatching(/^intr pc=0x40000008 /),
      '0x0n',
      "'0x40002000'",
    ]);
    expect(status).toBe(0);
  }, 30_000);
  test('capability off -> no exit to userspace: the guest meets an SError', async () => {
    const { out } = await program([], {
      input: [
        ...POISONED,
        'load(0x4000_1380n, asm`wfi`, { pc: false }); cpu.vbar_el1 = 0x4000_1000n; cpu.pstate = 5n',
        'run()',
        "regs('esr_el1')",
      ].join('\n'),
    });
    expect(out).toMatch(/^intr pc=0x40001384 /m);
    expect(out).toMatch(/^esr_el1 .*\{SERROR\}$/m);
  }, 30_000);
});

describe('a syndrome in words', () => {
  test.each([
    [0x92000010n, 'DABT_LOW,EXTABT'],
    [0x96000050n, 'DABT_CUR,EXTABT,WnR'],
    [0x82000017n, 'IABT_LOW,SEA_TTW3'],
    [0x92000410n, 'DABT_LOW,EXTABT,FnV'],
    [0x92000150n, 'DABT_LOW,EXTABT,CM,WnR'],
    [0x96000094n, 'DABT_CUR,SEA_TTW0,S1PTW'],
    [0x92000007n, 'DABT_LOW,FAULT3'],
    [0xbf000000n, 'SERROR'],
    [0x56000000n, 'SVC64'],
  ])('%s', (esr, text) => {
    expect(syndromeText(esr)).toBe(text);
  });
});

test('help of a mnemonic -> every syntax with its section of the manual', async () => {
  const { out, status } = await program([], { input: "help('ldxr')\nhelp('b.cond')" });
  expect(out).toMatch(/^ldxr {2}\(instruction of arm64\)\n {2}ldxr <Wt>, \[<Xn\|SP>\] +C6\.2 LDXR/);
  expect(out).toMatch(/b\.<cond> <label/);
  expect(status).toBe(0);
});
