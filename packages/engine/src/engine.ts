/** An engine: one instruction set on one host's memory, shared by all vCPUs that have both. */
import { type CodeFrames, codeFrames } from './code-frames.ts';
import type { AccessPort, Cpu } from './cpu.ts';
import { type BlockLayout, CONTEXT_BYTES, layoutBlock, MAX_CONTEXTS } from './cpu-block.ts';
import { type Batch, HandlerFunctions } from './handler-functions.ts';
import { type EngineHost, type HostViews, hostViews } from './host.ts';
import { emitInterpreter, type Interpreter } from './interpreter.ts';
import type { Isa } from './isa.ts';
import { FIRST_HANDLER, type IMPORTS } from './layout.ts';
import { Predecode } from './predecode.ts';
import { DirectPages } from './predecode-direct.ts';
import { MAP_BYTES, MappedPages } from './predecode-mapped.ts';
import { EngineCpu } from './run.ts';
import type { SlowPath } from './slow.ts';
import { ContextTlb } from './tlb.ts';

/** Runs the guests of one host that have one instruction set. */
export interface Engine {
  readonly isa: Isa;
  readonly host: EngineHost;
  /** Makes a vCPU; `port` takes its fast-TLB misses. */
  createCpu(port: AccessPort): Cpu;
  /** The frame's content changed behind the engine's back, or it is given away: its predecoded code is dropped. */
  invalidateFrame(frame: number): void;
  /** Figures for benchmarks and tests: pages of predecoded code, bytes of the generated module. */
  figures(): { readonly codePages: number; readonly moduleBytes: number };
}

/** The generated entry point. */
export type Run = (block: number, context: number, rec: number, end: number) => number;

/** The generated loops. */
export interface Loops {
  readonly fast: Run;
  readonly counted: Run;
}

/** What an engine's vCPUs share. */
export interface EngineParts {
  readonly isa: Isa;
  readonly host: EngineHost;
  readonly views: HostViews;
  readonly layout: BlockLayout;
  readonly frames: CodeFrames;
  readonly predecode: Predecode;
  readonly mapped: MappedPages | undefined;
  readonly cpus: Set<EngineCpu>;
  /** The vCPU whose generated code runs now. */
  running: EngineCpu | undefined;
  /** Its slow path, or that of the last one. */
  slow: SlowPath | undefined;
  /** The loops, made at first use. */
  loops(): Loops;
  /** A fast TLB without entries, for stepping. */
  voidContext(): number;
  /** A map without entries, for single instructions of variable length. */
  voidMap(): number;
}

/** Compiled modules by instruction set's list of handlers: an instruction set that keeps its list is compiled once. */
const modules: WeakMap<Isa['handlers'], Map<string, Emitted>> = new WeakMap();
interface Emitted {
  readonly module: WebAssembly.Module;
  readonly interpreter: Interpreter;
  /** Modules of handlers' functions, by handler. */
  readonly batches: (Batch | undefined)[];
}

function compiled(isa: Isa): Emitted {
  let of = modules.get(isa.handlers);
  if (!of) {
    of = new Map();
    modules.set(isa.handlers, of);
  }
  const shape = JSON.stringify([
    isa.unit,
    isa.recordSize,
    isa.fields,
    isa.link,
    isa.files,
    isa.state,
    isa.contexts,
  ]);
  let m = of.get(shape);
  if (!m) {
    const interpreter = emitInterpreter(isa);
    m = { module: new WebAssembly.Module(interpreter.bytes), interpreter, batches: [] };
    of.set(shape, m);
  }
  return m;
}

/**
 * Makes an engine. Modules are cached by the identity of `isa.handlers`; engines are cheap beside them, yet all
 * VMs of a host should share one, for then they share predecoded code.
 * @throws RangeError when the instruction set does not fit the engine (its author's bug).
 */
