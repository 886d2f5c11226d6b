import { describe, expect, test } from 'vitest';
import { command } from './commands.ts';

const MACHINE = 'const { vm, cpu, asm } = lab.abacus({ plugins: [] })';

/** What a session prints for a line, with a machine made before. */
async function ask(line: string, ...before: string[]): Promise<string> {
  const { out, err } = await command([], { input: [MACHINE, ...before, line].join('\n') });
  return out + err;
}

describe('help', () => {
  test('alone -> every session function and command with a sentence', async () => {
    const text = await ask('help()');
    for (const name of ['lab', 'load', 'run', 'snap', 'inject', 'matrix', 'save', 'list', 'script'])
      expect(text).toMatch(new RegExp(`^  ${name} +[A-Z\\w].*[.\\w]$`, 'm'));
  });
  test.each([
    ['help(run)', /Steps the current machine to its next exit/],
    ["help('script')", /script <file>/],
    ["help('abacus')", /an architecture that counts[\s\S]*abacus\.onPoison {2}\(knob\)/],
    [
      "help('abacus.onPoison')",
      /what a load from a poisoned page does\n.*values: exit · zero {3}default: exit/,
    ],
    ["help('onPoison')", /abacus\.onPoison/],
    ["help('abacus/load')", /abacus\/1 {2}\(scenario\)[\s\S]*loads from a bad page/],
    ["help('status')", /system register, 64 bits[\s\S]*BAD 0, WHY 7:4/],
    ["help('memory-fault')", /KVM_EXIT_MEMORY_FAULT/],
    ["help('KVM_EXIT_MMIO')", /^mmio {2}\(exit\)/],
    ["help('KVM_GET_ONE_REG')", /^get-one-reg {2}\(operation\)/],
    [
      'help(cpu)',
      /cancelDevice +Forgets a pending device access \(an injected abort cancels it, KVM: inject_fault\.c\)\./,
    ],
    ["help('enable-cap')", /KVM_ENABLE_CAP/],
    ['help(vm)', /Vm {2}\(class\)[\s\S]*snapshot/],
    ['help(vm.memslots)', /Memslots {2}\(class\)/],
    ['help(cpu.run)', /Vcpu\.run\n[\s\S]*One KVM_RUN/],
    ["help('vm.poison')", /Vm\.poison/],
    ["help('createVm')", /Makes a VM/],
    ['help(gpa)', /guest physical address/i],
    ["help('FY_KNOB_UNKNOWN')", /unknown knob \{knob\}\n.*what to do: /],
    ["help('onPoisn')", /no help on "onPoisn"; did you mean onPoison/],
    ['help(3)', /takes a function, an object or a name, not 3/],
  ])('%s', async (line, pattern) => {
    expect(await ask(line)).toMatch(pattern);
  });
  test('of an exit -> what KVM means by it', async () => {
    expect(await ask('help(e)', 'load(0x4000_0000, asm`halt`)', 'const e = run()')).toMatch(/KVM_EXIT_HLT/);
  });
});

describe('what prints itself', () => {
  test('an exit -> kind, pc, payload in hexadecimal, errno', async () => {
    const text = await ask(
      'run()',
      'load(0x4000_0000, asm`load`); cpu.r2 = 0x4000_1000n',
      'poison(0x4000_1000)',
    );
    expect(text).toContain(
      'memory-fault pc=0x40000000 flags=0x0 gpa=0x40001000 size=0x1000 ret=-1/EHWPOISON',
    );
  });
  test('registers -> by group, name and pattern, with fields', async () => {
    expect(await ask("regs('status')", 'cpu.status = 0x31n')).toContain(
      'status 0x0000000000000031  BAD WHY=0x3',
    );
    expect(await ask("regs('r*')")).toMatch(/r0 +0x0+ +r1 +0x0+ +r2 +0x0+/);
  });
  test('memory -> a hex dump with equal lines folded', async () => {
    const text = await ask('mem(0x4000_0000, 80)', 'load(0x4000_0000, asm`inc; inc`)');
    expect(text).toContain(
      '0x40000000  01 01 00 00 00 00 00 00  00 00 00 00 00 00 00 00 |................|\n',
    );
    expect(text).toMatch(/^\*\n0x40000040/m);
  });
  test('instructions -> a listing that marks the next one', async () => {
    const text = await ask('dis(0x4000_0000, 2)', 'load(0x4000_0000, asm`inc; halt`)', 'run(1)');
    expect(text).toMatch(/^ {2}0x40000000 {2}01 +inc\n> 0x40000001 {2}00 +halt$/m);
  });
  test('a walk -> a line a level and where it leads', async () => {
    expect(await ask('walk(0x1234)')).toMatch(
      /level 0 {2}\[0x00000010\] = 0x0000000000001235 {2}identity\n {2}gpa 0x1234/,
    );
  });
  test('a VM, a vCPU, a snapshot, the trace -> a few lines, not their insides', async () => {
    expect(await ask('vm')).toMatch(
      /^Vm abacus, plugins abacus\n {2}memslot 0 {2}0x40000000\.\.0x44000000 {2}64 MiB/m,
    );
    expect(await ask('cpu')).toMatch(/^Vcpu 0\n.*r0/m);
    expect(await ask('snap()')).toMatch(/^Snapshot at 0 ns, pc=0x0$/m);
    expect(await ask('trace()', 'load(0x4000_0000, asm`halt`)', 'run()')).toMatch(
      /kvm_userspace_exit kind=hlt ret=0/,
    );
  });
});

