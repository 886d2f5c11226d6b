/**
 * Names of the A64 system registers and their keys (op0:op1:CRn:CRm:op2, 16 bits; DDI 0487 D23). It says how registers
 * are written in assembly, not which of them a vCPU has.
 */

/** Key of a system register or system instruction: `op0 << 14 | op1 << 11 | CRn << 7 | CRm << 3 | op2`. */
export function systemKey(op0: number, op1: number, CRn: number, CRm: number, op2: number): number {
  return (op0 << 14) | (op1 << 11) | (CRn << 7) | (CRm << 3) | op2;
}

/** One line per op0 op1 CRn CRm; the names stand in the order of op2, `-` where there is none. */
const NAMES = `
2 0 0 0: - - osdtrrx_el1
2 0 0 2: mdccint_el1 - mdscr_el1
2 0 0 3: - - osdtrtx_el1
2 0 0 6: - - oseccr_el1
2 0 1 0: mdrar_el1 - - - oslar_el1
2 0 1 1: - - - - oslsr_el1
2 0 1 3: - - - - osdlr_el1
2 0 1 4: - - - - dbgprcr_el1
2 0 7 8: - - - - - - dbgclaimset_el1
2 0 7 9: - - - - - - dbgclaimclr_el1
2 0 7 14: - - - - - - dbgauthstatus_el1
2 3 0 1: mdccsr_el0
2 3 0 4: dbgdtr_el0
2 3 0 5: dbgdtrrx_el0
2 4 0 7: dbgvcr32_el2
3 0 0 0: midr_el1 - - - - mpidr_el1 revidr_el1
3 0 0 1: id_pfr0_el1 id_pfr1_el1 id_dfr0_el1 id_afr0_el1 id_mmfr0_el1 id_mmfr1_el1 id_mmfr2_el1 id_mmfr3_el1
3 0 0 2: id_isar0_el1 id_isar1_el1 id_isar2_el1 id_isar3_el1 id_isar4_el1 id_isar5_el1 id_mmfr4_el1 id_isar6_el1
3 0 0 3: mvfr0_el1 mvfr1_el1 mvfr2_el1 - id_pfr2_el1 id_dfr1_el1 id_mmfr5_el1
3 0 0 4: id_aa64pfr0_el1 id_aa64pfr1_el1
3 0 0 5: id_aa64dfr0_el1 id_aa64dfr1_el1 - - id_aa64afr0_el1 id_aa64afr1_el1
3 0 0 6: id_aa64isar0_el1 id_aa64isar1_el1
3 0 0 7: id_aa64mmfr0_el1 id_aa64mmfr1_el1 id_aa64mmfr2_el1
3 0 1 0: sctlr_el1 actlr_el1 cpacr_el1 sctlr2_el1
3 0 2 0: ttbr0_el1 ttbr1_el1 tcr_el1
3 0 4 0: spsr_el1 elr_el1
3 0 4 1: sp_el0
3 0 4 2: spsel - currentel pan uao
3 0 4 6: icc_pmr_el1
3 0 5 1: afsr0_el1 afsr1_el1
3 0 5 2: esr_el1
3 0 5 3: erridr_el1 errselr_el1
3 0 5 4: erxfr_el1 erxctlr_el1 erxstatus_el1 erxaddr_el1
3 0 5 5: erxmisc0_el1 erxmisc1_el1
3 0 6 0: far_el1
3 0 7 4: par_el1
3 0 9 14: - pmintenset_el1 pmintenclr_el1
3 0 10 2: mair_el1
3 0 10 3: amair_el1
3 0 10 4: lorsa_el1 lorea_el1 lorn_el1 lorc_el1 - - - lorid_el1
3 0 12 0: vbar_el1 rvbar_el1 rmr_el1
3 0 12 1: isr_el1 disr_el1
3 0 12 8: icc_iar0_el1 icc_eoir0_el1 icc_hppir0_el1 icc_bpr0_el1 icc_ap0r0_el1 icc_ap0r1_el1 icc_ap0r2_el1 icc_ap0r3_el1
3 0 12 9: icc_ap1r0_el1 icc_ap1r1_el1 icc_ap1r2_el1 icc_ap1r3_el1
3 0 12 11: - icc_dir_el1 - icc_rpr_el1 - icc_sgi1r_el1 icc_asgi1r_el1 icc_sgi0r_el1
3 0 12 12: icc_iar1_el1 icc_eoir1_el1 icc_hppir1_el1 icc_bpr1_el1 icc_ctlr_el1 icc_sre_el1 icc_igrpen0_el1 icc_igrpen1_el1
3 0 13 0: - contextidr_el1 - - tpidr_el1
3 0 14 1: cntkctl_el1
3 1 0 0: ccsidr_el1 clidr_el1 - - - - - aidr_el1
3 2 0 0: csselr_el1
3 3 0 0: - ctr_el0 - - - - - dczid_el0
3 3 4 2: nzcv daif - - - dit ssbs tco
3 3 4 4: fpcr fpsr
3 3 4 5: dspsr_el0 dlr_el0
3 3 9 12: pmcr_el0 pmcntenset_el0 pmcntenclr_el0 pmovsclr_el0 pmswinc_el0 - pmceid0_el0 pmceid1_el0
3 3 9 13: pmccntr_el0 pmxevtyper_el0 pmxevcntr_el0
3 3 9 14: pmuserenr_el0 - - pmovsset_el0
3 3 13 0: - - tpidr_el0 tpidrro_el0
3 3 14 0: cntfrq_el0 cntpct_el0 cntvct_el0
3 3 14 2: cntp_tval_el0 cntp_ctl_el0 cntp_cval_el0
3 3 14 3: cntv_tval_el0 cntv_ctl_el0 cntv_cval_el0
3 4 0 0: vpidr_el2 - - - - vmpidr_el2
3 4 1 0: sctlr_el2 actlr_el2
3 4 1 1: hcr_el2 mdcr_el2 cptr_el2 hstr_el2 - - - hacr_el2
3 4 1 3: - sder32_el2
3 4 2 0: ttbr0_el2 ttbr1_el2 tcr_el2
3 4 2 1: vttbr_el2 - vtcr_el2
3 4 3 0: dacr32_el2
3 4 4 0: spsr_el2 elr_el2
3 4 4 1: sp_el1
3 4 4 3: spsr_irq spsr_abt spsr_und spsr_fiq
3 4 5 0: - ifsr32_el2
3 4 5 1: afsr0_el2 afsr1_el2
3 4 5 2: esr_el2 - - vsesr_el2
3 4 5 3: fpexc32_el2
3 4 6 0: far_el2 - - - hpfar_el2
3 4 10 2: mair_el2
3 4 10 3: amair_el2
3 4 12 0: vbar_el2 rvbar_el2 rmr_el2
3 4 12 1: - vdisr_el2
3 4 12 8: ich_ap0r0_el2 ich_ap0r1_el2 ich_ap0r2_el2 ich_ap0r3_el2
3 4 12 9: ich_ap1r0_el2 ich_ap1r1_el2 ich_ap1r2_el2 ich_ap1r3_el2 - icc_sre_el2
3 4 12 11: ich_hcr_el2 ich_vtr_el2 ich_misr_el2 ich_eisr_el2 - ich_elrsr_el2 - ich_vmcr_el2
3 4 12 12: ich_lr0_el2 ich_lr1_el2 ich_lr2_el2 ich_lr3_el2 ich_lr4_el2 ich_lr5_el2 ich_lr6_el2 ich_lr7_el2
3 4 12 13: ich_lr8_el2 ich_lr9_el2 ich_lr10_el2 ich_lr11_el2 ich_lr12_el2 ich_lr13_el2 ich_lr14_el2 ich_lr15_el2
3 4 13 0: - contextidr_el2 tpidr_el2
3 4 14 0: - - - cntvoff_el2
3 4 14 1: cnthctl_el2
3 4 14 2: cnthp_tval_el2 cnthp_ctl_el2 cnthp_cval_el2
3 4 14 3: cnthv_tval_el2 cnthv_ctl_el2 cnthv_cval_el2
3 5 1 0: sctlr_el12 - cpacr_el12
3 5 2 0: ttbr0_el12 ttbr1_el12 tcr_el12
3 5 4 0: spsr_el12 elr_el12
3 5 5 1: afsr0_el12 afsr1_el12
3 5 5 2: esr_el12
3 5 6 0: far_el12
3 5 10 2: mair_el12
3 5 10 3: amair_el12
3 5 12 0: vbar_el12
3 5 13 0: - contextidr_el12
3 5 14 1: cntkctl_el12
3 5 14 2: cntp_tval_el02 cntp_ctl_el02 cntp_cval_el02
3 5 14 3: cntv_tval_el02 cntv_ctl_el02 cntv_cval_el02
3 6 1 0: sctlr_el3 actlr_el3
3 6 1 1: scr_el3 sder32_el3 cptr_el3
3 6 1 3: - mdcr_el3
3 6 2 0: ttbr0_el3 - tcr_el3
3 6 4 0: spsr_el3 elr_el3
3 6 4 1: sp_el2
3 6 5 1: afsr0_el3 afsr1_el3
3 6 5 2: esr_el3
3 6 6 0: far_el3
3 6 10 2: mair_el3
3 6 10 3: amair_el3
3 6 12 0: vbar_el3 rvbar_el3 rmr_el3
3 6 12 12: - - - - icc_ctlr_el3 icc_sre_el3 - icc_igrpen1_el3
3 6 13 0: - - tpidr_el3
3 7 14 2: cntps_tval_el1 cntps_ctl_el1 cntps_cval_el1
`;

