/** Every value of every knob shows in a cell or in a vector; a value that shows nowhere is a bug. */
import { describe, expect, it } from 'vitest';
import switches from '../data/switches.json' with { type: 'json' };
import { SEA_KNOBS } from '../src/knobs.ts';
import { TABLE } from '../src/scenarios/generated/table.ts';
import { scenarios } from '../src/scenarios/index.ts';
import { VECTOR_WITNESSES } from './support/vector-witness.ts';

interface Witness {
  readonly cell?: string;
  readonly code?: string;
  readonly vector?: string;
  readonly expect?: string;
  readonly with?: Readonly<Record<string, string>>;
}
interface Switch {
  readonly id: string;
  readonly default: unknown;
  readonly values: readonly { readonly value: string; readonly witness?: readonly Witness[] }[];
}
const ALL = switches.switches as unknown as readonly Switch[];

/** Outcome of a cell with knobs set by hand. */
function cell(where: string, set: Readonly<Record<string, string>>): string {
  const [row, column] = where.split(' ') as [string, string];
  const entry = TABLE.rows.find((r) => r.id === row);
  if (!entry) throw new Error(`no row ${row}`);
  const variant = entry.variant === undefined ? {} : { variant: entry.variant };
  return scenarios.run(entry.scenario, { column, set, ...variant }).outcome;
}

const shown = ALL.flatMap((s) =>
  s.values.flatMap((v) =>
    (v.witness ?? []).flatMap((w) =>
      w.cell ? [[s.id, v.value, w.cell, w.code, w.with ?? {}] as const] : [],
    ),
  ),
);
describe('witness cells', () => {
  it.each(shown)('%s=%s -> %s: %s', (id, value, where, code, others) => {
    expect(cell(where, { [id]: value, ...others })).toBe(code);
  });
});

describe('witness vectors', () => {
  const said = (id: string, value: string): string => VECTOR_WITNESSES[id]?.({ [id]: value }) ?? 'none';
  it('vmRas -> the register set and the ID field', () => {
    expect(said('vmRas', '1')).toBe('RAS=1 ERXPFGF=none');
    expect(said('vmRas', '2')).toBe('RAS=2 ERXPFGF=there');
    expect(said('vmRas', '3')).toMatch(/^RAS=3/);
  });
  it('vncrRule -> an instruction abort with the VNCR bit, in hypervisor context', () => {
    expect(said('vncrRule', 'dataAbortsOnly')).toBe('arm-sea');
    expect(said('vncrRule', 'anyEC')).not.toBe('arm-sea');
  });
  it('payloadLayout -> esr at 40 or at 32', () => {
    expect(said('payloadLayout', 'flagsFirst')).toBe('@32=1 @40=92000010');
    expect(said('payloadLayout', 'esrFirst')).toBe('@32=92000010 @40=1');
  });
  it.each(['245/41', '244/41', '242/40', '240/40'])('capExitNumbers=%s -> both numbers', (value) => {
    const [capability, exit] = value.split('/');
    expect(said('capExitNumbers', value)).toBe(`capability ${capability} exit_reason ${exit}`);
  });
  it('eventsCommit -> pc before the next KVM_RUN; the guest sees the same', () => {
    const tail = 'esr=92000010 elr=400800';
    expect(said('eventsCommit', 'immediate')).toBe(`pc=ffff000000010c00 ${tail}`);
    expect(said('eventsCommit', 'nextRun')).toBe(`pc=400800 ${tail}`);
  });
  it('eventsUninit -> ENOEXEC or accepted', () => {
    expect(said('eventsUninit', 'ENOEXEC')).toBe('-1/ENOEXEC');
    expect(said('eventsUninit', 'allow')).toBe('pending=0');
  });
  it('eventsAtomic -> what a refused SError half leaves behind', () => {
    expect(said('eventsAtomic', 'no')).toBe('EINVAL pc+400');
    expect(said('eventsAtomic', 'yes')).toBe('EINVAL pc+0');
  });
  it('serrorInjection -> entered at once, or pending', () => {
    expect(said('serrorInjection', 'softwareEntry')).toBe('pc=ffff000000010d80 pending=0');
    expect(said('serrorInjection', 'vseOnly')).toBe('pc=400800 pending=1');
  });
  it('vserrorTopByte -> ESR_EL1 of the software entry', () => {
    expect(said('vserrorTopByte', 'BD')).toBe('bd000000');
    expect(said('vserrorTopByte', 'BF')).toBe('bf000000');
  });
  it('serrorWhilePending -> one entry or two', () => {
    expect(said('serrorWhilePending', 'mergeIntoOne')).toBe('1 SError entries');
    expect(said('serrorWhilePending', 'queue')).toBe('2 SError entries');
  });
  it('rasRegs -> ERRIDR_EL1 of a VM without RAS', () => {
    const k = (value: string): string => VECTOR_WITNESSES['rasRegs']?.({ rasRegs: value, vmRas: '0' }) ?? '';
    expect(k('RAZ')).toMatch(/^x1=0 /);
    expect(k('UNDEF')).toBe('x1=77 esr=2000000');
  });
  it('set=2 -> shown to a VM with RAS', () => expect(said('set', '2')).toBe('92001010'));
  it('farTagBits=unknown -> gva carries the tag as read', () =>
    expect(said('farTagBits', 'unknown')).toBe('de00000000400128'));
});

describe('every knob value shows somewhere', () => {
  const probes = (id: string): ((value: string) => string)[] => {
    const s = ALL.find((x) => x.id === id);
    const out: ((value: string) => string)[] = [];
    for (const v of s?.values ?? [])
      for (const w of v.witness ?? []) {
        const where = w.cell;
        if (where) out.push((value) => cell(where, { [id]: value, ...w.with }));
      }
    const vector = VECTOR_WITNESSES[id];
    if (vector) out.push((value) => vector({ [id]: value, ...(id === 'rasRegs' ? { vmRas: '0' } : {}) }));
    return out;
  };
  it.each(Object.entries(SEA_KNOBS).map(([id, d]) => [id, d.values ?? []] as const))(
    '%s: %o',
    (id, values) => {
      const open = new Set<string>(values as readonly string[]);
      for (const probe of probes(id)) {
        if (!open.size) break;
        const seen = new Map(values.map((v) => [v as string, probe(v as string)]));
        for (const v of [...open])
          if ([...seen].some(([o, r]) => o !== v && r !== seen.get(v))) open.delete(v);
      }
      expect([...open], `values of ${id} that change nothing`).toEqual([]);
    },
  );
  it('the data knows every knob of the plugin, with its default', () => {
    for (const [id, d] of Object.entries(SEA_KNOBS)) {
      if (id === 'eventsWithIabt') continue; // part of the data's `replay`
      const s = ALL.find((x) => x.id === id);
      expect(s, id).toBeDefined();
      expect(String(s?.default), id).toBe(d.default);
    }
  });
});
