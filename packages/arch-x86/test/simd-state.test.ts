/**
 * x87, MMX and SSE state in memory: FXSAVE, XSAVE, the x87 environment, MXCSR, MMX moves, and who may use them. Values of
 * FLDCW and FXRSTOR are those that an Intel processor (Sapphire Rapids) gave.
 */
import { createVm, type Vcpu, type Vm } from '@faultyard/core';
import { afterEach, describe, expect, test } from 'vitest';
import { assemble, type ModelName, x86 } from '../src/index.ts';
import { longGuest } from './support/long-guest.ts';

const AREA = 0x4000;
const OTHER = 0x6000;
/** Where exception handlers put the vector. */
const CAUGHT = 0x500;

let vm: Vm | undefined;
afterEach(() => {
  vm?.dispose();
  vm = undefined;
});
const memory = (): Vm => vm as Vm;

/** Loads real-mode code at 1000h with handlers that note #UD, #NM, #GP and #MF and halt. */
function real(text: string, model: ModelName = 'zen3'): Vcpu {
  vm = createVm({ arch: x86({ model }), memslots: [{ gpa: 0n, size: 0x1_0000n }] });
  const v = vm.vcpus[0] as Vcpu;
  for (const vector of [0, 6, 7, 13, 16]) {
    const at = 0x600 + 16 * vector;
    vm.write(4 * vector, Uint8Array.of(at & 255, at >> 8, 0, 0));
    vm.write(at, assemble(`.code16\nmov byte ptr [${CAUGHT}], ${vector}\nhlt`, { origin: at }).bytes);
  }
  vm.write(CAUGHT, Uint8Array.of(0xff));
  const enable = 'mov eax, 40620h\nmov cr4, eax\nmov eax, 30h\nmov cr0, eax\n';
  const prologue = '.code16\nxor ax, ax\nmov ds, ax\nmov es, ax\nmov ss, ax\nmov sp, 8000h\n';
  vm.write(0x1000, assemble(`${prologue}${enable}${text}\nhlt`, { origin: 0x1000 }).bytes);
  for (const [name, value] of Object.entries({ cs: 0, 'cs.base': 0, rip: 0x1000 })) v.set(name, value);
  return v;
}

/** Loads 64-bit code at 1000h. */
function long(text: string, model: ModelName = 'zen3'): Vcpu {
  vm = longGuest(text, model);
  return vm.vcpus[0] as Vcpu;
}

/** Runs to HLT. */
function halt(v: Vcpu): Vcpu {
  expect(v.run().kind).toBe('hlt');
  return v;
}
const caught = (): number => memory().read(CAUGHT, 1)[0] as number;
const u16 = (at: number): number => Number(memory().peek(at, 2));
const u32 = (at: number): number => Number(memory().peek(at, 4));
const u64 = (at: number): bigint => memory().peek(at, 8);

