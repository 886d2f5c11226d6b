/** iced-x86's register numbers as slots of our files. */
import { Register } from 'iced-x86';
import { highByte, lowByte, R, ZERO } from './layout.ts';

const LOW = ['AL', 'CL', 'DL', 'BL', 'SPL', 'BPL', 'SIL', 'DIL'];
const HIGH = ['AH', 'CH', 'DH', 'BH'];
const WORDS = ['AX', 'CX', 'DX', 'BX', 'SP', 'BP', 'SI', 'DI'];
const SEGMENTS = ['ES', 'CS', 'SS', 'DS', 'FS', 'GS'];

/** Slot by register: of file `b` for 8 bits, of `r` or `v` otherwise; the number for segment, MMX and such registers. */
export const SLOT: Uint8Array = new Uint8Array(256);
/** Width in bytes of a general register, 0 for others. */
export const REGISTER_SIZE: Uint8Array = new Uint8Array(256);

function put(name: string, slot: number, size: number): void {
  const n = (Register as unknown as Readonly<Record<string, number | undefined>>)[name];
  if (n === undefined) return;
  SLOT[n] = slot;
  REGISTER_SIZE[n] = size;
}

for (let n = 0; n < 16; n++) {
  const word = WORDS[n];
  put(LOW[n] ?? `R${n}L`, lowByte(n), 1);
  put(word ?? `R${n}W`, n, 2);
  put(word ? `E${word}` : `R${n}D`, n, 4);
  put(word ? `R${word}` : `R${n}`, n, 8);
  put(`XMM${n}`, n, 0);
  put(`CR${n}`, n, 0);
  put(`DR${n}`, n, 0);
}
for (const [n, name] of HIGH.entries()) put(name, highByte(n), 1);
for (let n = 0; n < 8; n++) {
  put(`MM${n}`, n, 0);
  put(`ST${n}`, n, 0);
}
for (const [n, name] of SEGMENTS.entries()) put(name, n, 0);

/** Slot of a base or index register; {@link ZERO} for none (and for AL, XLAT's index, which its meaning adds). */
export function addressSlot(register: Register): number {
  const size = REGISTER_SIZE[register] ?? 0;
  return size >= 2 ? (SLOT[register] ?? ZERO) : ZERO;
}
/** Slots of the registers that string instructions address memory with. */
export const IMPLIED_BASE: { readonly [implied: string]: number } = {
  si: R.RSI,
  di: R.RDI,
  'seg-di': R.RDI,
  bx: R.RBX,
};
