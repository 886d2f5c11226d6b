/**
 * Encodings that iced-x86 knows and no row has, by the CPUID features that iced-x86 gives them: #UD on every model.
 * VEX, EVEX, XOP, MVEX and 3DNow! encodings have none but those of BMI1 and BMI2.
 */

/** Features whose codes may be without a row, and why. */
export const ABSENT: Readonly<Record<string, readonly string[]>> = {
  'floating point and SIMD arithmetic: rows-x87-sse.ts says which the guests in view need': [
    ...['FPU', 'FPU287', 'FPU387', 'FPU+CMOV', 'FPU+SSE3', 'MMX', 'SSE', 'SSE2', 'SSE3', 'SSSE3'],
    ...['SSE4_1', 'SSE4_2', 'SSE4A', 'AES', 'PCLMULQDQ', 'SHA', 'GFNI'],
  ],
  'a hypervisor of the guest: plugins bring it': ['VMX', 'VMX+INVEPT', 'VMX+INVVPID', 'SVM', 'SKINIT_or_SVM'],
  'confidential guests': ['SEV_SNP', 'SEV_ES', 'TDX', 'SGX1', 'OSS', 'PCONFIG', 'RMPQUERY', 'SMX', 'TSE'],
  'features that no model has': [
    ...[
      'RTM',
      'HLE_or_RTM',
      'CET_SS',
      'MONITORX',
      'MCOMMIT',
      'RDPRU',
      'MPX',
      'PTWRITE',
      'WAITPKG',
      'PCOMMIT',
    ],
    ...[
      'MOVDIR64B',
      'MOVDIRI',
      'ENQCMD',
      'SERIALIZE',
      'TSXLDTRK',
      'INVLPGB',
      'UINTR',
      'HRESET',
      'LKGS',
      'FRED',
    ],
    ...['KL', 'AESKLE', 'AESKLE+WIDE_KL', 'WRMSRNS', 'MSRLIST', 'RAO_INT', 'UDBG', 'CL1INVMB', 'D3NOW'],
    ...['XSAVEC', 'XSAVES'],
  ],
  'other processors and steppings': [
    ...['IA64', 'INTEL286_ONLY', 'INTEL386_ONLY', 'INTEL386_A0_ONLY', 'INTEL486_A_ONLY', 'UMOV', 'MOV_TR'],
    ...['FPU287XL_ONLY', 'FPU387SL_ONLY', 'PADLOCK_PMM', 'PADLOCK_PHE', 'PADLOCK_RNG', 'PADLOCK_ACE'],
    ...['PADLOCK_GMI', 'PADLOCK_UNDOC', 'CYRIX_SHR', 'CYRIX_SMINT', 'CYRIX_DMI', 'CYRIX_SMM'],
    ...['CYRIX_SMINT_0F7E', 'CYRIX_DDI', 'CYRIX_EMMI', 'CYRIX_FPU', 'CENTAUR_AIS'],
  ],
};

/** Codes without a row although the processor has their feature. */
export const ABSENT_CODES: Readonly<Record<string, readonly string[]>> = {
  'no instructions': ['INVALID', 'DeclareByte', 'DeclareWord', 'DeclareDword', 'DeclareQword', 'Zero_bytes'],
  'undefined by definition': [
    ...['Ud0', 'Ud0_r16_rm16', 'Ud0_r32_rm32', 'Ud0_r64_rm64', 'Ud2'],
    ...['Ud1_r16_rm16', 'Ud1_r32_rm32', 'Ud1_r64_rm64'],
  ],
};
