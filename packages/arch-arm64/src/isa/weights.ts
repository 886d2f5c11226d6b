/**
 * Which handlers the engine keeps in its fast loop (`Handler.weight`): what compilers emit all the time. The classes
 * come from counting executed instructions of compiled C and of the Linux kernel's code; within a class there is no
 * order. A handler without weight is a function the loop calls: correct in the same way, some nanoseconds slower.
 */

/** Patterns of handler names, heaviest class first. */
const CLASSES: readonly (readonly [weight: number, names: RegExp])[] = [
  [3, /^(add|sub|adds|subs)_immediate\b/],
  [3, /^(add|sub|adds|subs|and|orr|eor|ands)_shifted_register\.sf\d_shift0_plain1/],
  [3, /^(and|orr|eor|ands)_immediate\b/],
  [3, /^(movz|movn|movk|adr|adrp|sbfm|ubfm|bfm|nop|hint)\b/],
  [3, /^(b|bl|br|blr|ret|cbz_cbnz|tbz_tbnz)(\.(?!strict)|$)/],
  [3, /^(ldr_str_immediate_unsigned_offset|ldur_stur_unscaled_offset)\.(?!.*strict)/],
  [3, /^(ldr_str_immediate_(pre|post)_index)\.size\d_opc[01]_sp0(?!.*strict)/],
  [3, /^ldr_str_immediate_(pre|post)_index\.size3_opc[01]_sp1(?!.*strict)/],
  [3, /^ldp_stp_(signed_offset|pre_index|post_index)\.opc[02](?!.*strict)/],
  [3, /^ldr_str_register\.size(\d)_opc[01]_S\d_sp0_extend(?!.*strict)/],
  [3, /^(madd|msub)\b/],
  [3, /^(csel|csinc)\.sf\d_cond\d\b/],
  [2, /^(csel|csinc|csinv|csneg)\./],
  [2, /^(add|sub|subs|and|orr|eor|bic|orn|eon|ands|bics)_shifted_register\./],
  [2, /^(lslv|lsrv|asrv|udiv|sdiv|extr|clz|rev32|rev_64_bit|rev_32_bit|umulh|smaddl|umaddl)\b/],
  [2, /^(add|sub|subs)_extended_register\.sf1_option[26]/],
  [1, /^(ccmp_(register|immediate))\./],
  [1, /^ldr_str_register\.size\d_opc2_S\d_sp0_extend(?!.*strict)/],
  [1, /^(ldr_literal|ldxr_ldaxr|stxr_stlxr|ldar_stlr)\.(?!.*strict)/],
];

/** Weight of the handler of that name. */
export function weightOf(name: string): number {
  return CLASSES.find(([, names]) => names.test(name))?.[0] ?? 0;
}
