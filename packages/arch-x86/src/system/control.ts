/**
 * Control registers (AMD64 APM volume 2, 3.1; Intel SDM volume 3, 2.5): what may be written, what follows from it, and
 * which translations a write invalidates (APM 5.5.2; SDM 4.10.4.1). KVM's order of checks: arch/x86/kvm/x86.c,
 * kvm_set_cr0, kvm_set_cr3, kvm_set_cr4.
 */
import { type Instruction, Mnemonic, Register } from 'iced-x86';
import { Seg } from '../isa/layout.ts';
import type { Machine } from '../machine.ts';
import { highMask, pcidOf } from '../memory/paging.ts';
import { Next, type NextStep } from '../next.ts';
import { type Fault, gp, MEMORY_FAULT, raiseFault, UNDEFINED } from '../segments/fault.ts';
import { Attr, CR0, CR4, EFER, SR } from '../state.ts';
import { readWord, registerSlot, writeWord } from './operand.ts';
import type { Operations } from './operation.ts';
import { type ControlRegister, type ControlRegisterRules, controlRegisters } from './points.ts';

/** Bits of CR0 that exist; others read 0 and ignore writes. */
const CR0_BITS =
  CR0.PE | CR0.MP | CR0.EM | CR0.TS | CR0.ET | CR0.NE | CR0.WP | CR0.AM | CR0.NW | CR0.CD | CR0.PG;
/** Changes of CR0 and CR4 that load the page-directory pointers of PAE (SDM volume 3, 4.4.1). */
const CR0_PDPTE = CR0.PG | CR0.CD | CR0.NW;
const CR4_PDPTE = CR4.PGE | CR4.PSE | CR4.PAE | CR4.SMEP;
/** CR3 bit 63, with CR4.PCIDE: keep the translations of the new PCID. */
const NO_FLUSH = 1 << 31;

/** CR4 bits that KVM lets every guest set (CR4_RESERVED_BITS; x86.h, __cr4_reserved_bits). */
const CR4_ALWAYS =
  CR4.VME |
  CR4.PVI |
  CR4.TSD |
  CR4.DE |
  CR4.PSE |
  CR4.PAE |
  CR4.MCE |
  CR4.PGE |
  CR4.PCE |
  CR4.OSFXSR |
  CR4.OSXMMEXCPT;
/** CR4 bits by the feature that the guest's CPUID must have. */
const CR4_FEATURES: readonly (readonly [bit: number, feature: string])[] = [
  [CR4.UMIP, 'umip'],
  [CR4.LA57, 'la57'],
  [CR4.FSGSBASE, 'fsgsbase'],
  [CR4.PCIDE, 'pcid'],
  [CR4.OSXSAVE, 'xsave'],
  [CR4.SMEP, 'smep'],
  [CR4.SMAP, 'smap'],
  [CR4.PKE, 'pku'],
];

const rulesOf = (m: Machine): readonly ControlRegisterRules[] => m.vm.ask(controlRegisters)(undefined);

/** CR4 bits that the guest may set. */
export function cr4Bits(m: Machine): number {
  let bits: number = CR4_ALWAYS;
  for (const [bit, feature] of CR4_FEATURES) if (m.cpuid.has(feature)) bits |= bit;
  for (const r of rulesOf(m)) bits |= r.cr4 ?? 0;
  return bits;
}

function forbidden(m: Machine, register: ControlRegister, lo: number, hi: number): boolean {
  return rulesOf(m).some((r) => r.check?.(m, register, lo, hi) === 'gp');
}
function written(m: Machine, register: ControlRegister): void {
  for (const r of rulesOf(m)) r.written?.(m, register);
}

/**
 * Reads the four page-directory pointers of PAE into SR.PDPTE0 to 3: #GP(0) for reserved bits of a present one. Nothing is
 * changed unless all are good.
 */
export function loadPdptes(m: Machine, cr3: number): Fault | undefined {
  const t = m.memory.begin();
  const base = (cr3 & -32) >>> 0;
  const values: number[] = [];
  for (let n = 0; n < 4; n++) {
    const lo = t.readPhysical(base + 8 * n);
    const { hi } = t;
    if (t.failed) return MEMORY_FAULT;
    if (lo & 1 && (lo & 0x1e6 || hi & (highMask(m.model.physicalBits) | 0xfff0_0000))) return gp();
    values.push(lo, hi);
  }
  m.state.sys.set(values, 2 * SR.PDPTE0);
  return undefined;
}

/** Whether these registers make PAE paging with four pointers. */
const paePaging = (cr0: number, cr4: number, efer: number): boolean =>
  (cr0 & CR0.PG) !== 0 && (cr4 & CR4.PAE) !== 0 && (efer & EFER.LME) === 0;

