/** Disassembly by iced-x86's formatter, in the Intel syntax that assemble.ts takes. */
import {
  Code,
  Decoder,
  DecoderOptions,
  Formatter,
  FormatterSyntax,
  type Instruction,
  MemorySizeOptions,
  Mnemonic,
  OpKind,
  Register,
} from 'iced-x86';
import type { Bits } from './forms.ts';

/** How to disassemble. */
export interface DisassembleOptions {
  /** Size of the code. Default 64. */
  readonly bits?: Bits;
  /** Instruction pointer at the first byte. Default 0. */
  readonly ip?: bigint | number;
  /** Most instructions; default: to the end of the bytes. */
  readonly count?: number;
  /** Names of addresses, as {@link Assembled.symbols} has them: targets get the nearest name at or below, in a comment. */
  readonly symbols?: Readonly<Record<string, bigint>>;
}

/** One instruction, or a byte that begins none. */
export interface Disassembled {
  /** Address of the first byte. */
  readonly pc: bigint;
  readonly bytes: Uint8Array;
  /** `mov eax, dword ptr [rbx+8]`; what begins no instruction is `.byte 0x06`. */
  readonly text: string;
}

/** The instructions in `bytes`. The last may be cut off: then its first byte is `.byte`. */
export function disassemble(bytes: Uint8Array, options: DisassembleOptions = {}): Disassembled[] {
  const { bits = 64, ip = 0n, count = Number.POSITIVE_INFINITY, symbols = {} } = options;
  const all: Disassembled[] = [];
  const formatter = intel();
  const decoder = new Decoder(bits, bytes, DecoderOptions.None);
  decoder.ip = BigInt.asUintN(bits, BigInt(ip));
  try {
    while (decoder.canDecode && all.length < count) {
      const from = decoder.position;
      const i = decoder.decode();
      const pc = i.ip;
      const valid = i.code !== Code.INVALID;
      if (!valid) {
        // the next instruction may begin right behind
        decoder.position = from + 1;
        decoder.ip = pc + 1n;
      }
      const part = bytes.slice(from, decoder.position);
      all.push({ pc, bytes: part, text: valid ? formatted(i, bits, formatter, symbols) : data(part) });
      i.free();
    }
    return all;
  } finally {
    decoder.free();
    formatter.free();
  }
}

function intel(): Formatter {
  const f = new Formatter(FormatterSyntax.Intel);
  f.hexPrefix = '0x';
  f.hexSuffix = '';
  f.uppercaseHex = false;
  f.spaceAfterOperandSeparator = true;
  f.branchLeadingZeros = false;
  f.ripRelativeAddresses = true;
  f.usePseudoOps = false;
  f.memorySizeOptions = MemorySizeOptions.Always;
  return f;
}

const WORD_SIZED: readonly Code[] = [Code.Iretw, Code.Pushfw, Code.Popfw, Code.Pushaw, Code.Popaw];

function data([byte = 0]: Uint8Array): string {
  return `.byte 0x${byte.toString(16).padStart(2, '0')}`;
}

