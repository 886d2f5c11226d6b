/** The touching instructions: what a row of the decision table calls its access. */

/** A touching instruction; x0 holds the victim's address. */
export interface Stimulus {
  /** Name in the decision table. */
  readonly access: string;
  /** Lines before it. */
  readonly before?: readonly string[];
  /** The instruction. */
  readonly text: string;
  /** The abort's address is where it jumps: V is the faulting PC. */
  readonly fetch?: boolean;
  /** It needs the victim to be good until this instruction is next. */
  readonly late?: boolean;
}

const plain = (access: string, text: string, before?: readonly string[]): Stimulus => ({
  access,
  text,
  ...(before ? { before } : {}),
});
const ONE = ['mov x1, #1', 'mov x2, #2'];

/** All of them by name. */
export const STIMULI: Readonly<Record<string, Stimulus>> = Object.fromEntries(
  [
    plain('ldr x', 'ldr x1, [x0]'),
    plain('ldr w', 'ldr w1, [x0]'),
    plain('ldrh w', 'ldrh w1, [x0]'),
    plain('ldrb w', 'ldrb w1, [x0]'),
    plain('ldp x, x', 'ldp x1, x2, [x0]'),
    plain('ldr q', 'ldr q1, [x0]'),
    plain('ldr x, [x], #8', 'ldr x1, [x0], #8'),
    plain('ldtr x', 'ldtr x1, [x0]'),
    plain('str x', 'str x1, [x0]', ['mov x1, #0x5a5a']),
    plain('dc cvac', 'dc cvac, x0'),
    plain('dc civac', 'dc civac, x0'),
    plain('dc ivac', 'dc ivac, x0'),
    plain('ic ivau', 'ic ivau, x0'),
    plain('dc zva', 'dc zva, x0'),
    plain('ldadd x', 'ldadd x1, x2, [x0]', ONE),
    plain('swp x', 'swp x1, x2, [x0]', ONE),
    plain('cas x', 'cas x1, x2, [x0]', ONE),
    plain('casp x', 'casp x2, x3, x4, x5, [x0]', ['mov x2, #0', 'mov x3, #0', 'mov x4, #4', 'mov x5, #5']),
    plain('ldxr x', 'ldxr x1, [x0]'),
    { ...plain('stxr w, x', 'stxr w2, x1, [x0]', ['ldxr x1, [x0]']), late: true },
    plain('mrs', 'mrs x1, contextidr_el1'),
    { access: 'fetch', text: 'br x0', fetch: true },
  ].map((s) => [s.access, s]),
);
