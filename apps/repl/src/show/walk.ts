/** A page-table walk: one line per level, then where it leads. */
import type { Walk } from '@faultyard/core';
import { hex, printsAs } from './text.ts';

/** Makes a walk of `gva` print itself. */
export function printableWalk(gva: bigint, walk: Walk): Walk {
  return printsAs(walk, (options) => {
    const lines = [`walk of ${hex(gva)}`];
    for (const step of walk.steps) {
      const at = options.stylize(hex(step.gpa, 8), 'undefined');
      lines.push(
        `  level ${step.level}  [${at}] = ${hex(step.descriptor, 16)}${step.note ? `  ${step.note}` : ''}`,
      );
    }
    // a flag that is not set is not named
    const attributes = Object.entries(walk.attributes ?? {}).flatMap(([name, v]) =>
      v === false ? [] : v === true ? [name] : [`${name}=${v}`],
    );
    if (walk.gpa !== undefined)
      lines.push(`  gpa ${hex(walk.gpa)}${attributes.length > 0 ? `  ${attributes.join(' ')}` : ''}`);
    if (walk.fault !== undefined) lines.push(`  ${options.stylize(walk.fault, 'special')}`);
    return lines.join('\n');
  });
}
