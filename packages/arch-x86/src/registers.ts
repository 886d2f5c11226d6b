/** Registers by name, for sessions and debuggers. */
import type { RegisterInfo } from '@faultyard/core';
import { lowByte, Seg, type SegNumber } from './isa/layout.ts';
import type { FieldDef } from './msr/def.ts';
import {
  CR0_FIELDS,
  CR4_FIELDS,
  DR6_FIELDS,
  DR7_FIELDS,
  EFER_FIELDS,
  RFLAGS_FIELDS,
} from './register-fields.ts';
import { high, join, low, SR } from './state.ts';
import type { X86Vcpu } from './vcpu.ts';

/** General registers in encoding order. */
const GENERAL = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi'] as const;
const SEGMENTS = ['es', 'cs', 'ss', 'ds', 'fs', 'gs', 'ldtr', 'tr'] as const;

/** One register behind a name. */
interface Access {
  read(): bigint;
  /** Absent for read-only registers: a write is ignored. */
  write?(v: bigint): void;
}

/** The registers of a vCPU. */
export class RegisterNames {
  readonly #v: X86Vcpu;
  readonly #by = new Map<string, Access>();
  readonly #infos: RegisterInfo[] = [];

  constructor(v: X86Vcpu) {
    this.#v = v;
    this.#general();
    this.#segments();
    this.#control();
    this.#vector();
    this.#msrs();
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
  #add(name: string, info: Omit<RegisterInfo, 'name'>, a: Access): void {
    this.#by.set(name, a);
    this.#infos.push({ name, ...info, ...(a.write ? {} : { readOnly: true }) });
  }

