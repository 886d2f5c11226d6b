/** SETcc and CMOVcc (AMD64 APM volume 3). CMOVcc reads its source whatever the condition says. */
import { CONDITIONS, condition } from './conditions.ts';
import type { Row } from './row.ts';

/** Rows of this chapter. */
export const CONDITIONAL_ROWS: readonly Row[] = [
  ...CONDITIONS.map(
    (cc): Row => ({
      name: `set${cc}`,
      codes: [`Set${cc}_rm8`],
      sem: (o) => o.write(0, condition(o.b, cc)),
    }),
  ),
  ...CONDITIONS.map(
    (cc): Row => ({
      name: `cmov${cc}`,
      codes: [`Cmov${cc}_r16_rm16`, `Cmov${cc}_r32_rm32`, `Cmov${cc}_r64_rm64`],
      sem(o) {
        const source = o.b.let(o.read(1));
        o.write(0, o.b.select(condition(o.b, cc), source, o.read(0)));
      },
    }),
  ),
];
