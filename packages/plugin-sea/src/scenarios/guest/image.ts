/** The guest as the VMM loads it: code, tables and data as pieces of guest memory. */
import { assemble } from '@faultyard/arch-arm64';
import { boot, start } from './boot.ts';
import { handlers, second, services, timer } from './kernel.ts';
import {
  AREA,
  AT,
  areaGpa,
  KERNEL,
  PORT,
  PROCESS,
  RAM,
  RING,
  SAYS,
  SHARED,
  VECTORS,
  VICTIMS,
} from './layout.ts';
import { main, processes, scheduling, victimCode } from './processes.ts';
import type { GuestSetup } from './setup.ts';
import { tables, victimRoot } from './tables.ts';
import { entry, vectors } from './vectors.ts';

/** FAR_EL1 from boot on, until an exception writes it. */
export const KEPT_FAR = 0x5eed_0000_5eed_0000n;

/** Bytes that go to one gpa. */
export interface Piece {
  readonly gpa: bigint;
  readonly bytes: Uint8Array;
}

/** A guest ready to be loaded. */
export interface GuestImage {
  readonly pieces: readonly Piece[];
  /** Entry point (gpa, MMU off). */
  readonly entry: bigint;
  /** VA of the touching instruction. */
  readonly stimulus: bigint;
  /** Labels and their addresses. */
  readonly symbols: Readonly<Record<string, bigint>>;
  /** What the guest's final checksum must be. */
  readonly checksum: bigint;
}

const SYMBOLS: Readonly<Record<string, bigint | number>> = {
  identity_root: RAM.gpa + AT.identity,
  upper_root: RAM.gpa + AT.upper,
  boot_gpa: RAM.gpa + AT.boot,
  areas: KERNEL + AT.areas,
  stacks: KERNEL + AT.stacks,
  shared: KERNEL + AT.shared,
  untouched: KERNEL + AT.untouched,
  port: PORT.va,
  data_descriptor: KERNEL + AT.victims + 0x3000n + ((VICTIMS.D.va >> 12n) & 0x1ffn) * 8n,
  KEPT_FAR,
  RING,
  AREA_SIZE: AT.areaSize,
  AREA_COUNT: AREA.count,
  AREA_CURRENT: AREA.current,
  AREA_FIXUP: AREA.fixup,
  AREA_TICKS: AREA.ticks,
  AREA_CPU: AREA.cpu,
  AREA_PROCESSES: AREA.processes,
  AREA_RING: AREA.ring,
  PROCESS_SIZE: AREA.processSize,
  PROCESS_PSTATE: PROCESS.pstate,
  PROCESS_ALIVE: PROCESS.alive,
  PROCESS_DEATHS: PROCESS.deaths,
  SHARED_UP: SHARED.up,
  SHARED_GO: SHARED.go,
  SHARED_UNMAP: SHARED.unmap,
  SHARED_UNMAPPED: SHARED.unmapped,
  SAYS_READY: SAYS.ready,
  SAYS_DEAD: SAYS.dead,
  SAYS_SERROR: SAYS.serror,
  SAYS_STUCK: SAYS.stuck,
  SAYS_REPORT: SAYS.report,
};

/** Text of the whole guest, in the order of its chapters. */
function guestText(s: GuestSetup): string {
  return [
    boot(s),
    `  .org  ${KERNEL + AT.text}`,
    start(s),
    main(s),
    second(s),
    '  .ltorg',
    `  .org  ${VECTORS}`,
    'vectors:',
    vectors(),
    `  .org  ${VECTORS + 0x800n}`,
    entry(s),
    handlers(s),
    services(s),
    timer,
    scheduling,
    '  .ltorg',
    `  .org  ${KERNEL + AT.user}`,
    processes(s),
  ].join('\n');
}

/** Guests by what asks for them: the columns of an entry mostly share one. */
const built: WeakMap<object, Map<string, GuestImage>> = new WeakMap();

