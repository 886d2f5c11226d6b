/** The port: faults in their order, what the engine may remember, stage 2, devices, and fetches in legacy modes. */
import { drive, FrameFlag } from '@faultyard/core';
import { Access, type AccessKind } from '@faultyard/engine';
import { describe, expect, test } from 'vitest';
import { CTX_SUPERVISOR_AC, CTX_USER, Seg } from '../src/isa/layout.ts';
import { AccessClass } from '../src/memory/access-class.ts';
import type { AccessFault } from '../src/memory/access-fault.ts';
import { PF } from '../src/memory/page.ts';
import type { SecondStage } from '../src/memory/port.ts';
import { WalkEnd } from '../src/memory/walk.ts';
import { CR0, CR4, EFER, SR } from '../src/state.ts';
import { BareMemory, Cause, host, MemFlag, RAM } from './support/bare-memory.ts';

const { Read, Write, Exec, ReadWrite } = Access;
const VA = 0x40_0000_0000n;
const HOLE = RAM + 0x10_0000;
const mapped = (bits?: bigint): BareMemory => {
  const m = new BareMemory();
  m.map(VA, 0x5000, bits);
  m.map(VA + 0x1000n, 0x6000, bits);
  return m;
};

describe('canonical addresses', () => {
  const word = { size: 8 };
  test.each<[bigint, boolean, 'PageFault' | 'NonCanonical']>([
    [0x7fff_ffff_fff8n, false, 'PageFault'],
    [0x7fff_ffff_fff9n, false, 'NonCanonical'],
    [0x8000_0000_0000n, false, 'NonCanonical'],
    [0xffff_7fff_ffff_ffffn, false, 'NonCanonical'],
    [0xffff_8000_0000_0000n, false, 'PageFault'],
    [0x8000_0000_0000n, true, 'PageFault'],
    [0xff_ffff_ffff_fff8n, true, 'PageFault'],
    [0xff_ffff_ffff_fff9n, true, 'NonCanonical'],
    [0xff00_0000_0000_0000n, true, 'PageFault'],
    [0xfeff_ffff_ffff_fff0n, true, 'NonCanonical'],
  ])('8 bytes at %s, LA57 %s -> %s', (va, la57, name) => {
    const cause = Cause[name];
    const m = new BareMemory();
    m.cr4(CR4.LA57, la57);
    expect(m.access(va, Read, word)).toMatchObject({ cause });
    expect(m.access(va, Write, word)).toMatchObject({ cause });
  });
  test('a fetch behind the canonical range -> refused too', () => {
    expect(mapped().access(0x8000_0000_0000n, Exec)).toMatchObject({ cause: Cause.NonCanonical });
  });
  test('compatibility mode: 32 bits of an instruction address count, 64 of the own accesses of the CPU', () => {
    const m = new BareMemory();
    m.map(0x1000n, 0x5000);
    m.map(VA, 0x6000);
    m.state.segment(Seg.CS).attr &= ~0x200;
    expect(m.access(0x1_0000_1008n)).toMatchObject({ gpa: 0x5008, cache: false });
    expect(m.access(0x1008n)).toMatchObject({ gpa: 0x5008, cache: true });
    expect(m.access(VA, Read, { cls: AccessClass.System })).toMatchObject({ gpa: 0x6000 });
    expect(m.access(1n << 60n, Read, { cls: AccessClass.System })).toMatchObject({
      cause: Cause.NonCanonical,
    });
  });
});

