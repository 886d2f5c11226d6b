/** Transactions of TypeScript on guest memory: all or nothing, own writes seen, faults and devices reported. */
import { FrameFlag } from '@faultyard/core';
import { Access } from '@faultyard/engine';
import { describe, expect, test } from 'vitest';
import { CTX_SUPERVISOR, CTX_SUPERVISOR_AC, CTX_USER } from '../src/isa/layout.ts';
import type { Transaction } from '../src/memory/linear.ts';
import { PF } from '../src/memory/page.ts';
import { CR0, CR4 } from '../src/state.ts';
import { BareMemory, Cause, host, RAM } from './support/bare-memory.ts';

const HI = 0x40;
const VA = 0x40_0000_0000n;
const HOLE = RAM + 0x10_0000;

/** Pages 0 to 2 from VA, mapped to frames that are not neighbours, and in stage 2. */
function mapped(bits: bigint = 7n): BareMemory {
  const m = new BareMemory();
  [0x5000, 0x9000, 0x7000].forEach((gpa, n) => {
    m.map(VA + BigInt(n * 4096), gpa, bits);
    m.at(gpa);
  });
  m.access(VA, Access.Read);
  return m;
}
const pair = (t: Transaction, lo: number, size: number): string => {
  const low = t.read(lo, HI, size) >>> 0;
  return (BigInt(low) | (BigInt(t.hi >>> 0) << 32n)).toString(16);
};

describe('reading', () => {
  test.each([1, 2, 4, 8])(
    '%i bytes, at every offset around a page boundary -> the bytes in order',
    (size) => {
      const m = mapped();
      for (let i = 0; i < 16; i++) host.u8[m.at(i < 8 ? 0x5ff8 + i : 0x9000 + i - 8)] = 0x10 + i;
      for (let at = 0; at + size <= 16; at++) {
        const want = Array.from({ length: size }, (_, i) => (0x10 + at + size - 1 - i).toString(16)).join('');
        expect(pair(m.memory.begin(), 0xff8 + at, size)).toBe(want);
      }
    },
  );
  test('readBytes -> across pages, with what the transaction wrote', () => {
    const m = mapped();
    for (let i = 0; i < 12; i++) host.u8[m.at(i < 5 ? 0x5ffb + i : 0x9000 + i - 5)] = i + 1;
    const t = m.memory.begin();
    t.write(0xffd, HI, 4, 0xd4c3b2a1 | 0);
    const to = new Uint8Array(12);
    t.readBytes(0xffb, HI, to);
    expect([...to]).toEqual([1, 2, 0xa1, 0xb2, 0xc3, 0xd4, 7, 8, 9, 10, 11, 12]);
    expect(host.u8[m.at(0x5ffd)]).toBe(3);
  });
});

describe('writing', () => {
  test('nothing is visible before commit; then all of it, in order', () => {
    const m = mapped();
    const t = m.memory.begin();
    t.write(0x10, HI, 8, 0x1111_1111, 0x2222_2222);
    t.write(0x14, HI, 4, 0x3333_3333);
    t.write(0x13, HI, 1, 0x44);
    t.write(0x16, HI, 2, 0x5555);
    expect(m.peek(0x5010)).toBe(0n);
    t.commit();
    expect(m.peek(0x5010).toString(16)).toBe('5555333344111111');
  });
  test.each([2, 4, 8])('%i bytes over a page boundary at every split -> both frames', (size) => {
    for (let first = 1; first < size; first++) {
      const m = mapped();
      const t = m.memory.begin();
      t.write(0x1000 - first, HI, size, 0x0403_0201, 0x0807_0605);
      expect(pair(t, 0x1000 - first, size)).toBe(
        [8, 7, 6, 5, 4, 3, 2, 1]
          .slice(8 - size)
          .map((n) => n.toString(16).padStart(2, '0'))
          .join('')
          .replace(/^0/, ''),
      );
      t.commit();
      const got = Array.from(
        { length: size },
        (_, i) => host.u8[m.at(i < first ? 0x6000 - first + i : 0x9000 + i - first)],
      );
      expect(got).toEqual(Array.from({ length: size }, (_, i) => i + 1));
    }
  });
  test('reads see own writes, whole or in part, also through another address of the same page', () => {
    const m = mapped();
    m.map(VA + 0x3000n, 0x5000);
    m.poke(0x5020, 0x8877_6655_4433_2211n);
    const t = m.memory.begin();
    t.write(0x22, HI, 2, 0xabcd);
    expect(pair(t, 0x20, 8)).toBe('88776655abcd2211');
    expect(pair(t, 0x3023, 4)).toBe('776655ab');
    expect(pair(t, 0x24, 4)).toBe('88776655');
    t.write(0x3020, HI, 8, 0, 0);
    expect(pair(t, 0x22, 2)).toBe('0');
  });
  test('writeBytes of more than the first writes hold -> kept and made', () => {
    const m = mapped();
    const bytes = Uint8Array.from({ length: 2700 }, (_, i) => (i * 7) & 0xff);
    const t = m.memory.begin();
    t.writeBytes(0xe01, HI, bytes);
    const seen = new Uint8Array(2700);
    t.readBytes(0xe01, HI, seen);
    expect(seen).toEqual(bytes);
    t.commit();
    const first = 0x1000 - 0xe01;
    expect(host.u8.slice(m.at(0x5e01), m.at(0x5e01) + first)).toEqual(bytes.slice(0, first));
    expect(host.u8.slice(m.at(0x9000), m.at(0x9000) + 2700 - first)).toEqual(bytes.slice(first));
  });
  test('a frame with decoded code -> told at commit, not before', () => {
    const m = mapped();
    const pfn = m.at(0x5000) / 4096;
    host.mark(pfn, FrameFlag.Code, true);
    let lost = 0;
    const stop = host.onCodeLost(() => lost++);
    const t = m.memory.begin();
    t.write(0, HI, 4, 1);
    expect(lost).toBe(0);
    t.commit();
    stop();
    expect(lost).toBe(1);
  });
});

