/**
 * Records what qemu-system-x86_64 and KVM make of every suite of bare-metal cases, and tells where ours differs:
 * `node --import tsx --conditions=@faultyard/source test/tools/record-system.ts [suite…] [--only=qemu|kvm] [--dry]`.
 */
import { bareImage } from '../support/bare-image.ts';
import { readResults, writeResults } from '../support/bare-recording.ts';
import { missingKvm, missingQemu, runHere, runKvm, runQemu } from '../support/bare-runner.ts';
import { compare } from '../system/comparison.ts';
import { DIFFERENCES } from '../system/differs.ts';
import { type Other, OURS, QEMU_CPU } from '../system/suite.ts';
import { SUITES } from '../system/suites.ts';

const words = process.argv.slice(2).filter((w) => !w.startsWith('--'));
const dry = process.argv.includes('--dry');
const others = (['qemu', 'kvm'] as const).filter(
  (o) => !process.argv.some((w) => w.startsWith('--only=') && w !== `--only=${o}`),
);

/** A difference without its numbers: many cases differ in the same way. */
const shape = (text: string): string =>
  `${/mode:\w+/.exec(text)?.[0]} ${/code:\w+/.exec(text)?.[0]} ${text.slice(text.lastIndexOf('}: ') + 3)}`.replace(
    /[0-9a-f]{5,}/g,
    '#',
  );

function ask(o: Other, image: ReturnType<typeof bareImage>): Uint8Array | undefined {
  const none = o === 'qemu' ? missingQemu() : missingKvm();
  if (none) {
    console.log(`${o}: ${none}`);
    return undefined;
  }
  return o === 'qemu' ? runQemu(image, QEMU_CPU) : runKvm(image);
}

for (const suite of SUITES) {
  if (words.length && !words.some((w) => suite.name.startsWith(w))) continue;
  const cases = suite.cases();
  const image = bareImage(suite.codes, cases);
  for (const o of others) {
    if (suite.with && !suite.with.includes(o)) continue;
    const name = `${suite.name}.${o}`;
    const started = performance.now();
    const theirs = dry ? readResults(name) : ask(o, image);
    if (!theirs) continue;
    const asked = performance.now();
    if (!dry) writeResults(name, theirs);
    const ours = runHere(image, OURS[o]);
    const c = compare(suite, cases, o, ours, theirs, DIFFERENCES);
    const took = `${Math.round(asked - started)} ms, ours ${Math.round(performance.now() - asked)} ms`;
    console.log(
      `${name}: ${cases.length} cases, ${c.records} records, ${c.unable} that ${o} cannot do, ${c.unexplained.length} different (${took})`,
    );
    const kinds = new Map<string, string[]>();
    for (const d of c.unexplained) kinds.set(shape(d), [...(kinds.get(shape(d)) ?? []), d]);
    for (const [, all] of [...kinds]
      .sort((a, b) => b[1].length - a[1].length)
      .slice(0, Number(process.env['KINDS'] ?? 12)))
      console.log(`  ${all.length}: ${all[0]?.slice(all[0].lastIndexOf('}: ') + 3)} | ${all[0]}`);
  }
}
