/**
 * Which handlers the engine keeps in its fast loop (`Handler.weight`): what compilers emit all the time. The classes
 * come from counting executed instructions of compiled C and of the Linux kernel's code; within a class there is no
 * order. A handler without weight is a function the loop calls: correct in the same way, some nanoseconds slower.
 */

/** Patterns of handler names, heaviest class first. */
const CLASSES: readonly (readonly [weight: number, names: RegExp])[] = [
  [6, /^(add|sub|adds|subs|and|orr|eor|ands)_immediate\b/],
  [6, /^(add|sub|adds|subs|and|orr|eor|ands)_shifted_register\.sf\d_shift0_plain1/],
  [6, /^(movz|movn|movk|adr|adrp|sbfm|ubfm|bfm|hint|madd|msub)\b/],
  [6, /^(b|bl|br|blr|ret|cbz_cbnz|tbz_tbnz)\b/],
  [6, /^b\.cond\.cond(\d|1[0-3])$/],
  [6, /^(ldr_str_immediate_unsigned_offset|ldur_stur_unscaled_offset)\./],
  [5, /^ldr_str_immediate_(pre|post)_index\.size\d_opc[01]_sp0/],
  [5, /^ldr_str_immediate_(pre|post)_index\.size3_opc[01]_sp1/],
  [5, /^ldp_stp_(signed_offset|pre_index|post_index)\.opc[02]/],
  [5, /^ldr_str_register\.size\d_opc[01].*sp0/],
  [4, /^(lslv|lsrv|asrv|udiv|sdiv|extr|clz|rev32|rev_64_bit|rev_32_bit|umulh|smaddl|umaddl)\b/],
  [4, /^(csel|csinc)\.sf\d_cond([0-3]|[89]|1[0-3])$/],
  [4, /^(add|sub|subs|and|orr|eor|ands)_shifted_register\./],
  [3, /^(ldxr_ldaxr|stxr_stlxr|ldar_stlr)\.size[0-3].*sp0/],
  [3, /^(bic|orn|eon|bics)_shifted_register\./],
  [2, /^(add|sub|subs)_extended_register\.sf1_option[26]/],
  [2, /^(csinv|csneg)\.sf\d_cond([0-3]|[89]|1[0-3])$/],
  [2, /^ccmp_(register|immediate)\.sf\d_cond([0-3]|[89]|1[0-3])$/],
  [1, /^ldr_str_register\.size\d_opc[23].*sp0/],
  [1, /^ldr_literal\./],
];

/** Weight of the handler of that name. */
export function weightOf(name: string): number {
  if (name.endsWith('.strict')) return 0;
  return CLASSES.find(([, names]) => names.test(name))?.[0] ?? 0;
}