/** What forbids a value of CR0, before page-directory pointers are looked at. */
export function checkCr0(m: Machine, lo: number, hi: number): Fault | undefined {
  const s = m.state;
  if (hi !== 0) return gp();
  if (lo & CR0.NW && !(lo & CR0.CD)) return gp();
  if (lo & CR0.PG && !(lo & CR0.PE)) return gp();
  const { attr } = s.segment(Seg.CS);
  if (lo & CR0.PG && !(s.cr0 & CR0.PG) && s.efer & EFER.LME && (!(s.cr4 & CR4.PAE) || attr & Attr.L))
    return gp();
  if (!(lo & CR0.PG) && (s.code === 8 || s.cr4 & CR4.PCIDE)) return gp();
  return forbidden(m, 0, lo, hi) ? gp() : undefined;
}

/** Writes CR0, already checked: EFER.LMA, flushes, modes. The instruction at pc must be behind (16-bit IP wraps). */
export function setCr0(m: Machine, lo: number): void {
  const s = m.state;
  const old = s.cr0;
  const value = (lo & CR0_BITS) | CR0.ET;
  s.setSys(SR.CR0, value, 0);
  const changed = old ^ value;
  if (changed & CR0.PG && s.efer & EFER.LME) {
    s.setSys(SR.EFER, value & CR0.PG ? s.efer | EFER.LMA : s.efer & ~EFER.LMA, s.sysHi(SR.EFER));
  }
  if (changed & CR0.PG) m.tlb.dropAll();
  m.modeChanged();
  if (changed & (CR0.PG | CR0.WP | CR0.PE | CR0_PDPTE)) m.translationChanged();
  written(m, 0);
}

function writeCr0(m: Machine, lo: number, hi: number, length: number): NextStep {
  const s = m.state;
  const f = checkCr0(m, lo, hi);
  if (f) return raiseFault(m, f);
  const value = (lo & CR0_BITS) | CR0.ET;
  const selective = (s.cr0 ^ value) & ~(CR0.TS | CR0.MP);
  const step =
    m.intercepted('cr0-write', value) ??
    (selective ? m.intercepted('cr0-selective-write', value) : undefined);
  if (step !== undefined) return step;
  if (paePaging(value, s.cr4, s.efer) && (s.cr0 ^ value) & CR0_PDPTE) {
    const bad = loadPdptes(m, s.sysLo(SR.CR3));
    if (bad) return raiseFault(m, bad);
  }
  s.advance(length);
  setCr0(m, value);
  return Next.Run;
}

/** Writes CR3 and drops what its write invalidates; the value is checked, pointers of PAE are loaded. */
export function setCr3(m: Machine, lo: number, hi: number, keep: boolean): void {
  const s = m.state;
  s.setSys(SR.CR3, lo, hi);
  if (!keep) m.tlb.dropNonGlobal(pcidOf(s));
  m.translationChanged();
  written(m, 3);
}

function writeCr3(m: Machine, lo: number, hi: number, length: number): NextStep {
  const s = m.state;
  const pcid = (s.cr4 & CR4.PCIDE) !== 0;
  const keep = pcid && (hi & NO_FLUSH) !== 0;
  const value = pcid ? hi & ~NO_FLUSH : hi;
  // bits above MAXPHYADDR (APM volume 2, 3.1.2; SDM volume 3, table 4-2); outside long mode there are 32
  if (s.lma && value & (highMask(m.model.physicalBits) | 0xfff0_0000)) return m.raise(13, 0);
  if (forbidden(m, 3, lo, value)) return m.raise(13, 0);
  const step = m.intercepted('cr3-write', lo);
  if (step !== undefined) return step;
  if (paePaging(s.cr0, s.cr4, s.efer)) {
    const bad = loadPdptes(m, lo);
    if (bad) return raiseFault(m, bad);
  }
  s.advance(length);
  setCr3(m, lo, value, keep);
  return Next.Run;
}

/** What forbids a value of CR4, before page-directory pointers are looked at. */
export function checkCr4(m: Machine, lo: number, hi: number): Fault | undefined {
  const s = m.state;
  const changed = lo ^ s.cr4;
  if (hi !== 0 || lo & ~cr4Bits(m)) return gp();
  if (s.lma && (!(lo & CR4.PAE) || changed & CR4.LA57)) return gp();
  if (changed & lo & CR4.PCIDE && (!s.lma || s.sysLo(SR.CR3) & 0xfff)) return gp();
  return forbidden(m, 4, lo, hi) ? gp() : undefined;
}

/** Writes CR4, already checked. */
export function setCr4(m: Machine, value: number): void {
  const s = m.state;
  const old = s.cr4;
  const changed = old ^ value;
  s.setSys(SR.CR4, value, 0);
  const all =
    changed & (CR4.PGE | CR4.PSE | CR4.PAE | CR4.LA57) ||
    (changed & CR4.PCIDE && old & CR4.PCIDE) ||
    (changed & CR4.SMEP && value & CR4.SMEP);
  if (all) m.tlb.dropAll();
  m.modeChanged();
  m.translationChanged();
  written(m, 4);
}

function writeCr4(m: Machine, lo: number, hi: number, length: number): NextStep {
  const s = m.state;
  const f = checkCr4(m, lo, hi);
  if (f) return raiseFault(m, f);
  const step = m.intercepted('cr4-write', lo);
  if (step !== undefined) return step;
  if (paePaging(s.cr0, lo, s.efer) && (s.cr4 ^ lo) & CR4_PDPTE) {
    const bad = loadPdptes(m, s.sysLo(SR.CR3));
    if (bad) return raiseFault(m, bad);
  }
  s.advance(length);
  setCr4(m, lo);
  return Next.Run;
}

