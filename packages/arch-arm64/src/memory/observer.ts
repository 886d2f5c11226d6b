/** A walk of stage 1 for people: every step, changing nothing. */
import type { Vm, Walk, WalkStep } from '@faultyard/core';
import { high, join, low, PS, SR } from '../state.ts';
import type { Arm64Vcpu } from '../vcpu.ts';
import { flat } from './at.ts';
import { leafShift, memoryType, PAGE, permitted } from './attributes.ts';
import { TableRead, type TableReader, WalkEnd, walk, walkResult } from './walk.ts';

/** Names of fault kinds by FSC >> 2. */
const KINDS: readonly string[] = ['address size', 'translation', 'access flag', 'permission'];

/** Words for a stage 1 FSC: `translation fault, level 2`. */
function faultName(fsc: number): string {
  return `${KINDS[fsc >> 2] ?? `FSC 0x${fsc.toString(16)}`} fault, level ${fsc & 3}`;
}

/**
 * Reads tables as KVM and people do: through the VMM's mapping, whatever stage 2 has mapped just now, without consuming
 * poison and without any effect.
 */
export function observerReader(vm: Vm): TableReader {
  return {
    readTable(gpa, out) {
      if (vm.memory.hvaOf(gpa) === undefined) return TableRead.Stage2;
      const d = new DataView(vm.memory.read(gpa, 8).buffer);
      out.lo = d.getInt32(0, true);
      out.hi = d.getInt32(4, true);
      return TableRead.Ok;
    },
  };
}

/** The instruction word that a fetch from an address would find; `undefined` when nothing is there. */
export function observeWord(v: Arm64Vcpu, lo: number, hi: number): number | undefined {
  const r = walkResult();
  const mmu = (v.state.lo(SR.SCTLR_EL1) & 1) !== 0;
  const end = mmu
    ? walk(v.state, v.model.paBits, lo, hi, observerReader(v.vm), r)
    : flat(v.model.paBits, lo, hi, true, r);
  if (end !== WalkEnd.Done || v.vm.memory.hvaOf(r.pa) === undefined) return undefined;
  return new DataView(v.vm.memory.read(r.pa, 4).buffer).getInt32(0, true);
}

/** Walks as the vCPU's tables, registers and exception level are now. */
export function observe(v: Arm64Vcpu, gva: bigint, access: 'read' | 'write' | 'exec'): Walk {
  const s = v.state;
  const steps: WalkStep[] = [];
  const r = walkResult();
  const el0 = s.el === 0;
  const kind = access === 'read' ? 0 : access === 'write' ? 1 : 2;
  const mmu = (s.lo(SR.SCTLR_EL1) & 1) !== 0;
  const spy: TableReader = {
    readTable(gpa, out) {
      let how = v.port.readTable(gpa, out);
      if (how === TableRead.Stage2 && v.vm.memory.isRam(gpa)) {
        // only not mapped yet: the hardware would fault it in
        const d = v.vm.peek(gpa);
        out.lo = low(d);
        out.hi = high(d);
        how = TableRead.Ok;
      }
      const readable = how === TableRead.Ok;
      steps.push({
        level: r.level,
        gpa: BigInt(gpa),
        descriptor: readable ? join(out.lo, out.hi) : 0n,
        ...(readable ? {} : { note: how === TableRead.External ? 'poisoned' : 'not mapped by stage 2' }),
      });
      return how;
    },
  };
  const end = mmu
    ? walk(s, v.model.paBits, low(gva), high(gva), spy, r)
    : flat(v.model.paBits, low(gva), high(gva), kind === 2, r);
  if (end === WalkEnd.Fault) return { steps, fault: faultName(r.fsc) };
  if (end !== WalkEnd.Done)
    return { steps, fault: `no memory at the level ${r.level} table, 0x${r.table.toString(16)}` };
  const a = r.attributes;
  const attributes = {
    el0: (a & PAGE.El0) !== 0,
    write: (a & PAGE.ReadOnly) === 0,
    uxn: (a & PAGE.Uxn) !== 0,
    pxn: (a & PAGE.Pxn) !== 0,
    global: (a & PAGE.NotGlobal) === 0,
    device: (a & PAGE.Device) !== 0,
    memory: `0x${memoryType(a).toString(16).padStart(2, '0')}`,
    ...(mmu ? { size: 2 ** leafShift(a) } : {}),
  };
  const wxn = mmu && (s.lo(SR.SCTLR_EL1) & (1 << 19)) !== 0;
  const pan = !el0 && kind !== 2 && (s.ps & PS.PAN) !== 0;
  if (mmu && !permitted(a, kind, el0, wxn, pan))
    return { steps, fault: faultName(0x0c + r.level), attributes };
  return { steps, gpa: BigInt(r.pa), attributes };
}
