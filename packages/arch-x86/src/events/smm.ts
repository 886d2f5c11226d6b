/**
 * System management mode as KVM emulates it (arch/x86/kvm/smm.c; AMD64 APM volume 2, chapter 10): SMI entry, RSM, moving
 * SMBASE. Memory in SMM is KVM's address space 1, which the VMM fills as it sees fit (`asId: 1` of a memslot).
 */
import { type Exit, hvaPageOf, PAGE_SIZE, type Task } from '@faultyard/core';
import { type Instruction, Mnemonic } from 'iced-x86';
import { FL } from '../isa/flags.ts';
import { Seg } from '../isa/layout.ts';
import type { Machine } from '../machine.ts';
import { MsrResult } from '../msr/def.ts';
import { Next, type NextStep } from '../next.ts';
import { MEMORY_FAULT } from '../segments/fault.ts';
import { Attr, CR0, CR4, EFER, SR } from '../state.ts';
import { checkCr0, checkCr4, loadPdptes, setCr0, setCr3, setCr4 } from '../system/control.ts';
import type { Operations } from '../system/operation.ts';
import { DR6 } from './debug.ts';
import { smm } from './points.ts';
import { loadSegments, loadState, type SavedControl, SMRAM, saveState } from './smram.ts';
import { Vector } from './vectors.ts';

/** Data segments and CS in SMM: writable, accessed, 4 GiB. */
const FLAT = Attr.P | Attr.S | Attr.Writable | Attr.Accessed | Attr.G;
/** DR7 after reset, and the bits of DR6 and DR7 that can be written (KVM: DR6_VOLATILE, DR7_VOLATILE). */
const DR7_FIXED = 0x400;
const DR6_WRITABLE = DR6.B | DR6.BD | DR6.BS | DR6.BT;
const DR7_WRITABLE = 0xffff_2bff | 0;
/** IA32_EFER. */
const MSR_EFER = 0xc000_0080;

/** An SMI is taken. Memory that cannot be written kills the VM. */
export function enterSmm(m: Machine): NextStep {
  const exit = enter(m);
  m.events.taken = 'event';
  return exit ? m.later(exit) : Next.Run;
}

function enter(m: Machine): Exit | undefined {
  const image = saveState(m);
  for (const r of m.vm.ask(smm)(undefined)) if (r.enter?.(m, image) === false) return dead(m);
  const s = m.state;
  const { events } = m;
  events.smi.smm = true;
  m.smmChanged();
  const smbase = s.sysLo(SR.SMBASE) >>> 0;
  if (!writeSmram(m, smbase + SMRAM.Offset, new Uint8Array(image.buffer))) return dead(m);
  // NMIs wait until RSM, or an IRET in SMM
  if (events.nmi.masked) events.smi.insideNmi = true;
  else events.nmi.masked = true;
  events.shadow = 0;
  s.flags = FL.One;
  setCr0(m, s.cr0 & ~(CR0.PE | CR0.EM | CR0.TS | CR0.PG));
  setCr4(m, 0);
  s.setSys(SR.EFER, 0, 0);
  s.setSys(SR.IDTR_BASE, 0, 0);
  s.setSys(SR.IDTR_LIMIT, 0, 0);
  s.setSys(SR.DR7, DR7_FIXED, 0);
  for (const n of [Seg.ES, Seg.CS, Seg.SS, Seg.DS, Seg.FS, Seg.GS] as const)
    Object.assign(s.segment(n), { selector: 0, attr: FLAT, limit: -1, baseLo: 0, baseHi: 0 });
  const cs = s.segment(Seg.CS);
  cs.selector = (smbase >>> 4) & 0xffff;
  cs.baseLo = smbase | 0;
  s.cpl = 0;
  s.setIp(0x8000, 0);
  m.tlb.dropAll();
  m.modeChanged();
  m.translationChanged();
  return undefined;
}

/** kvm_vm_dead: every further ioctl of the VM fails with EIO, KVM_RUN first. */
function dead(m: Machine): Exit {
  m.vm.bugged = true;
  return { kind: 'run-error', vcpu: m.id, ret: -1, errno: 'EIO' };
}

/** Where a physical address of SMM's memory lies in the VMM. */
function smramHva(m: Machine, gpa: number): number | undefined {
  const gfn = Math.floor(gpa / PAGE_SIZE);
  const slot = m.vm.memslots.find(gfn, 1);
  return slot && hvaPageOf(slot, gfn) * PAGE_SIZE + (gpa % PAGE_SIZE);
}

