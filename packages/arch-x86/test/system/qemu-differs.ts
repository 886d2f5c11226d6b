/**
 * Where qemu-system-x86_64 (7.2, TCG) is known to differ from the manuals, and the manuals decide: what is compared then.
 * Everything else must be equal.
 */
import { type Case, RESULT, SLOT } from '../support/case-image.ts';

type Row = readonly number[];
const F: Readonly<Record<(typeof RESULT)[number], number>> = Object.fromEntries(
  RESULT.map((name, n) => [name, n]),
) as Record<(typeof RESULT)[number], number>;
const at = (row: Row, f: (typeof RESULT)[number]): number => row[F[f]] as number;

/** A known difference. */
interface Known {
  readonly why: string;
  /** Whether a case may meet it. `here`: our row. */
  readonly when: (c: Case, here: Row, vendor: 'AMD' | 'Intel') => boolean;
  /** Fields that are not compared, or bits of them; all of them if left out. */
  readonly fields?: Readonly<Partial<Record<(typeof RESULT)[number], number>>>;
}

const access = (d: readonly [number, number] | undefined): number => ((d?.[1] ?? 0) >>> 8) & 0xff;
/** Descriptors of the long-mode loads have this base. */
const inLongSet = (c: Case): boolean => ((c.a?.[1] ?? 0) & 0xff00_00ff) === 0x1200_0034;
const isTransfer = (c: Case): boolean => /^(c_)?(jmp|call|ret|iret)/.test(c.code);
const isCall = (c: Case): boolean => /^(c_)?call/.test(c.code);
const isOuterReturn = (c: Case): boolean => /^(c_)?i?ret/.test(c.code) && c.cpl !== 3;
const absent = (d: readonly [number, number] | undefined): boolean => d !== undefined && !(access(d) & 0x80);