  #general(): void {
    const v = this.#v;
    const s = v.state;
    const names = [...GENERAL, ...Array.from({ length: 8 }, (_, n) => `r${n + 8}`)];
    for (const [n, name] of names.entries()) {
      const legacy = n < 8;
      this.#add(
        name,
        { bits: 64, group: 'general', doc: `General register ${n}` },
        { read: () => join(s.lo(n), s.hi(n)), write: (x) => s.set(n, low(x), high(x)) },
      );
      // narrower names: reads give the part; writes do what an instruction does
      const part = (alias: string, size: 1 | 2 | 4): void => {
        this.#by.set(alias, {
          read: () => BigInt.asUintN(8 * size, BigInt(s.lo(n) >>> 0)),
          write: (x) => s.setSized(n, size, low(x), 0),
        });
      };
      part(legacy ? `e${name.slice(1)}` : `${name}d`, 4);
      part(legacy ? name.slice(1) : `${name}w`, 2);
      part(legacy ? (n < 4 ? `${name[1]}l` : `${name.slice(1)}l`) : `${name}b`, 1);
      if (n >= 4) continue;
      const at = v.cpu.regAddr('b', lowByte(n) + 1);
      this.#by.set(`${name[1]}h`, {
        read: () => BigInt(v.vm.host.u8[at] as number),
        write: (x) => {
          v.vm.host.u8[at] = Number(x & 0xffn);
        },
      });
    }
    const ip: Access = {
      read: () => v.pc,
      write: (x) => {
        v.pc = x;
      },
    };
    this.#add('rip', { bits: 64, group: 'general', doc: 'Instruction pointer' }, ip);
    this.#add('pc', { bits: 64, group: 'general', doc: 'RIP, under the name every architecture has' }, ip);
    for (const alias of ['eip', 'ip']) this.#by.set(alias, ip);
    const flags: Access = {
      read: () => BigInt(s.flags >>> 0),
      write: (x) => {
        s.flags = low(x);
        v.restored();
      },
    };
    this.#add('rflags', { bits: 64, group: 'general', doc: 'Flags', fields: RFLAGS_FIELDS }, flags);
    this.#by.set('eflags', flags);
  }

  #segments(): void {
    const v = this.#v;
    const { segments } = v.state;
    for (const [n, name] of SEGMENTS.entries()) {
      const g = segments[n as SegNumber] as (typeof segments)[number];
      const put = (f: (x: bigint) => void) => (x: bigint) => {
        // RIP keeps its value when the base of CS moves
        const rip = v.pc;
        f(x);
        if (n === Seg.CS) v.pc = rip;
        v.restored();
      };
      const doc = name.toUpperCase();
      this.#add(
        name,
        { bits: 64, group: 'segment', doc: `Selector of ${doc}; the hidden part stays` },
        {
          read: () => BigInt(g.selector),
          write: put((x) => {
            g.selector = low(x) & 0xffff;
          }),
        },
      );
      this.#add(
        `${name}.base`,
        { bits: 64, group: 'segment', doc: `Base of ${doc}` },
        {
          read: () => join(g.baseLo, g.baseHi),
          write: put((x) => {
            g.baseLo = low(x);
            g.baseHi = high(x);
          }),
        },
      );
      this.#add(
        `${name}.limit`,
        { bits: 64, group: 'segment', doc: `Last byte of ${doc}` },
        {
          read: () => BigInt(g.limit >>> 0),
          write: put((x) => {
            g.limit = low(x);
          }),
        },
      );
      this.#add(
        `${name}.attr`,
        { bits: 64, group: 'segment', doc: `Descriptor bits 47:40 and 55:52 of ${doc}; bit 16: unusable` },
        {
          read: () => BigInt(g.attr),
          write: put((x) => {
            g.attr = low(x) & 0x1_0fff;
          }),
        },
      );
    }
    this.#add(
      'cpl',
      { bits: 64, group: 'segment', doc: 'Current privilege level' },
      {
        read: () => BigInt(v.state.cpl),
        write: (x) => {
          v.state.cpl = low(x) & 3;
          v.restored();
        },
      },
    );
  }

  #system(name: string, slot: number, doc: string, fields?: readonly FieldDef[], group = 'system'): void {
    const v = this.#v;
    const s = v.state;
    this.#add(
      name,
      { bits: 64, group, doc, ...(fields ? { fields } : {}) },
      {
        read: () => join(s.sysLo(slot), s.sysHi(slot)),
        write: (x) => {
          const rip = v.pc;
          s.setSys(slot, low(x), high(x));
          if (slot === SR.CR8) v.apic?.setCr8(low(x));
          v.pc = rip;
          v.translationForced();
        },
      },
    );
  }
  #control(): void {
    this.#system('cr0', SR.CR0, 'Control register 0', CR0_FIELDS);
    this.#system('cr2', SR.CR2, 'Address of the last page fault');
    this.#system('cr3', SR.CR3, 'Page table root');
    this.#system('cr4', SR.CR4, 'Control register 4', CR4_FIELDS);
    this.#system('cr8', SR.CR8, 'Task priority');
    // set whole, LMA too: WRMSR's rules are not for debuggers
    this.#system('efer', SR.EFER, 'Extended features', EFER_FIELDS);
    this.#system('xcr0', SR.XCR0, 'Enabled state components');
    this.#system('pkru', SR.PKRU, 'Rights of protection keys');
    for (let n = 0; n < 4; n++)
      this.#system(`dr${n}`, SR.DR0 + n, `Breakpoint address ${n}`, undefined, 'debug');
    this.#system('dr6', SR.DR6, 'Debug status', DR6_FIELDS, 'debug');
    this.#system('dr7', SR.DR7, 'Debug control', DR7_FIELDS, 'debug');
    this.#system('gdtr.base', SR.GDTR_BASE, 'Base of the GDT', undefined, 'segment');
    this.#system('gdtr.limit', SR.GDTR_LIMIT, 'Last byte of the GDT', undefined, 'segment');
    this.#system('idtr.base', SR.IDTR_BASE, 'Base of the IDT', undefined, 'segment');
    this.#system('idtr.limit', SR.IDTR_LIMIT, 'Last byte of the IDT', undefined, 'segment');
  }

  #vector(): void {
    const v = this.#v;
    const host = v.vm.host.i32;
    for (let n = 0; n < 16; n++) {
      const i = v.cpu.regAddr('v', n) >>> 2;
      const half = (k: number): bigint => join(host[i + k] as number, host[i + k + 1] as number);
      this.#add(
        `xmm${n}`,
        { bits: 128, group: 'vector', doc: `SSE register ${n}` },
        {
          read: () => (half(2) << 64n) | half(0),
          write: (x) => {
            for (let k = 0; k < 4; k++) host[i + k] = low(x >> BigInt(32 * k));
          },
        },
      );
    }
  }

  /** MSRs by their names, as the host reads and writes them; what KVM would refuse is not written. */
  #msrs(): void {
    const { msrs } = this.#v;
    for (const d of msrs.table.rows) {
      const name = d.name.toLowerCase();
      if (this.#by.has(name)) continue;
      this.#add(
        name,
        { bits: 64, group: 'msr', doc: d.doc, ...(d.fields ? { fields: d.fields } : {}) },
        {
          read: () => {
            msrs.read(d.index, true);
            return join(msrs.value.lo, msrs.value.hi);
          },
          ...(d.slot !== undefined || d.write === undefined
            ? {
                write: (x: bigint): void => {
                  const rip = this.#v.pc;
                  msrs.write(d.index, low(x), high(x), true);
                  this.#v.pc = rip;
                },
              }
            : {}),
        },
      );
    }
  }
}
