/** Scripts of machine checks, as abi/mce-kvm.c performs them on KVM: the same on the model, with the same words. */
import { CR4, type ModelName } from '@faultyard/arch-x86';
import { ERRNO, type Exit, KvmError, type Vcpu } from '@faultyard/core';
import { type Guest, guest, setCpuid } from './guest.ts';

const hex = (n: number | bigint): string => n.toString(16);
function ended(cpu: Vcpu, e: Exit): string {
  const number = e.ret < 0 ? 0 : cpu.kvmRun.getUint32(8, true);
  const msr = (x: { reason: number; index: number }): string => ` reason ${x.reason} msr ${hex(x.index)}`;
  const more =
    e.kind === 'x86-rdmsr' ? msr(e) : e.kind === 'x86-wrmsr' ? `${msr(e)} data ${hex(e.data)}` : '';
  return `exit ${e.ret} ${number}${more}`;
}

function registers(cpu: Vcpu, rip: number, msr: number, value: bigint): void {
  const all = { rip, rsp: 0x8000, rflags: 2, rcx: msr, rax: value & 0xffff_ffffn, rdx: value >> 32n };
  for (const [name, v] of Object.entries(all)) cpu.set(name, v);
}
function go(g: Guest, reads: boolean): string {
  const { cpu } = g;
  const [gp, mc] = [g.gps, g.mcs];
  const e = cpu.run() as Exit;
  let out = ended(cpu, e);
  if (e.kind !== 'hlt') return out;
  out += ` gp ${g.gps - gp} mc ${g.mcs - mc}`;
  if (g.mcs !== mc) out += ` rip ${hex(g.mcRip)}`;
  const read = reads && g.gps === gp;
  return read ? `${out} value ${hex((cpu.get('rdx') << 32n) | (cpu.get('rax') & 0xffff_ffffn))}` : out;
}

const errno = (f: () => number): number => {
  try {
    return f();
  } catch (e) {
    if (e instanceof KvmError) return -ERRNO[e.errno];
    throw e;
  }
};

function perform(g: Guest, word: string, x: readonly bigint[]): string {
  const { cpu, vm } = g;
  const [a = 0n, b = 0n, c = 0n, d = 0n, e = 0n] = x;
  const n = Number(a);
  switch (word) {
    case 'supported':
      return `0 ${hex(vm.op('x86-get-mce-cap-supported', {}))}`;
    case 'check':
      return String(vm.op('check-extension', { cap: n }));
    case 'listed':
      return String(Number(vm.op('get-msr-index-list', {}).includes(n)));
    case 'cap':
      return String(errno(() => vm.op('enable-cap', { cap: n, args: [b] })));
    case 'setup':
      return String(errno(() => cpu.op('x86-setup-mce', { mcgCap: a })));
    case 'mce':
      return String(
        errno(() => cpu.op('x86-set-mce', { bank: n, status: b, addr: c, misc: d, mcgStatus: e })),
      );
    case 'hset':
      return String(cpu.op('set-msrs', { msrs: [{ index: n, data: b }] }));
    case 'hget': {
      const [v] = cpu.op('get-msrs', { indices: [n] });
      return v === undefined ? '0 0' : `1 ${hex(v)}`;
    }
    case 'several':
      return String(
        cpu.op('get-msrs', { indices: Array.from({ length: Number(b) }, (_, i) => n + i) }).length,
      );
    case 'wr':
      registers(cpu, 0x1000, n, b);
      return go(g, false);
    case 'rd':
      registers(cpu, 0x1010, n, 0n);
      return go(g, true);
    case 'halt':
      return go(g, false);
    case 'answer': {
      const gp = g.gps;
      cpu.kvmRun.setUint8(32, n);
      cpu.kvmRun.setBigUint64(48, b, true);
      const end = ended(cpu, cpu.run() as Exit);
      return `${end} gp ${g.gps - gp}`;
    }
    case 'cr4': {
      const rest = cpu.get('cr4') & ~BigInt(CR4.MCE);
      cpu.set('cr4', a ? rest | BigInt(CR4.MCE) : rest);
      return '0';
    }
    case 'event': {
      const events = cpu.op('x86-get-vcpu-events', {});
      const exception = {
        ...events.exception,
        nr: n,
        pending: b === 1n,
        injected: c === 1n,
        hasErrorCode: d === 1n,
        errorCode: 0,
      };
      return String(
        errno(() => cpu.op('x86-set-vcpu-events', { ...events, flags: b ? 0x10 : 0, exception })),
      );
    }
    case 'events': {
      const { exception: x18, tripleFaultPending } = cpu.op('x86-get-vcpu-events', {});
      const bit = Number;
      return `nr ${x18.nr} injected ${bit(x18.injected)} pending ${bit(x18.pending)} code ${bit(x18.hasErrorCode)} triple ${bit(tripleFaultPending)}`;
    }
    default:
      throw new Error(`no command ${word}`);
  }
}

/** Guests of a script, on which CPU and backend. */
export interface Machine {
  readonly model: ModelName;
  readonly backend: 'AMD' | 'Intel';
}

/** A fresh guest with the code of scripts. */
function scripted(m: Machine): Guest {
  const g = guest({ model: m.model, set: { backend: m.backend }, cap: undefined });
  g.vm.write(0x1000, new Uint8Array(0x40).fill(0xf4));
  g.vm.write(0x1000, Uint8Array.of(0x0f, 0x30));
  g.vm.write(0x1010, Uint8Array.of(0x0f, 0x32));
  registers(g.cpu, 0x1020, 0, 0n);
  return g;
}

/** The lines that come first: memory of all guests. */
export function memory(m: Machine): string {
  const { vm } = scripted(m);
  const lines: string[] = [];
  for (let at = 0; at < 0x1_0000; at += 64) {
    const bytes = vm.read(at, 64) as Uint8Array;
    if (bytes.some((v) => v !== 0))
      lines.push(`mem ${hex(at)} ${[...bytes].map((v) => hex(v).padStart(2, '0')).join('')}\n`);
  }
  return lines.join('');
}

/** Performs a script, one command a line; what each came to, behind the command. */
export function play(script: string, m: Machine): readonly string[] {
  let g: Guest | undefined;
  const out: string[] = [];
  for (const line of script.split('\n').filter((l) => l)) {
    const [word = '', ...rest] = line.split(' ');
    if (word === 'vm') {
      g?.vm.dispose();
      g = scripted(m);
      setCpuid(g.cpu, rest.join(' '));
      out.push(`${line}: `);
    } else
      out.push(
        `${line}: ${perform(
          g as Guest,
          word,
          rest.map((t) => BigInt(`0x${t}`)),
        )}`,
      );
  }
  g?.vm.dispose();
  return out;
}