function readNames(): Map<number, string> {
  const names = new Map<number, string>();
  for (const line of NAMES.trim().split('\n')) {
    const [place = '', list = ''] = line.split(': ');
    const [op0 = 0, op1 = 0, CRn = 0, CRm = 0] = place.split(' ').map(Number);
    for (const [op2, name] of list.split(' ').entries()) {
      if (name !== '-') names.set(systemKey(op0, op1, CRn, CRm, op2), name);
    }
  }
  /* Breakpoints and watchpoints: value and control of each in four columns. */
  for (let n = 0; n < 16; n++) {
    for (const [i, kind] of ['dbgbvr', 'dbgbcr', 'dbgwvr', 'dbgwcr'].entries()) {
      names.set(systemKey(2, 0, 0, n, 4 + i), `${kind}${n}_el1`);
    }
  }
  /* Event counters: CRm 8 to 11 counters, 12 to 15 their types. */
  for (let n = 0; n < 31; n++) {
    names.set(systemKey(3, 3, 14, 8 + (n >> 3), n & 7), `pmevcntr${n}_el0`);
    names.set(systemKey(3, 3, 14, 12 + (n >> 3), n & 7), `pmevtyper${n}_el0`);
  }
  names.set(systemKey(3, 3, 14, 15, 7), 'pmccfiltr_el0');
  return names;
}

