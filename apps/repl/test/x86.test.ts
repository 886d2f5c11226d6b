/** x86 in a session: what a newcomer types on it, and what is said about mistakes. */
import { describe, expect, test } from 'vitest';
import { program } from './commands.ts';

/** Lines of output of a session that has no errors. */
async function session(...input: string[]): Promise<string[]> {
  const { out, err } = await program([], { input: input.join('\n') });
  expect(err).toBe('');
  return out.trimEnd().split('\n');
}

/** What a line's error says. */
async function mistake(...input: string[]): Promise<string> {
  const { err, status } = await program([], { input: input.join('\n') });
  expect(status).toBe(1);
  return err.trim();
}

describe('a machine in long mode', () => {
  test('code that uses ports -> a listing of bytes, io exits with the port by name, the answer in a part of RAX', async () => {
    const lines = await session(
      'const { vm, cpu, asm } = lab.x86()',
      'cpu.rax = 0x1122n; cpu.edx = 0x3f8n',
      'load(0x1000, asm`out dx, al; in al, dx; hlt`)',
      'dis(0x1000, 3)',
      'run()',
      'const e = run()',
      'cpu.answer(e, 0x41)',
      'run()',
      'cpu.ah; cpu.al',
      'cpu.rax',
    );
    expect(lines).toEqual([
      '0x3f8n',
      '0x00001000  ee ec f4                                         |...|',
      '> 0x00001000  ee        out dx, al',
      '  0x00001001  ec        in al, dx',
      '  0x00001002  f4        hlt',
      'io pc=0x1000 port=0x3f8{COM1} size=1 write=true count=1 data=[0x22]',
      'io pc=0x1001 port=0x3f8{COM1} size=1 write=false count=1',
      'hlt pc=0x1003',
      '0x41n',
      '0x1141n',
    ]);
  }, 30_000);

  test('memory -> a walk of four levels with a 2 MiB page; beyond it a fault', async () => {
    const lines = await session('const { cpu } = lab.x86()', 'walk(0x1000)', 'walk(0x5_0000_0000n)');
    expect(lines[0]).toBe('walk of 0x1000');
    expect(lines.slice(1, 4).map((l) => l.slice(0, 9))).toEqual(['  level 4', '  level 3', '  level 2']);
    expect(lines[4]).toMatch(/^ {2}gpa 0x1000 .*\bsize=2097152\b/);
    expect(lines.at(-1)).toMatch(/^ {2}#PF/);
  }, 30_000);

  test('registers by their bits; an exception without IDT -> shutdown, and the vCPU is reset as KVM does on AMD', async () => {
    const lines = await session("lab.x86(); regs('cr0')", "regs('cs.attr')", 'load(0x1000, asm`ud2`); run()');
    expect(lines[0]).toMatch(/^cr0 0x0000000080010033 .*\bPG\b.*\bPE\b/);
    expect(lines[1]).toMatch(/^cs.attr 0x0+a9b/);
    expect(lines[2]).toMatch(/^shutdown pc=0xfff0 why=triple fault/);
  }, 30_000);

  test('a poisoned or missing page, a snapshot and a fork -> as on any machine', async () => {
    const lines = await session(
      'const { vm, cpu, asm } = lab.x86()',
      'load(0x1000, asm`mov rax, [rbx]; hlt`); cpu.rbx = 0x5000_0000n',
      'const s = snap(); run()',
      'restore(s); cpu.rbx = 0x3000n; run()',
      'const f = vm.fork(); f.vcpus[0].ebx',
      'use(f).cpu.pc',
    );
    expect(lines.slice(1)).toEqual([
      expect.stringMatching(/^mmio pc=0x1000 gpa=0x50000000 size=8 write=false/),
      'hlt pc=0x1004',
      '0x3000n',
      '0x1004n',
    ]);
  }, 30_000);
});

describe('other modes', () => {
  test('start: real -> asm is 16-bit, an interrupt from userspace goes through the vector table', async () => {
    const lines = await session(
      "const { vm, cpu, asm } = lab.x86({ start: 'real' })",
      'load(0x7c00, asm`sti; hlt; mov cx, 1; hlt`)',
      'load(0x600, asm`mov bx, 0x55aa; iret`, { pc: false }); vm.write(4 * 0x20, new Uint8Array([0, 6, 0, 0]))',
      'run()',
      "inject('interrupt', { vector: 0x20 }); run()",
      'cpu.bx',
      'cpu.ecx',
    );
    expect(lines[0]).toMatch(/ fb f4 b9 01 00 f4 /);
    expect(lines.slice(1)).toEqual(['hlt pc=0x7c02', 'hlt pc=0x7c06', '0x55aan', '0x1n']);
  }, 30_000);

  test('start: protected and reset -> 32-bit code in flat segments; the reset vector', async () => {
    const lines = await session(
      "lab.x86({ start: 'protected' }); load(0x1000, asm`push 5; pop eax; hlt`); run()",
      "cpu.eax + cpu['cs.base']",
      "lab.x86({ start: 'reset' }); hex(cpu['cs.base'] + cpu.rip)",
    );
    expect(lines).toEqual(['hlt pc=0x1004', '0x5n', "'0xfffffff0'"]);
  }, 30_000);
});

describe('help and mistakes', () => {
  test('help of a mnemonic, by any of its spellings -> every form with its opcode', async () => {
    const lines = await session("help('jz')");
    expect(lines[0]).toBe('je  (instruction of x86)');
    expect(lines).toContainEqual(expect.stringMatching(/^ {2}JE rel32 +o64 0F 84 cd$/));
  }, 30_000);

  test('help of a scenario, and of a knob that only scenarios have -> what they can be set to', async () => {
    const lines = await session("help('sea/1')", "help('sea.threshold')");
    expect(lines).toContain("  knobs: run('sea/1', { set: { <knob>: <value> } })");
    expect(lines).toContainEqual(expect.stringMatching(/^ {4}threshold +1\.\.1000000 \(default 1\)$/));
    expect(lines).toContain('sea.threshold  (knob of the scenarios of sea)');
  }, 30_000);

  test('members of lab -> the architectures and nothing else, for completion', async () => {
    const lines = await session("['hasOwnProperty' in lab, ...Object.keys(lab)].join()");
    expect(lines).toEqual(["'false,arm64,x86'"]);
  }, 30_000);

  test.each([
    [
      'an unknown start',
      "lab.x86({ start: 'reel' })",
      /^unknown start "reel"; did you mean real\?\nlab\.x86 starts in one of: long/,
    ],
    [
      'an unknown architecture',
      'lab.arm65()',
      /did you mean lab\.arm64\?\narchitectures: lab\.arm64\(\) lab\.x86\(\)$/,
    ],
    [
      'one that is like none',
      'lab.riscv()',
      /^TypeError: lab\.riscv is not a function\narchitectures: lab\.arm64/,
    ],
    ['a part of a register', 'lab.x86().cpu.eex = 1n', /did you mean eax or /],
    [
      'assembly',
      'lab.x86(); load(0x1000, asm`mvo eax, 1`)',
      /^line 1, column 1: unknown instruction "mvo"; did you mean mov\?/,
    ],
    [
      'an interrupt without vector',
      "lab.x86(); inject('interrupt')",
      /inject\('interrupt', \{ vector: 0x20 \}\)$/,
    ],
    ['a snapshot that is none', 'lab.x86(); restore(3)', /^restore takes what snap\(\) returned, not 3\n/],
    [
      'a capability of a plugin',
      "lab.arm64(); vm.enableCap('arm-sea-to-user')",
      /\nthe plugin sea brings it: lab\.arm64\(\{ plugins: \[sea\(\)\] \}\)$/,
    ],
    [
      'memory without room for tables',
      'lab.x86({ memslots: [{ gpa: 0n, size: 0x1000n }] })',
      /^no memslot of 256 KiB lies below 4 GiB/,
    ],
  ])(
    '%s -> an error that says what to do',
    async (_what, input, says) => {
      expect(await mistake(input)).toMatch(says);
    },
    30_000,
  );
});