describe('what the lab refuses', () => {
  test('a register that does not exist -> an error, not a new property', async () => {
    expect(await ask('cpu.r9 = 3n')).toContain('Cannot add property r9');
  });
  test('work without a machine -> how to make one', async () => {
    const { err, status } = await command([], { input: 'run()' });
    expect(err).toContain('make one: const { vm, cpu, asm } = lab.abacus()');
    expect(status).toBe(1);
  });
  test('an unknown event -> the known ones', async () => {
    expect(await ask("inject('bumb')")).toMatch(
      /unknown event "bumb"; did you mean bump\?\nevents of abacus: bump/,
    );
  });
  test('an option that neither a VM nor the architecture has -> the known ones', async () => {
    expect(await ask('lab.abacus({ vcpu: 2 })')).toMatch(
      /unknown option "vcpu"; did you mean vcpus\?\noptions of lab\.abacus: plugins/,
    );
  });
  test('a knob that does not exist -> those that do', async () => {
    expect(await ask('lab.abacus({ set: { onPoisn: 1 } })')).toContain('knobs here: abacus.onPoison');
  });
});

describe('machines', () => {
  test('an event -> reaches the vCPU', async () => {
    expect(await ask('cpu.r0', "inject('bump')")).toContain('0x64n');
  });
  test('two of them -> the functions work on the last, or on the one that is used', async () => {
    const lines = ['load(0x4000_0000, asm`inc; halt`); run()', 'const b = lab.abacus()', 'b.cpu.r0 = 7n'];
    expect(await ask('use({ vm, cpu, asm }); regs("r0")', ...lines)).toContain('r0 0x0000000000000001');
    expect(await ask('regs("r0")', ...lines)).toContain('r0 0x0000000000000007');
  });
  test('a fork -> has registers of its own, and can be used', async () => {
    const lines = [
      'load(0x4000_0000, asm`inc; halt`)',
      'const f = vm.fork()',
      'f.vcpus[0].r0 = 9n; use(f); run()',
    ];
    expect(await ask('[cpu.r0, f.vcpus[0].r0].join()', ...lines)).toContain("'0,10'");
  });
  test('a snapshot -> brings registers and memory back', async () => {
    const lines = [
      'load(0x4000_0000, asm`inc; halt`)',
      'const s = snap()',
      'run(); vm.poke(0x4000_0100, 5n)',
      'restore(s)',
    ];
    expect(await ask('[cpu.r0, cpu.pc, vm.peek(0x4000_0100)].join()', ...lines)).toContain(
      "'0,1073741824,0'",
    );
  });
  test('exits by the million -> the first ten thousand are kept, then nothing is traced', async () => {
    const lines = ['load(0x4000_0000, asm`inc; spin`)', 'for (let i = 0; i < 10_002; i++) cpu.run(1)'];
    expect(await ask('[vm.traced, trace(1).length].join()', ...lines)).toContain("'false,1'");
    expect(await ask('vm.traced', ...lines, 'vm.traced = true; run(1)')).toMatch(/true\n$/);
  });
  test('.run, .list and a dot command that fails -> as on the command line', async () => {
    const { out, err, status } = await command([], { input: '.list abacus/2\n.run abacus/9\n' });
    expect(out).toContain('abacus/2');
    expect(err).toContain('unknown scenario "abacus/9"');
    expect(status).toBe(1);
  });
});
