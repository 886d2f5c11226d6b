import { describe, expect, test } from 'vitest';
import { image, QEMU, recorded, runHere, runQemu } from '../support/bare-metal.ts';
import { SYSTEM_IMAGES } from './images.ts';

describe('bare-metal images against recordings of qemu-system-aarch64', () => {
  for (const i of SYSTEM_IMAGES)
    test(`${i.name}: ${i.what} (as QEMU)`, () => {
      expect(runHere(image(i.body()), i.cpu, i.vcpus)).toBe(recorded(i.name));
    });
});

const reason = QEMU ? '' : ' (skipped: qemu-system-aarch64 is not installed)';
describe.skipIf(!QEMU)(`recordings against qemu-system-aarch64${reason}`, () => {
  for (const i of SYSTEM_IMAGES)
    test(`${i.name}: QEMU still prints what was recorded`, () => {
      expect(runQemu(image(i.body()), i.cpu, i.vcpus)).toBe(recorded(i.name));
    });
});
