/** Points: places where behaviour is added; the definer fixes how contributions combine. */

/** A place where packages add behaviour. `In` is what a contribution is asked, `Out` its answer. */
export interface Point<In, Out> {
  /** `<package>.<name>`; identity is this string, so two installed copies of a package still meet. */
  readonly id: string;
  /** Makes one function of all contributions, in plugin order. Called once, at VM creation. */
  combine(fns: readonly ((i: In) => Out)[]): (i: In) => Out;
}

/** What a plugin adds at a point of type `P`. */
export type ContributionOf<P> = P extends Point<infer In, infer Out> ? (i: In) => Out : never;

/** What one plugin added at a point. */
export interface Contribution<In, Out> {
  readonly plugin: string;
  /** What it answers. */
  fn(i: In): Out;
}

/** Defines a point with its own rule of combination. */
export function definePoint<In, Out>(
  id: string,
  combine: (fns: readonly ((i: In) => Out)[]) => (i: In) => Out,
): Point<In, Out> {
  return { id, combine };
}

/** The first contribution that does not answer `undefined` wins; `fallback` answers otherwise. */
export function firstOf<In, Out>(
  id: string,
  fallback: (i: In) => Exclude<Out, undefined>,
): Point<In, Out | undefined> & {
  /** The first answer, or the fallback's. */
  combine(fns: readonly ((i: In) => Out | undefined)[]): (i: In) => Out;
} {
  return {
    id,
    combine: (fns) => (i) => {
      for (const f of fns) {
        const r = f(i);
        if (r !== undefined) return r;
      }
      return fallback(i);
    },
  };
}

/** All contributions' lists, joined in plugin order. */
export function listOf<T>(id: string): Point<void, readonly T[]> {
  return { id, combine: (fns) => () => fns.flatMap((f) => f()) };
}