describe('FXSAVE', () => {
  test('fresh vCPU, fxsave64 -> guest: control words and MXCSR_MASK; bytes from 416 on are not written', () => {
    const v = long(`fxsave64 [${AREA}]`);
    memory().write(AREA, new Uint8Array(512).fill(0xcc));
    halt(v);
    expect([u16(AREA), u16(AREA + 2), u16(AREA + 4)]).toEqual([0x37f, 0, 0]);
    expect([u32(AREA + 24), u32(AREA + 28)]).toEqual([0x1f80, 0x2_ffff]);
    expect(u64(AREA + 408)).toBe(0n);
    expect(u64(AREA + 416)).toBe(0xcccc_cccc_cccc_ccccn);
  });
  test('the same on an Intel model -> guest: MXCSR_MASK without MM', () => {
    halt(long(`fxsave64 [${AREA}]`, 'skylake'));
    expect(u32(AREA + 28)).toBe(0xffff);
  });
  test('fxrstor64, fxsave64 -> guest: all registers come back; reserved bits and paddings do not', () => {
    const v = long(`fxrstor64 [${AREA}]\nmovdqu xmm3, xmm9\nfxsave64 [${OTHER}]`);
    const image = Uint8Array.from({ length: 512 }, (_, i) => (i * 37 + 11) & 255);
    const set = (at: number, ...bytes: readonly number[]): void => image.set(bytes, at);
    // exceptions unmasked and pending: ES and B follow; TOP is 5
    set(0, 0, 0, 0x7f, 0x2f, 0xa5, 0xaa, 0xff, 0xff);
    set(24, 0xc0, 0x5f, 0, 0);
    memory().write(AREA, image);
    halt(v);
    expect(u16(OTHER)).toBe(0x40);
    expect(u16(OTHER + 2)).toBe(0xafff);
    expect([...memory().read(OTHER + 4, 2)]).toEqual([0xa5, 0]);
    expect(u16(OTHER + 6)).toBe(0x7ff);
    expect(u64(OTHER + 8)).toBe(u64(AREA + 8));
    expect(u64(OTHER + 16)).toBe(u64(AREA + 16));
    expect(u32(OTHER + 24)).toBe(0x5fc0);
    for (let i = 0; i < 8; i++) {
      expect(u64(OTHER + 32 + 16 * i)).toBe(u64(AREA + 32 + 16 * i));
      expect(u64(OTHER + 40 + 16 * i)).toBe(BigInt(u16(AREA + 40 + 16 * i)));
    }
    for (let i = 0; i < 16; i++) {
      const from = i === 3 ? 9 : i;
      for (const half of [0, 8])
        expect(u64(OTHER + 160 + 16 * i + half)).toBe(u64(AREA + 160 + 16 * from + half));
    }
  });
  test('fxsave outside 64-bit mode -> guest: XMM8 to XMM15 are not written', () => {
    const v = real(`fxsave [${AREA}]`);
    memory().write(AREA, new Uint8Array(512).fill(0xcc));
    halt(v);
    expect([u64(AREA + 160 + 7 * 16), u64(AREA + 160 + 8 * 16)]).toEqual([0n, 0xcccc_cccc_cccc_ccccn]);
  });
  test('CR4.OSFXSR = 0, fxsave -> guest: neither MXCSR nor XMM registers are written', () => {
    const v = real(`xor eax, eax\nmov cr4, eax\nfxsave [${AREA}]`);
    memory().write(AREA, new Uint8Array(512).fill(0xcc));
    halt(v);
    expect([u16(AREA), u32(AREA + 24), u32(AREA + 160)]).toEqual([0x37f, 0xcccc_cccc, 0xcccc_cccc]);
  });
  test.each([
    ['a misaligned area', `fxsave [${AREA + 8}]`, 13],
    ['CR0.TS', `mov eax, 38h\nmov cr0, eax\nfxsave [${AREA}]`, 7],
    ['CR0.EM', `mov eax, 34h\nmov cr0, eax\nfxrstor [${AREA}]`, 7],
    ['reserved bits of MXCSR', `mov dword ptr [${AREA + 24}], 40000h\nfxrstor [${AREA}]`, 13],
  ])('%s -> guest: exception, state unchanged', (_, text, vector) => {
    halt(real(text));
    expect(caught()).toBe(vector);
  });
});