describe('page faults', () => {
  const code = (r: object): number => ('errorCode' in r ? (r.errorCode as number) : -1);
  test('the record has the first byte in the page that fails, its size there, and the error code', () => {
    const m = mapped();
    const next = VA + 0x2000n;
    const r = m.once(next, Write, { size: 3, ctx: CTX_USER }) as AccessFault;
    expect(r).toMatchObject({ lo: 0x2000, hi: 0x40, size: 3, kind: Write, walk: false });
    expect(m.access(next, Write, { size: 3, ctx: CTX_USER })).toMatchObject({
      cause: Cause.PageFault,
      errorCode: PF.W | PF.U,
    });
  });
  test('SMAP by context: supervisor no, with EFLAGS.AC yes, fetches never; SMEP', () => {
    const m = mapped();
    m.cr4(CR4.SMAP);
    expect(code(m.access(VA))).toBe(PF.P);
    expect(code(m.access(VA, Write))).toBe(PF.P | PF.W);
    expect(m.access(VA, Write, { ctx: CTX_SUPERVISOR_AC })).toMatchObject({ gpa: 0x5000 });
    expect(m.access(VA, Write, { ctx: CTX_USER })).toMatchObject({ gpa: 0x5000 });
    expect(m.access(VA, Exec)).toMatchObject({ gpa: 0x5000 });
    m.cr4(CR4.SMEP);
    expect(code(m.access(VA, Exec))).toBe(PF.P | PF.I);
    expect(code(m.access(VA, Exec, { ctx: CTX_SUPERVISOR_AC }))).toBe(PF.P | PF.I);
    expect(m.access(VA, Exec, { ctx: CTX_USER })).toMatchObject({ gpa: 0x5000 });
  });
  test('CR0.WP, PKRU and NXE count as they are now, with the translation in the TLB', () => {
    const m = mapped(5n);
    expect(code(m.access(VA, Write))).toBe(PF.P | PF.W);
    m.cr0(CR0.WP, false);
    expect(m.access(VA, Write)).toMatchObject({ gpa: 0x5000 });
    m.cr0(CR0.WP);
    expect(code(m.access(VA, Write))).toBe(PF.P | PF.W);
    m.cr4(CR4.PKE);
    m.state.setSys(SR.PKRU, 1, 0);
    expect(code(m.access(VA))).toBe(PF.P | PF.PK);
    m.state.setSys(SR.PKRU, 4, 0);
    expect(m.access(VA)).toMatchObject({ gpa: 0x5000 });
    const nx = mapped(7n | (1n << 63n));
    expect(code(nx.access(VA, Exec))).toBe(PF.P | PF.I);
    nx.tlb.dropAll();
    nx.state.setSys(SR.EFER, nx.state.efer & ~EFER.NXE, 0);
    expect(code(nx.access(VA))).toBe(PF.P | PF.RSVD);
  });
  test('a read-modify-write of a read-only page -> W = 1', () => {
    const m = mapped(5n);
    expect(code(m.access(VA, ReadWrite, { size: 4, ctx: CTX_USER }))).toBe(PF.P | PF.W | PF.U);
  });
});

describe('alignment', () => {
  const user = (m: BareMemory, on: boolean): BareMemory => {
    m.state.cpl = 3;
    m.cr0(CR0.AM);
    m.ac(on);
    return m;
  };
  const at = (m: BareMemory, offset: number, size: number, kind: AccessKind = Read): object =>
    m.access(VA + BigInt(offset), kind, { size, ctx: CTX_USER });
  test('CR0.AM, EFLAGS.AC and CPL 3 -> #AC for what is not naturally aligned, before any page fault', () => {
    const m = user(mapped(), true);
    for (const [offset, size] of [
      [1, 2],
      [2, 4],
      [4, 8],
      [8, 16],
      [2, 6],
      [4, 10],
    ] as const) {
      expect(at(m, offset, size)).toMatchObject({ cause: Cause.Alignment });
      expect(at(m, 0x2000 + offset, size, Write)).toMatchObject({ cause: Cause.Alignment });
    }
    for (const [offset, size] of [
      [1, 1],
      [2, 2],
      [4, 4],
      [8, 8],
      [16, 16],
      [4, 6],
      [8, 10],
    ] as const)
      expect(at(m, offset, size)).toMatchObject({ gpa: 0x5000 + offset });
  });
  test('one of the three missing, or an access of the CPU itself -> none', () => {
    expect(at(user(mapped(), false), 1, 8)).toMatchObject({ gpa: 0x5001 });
    const noAm = user(mapped(), true);
    noAm.cr0(CR0.AM, false);
    expect(at(noAm, 1, 8)).toMatchObject({ gpa: 0x5001 });
    const m = user(mapped(), true);
    expect(m.access(VA + 1n, Read, { size: 8, ctx: CTX_USER, cls: AccessClass.System })).toMatchObject({
      gpa: 0x5001,
    });
    m.state.cpl = 0;
    expect(m.access(VA + 1n, Read, { size: 8, ctx: CTX_SUPERVISOR_AC })).toMatchObject({ gpa: 0x5001 });
  });
  test('while it is checked -> no data translation of the user stays fast; those of fetches do', () => {
    const m = user(mapped(), true);
    expect(at(m, 0, 8)).toMatchObject({ cache: false });
    expect(m.access(VA, Exec, { ctx: CTX_USER })).toMatchObject({ cache: true });
    m.ac(false);
    expect(at(m, 0, 8)).toMatchObject({ cache: true });
  });
});

