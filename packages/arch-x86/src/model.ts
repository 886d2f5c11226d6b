/** CPU models: what CPUID says, and what follows from it. */

/** Names of the models that come with the package. */
export type ModelName = 'zen1-legacy-mca' | 'zen3' | 'skylake';

/** Features by the names that rows use ({@link Row.feature}) and system code asks for. */
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
  readonly cpuid: readonly CpuidRow[];
}
