/**
 * Cases about segments for `case-image.ts`: every kind of descriptor loaded, jumped to, called, returned to and looked at,
 * from CPL 0 and 3.
 */
import { CASE, type Case, descriptor, gateTo, SLOT } from '../support/case-image.ts';

/** Every access byte of a descriptor. */
export const ACCESS: readonly number[] = Array.from({ length: 256 }, (_, n) => n);
const RPL = [0, 3] as const;
/** Levels that cases run at. */
export const CPL: readonly (0 | 3)[] = [0, 3];

/** A descriptor with every access byte, in slot A; data that grows down gets a limit that leaves room above it. */
const any = (access: number): readonly [number, number] =>
  descriptor(access, (access & 0x1c) === 0x14 ? 0 : 0xf_ffff);

/** MOV, POP, LDS and the like of every kind of descriptor. */
export function loads(): Case[] {
  const out: Case[] = [];
  for (const code of ['mov_ds', 'mov_ss', 'lar', 'lsl', 'verr', 'verw'])
    for (const cpl of CPL)
      for (const rpl of RPL)
        for (const access of ACCESS) out.push({ code, cpl, a: any(access), eax: SLOT.a | rpl, ecx: 0x1234 });
  const some = [
    0x00, 0x10, 0x80, 0x82, 0x89, 0x90, 0x91, 0x92, 0x93, 0x98, 0x9a, 0x9e, 0xf1, 0xf3, 0xfb, 0x13, 0x73,
  ];
  for (const code of ['mov_es', 'mov_fs', 'mov_ds_memory', 'pop_ds', 'pop_ss', 'lds', 'les16', 'lgs', 'lss'])
    for (const cpl of CPL)
      for (const rpl of [0, 1, 2, 3])
        for (const access of some) {
          const selector = SLOT.a | rpl;
          const offset = cpl === 0 ? CASE.stack0 - 32 : CASE.stack3 - 32;
          out.push({
            code,
            cpl,
            a: any(access),
            eax: selector,
            stack: [selector],
            poke:
              code === 'les16'
                ? [[CASE.data, (selector << 16) | 0x1234]]
                : code === 'mov_ds_memory'
                  ? [[CASE.data, selector]]
                  : [
                      [CASE.data, offset],
                      [CASE.data + 4, selector],
                    ],
          });
        }
  // selectors: null, of the LDT, beyond both tables
  for (const code of ['mov_ds', 'mov_ss', 'lar', 'lsl', 'lar16', 'lsl16', 'verr', 'verw', 'lldt', 'ltr'])
    for (const cpl of CPL)
      for (const selector of [
        0,
        1,
        2,
        3,
        4,
        7,
        0xc,
        0xf,
        0x14,
        0x9f,
        0xa0,
        0xa3,
        0xfff8,
        0xffff,
        SLOT.data1,
        SLOT.data1 | 1,
      ])
        out.push({ code, cpl, eax: selector, ecx: 0x8765_4321 });
  for (const code of ['lar16', 'lsl16', 'arpl'])
    for (const ecx of [0, 1, 2, 3, 0xffff]) out.push({ code, eax: SLOT.data3, ecx });
  for (const cpl of CPL)
    for (const code of ['push_ds', 'push_fs16', 'sldt', 'str', 'smsw', 'sgdt', 'sgdt16'])
      out.push({ code, cpl, ecx: 0x5555_5555 });
  for (const code of ['lldt', 'ltr'])
    for (const cpl of CPL)
      for (const access of ACCESS)
        out.push({ code, cpl, a: descriptor(access, 0x67, 0, CASE.tss2), eax: SLOT.a });
  return out;
}

