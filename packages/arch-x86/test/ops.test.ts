import { describe, expect, test } from 'vitest';
import { real, run } from './support/real.ts';

describe('KVM_GET_REGS and KVM_SET_REGS', () => {
  test('registers written -> read back; RFLAGS bit 1 set; the guest sees them', () => {
    const { vm, core } = real('add ax, bx; hlt');
    const before = core.op('get-regs', {});
    expect(before.rip).toBe(0x8000n);
    core.op('set-regs', { ...before, rax: 0x1234n, rbx: 1n, r15: 0xffff_ffff_ffff_fff0n, rflags: 0x41n });
    expect(core.op('get-regs', {})).toMatchObject({ r15: 0xffff_ffff_ffff_fff0n, rflags: 0x43n });
    run(core);
    expect(core.op('get-regs', {})).toMatchObject({ rax: 0x1235n, rip: 0x8003n });
    vm.dispose();
  });
});

describe('KVM_GET_SREGS and KVM_SET_SREGS', () => {
  test('long mode written -> it runs 64-bit code', () => {
    const { vm, core } = real('hlt');
    // PML4 at 1000h, PDPT at 2000h, one page of 1 GiB
    vm.poke(0x1000, 0x2003n);
    vm.poke(0x2000, 0x83n);
    // mov rax, r8; hlt
    vm.write(0x8000, Uint8Array.of(0x4c, 0x89, 0xc0, 0xf4));
    const s = core.op('get-sregs', {});
    const cs = { ...s.cs, selector: 8, base: 0n, type: 11, l: 1, g: 1, db: 0, limit: 0xffff_ffff };
    core.op('set-sregs', { ...s, cs, cr0: 0x8000_0011n, cr3: 0x1000n, cr4: 0x20n, efer: 0x500n });
    const regs = core.op('get-regs', {});
    core.op('set-regs', { ...regs, rip: 0x8000n, r8: 0x1122_3344_5566_7788n });
    expect(run(core).kind).toBe('hlt');
    expect(core.get('rax')).toBe(0x1122_3344_5566_7788n);
    expect(core.op('get-sregs', {})).toMatchObject({
      efer: 0x500n,
      cs: { l: 1, selector: 8, limit: 0xffff_ffff },
    });
    vm.dispose();
  });
  test.each([
    ['long mode without PAE', { cr0: 0x8000_0011n, cr4: 0n, efer: 0x500n }],
    ['long mode without LMA', { cr0: 0x8000_0011n, cr4: 0x20n, efer: 0x100n }],
    ['LMA without paging', { efer: 0x500n }],
    ['paging without protection', { cr0: 0x8000_0010n }],
    ['CR0.NW without CD', { cr0: 0x2000_0010n }],
    ['a reserved bit of CR4', { cr4: 1n << 30n }],
    ['bits above MAXPHYADDR of CR3', { cr0: 0x8000_0011n, cr4: 0x20n, efer: 0x500n, cr3: 1n << 50n }],
    ['x2APIC without it', { apicBase: 0xfee0_0c00n }],
  ] as const)('%s -> EINVAL', (_, change) => {
    const { vm, core } = real('hlt');
    const s = core.op('get-sregs', {});
    const before = core.op('get-sregs', {});
    expect(() => core.op('set-sregs', { ...s, ...change })).toThrow(/EINVAL/);
    expect(core.op('get-sregs', {})).toEqual(before);
    vm.dispose();
  });
  test('a vector in the bitmap -> it is delivered at the next entry', () => {
    const { vm, core } = real('hlt');
    vm.poke(0x21 * 4, 0x7100, 4);
    const s = core.op('get-sregs', {});
    core.op('set-sregs', { ...s, interruptBitmap: [1n << 0x21n, 0n, 0n, 0n] });
    expect(core.op('get-sregs', {}).interruptBitmap).toEqual([1n << 0x21n, 0n, 0n, 0n]);
    run(core);
    expect(core.get('rsi')).toBe(0xbeefn);
    vm.dispose();
  });
  test('KVM_SET_SREGS2: pointers without PAE, unknown flags -> EINVAL; with PAE -> they are kept', () => {
    const { vm, core } = real('hlt');
    const s = core.op('get-sregs2', {});
    expect(s.flags).toBe(0n);
    expect(() => core.op('set-sregs2', { ...s, flags: 1n })).toThrow(/EINVAL/);
    expect(() => core.op('set-sregs2', { ...s, flags: 2n })).toThrow(/EINVAL/);
    const pdptrs = [0x1001n, 0n, 0n, 0x2001n];
    core.op('set-sregs2', { ...s, cr0: 0x8000_0011n, cr4: 0x20n, flags: 1n, pdptrs });
    expect(core.op('get-sregs2', {})).toMatchObject({ flags: 1n, pdptrs });
    vm.dispose();
  });
});