function formatted(
  i: Instruction,
  bits: Bits,
  f: Formatter,
  symbols: Readonly<Record<string, bigint>>,
): string {
  const first = i.opCount > 0 ? i.op0Kind : OpKind.Register;
  if (first === OpKind.FarBranch16 || first === OpKind.FarBranch32) {
    const offset = first === OpKind.FarBranch16 ? i.farBranch16 : i.farBranch32;
    // "jmp far" is iced's; the size of the offset is told by a prefix where it is not the code's
    return `${f.formatMnemonic(i).replace(/ far$/, '')} ${hex(i.farBranchSelector)}:${hex(offset)}`;
  }
  // the bare name of these is that of the code's size for people, of 16 bits for iced
  const narrow = bits > 16 && WORD_SIZED.includes(i.code);
  const text = narrow
    ? `${f.format(i)}w`
    : isPlainString(i, bits)
      ? f.formatMnemonic(i)
      : /^f/.test(f.formatMnemonic(i))
        ? x87(i, f)
        : f
            .format(i)
            .replace(/\bhint-(not-)?taken/, (_, not) => (not ? 'cs' : 'ds'))
            .replace(/^((?:\S+ )*)ret far/, '$1retf')
            .replace(/\bprefetch_(exclusive|reserved)/, 'prefetch')
            .replace(/^(v?maskmov\w+ .*), ([cdefgs]s)$/, '$2 $1')
            // sizes that tell nobody anything
            .replace(/\bmem\d+ ptr |(?<=\b[ls][gi]dt )fword ptr /, '');
  const target = targetOf(i);
  // an address without registers does not show its size, which cuts it off
  const size = i.memoryDisplSize * 8;
  const bare = i.memoryBase === Register.None && i.memoryIndex === Register.None && !i.isStringInstruction;
  const memory = Array.from({ length: i.opCount }, (_, n) => i.opKind(n)).includes(OpKind.Memory);
  if (target === undefined) return memory && bare && size > 0 && size !== bits ? `addr${size} ${text}` : text;
  const name = nearest(target, symbols);
  // a branch shows its target itself, an address relative to RIP only the distance
  const address = first === OpKind.Memory || i.isIpRelMemoryOperand ? ` ${hex(target)}` : '';
  return address || name ? `${text} #${address}${name && ` <${name}>`}` : text;
}

/** An x87 instruction without the stack top that iced shows for those that always use it. */
function x87(i: Instruction, f: Formatter): string {
  const operands = Array.from({ length: f.operandCount(i) }, (_, n) => n)
    .filter((n) => f.getInstructionOperand(i, n) !== undefined)
    .map((n) => f.formatOperand(i, n));
  return `${f.formatMnemonic(i)} ${operands.join(', ')}`.trimEnd();
}

/** Whether a string instruction uses the registers and segments that it has when no operands are written. */
function isPlainString(i: Instruction, bits: Bits): boolean {
  if (i.mnemonic === Mnemonic.Xlatb)
    return (
      i.segmentPrefix === Register.None &&
      i.memoryBase === { 16: Register.BX, 32: Register.EBX, 64: Register.RBX }[bits]
    );
  if (!i.isStringInstruction) return false;
  const kinds = Array.from({ length: i.opCount }, (_, n) => i.opKind(n));
  // a segment is told where one can be: only the source has one
  const source: readonly OpKind[] = [OpKind.MemorySegSI, OpKind.MemorySegESI, OpKind.MemorySegRSI];
  if (i.segmentPrefix !== Register.None && kinds.some((k) => source.includes(k))) return false;
  const usual: readonly OpKind[] = {
    16: [OpKind.MemorySegSI, OpKind.MemoryESDI],
    32: [OpKind.MemorySegESI, OpKind.MemoryESEDI],
    64: [OpKind.MemorySegRSI, OpKind.MemoryESRDI],
  }[bits];
  return kinds.every((k) => k === OpKind.Register || usual.includes(k));
}

/** The address that a branch goes to, or that an operand relative to RIP means. */
function targetOf(i: Instruction): bigint | undefined {
  if (i.isIpRelMemoryOperand) return i.ipRelMemoryAddress;
  const kind = i.opCount > 0 ? i.op0Kind : OpKind.Register;
  const near: readonly OpKind[] = [OpKind.NearBranch16, OpKind.NearBranch32, OpKind.NearBranch64];
  return near.includes(kind) ? i.nearBranchTarget : undefined;
}

/** `name+0x4`, or nothing where no name is at or below the address (within 64 KiB). */
function nearest(address: bigint, symbols: Readonly<Record<string, bigint>>): string {
  let best: readonly [string, bigint] | undefined;
  for (const entry of Object.entries(symbols)) {
    if (entry[1] <= address && (!best || entry[1] > best[1])) best = entry;
  }
  if (!best || address - best[1] > 0xffffn) return '';
  return address === best[1] ? best[0] : `${best[0]}+${hex(address - best[1])}`;
}

function hex(n: number | bigint): string {
  return `0x${n.toString(16)}`;
}