describe('failing', () => {
  test('a #PF in the second page -> the first is not written, later reads give 0, the record stands', () => {
    const m = mapped();
    m.poke(m.entry(VA + 0x1000n), 0n);
    const t = m.memory.begin();
    t.write(0x20, HI, 4, 5);
    t.write(0xffe, HI, 4, 0x1234_5678);
    expect([t.failed, t.hostFault]).toEqual([true, false]);
    t.write(0x2000, HI, 4, 6);
    expect([t.read(0x20, HI, 4), t.hi]).toEqual([0, 0]);
    t.commit();
    expect([m.peek(0x5020), m.peek(0x5ff8), m.peek(0x7000)]).toEqual([0n, 0n, 0n]);
    expect(m.port.fault).toMatchObject({ cause: Cause.PageFault, errorCode: PF.W, lo: 0x1000, hi: HI });
  });
  test('begin -> a fresh one', () => {
    const m = mapped();
    const t = m.memory.begin();
    t.write(0x20, HI, 4, 5);
    t.read(0x10_0000, HI, 4);
    expect(t.failed).toBe(true);
    const u = m.memory.begin();
    expect([u.failed, u.read(0x20, HI, 4)]).toEqual([false, 0]);
    u.commit();
    expect(m.peek(0x5020)).toBe(0n);
  });
  test('stage 2 misses, holes and poison -> the fault of the host, not of the guest', () => {
    const m = mapped();
    m.stage2.zap(5, 1);
    const t = m.memory.begin();
    t.read(0x10, HI, 8);
    expect([t.failed, t.hostFault, m.port.fault.cause, m.port.fault.gpa]).toEqual([
      true,
      true,
      Cause.Stage2,
      0x5010,
    ]);
    m.map(VA, HOLE);
    m.tlb.dropAll();
    m.memory.begin().write(0x10, HI, 8, 1);
    expect([t.hostFault, m.port.fault.cause, m.port.fault.gpa]).toEqual([true, Cause.Device, HOLE + 0x10]);
    host.poison(m.at(0x9000) / 4096);
    m.memory.begin().read(0x1010, HI, 8);
    expect([t.hostFault, m.port.fault.cause]).toEqual([true, Cause.External]);
  });
  test('an in-kernel device in a transaction -> Device, not asked', () => {
    const m = mapped();
    let asked = 0;
    const answer = (): boolean => asked++ === 0;
    m.bus.add({ name: 'lamp', gpa: HOLE, size: 4096, load: answer, store: answer });
    m.map(VA, HOLE);
    m.tlb.dropAll();
    const t = m.memory.begin();
    expect(t.read(0, HI, 4)).toBe(0);
    expect([t.failed, m.port.fault.cause, asked]).toEqual([true, Cause.Device, 0]);
  });
  test('read for a write of a read-only page -> W = 1; a plain read goes through', () => {
    const m = mapped(5n);
    expect(m.memory.begin().read(0, HI, 4)).toBe(0);
    const t = m.memory.begin();
    t.read(0, HI, 4, true);
    expect([t.failed, m.port.fault.errorCode]).toEqual([true, PF.P | PF.W]);
  });
});

describe('contexts', () => {
  test('explicit accesses have the rights of CPL and AC, those of the CPU itself the supervisor’s', () => {
    const m = mapped(3n);
    m.state.cpl = 3;
    m.memory.begin().read(0, HI, 4);
    expect(m.port.fault).toMatchObject({ cause: Cause.PageFault, errorCode: PF.P | PF.U, ctx: CTX_USER });
    const t = m.memory.begin();
    t.ctx = CTX_SUPERVISOR;
    t.write(0, HI, 4, 9);
    expect(t.failed).toBe(false);
    expect(m.memory.begin(CTX_SUPERVISOR).ctx).toBe(CTX_SUPERVISOR);

    const user = mapped(7n);
    user.cr4(CR4.SMAP);
    user.memory.begin().read(0, HI, 4);
    expect(user.port.fault.errorCode).toBe(PF.P);
    user.ac(true);
    expect(user.memory.begin().ctx).toBe(CTX_SUPERVISOR_AC);
    const ac = user.memory.begin();
    ac.read(0, HI, 4);
    expect(ac.failed).toBe(false);
    const implicit = user.memory.begin(CTX_SUPERVISOR);
    implicit.read(0, HI, 4);
    expect(implicit.failed).toBe(true);
  });
  test('#AC of an explicit access, none of the CPU itself', () => {
    const m = mapped();
    m.state.cpl = 3;
    m.cr0(CR0.AM);
    m.ac(true);
    const t = m.memory.begin();
    t.read(2, HI, 4);
    expect([t.failed, t.hostFault, m.port.fault.cause]).toEqual([true, false, Cause.Alignment]);
    const own = m.memory.begin(CTX_USER);
    own.read(2, HI, 4);
    expect(own.failed).toBe(false);
  });
});

describe('physical reads', () => {
  test('8 bytes -> both halves; outside memory the fault of the host', () => {
    const m = mapped();
    m.poke(0x7018, 0x1122_3344_5566_7788n);
    const t = m.memory.begin();
    expect([t.readPhysical(0x7018), t.hi]).toEqual([0x5566_7788, 0x1122_3344]);
    expect(t.readPhysical(HOLE)).toBe(0);
    expect([t.failed, t.hostFault]).toEqual([true, true]);
    expect(m.port.fault).toMatchObject({ cause: Cause.Stage2, walk: true, gpa: HOLE });
  });
});
