/** System instructions on flat memory, without the vCPU around them. */
import { beforeEach, describe, expect, test } from 'vitest';
import { FL } from '../src/isa/flags.ts';
import { R, Seg } from '../src/isa/layout.ts';
import { CR0, CR4, EFER, SR } from '../src/state.ts';
import {
  AT,
  atLevel,
  type FakeMachine,
  longMachine,
  protectedMachine,
  realMachine,
  SEL,
} from './support/fake-machine.ts';
import { type SystemMachine, systemMachine } from './support/system-machine.ts';

const GP: readonly [number, number] = [13, 0];
const UD: readonly [number, undefined] = [6, undefined];

let m: FakeMachine;
let x: SystemMachine;
function use(machine: FakeMachine, ...features: readonly string[]): void {
  m = machine;
  x = systemMachine(machine);
  for (const f of ['pae', 'pge', 'pse', 'fxsr', 'sse', 'tsc', 'de', 'sep', ...features]) m.features.add(f);
}
const set = (r: number, lo: number, hi = 0): void => m.state.set(r, lo, hi);

/** MOV CRn, rax. */
function toCr(n: number, lo: number, hi = 0): ReturnType<SystemMachine['run']> {
  set(R.RAX, lo, hi);
  return n < 8 ? x.run(0x0f, 0x22, 0xc0 | (n << 3)) : x.run(0x44, 0x0f, 0x22, 0xc0 | ((n & 7) << 3));
}
const fromCr = (n: number): ReturnType<SystemMachine['run']> => x.run(0x0f, 0x20, 0xc0 | (n << 3));

describe('mov cr0', () => {
  const base = CR0.PE | CR0.ET;
  beforeEach(() => use(protectedMachine()));

  test.each([
    ['NW without CD', base | CR0.NW],
    ['PG without PE', CR0.PG | CR0.ET],
  ])('%s -> #GP(0)', (_, value) => {
    expect(toCr(0, value)).toEqual(GP);
    expect(m.state.cr0).toBe(base);
  });
  test('reserved bits are ignored, ET stays', () => {
    expect(toCr(0, 0x1ff0_ffc0 | CR0.PE)).toBe('run');
    expect(m.state.cr0).toBe((0x1ff0_ffc0 & CR0.WP) | base);
  });
  test('PG on without LME -> whole TLB flushed, no LMA', () => {
    expect(toCr(0, base | CR0.PG)).toBe('run');
    expect(x.flushes).toEqual(['all']);
    expect(m.state.lma).toBe(false);
  });
  test('PG on with LME -> needs PAE; then LMA, compatibility mode', () => {
    m.state.setSys(SR.EFER, EFER.LME, 0);
    expect(toCr(0, base | CR0.PG)).toEqual(GP);
    m.state.setSys(SR.CR4, CR4.PAE, 0);
    expect(toCr(0, base | CR0.PG)).toBe('run');
    expect(m.state.lma).toBe(true);
    expect(m.state.mode).toBe('compatibility');
    expect(toCr(0, base)).toBe('run');
    expect(m.state.lma).toBe(false);
  });
  test('PG on with LME in a segment with L -> #GP(0)', () => {
    m.state.setSys(SR.EFER, EFER.LME, 0);
    m.state.setSys(SR.CR4, CR4.PAE, 0);
    m.state.segment(Seg.CS).attr |= 0x200;
    expect(toCr(0, base | CR0.PG)).toEqual(GP);
  });
  test('64-bit mode: PG off, upper bits -> #GP(0)', () => {
    use(longMachine());
    expect(toCr(0, base)).toEqual(GP);
    expect(toCr(0, base | CR0.PG, 1)).toEqual(GP);
  });
  test('PG on with PAE -> pointers loaded; reserved bits in one -> #GP(0), nothing changed', () => {
    m.state.setSys(SR.CR4, CR4.PAE, 0);
    m.state.setSys(SR.CR3, 0x5000, 0);
    m.put32(0x5000, 0x6001, 0);
    m.put32(0x5008, 0x7021, 0);
    expect(toCr(0, base | CR0.PG)).toEqual(GP);
    expect(m.state.sysLo(SR.PDPTE0)).toBe(0);
    m.put32(0x5008, 0x7001, 0);
    expect(toCr(0, base | CR0.PG)).toBe('run');
    expect([m.state.sysLo(SR.PDPTE0), m.state.sysLo(SR.PDPTE1)]).toEqual([0x6001, 0x7001]);
  });
  test('CPL 3 -> #GP(0); real mode sets PE', () => {
    atLevel(m, 3);
    expect(toCr(0, base)).toEqual(GP);
    expect(fromCr(0)).toEqual(GP);
    use(realMachine());
    expect(toCr(0, CR0.PE)).toBe('run');
    expect(m.state.mode).toBe('protected');
    expect(m.state.pcLo).toBe(AT.code + 3);
  });
  test('intercepts: cr0-write first, selective only when more than TS and MP change', () => {
    expect(toCr(0, base | CR0.TS)).toBe('run');
    expect(x.asked.splice(0)).toEqual(['cr0-write']);
    expect(toCr(0, base | CR0.WP)).toBe('run');
    expect(x.asked).toEqual(['cr0-write', 'cr0-selective-write']);
    m.intercepts = (what) => (what === 'cr0-selective-write' ? 0 : undefined);
    const { pcLo } = m.state;
    expect(toCr(0, base)).toBe('run');
    expect([m.state.cr0, m.state.pcLo]).toEqual([base | CR0.WP, pcLo]);
  });
  test('lmsw sets PE and never clears it; clts; smsw', () => {
    set(R.RAX, 0xe);
    expect(x.run(0x0f, 0x01, 0xf0)).toBe('run');
    expect(m.state.cr0).toBe(base | 0xe);
    expect(x.run(0x0f, 0x06)).toBe('run');
    expect(m.state.cr0).toBe(base | 6);
    expect(x.run(0x0f, 0x01, 0xe0)).toBe('run');
    expect(m.state.lo(R.RAX)).toBe(base | 6);
  });
});