/** MOV CR8: without an interrupt controller in the kernel, userspace hears of a lower value. */
function writeCr8(m: Machine, lo: number, hi: number, length: number): NextStep {
  if (hi !== 0 || lo & ~15 || forbidden(m, 8, lo, hi)) return m.raise(13, 0);
  const step = m.intercepted('cr8-write', lo);
  if (step !== undefined) return step;
  const s = m.state;
  const old = s.sysLo(SR.CR8);
  s.advance(length);
  s.setSys(SR.CR8, lo, 0);
  m.apic?.setCr8(lo);
  written(m, 8);
  m.attend();
  return m.events.source === undefined && lo < old
    ? m.later({ kind: 'set-tpr', vcpu: m.id, ret: 0 }, true)
    : Next.Run;
}

const NUMBERS: ReadonlyMap<Register, 0 | 2 | 3 | 4 | 8> = new Map([
  [Register.CR0, 0],
  [Register.CR2, 2],
  [Register.CR3, 3],
  [Register.CR4, 4],
  [Register.CR8, 8],
]);
const SLOTS = { 0: SR.CR0, 2: SR.CR2, 3: SR.CR3, 4: SR.CR4, 8: SR.CR8 } as const;

/** Whether a register is CR0 to CR15. */
export const isControlRegister = (r: Register): boolean => r >= Register.CR0 && r <= Register.CR15;

/** MOV to and from control registers. */
export function movControl(m: Machine, i: Instruction): NextStep {
  const s = m.state;
  const reads = isControlRegister(i.op1Register);
  const n = NUMBERS.get(reads ? i.op1Register : i.op0Register);
  if (n === undefined) return raiseFault(m, UNDEFINED);
  if (s.cpl !== 0) return m.raise(13, 0);
  const wide = s.code === 8;
  if (reads) {
    const step = m.intercepted(`cr${n}-read`, registerSlot(i.op0Register));
    if (step !== undefined) return step;
    const slot = SLOTS[n];
    s.set(registerSlot(i.op0Register), s.sysLo(slot), wide ? s.sysHi(slot) : 0);
    s.advance(i.length);
    return Next.Run;
  }
  const slot = registerSlot(i.op1Register);
  const lo = s.lo(slot);
  const hi = wide ? s.hi(slot) : 0;
  switch (n) {
    case 0:
      return writeCr0(m, lo, hi, i.length);
    case 2: {
      const step = m.intercepted('cr2-write', lo);
      if (step !== undefined) return step;
      s.setSys(SR.CR2, lo, hi);
      s.advance(i.length);
      return Next.Run;
    }
    case 3:
      return writeCr3(m, lo, hi, i.length);
    case 4:
      return writeCr4(m, lo, hi, i.length);
    case 8:
      return writeCr8(m, lo, hi, i.length);
  }
}

function clts(m: Machine, i: Instruction): NextStep {
  const s = m.state;
  if (s.cpl !== 0) return m.raise(13, 0);
  const value = s.cr0 & ~CR0.TS;
  const step = m.intercepted('cr0-write', value);
  if (step !== undefined) return step;
  s.advance(i.length);
  setCr0(m, value);
  return Next.Run;
}

/** LMSW writes PE, MP, EM and TS; it sets PE and never clears it. */
function lmsw(m: Machine, i: Instruction): NextStep {
  const s = m.state;
  if (s.cpl !== 0) return m.raise(13, 0);
  const v = readWord(m, i, 0);
  if (typeof v === 'object') return raiseFault(m, v);
  const value = (s.cr0 & ~(CR0.MP | CR0.EM | CR0.TS)) | (v & 15);
  // the selective intercept takes LMSW whether a bit changes or not (APM volume 2, 15.9)
  const step = m.intercepted('cr0-write', value) ?? m.intercepted('cr0-selective-write', value);
  if (step !== undefined) return step;
  if (forbidden(m, 0, value, 0)) return m.raise(13, 0);
  s.advance(i.length);
  setCr0(m, value);
  return Next.Run;
}

/** SMSW: of a register operand the whole of CR0, to memory 16 bits. */
function smsw(m: Machine, i: Instruction): NextStep {
  const s = m.state;
  if (s.cr4 & CR4.UMIP && s.cpl > 0) return m.raise(13, 0);
  const step = m.intercepted('cr0-read');
  if (step !== undefined) return step;
  const f = writeWord(m, i, s.cr0, s.sysHi(SR.CR0));
  if (f) return raiseFault(m, f);
  s.advance(i.length);
  return Next.Run;
}

/** CLTS, LMSW, SMSW; MOV is in `dispatch.ts`. */
export const CONTROL_OPERATIONS: Operations = new Map([
  [Mnemonic.Clts, clts],
  [Mnemonic.Lmsw, lmsw],
  [Mnemonic.Smsw, smsw],
]);
