/** Records what qemu-system-aarch64 prints for every system image: `node --import tsx test/tools/record-system.ts [name…]`. */
import { image, record, runHere, runQemu } from '../support/bare-metal.ts';
import { SWEEPS, sweepBody } from '../system/encodings.ts';
import { SYSTEM_IMAGES } from '../system/images.ts';

const only = process.argv.slice(2);
for (const i of SYSTEM_IMAGES) {
  if (only.length && !only.some((n) => i.name.startsWith(n))) continue;
  const bytes = image(i.body());
  const qemu = runQemu(bytes, i.cpu, i.vcpus);
  record(i.name, qemu);
  const here = runHere(bytes, i.cpu, i.vcpus).split('\n');
  const there = qemu.split('\n');
  let different = 0;
  for (let n = 0; n < Math.max(here.length, there.length); n++)
    if (here[n] !== there[n] && different++ < 12)
      console.log(`${i.name}:${n + 1}\n  here ${here[n]}\n  qemu ${there[n]}`);
  console.log(`${i.name}: ${there.length} lines, ${different} different`);
}
for (const s of SWEEPS)
  if (!only.length || only.some((n) => s.name.startsWith(n)))
    record(s.name, runQemu(image(sweepBody(s)), s.cpu));
