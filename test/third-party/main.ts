/** A third party's VMM: runs the guest under the plugin and prints what it saw, as JSON. */
import { readFileSync } from 'node:fs';
import { arm64, assemble, disassemble } from '@faultyard/arch-arm64';
import { CORE_VERSION, createVm, decodeExit } from '@faultyard/core';
import { acme } from './acme.ts';

const RAM = 0x4000_0000n;
const guest = readFileSync(new URL(process.argv[2] ?? 'guest.s', import.meta.url), 'utf8');

function machine(trapped: 'exit' | 'undefined') {
  const arch = arm64();
  const memslots = [{ gpa: RAM, size: 0x1_0000n }];
  const vm = createVm({ arch, plugins: [acme], memslots, set: { 'acme.trapped': trapped } });
  const { table } = vm.api(arch);
  vm.write(RAM, assemble(guest, { table, origin: RAM }).bytes);
  const [cpu] = vm.vcpus;
  if (!cpu) throw new Error('a VM has a vCPU');
  cpu.pc = RAM;
  const x = (name: string): string => `0x${cpu.get(name).toString(16)}`;
  return { vm, cpu, table, x };
}

// The knob says exit: the VMM sees the trap, takes it off, and the instruction runs.
const { vm, cpu, table, x } = machine('exit');
const exit = cpu.run();
const at = cpu.arch.disassemble(cpu.pc, 1)[0]?.text;
const kvmRun = {
  reason: cpu.kvmRun.getUint32(8, true),
  word: cpu.kvmRun.getUint32(32, true),
  decoded: decodeExit(vm, cpu.kvmRun),
};
const atTrap = vm.snapshot();
const hash = vm.stateHash();

const goOn = () => {
  const op = cpu.op('acme-set-trap', { trap: false });
  const end = cpu.run().kind;
  return {
    op,
    hash: vm.stateHash(),
    afterwards: { exit: end, x0: x('x0'), x3: x('x3'), x4: x('x4'), x5: x('x5') },
  };
};
const once = goOn();
const traps = { op: once.op, api: vm.api(acme).traps };
const ioctl = [Uint8Array.of(1, 0, 0, 0), new Uint8Array(2)].map((arg) => {
  const { ret, errno } = cpu.ioctl(0x4004_aef0, arg);
  return { ret, errno };
});

// Back to the trap, and once more; a fork stands at the trap, too.
vm.restore(atTrap);
const fork = vm.fork();
const restored = {
  sameHash: vm.stateHash() === hash,
  pc: x('pc'),
  traps: vm.api(acme).traps,
  sameEnd: false,
};
restored.sameEnd = JSON.stringify(goOn()) === JSON.stringify(once);

// The knob says undefined: the guest's own handler sees it.
const other = machine('undefined');
const undefinedExit = other.cpu.run().kind;

console.log(
  JSON.stringify({
    core: CORE_VERSION,
    hash: once.hash,
    exit,
    at,
    disassembled: [0x0100_0024, 0x0100_03ff, 0xd538_f203].map((word) => disassemble(table, word)),
    kvmRun,
    afterwards: once.afterwards,
    traps,
    ioctl,
    restored,
    fork: { sameHash: fork.stateHash() === hash, traps: fork.api(acme).traps },
    undefinedKnob: {
      exit: undefinedExit,
      esr: other.x('x6'),
      elr: other.x('x7'),
      traps: other.vm.api(acme).traps,
    },
  }),
);