describe('FPU, XSAVE, XCRS', () => {
  test('KVM_SET_FPU -> KVM_GET_FPU and XMM registers', () => {
    const { vm, core } = real('hlt');
    const f = core.op('get-fpu', {});
    expect([f.fcw, f.fsw, f.ftwx]).toEqual([0x37f, 0, 0]);
    const xmm = Uint8Array.from({ length: 256 }, (_, i) => i);
    core.op('set-fpu', { ...f, fcw: 0x27f, fsw: 0x3800, ftwx: 0x80, xmm });
    expect(core.op('get-fpu', {})).toMatchObject({ fcw: 0x27f, fsw: 0x3800, ftwx: 0x80, xmm });
    expect(core.get('xmm1')).toBe(0x1f1e1d1c1b1a19181716151413121110n);
    vm.dispose();
  });
  test('KVM_GET_XSAVE -> an area KVM_SET_XSAVE takes; what is not there -> EINVAL', () => {
    const { vm, core } = real('hlt');
    core.set('xmm2', 77n);
    core.set('pkru', 0x55);
    const region = core.op('get-xsave', {});
    const d = new DataView(region.buffer);
    expect([d.getUint32(512, true), d.getUint32(24, true), d.getUint32(0x980, true)]).toEqual([
      0x203, 0x1f80, 0x55,
    ]);
    core.set('xmm2', 1n);
    core.set('pkru', 0);
    core.op('set-xsave', { region });
    expect([core.get('xmm2'), core.get('pkru')]).toEqual([77n, 0x55n]);
    const with4 = region.slice();
    new DataView(with4.buffer).setUint32(512, 7, true);
    expect(() => core.op('set-xsave', { region: with4 })).toThrow(/EINVAL/);
    const mxcsr = region.slice();
    new DataView(mxcsr.buffer).setUint32(24, 0x8000_0000, true);
    expect(() => core.op('set-xsave', { region: mxcsr })).toThrow(/EINVAL/);
    vm.dispose();
  });
  test('KVM_SET_XCRS: without x87, with AVX -> EINVAL', () => {
    const { vm, core } = real('hlt');
    expect(core.op('get-xcrs', {})).toEqual([{ xcr: 0, value: 1n }]);
    core.op('set-xcrs', { xcrs: [{ xcr: 0, value: 3n }] });
    expect(core.op('get-xcrs', {})).toEqual([{ xcr: 0, value: 3n }]);
    for (const value of [2n, 7n, 1n << 32n])
      expect(() => core.op('set-xcrs', { xcrs: [{ xcr: 0, value }] })).toThrow(/EINVAL/);
    vm.dispose();
  });
});

describe('debug registers, MP state, TSC, translation', () => {
  test('KVM_SET_DEBUGREGS -> fixed bits; upper bits, flags -> EINVAL', () => {
    const { vm, core } = real('hlt');
    const d = { db: [1n, 2n, 3n, 4n], dr6: 0x4001n, dr7: 0x2n, flags: 0n };
    core.op('set-debugregs', d);
    expect(core.op('get-debugregs', {})).toEqual({ ...d, dr6: 0xffff_4ff1n, dr7: 0x402n });
    expect(() => core.op('set-debugregs', { ...d, dr6: 1n << 32n })).toThrow(/EINVAL/);
    expect(() => core.op('set-debugregs', { ...d, dr7: 1n << 32n })).toThrow(/EINVAL/);
    expect(() => core.op('set-debugregs', { ...d, flags: 1n })).toThrow(/EINVAL/);
    vm.dispose();
  });
  test('KVM_SET_MP_STATE without an interrupt controller -> only RUNNABLE', () => {
    const { vm, core } = real('hlt');
    expect(core.op('get-mp-state', {})).toBe(0);
    expect(core.op('set-mp-state', { mpState: 0 })).toBe(0);
    for (const mpState of [1, 2, 3, 4, 7, 9])
      expect(() => core.op('set-mp-state', { mpState })).toThrow(/EINVAL/);
    vm.dispose();
  });
  test('KVM_SET_TSC_KHZ -> RDTSC runs that fast; 0 -> the model’s', () => {
    const { vm, core } = real('jmp $');
    core.run(1000);
    expect(core.op('get-tsc-khz', {})).toBe(3_000_000);
    expect(core.op('get-msrs', { indices: [0x10] })).toEqual([3000n]);
    core.op('set-tsc-khz', { khz: 500_000 });
    expect(core.op('get-msrs', { indices: [0x10] })).toEqual([500n]);
    core.op('set-tsc-khz', { khz: 0 });
    expect(core.op('get-tsc-khz', {})).toBe(3_000_000);
    vm.dispose();
  });
  test('KVM_TRANSLATE without paging -> the same address', () => {
    const { vm, core } = real('hlt');
    expect(core.op('translate', { linearAddress: 0x1234n })).toEqual({
      physicalAddress: 0x1234n,
      valid: true,
    });
    vm.dispose();
  });
});
