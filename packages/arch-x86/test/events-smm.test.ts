/** SMI, RSM and the state-save area (AMD64 APM volume 2, chapter 10; arch/x86/kvm/smm.c). */
import { definePlugin, drive } from '@faultyard/core';
import { describe, expect, it } from 'vitest';
import { type SmmRules, smm } from '../src/index.ts';
import { FL } from '../src/isa/flags.ts';
import { type EventVm, eventVm, VM } from './support/event-vm.ts';

const SMBASE = 0x3_0000;
const AREA = SMBASE + 0xfe00;

/** A VM whose address space 1 is its RAM; the SMI handler lies at SMBASE + 8000h. */
function smmVm(o: Parameters<typeof eventVm>[0] = {}, handler = 'rsm'): EventVm {
  const t = eventVm(o);
  const { vm } = t.vcpu;
  vm.op('set-user-memory-region', {
    slot: 0,
    asId: 1,
    flags: 0,
    gpa: 0n,
    size: 4n << 20n,
    hva: BigInt(vm.memory.hvaOf(0) as number),
  });
  t.load(handler, SMBASE + 0x8000, 16);
  return t;
}
const u16 = (t: EventVm, at: number): number =>
  new DataView(t.vcpu.vm.memory.read(at, 2).buffer).getUint16(0, true);
const u32 = (t: EventVm, at: number): number =>
  new DataView(t.vcpu.vm.memory.read(at, 4).buffer).getUint32(0, true);
const u64 = (t: EventVm, at: number): bigint =>
  new DataView(t.vcpu.vm.memory.read(at, 8).buffer).getBigUint64(0, true);
/** Registers that an SMI and its RSM must leave alone. */
const REGISTERS = [
  ...['rax', 'rbx', 'rsp', 'r15', 'rip', 'rflags', 'cr0', 'cr3', 'cr4', 'efer', 'dr6', 'dr7'],
  ...[
    'cs',
    'cs.attr',
    'cs.limit',
    'ss',
    'ss.attr',
    'ds.base',
    'tr',
    'tr.base',
    'idtr.base',
    'idtr.limit',
    'gdtr.base',
  ],
];
const registers = (t: EventVm): Readonly<Record<string, bigint>> =>
  Object.fromEntries(REGISTERS.map((r) => [r, t.vcpu.get(r)]));