/** Builds a guest, or gives the one that was built for the same owner and setup. */
export function guestOf(owner: object, s: GuestSetup): GuestImage {
  const own = built.get(owner) ?? new Map<string, GuestImage>();
  built.set(owner, own);
  const key = JSON.stringify(s, (_, v: unknown) => (typeof v === 'bigint' ? `${v}n` : v));
  const image = own.get(key) ?? buildGuest(s);
  own.set(key, image);
  return image;
}

/** Builds a guest. */
export function buildGuest(s: GuestSetup): GuestImage {
  const symbols = Object.fromEntries(Object.entries(SYMBOLS).map(([k, v]) => [k, BigInt(v)]));
  const code = assemble(guestText(s), {
    origin: KERNEL,
    symbols: { ...symbols, victim_root: victimRoot(s), first_victim: s.touches[0] ?? 0n },
  });
  const at = (name: string): bigint => code.symbols[name] as bigint;
  const memory = new Pages();
  memory.write(RAM.gpa, code.bytes);
  for (const [gpa, v] of tables(s)) memory.word(gpa, v);
  for (let cpu = 0; cpu < s.cpus; cpu++) {
    const touching = s.touches.map((va) => ({ pc: at('touching'), va }));
    while (touching.length < 3) touching.push({ pc: at('idle'), va: 0n });
    touching.forEach((p, n) => {
      const base = areaGpa(cpu) + BigInt(AREA.processes + n * AREA.processSize);
      memory.word(base + BigInt(PROCESS.pc), p.pc);
      memory.word(base + BigInt(PROCESS.sp), KERNEL + AT.user + 0x1000n);
      memory.word(base + BigInt(PROCESS.x0), p.va);
      memory.word(base + BigInt(PROCESS.alive), 1n);
    });
  }
  memory.write(VICTIMS.F.gpa, assemble(victimCode).bytes);
  const pattern = Uint8Array.from({ length: 4096 }, (_, i) => (i * 37 + (i >> 8)) & 0xff);
  memory.write(RAM.gpa + AT.untouched, pattern);
  return {
    pieces: memory.pieces(),
    entry: RAM.gpa + AT.boot,
    stimulus: at('stimulus'),
    symbols: code.symbols,
    checksum: checksum(pattern),
  };
}

const PAGE = 4096;

/** Guest memory that is not zero, by page. */
class Pages {
  readonly #pages = new Map<number, Uint8Array>();
  write(gpa: bigint, bytes: Uint8Array): void {
    let at = Number(gpa);
    for (let done = 0; done < bytes.length; ) {
      const n = Math.min(bytes.length - done, PAGE - (at % PAGE));
      const part = bytes.subarray(done, done + n);
      if (part.some((b) => b !== 0)) this.#page(at - (at % PAGE)).set(part, at % PAGE);
      done += n;
      at += n;
    }
  }
  #page(gpa: number): Uint8Array {
    const p = this.#pages.get(gpa) ?? new Uint8Array(PAGE);
    this.#pages.set(gpa, p);
    return p;
  }
  word(gpa: bigint, v: bigint): void {
    this.write(
      gpa,
      Uint8Array.from({ length: 8 }, (_, i) => Number((v >> BigInt(8 * i)) & 0xffn)),
    );
  }
  pieces(): Piece[] {
    return [...this.#pages].map(([gpa, bytes]) => ({ gpa: BigInt(gpa), bytes }));
  }
}

/** What the guest computes: rotate right by one, add the next word. */
function checksum(bytes: Uint8Array): bigint {
  const view = new DataView(bytes.buffer);
  let sum = 0n;
  for (let i = 0; i < bytes.length; i += 8) {
    const rotated = (sum >> 1n) | ((sum & 1n) << 63n);
    sum = BigInt.asUintN(64, view.getBigUint64(i, true) + rotated);
  }
  return sum;
}
