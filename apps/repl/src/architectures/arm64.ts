/** AArch64 in a session: assembly, the events of KVM_SET_VCPU_EVENTS, syndromes in the kernel's words. */
import {
  type Arm64Api,
  type Arm64PluginOptions,
  type AssemblyText,
  arm64,
  assemble,
  standardTable,
} from '@faultyard/arch-arm64';
import type { Vm } from '@faultyard/core';
import type { Architecture, Instruction } from './architecture.ts';

/** ESR_ELx.EC as arch/arm64/include/asm/esr.h names it, without the prefix. */
const EC: Readonly<Record<number, string>> = {
  0: 'UNKNOWN',
  1: 'WFx',
  7: 'FP_ASIMD',
  14: 'ILL',
  21: 'SVC64',
  22: 'HVC64',
  23: 'SMC64',
  24: 'SYS64',
  32: 'IABT_LOW',
  33: 'IABT_CUR',
  34: 'PC_ALIGN',
  36: 'DABT_LOW',
  37: 'DABT_CUR',
  38: 'SP_ALIGN',
  47: 'SERROR',
  60: 'BRK64',
};

/** Fault status codes of aborts by their base (esr.h); the two low bits are the level where `levels` is set. */
const FSC: readonly { readonly base: number; readonly name: string; readonly levels: boolean }[] = [
  { base: 0x00, name: 'ADDRSZ', levels: true },
  { base: 0x04, name: 'FAULT', levels: true },
  { base: 0x08, name: 'ACCESS', levels: true },
  { base: 0x0c, name: 'PERM', levels: true },
  { base: 0x10, name: 'EXTABT', levels: false },
  { base: 0x11, name: 'MTE', levels: false },
  { base: 0x13, name: 'SEA_TTW(-1)', levels: false },
  { base: 0x14, name: 'SEA_TTW', levels: true },
  { base: 0x18, name: 'SECC', levels: false },
  { base: 0x1c, name: 'SECC_TTW', levels: true },
  { base: 0x21, name: 'ALIGN', levels: false },
  { base: 0x35, name: 'EXCL_ATOMIC', levels: false },
];

/** Flags of a data or instruction abort: DDI 0487, ISS of ESR_ELx. */
const FLAGS: readonly (readonly [name: string, bit: number, dataOnly: boolean])[] = [
  ['FnV', 10, false],
  ['EA', 9, false],
  ['CM', 8, true],
  ['S1PTW', 7, false],
  ['WnR', 6, true],
];

/** A syndrome in words: class, then for aborts the fault status, level and flags, `DABT_LOW,EXTABT,WnR`. */
export function syndromeText(esr: bigint): string {
  const ec = Number((esr >> 26n) & 0x3fn);
  const name = EC[ec] ?? `EC_${ec.toString(16)}`;
  const isData = ec === 0x24 || ec === 0x25;
  if (!isData && ec !== 0x20 && ec !== 0x21) return name;
  const code = Number(esr & 0x3fn);
  const fsc = FSC.find((f) => (f.levels ? code >> 2 === f.base >> 2 : code === f.base));
  const status = fsc ? `${fsc.name}${fsc.levels ? code & 3 : ''}` : `FSC_${code.toString(16)}`;
  const flags = FLAGS.filter(
    ([, bit, dataOnly]) => ((esr >> BigInt(bit)) & 1n) === 1n && (isData || !dataOnly),
  );
  return [name, status, ...flags.map(([flag]) => flag)].join(',');
}

/** Every option of {@link arm64}, once: a new one that is forgotten here does not compile. */
const OPTIONS: Readonly<Record<keyof Arm64PluginOptions, true>> = {
  model: true,
  ras: true,
  df2: true,
  lse: true,
  crc32: true,
  pan: true,
  uao: true,
  paBits: true,
  ipaBits: true,
  frequency: true,
  init: true,
  secondaries: true,
};

/** Assembly that is made where it is loaded, with the instructions and registers of the VM's plugins. */
function code(text: string, vm?: Vm): AssemblyText {
  const table = vm?.api<never, Arm64Api>('arm64').table;
  const at: AssemblyText['at'] = (origin, symbols = {}) =>
    assemble(text, { origin, symbols, ...(table ? { table } : {}) });
  return {
    text,
    at,
    get bytes() {
      return at(0n).bytes;
    },
    get symbols() {
      return at(0n).symbols;
    },
  };
}

/** Every syntax of the instruction table. */
function instructions(vm?: Vm): readonly Instruction[] {
  const { rows } = vm?.api<never, Arm64Api>('arm64').table ?? standardTable();
  return rows.flatMap(({ form }) =>
    form.asm.map(({ text }) => ({ mnemonic: text.split(/[ {]/)[0] as string, syntax: text, ref: form.ref })),
  );
}

/** AArch64 for `lab`. */
export const arm64Architecture: Architecture = {
  name: 'arm64',
  options: Object.keys(OPTIONS),
  plugin: (options) => arm64(options),
  assemble: code,
  instructions,
  events: {
    sea: (vcpu) => {
      vcpu.op('set-vcpu-events', { extDabtPending: true });
    },
    serror: (vcpu, { esr }) => {
      const syndrome = esr === undefined ? {} : { serrorHasEsr: true, serrorEsr: BigInt(esr as bigint) };
      vcpu.op('set-vcpu-events', { serrorPending: true, ...syndrome });
    },
  },
  decoders: { esr: (value) => (typeof value === 'bigint' ? syndromeText(value) : undefined) },
};