describe('mov cr3 and cr4', () => {
  beforeEach(() => use(longMachine(), 'pcid', 'smep', 'umip'));

  test('cr3: bits above MAXPHYADDR -> #GP(0)', () => {
    expect(toCr(3, 0x5000, 1 << 16)).toEqual(GP);
    expect(toCr(3, 0x5000, 0xffff)).toBe('run');
    expect([m.state.sysLo(SR.CR3), m.state.sysHi(SR.CR3)]).toEqual([0x5000, 0xffff]);
  });
  test('cr3 without PCIDE: global entries stay; bit 63 -> #GP(0)', () => {
    expect(toCr(3, 0x5000)).toBe('run');
    expect(x.flushes).toEqual(['non-global 0']);
    expect(toCr(3, 0x5000, 0x8000_0000 | 0)).toEqual(GP);
  });
  test('cr3 with PCIDE: flushes its PCID, or nothing with bit 63', () => {
    m.state.setSys(SR.CR4, CR4.PAE | CR4.PCIDE, 0);
    expect(toCr(3, 0x5007)).toBe('run');
    expect(toCr(3, 0x6008, 0x8000_0000 | 0)).toBe('run');
    expect(x.flushes).toEqual(['non-global 7']);
    expect(m.state.sysHi(SR.CR3)).toBe(0);
  });
  test('cr4: bits without their feature, clearing PAE, changing LA57 -> #GP(0)', () => {
    expect(toCr(4, CR4.PAE | CR4.SMAP)).toEqual(GP);
    expect(toCr(4, 0)).toEqual(GP);
    m.features.add('la57');
    expect(toCr(4, CR4.PAE | CR4.LA57)).toEqual(GP);
    expect(toCr(4, CR4.PAE, 1)).toEqual(GP);
  });
  test('cr4: PCIDE needs CR3[11:0] = 0 and long mode', () => {
    m.state.setSys(SR.CR3, 0x5001, 0);
    expect(toCr(4, CR4.PAE | CR4.PCIDE)).toEqual(GP);
    m.state.setSys(SR.CR3, 0x5000, 0);
    expect(toCr(4, CR4.PAE | CR4.PCIDE)).toBe('run');
    expect(x.flushes).toEqual([]);
    expect(toCr(4, CR4.PAE)).toBe('run');
    expect(x.flushes).toEqual(['all']);
    use(protectedMachine(), 'pcid');
    expect(toCr(4, CR4.PCIDE)).toEqual(GP);
  });
  test('cr4: PGE, PSE flush all; SMEP when set; UMIP never', () => {
    const steps: [number, string[]][] = [
      [CR4.PGE, ['all']],
      [CR4.PGE | CR4.PSE, ['all']],
      [CR4.PGE | CR4.PSE | CR4.UMIP, []],
      [CR4.PGE | CR4.PSE | CR4.SMEP, ['all']],
      [CR4.PGE | CR4.PSE, []],
    ];
    for (const [value, flushes] of steps) {
      expect(toCr(4, CR4.PAE | value)).toBe('run');
      expect(x.flushes.splice(0)).toEqual(flushes);
    }
  });
  test('cr8: 4 bits; a lower value leaves to userspace, done, unless there is an interrupt controller', () => {
    expect(toCr(8, 16)).toEqual(GP);
    expect(toCr(8, 15)).toBe('run');
    expect(toCr(8, 3)).toBe(1);
    expect(m.work).toMatchObject({ kind: 'set-tpr' });
    expect(m.state.sysLo(SR.CR8)).toBe(3);
    m.events.source = { pending: () => false, acknowledge: () => -1 } as never;
    expect(toCr(8, 2)).toBe('run');
    expect(toCr(8, 15)).toBe('run');
    expect(x.run(0x44, 0x0f, 0x20, 0xc0)).toBe('run');
    expect(m.state.lo(R.RAX)).toBe(15);
  });
  test('cr1, cr5 -> #UD', () => {
    expect(toCr(5, 0)).toEqual(UD);
    expect(fromCr(1)).toEqual(UD);
  });
});

