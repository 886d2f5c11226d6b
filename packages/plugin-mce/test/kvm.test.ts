/**
 * Machine checks against KVM itself: the same script on both, line by line. Where /dev/kvm cannot be opened its recorded
 * answers are compared.
 */
import { accessSync, constants } from 'node:fs';
import { capture, missingFor, runC } from '@faultyard/testkit/oracle';
import { describe, expect, it } from 'vitest';
import { type Machine, memory, play } from './support/script.ts';

/** The recording KVM: 6.18 on an Intel CPU with a paravirtual backend, which has neither CMCI nor LMCE, as SVM. */
const MACHINE: Machine = { model: 'skylake', backend: 'AMD' };

const AR = 'bc00080000000000';
const AO = '9c00180000000000';
const UCNA = 'bc0000000000009f';
const CE = '9c0000000000009f';
const ONES = 'ffffffffffffffff';
const CAP = '100010a';

/** Registers that both sides write and read, with the values. */
const VALUES: readonly (readonly [msr: string, ...values: string[]])[] = [
  ['179', '0', CAP],
  ['17a', '0', '5', '7', ONES],
  ['17b', '0', '5', ONES],
  ['400', '0', '5', ONES, 'fffffffffffffffd', 'fffffffffffffbff', 'fffffffffffffffe', 'fffffffffffffbfe'],
  ['401', '0', '1', AR],
  ['402', '123456789abcdef0'],
  ['403', ONES],
  ['424', 'fffffffffffffbff'],
  ['425', AO],
  ['428', '0'],
  ['429', '0'],
  ['47f', '0'],
  ['280', '0', '1', '40000000', '20000000'],
  ['289', '0'],
  ['28a', '0'],
  ['29f', '0'],
  ['2a0', '0'],
  ['4d0', '0', '1'],
  ['3a', '0', '1'],
  ['c0010015', '0', '40000', '1000000', '1040000', '148', '40148', '10', '100000000'],
  ['c0000408', '0', '1'],
  ['c0000410', '0'],
  ['c0002000', '0'],
  ['c0002001', '0'],
  ['c0002004', '0', '1'],
  ['c0002008', '0', '1'],
  ['c0002098', '0', '8000000000000000'],
  ['c0002400', '0'],
  ['180', '0'],
  ['197', '0'],
  ['0', '0', '1'],
  ['1', '0'],
];
const CPUIDS = ['AMD', 'AMD+SMCA', 'Intel'];
const accesses = CPUIDS.flatMap((who) =>
  VALUES.map(([msr, ...values]) => {
    const each = values.flatMap((v) => [`hset ${msr} ${v}`, `hget ${msr}`, `wr ${msr} ${v}`, `hget ${msr}`]);
    return [`vm ${who}`, `setup ${CAP}`, `hget ${msr}`, `rd ${msr}`, ...each];
  }),
);
const status = CPUIDS.map((who) => [
  `vm ${who}`,
  `setup ${CAP}`,
  'wr 401 1',
  'wr c0010015 40000',
  'wr 401 1',
  'rd 401',
  'wr c0010015 0',
  'wr 401 2',
  'rd c0010015',
]);
const setups = [
  '0',
  '1',
  'a',
  '20',
  '21',
  'ff',
  '10a',
  '20a',
  '400000a',
  '116010a',
  '20010a',
  '10000000a',
].map((cap) => [
  'vm Intel',
  'several 400 80',
  `setup ${cap}`,
  'hget 179',
  'hget 17b',
  'several 400 80',
  'hget 424',
]);
const again = [
  'vm AMD',
  'setup 20',
  `hset 47d ${AR}`,
  'hset 17a 5',
  'setup 1',
  'hget 47d',
  'hget 405',
  'hget 17a',
  'setup 120',
  'hget 47d',
  'hget 17b',
  'several 400 80',
];
const noCtl = ['vm AMD', 'setup a', 'hget 17b', 'rd 17b', 'hset 17b 0', `hset 17b ${ONES}`, 'wr 17b 0'];
const before = [
  'vm AMD',
  'hget 179',
  'hget 400',
  'hget 17b',
  `mce 0 ${AR} 0 0 7`,
  'events',
  `mce 1f ${CE} 1 2 3`,
  'hget 47d',
];

