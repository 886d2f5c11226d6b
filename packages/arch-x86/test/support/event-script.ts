/**
 * Scripts of events (the language of `test/abi/events-kvm.c`): made from cases, and performed on the simulated vCPU, so that
 * both sides say the same lines.
 */
import { ERRNO, type Errno, type Exit } from '@faultyard/core';
import { type EventVm, eventVm, type Seen, seenIn, VM } from './event-vm.ts';

/** A case: a program, what is different in memory, and what is done; `log` at the end prints what the handlers saw. */
export interface EventCase {
  readonly name: string;
  readonly program: string;
  /** User code, at VM.user. */
  readonly user?: string;
  /** Changes memory. */
  readonly prepare?: (t: EventVm, labels: ReadonlyMap<string, number>) => void;
  /** Lines; `@label` stands for an address in hex. */
  readonly actions: readonly string[];
}

const PAGE = 4096;
const hex = (b: Uint8Array): string => Buffer.from(b).toString('hex');

/** Memory of a case before it begins, and its labels. */
export function memoryOf(c: EventCase): {
  readonly memory: Uint8Array;
  readonly labels: ReadonlyMap<string, number>;
} {
  const t = eventVm({ model: 'skylake' });
  const labels = new Map(t.load(c.program));
  if (c.user !== undefined) for (const [k, v] of t.load(c.user, VM.user)) labels.set(k, v);
  c.prepare?.(t, labels);
  const memory = t.vcpu.vm.memory.read(0, 1 << 20);
  t.vcpu.vm.dispose();
  return { memory, labels };
}

/** The script of a case. */
export function scriptOf(c: EventCase): string {
  const { memory, labels } = memoryOf(c);
  const lines = [`say ${c.name}`, 'vm'];
  for (let at = 0; at < memory.length; at += PAGE) {
    const page = memory.subarray(at, at + PAGE);
    const last = page.findLastIndex((b) => b !== 0);
    if (last >= 0) lines.push(`mem ${at.toString(16)} ${hex(page.subarray(0, last + 1))}`);
  }
  lines.push(`base ${[VM.gdt, VM.idt, VM.tss, VM.pages].map((a) => a.toString(16)).join(' ')}`);
  lines.push(`set rip ${VM.code.toString(16)}`, `set rsp ${VM.stack.toString(16)}`, 'set rflags 2');
  for (const a of c.actions)
    lines.push(
      a === 'log'
        ? `dump ${VM.log.toString(16)} 400`
        : a.replace(/@(\w+)/g, (_, l: string) => (labels.get(l) as number).toString(16)),
    );
  return `${lines.join('\n')}\n`;
}

/** Performs a script on the simulated vCPU; what it says. */
export function perform(script: string): string {
  let t: EventVm | undefined;
  const out: string[] = [];
  const machine = (): EventVm => t as EventVm;
  const ioctl = (name: string, nr: number, arg: Uint8Array | number): void => {
    const r = machine().vcpu.ioctl(nr, arg);
    out.push(`${name} ${r.ret < 0 ? -ERRNO[r.errno as Errno] : r.ret}`);
  };
  for (const line of script.split('\n')) {
    const [word = '', ...rest] = line.split(' ');
    const n = rest.map((x) => BigInt(`0x${/^[0-9a-f]+$/.test(x) ? x : '0'}`));
    const num = (i: number): number => Number(n[i] ?? 0n);
    if (word === 'vm') {
      t?.vcpu.vm.dispose();
      t = eventVm({ model: 'skylake' });
    } else if (word === 'mem') machine().vcpu.vm.memory.write(num(0), Buffer.from(rest[1] as string, 'hex'));
    else if (word === 'set') machine().vcpu.set(rest[0] as string, n[1] ?? 0n);
    else if (word === 'cap') {
      machine().vcpu.vm.op('enable-cap', { cap: num(0), flags: 0, args: [n[1] ?? 0n] });
      out.push('cap 0');
    } else if (word === 'nmi') ioctl('nmi', 0xae9a, 0);
    else if (word === 'irq') ioctl('irq', 0x4004_ae86, words(num(0)));
    else if (word === 'events') ioctl('events', 0x4040_aea0, Buffer.from(rest[0] as string, 'hex'));
    else if (word === 'get')
      out.push(`get ${hex(machine().vcpu.ioctl(0x8040_ae9f, new Uint8Array(64)).bytes)}`);
    else if (word === 'debug') ioctl('debug', 0x4048_ae9b, guestDebug(n));
    else if (word === 'window') machine().vcpu.kvmRun.setUint8(0, num(0));
    else if (word === 'run') out.push(runLine(machine()));
    else if (word === 'dump') out.push(`dump ${hex(machine().vcpu.vm.memory.read(num(0), num(1)))}`);
    else if (word === 'say') out.push(rest.join(' '));
  }
  t?.vcpu.vm.dispose();
  return `${out.join('\n')}\n`;
}

function words(...v: readonly number[]): Uint8Array {
  return new Uint8Array(Uint32Array.from(v).buffer);
}
function guestDebug(n: readonly bigint[]): Uint8Array {
  const v = new DataView(new ArrayBuffer(72));
  v.setUint32(0, Number(n[0] ?? 0n), true);
  for (let i = 0; i < 4; i++) v.setBigUint64(8 + 8 * i, n[1 + i] ?? 0n, true);
  v.setBigUint64(64, n[5] ?? 0n, true);
  return new Uint8Array(v.buffer);
}

function runLine(t: EventVm): string {
  const e: Exit = t.run(1_000_000);
  const spent = e.kind === 'budget' || e.kind === 'intr';
  const page = t.vcpu.kvmRun;
  const reason = page.getUint32(8, true);
  const ret = spent ? -4 : e.ret === 0 ? 0 : -ERRNO[e.errno as Errno];
  let s = `run ${ret} ${ret === 0 ? reason : 0}`;
  const u64 = (at: number): string => page.getBigUint64(at, true).toString(16);
  if (ret === 0 && reason === 4) s += ` [${page.getUint32(32, true)} ${u64(40)} ${u64(48)} ${u64(56)}]`;
  if (ret === 0 && reason === 17) s += ` [${page.getUint32(32, true)}]`;
  if (ret === 0 && reason === 8) return s;
  const r = (name: string): string => t.vcpu.get(name).toString(16);
  return `${s} rip ${r('rip')} rsp ${r('rsp')} flags ${r('rflags')} cr2 ${r('cr2')} ready ${page.getUint8(12)} if ${page.getUint8(13)}`;
}

/** Entries of a log as a script dumps it. */
export const logOf = (log: Uint8Array): readonly Seen[] =>
  seenIn(new DataView(log.buffer, log.byteOffset, log.byteLength));
