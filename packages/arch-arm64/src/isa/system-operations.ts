/**
 * The named system instructions: IC, DC, AT, TLBI of EL0 and EL1 (DDI 0487 C5.3 to C5.5). All are SYS encodings; which
 * of them a vCPU has is its own business.
 */
/** A named system instruction. */
export interface SystemOperation {
  readonly mnemonic: 'ic' | 'dc' | 'at' | 'tlbi';
  readonly name: string;
  readonly op1: number;
  readonly CRn: number;
  readonly CRm: number;
  readonly op2: number;
  /** Whether it takes a register. */
  readonly register: boolean;
}

/** One line per mnemonic, op1 CRn CRm; the names stand in the order of op2, `-` where there is none. */
const OPERATIONS = `
ic 0 7 1: ialluis
ic 0 7 5: iallu
ic 3 7 5: - ivau
dc 0 7 6: - ivac isw
dc 0 7 10: - - csw
dc 0 7 14: - - cisw
dc 3 7 4: - zva
dc 3 7 10: - cvac
dc 3 7 11: - cvau
dc 3 7 12: - cvap
dc 3 7 14: - civac
at 0 7 8: s1e1r s1e1w s1e0r s1e0w
at 0 7 9: s1e1rp s1e1wp
at 4 7 8: s1e2r s1e2w - - s12e1r s12e1w s12e0r s12e0w
at 6 7 8: s1e3r s1e3w
tlbi 0 8 3: vmalle1is vae1is aside1is vaae1is - vale1is - vaale1is
tlbi 0 8 7: vmalle1 vae1 aside1 vaae1 - vale1 - vaale1
tlbi 4 8 0: - ipas2e1is - - - ipas2le1is
tlbi 4 8 3: alle2is vae2is - - alle1is vale2is vmalls12e1is
tlbi 4 8 4: - ipas2e1 - - - ipas2le1
tlbi 4 8 7: alle2 vae2 - - alle1 vale2 vmalls12e1
tlbi 6 8 3: alle3is vae3is - - - vale3is
tlbi 6 8 7: alle3 vae3 - - - vale3
`;

/** Instructions without a register: their Rt is written as 31. */
const ALONE = /^(iallu|ialluis|v?m?alle[123](is)?|vmalls12e1(is)?)$/;

/** Every named system instruction. */
export const SYSTEM_OPERATIONS: readonly SystemOperation[] = OPERATIONS.trim()
  .split('\n')
  .flatMap((line) => {
    const [place = '', list = ''] = line.split(': ');
    const [mnemonic, ...numbers] = place.split(' ');
    const [op1 = 0, CRn = 0, CRm = 0] = numbers.map(Number);
    return list.split(' ').flatMap((name, op2): SystemOperation[] => {
      if (name === '-' || !isMnemonic(mnemonic)) return [];
      return [{ mnemonic, name, op1, CRn, CRm, op2, register: !ALONE.test(name) }];
    });
  });

function isMnemonic(s: string | undefined): s is SystemOperation['mnemonic'] {
  return s === 'ic' || s === 'dc' || s === 'at' || s === 'tlbi';
}
