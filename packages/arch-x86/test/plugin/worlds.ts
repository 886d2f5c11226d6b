/**
 * A plugin of the size of a page: a second world of registers. VMRUN exchanges RIP, RSP, RAX and RFLAGS with a block in
 * memory; RDTSC in the inner world comes back. What plugin authors have to know of an x86 CPU is in here once.
 */
import { definePlugin, type Plugin } from '@faultyard/core';
import {
  cpuid,
  EFER,
  type InstructionDef,
  instructions,
  intercept,
  type MsrDef,
  MsrResult,
  msr,
  Next,
  type X86Vcpu,
} from '../../src/index.ts';

/** WORLD_SAVE: linear address at which the outer world is kept. */
const SAVE = 0xc001_1f00;
/** Offset of the exit code in the inner world's block; 1: RDTSC. */
const EXIT_CODE = 32;
const RAX = 0;
const RSP = 4;

const save: MsrDef = {
  index: SAVE,
  name: 'WORLD_SAVE',
  doc: 'Where VMRUN keeps the outer world',
  fields: [['ADDRESS', 31, 12]],
  check: (a) => (a.hi !== 0 || a.lo & 0xfff ? MsrResult.Refused : MsrResult.Ok),
};

/** The four registers of a world, as halves. */
const registers = ({ state: s }: X86Vcpu): readonly number[] => [
  ...[s.ipLo, s.ipHi, s.lo(RSP), s.hi(RSP)],
  ...[s.lo(RAX), s.hi(RAX), s.flags, 0],
];

/** Reads a world from `from` and writes the running one to `to`; `false`: memory says no, nothing is changed. */
function exchange(v: X86Vcpu, to: number, from: number, code: number | undefined): boolean {
  const { state: s } = v;
  const t = v.memory.begin();
  const next: number[] = [];
  for (let n = 0; n < 4; n++) next.push(t.read(from + 8 * n, 0, 8), t.hi);
  const mine = registers(v);
  for (let n = 0; n < 4; n++) t.write(to + 8 * n, 0, 8, mine[2 * n] as number, mine[2 * n + 1] as number);
  if (code !== undefined) t.write(to + EXIT_CODE, 0, 4, code);
  if (t.failed) return false;
  t.commit();
  const [ipLo = 0, ipHi = 0, spLo = 0, spHi = 0, axLo = 0, axHi = 0, flags = 0] = next;
  s.flags = flags | 2;
  s.set(RSP, spLo, spHi);
  s.set(RAX, axLo, axHi);
  s.setIp(ipLo, ipHi);
  v.modeChanged();
  return true;
}

/** `vm.api(worlds)`. */
export interface Worlds {
  /** Block of the inner world that each vCPU is in; 0 or nothing: it is in the outer one. */
  readonly inner: number[];
}

/** A vCPU is in another world: its RDTSC is wanted in an inner one. */
function entered(v: X86Vcpu, block: number): void {
  v.vm.api(worlds).inner[v.id] = block;
  v.intercepts.set('worlds', block ? ['rdtsc'] : []);
}

/** VMRUN, in place of #UD. The object is one for all VMs, so that they share their compiled interpreter. */
const vmrun: InstructionDef = {
  name: 'worlds_vmrun',
  codes: ['Vmrunw', 'Vmrund', 'Vmrunq'],
  run(v, { length }) {
    const { state: s } = v;
    if (!(s.efer & EFER.SVME)) return v.raise(6);
    if (s.cpl !== 0 || s.lo(RAX) & 0xfff) return v.raise(13, 0);
    const block = s.lo(RAX);
    // the outer world goes on behind the instruction
    const back = s.ipLo;
    s.advance(length);
    if (exchange(v, v.msrs.stored(SAVE).lo, block, undefined)) entered(v, block);
    else {
      s.setIp(back, 0);
      return v.faulted();
    }
    return Next.Run;
  },
};

/** The plugin. */
export const worlds: Plugin<never, Worlds> = definePlugin<never, Worlds>({
  name: 'worlds',
  core: '^1.0.0',
  needs: ['x86'],
  setup(ctx) {
    const inner: number[] = [];
    ctx.cell({
      name: 'worlds.inner',
      version: 1,
      side: 'guest',
      read: () => [...inner],
      write: (saved) => void inner.splice(0, inner.length, ...(saved as number[])),
    });
    ctx.contribute(instructions, () => [vmrun]);
    ctx.contribute(msr, () => [save]);
    ctx.contribute(cpuid, () => [
      { leaf: 0x8000_0001, set: [0, 0, 1 << 2, 0] },
      { leaf: 0x8000_000a, set: [1, 1, 0, 0], now: (v, regs) => regs.set([inner[v.id] ?? 0], 3) },
    ]);
    ctx.contribute(intercept, ({ vcpu: v, what }) => {
      const block = inner[v.id] ?? 0;
      if (what !== 'rdtsc' || block === 0) return undefined;
      if (!exchange(v, block, v.msrs.stored(SAVE).lo, 1)) return v.faulted();
      entered(v, 0);
      return Next.Run;
    });
    return { inner };
  },
});
