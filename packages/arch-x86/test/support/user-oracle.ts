/** The native oracle (`tools/user-oracle.c`): built, fed with cases, its answers taken apart. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { missing, output, scratch } from '@faultyard/testkit/oracle';
import { Seg } from '../../src/isa/layout.ts';
import {
  ENVIRONMENTS,
  FLAGS_KEPT,
  LDT_SEGMENTS,
  segmentBase,
  type TestSegment,
  type UserCase,
  type UserResult,
} from './user-world.ts';

const source = new URL('../tools/user-oracle.c', import.meta.url);

/** `LONGEST`, bytes of `struct request` (without `v`), `struct poke`, `struct reply` (without `v`) in user-oracle.c. */
const LONGEST = 128;
const REQUEST = 144 + LONGEST;
const POKE = 36;
const REPLY = 168;
const XMM = 256;
const BREAKPOINT = 3;
const PAGE_FAULT = 14;

/** What the vectors need of a processor, as /proc/cpuinfo names it. */
const NEEDED = 'cx16 lahf_lm ssse3 sse4_1 sse4_2 popcnt abm movbe bmi1 bmi2 adx'.split(' ');

/**
 * Why the oracle cannot run here; `undefined` when it can. The vectors come from a processor of Intel's: where manuals
 * leave a choice, AMD's may have taken the other.
 */
export function oracleMissing(): string | undefined {
  if (process.arch !== 'x64' || process.platform !== 'linux') return 'not Linux on x86-64';
  const cpu = readFileSync('/proc/cpuinfo', 'utf8');
  if (!cpu.includes('GenuineIntel')) return "not a processor of Intel's";
  const flags = new Set(/^flags\s*:(.*)$/m.exec(cpu)?.[1]?.split(' '));
  const lacks = NEEDED.filter((f) => !flags.has(f));
  return lacks.length > 0 ? `a processor without ${lacks.join(', ')}` : missing('gcc');
}

/** What the host's processor makes of the cases, in their order. */
export function askProcessor(cases: readonly UserCase[]): UserResult[] {
  return scratch((dir) => {
    const program = join(dir, 'user-oracle');
    // far from the addresses that 32-bit code and small numbers reach; no canary in thread-local storage
    const flags = ['-O2', '-static-pie', '-fno-stack-protector', '-Wall', '-Werror'];
    output('gcc', [...flags, '-o', program, fileURLToPath(source)]);
    const results: UserResult[] = [];
    for (let at = 0; at < cases.length; at += 20_000) {
      const some = cases.slice(at, at + 20_000);
      const said = output(program, [], {
        stdin: Buffer.concat([preamble(), ...some.map(request)]),
        timeout: 120_000,
      });
      results.push(...replies(Buffer.from(said), some));
    }
    return results;
  });
}

/** `struct user_desc` of every LDT segment and `struct environment` of every environment. */
function preamble(): Buffer {
  const ldt = Buffer.alloc(4 + 16 * LDT_SEGMENTS.length);
  ldt.writeUInt32LE(LDT_SEGMENTS.length, 0);
  for (const [i, s] of LDT_SEGMENTS.entries()) {
    const at = 4 + 16 * i;
    for (const [k, v] of [i, s.base, s.limit, descriptorFlags(s)].entries()) ldt.writeUInt32LE(v, at + 4 * k);
  }
  const environments = Buffer.alloc(32 * ENVIRONMENTS.length);
  for (const e of ENVIRONMENTS) {
    const at = 32 * e.number;
    const order = [Seg.ES, Seg.CS, Seg.SS, Seg.DS, Seg.FS, Seg.GS];
    for (const [k, n] of order.entries())
      environments.writeUInt16LE(e.segments[n]?.selector ?? 0, at + 2 * k);
    environments.writeUInt32LE(Number(segmentBase(e, Seg.CS)), at + 12);
    environments.writeBigUInt64LE(e.bases?.[0] ?? 0n, at + 16);
    environments.writeBigUInt64LE(e.bases?.[1] ?? 0n, at + 24);
  }
  return Buffer.concat([ldt, environments]);
}
function descriptorFlags(s: TestSegment): number {
  const contents = s.type & 8 ? 2 : s.type & 4 ? 1 : 0;
  const closed = s.type & 2 ? 0 : 1;
  return (s.big ? 1 : 0) | (contents << 1) | (closed << 3) | (s.pages ? 1 << 4 : 0) | (1 << 6);
}

function request(c: UserCase): Buffer {
  const { start } = c;
  const out = Buffer.alloc(REQUEST + (start.xmm ? XMM : 0) + POKE * c.pokes.length);
  out[0] = c.env.number;
  out[1] = start.xmm ? 1 : 0;
  out[2] = c.bytes.length;
  out[3] = c.pokes.length;
  out.writeUInt32LE(Number(start.rip), 4);
  out.set(c.bytes, 8);
  out.set(new Uint8Array(start.gpr.buffer), 8 + LONGEST);
  out.writeUInt32LE(start.flags, 136 + LONGEST);
  let at = REQUEST;
  if (start.xmm) {
    out.set(start.xmm, at);
    at += XMM;
  }
  for (const p of c.pokes) {
    out.writeUInt16LE(p.at, at);
    out.writeUInt16LE(p.bytes.length, at + 2);
    out.set(p.bytes, at + 4);
    at += POKE;
  }
  return out;
}

function replies(said: Buffer, cases: readonly UserCase[]): UserResult[] {
  let at = 0;
  return cases.map((c) => {
    const trap = said.readUInt32LE(at);
    const error = said.readUInt32LE(at + 4);
    const address = said.readBigUInt64LE(at + 8);
    let rip = said.readBigUInt64LE(at + 16);
    const flags = said.readUInt32LE(at + 24) & FLAGS_KEPT;
    const gpr = new BigUint64Array(16);
    for (let r = 0; r < 16; r++) gpr[r] = said.readBigUInt64LE(at + 32 + 8 * r);
    const changed = said.readUInt32LE(at + 164);
    at += REPLY;
    const xmm = c.start.xmm ? Uint8Array.from(said.subarray(at, at + XMM)) : undefined;
    if (xmm) at += XMM;
    const window = new Map<number, number>();
    for (let k = 0; k < changed; k++, at += 4) {
      const item = said.readUInt32LE(at);
      window.set(item >>> 8, item & 255);
    }
    const done = trap === BREAKPOINT;
    if (done) rip -= 1n;
    const fault = done
      ? undefined
      : { vector: trap, ...(trap === PAGE_FAULT ? pageFault(error, address) : { error, address: 0n }) };
    return { fault, state: { gpr, rip, flags, xmm }, window };
  });
}

/** The last page below the non-canonical addresses is Linux's. */
const TASK_SIZE = (1n << 47n) - 4096n;
/** Linux sets bit 0 of the error code at addresses of its own, whatever is there (arch/x86/mm/fault.c). */
function pageFault(error: number, address: bigint): { error: number; address: bigint } {
  return { error: address < TASK_SIZE ? error : error & ~1, address };
}