describe('debug registers', () => {
  beforeEach(() => use(longMachine()));
  const toDr = (n: number, lo: number, hi = 0): ReturnType<SystemMachine['run']> => {
    set(R.RAX, lo, hi);
    return x.run(0x0f, 0x23, 0xc0 | (n << 3));
  };
  const fromDr = (n: number): number => {
    expect(x.run(0x0f, 0x21, 0xc0 | (n << 3))).toBe('run');
    return m.state.lo(R.RAX) >>> 0;
  };
  test('fixed bits of dr6 and dr7', () => {
    expect(toDr(6, 0)).toBe('run');
    expect(fromDr(6)).toBe(0xffff_0ff0);
    expect(toDr(6, -1)).toBe('run');
    expect(fromDr(6)).toBe(0xffff_efff);
    expect(toDr(7, 0xffff_d3ff | 0)).toBe('run');
    expect(fromDr(7)).toBe(0xffff_07ff);
  });
  test('upper bits of dr7 -> #GP(0); dr0 takes 64 bits', () => {
    expect(toDr(7, 0x400, 1)).toEqual(GP);
    expect(toDr(0, 1, 2)).toBe('run');
    expect([m.state.sysLo(SR.DR0), m.state.sysHi(SR.DR0)]).toEqual([1, 2]);
  });
  test('dr4 is dr6, with CR4.DE #UD', () => {
    expect(fromDr(4)).toBe(0xffff_0ff0);
    m.state.setSys(SR.CR4, CR4.PAE | CR4.DE, 0);
    expect(toDr(4, 0)).toEqual(UD);
  });
  test('DR7.GD -> #DB; CPL 3 -> #GP(0) first', () => {
    m.state.setSys(SR.DR7, 0x2400, 0);
    expect(toDr(0, 0)).toEqual([1, undefined]);
    atLevel(m, 3);
    expect(toDr(0, 0)).toEqual(GP);
  });
});

