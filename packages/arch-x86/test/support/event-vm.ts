/**
 * A VM in 64-bit mode whose handlers write down what they were called for: vector, error code, RIP, flags and DR6, then
 * return. Memory is identity mapped, 4 MiB of it; CPL 3 code runs at `USER`.
 */
import { type AnyPlugin, createVm, type Exit, type Vcpu } from '@faultyard/core';
import { assemble, EFER, SR, type X86PluginOptions, type X86Vcpu, x86 } from '../../src/index.ts';

/** Where things lie. */
export const VM = {
  gdt: 0x1000,
  tss: 0x1800,
  idt: 0x2000,
  pages: 0x4000,
  log: 0x8000,
  stubs: 0x1_0000,
  code: 0x2_0000,
  user: 0x3_0000,
  smm: 0x3_8000,
  stack: 0x8_0000,
  stack3: 0x9_0000,
} as const;
const WITH_CODE = new Set([8, 10, 11, 12, 13, 14, 17, 21, 29, 30]);

/** What a handler saw. */
export interface Seen {
  readonly vector: number;
  readonly code: number;
  readonly rip: number;
  readonly flags: number;
  readonly dr6: number;
  readonly rsp: number;
}

/** The VM, its vCPU, and what its handlers wrote down. */
export interface EventVm {
  readonly vcpu: Vcpu;
  readonly arch: X86Vcpu;
  /** Puts a program at VM.code (or `at`); returns the addresses of its labels. */
  load(text: string, at?: number, bits?: 16 | 32 | 64): ReadonlyMap<string, number>;
  /** Runs to an exit. */
  run(budget?: number): Exit;
  /** Entries in order; the list is emptied. */
  seen(): readonly Seen[];
}

const STUBS = (): string => {
  const lines: string[] = [];
  for (let v = 0; v < 256; v++) {
    lines.push(`.org ${VM.stubs + v * 16}`);
    // the last one ends programs
    if (v === 255) {
      lines.push('hlt');
      break;
    }
    if (!WITH_CODE.has(v)) lines.push('push 0');
    lines.push(`push ${v > 127 ? v - 256 : v}`, 'jmp common');
  }
  lines.push(
    `.org ${VM.stubs + 0x1000}`,
    'common:',
    'push rax',
    'push rbx',
    `mov rbx, qword ptr [${VM.log}]`,
    // a list that is full ends the program
    `cmp rbx, ${VM.log + 0x3e0}`,
    `ja ${VM.stubs + 255 * 16}`,
    ...[
      ['rsp + 16', 0],
      ['rsp + 24', 4],
      ['rsp + 32', 8],
      ['rsp + 48', 12],
      ['rsp + 56', 20],
    ].flatMap(([from, to]) => [`mov rax, qword ptr [${from}]`, `mov dword ptr [rbx + ${to}], eax`]),
    'mov rax, dr6',
    'mov dword ptr [rbx + 16], eax',
    'add rbx, 32',
    `mov qword ptr [${VM.log}], rbx`,
    // what the test wants done to the frame: bytes to skip behind faults, flags to set for #DB
    'mov eax, dword ptr [rsp + 16]',
    'cmp eax, 1',
    'jne fault',
    `mov rax, qword ptr [${VM.log + 16}]`,
    'or qword ptr [rsp + 48], rax',
    'jmp back',
    'fault: sub eax, 4',
    'cmp eax, 28',
    'jae back',
    `mov rax, qword ptr [${VM.log + 8}]`,
    'add qword ptr [rsp + 32], rax',
    'back:',
    'pop rbx',
    'pop rax',
    'add rsp, 16',
    'iretq',
  );
  return lines.join('\n');
};
let stubs: Uint8Array | undefined;

