/** Section 5.3 of the fact sheet: what each policy makes of MCA_DESTAT, of the rest of the window, and of its neighbours. */
import { describe, expect, it } from 'vitest';
import { fresh, type Guest } from './support/guest.ts';

const DESTAT = 0xc000_2098;
const DEADDR = 0xc000_2099;
/** DESTAT of bank 10, which is not there. */
const BEYOND = 0xc000_20a8;
const CONFIG = 0xc000_2094;
const VAL = 1n << 63n;
const HWCR = 0xc001_0015;
const EN = 0x4_0000n;
type Policy = 'reject' | 'ignore' | 'validate' | 'full';
const POLICIES: readonly Policy[] = ['reject', 'ignore', 'validate', 'full'];
const by = (smcaDestat: Policy, more: Readonly<Record<string, string>> = {}, cpuid = 'AMD'): Guest =>
  fresh({ set: { smcaDestat, ...more }, cpuid });

describe.each(POLICIES)('smcaDestat=%s', (p) => {
  const pick = <T>(reject: T, ignore: T, validate: T, full: T): T => ({ reject, ignore, validate, full })[p];
  it('WRMSR 0', () => expect(by(p).wrmsr(DESTAT, 0n)).toBe(pick('gp', 'ok', 'ok', 'ok')));
  it('WRMSR of a value, HWCR bit 18 clear', () =>
    expect(by(p).wrmsr(DESTAT, VAL)).toBe(pick('gp', 'ok', 'gp', 'gp')));
  it('the same, HWCR bit 18 set', () => {
    const g = by(p);
    g.set(HWCR, EN);
    expect(g.wrmsr(DESTAT, VAL | 5n)).toBe(pick('gp', 'ok', 'gp', 'ok'));
    expect(g.rdmsr(DESTAT)).toBe(pick<bigint | string>('gp', 0n, 0n, VAL | 5n));
    expect(g.api.view(g.cpu).banks[9]?.destat).toBe(pick(0n, 0n, 0n, VAL | 5n));
    expect(g.wrmsr(DESTAT, 0n)).toBe(pick('gp', 'ok', 'ok', 'ok'));
    expect(g.rdmsr(DESTAT)).toBe(pick<bigint | string>('gp', 0n, 0n, 0n));
  });
  it('the same with the CPUID of Intel', () => {
    const g = by(p, {}, 'Intel');
    g.set(HWCR, EN);
    expect(g.wrmsr(DESTAT, VAL)).toBe(pick('gp', 'ok', 'gp', 'gp'));
  });
  it('RDMSR', () => expect(by(p).rdmsr(DESTAT)).toBe(pick<bigint | string>('gp', 0n, 0n, 0n)));
  it('a bank that is not there', () => {
    expect(by(p).wrmsr(BEYOND, 0n)).toBe('gp');
    expect(by(p).rdmsr(BEYOND)).toBe('gp');
    expect(by(p).set(BEYOND, 0n)).toBe('refused');
  });
  it('the host', () => {
    const g = by(p);
    expect(g.set(DESTAT, 0n)).toBe(pick('refused', 'ok', 'ok', 'ok'));
    expect(g.set(DESTAT, 7n)).toBe(pick('refused', 'ok', 'refused', 'ok'));
    expect(g.get(DESTAT)).toBe(pick<bigint | string>('refused', 0n, 0n, 7n));
  });
  it('reason of the exit to userspace', () => {
    const g = by(p, { userExit: 'on' });
    g.cpu.set('rcx', DESTAT);
    g.cpu.set('rdx', 0x8000_0000n);
    g.cpu.set('rax', 0);
    const e = g.run('wrmsr');
    const inval = { kind: 'x86-wrmsr', reason: 1 };
    expect(e).toMatchObject(pick({ kind: 'x86-wrmsr', reason: 2 }, { kind: 'hlt' }, inval, inval));
  });
  it('other SMCA registers', () => {
    expect(by(p).rdmsr(CONFIG)).toBe('gp');
    expect(by(p).wrmsr(DEADDR, 0n)).toBe('gp');
    expect(by(p).wrmsr(0xc000_2091, 0n)).toBe('gp');
  });
  it('gated: without SMCA in CPUID as rejected, with it as the policy says', () => {
    const gated = { gated: 'on' };
    expect(by(p, gated).wrmsr(DESTAT, 0n)).toBe('gp');
    expect(by(p, gated).set(DESTAT, 0n)).toBe('refused');
    expect(by(p, gated, 'AMD+SMCA').wrmsr(DESTAT, 0n)).toBe(pick('gp', 'ok', 'ok', 'ok'));
  });
  it('an injected deferred error -> DESTAT stays 0', () => {
    const g = by(p);
    g.cpu.op('x86-set-mce', {
      bank: 9,
      status: 0x9c00_1800_0000_0000n,
      addr: 0x5000n,
      misc: 0x8cn,
      mcgStatus: 5n,
    });
    expect(g.api.view(g.cpu).banks[9]).toMatchObject({
      status: 0x9c00_1800_0000_0000n,
      destat: 0n,
      deaddr: 0n,
    });
  });
  it('with ignore_msrs -> what is unknown reads 0 and drops writes; what the policy refuses stays refused', () => {
    const g = by(p, { ignoreMsrs: 'on' });
    expect(g.wrmsr(DESTAT, VAL)).toBe(pick('ok', 'ok', 'gp', 'gp'));
    expect(g.rdmsr(CONFIG)).toBe(0n);
    expect(g.rdmsr(BEYOND)).toBe(pick<bigint | string>(0n, 'gp', 'gp', 'gp'));
  });
  it('with razwi -> the policy for DESTAT, the rest of the window reads 0 and ignores writes', () => {
    const g = by(p, { razwi: 'on' });
    expect(g.wrmsr(CONFIG, 1n << 32n)).toBe('ok');
    expect(g.rdmsr(CONFIG)).toBe(0n);
    expect(g.rdmsr(0xc000_23ff)).toBe(0n);
    expect(g.rdmsr(0xc000_2400)).toBe('gp');
    expect(g.rdmsr(BEYOND)).toBe(0n);
    expect(g.wrmsr(DESTAT, VAL)).toBe(pick('ok', 'ok', 'gp', 'gp'));
  });
});

