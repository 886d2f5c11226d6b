/** What a session needs of an architecture beyond what core asks of it. A plugin's module may export one of its own. */
import type { AnyPlugin, InitialMemslot, Vcpu, Vm } from '@faultyard/core';
import type { FieldDecoder } from '../show/exits.ts';

/** Code to load: bytes, or something that becomes bytes at an address. */
export type Code =
  | Uint8Array
  | { readonly bytes: Uint8Array; at?(origin: bigint): { readonly bytes: Uint8Array } };

/** An event that KVM's userspace can inject into a vCPU. */
export type InjectEvent = (vcpu: Vcpu, options: Readonly<Record<string, unknown>>) => void;

/** One syntax of an instruction, for `help`. */
export interface Instruction {
  /** First word of the syntax: `ldr`, `b.<cond>`. */
  readonly mnemonic: string;
  /** Other spellings of it. */
  readonly also?: readonly string[];
  readonly syntax: string;
  /** Where the manual defines it. */
  readonly ref: string;
}

/** An architecture of `lab`. */
export interface Architecture {
  /** `arm64`: the name of its function in `lab`. */
  readonly name: string;
  /** Names of its own options of `lab.<name>()`, beyond a VM's. */
  readonly options: readonly string[];
  /** Memory of a machine that is not told otherwise. Default: 64 MiB at 1 GiB. */
  readonly memory?: InitialMemslot;
  /** Makes the architecture plugin with its own options. */
  plugin(options: Readonly<Record<string, unknown>>): AnyPlugin;
  /** Brings a new machine to where code can be loaded and run, by its own options. */
  prepare?(vm: Vm, options: Readonly<Record<string, unknown>>): void;
  /** Names that a vCPU reads and writes beside the registers it lists: parts (`eax`) and other names of them. */
  readonly aliases?: readonly string[];
  /** How manuals write an encoding: a word, most significant byte first, or bytes as they lie in memory. Default: a word. */
  readonly encoding?: 'word' | 'bytes';
  /** Assembles statements separated by line ends or `;`, with what plugins added to `vm`. */
  assemble(text: string, vm?: Vm): Code;
  /** Events by name. */
  readonly events: Readonly<Record<string, InjectEvent>>;
  /** Its instructions, those of `vm`'s plugins included; without a machine those of the default model. */
  instructions?(vm?: Vm): readonly Instruction[];
  /** Payload fields of exits about which more can be said than their number. */
  readonly decoders: Readonly<Record<string, FieldDecoder>>;
}

/** Whether a value is an architecture. */
export function isArchitecture(value: unknown): value is Architecture {
  const arch = value as Partial<Architecture> | null;
  return (
    typeof arch === 'object' &&
    arch !== null &&
    typeof arch.plugin === 'function' &&
    typeof arch.assemble === 'function'
  );
}

/** The bytes of code that is loaded at an address. */
export function bytesAt(code: Code, origin: bigint): Uint8Array {
  if (code instanceof Uint8Array) return code;
  return code.at ? code.at(origin).bytes : code.bytes;
}
