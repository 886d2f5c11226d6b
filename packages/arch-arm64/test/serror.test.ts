/** SErrors, RAS registers, kvm_vcpu_events and injected aborts: sea.md 2.3, 2.4, 4.1, 4.3, 4.5. */
import { definePlugin, type Exit, KvmError } from '@faultyard/core';
import { afterEach, describe, expect, test } from 'vitest';
import { externalAbort, type KvmRules, kvmRules } from '../src/index.ts';
import { closeLabs, type Lab, type LabOptions, lab, RAM } from './support/lab.ts';

afterEach(closeLabs);

const POISONED = RAM + 0x2000n;
const LOAD = `ldr x1, =${POISONED}\nldr x2, [x1]\nwfi\n.ltorg`;

/** A lab under other rules of KVM. */
function under(rules: Partial<KvmRules>, code: string, o: LabOptions = {}): Lab {
  const plugin = definePlugin({
    name: 'rules',
    core: '^1.0.0',
    setup: (ctx) => {
      ctx.contribute(kvmRules, () => rules);
      return {};
    },
  });
  return lab(code, { ...o, plugins: [plugin] });
}
const get = (l: Lab, ...names: string[]): bigint[] => names.map((n) => l.cpu.get(n));

describe('an external abort without fault plugin', () => {
  test('ldr from poison, A clear, VSE only -> SError vector, BF000000, ELR at the load, FAR unchanged', () => {
    const l = lab(LOAD);
    l.vm.poison(POISONED);
    l.cpu.set('far_el1', 0x1234n);
    l.run();
    expect(l.vector).toBe(0x380);
    expect(get(l, 'esr_el1', 'elr_el1', 'far_el1')).toEqual([0xbf00_0000n, RAM + 4n, 0x1234n]);
  });
  test('software entry with the IL bug -> BD000000; after the fix -> BF000000', () => {
    for (const [serrorTopByte, esr] of [
      [0xbd, 0xbd00_0000n],
      [0xbf, 0xbf00_0000n],
    ] as const) {
      const l = under({ serror: 'softwareEntry', serrorTopByte }, LOAD);
      l.vm.poison(POISONED);
      l.run();
      expect(get(l, 'esr_el1')).toEqual([esr]);
      expect(l.vector).toBe(0x380);
    }
  });
  test('A set: the SError stays pending, ISR.A reads 1, an ESB moves it to DISR 81000000', () => {
    const l = lab(
      `ldr x1, =${POISONED}\nadr x3, after\nldr x2, [x1]\nafter: mrs x4, isr_el1\nesb\nmrs x5, disr_el1\nmrs x6, isr_el1\nwfi\n.ltorg`,
      {
        daif: true,
      },
    );
    l.vm.poison(POISONED);
    const e = l.cpu.run(50);
    expect(e.kind).toBe('budget');
    expect(l.cpu.pc).toBe(RAM + 8n);
    expect(l.cpu.vm.ops.call(l.cpu, 'get-vcpu-events', {})).toMatchObject({
      serrorPending: true,
      serrorHasEsr: true,
      serrorEsr: 0x100_0000n,
    });
    l.vm.heal(POISONED);
    l.run();
    expect(get(l, 'x4', 'x5', 'x6')).toEqual([0x100n, 0x8100_0000n, 0n]);
  });
  test('A set, then cleared -> SError vector with the pending syndrome', () => {
    const l = lab('msr daifclr, #4\nmov x9, #1\nwfi', { daif: true });
    l.arch.injectSError(0x123);
    l.run();
    expect(l.vector).toBe(0x380);
    expect(get(l, 'esr_el1', 'elr_el1', 'x9')).toEqual([0xbe00_0123n, RAM + 4n, 0n]);
  });
  test('a second SError while one is pending -> merged, or queued by rule', () => {
    for (const [serrorWhilePending, left] of [
      ['mergeIntoOne', false],
      ['queue', true],
    ] as const) {
      const l = under({ serrorWhilePending }, 'msr daifclr, #4\nwfi', { daif: true });
      l.arch.injectSError(1);
      l.arch.injectSError(2);
      l.run();
      expect(l.arch.serrors.pending).toBe(left);
    }
  });
  test('an error delivered as an SError -> the access completes, the SError is taken at it', () => {
    const sync = {
      load: 'async',
      store: 'none',
      fetch: 'sync',
      walk: 'sync',
      cmo: 'sync',
      atomic: 'sync',
    } as const;
    const l = under({ delivery: sync }, LOAD, { daif: true });
    l.vm.poke(POISONED, 99n);
    l.vm.poison(POISONED);
    expect(l.run().kind).toBe('budget');
    expect(get(l, 'x2')).toEqual([99n]);
    expect(l.arch.serrors.pending).toBe(true);
  });
});