/** kvm_vcpu_write_guest in address space 1; the area crosses a page where SMBASE is not aligned. */
function writeSmram(m: Machine, gpa: number, bytes: Uint8Array): boolean {
  for (let done = 0; done < bytes.length; ) {
    const n = Math.min(bytes.length - done, PAGE_SIZE - ((gpa + done) % PAGE_SIZE));
    const hva = smramHva(m, gpa + done);
    if (hva === undefined || m.vm.mm.write(hva, bytes.subarray(done, done + n))) return false;
    done += n;
  }
  return true;
}
/** kvm_vcpu_read_guest. */
function readSmram(m: Machine, gpa: number): DataView | undefined {
  const bytes = new Uint8Array(SMRAM.Size);
  for (let done = 0; done < bytes.length; ) {
    const n = Math.min(bytes.length - done, PAGE_SIZE - ((gpa + done) % PAGE_SIZE));
    const hva = smramHva(m, gpa + done);
    const got = hva === undefined ? undefined : m.vm.mm.read(hva, n);
    if (!(got instanceof Uint8Array)) return undefined;
    bytes.set(got, done);
    done += n;
  }
  return new DataView(bytes.buffer);
}

/** RSM: #UD outside SMM; what cannot be loaded is a triple fault (x86.c, em_rsm). */
function rsm(m: Machine, i: Instruction): NextStep {
  if (!m.events.smi.smm) return m.raise(Vector.UD);
  const taken = m.intercepted('rsm');
  if (taken !== undefined) return taken;
  const { length } = i;
  return m.later(function* () {
    // what the triple fault leaves is behind the instruction, as KVM's emulator has advanced
    m.state.advance(length);
    if (!(yield* leave(m))) m.events.requestShutdown('kvm');
    m.attend();
    return undefined;
  }, true);
}

/** RSM. */
export const SMM_OPERATIONS: Operations = new Map([[Mnemonic.Rsm, rsm]]);

function* leave(m: Machine): Task<boolean> {
  const s = m.state;
  const { events } = m;
  const image = readSmram(m, (s.sysLo(SR.SMBASE) >>> 0) + SMRAM.Offset);
  if (!image) return false;
  if (!events.smi.insideNmi) events.nmi.masked = false;
  events.smi.smm = false;
  events.smi.insideNmi = false;
  m.smmChanged();
  // to real mode, from which CR0, CR4 and EFER can be loaded in order
  s.segment(Seg.CS).attr &= ~Attr.L;
  setCr0(m, s.cr0 & ~(CR0.PG | CR0.PE));
  setCr4(m, s.cr4 & ~(CR4.PCIDE | CR4.PAE));
  s.setSys(SR.EFER, 0, 0);
  for (const r of m.vm.ask(smm)(undefined)) if (r.leave?.(m, image) === false) return false;
  const c = loadState(m, image);
  if (c.drHi !== 0) return false;
  s.setSys(SR.DR6, (c.dr6 & DR6_WRITABLE) | DR6.ActiveLow, 0);
  s.setSys(SR.DR7, (c.dr7 & DR7_WRITABLE) | DR7_FIXED, 0);
  if (m.msrs.write(MSR_EFER, c.efer & ~EFER.LMA, c.eferHi, true) !== MsrResult.Ok) return false;
  if (!(yield* loadControl(m, c))) return false;
  loadSegments(m, image);
  s.flags = c.flags | FL.One;
  s.setIp(c.ip, c.ipHi);
  // the shadow is for the next instruction, unless RSM ran in one itself
  events.shadow = c.shadow;
  events.debug.shadowSet();
  events.debug.rfLoaded();
  m.tlb.dropAll();
  m.modeChanged();
  m.translationChanged();
  return true;
}

/** rsm_enter_protected_mode: CR3, CR4, CR0, and PCIDE last, for it wants EFER.LMA. */
function* loadControl(m: Machine, c: SavedControl): Task<boolean> {
  const pcid = c.cr4 & CR4.PCIDE ? c.cr3 & 0xfff : 0;
  const above = m.model.physicalBits < 64 ? -1 << (m.model.physicalBits - 32) : 0;
  if (c.cr3Hi & above || c.cr0Hi !== 0 || c.cr4Hi !== 0) return false;
  setCr3(m, c.cr3 & ~pcid, c.cr3Hi, false);
  if (checkCr4(m, c.cr4 & ~CR4.PCIDE, 0)) return false;
  setCr4(m, c.cr4 & ~CR4.PCIDE);
  if (checkCr0(m, c.cr0, 0)) return false;
  if (c.cr0 & CR0.PG && c.cr4 & CR4.PAE && !(c.efer & EFER.LME)) {
    if (!(yield* loadPointers(m, c.cr3))) return false;
  }
  setCr0(m, c.cr0);
  if (!(c.cr4 & CR4.PCIDE)) return true;
  if (checkCr4(m, c.cr4, 0)) return false;
  setCr4(m, c.cr4);
  setCr3(m, c.cr3, c.cr3Hi, true);
  return true;
}

/** The page-directory pointers of PAE, whose page stage 2 may not have mapped yet. */
function* loadPointers(m: Machine, cr3: number): Task<boolean> {
  for (;;) {
    const bad = loadPdptes(m, cr3);
    if (bad !== MEMORY_FAULT) return bad === undefined;
    const out = yield* m.vm.stage2.fault({
      gpa: (cr3 & -32) >>> 0,
      write: true,
      exec: false,
      origin: 'walk',
    });
    if (out.kind === 'retry') yield { at: 'x86.retry', spins: true };
    else if (out.kind !== 'mapped') return false;
  }
}
