import { encodeExit, type OpCodec, type OpName } from '@faultyard/core';
import { capture, missingFor, runC } from '@faultyard/testkit/oracle';
import { describe, expect, test } from 'vitest';
import { X86_CAPS } from '../src/caps.ts';
import { MSR_EXITS, MsrExitReason } from '../src/msr/exits.ts';
import { CONTROL_OPS, MpState } from '../src/ops/control.ts';
import { CPUID_OPS } from '../src/ops/cpuid.ts';
import { FPU_OPS } from '../src/ops/fpu.ts';
import { MSR_OPS } from '../src/ops/msrs.ts';
import { REGISTER_OPS } from '../src/ops/registers.ts';
import { type KvmSegment, type KvmSregsCommon, SREGS_OPS } from '../src/ops/sregs.ts';

const unless = missingFor('native');
const said = capture({
  record: new URL('recorded/kvm-x86-abi.txt', import.meta.url),
  unless,
  live: () => runC({ source: new URL('abi/kvm-x86-abi.c', import.meta.url) }),
});
const lines = (text: string): string[] => text.split('\n').filter((l) => l);
const kvm = new Map(lines(said.text).map((l) => l.split(' ') as [string, string]));
const number = (name: string): number => Number(kvm.get(name));
const where = said.how === 'live' ? 'the installed <linux/kvm.h>' : `the recorded header (${said.why})`;

test.skipIf(unless !== undefined)(
  `C on this machine -> the recording: equal${unless ? ` (skipped: ${unless})` : ''}`,
  () => {
    expect(lines(said.text)).toEqual(lines(said.recorded ?? ''));
  },
);

const value = (n: number): bigint =>
  BigInt.asUintN(64, 0x0102030405060708n + 0x1010101010101010n * BigInt(n % 8) + BigInt(n));
const segment = (n: number): KvmSegment => ({
  base: value(n),
  limit: 0xfff00 + n,
  selector: 0x100 + n,
  type: n % 16,
  present: 1,
  dpl: n % 4,
  db: n % 2,
  s: 1,
  l: (n + 1) % 2,
  g: 1,
  avl: n % 2,
  unusable: n === 7 ? 1 : 0,
});
const names = ['cs', 'ds', 'es', 'fs', 'gs', 'ss', 'tr', 'ldt'] as const;
const controls = ['cr0', 'cr2', 'cr3', 'cr4', 'cr8', 'efer', 'apicBase'] as const;
const common = {
  ...Object.fromEntries(names.map((n, i) => [n, segment(i)])),
  gdt: { base: value(8), limit: 0x1234 },
  idt: { base: value(9), limit: 0x5678 },
  ...Object.fromEntries(controls.map((n, i) => [n, value(10 + i)])),
} as unknown as KvmSregsCommon;
const four = [17, 18, 19, 20].map(value);
const REGS = [
  ...['rax', 'rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rsp', 'rbp'],
  ...['r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15', 'rip', 'rflags'],
];

/** What the C program fills its structures with. */
const ARGUMENTS: Readonly<Record<string, unknown>> = {
  'set-regs': Object.fromEntries(REGS.map((n, i) => [n, value(i)])),
  'set-sregs': { ...common, interruptBitmap: four },
  'set-sregs2': { ...common, flags: 1n, pdptrs: four },
  'set-msrs': {
    msrs: [
      { index: 0xc000_0080, data: value(1) },
      { index: 0x10, data: value(2) },
    ],
  },
  'set-cpuid2': {
    entries: [0, 1].map((i) => ({
      function: 0x8000_0001 + i,
      index: i,
      flags: 1,
      eax: 0x11 + i,
      ebx: 0x22 + i,
      ecx: 0x33 + i,
      edx: 0x44 + i,
    })),
  },
  'set-fpu': {
    fpr: Uint8Array.from({ length: 128 }, (_, i) => i + 1),
    fcw: 0x37f,
    fsw: 0x3800,
    ftwx: 0x81,
    lastOpcode: 0x321,
    lastIp: value(3),
    lastDp: value(4),
    xmm: Uint8Array.from({ length: 256 }, (_, i) => i ^ 0x5a),
  },
  'set-xcrs': { xcrs: [{ xcr: 0, value: 0x203n }] },
  'set-debugregs': { db: [0, 1, 2, 3].map(value), dr6: value(5), dr7: value(6), flags: value(7) },
  'set-mp-state': { mpState: MpState.Halted },
};
const OPS = [...REGISTER_OPS, ...SREGS_OPS, ...MSR_OPS, ...CPUID_OPS, ...FPU_OPS, ...CONTROL_OPS];
const user = {
  load: (_: bigint, n: number) => new Uint8Array(n),
  store: () => {},
  file: () => undefined,
  descriptor: () => 0,
};
const hex = (d: DataView): string =>
  [...new Uint8Array(d.buffer)].map((b) => b.toString(16).padStart(2, '0')).join('');