/** The list; each names the manual. */
const QEMU_DIFFERS: readonly Known[] = [
  {
    why: 'faults push RF = 1 (APM volume 2, 8.2 and 3.1.6); QEMU pushes 0',
    when: () => true,
    fields: { eflags: 0x1_0000 },
  },
  {
    why: 'far transfers set the accessed bit of the code segment (APM volume 2, 4.7.1); QEMU does not',
    when: isTransfer,
    fields: { a: 0x100, b: 0x100 },
  },
  {
    why: 'LAR keeps descriptor bits 51:48 (APM volume 3, LAR: mask 00FF_FF00h; real Intel does as well); QEMU clears them',
    when: (c) => c.code.startsWith('lar') && c.code !== 'lar16',
    fields: { ecx: 0xf_0000 },
  },
  {
    why: 'LTR of a null selector is #GP(0) (APM volume 3, LTR); QEMU loads it',
    when: (c) => c.code === 'ltr' && ((c.eax ?? 0) & 0xfffc) === 0,
  },
  {
    why: 'absent code behind a call gate is #NP (SDM volume 2, JMP); QEMU says #GP',
    when: (c) => c.code.startsWith('jmp') && absent(c.b),
  },
  {
    why: 'a call gate to conforming code keeps the CPL (APM volume 2, 4.10.1); QEMU enters at the DPL of the code',
    when: (c) => isCall(c) && c.cpl === 3 && (access(c.b) & 0x1c) === 0x1c,
  },
  {
    why: 'an absent stack segment is #SS (SDM volume 2, RET and CALL); QEMU says #NP or #TS',
    when: (c) =>
      ((c.stack?.includes(SLOT.a | 3) === true || c.ecx === (SLOT.a | 3)) && absent(c.a)) ||
      (isCall(c) && absent(c.b) && !(access(c.b) & 8)),
  },
  {
    why: 'faults of a new task leave it with all registers loaded and EIP its own (SDM volume 3, table 8-1); QEMU unwinds EIP',
    when: (_, here) => (at(here, 'tr:ldtr') & 0xffff) === SLOT.tss2 && at(here, 'vector') !== 0x80,
  },
  {
    why: '16-bit tasks: KVM clears the upper halves and leaves FS and GS; QEMU keeps the former, clears the latter',
    when: (c) => [1, 3].includes(access(c.a) & 0x1f & 13),
    fields: { esp: 0xffff_0000, 'fs:gs': -1 },
  },
  {
    why: 'instructions are fetched within the limit of CS (APM volume 2, 4.5.3), and CALL beyond it is #GP(0); QEMU looks at neither',
    when: (c) => isTransfer(c) && c.a?.[1] === 0x40_9b00,
  },
  {
    why: 'IRET at CPL 0 loads VIF and VIP (SDM volume 2, IRET); QEMU does not',
    when: (c) => c.code === 'iretd' || c.code === 'iretq',
    fields: { eflags: 0x18_0000 },
  },
  {
    why: 'code with L and D is #GP in long mode (APM volume 2, 4.8.1); QEMU enters it',
    when: (c) => isTransfer(c) && [c.a, c.b].some((d) => ((d?.[1] ?? 0) & 0x60_1800) === 0x60_1800),
  },
  {
    why: 'bases of FS and GS behind a return to an outer level that drops them: CPUID NullSelectorClearsBase; QEMU keeps them',
    when: isOuterReturn,
    fields: { 'tss.eip': -1, 'tss descriptor': -1 },
  },
  {
    why: 'IRET to compatibility mode with a null SS is #GP (SDM volume 2, IRET: only 64-bit mode may have one); QEMU does it',
    when: (c) => /^iret(q|32)/.test(c.code) && c.eax === SLOT.narrow0 && ((c.ecx ?? 0) & 0xfffc) === 0,
  },
  {
    why: 'RIP that is not canonical is #GP of the transfer itself (APM volume 3, CALL and RET (Far)); QEMU goes there first',
    when: (c) => /^(retf|iret)q_far/.test(c.code) || (c.code === 'call32' && c.poke?.[2]?.[1] === 0x8000),
    fields: { eip: -1, esp: -1, 'cs:ss': -1 },
  },
  {
    why: '16-bit system types do not exist in long mode (APM volume 2, table 4-6); QEMU knows them in LAR, LSL and LTR',
    when: (c) =>
      (/^(lar|lsl)/.test(c.code) && inLongSet(c) && [1, 3, 4, 5].includes(access(c.a) & 0x1f)) ||
      (c.code === 'ltr' && c.poke !== undefined && (access(c.a) & 0x1f) === 1),
  },
  {
    why: 'the upper half of a 16-byte descriptor has type 0 (APM volume 2, 4.8.3); QEMU does not look',
    when: (c) => /^(ltr|lldt)/.test(c.code) && (c.poke?.[0]?.[1] ?? 0) === 0x100,
  },
  {
    why: 'SYSRET of AMD: SS is STAR[63:48] + 8 as it stands there (APM volume 3); QEMU sets its RPL',
    when: (c, _, vendor) => c.code.startsWith('sysret') && vendor === 'AMD',
    fields: { 'cs:ss': 0x3_0000 },
  },
  {
    why: 'SYSCALL clears in RFLAGS what SFMASK has (APM volume 3); QEMU clears the arithmetic flags, too',
    when: (c) => c.code === 'syscall' || c.code === 'c_syscall',
    fields: { eflags: 0x8d5 },
  },
  {
    why: 'SYSENTER is #UD in long mode of AMD (APM volume 3); QEMU does it in compatibility mode',
    when: (c, _, vendor) => c.code === 'c_sysenter' && vendor === 'AMD',
  },
  {
    why: 'bases in MSRs and registers must be canonical, CR8 has 4 bits, EFER bit 16 does not exist (APM volume 2, 3.1); QEMU takes all',
    when: (c) =>
      c.code === 'wrmsr_far' ||
      c.code === 'fsbase_far' ||
      (c.code === 'mov_cr8' && (c.eax ?? 0) > 15) ||
      (c.code === 'wrmsr' && c.eax === 0x1_0501),
  },
  {
    why: 'Intel: a null SS in 64-bit mode has the CPL as its RPL (SDM volume 2, MOV and RET); QEMU does not look',
    when: (c, here, vendor) =>
      vendor === 'Intel' && isOuterReturn(c) && ((c.ecx ?? 0) & 0xfffc) === 0 && at(here, 'vector') === 13,
  },
  {
    why: 'Intel: SYSCALL is #UD in compatibility mode, SYSRET to a RIP that is not canonical #GP at CPL 0 (SDM volume 2); QEMU is AMD there',
    when: (c, _, vendor) => vendor === 'Intel' && (c.code === 'c_syscall' || c.code === 'sysretq_far'),
  },
  {
    why: 'CR0: NW without CD is #GP(0), reserved bits stay 0 (APM volume 2, 3.1.1); QEMU takes both',
    when: (c) => c.code === 'mov_to_cr0' && ((c.eax ?? 0) & 0x3ffa_ffc0) !== 0,
  },
  {
    why: 'DR6[12], DR7[15:14, 12]: KVM keeps them 0 (DR7_VOLATILE, DR6_VOLATILE); QEMU stores them',
    when: (c) => /^mov_to_dr/.test(c.code),
    fields: { ecx: 0xd000 },
  },
];

/** Bits of a field of a case's result that are not compared. */
export function uncompared(c: Case, field: number, here: Row, vendor: 'AMD' | 'Intel' = 'AMD'): number {
  let bits = 0;
  for (const k of QEMU_DIFFERS) {
    if (!k.when(c, here, vendor)) continue;
    bits |= k.fields ? (k.fields[RESULT[field] as (typeof RESULT)[number]] ?? 0) : -1;
  }
  return bits;
}