/** Entries of a log. */
export function seenIn(v: DataView): readonly Seen[] {
  const end = v.byteLength < 4 ? 0 : v.getUint32(0, true) - VM.log;
  const out: Seen[] = [];
  for (let at = 32; at < Math.min(end, v.byteLength); at += 32)
    out.push({
      vector: v.getUint32(at, true) & 0xff,
      code: v.getUint32(at + 4, true),
      rip: v.getUint32(at + 8, true),
      flags: v.getUint32(at + 12, true),
      dr6: v.getUint32(at + 16, true),
      rsp: v.getUint32(at + 20, true),
    });
  return out;
}

/** Makes one. */
export function eventVm(o: X86PluginOptions & { readonly plugins?: readonly AnyPlugin[] } = {}): EventVm {
  const { plugins, ...options } = o;
  const vm = createVm({
    arch: x86(options),
    memslots: [{ gpa: 0n, size: 4n << 20n }],
    ...(plugins ? { plugins } : {}),
  });
  const vcpu = vm.vcpus[0] as unknown as Vcpu;
  const arch = vcpu.arch as unknown as X86Vcpu;
  const put = (at: number, v: bigint): void => vm.poke(at, v);
  // two pages of 2 MiB, for users too
  put(VM.pages, BigInt(VM.pages + 0x1000) | 0x27n);
  put(VM.pages + 0x1000, BigInt(VM.pages + 0x2000) | 0x27n);
  put(VM.pages + 0x2000, 0xe7n);
  put(VM.pages + 0x2008, 0x20_00e7n);
  const gdt = [
    0n,
    0x00af_9b00_0000_ffffn,
    0x00cf_9300_0000_ffffn,
    0x00cf_f300_0000_ffffn,
    0x00af_fb00_0000_ffffn,
  ];
  for (const [i, d] of gdt.entries()) put(VM.gdt + 8 * i, d);
  put(VM.gdt + 0x28, (BigInt(VM.tss) << 16n) | 0x0000_8b00_0000_0067n);
  put(VM.tss + 4, BigInt(VM.stack));
  for (let v = 0; v < 256; v++) {
    const at = BigInt(VM.stubs + 16 * v);
    put(VM.idt + 16 * v, (at & 0xffffn) | (8n << 16n) | (0xeen << 40n) | ((at >> 16n) << 48n));
  }
  stubs ??= assemble(STUBS(), { origin: VM.stubs }).bytes;
  vm.memory.write(VM.stubs, stubs);
  put(VM.log, BigInt(VM.log + 32));
  const set = (r: string, v: number | bigint): void => vcpu.set(r, v);
  set('cr3', VM.pages);
  set('cr4', 0x6a0);
  set('cr0', 0x8005_0033n);
  arch.state.setSys(SR.EFER, EFER.LME | EFER.LMA, 0);
  set('gdtr.base', VM.gdt);
  set('gdtr.limit', 0x37);
  set('idtr.base', VM.idt);
  set('idtr.limit', 0xfff);
  set('cs.attr', 0xa9b);
  set('cs.base', 0);
  set('cs', 8);
  set('tr.attr', 0x8b);
  set('tr.base', VM.tss);
  set('tr.limit', 0x67);
  set('tr', 0x28);
  for (const s of ['ds', 'es', 'ss', 'fs', 'gs']) {
    set(`${s}.attr`, 0xc93);
    set(`${s}.limit`, 0xffff_ffffn);
    set(s, 0x10);
  }
  set('rsp', VM.stack);
  arch.restored();
  vcpu.pc = BigInt(VM.code);
  return {
    vcpu,
    arch,
    load(text, at = VM.code, bits = 64) {
      const a = assemble(text, { origin: at, bits });
      vm.memory.write(at, a.bytes);
      return new Map(Object.entries(a.symbols).map(([k, v]) => [k, Number(v)]));
    },
    run: (budget = 100_000) => vcpu.run(budget),
    seen() {
      const out = seenIn(new DataView(vm.memory.read(VM.log, 0x1000).buffer));
      put(VM.log, BigInt(VM.log + 32));
      return out;
    },
  };
}
