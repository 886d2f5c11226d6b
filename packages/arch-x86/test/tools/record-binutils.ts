/**
 * Records what GNU binutils say about the sample of instruction forms. Run in this folder's package:
 * `node --import tsx --conditions=@faultyard/source test/tools/record-binutils.ts`.
 */
import { answers } from '../support/binutils.ts';
import { instances } from '../support/instances.ts';
import { SAMPLE, writeRecording } from '../support/recording.ts';

const all = ([64, 32, 16] as const).flatMap((bits) =>
  answers(instances(bits, SAMPLE.seed, SAMPLE.tries, SAMPLE.each)),
);
writeRecording(all);
console.log(`${all.length} instances`);