const bytesOf = (text: string): DataView =>
  new DataView(Uint8Array.from(text.match(/../g) ?? [], (b) => Number.parseInt(b, 16)).buffer);
const codecOf = (name: string): OpCodec<OpName> =>
  OPS.find((d) => d.name === name)?.codec as unknown as OpCodec<OpName>;

describe(`x86 against ${where}`, () => {
  test.each(OPS.map((d) => [d.kvm, d.ioctl] as const))('%s -> ioctl number', (name, ioctl) => {
    expect(ioctl).toBe(number(name));
  });
  test.each(X86_CAPS.filter((c) => kvm.has(c.kvm)).map((c) => [c.kvm, c.number as number] as const))(
    '%s -> number',
    (name, n) => {
      expect(n).toBe(number(name));
    },
  );
  test('exits and their reasons -> numbers', () => {
    expect(MSR_EXITS['x86-rdmsr'].number({})).toBe(number('KVM_EXIT_X86_RDMSR'));
    expect(MSR_EXITS['x86-wrmsr'].number({})).toBe(number('KVM_EXIT_X86_WRMSR'));
    for (const [name, n] of Object.entries(MsrExitReason))
      expect(n).toBe(number(`KVM_MSR_EXIT_REASON_${name.toUpperCase()}`));
  });
  test('KVM_MP_STATE_* -> numbers', () => {
    const upper = (n: string): string => n.replace(/([a-z])([A-Z])/g, '$1_$2').toUpperCase();
    for (const [name, n] of Object.entries(MpState)) expect(n).toBe(number(`KVM_MP_STATE_${upper(name)}`));
  });
  test.each(Object.entries(ARGUMENTS))('%s -> its structure, byte for byte, and back', (name, arg) => {
    const expected = kvm.get(`op.${name}`) ?? '';
    const out = new DataView(new ArrayBuffer(expected.length / 2));
    const codec = codecOf(name);
    codec.encode(arg as never, out, user);
    expect(hex(out)).toBe(expected);
    expect(codec.decode(bytesOf(expected), user)).toEqual(arg);
  });
  test('a filter -> flags, ranges and bitmaps behind pointers', () => {
    const decoded = codecOf('x86-set-msr-filter').decode(
      bytesOf(kvm.get('op.x86-set-msr-filter') ?? ''),
      user,
    );
    const range = { flags: 3, base: 0xc000_0080, count: 65, bitmap: new Uint8Array(16) };
    expect(decoded).toEqual({ flags: 1, ranges: [range] });
  });
  test('a translation -> its structure', () => {
    const out = new DataView(new ArrayBuffer(24));
    const codec = codecOf('translate');
    codec.encode({ linearAddress: value(1) } as never, out, user);
    codec.result?.({ physicalAddress: value(2), valid: true } as never, out, user);
    expect(hex(out)).toBe(kvm.get('op.translate'));
  });
  test('exit x86-wrmsr -> kvm_run, and back', () => {
    const run = new DataView(new ArrayBuffer(64));
    const e = { kind: 'x86-wrmsr', vcpu: 0, ret: 0, reason: 2, index: 0x12345, data: value(7) } as const;
    encodeExit({ exitCodecs: new Map([['x86-wrmsr', MSR_EXITS['x86-wrmsr']]]) as never, knobs: {} }, e, run);
    expect(hex(run).slice(16)).toBe(kvm.get('exit.x86-wrmsr'));
    expect(MSR_EXITS['x86-wrmsr'].decode(run, {})).toEqual({ reason: 2, index: 0x12345, data: value(7) });
  });
});
