/** Exits on one line: kind, where the vCPU stands, and the payload with its registers decoded. */
import type { Exit, RegisterInfo, Vcpu, Vm } from '@faultyard/core';
import { fieldText, hex, printsAs, registerFields } from './text.ts';

/** Turns a payload field into text, where more can be said than its number: `esr` of arm64. */
export type FieldDecoder = (value: unknown) => string | undefined;

const HEAD: ReadonlySet<string> = new Set(['kind', 'vcpu', 'ret', 'errno']);
/** Payload fields of at most 32 bits that are read in hexadecimal: a port, and what goes through it. */
const IN_HEX: ReadonlySet<string> = new Set(['port', 'data']);

/** An exit as text. `decoders` are the architecture's, by field. */
export function exitText(
  exit: Exit,
  vcpu: Vcpu | undefined,
  pc: bigint | undefined,
  decoders: Readonly<Record<string, FieldDecoder>>,
): string {
  const many = vcpu !== undefined && (vcpu.vm as Vm).vcpus.length > 1;
  const parts: string[] = [many ? `vcpu${exit.vcpu} ${exit.kind}` : exit.kind];
  if (pc !== undefined) parts.push(`pc=${hex(pc)}`);
  for (const [name, value] of Object.entries(exit)) {
    if (HEAD.has(name) || value === undefined || (Array.isArray(value) && value.length === 0)) continue;
    const said = decoders[name]?.(value) ?? fieldsOf(vcpu, name, value);
    const text = IN_HEX.has(name) ? fieldText(wide(value)) : fieldText(value);
    parts.push(`${name}=${text}${said ? `{${said}}` : ''}`);
  }
  if (exit.ret !== 0) parts.push(`ret=${exit.ret}${exit.errno ? `/${exit.errno}` : ''}`);
  return parts.join(' ');
}

/** Numbers as those that print in hexadecimal. */
function wide(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(wide);
  return typeof value === 'number' ? BigInt(value) : value;
}

/** The fields of the register a payload field is named after, `esr` after `esr_el1`. */
function fieldsOf(vcpu: Vcpu | undefined, name: string, value: unknown): string {
  const info: RegisterInfo | undefined = vcpu?.arch.registers.find(
    (r) => r.name.split('_')[0] === name && r.fields,
  );
  return info && typeof value === 'bigint' ? registerFields(info, value) : '';
}

/** Makes an exit print itself, with the pc the vCPU had when it left. */
export function printableExit<X extends Exit>(
  exit: X,
  vcpu: Vcpu | undefined,
  decoders: Readonly<Record<string, FieldDecoder>>,
): X {
  const pc = vcpu?.pc;
  return printsAs(exit, (options) => {
    const text = exitText(exit, vcpu, pc, decoders);
    return text.replace(exit.kind, options.stylize(exit.kind, 'special'));
  });
}

/** Whether a value is an exit: plain data with a kind, a vCPU and KVM_RUN's result. */
export function isExit(value: unknown): value is Exit {
  if (typeof value !== 'object' || value === null) return false;
  const { kind, vcpu, ret } = value as Partial<Exit>;
  return typeof kind === 'string' && typeof vcpu === 'number' && (ret === 0 || ret === -1);
}