describe('kvm_vcpu_events', () => {
  const set = (l: Lab, e: object): unknown => l.vm.ops.call(l.cpu, 'set-vcpu-events', e);
  const now: Partial<KvmRules> = {
    eventsCommit: 'immediate',
    eventsUninit: 'ENOEXEC',
    serror: 'softwareEntry',
  };
  test('ext_dabt at EL0t -> VBAR+400, 92000010, FAR as captured, committed at once (R1/P2)', () => {
    for (const [span, pstate] of [
      [1n << 23n, 0x3c5n],
      [0n, 0x40_03c5n],
    ] as const) {
      const l = under(now, 'wfi');
      l.cpu.set('vbar_el1', 0xffff_0000_0001_0800n);
      l.cpu.set('sctlr_el1', (l.cpu.get('sctlr_el1') & ~(1n << 23n)) | span);
      l.cpu.pc = 0x40_0800n;
      l.cpu.set('pstate', 0n);
      l.arch.fault = { esr: 0x9200_0010, far: 0x40_0128n, hpfar: 0n };
      set(l, { extDabtPending: true });
      expect(l.cpu.pc).toBe(0xffff_0000_0001_0c00n);
      expect(get(l, 'pstate', 'elr_el1', 'spsr_el1', 'esr_el1', 'far_el1')).toEqual([
        pstate,
        0x40_0800n,
        0n,
        0x9200_0010n,
        0x40_0128n,
      ]);
      expect(l.vm.ops.call(l.cpu, 'get-vcpu-events', {})).toMatchObject({ extDabtPending: false });
    }
  });
  test('KVM before 6.17 -> the exception is built at the next KVM_RUN', () => {
    const l = under({ ...now, eventsCommit: 'nextRun' }, 'wfi');
    set(l, { extDabtPending: true });
    expect(l.cpu.pc).toBe(RAM);
    l.run();
    expect(l.vector).toBe(0x200);
  });
  test('SErrors: no RAS on the host or bits above 24 -> EINVAL, and the abort half stays injected', () => {
    const l = under({ ...now, hostRas: false }, 'wfi');
    expect(() =>
      set(l, { extDabtPending: true, serrorPending: true, serrorHasEsr: true, serrorEsr: 1n }),
    ).toThrow(KvmError);
    expect(l.vector).toBe(0x200);
    const m = under({ ...now, eventsAtomic: true }, 'wfi');
    expect(() =>
      set(m, { extDabtPending: true, serrorPending: true, serrorHasEsr: true, serrorEsr: 1n << 25n }),
    ).toThrow('EINVAL');
    expect(m.cpu.pc).toBe(RAM);
  });
  test('both in one call -> the SEA entry masks the SError, which stays pending', () => {
    const l = under(now, 'wfi');
    set(l, { extDabtPending: true, serrorPending: true });
    expect(l.vector).toBe(0x200);
    expect(l.vm.ops.call(l.cpu, 'get-vcpu-events', {})).toMatchObject({ serrorPending: true });
  });
  test('before KVM_ARM_VCPU_INIT -> ENOEXEC, for KVM_RUN too; after it they work', () => {
    const l = under(now, 'wfi', { init: false });
    expect(() => set(l, { extDabtPending: true })).toThrow('ENOEXEC');
    expect(l.run()).toMatchObject({ kind: 'run-error', ret: -1, errno: 'ENOEXEC' });
    l.vm.ops.call(l.cpu, 'arm-vcpu-init', {});
    expect(set(l, {})).toBe(0);
  });
  test('injected while a load waits for its answer -> the load is dropped, PC not stepped past it', () => {
    const l = under(now, 'mov x0, #0x9000000\nldr x1, [x0]\nwfi');
    const e = l.run();
    expect(e.kind).toBe('mmio');
    set(l, { extDabtPending: true });
    l.run();
    expect(l.vector).toBe(0x200);
    expect(get(l, 'elr_el1', 'far_el1', 'x1')).toEqual([RAM + 4n, 0x900_0000n, 0n]);
  });
});

describe('RAS and DoubleFault2', () => {
  const records = ['erridr_el1', 'errselr_el1', 's3_0_c5_c4_0', 's3_0_c5_c5_1'];
  for (const name of records)
    test(`${name}: RAZ with RAS, UNDEFINED without (6.17)`, () => {
      const l = lab(`mov x0, #7\nmrs x0, ${name}\nwfi`);
      l.run();
      expect(get(l, 'x0')).toEqual([0n]);
      const m = under({ rasRegisters: 'UNDEF' }, `mov x0, #7\nmrs x0, ${name}\nwfi`, { ras: 0 });
      m.run();
      expect(m.vector).toBe(0x200);
      expect(get(m, 'esr_el1')).toEqual([0x200_0000n]);
    });
  test('ERXPFGF_EL1 needs RASv1p1', () => {
    const l = lab('mrs x0, s3_0_c5_c4_4\nwfi');
    l.run();
    expect(l.vector).toBe(0x200);
    const m = lab('mrs x0, s3_0_c5_c4_4\nwfi', { ras: 2 });
    m.run();
    expect(m.vector).toBeUndefined();
  });
  test('SCTLR2_EL1 exists with df2 only; EASE sends an SEA to the SError vector', () => {
    const l = lab('mov x0, #0x20\nmsr s3_0_c1_c0_3, x0\nwfi');
    l.run();
    expect(l.vector).toBe(0x200);
    const m = lab('mov x0, #0x20\nmsr s3_0_c1_c0_3, x0\nwfi', { df2: true });
    m.run();
    m.arch.fault = { esr: 0x9200_0010, far: 0x55n, hpfar: 0n };
    m.arch.injectSea(false, 0x55n);
    expect(m.vector).toBe(0x380);
    expect(get(m, 'esr_el1', 'far_el1')).toEqual([0x9600_0010n, 0x55n]);
  });
});