describe('XSAVE', () => {
  const enable = 'xor ecx, ecx\nxor edx, edx\nmov eax, 3\nxsetbv\n';
  const image = (v: Vcpu, bv: number): void => {
    memory().write(AREA, new Uint8Array(576).fill(0xcc));
    memory().write(AREA + 512, new Uint8Array(64));
    memory().write(AREA + 512, Uint8Array.of(bv));
    memory().write(AREA + 24, Uint8Array.of(0x80, 0x1f, 0, 0));
    for (let n = 0; n < 16; n++) v.set(`xmm${n}`, 0);
  };
  test('components in their initial state, xsave -> guest: written all the same; XSTATE_BV 0 for them', () => {
    const v = long(`${enable}mov eax, 3\nxsave64 [${AREA}]`);
    image(v, 0xff);
    halt(v);
    expect(u64(AREA + 512)).toBe(0xfcn);
    expect([u16(AREA), u64(AREA + 160)]).toEqual([0x37f, 0n]);
  });
  test('one XMM register in use, xsaveopt of both -> guest: SSE is written, x87 is not', () => {
    const v = long(`${enable}mov eax, 3\nmovq xmm1, rsp\nxsaveopt64 [${AREA}]`);
    image(v, 0);
    halt(v);
    expect(u64(AREA + 512)).toBe(2n);
    expect([u16(AREA), u64(AREA + 176)]).toEqual([0xcccc, 0x8000n]);
  });
  test('x87 alone asked for, xsave -> guest: MXCSR and XMM registers are not written', () => {
    const v = long(`${enable}mov eax, 1\nmovq xmm1, rsp\nxsave64 [${AREA}]`);
    image(v, 2);
    memory().write(AREA + 24, Uint8Array.of(0xcc, 0xcc, 0xcc, 0xcc));
    halt(v);
    expect(u64(AREA + 512)).toBe(2n);
    expect([u32(AREA + 24), u64(AREA + 176)]).toEqual([0xcccc_cccc, 0xcccc_cccc_cccc_ccccn]);
  });
  test('xrstor with XSTATE_BV = 0 -> guest: initial state, but MXCSR from the area', () => {
    const v = long(
      `${enable}mov eax, 3\nmovq xmm1, rsp\nfldcw [${OTHER}]\nxrstor64 [${AREA}]\nfnstcw [${OTHER + 2}]\nstmxcsr [${OTHER + 4}]`,
    );
    image(v, 0);
    memory().write(AREA + 24, Uint8Array.of(0xc0, 0x1f, 0, 0));
    memory().write(OTHER, Uint8Array.of(0x7f, 0));
    halt(v);
    expect([u16(OTHER + 2), u32(OTHER + 4)]).toEqual([0x37f, 0x1fc0]);
    expect(v.get('xmm1')).toBe(0n);
  });
  test('xsave, xrstor -> guest: XMM registers come back', () => {
    const v = long(
      `${enable}mov eax, 3\nmovq xmm15, rsp\nxsave [${AREA}]\nmovq xmm15, rax\nxrstor [${AREA}]`,
    );
    image(v, 0);
    halt(v);
    expect(v.get('xmm15')).toBe(0x8000n);
  });
  test.each([
    ['a component that XCR0 does not enable', `mov byte ptr [${AREA + 512}], 4\nxrstor [${AREA}]`, 13],
    ['a compacted area', `mov byte ptr [${AREA + 527}], 80h\nxrstor [${AREA}]`, 13],
    ['an area not aligned to 64 bytes', `xsave [${AREA + 16}]`, 13],
    ['XCR0 without x87', 'xor ecx, ecx\nxor edx, edx\nmov eax, 2\nxsetbv', 13],
    ['XCR0 with what the model lacks', 'xor ecx, ecx\nxor edx, edx\nmov eax, 7\nxsetbv', 13],
    ['XCR1', 'mov ecx, 1\nxor edx, edx\nmov eax, 1\nxsetbv', 13],
    ['XGETBV 2', 'mov ecx, 2\nxgetbv', 13],
    ['CR4.OSXSAVE = 0', `mov eax, 600h\nmov cr4, eax\nxsave [${AREA}]`, 6],
    ['CR0.TS', `mov eax, 38h\nmov cr0, eax\nxsave [${AREA}]`, 7],
  ])('%s -> guest: exception', (_, text, vector) => {
    halt(real(text));
    expect(caught()).toBe(vector);
  });
  test('xgetbv -> guest: XCR0, and with ECX = 1 what is in use', () => {
    const v = long(`${enable}xgetbv\nmov esi, eax\nmovq xmm0, rsp\nmov ecx, 1\nxgetbv`);
    halt(v);
    expect([v.get('rsi'), v.get('rax'), v.get('rdx')]).toEqual([3n, 2n, 0n]);
  });
});