describe('stage 2', () => {
  test('nothing mapped -> Stage2 with the gpa; of a table the entry, for writing where the CPU walks so', () => {
    for (const walksWrite of [false, true]) {
      const m = new BareMemory({ walksWrite });
      m.map(VA, 0x5000);
      const top = m.entry(VA, 4);
      m.stage2.zapAll();
      const r = m.once(VA) as AccessFault;
      expect(r).toMatchObject({
        cause: Cause.Stage2,
        walk: true,
        level: 4,
        gpa: top,
        write: walksWrite,
      });
      m.access(VA);
      m.stage2.zap(5, 1);
      expect(m.once(VA + 7n, Write)).toMatchObject({
        cause: Cause.Stage2,
        walk: false,
        gpa: 0x5007,
        write: true,
      });
    }
  });
  test('tables in read-only memory -> read without a write where the CPU does not write; A and D want one', () => {
    for (const [walksWrite, bits, served] of [
      [false, 0x67n, true],
      [false, 0x07n, false],
      [true, 0x67n, false],
    ] as const) {
      const m = new BareMemory({ walksWrite });
      const hva = m.space.map({ size: 4096 });
      m.space.write(
        hva + 8 * Number((VA >> 12n) & 511n),
        new Uint8Array(new BigUint64Array([0x5000n | bits]).buffer),
      );
      drive(m.slots.set({ slot: 3, gpa: HOLE, size: 4096, hva, flags: MemFlag.ReadOnly }));
      m.poke(m.entry(VA, 2), BigInt(HOLE) | 0x27n);
      const r = m.access(VA);
      if (served) expect(r).toMatchObject({ gpa: 0x5000 });
      else expect(r).toMatchObject({ cause: Cause.Stage2, walk: true, level: 1, write: true });
    }
  });
  test('poison: loads, fetches, walks and read-modify-writes consume it, stores hand it on', () => {
    const m = mapped();
    m.access(VA, Write);
    host.poison(m.stage2.frameOf(5));
    for (const kind of [Read, Exec, ReadWrite] as const)
      expect(m.access(VA, kind)).toMatchObject({ cause: Cause.External, gpa: 0x5000, walk: false });
    expect(m.access(VA, Write)).toMatchObject({ gpa: 0x5000, cache: false });
    host.heal(m.stage2.frameOf(5));
    m.tlb.dropAll();
    host.poison(m.stage2.frameOf(Math.floor(m.entry(VA) / 4096)));
    expect(m.access(VA, Write)).toMatchObject({
      cause: Cause.External,
      walk: true,
      level: 1,
      gpa: m.entry(VA),
    });
  });
  test('a CPU that does not report walks -> reads the table', () => {
    const m = new BareMemory({ poison: { load: true, store: true, fetch: true, walk: false, atomic: true } });
    m.map(VA, 0x5000);
    m.access(VA);
    m.tlb.dropAll();
    host.poison(m.stage2.frameOf(Math.floor(m.entry(VA) / 4096)));
    expect(m.access(VA)).toMatchObject({ gpa: 0x5000 });
    host.poison(m.stage2.frameOf(5));
    expect(m.access(VA, Write)).toMatchObject({ cause: Cause.External });
  });
  test.each([
    [FrameFlag.Code, true, false],
    [FrameFlag.Watched, false, false],
    [FrameFlag.Tracked, true, false],
  ])('a frame with flag %i -> read translations stay: %s, write translations: %s', (flag, read, write) => {
    const m = mapped();
    m.access(VA, Write);
    host.mark(m.stage2.frameOf(5), flag, true);
    expect([m.access(VA), m.access(VA, Write)]).toMatchObject([{ cache: read }, { cache: write }]);
    host.mark(m.stage2.frameOf(5), flag, false);
    expect(m.access(VA, Write)).toMatchObject({ cache: true });
  });
  test('A and D set in a frame with decoded code -> its records are told', () => {
    const m = mapped();
    m.access(VA);
    const pfn = m.stage2.frameOf(Math.floor(m.entry(VA) / 4096));
    host.mark(pfn, FrameFlag.Code, true);
    const lost: number[] = [];
    const stop = host.onCodeLost((n) => lost.push(n));
    m.access(VA, Write);
    stop();
    expect(lost).toEqual([pfn]);
  });
});

