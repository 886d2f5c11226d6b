/**
 * x87 control (AMD64 APM volume 5: FNINIT, FNCLEX, FLDCW, FNSTCW, FNSTSW, FNSTENV, FLDENV, FNSAVE, FRSTOR, WAIT, EMMS) and
 * MXCSR (volume 4: LDMXCSR, STMXCSR).
 */
import { type Instruction, MemorySize, Mnemonic, OpKind } from 'iced-x86';
import { R } from '../isa/layout.ts';
import type { Machine } from '../machine.ts';
import { Next, type NextStep } from '../next.ts';
import { type Fault, gp, raiseFault } from '../segments/fault.ts';
import { view, type X87State } from '../x87.ts';
import { mmxFault, sseFault, waitFault, x87Fault } from './fpu-available.ts';
import { effective, reach } from './operand.ts';
import type { Operation, Operations } from './operation.ts';

/** Writable bits of MXCSR: 15:0, and MM (misaligned exception mask) on AMD's processors, as MXCSR_MASK says. */
export const mxcsrMask = (m: Machine): number => (m.model.vendor === 'AMD' ? 0x2_ffff : 0xffff);

/** An operation on `bytes` of memory. */
interface OnMemory {
  readonly bytes: number;
  /** Fills what is written. It changes nothing yet. */
  readonly save?: (m: Machine, data: Uint8Array) => void;
  /** Checks what was read, before anything changes. */
  readonly check?: (m: Machine, data: Uint8Array) => Fault | undefined;
  /** What it changes: takes what was read, or follows what was written. */
  readonly change?: (m: Machine, data: Uint8Array) => void;
}

const buffer: Uint8Array = new Uint8Array(108);

/** Performs it, its instruction being allowed. */
function onMemory(m: Machine, i: Instruction, how: OnMemory): NextStep {
  const p = effective(m, i);
  const bad = reach(m, p, how.bytes, how.save !== undefined);
  if (bad) return raiseFault(m, bad);
  const t = m.memory.begin();
  const data = buffer.subarray(0, how.bytes);
  if (how.save) {
    how.save(m, data);
    t.writeBytes(p.lo, p.hi, data);
  } else t.readBytes(p.lo, p.hi, data);
  if (t.failed) return m.faulted();
  const wrong = how.check?.(m, data);
  if (wrong) return raiseFault(m, wrong);
  t.commit();
  how.change?.(m, data);
  m.state.advance(i.length);
  return Next.Run;
}

const x87 =
  (waits: boolean, how: OnMemory): Operation =>
  (m, i) => {
    const fault = x87Fault(m, waits);
    return fault ? raiseFault(m, fault) : onMemory(m, i, how);
  };

/** One that only changes state. */
const plain =
  (fault: (m: Machine) => Fault | undefined, act: (m: Machine) => void): Operation =>
  (m, i) => {
    const f = fault(m);
    if (f) return raiseFault(m, f);
    act(m);
    m.state.advance(i.length);
    return Next.Run;
  };

// ---- the environment -----------------------------------------------------------------------------------------------

/** Whether pointers are kept as 20-bit and 32-bit addresses (real and virtual-8086 mode), not with selectors. */
function addresses(m: Machine): boolean {
  const { mode } = m.state;
  return mode === 'real' || mode === 'virtual-8086';
}

/** Writes the environment of 14 or 28 bytes (AMD64 APM volume 2, 11.4.4.2, figures 11-7 to 11-10). */
function saveEnvironment(m: Machine, to: Uint8Array): void {
  const { x87: x } = m;
  const dv = view(to);
  const wide = to.length === 28;
  const real = addresses(m);
  const linear = (p: X87State['ip']): number => (real ? p.lo + (p.selector << 4) : p.lo) | 0;
  const ip = linear(x.ip);
  const dp = linear(x.dp);
  if (wide) {
    for (const [n, v] of [x.control, x.status, x.fullTags].entries())
      dv.setInt32(4 * n, v | 0xffff_0000, true);
    dv.setInt32(12, real ? (ip & 0xffff) | 0xffff_0000 : ip, true);
    dv.setInt32(16, real ? ((ip >>> 16) << 12) | x.opcode : x.ip.selector | (x.opcode << 16), true);
    dv.setInt32(20, real ? (dp & 0xffff) | 0xffff_0000 : dp, true);
    dv.setInt32(24, real ? (dp >>> 16) << 12 : x.dp.selector | 0xffff_0000, true);
    return;
  }
  for (const [n, v] of [x.control, x.status, x.fullTags, ip].entries()) dv.setUint16(2 * n, v & 0xffff, true);
  dv.setUint16(8, real ? (((ip >>> 16) & 15) << 12) | x.opcode : x.ip.selector, true);
  dv.setUint16(10, dp & 0xffff, true);
  dv.setUint16(12, real ? ((dp >>> 16) & 15) << 12 : x.dp.selector, true);
}

