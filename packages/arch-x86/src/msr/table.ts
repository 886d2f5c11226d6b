/** The architecture's own MSRs. */
import type { Model } from '../model.ts';
import { AMD_MSRS, INTEL_MSRS } from './amd.ts';
import { APIC_MSRS } from './apic.ts';
import type { MsrDef } from './def.ts';
import { MEMORY_TYPE_MSRS } from './mtrr.ts';
import { PLATFORM_MSRS } from './platform.ts';
import { SYSTEM_MSRS } from './system.ts';
import { TIME_MSRS } from './time.ts';

/** Rows for a model: KVM answers most of AMD's on Intel, too. */
export function ownMsrs(_model: Model): readonly MsrDef[] {
  return [
    ...SYSTEM_MSRS,
    ...TIME_MSRS,
    ...APIC_MSRS,
    ...PLATFORM_MSRS,
    ...MEMORY_TYPE_MSRS,
    ...AMD_MSRS,
    ...INTEL_MSRS,
  ];
}
