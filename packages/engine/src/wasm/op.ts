/** Opcodes of the WebAssembly instructions the engine emits (core spec 5.4). */

/** Value types. */
export const I32 = 0x7f;
/** 64-bit integer value type. */
export const I64 = 0x7e;
/** Empty block type. */
export const VOID = 0x40;

/** Control, locals, parametric. */
export const Op = {
  unreachable: 0x00,
  block: 0x02,
  loop: 0x03,
  if: 0x04,
  else: 0x05,
  end: 0x0b,
  br: 0x0c,
  brIf: 0x0d,
  brTable: 0x0e,
  return: 0x0f,
  call: 0x10,
  callIndirect: 0x11,
  select: 0x1b,
  get: 0x20,
  set: 0x21,
  tee: 0x22,
  i32const: 0x41,
  i64const: 0x42,
} as const;

/** Loads and stores. */
export const Mem = {
  i32load: 0x28,
  i64load: 0x29,
  i32load8s: 0x2c,
  i32load8u: 0x2d,
  i32load16s: 0x2e,
  i32load16u: 0x2f,
  i64load8u: 0x31,
  i64load16u: 0x33,
  i64load32s: 0x34,
  i64load32u: 0x35,
  i32store: 0x36,
  i64store: 0x37,
  i32store8: 0x3a,
  i32store16: 0x3b,
  i64store8: 0x3c,
  i64store16: 0x3d,
  i64store32: 0x3e,
} as const;

/** 32-bit integer instructions. */
export const I = {
  eqz: 0x45,
  eq: 0x46,
  ne: 0x47,
  ltS: 0x48,
  ltU: 0x49,
  geS: 0x4e,
  geU: 0x4f,
  clz: 0x67,
  ctz: 0x68,
  popcnt: 0x69,
  add: 0x6a,
  sub: 0x6b,
  mul: 0x6c,
  divS: 0x6d,
  divU: 0x6e,
  and: 0x71,
  or: 0x72,
  xor: 0x73,
  shl: 0x74,
  shrS: 0x75,
  shrU: 0x76,
  rotr: 0x78,
  extend8: 0xc0,
  extend16: 0xc1,
} as const;

/** 64-bit integer instructions. */
export const L = {
  eqz: 0x50,
  eq: 0x51,
  ne: 0x52,
  ltS: 0x53,
  ltU: 0x54,
  geS: 0x59,
  geU: 0x5a,
  clz: 0x79,
  ctz: 0x7a,
  popcnt: 0x7b,
  add: 0x7c,
  sub: 0x7d,
  mul: 0x7e,
  divS: 0x7f,
  divU: 0x80,
  and: 0x83,
  or: 0x84,
  xor: 0x85,
  shl: 0x86,
  shrS: 0x87,
  shrU: 0x88,
  rotr: 0x8a,
  extend8: 0xc2,
  extend16: 0xc3,
  extend32: 0xc4,
  wrap: 0xa7,
  extendS: 0xac,
  extendU: 0xad,
} as const;
