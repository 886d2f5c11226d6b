/** The registers of a vCPU as a table. */
import type { RegisterInfo, Vcpu } from '@faultyard/core';
import type { FieldDecoder } from './exits.ts';
import { hex, PRINT, type PrintOptions, registerFields } from './text.ts';

/** Registers with the values they had when this was made. */
export class Registers {
  readonly values: ReadonlyMap<RegisterInfo, bigint>;
  private readonly decoders: Readonly<Record<string, FieldDecoder>>;

  /**
   * Reads the registers whose group or name is `which`, or the general ones. `decoders` say more about registers whose
   * name begins with theirs, `esr` about `esr_el1`.
   */
  constructor(vcpu: Vcpu, which?: string, decoders: Readonly<Record<string, FieldDecoder>> = {}) {
    this.decoders = decoders;
    const infos = vcpu.arch.registers.filter((r) =>
      which === undefined ? r.group === 'general' : matches(r, which),
    );
    this.values = new Map(infos.map((r) => [r, vcpu.get(r.name)]));
  }

  [PRINT as never](_depth: number, options: PrintOptions): string {
    const cells: string[] = [];
    const lines: string[] = [];
    const flush = (): void => {
      for (let at = 0; at < cells.length; at += 4)
        lines.push(
          cells
            .slice(at, at + 4)
            .join('  ')
            .trimEnd(),
        );
      cells.length = 0;
    };
    const width = Math.max(0, ...[...this.values.keys()].map((r) => r.name.length));
    for (const [info, value] of this.values) {
      const name = options.stylize(info.name.padEnd(width), 'name');
      const text = `${name} ${hex(value, info.bits / 4)}`;
      const decoded = this.decoders[info.name.split('_')[0] ?? '']?.(value);
      const fields = [registerFields(info, value), ...(decoded ? [`{${decoded}}`] : [])]
        .filter(Boolean)
        .join('  ');
      if (!fields && info.group === 'general' && info.bits === 64) cells.push(text);
      else {
        flush();
        lines.push(`${text}${fields ? `  ${fields}` : ''}`);
      }
    }
    flush();
    return lines.join('\n');
  }
}

function matches(info: RegisterInfo, which: string): boolean {
  return (
    info.group === which || info.name === which || (which.includes('*') && globMatches(which, info.name))
  );
}

function globMatches(glob: string, name: string): boolean {
  const pattern = glob.split('*').map((part) => part.replace(/[^\w]/g, '\\$&'));
  return new RegExp(`^${pattern.join('.*')}$`).test(name);
}