export function createEngine(host: EngineHost, isa: Isa): Engine {
  checkIsa(isa);
  const views = hostViews(host.memory);
  const frames = codeFrames(host);
  const cpus: Set<EngineCpu> = new Set();
  const mapped = isa.unit === 1 ? new MappedPages(host, views, isa) : undefined;
  const layout = mapped ?? new DirectPages(host, views, isa);
  const predecode = new Predecode({ isa, views, host, layout, frames }, (page) => {
    for (const c of cpus) c.dropExec(page.frame);
  });
  frames.join({
    wrote: (frame, at, size) => predecode.wrote(frame, at, size),
    dropWrites: (frame) => {
      for (const c of cpus) c.dropFrame(frame, true);
    },
  });
  let emptyContext = 0;
  let emptyMap = 0;
  let loops: Loops | undefined;
  const parts: EngineParts = {
    isa,
    host,
    views,
    layout: layoutBlock(isa),
    frames,
    predecode,
    mapped,
    cpus,
    running: undefined,
    slow: undefined,
    loops: () => {
      loops ??= instantiate(parts);
      return loops;
    },
    voidContext: () => {
      if (emptyContext === 0) {
        emptyContext = host.allocTable(CONTEXT_BYTES, 64);
        new ContextTlb(views.i32, emptyContext).flush();
      }
      return emptyContext;
    },
    voidMap: () => {
      if (emptyMap === 0) emptyMap = host.allocTable(MAP_BYTES, 16);
      return emptyMap;
    },
  };
  return {
    isa,
    host,
    createCpu: (port) => new EngineCpu(parts, port),
    invalidateFrame: (frame) => predecode.invalidate(frame),
    figures: () => ({ codePages: predecode.size, moduleBytes: compiled(isa).interpreter.bytes.length }),
  };
}

function instantiate(parts: EngineParts): Loops {
  // only generated code calls these, and it runs for a vCPU
  const of = (): SlowPath => parts.slow as SlowPath;
  const emitted = compiled(parts.isa);
  const imports = {
    memory: parts.host.memory,
    load: (lo: number, hi: number, site: number): number => of().load(lo, hi, site),
    store: (lo: number, hi: number, site: number, vlo: number, vhi: number): number =>
      of().store(lo, hi, site, vlo, vhi),
    storeMany: (lo: number, hi: number, site: number): number => of().storeMany(lo, hi, site),
    rmwLoad: (lo: number, hi: number, site: number): number => of().rmwLoad(lo, hi, site),
    rmwStore: (lo: number, hi: number, site: number, vlo: number, vhi: number): number =>
      of().rmwStore(lo, hi, site, vlo, vhi),
    complete: (block: number, context: number, rec: number): number => {
      const n = parts.views.u16[rec >>> 1] ?? 0;
      const { handlers, pairs } = parts.isa;
      // alone, a pair's record is its first handler's
      const h = pairs?.[n - FIRST_HANDLER - handlers.length]?.[0] ?? n - FIRST_HANDLER;
      const run = functions.get(h, parts.predecode.decoder.met);
      (table as WebAssembly.Table).set(n, run);
      return run(block, context, rec);
    },
  } satisfies Record<(typeof IMPORTS)[number]['name'] | 'memory', unknown>;
  const functions = new HandlerFunctions(parts.isa, emitted, imports);
  const { fast, counted, table } = new WebAssembly.Instance(emitted.module, { e: imports }).exports;
  return { fast: fast as unknown as Run, counted: counted as unknown as Run };
}

function checkIsa(isa: Isa): void {
  const wrong = (what: string): never => {
    throw new RangeError(`instruction set ${isa.name}: ${what}`);
  };
  if (isa.recordSize % 8 !== 0 || isa.recordSize < 16)
    wrong('records are a multiple of 8 and at least 16 bytes');
  if (isa.contexts.length < 1 || isa.contexts.length > MAX_CONTEXTS)
    wrong(`1 to ${MAX_CONTEXTS} access contexts`);
  if (isa.handlers.length + (isa.pairs?.length ?? 0) > 60_000) wrong('more than 60,000 handlers and pairs');
  if (Object.values(isa.files)[0]?.size !== 8) wrong('the main register file has 8-byte registers');
  for (const [name, f] of Object.entries(isa.files)) {
    if (f.count > 256) wrong(`more than 256 registers in ${name}`);
    if (f.over === undefined) continue;
    const under = isa.files[f.over];
    if (!under || under.over !== undefined)
      wrong(`${name} lies over ${f.over}, which has no bytes of its own`);
    else if (f.count * f.size > under.count * under.size) wrong(`${name} is larger than ${f.over}`);
  }
  const names = new Set(isa.handlers.map((h) => h.name));
  if (names.size !== isa.handlers.length) wrong('two handlers have one name');
}