describe('syscall and its kin', () => {
  const star = (): void => {
    m.state.setSys(SR.EFER, m.state.efer | EFER.SCE, 0);
    m.state.setSys(SR.STAR, 0x1234, (0x23 << 16) | 0x10);
    m.state.setSys(SR.LSTAR, 0x8000_0000 | 0, 0xffff_ffff | 0);
    m.state.setSys(SR.CSTAR, 0x9000, 0);
    m.state.setSys(SR.SFMASK, FL.IF | FL.DF, 0);
  };
  test('64-bit syscall -> rcx, r11, masked flags, LSTAR; sysretq back', () => {
    use(longMachine());
    atLevel(m, 3);
    star();
    m.state.flags = FL.One | FL.IF | FL.CF;
    expect(x.run(0x0f, 0x05)).toBe('run');
    expect([m.state.cpl, m.state.pcLo, m.state.pcHi]).toEqual([0, 0x8000_0000 | 0, -1]);
    expect([m.state.lo(R.RCX), m.state.lo(11)]).toEqual([AT.code + 2, FL.One | FL.IF | FL.CF]);
    expect(m.state.flags).toBe(FL.One | FL.CF);
    expect(m.state.segment(Seg.CS)).toMatchObject({ selector: 0x10, attr: 0xa9b, limit: -1 });
    expect(m.state.segment(Seg.SS)).toMatchObject({ selector: 0x18, attr: 0xc93 });
    m.state.setPc(0x9100, 0);
    expect(x.run(0x48, 0x0f, 0x07)).toBe('run');
    expect([m.state.cpl, m.state.pcLo, m.state.flags]).toEqual([3, AT.code + 2, FL.One | FL.IF | FL.CF]);
    expect(m.state.segment(Seg.CS)).toMatchObject({ selector: 0x33, attr: 0xafb });
    expect(m.state.segment(Seg.SS)).toMatchObject({ selector: 0x2b });
  });
  test('sysretl -> compatibility mode at ecx', () => {
    use(longMachine());
    star();
    set(R.RCX, 0x4000, 7);
    set(11, FL.IF | FL.RF | FL.VM);
    expect(x.run(0x0f, 0x07)).toBe('run');
    expect(m.state.mode).toBe('compatibility');
    expect([m.state.pcLo, m.state.pcHi, m.state.flags]).toEqual([0x4000, 0, FL.One | FL.IF]);
    expect(m.state.segment(Seg.CS)).toMatchObject({ selector: 0x23, attr: 0xcfb });
  });
  test('sysret: ss keeps its attributes on AMD; Intel loads all', () => {
    for (const vendor of ['AMD', 'Intel'] as const) {
      use(longMachine({ vendor }));
      star();
      m.segment(Seg.SS, 0, 0x1_0000, 0, 0);
      expect(x.run(0x48, 0x0f, 0x07)).toBe('run');
      const ss = { selector: 0x2b, attr: vendor === 'AMD' ? 0x1_0000 : 0xcf3 };
      expect(m.state.segment(Seg.SS)).toMatchObject(ss);
    }
  });
  test('sysretq to an address that is not canonical: Intel #GP(0) at CPL 0, AMD goes there', () => {
    for (const vendor of ['AMD', 'Intel'] as const) {
      use(longMachine({ vendor }));
      star();
      set(R.RCX, 0, 0x8000);
      const r = x.run(0x48, 0x0f, 0x07);
      expect([r, m.state.cpl]).toEqual(vendor === 'AMD' ? ['run', 3] : [GP, 0]);
    }
  });
  test('SCE = 0 -> #UD; sysret at CPL 3 -> #GP(0)', () => {
    use(longMachine());
    expect(x.run(0x0f, 0x05)).toEqual(UD);
    star();
    atLevel(m, 3);
    expect(x.run(0x48, 0x0f, 0x07)).toEqual(GP);
  });
  test('compatibility and legacy mode: AMD has syscall, Intel #UD', () => {
    for (const vendor of ['AMD', 'Intel'] as const) {
      use(longMachine({ vendor }));
      star();
      m.segment(Seg.CS, SEL.code32, 0xc9b, 0, -1);
      expect(x.run(0x0f, 0x05)).toEqual(vendor === 'AMD' ? 'run' : UD);
      if (vendor === 'AMD') expect(m.state.pcLo).toBe(0x9000);
      use(protectedMachine({ vendor }));
      star();
      m.state.flags = FL.One | FL.IF;
      expect(x.run(0x0f, 0x05)).toEqual(vendor === 'AMD' ? 'run' : UD);
      if (vendor === 'AMD') expect([m.state.pcLo, m.state.flags]).toEqual([0x1234, FL.One]);
    }
  });
  test('sysenter: legacy mode of both; long mode #UD on AMD', () => {
    for (const [machine, vendor, expected] of [
      [protectedMachine, 'AMD', 'run'],
      [protectedMachine, 'Intel', 'run'],
      [longMachine, 'AMD', UD],
      [longMachine, 'Intel', 'run'],
    ] as const) {
      use(machine({ vendor }));
      atLevel(m, 3);
      m.state.setSys(SR.SYSENTER_CS, 0x50, 0);
      m.state.setSys(SR.SYSENTER_ESP, 0x7000, 0);
      m.state.setSys(SR.SYSENTER_EIP, 0x9000, 0);
      expect(x.run(0x0f, 0x34)).toEqual(expected);
      if (expected !== 'run') continue;
      expect([m.state.cpl, m.sp, m.state.pcLo]).toEqual([0, 0x7000, 0x9000]);
      expect(m.state.segment(Seg.SS)).toMatchObject({ selector: 0x58, attr: 0xc93 });
      set(R.RDX, 0x4000);
      set(R.RCX, 0x6000);
      expect(x.run(0x0f, 0x35)).toBe('run');
      expect([m.state.cpl, m.sp, m.state.pcLo]).toEqual([3, 0x6000, 0x4000]);
      expect(m.state.segment(Seg.CS).selector).toBe(0x63);
    }
  });
  test('sysenter with SYSENTER_CS = 0, in real mode -> #GP(0)', () => {
    use(protectedMachine());
    expect(x.run(0x0f, 0x34)).toEqual(GP);
    use(realMachine());
    m.state.setSys(SR.SYSENTER_CS, 0x50, 0);
    expect(x.run(0x0f, 0x34)).toEqual(GP);
  });
  test('swapgs: CPL 0 of 64-bit mode', () => {
    use(longMachine());
    m.state.setSys(SR.KERNEL_GS_BASE, 0x1000, 5);
    expect(x.run(0x0f, 0x01, 0xf8)).toBe('run');
    expect(m.state.segment(Seg.GS)).toMatchObject({ baseLo: 0x1000, baseHi: 5 });
    expect(m.state.sysLo(SR.KERNEL_GS_BASE)).toBe(0);
    atLevel(m, 3);
    expect(x.run(0x0f, 0x01, 0xf8)).toEqual(GP);
  });
  test('wrfsbase, rdfsbase: CR4.FSGSBASE, canonical', () => {
    use(longMachine());
    set(R.RAX, 0, 0x8000);
    const wrfsbase = [0xf3, 0x48, 0x0f, 0xae, 0xd0];
    expect(x.run(...wrfsbase)).toEqual(UD);
    m.state.setSys(SR.CR4, CR4.PAE | CR4.FSGSBASE, 0);
    expect(x.run(...wrfsbase)).toEqual(GP);
    set(R.RAX, 0x1234, 0x7fff);
    expect(x.run(...wrfsbase)).toBe('run');
    set(R.RAX, 0);
    expect(x.run(0xf3, 0x0f, 0xae, 0xc0)).toBe('run');
    expect([m.state.lo(R.RAX), m.state.hi(R.RAX)]).toEqual([0x1234, 0]);
  });
});

