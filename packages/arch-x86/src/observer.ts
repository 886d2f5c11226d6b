/** A walk of the guest's page tables for people: every step, changing nothing. */
import type { Walk, WalkStep } from '@faultyard/core';
import { Formatter, FormatterSyntax, Instruction } from 'iced-x86';
import { decodeInstruction, MAX_INSTRUCTION } from './isa/decode.ts';
import { leafShift, PAGE, patIndex, protectionKey, WANT } from './memory/page.ts';
import { canonical } from './memory/paging.ts';
import { denied, type TableReader, WalkEnd, walk, walkResult } from './memory/walk.ts';
import { high, join, low } from './state.ts';
import type { X86Vcpu } from './vcpu.ts';

/** Names of the bits of #PF's error code. */
const BITS = ['P', 'W', 'U', 'RSVD', 'I', 'PK'] as const;
const words = (code: number): string => BITS.filter((_, n) => code & (1 << n)).join(' ') || 'not present';

/** Walks as the vCPU's tables, registers and privilege are now. */
export function observe(v: X86Vcpu, gva: bigint, access: 'read' | 'write' | 'exec'): Walk {
  const s = v.state;
  const steps: WalkStep[] = [];
  const r = walkResult();
  const { port, vm } = v;
  const spy: TableReader = {
    readTable(pa, size, out) {
      let how = port.silent.readTable(pa, size, out);
      if (how === WalkEnd.Stage2 && vm.memory.isRam(pa)) {
        // only not mapped yet: the hardware would fault it in
        const d = vm.peek(pa, size);
        out.lo = low(d);
        out.hi = high(d);
        how = WalkEnd.Done;
      }
      const readable = how === WalkEnd.Done;
      steps.push({
        level: r.level,
        gpa: BigInt(pa),
        descriptor: readable ? join(out.lo, out.hi) : 0n,
        ...(readable ? {} : { note: how === WalkEnd.External ? 'poisoned' : 'not mapped by stage 2' }),
      });
      return how;
    },
    markTable: () => WalkEnd.Done,
  };
  const hi = s.code === 8 || s.lma ? high(gva) : 0;
  if (s.lma && !canonical(s, hi)) return { steps, fault: 'not canonical' };
  const user = s.cpl === 3 ? WANT.User : 0;
  const want = user | (access === 'write' ? WANT.Write : access === 'exec' ? WANT.Fetch : 0);
  const end = walk(port.paging, low(gva), hi, want, spy, r);
  if (end === WalkEnd.Fault) return { steps, fault: `#PF (${words(r.errorCode)})` };
  if (end !== WalkEnd.Done)
    return { steps, fault: `no memory at the level ${r.level} table, 0x${r.table.toString(16)}` };
  const a = r.attributes;
  const attributes = {
    user: (a & PAGE.User) !== 0,
    write: (a & PAGE.Writable) !== 0,
    exec: (a & PAGE.NoExec) === 0,
    global: (a & PAGE.Global) !== 0,
    key: protectionKey(a),
    pat: patIndex(a),
    size: 2 ** leafShift(a),
  };
  if (denied(port.paging, a, want)) return { steps, fault: '#PF (permission)', attributes };
  return { steps, gpa: BigInt(r.pa), attributes };
}

/** Bytes of code at a linear address as a fetch would find them, page by page; fewer where nothing is there. */
function codeAt(v: X86Vcpu, gva: bigint): Uint8Array {
  const out: number[] = [];
  while (out.length < MAX_INSTRUCTION) {
    const at = BigInt.asUintN(64, gva + BigInt(out.length));
    const { gpa } = observe(v, at, 'exec');
    if (gpa === undefined || !v.vm.memory.isRam(Number(gpa))) break;
    const n = Math.min(MAX_INSTRUCTION - out.length, 4096 - Number(at & 0xfffn));
    out.push(...v.vm.read(gpa, n));
  }
  return Uint8Array.from(out);
}

/** Disassembles guest memory from RIP-relative address `gva` of the current code segment on. */
export function disassembleAt(
  v: X86Vcpu,
  gva: bigint,
  count: number,
): readonly { readonly pc: bigint; readonly bytes: Uint8Array; readonly text: string }[] {
  const formatter = new Formatter(FormatterSyntax.Intel);
  const i = new Instruction();
  const mode = v.state.segmentsChanged();
  const out: { readonly pc: bigint; readonly bytes: Uint8Array; readonly text: string }[] = [];
  let pc = BigInt.asUintN(64, gva);
  for (let n = 0; n < count; n++) {
    const bytes = codeAt(v, pc + v.codeBase);
    decodeInstruction(bytes, mode, pc, i, v.model.vendor);
    const length = bytes.length === 0 ? 0 : Math.max(1, i.length);
    const text = length === 0 ? '<unreadable>' : i.isInvalid ? '(bad)' : formatter.format(i);
    out.push({ pc, bytes: bytes.subarray(0, length), text });
    pc = BigInt.asUintN(64, pc + BigInt(Math.max(1, length)));
  }
  formatter.free();
  i.free();
  return out;
}
