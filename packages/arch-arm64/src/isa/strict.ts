/**
 * Strict decode mode: every access of a load or store demands the alignment of its elements. The vCPU is in this mode
 * while SCTLR_EL1.A is 1, or the MMU is off and all data accesses are Device-nGnRnE (DDI 0487, B2.5.2 and D5.2.9); on
 * the fast path the check is part of the comparison with the TLB's tag, so it costs nothing.
 */
import type { AccessOptions, Builder, Handler } from '@faultyard/engine';
import type { MemoryForm } from './memory-form.ts';
import type { Variant } from './table.ts';

/** Decode modes of A64. */
export const MODE_NORMAL = 0;
/** See above. */
export const MODE_STRICT = 1;

/** Position of the options among a builder method's arguments. */
const OPTIONS: Readonly<Record<string, number>> = { load: 2, loads: 3, store: 3, stores: 3, rmw: 3 };

/** `b`, with every access aligned to at least `align` bytes. */
function aligned(b: Builder, align: number): Builder {
  return new Proxy(b, {
    get(target, name): unknown {
      const method = target[name as keyof Builder] as (...a: unknown[]) => unknown;
      const at = OPTIONS[String(name)];
      if (at === undefined) return method.bind(target);
      return (...args: unknown[]): unknown => {
        const o = (args[at] ?? {}) as AccessOptions;
        args[at] = { ...o, align: Math.max(o.align ?? 1, align) };
        return method.apply(target, args);
      };
    },
  });
}

/**
 * Adds a strict handler for every variant that makes an access with an alignment, and returns handler numbers by
 * variant: the strict one, or the ordinary one where there is no difference.
 */
export function addStrictHandlers(
  variants: readonly Variant[],
  memory: readonly MemoryForm[],
  handlers: Handler[],
): Int32Array {
  const forms = new Map(memory.map((f) => [f.name, f]));
  return Int32Array.from(variants, (v) => {
    const align = forms.get(v.row.form.name)?.access(v.values).align ?? 1;
    if (align === 1) return v.index;
    return (
      handlers.push({
        name: `${v.name}.strict`,
        ends: v.row.form.ends ?? false,
        cold: true,
        sem: (b, f) => v.row.form.sem(aligned(b, align), f, v.values),
      }) - 1
    );
  });
}