describe('the external-abort point', () => {
  const asked = (
    code: string,
    poison: bigint,
    prepare: (l: Lab) => void = () => {},
    rules: Partial<KvmRules> = {},
  ) => {
    const seen: unknown[] = [];
    const plugin = definePlugin({
      name: 'spy',
      core: '^1.0.0',
      setup: (ctx) => {
        ctx.contribute(kvmRules, () => rules);
        // biome-ignore lint/correctness/useYield: nobody else has to run here
        ctx.contribute(externalAbort, function* (q): Generator<never, Exit | undefined> {
          seen.push(q.abort);
          q.vcpu.takeExternalAbort(q.abort.forFetch ? 0x8200_0010 : 0x9200_0010, q.abort.va);
          return undefined;
        });
        return {};
      },
    });
    const l = lab(code, { plugins: [plugin] });
    prepare(l);
    l.vm.poison(poison);
    l.run();
    return { l, seen };
  };
  const store = {
    load: 'sync',
    store: 'sync',
    fetch: 'sync',
    walk: 'sync',
    cmo: 'sync',
    atomic: 'sync',
  } as const;
  for (const [code, cls] of [
    ['ldr x2, [x1]', 'load'],
    ['ldp x2, x3, [x1]', 'load'],
    ['str x2, [x1]', 'store'],
    ['dc zva, x1', 'store'],
    ['ldadd x2, x3, [x1]', 'atomic'],
    ['ldxr x2, [x1]', 'atomic'],
    ['dc civac, x1', 'cmo'],
    ['br x1', 'fetch'],
  ] as const)
    test(`${code} at poison -> class ${cls}`, () => {
      const mmuOn = code.startsWith('dc zva');
      const { l, seen } = asked(
        `ldr x1, =${POISONED}\n${code}\nwfi\n.ltorg`,
        POISONED,
        mmuOn ? flat : undefined,
        { delivery: store },
      );
      expect(seen).toMatchObject([
        { cls, gpa: POISONED, va: POISONED, el0: false, forFetch: cls === 'fetch', cm: cls === 'cmo' },
      ]);
      expect(l.vector).toBe(0x200);
      expect(get(l, 'esr_el1')).toEqual([cls === 'fetch' ? 0x8600_0010n : 0x9600_0010n]);
    });
  test('a walk over a poisoned table -> class walk, level 2', () => {
    const table = RAM + 0x30000n;
    const { seen } = asked(`ldr x1, =0x100000000\nldr x2, [x1]\nwfi\n.ltorg`, table, (l) => {
      flat(l);
      l.vm.poke(RAM + 0x20000n + 32n, table | 3n);
    });
    expect(seen).toMatchObject([
      { cls: 'walk', gpa: table, va: 0x1_0000_0000n, walk: { stage: 1, level: 2, s1ptw: false } },
    ]);
  });
  test('a damaged stage 2 table -> class walk, stage 2, S1PTW as chosen', () => {
    for (const s1ptw of [false, true]) {
      const { seen } = asked(LOAD, RAM + 0x8000n, (l) => {
        const api = l.vm.api<never, { poisonStage2Table(g: bigint, r: object): void }>('arm64');
        api.poisonStage2Table(POISONED, { level: 3, s1ptw });
      });
      expect(seen).toMatchObject([{ cls: 'walk', walk: { stage: 2, level: 3, s1ptw } }]);
    }
  });
});

/** MMU on, the first 4 GiB flat and Normal. */
function flat(l: Lab): void {
  for (let n = 0n; n < 4n; n++) l.vm.poke(RAM + 0x20000n + 8n * n, (n << 30n) | 0x705n);
  l.cpu.set('mair_el1', 0xff00n);
  l.cpu.set('tcr_el1', 25n | (1n << 23n) | (5n << 32n));
  l.cpu.set('ttbr0_el1', RAM + 0x20000n);
  l.cpu.set('sctlr_el1', 0x30d0_1805n);
}