describe('deferredFillsDestat', () => {
  const AO = 0x9c00_1800_0000_0000n;
  const g = (): Guest => by('full', { deferredFillsDestat: 'on' });
  it('a deferred error -> in STATUS and DESTAT, its address in ADDR and DEADDR; both clear alone', () => {
    const x = g();
    x.cpu.op('x86-set-mce', { bank: 9, status: AO, addr: 0x5000n, misc: 0x8cn, mcgStatus: 5n });
    expect([x.rdmsr(0x425), x.rdmsr(DESTAT), x.rdmsr(DEADDR)]).toEqual([AO, AO, 0x5000n]);
    expect(x.wrmsr(DESTAT, 0n)).toBe('ok');
    expect(x.wrmsr(DEADDR, 0n)).toBe('ok');
    expect(x.wrmsr(DEADDR, 1n)).toBe('gp');
    expect([x.rdmsr(0x425), x.rdmsr(DESTAT), x.rdmsr(DEADDR)]).toEqual([AO, 0n, 0n]);
  });
  it('over an uncorrected error -> STATUS only gets OVER, DESTAT has the deferred one', () => {
    const x = g();
    x.set(0x425, 0xbc00_0800_0000_0000n);
    expect(x.api.set(x.cpu, { bank: 9, status: AO, addr: 0x5000n })).toBe('marked');
    expect([x.rdmsr(0x425), x.rdmsr(DESTAT), x.rdmsr(DEADDR)]).toEqual([0xfc00_0800_0000_0000n, AO, 0x5000n]);
  });
  it('dropped, as reporting is off -> not in DESTAT', () => {
    const x = g();
    x.set(0x424, 0n);
    expect(x.api.set(x.cpu, { bank: 9, status: AO | (1n << 61n), mcgStatus: 7n })).toBe('disabled');
    expect(x.rdmsr(DESTAT)).toBe(0n);
  });
  it('a corrected error -> not in DESTAT', () => {
    const x = g();
    x.cpu.op('x86-set-mce', {
      bank: 9,
      status: 0x9c00_0000_0000_009fn,
      addr: 0x5000n,
      misc: 0n,
      mcgStatus: 0n,
    });
    expect(x.rdmsr(DESTAT)).toBe(0n);
  });
});

describe('razwi=aliased', () => {
  it('CTL, STATUS, ADDR, MISC0 of the window -> the legacy bank, with its rules', () => {
    const g = by('reject', { razwi: 'aliased' }, 'AMD+SMCA');
    g.cpu.op('x86-set-mce', {
      bank: 9,
      status: 0x9c00_1800_0000_0000n,
      addr: 0x5000n,
      misc: 0x8cn,
      mcgStatus: 0n,
    });
    const at = (r: number): bigint | 'gp' => g.rdmsr(0xc000_2090 + r);
    expect([0, 1, 2, 3, 4].map(at)).toEqual([
      0xffff_ffff_ffff_ffffn,
      0x9c00_1800_0000_0000n,
      0x5000n,
      0x8cn,
      0n,
    ]);
    expect(g.wrmsr(0xc000_2091, 1n)).toBe('gp');
    expect(g.wrmsr(0xc000_2091, 0n)).toBe('ok');
    expect(g.rdmsr(0x425)).toBe(0n);
    expect(g.wrmsr(0xc000_2090, 5n)).toBe('gp');
  });
});
