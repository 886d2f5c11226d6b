/**
 * What generated code leaves to the vCPU whole: `system/dispatch.ts` knows these by mnemonic, port accesses apart. The
 * vCPU checks modes and privileges.
 */
import type { Row } from './row.ts';
import { Slow } from './slow.ts';

const sizes = (...names: readonly string[]): readonly string[] =>
  names.flatMap((n) => ['rm16', 'r32m16', 'r64m16'].map((f) => `${n}_${f}`));

function leave(name: string, codes: readonly string[], slow: number, feature?: string): Row {
  const row: Row = { name, bare: true, ends: true, codes, sem: ({ b }) => b.slow(slow) };
  return feature === undefined ? row : { ...row, feature };
}

/** Rows of this chapter. */
export const SYSTEM_ROWS: readonly Row[] = [
  leave(
    'segments',
    [
      ...['Mov_rm16_Sreg', 'Mov_r32m16_Sreg', 'Mov_r64m16_Sreg'],
      ...['Mov_Sreg_rm16', 'Mov_Sreg_r32m16', 'Mov_Sreg_r64m16'],
      ...['ES', 'CS', 'SS', 'DS', 'FS', 'GS'].flatMap((s) => [`Pushw_${s}`, `Pushd_${s}`, `Popw_${s}`]),
      ...['ES', 'SS', 'DS', 'FS', 'GS'].map((s) => `Popd_${s}`),
      ...['Pushq_FS', 'Pushq_GS', 'Popq_FS', 'Popq_GS'],
      ...['Les', 'Lds', 'Lss', 'Lfs', 'Lgs'].flatMap((n) => [`${n}_r16_m1616`, `${n}_r32_m1632`]),
      ...['Lss_r64_m1664', 'Lfs_r64_m1664', 'Lgs_r64_m1664', 'Arpl_rm16_r16', 'Arpl_r32m16_r32'],
      ...['Lar', 'Lsl'].flatMap((n) => [`${n}_r16_rm16`, `${n}_r32_r32m16`, `${n}_r64_r64m16`]),
      ...sizes('Verr', 'Verw'),
    ],
    Slow.System,
  ),
  leave(
    'far',
    [
      ...['Call_ptr1616', 'Call_ptr1632', 'Jmp_ptr1616', 'Jmp_ptr1632'],
      ...['Call_m1616', 'Call_m1632', 'Call_m1664', 'Jmp_m1616', 'Jmp_m1632', 'Jmp_m1664'],
      ...['Retfw', 'Retfd', 'Retfq', 'Retfw_imm16', 'Retfd_imm16', 'Retfq_imm16'],
      ...['Int3', 'Int_imm8', 'Into', 'Int1', 'Iretw', 'Iretd', 'Iretq'],
      ...['Syscall', 'Sysretd', 'Sysretq', 'Sysenter', 'Sysexitd', 'Sysexitq', 'Rsm'],
    ],
    Slow.System,
  ),
  leave(
    'descriptor_tables',
    [
      ...sizes('Sldt', 'Str', 'Lldt', 'Ltr', 'Smsw', 'Lmsw'),
      ...['Sgdt', 'Sidt', 'Lgdt', 'Lidt'].flatMap((n) => [`${n}_m1632_16`, `${n}_m1632`, `${n}_m1664`]),
    ],
    Slow.System,
  ),
  leave(
    'control',
    [
      ...['Mov_r32_cr', 'Mov_r64_cr', 'Mov_r32_dr', 'Mov_r64_dr'],
      ...['Mov_cr_r32', 'Mov_cr_r64', 'Mov_dr_r32', 'Mov_dr_r64'],
      ...['Clts', 'Sti', 'Hlt', 'Invlpg_m', 'Invd', 'Wbinvd', 'Swapgs', 'Cpuid', 'Rdmsr', 'Wrmsr'],
      ...['Rdtsc', 'Rdpmc', 'Vmcall', 'Vmmcall'],
      ...['Fxsave_m512byte', 'Fxsave64_m512byte', 'Fxrstor_m512byte', 'Fxrstor64_m512byte'],
    ],
    Slow.System,
  ),
  leave('smap', ['Clac', 'Stac'], Slow.System, 'smap'),
  leave('rdtscp', ['Rdtscp'], Slow.System, 'rdtscp'),
  leave('rdpid', ['Rdpid_r32', 'Rdpid_r64'], Slow.System, 'rdpid'),
  leave('invpcid', ['Invpcid_r32_m128', 'Invpcid_r64_m128'], Slow.System, 'invpcid'),
  leave('wbnoinvd', ['Wbnoinvd'], Slow.System, 'wbnoinvd'),
  leave('monitor', ['Monitorw', 'Monitord', 'Monitorq', 'Mwait'], Slow.System, 'monitor'),
  leave('clzero', ['Clzerow', 'Clzerod', 'Clzeroq'], Slow.System, 'clzero'),
  leave('pku', ['Rdpkru', 'Wrpkru'], Slow.System, 'pku'),
  leave(
    'fsgsbase',
    ['Rdfsbase', 'Rdgsbase', 'Wrfsbase', 'Wrgsbase'].flatMap((n) => [`${n}_r32`, `${n}_r64`]),
    Slow.System,
    'fsgsbase',
  ),
  leave('rdrand', ['Rdrand_r16', 'Rdrand_r32', 'Rdrand_r64'], Slow.System, 'rdrand'),
  leave('rdseed', ['Rdseed_r16', 'Rdseed_r32', 'Rdseed_r64'], Slow.System, 'rdseed'),
  leave(
    'xsave',
    ['Xsave_mem', 'Xsave64_mem', 'Xrstor_mem', 'Xrstor64_mem', 'Xgetbv', 'Xsetbv'],
    Slow.System,
    'xsave',
  ),
  leave('xsaveopt', ['Xsaveopt_mem', 'Xsaveopt64_mem'], Slow.System, 'xsaveopt'),
  leave(
    'port',
    [
      ...['In_AL_imm8', 'In_AX_imm8', 'In_EAX_imm8', 'Out_imm8_AL', 'Out_imm8_AX', 'Out_imm8_EAX'],
      ...['In_AL_DX', 'In_AX_DX', 'In_EAX_DX', 'Out_DX_AL', 'Out_DX_AX', 'Out_DX_EAX'],
      ...['Insb_m8_DX', 'Insw_m16_DX', 'Insd_m32_DX', 'Outsb_DX_m8', 'Outsw_DX_m16', 'Outsd_DX_m32'],
    ],
    Slow.Port,
  ),
];
