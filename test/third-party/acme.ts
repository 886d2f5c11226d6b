/** A third party's plugin: an instruction that a register, a VMM and a knob can turn into an exit. */
import * as arm64 from '@faultyard/arch-arm64';
import { definePlugin, type ExitCodec, type KnobDef, type OpDef, type Plugin } from '@faultyard/core';

declare module '@faultyard/core' {
  interface ExitMap {
    /** `acmepop` was met while trapped. Nothing of it is done: pc is at it. */
    'acme-trap': { readonly word: number };
  }
  interface OpMap {
    /** KVM_ACME_SET_TRAP: traps `acmepop`, or lets it run; returns how often it was trapped. */
    'acme-set-trap': { readonly on: 'vcpu'; readonly arg: { trap: boolean }; readonly result: number };
  }
}

const TRAP = 16; // guard bit: `acmepop` is trapped

/** ACMEPOP Xd, Xn: the number of ones in Xn. */
const pop: arm64.Form = {
  name: 'ACMEPOP',
  bits: '0000 0001 0000 0000 0000 00 Rn:5 Rd:5',
  ref: 'Acme supplement, 2.1',
  asm: [{ text: 'acmepop <Xd>, <Xn>' }],
  record: ({ Rd = 0, Rn = 0 }) => ({ rd: arm64.target(Rd), rn: arm64.source(Rn) }),
  sem: (b, f) => {
    b.guard(TRAP);
    b.set(f.slot('rd'), b.popcnt(b.get(f.slot('rn'))));
  },
};

/** ACME_CTL_EL1: bit 0 traps, bits 7:1 are software's, the others RES0. */
const control: arm64.SysregDef = {
  name: 'ACME_CTL_EL1',
  enc: [3, 0, 15, 2, 0],
  doc: 'Acme control: trap acmepop',
  el1: 'rw',
  mask: 0xffn,
  changed: (cpu, low) => cpu.setGuard(TRAP, (low & 1) !== 0),
};

const trapExit: ExitCodec<'acme-trap'> = {
  kind: 'acme-trap',
  name: 'KVM_EXIT_ACME_TRAP',
  number: () => 0xac0,
  encode: ({ word }, run) => run.setUint32(32, word, true), // the exit union begins at byte 32
  decode: (run) => ({ word: run.getUint32(32, true) }),
};

const trapped: KnobDef<'exit' | 'undefined'> = {
  values: ['exit', 'undefined'],
  default: 'exit',
  meaning: 'a trapped acmepop leaves to the VMM, or is UNDEFINED for the guest',
  source: 'Acme supplement, 3.4',
};

const setTrap: OpDef<'acme-set-trap'> = {
  name: 'acme-set-trap',
  kvm: 'KVM_ACME_SET_TRAP',
  ioctl: 0x4004_aef0, // _IOW(KVMIO, 0xf0, __u32)
  on: 'vcpu',
  codec: {
    size: 4,
    decode: (arg) => ({ trap: arg.getUint32(0, true) !== 0 }),
    encode: ({ trap }, out) => out.setUint32(0, trap ? 1 : 0, true),
  },
  run(vcpu, { trap }) {
    (vcpu.arch as arm64.Arm64Vcpu).setGuard(TRAP, trap);
    return vcpu.vm.api(acme).traps;
  },
};

/** The plugin; `vm.api(acme).traps` counts traps. */
export const acme: Plugin<'acme-trap', { readonly traps: number }> = definePlugin({
  name: 'acme',
  core: '^1.0.0',
  needs: ['arm64'],
  exits: { 'acme-trap': trapExit },
  knobs: { trapped },
  ops: [setTrap],
  setup(ctx) {
    const state = { traps: 0 };
    ctx.cell({
      name: 'acme.traps',
      version: 1,
      side: 'guest',
      read: () => state.traps,
      write: (traps) => void Object.assign(state, { traps }),
    });
    ctx.contribute(arm64.instructions, () => [pop]);
    ctx.contribute(arm64.systemRegisters, () => [control]);
    ctx.contribute(arm64.guards, () => [{ bit: TRAP, doc: 'acmepop is trapped' }]);
    ctx.contribute(arm64.intercept, ({ vcpu, guard, word }) => {
      if (guard !== TRAP) return undefined;
      state.traps++;
      if (ctx.knobs['acme.trapped'] === 'undefined') return 'undefined-instruction';
      return { kind: 'acme-trap', vcpu: vcpu.core.id, ret: 0, word };
    });
    return state;
  },
});
