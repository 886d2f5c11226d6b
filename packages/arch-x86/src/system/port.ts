/**
 * IN, OUT, INS, OUTS: who may (AMD64 APM volume 2, 12.2.4 and volume 3). What happens at a port is KVM's port I/O
 * (`Machine.portIo`).
 */
import { type Instruction, Mnemonic, OpKind } from 'iced-x86';
import { R } from '../isa/layout.ts';
import type { Machine } from '../machine.ts';
import { Next, type NextStep } from '../next.ts';
import { raiseFault } from '../segments/fault.ts';
import { portPermitted } from '../segments/tss.ts';
import { registerSize } from './operand.ts';
import type { Operations } from './operation.ts';

/** IN and OUT: the port is an immediate or DX; the register's size is the access's. */
function plain(m: Machine, i: Instruction, write: boolean): NextStep {
  const of = write ? 0 : 1;
  const port = i.opKind(of) === OpKind.Register ? m.state.lo(R.RDX) & 0xffff : i.immediate8;
  const size = registerSize(write ? i.op1Register : i.op0Register) as 1 | 2 | 4;
  return access(m, i, port, size, write, false);
}

/** How far RCX counts: by the address size of the string operand. */
function repeatsNone(m: Machine, i: Instruction): boolean {
  if (!i.hasRepPrefix && !i.hasRepnePrefix) return false;
  const s = m.state;
  const kind = i.opKind(i.opKind(0) === OpKind.Register ? 1 : 0);
  if (kind === OpKind.MemoryESDI || kind === OpKind.MemorySegSI) return (s.lo(R.RCX) & 0xffff) === 0;
  if (kind === OpKind.MemoryESEDI || kind === OpKind.MemorySegESI) return s.lo(R.RCX) === 0;
  return s.lo(R.RCX) === 0 && s.hi(R.RCX) === 0;
}

const STRING_SIZE: ReadonlyMap<Mnemonic, 1 | 2 | 4> = new Map([
  [Mnemonic.Insb, 1],
  [Mnemonic.Insw, 2],
  [Mnemonic.Insd, 4],
  [Mnemonic.Outsb, 1],
  [Mnemonic.Outsw, 2],
  [Mnemonic.Outsd, 4],
]);

function string(m: Machine, i: Instruction, write: boolean): NextStep {
  const size = STRING_SIZE.get(i.mnemonic) as 1 | 2 | 4;
  const port = m.state.lo(R.RDX) & 0xffff;
  if (repeatsNone(m, i)) {
    // processors look at permissions before the count
    const f = portPermitted(m, port, size);
    if (f) return raiseFault(m, f);
    m.state.advance(i.length);
    return Next.Run;
  }
  return access(m, i, port, size, write, true);
}

function access(
  m: Machine,
  i: Instruction,
  port: number,
  size: 1 | 2 | 4,
  write: boolean,
  isString: boolean,
): NextStep {
  const f = portPermitted(m, port, size);
  if (f) return raiseFault(m, f);
  const step = m.intercepted('io', port);
  if (step !== undefined) return step;
  m.events.debug.port(port, size);
  return m.portIo(i, port, size, write, isString);
}

/** This chapter's instructions. */
export const PORT_OPERATIONS: Operations = new Map([
  [Mnemonic.In, (m: Machine, i: Instruction) => plain(m, i, false)],
  [Mnemonic.Out, (m: Machine, i: Instruction) => plain(m, i, true)],
  [Mnemonic.Insb, (m: Machine, i: Instruction) => string(m, i, false)],
  [Mnemonic.Insw, (m: Machine, i: Instruction) => string(m, i, false)],
  [Mnemonic.Insd, (m: Machine, i: Instruction) => string(m, i, false)],
  [Mnemonic.Outsb, (m: Machine, i: Instruction) => string(m, i, true)],
  [Mnemonic.Outsw, (m: Machine, i: Instruction) => string(m, i, true)],
  [Mnemonic.Outsd, (m: Machine, i: Instruction) => string(m, i, true)],
]);