describe('outside memory', () => {
  const withDevice = (gpa = HOLE, size = 0x100): BareMemory => {
    const m = new BareMemory();
    m.map(VA, HOLE);
    m.map(VA + 0x1000n, HOLE + 0x1000);
    m.bus.add({
      name: 'lamp',
      gpa,
      size,
      load: (offset, _size, _vcpu, out) => {
        out.lo = offset;
        return offset < 0x80;
      },
      store: () => true,
    });
    return m;
  };
  test('an in-kernel device -> named to the engine, which may remember the page', () => {
    expect(withDevice().access(VA + 8n, Read, { size: 4 })).toMatchObject({
      device: true,
      gpa: HOLE + 8,
      cache: true,
    });
  });
  test.each<[string, bigint, AccessKind, object]>([
    ['a read-modify-write', VA, ReadWrite, { size: 4 }],
    ['16 bytes', VA, Read, { size: 16 }],
    ['an instruction that KVM does not emulate', VA, Read, { size: 8, cls: AccessClass.NotEmulated }],
    ['a fetch', VA, Exec, {}],
  ])('%s -> Device with the gpa, for KVM to emulate', (_, va, kind, o) => {
    expect(withDevice().access(va, kind, o)).toMatchObject({
      cause: Cause.Device,
      gpa: HOLE + Number(va - VA),
    });
  });
  test('no device there -> the access stands ready for an exit, and fails', () => {
    const m = withDevice();
    expect(m.access(VA + 0x100n, Read, { size: 4 })).toMatchObject({ gpa: HOLE + 0x100, device: true });
    const a = m.info(VA + 0x100n, Read, { size: 4 });
    expect(m.port.deviceLoad(HOLE + 0x100, 4, a, { lo: 0, hi: 0 })).toBe(-1);
    expect(m.port.deviceFilled).toBe(true);
    expect(m.device).toMatchObject({ gpa: HOLE + 0x100, size: 4, write: false, port: false });
    expect(m.port.fault.cause).toBe(Cause.Device);
  });
  test('a part of an access that crosses pages -> not a device of its own', () => {
    const m = withDevice(HOLE, 0x2000);
    const a = m.info(VA + 0xffcn, Read, { size: 8 });
    expect(m.port.check(a)).toBe(0);
    a.size = 4;
    while (m.port.resolve(a, m.out) < 0 && m.port.fault.cause === Cause.Stage2)
      m.fault(m.port.fault.gpa, true);
    expect(m.port.fault).toMatchObject({ cause: Cause.Device, gpa: HOLE + 0xffc, size: 4 });
  });
  test('the device refuses -> Device with the gpa of the access', () => {
    const m = withDevice();
    const a = m.info(VA + 0x90n, Read, { size: 4 });
    expect(m.port.deviceLoad(HOLE + 0x90, 4, a, { lo: 0, hi: 0 })).toBe(-1);
    expect(m.port.fault).toMatchObject({ cause: Cause.Device, gpa: HOLE + 0x90, kind: Read });
    expect(m.port.deviceStore(HOLE + 0x200, 4, a, 1, 0)).toBe(-1);
    expect(m.port.fault.gpa).toBe(HOLE + 0x200);
  });
});

