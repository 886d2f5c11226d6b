/** arm64 under the conformance suite: its programs, run at EL1 with memory identity mapped. */
import type { Code, Step, Subject } from '@faultyard/testkit';
import { arm64, assemble } from '../../src/index.ts';

const RAM = 0x4000_0000;
/** Level 1 table: blocks of 1 GiB. */
const TABLE = RAM + 0xf_0000;

const address = (gpa: number): string[] => [
  `movz x9, #${gpa & 0xffff}`,
  `movk x9, #${Math.floor(gpa / 65536)}, lsl #16`,
];
const LOAD = { 1: 'ldrb w1', 2: 'ldrh w1', 4: 'ldr w1', 8: 'ldr x1' } as const;
const STORE = { 1: 'strb w3', 2: 'strh w3', 4: 'str w3', 8: 'str x3' } as const;

function lines(s: Step): string[] {
  switch (s.do) {
    case 'compute':
      return Array.from({ length: s.times }, (_, i) => (i % 2 ? 'eor x2, x2, x2, ror #7' : 'add x2, x2, #1'));
    case 'load':
      return [...address(s.gpa), `${LOAD[s.size]}, [x9]`];
    case 'store': {
      const value = [`movz x3, #${s.value & 0xffff}`, `movk x3, #${Math.floor(s.value / 65536)}, lsl #16`];
      return [...address(s.gpa), ...value, `${STORE[s.size]}, [x9]`];
    }
    case 'count':
      return [
        ...address(s.gpa),
        `movz x4, #${s.times}`,
        'ldr w5, [x9]',
        'add w5, w5, #1',
        'str w5, [x9]',
        'subs x4, x4, #1',
        'b.ne .-16',
      ];
    case 'spin':
      return ['b .'];
    case 'end':
      return ['movz w0, #8', 'movk w0, #0x8400, lsl #16', 'hvc #0'];
  }
}

function program(steps: readonly Step[]): Code {
  const parts = steps.map(lines);
  const bytes = assemble(parts.flat().join('\n')).bytes;
  let at = 0;
  const last = parts.map((p) => {
    at += 4 * p.length;
    return at - 4;
  });
  return { bytes, instructions: parts.map((p) => p.length), last };
}

/** arm64 as a subject. */
export function arm64Subject(): Subject {
  return {
    name: 'arm64',
    arch: arm64({ secondaries: 'on' }),
    ram: RAM,
    hole: 0x900_0000,
    result: 'x1',
    end: 'system-event',
    assemble: program,
    start(vcpu, entry) {
      // Normal write-back, inner shareable, access flag, EL1 only.
      vcpu.vm.poke(TABLE, 0x0000_0701n);
      vcpu.vm.poke(TABLE + 8, 0x4000_0701n);
      for (let n = 0; n < 31; n++) vcpu.set(`x${n}`, 0);
      vcpu.set('mair_el1', 0xff);
      // T0SZ = 25, write-back walks, EPD1, 40-bit addresses.
      vcpu.set('tcr_el1', 25n | (0x35n << 8n) | (1n << 23n) | (2n << 32n));
      vcpu.set('ttbr0_el1', BigInt(TABLE));
      vcpu.set('sctlr_el1', vcpu.get('sctlr_el1') | 0x1005n);
      vcpu.pc = BigInt(entry);
    },
  };
}