const at9 = ['hget 424', 'hget 425', 'hget 426', 'hget 427', 'hget 17a', 'events'];
const inject = (...lines: readonly string[]): readonly string[] => [
  'vm AMD',
  `setup ${CAP}`,
  ...lines,
  ...at9,
  'halt',
  ...at9,
];
const injections = [
  inject(`mce a ${AR} 0 8c 7`),
  inject(`mce ff ${AR} 0 8c 7`),
  inject('mce 9 3c00080000000000 0 8c 7'),
  inject(`mce 9 ${CE} 1000 8c 0`),
  inject(`mce 9 ${CE} 1000 8c 7`, `mce 9 ${CE} 2000 8d 5`),
  inject(`mce 9 ${AO} 1000 8c 5`),
  inject(`mce 9 ${AO} 1000 8c 5`, `mce 9 ${AR} 2000 8c 7`),
  inject(`mce 9 ${AR} 1000 8c 7`),
  inject(`mce 9 ${AR} 1000 8c 7`, `mce 9 ${AR} 2000 8c 7`),
  inject(`mce 9 ${AR} 1000 8c 7`, 'halt', `mce 9 ${AR} 2000 8c 7`),
  inject(`mce 9 ${AR} 1000 8c 7`, 'halt', 'hset 17a 0', `mce 9 ${AR} 2000 8c 5`),
  inject(`mce 9 ${AR} 1000 8c 7`, 'halt', 'hset 17a 0', 'wr 425 0', `mce 9 ${AR} 2000 8c 5`),
  inject('cr4 0', `mce 9 ${AR} 1000 8c 7`),
  inject('cr4 0', `mce 9 ${CE} 1000 8c 7`),
  inject('cr4 0', `mce 9 ${UCNA} 1000 8c 0`, `mce 9 ${UCNA} 2000 8c 0`),
  inject('wr 17b 0', `mce 9 ${AR} 1000 8c 7`),
  inject('wr 17b 0', 'cr4 0', `mce 9 ${AR} 1000 8c 7`),
  inject('wr 17b 0', `mce 9 ${CE} 1000 8c 7`),
  inject('wr 17b 0', `mce 9 ${UCNA} 1000 8c 0`),
  inject('wr 424 0', `mce 9 ${AR} 1000 8c 7`),
  inject('wr 424 fffffffffffffbff', `mce 9 ${AR} 1000 8c 7`),
  inject('wr 424 0', 'cr4 0', `mce 9 ${AR} 1000 8c 7`),
  inject('wr 424 0', `mce 9 ${CE} 1000 8c 7`),
  inject(`hset 425 ${AR}`, `mce 9 ${CE} 1000 8c 7`),
  inject(`hset 425 ${AR}`, `mce 9 ${UCNA} 1000 8c 0`),
  inject('hset 425 3c00080000000000', `mce 9 ${CE} 1000 8c 0`),
  inject('hset 17a 5', `mce 9 ${UCNA} 1000 8c 0`),
  inject('hset 17a 3', `mce 9 ${AR} 1000 8c 7`),
  inject(`mce 9 ${AR} 1000 8c 0`),
  inject('mce 9 be00000000000000 1000 8c 0'),
  inject('mce 9 bd00000000000000 1000 8c 0'),
  inject('mce 9 bc80000000000000 1000 8c 0'),
  inject('mce 9 a000000000000000 0 0 5'),
  inject(`hset 425 ${AR}`, 'hset 17a 7', 'event 12 0 1 0'),
  inject('cap a4 1', 'event d 1 0 1', `mce 9 ${AR} 1000 8c 7`),
  inject('cap a4 1', 'event 8 1 0 1', `mce 9 ${AR} 1000 8c 7`),
  inject('cap a4 1', `mce 9 ${AR} 1000 8c 7`, 'events'),
  inject('cap da 1', 'cr4 0', `mce 9 ${AR} 1000 8c 7`, 'events'),
  ['vm AMD', `setup ${CAP}`, 'event 2 0 1 0', 'event 20 0 1 0', 'events'],
];
const exits = ['7', '1', '2'].map((mask) => [
  'vm AMD',
  `cap bc ${mask}`,
  `setup ${CAP}`,
  ...['c0002098 0', '401 1', '428 0', '179 0', 'c0010015 10', '4d0 1', 'c0000410 0'].flatMap((w) => [
    `wr ${w}`,
    'answer 1',
    `wr ${w}`,
    'answer 0',
  ]),
  ...['c0002098', '280', '428'].flatMap((m) => [`rd ${m}`, 'answer 1', `rd ${m}`, 'answer 0 1234']),
]);
const system = [
  'supported',
  'check 1f',
  ...['17a', '17b', 'c0010015', '179', '400', '401', '280', 'c0002098'].map((m) => `listed ${m}`),
];

const CASES: readonly (readonly string[])[] = [
  ...[...accesses, ...status, ...setups, again, noCtl, before, ...injections, ...exits],
  ['vm AMD', ...system],
];
const script = CASES.map((c) => `${c.join('\n')}\n`).join('');

function unlessKvm(): string | undefined {
  const tools = missingFor('native');
  if (tools !== undefined || process.arch !== 'x64') return tools ?? 'this machine is not x86';
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK);
    return undefined;
  } catch {
    return '/dev/kvm cannot be opened';
  }
}
const unless = unlessKvm();
const said = capture({
  record: new URL('recorded/mce-kvm.txt', import.meta.url),
  unless,
  live: () => runC({ source: new URL('abi/mce-kvm.c', import.meta.url), stdin: memory(MACHINE) + script }),
});
const lines = (text: string): readonly string[] => text.split('\n').filter((l) => l);
const recorded = lines(said.recorded ?? said.text);

describe('KVM 6.18, recorded', () => {
  it('the recording -> an answer for every command', () => {
    expect(recorded).toHaveLength(CASES.flat().length);
  });
  let at = 0;
  const cases = CASES.map((c, n) => {
    const from = at;
    at += c.length;
    return { title: `${n}: ${c.slice(0, 6).join('; ')}`, script: c, from };
  });
  it.each(cases)('$title -> the model answers alike', ({ script: commands, from }) => {
    expect(play(commands.join('\n'), MACHINE)).toEqual(recorded.slice(from, from + commands.length));
  });
});

it.skipIf(unless !== undefined)(
  `KVM on this machine -> the recording: equal${unless ? ` (skipped: ${unless})` : ''}`,
  () => {
    expect(lines(said.text)).toEqual(recorded);
  },
);
