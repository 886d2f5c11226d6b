/** A page walk for people: every step, changing nothing. */
import type { Vm, Walk, WalkStep } from '@faultyard/core';
import { CTX_SUPERVISOR_AC, CTX_USER } from '../isa/layout.ts';
import type { Model } from '../model.ts';
import { high, join, low, type Pair, type X86State } from '../state.ts';
import { leafShift, PAGE, PF, patIndex, protectionKey, WANT } from './page.ts';
import { canonical, follow, followRoot, type Paging, pagingOf } from './paging.ts';
import { currentContext, type X86Port } from './port.ts';
import { denied, errorCode, type TableReader, WalkEnd, type WalkEndCode, walk, walkResult } from './walk.ts';

/** A vCPU as observers need it. */
export interface Observed {
  readonly vm: Vm;
  readonly state: X86State;
  readonly model: Model;
  readonly port: X86Port;
}

/**
 * Reads tables as KVM's software and people do: through the VMM's mapping, whatever stage 2 has mapped just now, without
 * consuming poison and without any effect.
 */
function observerReader(vm: Vm): TableReader {
  return {
    readTable(pa, size, out) {
      if (vm.memory.hvaOf(pa) === undefined) return WalkEnd.Stage2;
      const d = new DataView(vm.memory.read(pa, size).buffer);
      out.lo = d.getInt32(0, true);
      out.hi = size === 8 ? d.getInt32(4, true) : 0;
      return WalkEnd.Done;
    },
    markTable: () => WalkEnd.Done,
  };
}

/** Words for an error code of #PF: `#PF(0x7: P W U)`. */
function faultName(code: number): string {
  const bits = Object.entries(PF).flatMap(([name, bit]) => (code & bit ? [name] : []));
  return `#PF(0x${code.toString(16)}${bits.length ? `: ${bits.join(' ')}` : ''})`;
}

function wanted(s: X86State, access: 'read' | 'write' | 'exec'): number {
  const ctx = currentContext(s);
  const base = access === 'exec' ? WANT.Fetch : access === 'write' ? WANT.Write : 0;
  return base | (ctx === CTX_USER ? WANT.User : 0) | (ctx === CTX_SUPERVISOR_AC ? WANT.NoSmap : 0);
}

/** Walks as the vCPU's tables, registers and privilege level are now; the TLB is not asked. `gva` is a linear address. */
export function observe(v: Observed, gva: bigint, access: 'read' | 'write' | 'exec'): Walk {
  const s = v.state;
  const p = pagingOf(v.model);
  follow(p, s);
  followRoot(p, s);
  const lo = low(gva);
  const hi = s.lma ? high(gva) : 0;
  if (s.lma && !canonical(s, hi)) return { steps: [], fault: 'not canonical' };
  const steps: WalkStep[] = [];
  const r = walkResult();
  const want = wanted(s, access);
  const second = v.port.nested?.silent;
  const mapped = second ?? v.port.tables.silent;
  const fallback = observerReader(v.vm);
  const spy: TableReader = {
    readTable(pa, size, out) {
      let how = mapped.readTable(pa, size, out);
      // only not mapped yet: the hardware would fault it in
      if (how === WalkEnd.Stage2 && !second && v.vm.memory.isRam(pa)) how = fallback.readTable(pa, size, out);
      steps.push({ level: r.level, gpa: BigInt(pa), descriptor: entryOf(how, out), ...noteOf(how) });
      return how;
    },
    markTable: () => WalkEnd.Done,
  };
  if (p.levels === 3) steps.push(pointerStep(p, lo >>> 30));
  let end = walk(p, lo, hi, want, spy, r);
  if (end === WalkEnd.Done && second) end = second.finish(want, r);
  if (end === WalkEnd.Fault)
    return {
      steps,
      fault: `${faultName(r.errorCode)}, level ${r.level}`,
      ...(r.errorCode & PF.P && !(r.errorCode & PF.RSVD)
        ? { attributes: attributesOf(p, r.attributes) }
        : {}),
    };
  if (end !== WalkEnd.Done)
    return { steps, fault: `no memory at the level ${r.level} table, 0x${r.table.toString(16)}` };
  const attributes = attributesOf(p, r.attributes);
  const no = second ? denied(p, r.attributes, want) : 0;
  if (no) return { steps, fault: `${faultName(errorCode(p, no, want))}, nested`, attributes };
  return { steps, gpa: BigInt(r.pa), attributes };
}

const entryOf = (how: WalkEndCode, e: Pair): bigint => (how === WalkEnd.Done ? join(e.lo, e.hi) : 0n);
function noteOf(how: WalkEndCode): { readonly note?: string } {
  if (how === WalkEnd.Done) return {};
  return { note: how === WalkEnd.External ? 'poisoned' : 'not mapped by stage 2' };
}
/** The PAE pointer that the registers hold. */
function pointerStep(p: Paging, n: number): WalkStep {
  const descriptor = join(p.pdptes[2 * n] as number, p.pdptes[2 * n + 1] as number);
  return { level: 3, gpa: BigInt(p.root + 8 * n), descriptor, note: 'as CR3 was loaded' };
}
function attributesOf(p: Paging, a: number): Readonly<Record<string, string | number | boolean>> {
  return {
    user: (a & PAGE.User) !== 0,
    write: (a & PAGE.Writable) !== 0,
    nx: (a & PAGE.NoExec) !== 0,
    global: (a & PAGE.Global) !== 0,
    dirty: (a & PAGE.Dirty) !== 0,
    ...(p.keys ? { key: protectionKey(a) } : {}),
    ...(p.levels ? { pat: patIndex(a), size: 2 ** leafShift(a) } : {}),
  };
}

/**
 * Bytes at a linear address as a fetch at the present privilege level would find them, without any effect and whatever
 * stage 2 has mapped; shorter where nothing is there.
 */
export function observeCode(v: Observed, gva: bigint, length: number): Uint8Array {
  const p = pagingOf(v.model);
  follow(p, v.state);
  followRoot(p, v.state);
  const r = walkResult();
  const reader = v.port.nested?.silent ?? observerReader(v.vm);
  const out = new Uint8Array(length);
  for (let n = 0; n < length; ) {
    const at = BigInt.asUintN(v.state.lma ? 64 : 32, gva + BigInt(n));
    const part = Math.min(length - n, 4096 - (low(at) & 0xfff));
    const want = wanted(v.state, 'exec');
    let end = walk(p, low(at), high(at), want, reader, r);
    if (end === WalkEnd.Done && v.port.nested) end = v.port.nested.silent.finish(want, r);
    if (end !== WalkEnd.Done || v.vm.memory.hvaOf(r.pa) === undefined) return out.subarray(0, n);
    out.set(v.vm.memory.read(r.pa, part), n);
    n += part;
  }
  return out;
}