/** Names by key, in lower case. */
const SYSTEM_REGISTER_NAMES: ReadonlyMap<number, string> = readNames();

/** Keys by name, in lower case. */
const SYSTEM_REGISTER_KEYS: ReadonlyMap<string, number> = new Map(
  [...SYSTEM_REGISTER_NAMES].map(([key, name]) => [name, key]),
);

/** The name of a system register: its own, or `s3_0_c1_c0_7`. */
function systemRegisterName(key: number): string {
  const generic = `s${key >> 14}_${(key >> 11) & 7}_c${(key >> 7) & 15}_c${(key >> 3) & 15}_${key & 7}`;
  return SYSTEM_REGISTER_NAMES.get(key) ?? generic;
}

/** The key of a register name (any case, named or generic); `undefined` if it is not one. */
export function systemRegisterKey(name: string): number | undefined {
  const lower = name.toLowerCase();
  const m = /^s([0-3])_([0-7])_c(\d\d?)_c(\d\d?)_([0-7])$/.exec(lower);
  if (!m) return SYSTEM_REGISTER_KEYS.get(lower);
  const [op0 = 0, op1 = 0, CRn = 0, CRm = 0, op2 = 0] = m.slice(1).map(Number);
  return CRn > 15 || CRm > 15 ? undefined : systemKey(op0, op1, CRn, CRm, op2);
}

/** How assembly writes system registers. */
export interface SysregNames {
  /** The name of a register: its own, or `s3_0_c1_c0_7`. */
  name(key: number): string;
  /** The key of a name, in any case; `undefined` if it is not one. */
  key(name: string): number | undefined;
}

/** The architecture's names. */
export const STANDARD_NAMES: SysregNames = { name: systemRegisterName, key: systemRegisterKey };

/** The architecture's names and more of them, by key. */
export function withNames(more: ReadonlyMap<number, string>): SysregNames {
  const keys = new Map([...more].map(([key, name]) => [name.toLowerCase(), key]));
  return {
    name: (key) => more.get(key)?.toLowerCase() ?? systemRegisterName(key),
    key: (name) => keys.get(name.toLowerCase()) ?? systemRegisterKey(name),
  };
}
