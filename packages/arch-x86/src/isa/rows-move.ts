/** Moves: MOV, MOVZX, MOVSX, LEA, BSWAP, CMOVcc, SETcc, conversions (AMD64 APM volume 3). */
import type { I32, I64 } from '@faultyard/engine';
import { AccessClass } from '../memory/access-class.ts';
import type { Operands, Row } from './row.ts';

function move(o: Operands): void {
  o.write(0, o.read(1), AccessClass.Plain);
}

/** Rows of this chapter. */
export const MOVE_ROWS: readonly Row[] = [
  {
    name: 'mov',
    codes: [
      ...['Mov_rm8_r8', 'Mov_rm16_r16', 'Mov_rm32_r32', 'Mov_rm64_r64'],
      ...['Mov_r8_rm8', 'Mov_r16_rm16', 'Mov_r32_rm32', 'Mov_r64_rm64'],
      ...['Mov_AL_moffs8', 'Mov_AX_moffs16', 'Mov_EAX_moffs32', 'Mov_RAX_moffs64'],
      ...['Mov_moffs8_AL', 'Mov_moffs16_AX', 'Mov_moffs32_EAX', 'Mov_moffs64_RAX'],
      ...['Mov_r8_imm8', 'Mov_r16_imm16', 'Mov_r32_imm32', 'Mov_r64_imm64'],
      ...['Mov_rm8_imm8', 'Mov_rm16_imm16', 'Mov_rm32_imm32', 'Mov_rm64_imm32'],
    ],
    sem: move,
  },
  {
    name: 'movzx',
    codes: [
      ...['Movzx_r16_rm8', 'Movzx_r32_rm8', 'Movzx_r64_rm8'],
      ...['Movzx_r16_rm16', 'Movzx_r32_rm16', 'Movzx_r64_rm16'],
    ],
    sem(o) {
      const v = o.read(1) as I32;
      o.write(0, o.width === 8 ? o.b.extU(v) : v);
    },
  },
  {
    name: 'movsx',
    codes: [
      ...['Movsx_r16_rm8', 'Movsx_r32_rm8', 'Movsx_r64_rm8'],
      ...['Movsx_r16_rm16', 'Movsx_r32_rm16', 'Movsx_r64_rm16'],
      ...['Movsxd_r16_rm16', 'Movsxd_r32_rm32', 'Movsxd_r64_rm32'],
    ],
    sem(o) {
      const { b } = o;
      const v = b.sext(o.read(1) as I32, (8 * o.size(1)) as 8 | 16 | 32);
      o.write(0, o.width === 8 ? b.extS(v) : v);
    },
  },
  {
    name: 'lea',
    codes: ['Lea_r16_m', 'Lea_r32_m', 'Lea_r64_m'],
    sem(o) {
      const v: I64 = o.offset();
      o.write(0, o.width === 8 ? v : o.b.wrap(v));
    },
  },
];