function restoreEnvironment(m: Machine, from: Uint8Array): void {
  const { x87: x } = m;
  const dv = view(from);
  const wide = from.length === 28;
  const real = addresses(m);
  const step = wide ? 4 : 2;
  x.control = dv.getUint16(0, true);
  x.status = dv.getUint16(step, true);
  x.fullTags = dv.getUint16(2 * step, true);
  const { ip, dp } = x;
  ip.hi = dp.hi = ip.selector = dp.selector = 0;
  if (wide) {
    const word = dv.getInt32(16, true);
    ip.lo = real ? dv.getUint16(12, true) | ((word >>> 12) << 16) : dv.getInt32(12, true);
    x.opcode = (real ? word : word >>> 16) & 0x7ff;
    const top = dv.getInt32(24, true);
    dp.lo = real ? dv.getUint16(20, true) | ((top >>> 12) << 16) : dv.getInt32(20, true);
    if (!real) {
      ip.selector = word & 0xffff;
      dp.selector = top & 0xffff;
    }
    return;
  }
  const word = dv.getUint16(8, true);
  const top = dv.getUint16(12, true);
  ip.lo = dv.getUint16(6, true) | (real ? (word >>> 12) << 16 : 0);
  dp.lo = dv.getUint16(10, true) | (real ? (top >>> 12) << 16 : 0);
  if (real) x.opcode = word & 0x7ff;
  else {
    ip.selector = word;
    dp.selector = top;
  }
}

/** Bytes of the environment that the operand size gives. */
function environmentBytes(i: Instruction): 14 | 28 {
  const n = i.memorySize;
  return n === MemorySize.FpuEnv28 || n === MemorySize.FpuState108 ? 28 : 14;
}

/** FNSTENV and FLDENV; `stack`: FNSAVE and FRSTOR, with ST0 to ST7 behind the environment. */
function area(m: Machine, i: Instruction, writes: boolean, stack: boolean): NextStep {
  const head = environmentBytes(i);
  const bytes = head + (stack ? 80 : 0);
  const registers = stack ? [0, 1, 2, 3, 4, 5, 6, 7] : [];
  const load: OnMemory = {
    bytes,
    change: ({ x87: x }, data) => {
      restoreEnvironment(m, data.subarray(0, head));
      for (const n of registers) x.st(n).set(data.subarray(head + 10 * n, head + 10 * n + 10));
    },
  };
  const store: OnMemory = {
    bytes,
    save: ({ x87: x }, data) => {
      saveEnvironment(m, data.subarray(0, head));
      for (const n of registers) data.set(x.st(n), head + 10 * n);
    },
    change: ({ x87: x }) => {
      if (stack) x.initialize();
      else x.control |= 0x3f;
    },
  };
  return x87(!writes, writes ? store : load)(m, i);
}

// ---- the table -----------------------------------------------------------------------------------------------------

const word = (f: (x: X87State) => number): OnMemory => ({
  bytes: 2,
  save: (m, data) => view(data).setUint16(0, f(m.x87), true),
});

/** FNSTSW to AX or memory. */
const storeStatus: Operation = (m, i) => {
  if (i.op0Kind !== OpKind.Register)
    return x87(
      false,
      word((x) => x.status),
    )(m, i);
  return plain(
    (n) => x87Fault(n, false),
    (n) => n.state.setSized(R.RAX, 2, n.x87.status, 0),
  )(m, i);
};

const sse =
  (how: OnMemory): Operation =>
  (m, i) => {
    const fault = sseFault(m);
    return fault ? raiseFault(m, fault) : onMemory(m, i, how);
  };

/** #GP(0) for reserved bits of a value for MXCSR. */
export const mxcsrFault = (m: Machine, value: number): Fault | undefined =>
  value & ~mxcsrMask(m) ? gp(0) : undefined;

/** What `dispatch.ts` registers. */
export const X87_OPERATIONS: Operations = new Map<Mnemonic, Operation>([
  [
    Mnemonic.Fninit,
    plain(
      (m) => x87Fault(m, false),
      (m) => m.x87.initialize(),
    ),
  ],
  [
    Mnemonic.Fnclex,
    plain(
      (m) => x87Fault(m, false),
      (m) => {
        m.x87.status &= ~0x80ff;
      },
    ),
  ],
  // 8087 and 80287 only; they do nothing since
  ...[Mnemonic.Fneni, Mnemonic.Fndisi, Mnemonic.Fnsetpm].map((x): [Mnemonic, Operation] => [
    x,
    plain(
      (m) => x87Fault(m, false),
      () => undefined,
    ),
  ]),
  [
    Mnemonic.Fnop,
    plain(
      (m) => x87Fault(m, true),
      () => undefined,
    ),
  ],
  [Mnemonic.Wait, plain(waitFault, () => undefined)],
  [
    Mnemonic.Emms,
    plain(mmxFault, (m) => {
      m.x87.tags = 0;
    }),
  ],
  [
    Mnemonic.Fldcw,
    x87(true, {
      bytes: 2,
      change: (m, data) => {
        m.x87.control = view(data).getUint16(0, true);
      },
    }),
  ],
  [
    Mnemonic.Fnstcw,
    x87(
      false,
      word((x) => x.control),
    ),
  ],
  [Mnemonic.Fnstsw, storeStatus],
  [Mnemonic.Fnstenv, (m, i) => area(m, i, true, false)],
  [Mnemonic.Fldenv, (m, i) => area(m, i, false, false)],
  [Mnemonic.Fnsave, (m, i) => area(m, i, true, true)],
  [Mnemonic.Frstor, (m, i) => area(m, i, false, true)],
  [
    Mnemonic.Ldmxcsr,
    sse({
      bytes: 4,
      check: (m, data) => mxcsrFault(m, view(data).getInt32(0, true)),
      change: (m, data) => {
        m.x87.mxcsr = view(data).getInt32(0, true);
      },
    }),
  ],
  [
    Mnemonic.Stmxcsr,
    sse({
      bytes: 4,
      save: (m, data) => view(data).setInt32(0, m.x87.mxcsr, true),
    }),
  ],
]);