describe('x87 control', () => {
  test.each([
    [0, 0x40],
    [0xffff, 0x1f7f],
    [0x1f80, 0x1f40],
  ])('fldcw %i, fnstcw -> guest: %i', (given, read) => {
    halt(real(`mov word ptr [${AREA}], ${given}\nfldcw [${AREA}]\nfnstcw [${AREA}]`));
    expect(u16(AREA)).toBe(read);
  });
  test('frstor of a full stack in a 32-bit area, fnsave to a 16-bit one -> guest: tags, TOP, registers; then FNINIT', () => {
    const v = real(`frstord [${AREA}]\nfnsavew [${OTHER}]\nfnstsw ax\nfnstcw [${OTHER + 0x100}]`);
    const area = new Uint8Array(108);
    // TOP = 6; R0 valid, R1 zero, R2 special, R3 to R5 empty, R6 infinite, R7 empty
    area.set([0x7f, 3, 0, 0, 0, 0x30, 0, 0, 0xe4, 0xcf], 0);
    area.set([0x78, 0x56, 0, 0, 0xcd, 0xab, 0x34, 0], 12);
    const register = (n: number, ...bytes: readonly number[]): void =>
      area.set(bytes, 28 + 10 * ((n + 8 - 6) & 7));
    register(0, 1, 2, 3, 4, 5, 6, 7, 0x88, 9, 0x40);
    register(2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0x40);
    register(6, 0, 0, 0, 0, 0, 0, 0, 0x80, 0xff, 0x7f);
    memory().write(AREA, area);
    halt(v);
    expect([u16(OTHER), u16(OTHER + 2)]).toEqual([0x37f, 0x3000]);
    expect(u16(OTHER + 4)).toBe(0b11_10_11_11_11_10_01_00);
    expect([...memory().read(OTHER + 14, 80)]).toEqual([...area.subarray(28)]);
    expect([v.get('rax') & 0xffffn, u16(OTHER + 0x100)]).toEqual([0n, 0x37f]);
  });
  test('fnstenv in real mode -> guest: linear addresses, opcode beside the upper bits; all exceptions masked after it', () => {
    const v = real(`fldenvd [${AREA}]\nfnstenvd [${OTHER}]\nfnstcw [${OTHER + 0x100}]`);
    const area = new Uint8Array(28);
    // FIP 54321h, FDP 98765h, opcode 5d8h
    area.set([0x40, 3, 0, 0, 0, 0, 0, 0, 0xff, 0xff], 0);
    area.set([0x21, 0x43, 0, 0, 0xd8, 0x55, 0, 0, 0x65, 0x87, 0, 0, 0, 0x90, 0, 0], 12);
    memory().write(AREA, area);
    halt(v);
    expect([u16(OTHER + 12), u32(OTHER + 16), u16(OTHER + 20), u32(OTHER + 24)]).toEqual([
      0x4321, 0x55d8, 0x8765, 0x9000,
    ]);
    expect(u16(OTHER + 0x100)).toBe(0x37f);
  });
  test('an unmasked exception pending, wait -> guest: #MF; fnclex first -> nothing', () => {
    const pend = `mov word ptr [${AREA + 2}], 1\nmov word ptr [${AREA}], 37eh\nfxrstor [${AREA}]\n`;
    halt(real(`${pend}wait`));
    expect(caught()).toBe(16);
    memory().dispose();
    halt(real(`${pend}fnclex\nwait\nfnstsw ax`));
    expect(caught()).toBe(0xff);
  });
  test.each([
    ['wait with CR0.TS and MP', 'mov eax, 3ah\nmov cr0, eax\nwait', 7],
    ['wait with CR0.TS alone', 'mov eax, 38h\nmov cr0, eax\nwait', 0xff],
    ['fninit with CR0.EM', 'mov eax, 34h\nmov cr0, eax\nfninit', 7],
    ['an x87 addition', 'fadd st(0), st(1)', 6],
    ['an SSE addition', 'addps xmm0, xmm1', 6],
    ['ldmxcsr of reserved bits', `mov dword ptr [${AREA}], 40000h\nldmxcsr [${AREA}]`, 13],
    ['movaps from a misaligned address', `movaps xmm0, [${AREA + 8}]`, 13],
    ['movups from a misaligned address', `movups xmm0, [${AREA + 8}]`, 0xff],
    ['movups with CR0.TS', `mov eax, 38h\nmov cr0, eax\nmovups xmm0, [${AREA}]`, 7],
    ['movups with CR4.OSFXSR = 0', `xor eax, eax\nmov cr4, eax\nmovups xmm0, [${AREA}]`, 6],
    ['movq to an MMX register with CR0.EM', `mov eax, 34h\nmov cr0, eax\nmovq mm0, [${AREA}]`, 6],
    ['andn, which has a VEX prefix, in real mode', 'andn eax, ecx, edx', 6],
    ['cmpxchg8b, not aligned', `cmpxchg8b [${AREA + 1}]`, 0xff],
  ])('%s -> guest: exception', (_, text, vector) => {
    halt(real(text));
    expect(caught()).toBe(vector);
  });
});

describe('MMX moves', () => {
  test('movq to mm2, fxsave -> guest: mantissa of R2, exponent all ones, no register empty, TOP 0; emms empties', () => {
    const v = long(`movq mm2, rsp\nfxsave64 [${AREA}]\nemms\nfxsave64 [${OTHER}]\nmovd eax, mm2`);
    halt(v);
    expect([u64(AREA + 64), u16(AREA + 72)]).toEqual([0x8000n, 0xffff]);
    expect([u16(AREA + 2), u16(AREA + 4), u16(OTHER + 4)]).toEqual([0, 0xff, 0]);
    expect(v.get('rax')).toBe(0x8000n);
  });
  test('movq2dq, movdq2q, maskmovq -> guest: eight bytes across, the chosen bytes in memory', () => {
    const v = long(
      `mov rax, 1122334455667788h\nmovq mm1, rax\nmovq2dq xmm4, mm1\nmovdq2q mm5, xmm4\nmov rbx, 80ff00007f800080h
       movq mm6, rbx\nmov edi, ${AREA}\nmaskmovq mm5, mm6`,
    );
    halt(v);
    expect(v.get('xmm4')).toBe(0x1122_3344_5566_7788n);
    expect(u64(AREA)).toBe(0x1122_0000_0066_0088n);
  });
});