/** Far JMP, CALL, RET and IRET to every kind of descriptor. */
export function transfers(): Case[] {
  const out: Case[] = [];
  const pointer = (selector: number, offset: number): readonly (readonly [number, number])[] => [
    [CASE.data, offset],
    [CASE.data + 4, selector],
  ];
  for (const code of ['jmp_m1632', 'call_m1632'])
    for (const cpl of CPL)
      for (const rpl of RPL)
        for (const access of ACCESS) {
          // gates lead to code 0; TSS descriptors to the other task; a task gate to it as well
          const system = access & 0x10 ? 'none' : [1, 3, 9, 11].includes(access & 15) ? 'tss' : 'gate';
          const a =
            system === 'tss'
              ? descriptor(access, 0x67, 0, access & 8 ? CASE.tss2 : CASE.tss16)
              : system === 'gate'
                ? gateTo((access & 15) === 5 ? SLOT.tss2 : SLOT.code0, CASE.landing, access)
                : descriptor(access);
          out.push({ code, cpl, a, poke: pointer(SLOT.a | rpl, CASE.landing) });
        }
  // through gates to every kind of code
  for (const code of ['jmp_m1632', 'call_m1632'])
    for (const cpl of CPL)
      for (const kind of [0xe4, 0xec])
        for (const access of ACCESS)
          out.push({
            code,
            cpl,
            a: gateTo(SLOT.b, CASE.landing, kind, 2),
            b: descriptor(access),
            stack: [0x1111, 0x2222],
            poke: pointer(SLOT.a | cpl, 0),
          });
  for (const selector of [0, 3, 0xa0, SLOT.data0, 4, 0xc])
    for (const code of ['jmp_m1632', 'call_m1632', 'jmp_m1616', 'call_m1616'])
      for (const cpl of CPL) {
        const poke =
          code.endsWith('16') && code !== 'jmp_m1632'
            ? [[CASE.data, (selector << 16) | CASE.landing] as const]
            : pointer(selector, CASE.landing);
        out.push({ code, cpl, poke });
      }
  // limits of code
  for (const code of ['jmp_m1632', 'call_m1632'])
    for (const limit of [CASE.landing - 1, CASE.landing, CASE.landing + 1])
      out.push({ code, a: descriptor(0x9b, limit, 4), poke: pointer(SLOT.a, CASE.landing) });
  // inner stacks of call gates
  for (const ss of [
    0,
    3,
    SLOT.data1,
    SLOT.data0 | 1,
    SLOT.data0ro,
    SLOT.code0,
    SLOT.absent,
    SLOT.data3,
    0xa1,
    SLOT.a,
  ])
    out.push({
      code: 'call_m1632',
      cpl: 3,
      a: gateTo(SLOT.code1, CASE.landing, 0xec),
      poke: [...pointer(SLOT.a | 3, 0), [CASE.tss + 16, ss]],
    });
  for (const access of ACCESS)
    out.push({
      code: 'call_m1632',
      cpl: 3,
      a: gateTo(SLOT.code1, CASE.landing, 0xec, 3),
      b: any(access),
      stack: [1, 2, 3, 4],
      poke: [...pointer(SLOT.a | 3, 0), [CASE.tss + 16, SLOT.b | 1]],
    });
  for (const [code, sizeOf] of [
    ['retf', 4],
    ['retf8', 4],
    ['iretd', 4],
    ['retfw', 2],
    ['iretw', 2],
  ] as const)
    for (const cpl of CPL)
      for (const rpl of [0, 1, 3])
        for (const access of ACCESS) {
          const frame = returnFrame(code, sizeOf, SLOT.a | rpl, SLOT.data3);
          out.push({ code, cpl, a: descriptor(access), stack: frame });
        }
  // outer stacks
  for (const code of ['retf', 'iretd'] as const)
    for (const rpl of [0, 3])
      for (const access of ACCESS)
        out.push({ code, a: any(access), stack: returnFrame(code, 4, SLOT.code3, SLOT.a | rpl) });
  for (const selector of [0, 1, 3, 0xa0, 4, SLOT.code16, SLOT.conforming | 3, SLOT.absent])
    for (const code of ['retf', 'iretd'] as const)
      for (const cpl of CPL) out.push({ code, cpl, stack: returnFrame(code, 4, selector, SLOT.data3) });
  return out;
}

/** Frame of a return of 4- or 2-byte slots, at most 5 doublewords. */
function returnFrame(code: string, size: 2 | 4, cs: number, ss: number): number[] {
  const slots = [CASE.landing, cs];
  if (code.startsWith('iret')) slots.push(2);
  if (code === 'retf8') slots.push(0x11, 0x22);
  slots.push(CASE.stack3 - 0x100, ss);
  if (size === 4) return slots.slice(0, 5);
  return [0, 2, 4].map((n) => ((slots[n] ?? 0) & 0xffff) | ((slots[n + 1] ?? 0) << 16));
}
