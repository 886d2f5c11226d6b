/** Registers by name, for sessions and debuggers, and by KVM's ONE_REG id. */
import type { RegisterInfo } from '@faultyard/core';
import { disassemble } from './asm/disassemble.ts';
import { observeWord } from './memory/observer.ts';
import { high, join, low, type Pair, PS, SR } from './state.ts';
import { PSTATE_FIELDS } from './sysregs/exceptions.ts';
import type { Arm64Vcpu } from './vcpu.ts';

/** KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE, and the same for system registers. */
const CORE_ID = 0x6030_0000_0010_0000n;
const CORE_ID_128 = 0x6040_0000_0010_0000n;
const SYSREG_ID = 0x6030_0000_0013_0000n;

/** Offsets of struct kvm_regs in 32-bit words (arch/arm64/include/uapi/asm/kvm.h): x0..x30 at 0, 2, 4, … */
const CORE_OFFSETS: Readonly<Record<number, string>> = {
  62: 'sp_el0',
  64: 'pc',
  66: 'pstate',
  68: 'sp_el1',
  70: 'elr_el1',
  72: 'spsr_el1',
};

/** One register behind a name. */
interface Access {
  read(): bigint;
  /** Absent for read-only registers: a write is ignored. */
  write?(v: bigint): void;
}

/** The registers of a vCPU. */
export class RegisterNames {
  readonly #v: Arm64Vcpu;
  readonly #by = new Map<string, Access>();
  readonly #infos: RegisterInfo[] = [];
  readonly #pair: Pair = { lo: 0, hi: 0 };
  readonly #oneReg = new Map<bigint, string>();

  constructor(v: Arm64Vcpu) {
    this.#v = v;
    this.#general();
    this.#vector();
    this.#system();
  }

  /** Every register, general ones first. */
  get infos(): readonly RegisterInfo[] {
    return this.#infos;
  }
  read(name: string): bigint | undefined {
    return this.#by.get(name.toLowerCase())?.read();
  }
  write(name: string, value: bigint): boolean {
    const a = this.#by.get(name.toLowerCase());
    a?.write?.(value);
    return a !== undefined;
  }
  /** Name of the register with a ONE_REG id. */
  oneReg(id: bigint): string | undefined {
    return this.#oneReg.get(id);
  }

  #add(name: string, info: Omit<RegisterInfo, 'name'>, a: Access): void {
    this.#by.set(name.toLowerCase(), a);
    this.#infos.push({ name, ...info, ...(a.write ? {} : { readOnly: true }) });
  }

  #general(): void {
    const v = this.#v;
    const s = (): Arm64Vcpu['state'] => v.state;
    const slot = (n: number): Access => ({
      read: () => join(s().xLo(n), s().xHi(n)),
      write: (x) => s().setX(n, low(x), high(x)),
    });
    for (let n = 0; n <= 30; n++) {
      this.#add(`x${n}`, { bits: 64, group: 'general', doc: `General register ${n}` }, slot(n));
      this.#oneReg.set(CORE_ID + BigInt(2 * n), `x${n}`);
      this.#by.set(`w${n}`, {
        read: () => BigInt(s().xLo(n) >>> 0),
        write: (x) => s().setX(n, low(x), 0),
      });
    }
    this.#by.set('lr', slot(30));
    this.#by.set('fp', slot(29));
    this.#add('sp', { bits: 64, group: 'general', doc: 'Stack pointer in use' }, slot(31));
    this.#add(
      'pc',
      { bits: 64, group: 'general', doc: 'Program counter' },
      {
        read: () => v.pc,
        write: (x) => {
          v.pc = x;
        },
      },
    );
    this.#add(
      'pstate',
      { bits: 64, group: 'general', doc: 'Process state, in SPSR layout', fields: PSTATE_FIELDS },
      {
        read: () => BigInt(s().pstate >>> 0),
        write: (x) => {
          const m = Number(x & 0x1fn);
          const mode = m === PS.EL0t || m === PS.EL1t || m === PS.EL1h ? m : s().ps & 0xf;
          const kept = PS.DAIF | PS.IL | PS.SS | (v.model.pan ? PS.PAN : 0) | (v.model.uao ? PS.UAO : 0);
          s().setPstate((low(x) & (kept | PS.NZCV)) | mode);
          v.restored();
        },
      },
    );
    this.#add(
      'sp_el1',
      { bits: 64, group: 'general', doc: 'Stack pointer of EL1' },
      {
        read: () => join(s().spLo(SR.SP_EL1), s().spHi(SR.SP_EL1)),
        write: (x) => s().setSp(SR.SP_EL1, low(x), high(x)),
      },
    );
    for (const [at, name] of Object.entries(CORE_OFFSETS)) this.#oneReg.set(CORE_ID + BigInt(at), name);
  }

  #vector(): void {
    const v = this.#v;
    const host = v.vm.host.i32;
    for (let n = 0; n < 32; n++) {
      const at = (): number => v.cpu.regAddr('v', n) >>> 2;
      this.#add(
        `v${n}`,
        { bits: 128, group: 'vector', doc: `SIMD and floating-point register ${n}` },
        {
          read: () => {
            const i = at();
            const half = (k: number): bigint => join(host[i + k] as number, host[i + k + 1] as number);
            return (half(2) << 64n) | half(0);
          },
          write: (x) => {
            const i = at();
            for (let k = 0; k < 4; k++) host[i + k] = low(x >> BigInt(32 * k));
          },
        },
      );
      this.#oneReg.set(CORE_ID_128 + BigInt(0x54 + 4 * n), `v${n}`);
    }
  }

  #system(): void {
    const v = this.#v;
    for (const r of v.sysregs.rows) {
      const { def } = r;
      const name = def.name.toLowerCase();
      const writable = def.el1 !== 'ro' && (r.slot !== undefined || def.write !== undefined);
      this.#add(
        name,
        { bits: 64, group: 'system', doc: def.doc, ...(def.fields ? { fields: def.fields } : {}) },
        {
          read: () => {
            v.sysregs.value(v, r, this.#pair);
            return join(this.#pair.lo, this.#pair.hi);
          },
          ...(writable ? { write: (x: bigint) => v.sysregs.assign(v, r, low(x), high(x)) } : {}),
        },
      );
      if (!def.mirror) this.#oneReg.set(SYSREG_ID + BigInt(r.key), name);
    }
    // KVM's ids of the virtual timer: TIMER_CNT and TIMER_CVAL are swapped in the ABI, for ever
    this.#oneReg.set(SYSREG_ID + 0xdf1an, 'cntvct_el0');
    this.#oneReg.set(SYSREG_ID + 0xdf02n, 'cntv_cval_el0');
  }

  /** Disassembles guest memory as a fetch would find it. */
  disassemble(
    gva: bigint,
    count: number,
  ): readonly { readonly pc: bigint; readonly bytes: Uint8Array; readonly text: string }[] {
    const v = this.#v;
    return Array.from({ length: count }, (_, i) => {
      const pc = BigInt.asUintN(64, gva + BigInt(4 * i));
      const word = observeWord(v, low(pc), high(pc));
      if (word === undefined) return { pc, bytes: new Uint8Array(0), text: '<unreadable>' };
      const bytes = new Uint8Array(4);
      new DataView(bytes.buffer).setInt32(0, word, true);
      return { pc, bytes, text: disassemble(v.table, word, pc) };
    });
  }
}
