/** Instructions that change nothing the guest can see: NOP, prefetches, fences, PAUSE, cache line flushes, ENDBR. */
import { Guard } from './guards.ts';
import type { Operands, Row } from './row.ts';

const widths = (name: string): readonly string[] => ['16', '32', '64'].map((w) => name.replace('?', w));

const nothing = (): void => undefined;

/** A cache line flush is a read for paging, and so for its faults. */
function touch(o: Operands): void {
  o.b.load(1, o.linear(1, false));
}

/** Rows of this chapter. */
export const HINT_ROWS: readonly Row[] = [
  {
    name: 'nop',
    bare: true,
    codes: [
      ...['Nopw', 'Nopd', 'Nopq', 'Endbr32', 'Endbr64', ...widths('Nop_rm?')],
      ...['Prefetch_m8', 'Prefetchw_m8', 'Prefetchwt1_m8', 'Prefetchreserved3_m8', 'Prefetchreserved4_m8'],
      ...['Prefetchreserved5_m8', 'Prefetchreserved6_m8', 'Prefetchreserved7_m8'],
      ...['Prefetchnta_m8', 'Prefetcht0_m8', 'Prefetcht1_m8', 'Prefetcht2_m8', 'Cldemote_m8'],
      ...['Prefetchit0_m8', 'Prefetchit1_m8'],
      // hint space of features that no model has (shadow stacks among them)
      ...['0F0D', '0F18', '0F19', '0F1A', '0F1B', '0F1C', '0F1D', '0F1E', '0F1F'].flatMap((n) =>
        ['rm16_r16', 'rm32_r32', 'rm64_r64'].map((f) => `Reservednop_${f}_${n}`),
      ),
      ...['Rdsspd_r32', 'Rdsspq_r64'],
    ],
    sem: nothing,
  },
  {
    name: 'fence',
    bare: true,
    codes: [
      ...[
        'Lfence',
        'Lfence_E9',
        'Lfence_EA',
        'Lfence_EB',
        'Lfence_EC',
        'Lfence_ED',
        'Lfence_EE',
        'Lfence_EF',
      ],
      ...[
        'Mfence',
        'Mfence_F1',
        'Mfence_F2',
        'Mfence_F3',
        'Mfence_F4',
        'Mfence_F5',
        'Mfence_F6',
        'Mfence_F7',
      ],
      ...[
        'Sfence',
        'Sfence_F9',
        'Sfence_FA',
        'Sfence_FB',
        'Sfence_FC',
        'Sfence_FD',
        'Sfence_FE',
        'Sfence_FF',
      ],
    ],
    sem: nothing,
  },
  { name: 'pause', bare: true, codes: ['Pause'], sem: ({ b }) => b.guard(Guard.Pause) },
  { name: 'clflush', codes: ['Clflush_m8'], sem: touch },
  { name: 'clflushopt', feature: 'clflushopt', codes: ['Clflushopt_m8'], sem: touch },
  { name: 'clwb', feature: 'clwb', codes: ['Clwb_m8'], sem: touch },
];
