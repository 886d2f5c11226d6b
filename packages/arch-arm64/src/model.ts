/** CPU models: which optional features an Arm vCPU has, and the sizes that ID registers tell. */
import { FaultyardError } from '@faultyard/core';
import type { Feature } from './isa/form.ts';

/** Names of the models that come with the package. */
export type ModelName = 'generic-v8.0' | 'generic-v8.0+ras';

/** Choices of `arm64({ … })`. */
export interface Arm64Options {
  /** Base model; default `generic-v8.0+ras`. */
  readonly model?: ModelName;
  /** ID_AA64PFR0_EL1.RAS of the VM: 0 none, 1 RAS, 2 RASv1p1, 3 RASv2. */
  readonly ras?: 0 | 1 | 2 | 3;
  /** FEAT_DoubleFault2 with FEAT_SCTLR2: SCTLR2_EL1 exists, EASE and NMEA work. */
  readonly df2?: boolean;
  /** FEAT_LSE atomics. */
  readonly lse?: boolean;
  /** FEAT_CRC32. */
  readonly crc32?: boolean;
  /** FEAT_PAN. */
  readonly pan?: boolean;
  /** FEAT_UAO. */
  readonly uao?: boolean;
  /** Bits of physical addresses the CPU has (ID_AA64MMFR0_EL1.PARange); 32, 36, 40, 42, 44 or 48. */
  readonly paBits?: 32 | 36 | 40 | 42 | 44 | 48;
  /** Bits of the VM's intermediate physical addresses (KVM_VM_TYPE_ARM_IPA_SIZE); at most `paBits`. */
  readonly ipaBits?: number;
  /** Generic timer frequency in Hz (CNTFRQ_EL0). */
  readonly frequency?: number;
}

/** A resolved model. */
export interface Model {
  readonly name: ModelName;
  readonly ras: 0 | 1 | 2 | 3;
  readonly df2: boolean;
  readonly lse: boolean;
  readonly crc32: boolean;
  readonly pan: boolean;
  readonly uao: boolean;
  readonly paBits: number;
  readonly ipaBits: number;
  /** Hz. */
  readonly frequency: number;
  /** Error record registers of a VM without RAS: read as zero (KVM before 6.17), or UNDEFINED. */
  readonly rasRegisters: 'RAZ' | 'UNDEF';
}

/** ID_AA64MMFR0_EL1.PARange and TCR_EL1.IPS encodings 0..5, in bits (DDI 0487, D19.2.64). */
export const PA_RANGES: readonly number[] = [32, 36, 40, 42, 44, 48];

const MODELS: readonly ModelName[] = ['generic-v8.0', 'generic-v8.0+ras'];

/**
 * Fills in what the options leave open.
 * @throws FaultyardError FY_ARGUMENT for an unknown model or address size.
 */
export function resolveModel(o: Arm64Options = {}): Model {
  const name = o.model ?? 'generic-v8.0+ras';
  if (!MODELS.includes(name))
    throw new FaultyardError('FY_ARGUMENT', {
      what: 'model',
      value: name,
      why: 'is not a model of arm64',
      fix: `take one of ${MODELS.join(', ')}`,
    });
  if (o.paBits !== undefined && !PA_RANGES.includes(o.paBits))
    throw new FaultyardError('FY_ARGUMENT', {
      what: 'paBits',
      value: o.paBits,
      why: 'is not a physical address size of the architecture',
      fix: `take one of ${PA_RANGES.join(', ')}`,
    });
  const rich = name === 'generic-v8.0+ras';
  const paBits = o.paBits ?? 48;
  return {
    name,
    ras: o.ras ?? (rich ? 1 : 0),
    df2: o.df2 ?? false,
    lse: o.lse ?? rich,
    crc32: o.crc32 ?? rich,
    pan: o.pan ?? rich,
    uao: o.uao ?? false,
    paBits,
    ipaBits: Math.min(o.ipaBits ?? 40, paBits),
    frequency: o.frequency ?? 62_500_000,
    rasRegisters: 'UNDEF',
  };
}

/** Features of the instruction table that a model has. */
export function instructionFeatures(m: Model): ReadonlySet<Feature> {
  const all: readonly (readonly [boolean, Feature])[] = [
    [m.lse, 'lse'],
    [m.crc32, 'crc32'],
    [m.pan, 'pan'],
    [m.uao, 'uao'],
    [m.ras > 0, 'ras'],
    [true, 'fpsimd'],
  ];
  return new Set(all.filter(([on]) => on).map(([, f]) => f));
}
