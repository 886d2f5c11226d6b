/** CPU models: what CPUID says, and what follows from it. */
import { FaultyardError } from '@faultyard/core';
import { FEATURES } from './cpuid/features.ts';
import { MODELS } from './cpuid/models.ts';
import { supportedRows } from './cpuid/supported.ts';

/** Names of the models that come with the package. */
export type ModelName = 'zen1-legacy-mca' | 'zen3' | 'skylake';

/** Features by Linux's names (`cpuid/features.ts`): rows ask for them, and system code. */
export type Feature = string;

/** One CPUID leaf: EAX, EBX, ECX, EDX. */
export type CpuidRow = readonly [
  leaf: number,
  subleaf: number,
  eax: number,
  ebx: number,
  ecx: number,
  edx: number,
];

/** A model, resolved for one VM. */
export interface Model {
  readonly name: string;
  readonly vendor: 'AMD' | 'Intel';
  readonly features: ReadonlySet<Feature>;
  /** MAXPHYADDR. */
  readonly physicalBits: number;
  /** Linear address bits: 48, or 57 with LA57. */
  readonly linearBits: number;
  /** TSC frequency in kHz. */
  readonly tscKhz: number;
  /** What KVM_GET_SUPPORTED_CPUID gives, without what plugins add. */
  readonly cpuid: readonly CpuidRow[];
}

/** Choices of `x86({ … })`. */
export interface X86Options {
  /** Base model; default `zen3`. */
  readonly model?: ModelName;
  /** Features added to the model (`true`) or taken away. */
  readonly features?: Readonly<Record<Feature, boolean>>;
  /** MAXPHYADDR, 36 to 52. */
  readonly physicalBits?: number;
  /** TSC frequency in kHz. */
  readonly tscKhz?: number;
  /**
   * Interrupt controllers: `none` (the VMM gives interrupts by KVM_INTERRUPT), or KVM's own with the 8254, as
   * KVM_CREATE_IRQCHIP and KVM_CREATE_PIT2 make them. Default `none`.
   */
  readonly irqchip?: 'none' | 'kernel';
}

/**
 * Fills in what the options leave open.
 * @throws FaultyardError FY_ARGUMENT for an unknown model, feature or size.
 */
export function resolveModel(o: X86Options = {}): Model {
  const bad = (what: string, value: unknown, why: string, fix: string): never => {
    throw new FaultyardError('FY_ARGUMENT', { what, value, why, fix });
  };
  const name = o.model ?? 'zen3';
  const base = MODELS[name];
  if (!Object.hasOwn(MODELS, name))
    bad('model', name, 'is not a model of x86', `take one of ${Object.keys(MODELS).join(', ')}`);
  const features = new Set(base.features);
  for (const [f, on] of Object.entries(o.features ?? {})) {
    if (!FEATURES.has(f)) bad('feature', f, 'is not known', `take one of ${[...FEATURES.keys()].join(', ')}`);
    if (on) features.add(f);
    else features.delete(f);
  }
  const physicalBits = o.physicalBits ?? base.physicalBits;
  if (!(Number.isInteger(physicalBits) && physicalBits >= 36 && physicalBits <= 52))
    bad('physicalBits', physicalBits, 'is not 36..52', 'give MAXPHYADDR');
  const tscKhz = o.tscKhz ?? base.tscKhz;
  if (!(Number.isInteger(tscKhz) && tscKhz >= 1 && tscKhz <= 100_000_000))
    bad('tscKhz', tscKhz, 'is not 1..100000000', 'give a frequency in kHz');
  const irqchip = o.irqchip ?? 'none';
  if (irqchip !== 'none' && irqchip !== 'kernel')
    bad('irqchip', irqchip, 'is not a place of interrupt controllers', 'take none or kernel');
  const parts = {
    name,
    vendor: base.vendor,
    features,
    physicalBits,
    linearBits: features.has('la57') ? 57 : 48,
    tscKhz,
  };
  return { ...parts, cpuid: supportedRows(parts, base) };
}
