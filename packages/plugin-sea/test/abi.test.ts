/** Section 9: structures, numbers and ids as userspace knows them. */
import type { OpDef } from '@faultyard/core';
import { describe, expect, it } from 'vitest';
import abi from '../data/abi.json' with { type: 'json' };
import { armSeaCodec } from '../src/exit.ts';
import { bench, I } from './support/bench.ts';

const { vm, cpu } = bench({ set: { 'sea.capEnabled': 'on' } });

describe('capabilities', () => {
  const known: Readonly<Record<string, string>> = {
    ARM_SEA_TO_USER: 'arm-sea-to-user',
    ARM_NISV_TO_USER: 'arm-nisv-to-user',
    ARM_INJECT_EXT_DABT: 'arm-inject-ext-dabt',
    ARM_INJECT_SERROR_ESR: 'arm-inject-serror-esr',
    VCPU_EVENTS: 'vcpu-events',
  };
  it.each(Object.entries(known))('%s', (kvm, name) => {
    const number = abi.capabilities[kvm as keyof typeof abi.capabilities];
    expect(vm.checkExtension(number)).toBe(vm.checkExtension(name));
    expect(vm.checkExtension(number)).toBe(1);
  });
  it('ARM_SEA_TO_USER: flags must be 0, args are ignored, twice is fine, never off', () => {
    const b = bench();
    const cap = abi.capabilities.ARM_SEA_TO_USER;
    expect(() => b.vm.op('enable-cap', { cap, flags: 1 })).toThrow(/EINVAL/);
    expect(b.vm.caps.enabled('arm-sea-to-user')).toBe(false);
    b.vm.op('enable-cap', { cap, args: [0n, 7n, 0n, 0n] });
    b.vm.op('enable-cap', { cap, args: [0n] });
    expect(b.vm.caps.enabled('arm-sea-to-user')).toBe(true);
  });
});

describe('ioctls', () => {
  const here = new Map(vm.ops.all.map((d: OpDef) => [d.ioctl, d]));
  const missing = ['CREATE_VM', 'CREATE_VCPU', 'ARM_PREFERRED_TARGET'];
  it.each(abi.ioctls.filter((i) => !missing.includes(i.name)))('$name is $value', ({ name, value }) => {
    expect(here.get(Number(value))?.kvm).toBe(
      name === 'ARM_VCPU_INIT' ? 'KVM_ARM_VCPU_INIT' : name === 'RUN' ? 'KVM_RUN' : `KVM_${name}`,
    );
  });
});

describe('struct kvm_vcpu_events', () => {
  const s = abi.structs.kvm_vcpu_events;
  const set = vm.ops.all.find((d) => d.kvm === 'KVM_SET_VCPU_EVENTS')?.codec;
  it('fields at their offsets', () => {
    expect(set?.size).toBe(s.size);
    const out = new DataView(new ArrayBuffer(s.size));
    set?.encode(
      { serrorPending: true, serrorHasEsr: true, extDabtPending: true, serrorEsr: 0x1122_3344n } as never,
      out,
      undefined as never,
    );
    expect(out.getUint8(s.fields.serror_pending.at)).toBe(1);
    expect(out.getUint8(s.fields.serror_has_esr.at)).toBe(1);
    expect(out.getUint8(s.fields.ext_dabt_pending.at)).toBe(1);
    expect(out.getBigUint64(s.fields.serror_esr.at, true)).toBe(0x1122_3344n);
    expect(set?.decode(out, undefined as never)).toMatchObject({ serrorPending: true, extDabtPending: true });
  });
  it('the proposal’s fields where upstream has padding', () => {
    const p = abi.structs.kvm_vcpu_events_iabt_proposal.fields;
    const out = new DataView(new ArrayBuffer(s.size));
    set?.encode(
      { extIabtPending: true, extAbtHasEsr: true, extAbtEsr: 0x50n } as never,
      out,
      undefined as never,
    );
    expect(out.getUint8(p.ext_iabt_pending.at)).toBe(1);
    expect(out.getUint8(p.ext_abt_has_esr.at)).toBe(1);
    expect(out.getBigUint64(p.ext_abt_esr.at, true)).toBe(0x50n);
  });
});

describe('KVM_EXIT_ARM_SEA', () => {
  const exit = abi.exits.ARM_SEA;
  const e = {
    kind: 'arm-sea',
    vcpu: 0,
    ret: 0,
    flags: 1n,
    esr: 0x9200_0010n,
    gva: 0x11n,
    gpa: 0x8012_3000n,
  } as never;
  it('number and payload, read back', () => {
    expect(armSeaCodec.number(vm.knobs)).toBe(exit.nr);
    const run = new DataView(new ArrayBuffer(abi.structs.kvm_run.size));
    armSeaCodec.encode(e, run, vm.knobs);
    expect(run.getBigUint64(exit.payload.flags.at, true)).toBe(1n);
    expect(run.getBigUint64(exit.payload.esr.at, true)).toBe(0x9200_0010n);
    expect(run.getBigUint64(exit.payload.gva.at, true)).toBe(0x11n);
    expect(run.getBigUint64(exit.payload.gpa.at, true)).toBe(0x8012_3000n);
    expect(armSeaCodec.decode(run, vm.knobs)).toEqual({
      flags: 1n,
      esr: 0x9200_0010n,
      gva: 0x11n,
      gpa: 0x8012_3000n,
    });
  });
  it('the first postings: bit, order and number change together', () => {
    const old = bench({
      set: {
        'sea.payloadLayout': 'esrFirst',
        'sea.gvaFlag': 'v1flag',
        'sea.capExitNumbers': '240/40',
        'sea.capEnabled': 'on',
      },
    });
    old.vm.poison(I);
    expect(old.cpu.run(10).kind).toBe('arm-sea');
    const page = old.cpu.kvmRun;
    const v1 = abi.armSeaV1;
    expect(page.getUint32(8, true)).toBe(40);
    expect(page.getBigUint64(v1.payload.esr.at, true)).toBe(0x9200_0010n);
    expect(page.getBigUint64(v1.payload.flags.at, true)).toBe(
      BigInt(v1.flags.GVA_VALID | v1.flags.GPA_VALID),
    );
  });
  it('flags: merged bit 0 is GPA_VALID', () => expect(abi.armSeaFlags.GPA_VALID).toBe(1));
});

describe('ONE_REG ids', () => {
  const el2 = /_EL2$/;
  const absent = ['SCTLR2_EL1'];
  it.each(Object.entries(abi.oneReg).filter(([n]) => !el2.test(n) && !absent.includes(n)))(
    '%s is %s',
    (name, id) => {
      const b = bench();
      const read = b.cpu.op('get-one-reg', { id: BigInt(id) });
      expect(read).toBe(name === 'PC' ? b.cpu.pc : b.cpu.get(name.toLowerCase()));
    },
  );
  it('SCTLR2_EL1 exists with FEAT_SCTLR2 only', () => {
    const id = BigInt(abi.oneReg.SCTLR2_EL1);
    expect(() => cpu.op('get-one-reg', { id })).toThrow(/ENOENT/);
    expect(bench({ df2: true }).cpu.op('get-one-reg', { id })).toBe(0n);
  });
  it('a register without an id here -> ENOENT', () =>
    expect(() => cpu.op('get-one-reg', { id: BigInt(abi.oneReg.HCR_EL2) })).toThrow(/ENOENT/));
});