describe('cli, sti, pushf, popf', () => {
  const flags = (v: number): void => {
    m.state.flags = FL.One | v;
  };
  /** Virtual-8086 mode with code at AT.code. */
  function virtual(iopl: number, cr4 = 0): void {
    use(protectedMachine());
    flags(FL.VM | (iopl << 12));
    m.state.setSys(SR.CR4, cr4, 0);
    for (let n = 0; n < 6; n++) m.segment(n as 0, 0, 0xf3, 0, 0xffff);
    m.state.cpl = 3;
    m.state.setIp(AT.code, 0);
    m.modeChanged();
  }
  test('sti from IF = 0 holds interrupts for one instruction, from IF = 1 not', () => {
    use(protectedMachine());
    expect(x.run(0xfb)).toBe('run');
    expect([m.state.flag(FL.IF), m.events.shadow]).toEqual([true, 2]);
    m.events.shadow = 0;
    expect(x.run(0xfb)).toBe('run');
    expect(m.events.shadow).toBe(0);
  });
  test('CPL 3: cli with IOPL 0 -> #GP(0), IOPL 3 -> IF, PVI -> VIF', () => {
    use(protectedMachine());
    atLevel(m, 3);
    expect(x.run(0xfa)).toEqual(GP);
    flags(FL.IF | FL.IOPL);
    expect(x.run(0xfa)).toBe('run');
    expect(m.state.flag(FL.IF)).toBe(false);
    flags(FL.IF | FL.VIF);
    m.state.setSys(SR.CR4, CR4.PVI, 0);
    expect(x.run(0xfa)).toBe('run');
    expect(m.state.flags).toBe(FL.One | FL.IF);
    flags(FL.VIP);
    expect(x.run(0xfb)).toEqual(GP);
  });
  test('virtual-8086, IOPL 0: #GP(0) for all; with VME VIF stands for IF', () => {
    virtual(0);
    for (const op of [0xfa, 0xfb, 0x9c, 0x9d]) expect(x.run(op)).toEqual(GP);
    virtual(0, CR4.VME);
    expect(x.run(0xfb)).toBe('run');
    expect(m.state.flags & (FL.IF | FL.VIF)).toBe(FL.VIF);
    m.sp = 0x4000;
    expect(x.run(0x9c)).toBe('run');
    expect(m.u16(0x3ffe)).toBe(FL.One | FL.IF | FL.IOPL);
    expect(x.run(0x66, 0x9c)).toEqual(GP);
    m.ram.setUint16(0x3ffe, FL.CF, true);
    expect(x.run(0x9d)).toBe('run');
    expect(m.state.flags).toBe(FL.One | FL.VM | FL.CF);
    m.ram.setUint16(0x4000, FL.TF, true);
    expect(x.run(0x9d)).toEqual(GP);
  });
  test('popf: CPL 0 writes IOPL and IF; CPL 3 with IOPL 3 only IF; with IOPL 0 neither', () => {
    const pop = (before: number, value: number): number => {
      flags(before);
      m.put32(m.sp, value);
      expect(x.run(0x9d)).toBe('run');
      return m.state.flags & (FL.IF | FL.IOPL | FL.VIP | FL.VM | FL.RF);
    };
    const all = FL.IF | FL.IOPL | FL.VIP | FL.VM | FL.RF;
    use(protectedMachine());
    expect(pop(0, all)).toBe(FL.IF | FL.IOPL);
    atLevel(m, 3);
    expect(pop(FL.IOPL, FL.IF)).toBe(FL.IF | FL.IOPL);
    expect(pop(0, FL.IF | FL.IOPL)).toBe(0);
  });
  test('popfw keeps the upper half', () => {
    use(protectedMachine());
    flags(FL.AC | FL.ID);
    m.put32(m.sp, FL.CF);
    expect(x.run(0x66, 0x9d)).toBe('run');
    expect(m.state.flags).toBe(FL.One | FL.AC | FL.ID | FL.CF);
    expect(m.sp).toBe(AT.stack0 + 2);
  });
  test('pushfd leaves VM and RF out', () => {
    use(protectedMachine());
    flags(FL.RF | FL.IF);
    expect(x.run(0x9c)).toBe('run');
    expect(m.u32(AT.stack0 - 4)).toBe(FL.One | FL.IF);
  });
  test('stac, clac: SMAP and CPL 0', () => {
    use(protectedMachine());
    expect(x.run(0x0f, 0x01, 0xcb)).toEqual(UD);
    m.features.add('smap');
    expect(x.run(0x0f, 0x01, 0xcb)).toBe('run');
    expect(m.state.flag(FL.AC)).toBe(true);
    expect(x.run(0x0f, 0x01, 0xca)).toBe('run');
    expect(m.state.flag(FL.AC)).toBe(false);
    atLevel(m, 3);
    expect(x.run(0x0f, 0x01, 0xcb)).toEqual(UD);
  });
});