describe('fetches in legacy modes', () => {
  test('beyond the limit of CS -> refused; a page that the limit cuts is never remembered', () => {
    const m = new BareMemory();
    m.legacy(0x5000, 0x1fff);
    expect(m.access(0x5000n, Exec)).toMatchObject({ gpa: 0x5000, cache: true });
    expect(m.access(0x6fffn, Exec)).toMatchObject({ gpa: 0x6fff, cache: true });
    expect(m.access(0x7000n, Exec)).toMatchObject({ cause: Cause.FetchLimit });
    m.legacy(0x5000, 0x1ffe);
    expect(m.access(0x6ffen, Exec)).toMatchObject({ gpa: 0x6ffe, cache: false });
    expect(m.access(0x6fffn, Exec)).toMatchObject({ cause: Cause.FetchLimit });
    m.legacy(0, -1);
    expect(m.access(0x3f_ffffn, Exec)).toMatchObject({ gpa: 0x3f_ffff, cache: true });
  });
  test('an instruction that begins before the limit and ends behind it -> refused', () => {
    for (const [length, cause] of [
      [2, undefined],
      [3, Cause.FetchLimit],
    ] as const) {
      const m = new BareMemory({ lengthAt: () => length });
      m.legacy(0x5000, 0x101);
      m.state.setPc(0x5100, 0);
      const r = m.access(0x5100n, Exec);
      expect('cause' in r ? r.cause : undefined).toBe(cause);
    }
  });
  test('pc beyond 4 GiB outside long mode -> it wraps; data addresses too', () => {
    const m = new BareMemory();
    m.legacy(0, -1);
    m.state.setPc(0x123, 1);
    expect(m.port.check(m.info(0x1_0000_0123n, Exec))).toBe(0);
    expect([m.state.pcLo, m.state.pcHi]).toEqual([0x123, 0]);
    expect(m.access(0x1_0000_5000n, Write)).toMatchObject({ gpa: 0x5000, cache: false });
  });
  test('the page in which a segment would be overrun -> named; long mode and flat segments have none', () => {
    const m = new BareMemory();
    expect(m.port.pageBehindCode()).toBe(-1);
    m.legacy(0x7c00, 0xffff, false);
    expect(m.port.pageBehindCode()).toBe(0x1_7000);
    m.legacy(0x5000, 0xfff);
    expect(m.port.pageBehindCode()).toBe(0x6000);
    m.legacy(0, -1);
    expect(m.port.pageBehindCode()).toBe(-1);
  });
});

describe('looking without effect', () => {
  test('codeAt -> the byte, no A bit, nothing kept; -1 where nothing is', () => {
    const m = mapped();
    m.at(0x5000);
    expect(m.port.codeAt(0x10, 0x40)).toBe(m.at(0x5010));
    expect(m.peek(m.entry(VA)) & 0x20n).toBe(0n);
    m.poke(m.entry(VA), 0n);
    expect(m.port.codeAt(0x10, 0x40)).toBe(-1);
  });
});

describe('a second stage', () => {
  test('its reader walks, its result is kept under the ASID, and its refusals are told apart', () => {
    const m = mapped();
    const asked: number[] = [];
    const stage: SecondStage = {
      missed: 0,
      readTable: (pa, size, out) => m.port.tables.readTable(pa, size, out),
      markTable: (pa, lo) => m.port.tables.markTable(pa, lo),
      finish: (want, out) => {
        asked.push(out.pa);
        if (want & 2) return WalkEnd.Nested;
        out.pa += 0x1000;
        out.attributes &= ~1;
        return WalkEnd.Done;
      },
    };
    m.port.nested = { acting: stage, silent: stage };
    m.tlb.asid = 3;
    expect(m.access(VA)).toMatchObject({ gpa: 0x6000 });
    expect(m.access(VA + 8n)).toMatchObject({ gpa: 0x6008 });
    expect(asked).toEqual([0x5000]);
    expect(m.access(VA + 8n, Write)).toMatchObject({ cause: Cause.Nested });
    m.port.nested = undefined;
    m.tlb.asid = 0;
    expect(m.access(VA, Write)).toMatchObject({ gpa: 0x5000 });
  });
  test('paging of the guest off -> its physical addresses still go through the second stage', () => {
    const m = new BareMemory();
    m.legacy(0, -1);
    const stage: SecondStage = {
      missed: 0,
      readTable: () => WalkEnd.Nested,
      markTable: () => WalkEnd.Nested,
      finish: (_, out) => {
        out.pa += 0x2000;
        return WalkEnd.Done;
      },
    };
    m.port.nested = { acting: stage, silent: stage };
    expect(m.access(0x5010n, Write)).toMatchObject({ gpa: 0x7010 });
    expect(m.port.codeAt(0x5010, 0)).toBe(m.at(0x7010));
  });
});
