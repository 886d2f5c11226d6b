/** An architecture whose vCPUs follow a script: to look at schedule, time and kicks without a CPU in the way. */
import {
  type AnyPlugin,
  type ArchVcpu,
  definePlugin,
  type Exit,
  Stop,
  type StopReason,
  type Task,
  type Vcpu,
} from '../../src/index.ts';

/** What a scripted vCPU does next. */
export type Act =
  /** Retires this many instructions. */
  | { readonly run: number }
  /** Waits until this virtual time (its own timer), or for ever. */
  | { readonly wait: number }
  /** A port access; several elements are written from {@link Vcpu.portData}. Those in a row are one instruction's. */
  | {
      readonly port: number;
      readonly size: 1 | 2 | 4;
      readonly write?: readonly number[];
      readonly read?: number;
    }
  /** Leaves with exit hlt. */
  | 'hlt';

/** A scripted vCPU; `log` tells how many instructions each entry retired and when it began. */
export class ScriptVcpu implements ArchVcpu {
  pc = 0n;
  power: 'on' | 'off' = 'on';
  retired = 0;
  readonly registers = [];
  readonly cells = [];
  /** `[time of entry, instructions]`. */
  readonly log: [number, number][] = [];
  /** What port loads brought, one number each: the first element. */
  readonly answers: number[] = [];
  /** Wakes a wait that has no time. */
  woken = false;
  readonly #core: Vcpu;
  readonly #acts: Act[];
  #left = 0;
  constructor(core: Vcpu, acts: readonly Act[]) {
    this.#core = core;
    this.#acts = [...acts];
  }
  get #wait(): number | undefined {
    const a = this.#acts[0];
    return typeof a === 'object' && 'wait' in a ? a.wait : undefined;
  }
  read(): undefined {
    return undefined;
  }
  write(): boolean {
    return false;
  }
  prepare(): undefined {
    return undefined;
  }
  enter(slice: number): StopReason {
    this.retired = 0;
    const begun = this.#core.now;
    const done = (r: StopReason): StopReason => {
      if (this.retired) this.log.push([begun, this.retired]);
      return r;
    };
    while (this.retired < slice) {
      const a = this.#acts[0];
      if (a === undefined || a === 'hlt') return done(Stop.Handle);
      if ('wait' in a) {
        if (!this.woken && this.#core.now + this.retired < a.wait) return done(Stop.Wait);
        this.woken = false;
        this.#acts.shift();
        continue;
      }
      if ('port' in a) {
        this.#access(a);
        return done(Stop.Device);
      }
      const n = Math.min(slice - this.retired, this.#left || a.run);
      this.retired += n;
      this.#left = (this.#left || a.run) - n;
      if (this.#left === 0) this.#acts.shift();
    }
    return done(Stop.Slice);
  }
  // biome-ignore lint/correctness/useYield: nothing can come between here
  *handle(): Task<Exit | undefined> {
    if (this.#acts.length > 1) this.#acts.shift();
    return { kind: 'hlt', vcpu: this.#core.id, ret: 0 };
  }
  #access(a: Extract<Act, { port: number }>): void {
    const d = this.#core.device;
    const values = a.write;
    const count = values?.length ?? a.read ?? 1;
    Object.assign(d, { port: true, gpa: a.port, size: a.size, write: values !== undefined, count });
    d.lo = values?.[0] ?? 0;
    const bytes = new DataView(this.#core.portData.buffer, this.#core.portData.byteOffset);
    if (values && count > 1) for (const [i, v] of values.entries()) bytes.setUint8(i * a.size, v);
  }
  complete(): typeof Stop.Device | undefined {
    this.#acts.shift();
    if (!this.#core.device.write) this.answers.push(this.#core.device.lo);
    const a = this.#acts[0];
    if (typeof a !== 'object' || !('port' in a)) return undefined;
    // the next one belongs to the same instruction
    this.#access(a);
    return Stop.Device;
  }
  runnable(): boolean {
    const w = this.#wait;
    return this.power === 'on' && (w === undefined || this.woken || this.#core.now >= w);
  }
  deadline(): number {
    return this.#wait ?? Infinity;
  }
  flush(): void {}
  zapped(): void {}
  walk(): { steps: [] } {
    return { steps: [] };
  }
  disassemble(): [] {
    return [];
  }
  dispose(): void {}
}

/** The architecture: vCPU n follows `scripts[n]`. */
export function scriptArch(scripts: readonly (readonly Act[])[]): AnyPlugin {
  return definePlugin({
    name: 'script',
    core: '^1.0.0',
    arch: {
      name: 'script',
      memslots: {
        ids: 32,
        addressSpaces: 1,
        gpaLimit: 2 ** 40,
        beyondLimit: 'EINVAL',
        refusesDirtyPfnmap: false,
      },
      stage2: { invalidSlot: 'retry', vmaFirst: false, execDevice: 'allow' },
      taskSize: 2 ** 47,
      runBytes: 3 * 4096,
      createVcpu: (_vm, core) => new ScriptVcpu(core, scripts[core.id] ?? ['hlt']),
    },
    setup: () => ({}),
  });
}