describe('SMI', () => {
  it('the area in the 64-bit layout, the state of SMM, RSM brings everything back', () => {
    const t = smmVm({}, 'hlt');
    t.load('nop\nhlt');
    t.vcpu.set('rbx', 0x1122_3344_5566_7788n);
    t.vcpu.set('r15', 15n);
    t.vcpu.set('rflags', BigInt(FL.One | FL.ZF));
    const before = registers(t);
    t.vcpu.op('smi', {});
    expect(t.run().kind).toBe('hlt');
    const get = (r: string): bigint => t.vcpu.get(r);
    expect([get('cs'), get('cs.base'), get('cs.limit'), get('rip')]).toEqual([
      BigInt(SMBASE >>> 4),
      BigInt(SMBASE),
      0xffff_ffffn,
      0x8001n,
    ]);
    expect([
      get('cr0') & 0x8000_0001n,
      get('cr4'),
      get('efer'),
      get('idtr.limit'),
      get('rflags'),
      get('dr7'),
    ]).toEqual([0n, 0n, 0n, 0n, 2n, 0x400n]);
    // offsets of table 10-1
    expect(u32(t, AREA + 0xfc)).toBe(0x2_0064);
    expect(u32(t, AREA + 0x100)).toBe(SMBASE);
    expect([u64(t, AREA + 0x178), u64(t, AREA + 0x170)]).toEqual([BigInt(VM.code), BigInt(FL.One | FL.ZF)]);
    expect([u64(t, AREA + 0x1f8 - 3 * 8), u64(t, AREA + 0x180)]).toEqual([0x1122_3344_5566_7788n, 15n]);
    expect([u64(t, AREA + 0x158), u64(t, AREA + 0x150), u64(t, AREA + 0x148)]).toEqual([
      before['cr0'],
      before['cr3'],
      before['cr4'],
    ]);
    expect(u64(t, AREA + 0xd0)).toBe(0x500n);
    // CS: selector, attributes, limit, base
    expect([u16(t, AREA + 0x10), u16(t, AREA + 0x12)]).toEqual([8, 0xa09b]);
    expect(t.vcpu.op('x86-get-vcpu-events', {})).toMatchObject({ smi: { smm: true }, nmi: { masked: true } });

    t.load('rsm', SMBASE + 0x8001, 16);
    t.run(2);
    expect(registers(t)).toEqual(before);
    expect(t.vcpu.op('x86-get-vcpu-events', {})).toMatchObject({
      smi: { smm: false },
      nmi: { masked: false },
    });
    expect(t.run().kind).toBe('hlt');
  });
  it('no long mode in CPUID -> the 32-bit layout', () => {
    const t = smmVm({ features: { lm: false } }, 'hlt');
    // real mode: a CPU of this kind has no other state here
    t.arch.reset(false);
    t.vcpu.set('rbx', 0x1234_5678n);
    t.vcpu.op('smi', {});
    expect(t.run().kind).toBe('hlt');
    expect(u32(t, AREA + 0xfc)).toBe(0x2_0000);
    expect(u32(t, AREA + 0xf8)).toBe(SMBASE);
    expect([u32(t, AREA + 0x1d0 + 12), u32(t, AREA + 0x1f0), u32(t, AREA + 0x1f4)]).toEqual([
      0x1234_5678, 0xfff0, 2,
    ]);
    // CS: selector, then flags, limit, base
    expect([u32(t, AREA + 0x1ac), u32(t, AREA + 0x190), u32(t, AREA + 0x194), u32(t, AREA + 0x198)]).toEqual([
      0xf000, 0x9b00, 0xffff, 0xffff_0000,
    ]);
    t.load('rsm', SMBASE + 0x8001, 16);
    t.run(2);
    expect([t.vcpu.pc, t.vcpu.get('cs.base'), t.vcpu.get('rbx')]).toEqual([
      0xfff0n,
      0xffff_0000n,
      0x1234_5678n,
    ]);
  });
  it('a handler that writes another SMBASE -> the next SMI goes there', () => {
    // ds has base 0 and limit 4 GiB in SMM
    const t = smmVm({}, `mov dword ptr [${AREA + 0x100}], 0x50000\nrsm`);
    t.load('nop\nnop\nnop\nhlt');
    t.load('hlt', 0x5_8000, 16);
    t.vcpu.op('smi', {});
    t.run(3);
    t.vcpu.op('smi', {});
    expect(t.run().kind).toBe('hlt');
    expect([t.vcpu.get('cs.base'), t.vcpu.pc]).toEqual([0x5_0000n, 0x8001n]);
  });
  it('RIP written in the area -> RSM goes there', () => {
    const t = smmVm({}, `mov dword ptr [${AREA + 0x178}], ${VM.user}\nrsm`);
    t.load('nop\nhlt');
    t.load('hlt', VM.user);
    t.vcpu.op('smi', {});
    t.run();
    expect(t.vcpu.pc).toBe(BigInt(VM.user + 1));
  });
  it('NMI in SMM -> waits until RSM; one that was blocked before stays so', () => {
    const t = smmVm({}, 'nop\nnop\nrsm');
    t.load('nop\nhlt');
    t.vcpu.op('smi', {});
    t.run(2);
    t.vcpu.op('nmi', {});
    t.run();
    expect(t.seen().map((s) => [s.vector, s.rip])).toEqual([[2, VM.code]]);
  });
  it('STI; SMI -> the shadow is saved and comes back', () => {
    const t = smmVm();
    t.load('sti\nnop\nhlt');
    t.run(1);
    t.vcpu.op('smi', {});
    t.run(2);
    expect(t.vcpu.op('x86-get-vcpu-events', {}).interrupt.shadow).toBe(3);
  });
  it('memory of address space 1 only -> the handler runs there, space 0 keeps its bytes', () => {
    const t = eventVm();
    const { vm } = t.vcpu;
    const hva = drive(vm.mm.mmap({ size: 1n << 20n }));
    vm.op('set-user-memory-region', {
      slot: 7,
      asId: 1,
      flags: 0,
      gpa: 0n,
      size: 1n << 20n,
      hva: BigInt(hva),
    });
    vm.mm.write(hva + SMBASE + 0x8000, Uint8Array.of(0xf4));
    t.load('nop\nhlt');
    t.vcpu.op('smi', {});
    expect(t.run().kind).toBe('hlt');
    expect([t.vcpu.get('cs.base'), u32(t, AREA + 0xfc)]).toEqual([BigInt(SMBASE), 0]);
  });
  it('no memory at SMBASE + FE00h in address space 1 -> the VM is dead: EIO', () => {
    const t = eventVm();
    t.load('nop\nhlt');
    t.vcpu.op('smi', {});
    expect(t.run()).toMatchObject({ kind: 'run-error', ret: -1, errno: 'EIO' });
    expect(() => t.vcpu.op('nmi', {})).toThrow(/EIO/);
  });
});

describe('RSM', () => {
  it('outside SMM -> #UD', () => {
    const t = smmVm();
    t.vcpu.vm.poke(VM.log + 8, 2n);
    t.load('rsm\nhlt');
    t.run();
    expect(t.seen()[0]).toMatchObject({ vector: 6, rip: VM.code });
  });
  it.each([
    ['CR4 with a reserved bit', 0x148, 0x8000_0000],
    ['CR0 with PG and without PE', 0x158, 0x8000_0010 | 0],
    ['CR3 beyond MAXPHYADDR', 0x154, 0x4000_0000],
    ['DR7 above 32 bits', 0x164, 1],
    ['EFER with a reserved bit', 0xd0, 0x4000_0000],
  ] as const)('%s in the area -> triple fault, no INIT', (_, at, value) => {
    const t = smmVm({}, `mov dword ptr [${AREA + at}], ${value}\nrsm`);
    t.load('nop\nhlt');
    t.vcpu.op('smi', {});
    expect(t.run()).toMatchObject({ kind: 'shutdown', ret: 0 });
    expect(t.vcpu.get('cs.base')).not.toBe(0xffff_0000n);
  });
});

describe('the point x86.smm', () => {
  it('enter and leave -> see the area, and may write to it', () => {
    const seen: string[] = [];
    const rules: SmmRules = {
      enter: (_, area) => {
        seen.push(`enter ${area.getUint32(0xfc, true).toString(16)}`);
        area.setUint32(0xd8, 1, true);
        return true;
      },
      leave: (_, area) => {
        seen.push(`leave ${area.getUint32(0xd8, true)}`);
        return true;
      },
    };
    const plugin = definePlugin({
      name: 'smmx',
      core: '^1.0.0',
      summary: 'x',
      setup: (ctx) => ctx.contribute(smm, () => [rules]),
    });
    const t = smmVm({ plugins: [plugin] });
    t.load('nop\nhlt');
    t.vcpu.op('smi', {});
    t.run();
    expect(seen).toEqual(['enter 20064', 'leave 1']);
  });
});
