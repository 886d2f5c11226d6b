import { expect, test } from 'vitest';
import { program } from './commands.ts';

test('parts of a VM -> print what they hold', async () => {
  const { out, err } = await program([], {
    input: [
      "const { vm, cpu, asm } = lab.arm64({ plugins: [sea()], set: { apei: 'claims' } })",
      'vm.memslots',
      "vm.enableCap('arm-sea-to-user'); vm.caps",
      'vm.signals',
      'load(0x4000_0000, asm`ldr x1, [x2]`); cpu.x2 = 0x4000_2000; poison(0x4000_2000)',
      'vm.clock',
      'vm.trace',
      'run()',
      'vm.signals',
    ].join('\n'),
  });
  expect(err).toBe('');
  expect(out.trim().split('\n')).toEqual([
    'slot  gpa         size       hva             flags',
    expect.stringMatching(/^0 {5}0x40000000 {2}0x4000000 {2}0x[0-9a-f]+ {2}-$/),
    'capability             number  name in KVM                    state',
    expect.stringMatching(/^vcpu-events +41 +KVM_CAP_VCPU_EVENTS +always on$/),
    expect.stringMatching(/^arm-inject-serror-esr +158 /),
    expect.stringMatching(/^arm-nisv-to-user +177 .* supported, not enabled$/),
    expect.stringMatching(/^arm-inject-ext-dabt +178 /),
    expect.stringMatching(/^arm-sea-to-user +245 +KVM_CAP_ARM_SEA_TO_USER +enabled$/),
    'no signal is pending',
    '0 ns, 1 ns an instruction',
    'the last 0 events, at most 4096; trace() shows them',
    expect.stringMatching(/^intr /),
    expect.stringMatching(/^SIGBUS {2}BUS_MCEERR_AR {2}si_addr=0x[0-9a-f]+ {2}lsb=12 {2}to vcpu0$/),
  ]);
}, 30_000);

test('a register given text -> what it takes', async () => {
  const { err, status } = await program([], { input: "lab.arm64().cpu.x0 = 'a'" });
  expect(err.trim()).toBe('x0 takes a whole number, not "a"\ne.g. 0x4000_0000n');
  expect(status).toBe(1);
}, 30_000);