describe('time, TLB, ports and the rest', () => {
  test('rdtsc: CR4.TSD at CPL 3 -> #GP(0) before the intercept', () => {
    use(protectedMachine(), 'rdtscp', 'rdpid');
    expect(x.run(0x0f, 0x31)).toBe('run');
    expect([m.state.lo(R.RAX), m.state.lo(R.RDX)]).toEqual([0x1234_5678, 0x9abc]);
    m.state.setSys(SR.TSC_AUX, 77, 0);
    expect(x.run(0x0f, 0x01, 0xf9)).toBe('run');
    expect(m.state.lo(R.RCX)).toBe(77);
    atLevel(m, 3);
    m.state.setSys(SR.CR4, CR4.TSD, 0);
    x.asked.splice(0);
    expect(x.run(0x0f, 0x31)).toEqual(GP);
    expect(x.asked).toEqual([]);
    expect(x.run(0xf3, 0x0f, 0xc7, 0xf8)).toBe('run');
    expect(m.state.lo(R.RAX)).toBe(77);
  });
  test('invlpg: page of the current PCID, global ones too', () => {
    use(longMachine());
    m.state.setSys(SR.CR4, CR4.PAE | CR4.PCIDE, 0);
    m.state.setSys(SR.CR3, 0x5005, 0);
    set(R.RAX, 0x1_2345);
    expect(x.run(0x0f, 0x01, 0x38)).toBe('run');
    expect(x.flushes).toEqual(['page 12000 pcid 5 global']);
    set(R.RAX, 0, 0x8000);
    expect(x.run(0x0f, 0x01, 0x38)).toBe('run');
    expect(x.flushes).toHaveLength(1);
    atLevel(m, 3);
    expect(x.run(0x0f, 0x01, 0x38)).toEqual(GP);
  });
  test('invpcid: four types, reserved descriptor bits', () => {
    use(longMachine());
    const invpcid = (type: number, pcid: number, address = 0, hi = 0): unknown => {
      set(R.RAX, type);
      m.put32(0x5000, pcid, 0);
      m.put32(0x5008, address, hi);
      return x.run(0x66, 0x0f, 0x38, 0x82, 0x04, 0x25, 0, 0x50, 0, 0);
    };
    expect(invpcid(0, 0)).toEqual(UD);
    m.features.add('invpcid');
    expect(invpcid(0, 3)).toEqual(GP);
    m.state.setSys(SR.CR4, CR4.PAE | CR4.PCIDE, 0);
    for (const [type, pcid] of [
      [0, 3],
      [1, 3],
      [2, 0],
      [3, 0],
    ] as const)
      expect(invpcid(type, pcid, 0x1_2345)).toBe('run');
    expect(x.flushes).toEqual(['page 12000 pcid 3', 'non-global 3', 'all', 'non-global -1']);
    expect(invpcid(4, 0)).toEqual(GP);
    expect(invpcid(2, 0x1000)).toEqual(GP);
    expect(invpcid(0, 1, 0, 0x8000)).toEqual(GP);
  });
  test('in and out: IOPL, then the permission map', () => {
    use(protectedMachine());
    set(R.RDX, 0x3f8);
    expect(x.run(0xec)).toBe(4);
    atLevel(m, 3);
    expect(x.run(0xec)).toEqual(GP);
    m.state.segment(Seg.TR).limit = 0x67 + 0x100;
    m.ram.setUint16(AT.tss + 0x66, 0x68, true);
    m.bytes.fill(0xff, AT.tss + 0x68, AT.tss + 0x168);
    expect(x.run(0xec)).toEqual(GP);
    m.bytes[AT.tss + 0x68 + 0x7f] = 0xfe;
    expect(x.run(0xec)).toBe(4);
    expect(x.run(0xed)).toEqual(GP);
    m.bytes[AT.tss + 0x68 + 0x7f] = 0xf0;
    expect(x.run(0xef)).toBe(4);
    expect(x.run(0xe4, 0x70)).toEqual(GP);
    m.state.flags = FL.One | FL.IOPL;
    expect(x.run(0xe4, 0x70)).toBe(4);
    expect(x.ports).toEqual(['in 3f8 1', 'in 3f8 1', 'out 3f8 4', 'in 70 1']);
  });
  test('permission map: both bytes must lie in the TSS; a 16-bit TSS has none', () => {
    use(protectedMachine());
    atLevel(m, 3);
    m.ram.setUint16(AT.tss + 0x66, 0x68, true);
    m.bytes.fill(0, AT.tss + 0x68, AT.tss + 0x70);
    m.state.segment(Seg.TR).limit = 0x68;
    expect(x.run(0xe4, 0)).toEqual(GP);
    m.state.segment(Seg.TR).limit = 0x69;
    expect(x.run(0xe4, 0)).toBe(4);
    m.state.segment(Seg.TR).attr = 0x83;
    expect(x.run(0xe4, 0)).toEqual(GP);
  });
  test('virtual-8086 mode asks the map even with IOPL 3', () => {
    use(protectedMachine());
    m.state.flags = FL.One | FL.VM | FL.IOPL;
    m.state.cpl = 3;
    m.segment(Seg.CS, 0, 0xf3, 0, 0xffff);
    m.state.setIp(AT.code, 0);
    m.ram.setUint16(AT.tss + 0x66, 0xffff, true);
    expect(x.run(0xe4, 0x70)).toEqual(GP);
  });
  test('rep insb with a count of 0 -> permission is looked at, the port is not', () => {
    use(protectedMachine());
    atLevel(m, 3);
    m.ram.setUint16(AT.tss + 0x66, 0xffff, true);
    set(R.RCX, 0);
    expect(x.run(0xf3, 0x6c)).toEqual(GP);
    m.state.flags = FL.One | FL.IOPL;
    expect(x.run(0xf3, 0x6c)).toBe('run');
    expect(x.ports).toEqual([]);
    set(R.RCX, 1);
    expect(x.run(0xf3, 0x6c)).toBe(4);
    expect(x.ports).toEqual(['ins 0 1']);
  });
  test('wrpkru, rdpkru: CR4.PKE, ECX = 0', () => {
    use(longMachine());
    expect(x.run(0x0f, 0x01, 0xef)).toEqual(UD);
    m.state.setSys(SR.CR4, CR4.PAE | CR4.PKE, 0);
    set(R.RAX, 0x55);
    expect(x.run(0x0f, 0x01, 0xef)).toBe('run');
    set(R.RCX, 1);
    expect(x.run(0x0f, 0x01, 0xee)).toEqual(GP);
    set(R.RCX, 0);
    set(R.RAX, 0);
    expect(x.run(0x0f, 0x01, 0xee)).toBe('run');
    expect(m.state.lo(R.RAX)).toBe(0x55);
  });
  test('wbinvd, invd, monitor, mwait: CPL 0', () => {
    use(protectedMachine());
    const all = [
      [0x0f, 0x09],
      [0x0f, 0x08],
      [0x0f, 0x01, 0xc8],
      [0x0f, 0x01, 0xc9],
    ];
    for (const bytes of all) expect(x.run(...bytes)).toBe('run');
    atLevel(m, 3);
    expect(all.map((bytes) => x.run(...bytes))).toEqual([GP, GP, UD, UD]);
  });
  test('clzero -> 64 bytes of zeroes around rax', () => {
    use(longMachine(), 'clzero');
    m.bytes.fill(0xff, 0x5000, 0x5100);
    set(R.RAX, 0x5077);
    expect(x.run(0x0f, 0x01, 0xfc)).toBe('run');
    expect([m.u32(0x503c), m.u32(0x5040), m.u32(0x507c), m.u32(0x5080)]).toEqual([-1 >>> 0, 0, 0, -1 >>> 0]);
  });
});
