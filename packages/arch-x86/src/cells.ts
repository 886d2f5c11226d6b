/** A vCPU's state as cells: canonical, versioned, nothing derived. */
import type { Cell, Plain } from '@faultyard/core';
import { restoreMsrExit, saveMsrExit } from './msr/instructions.ts';
import { type Segment, SR_COUNT } from './state.ts';
import type { X86Vcpu } from './vcpu.ts';

interface RegisterState {
  readonly general: Uint8Array;
  readonly xmm: Uint8Array;
  readonly sys: Uint8Array;
  readonly segments: readonly Segment[];
  /** Linear address of the next instruction. */
  readonly pc: readonly [lo: number, hi: number];
  readonly flags: number;
  readonly cpl: number;
}

function registers(v: X86Vcpu): Cell {
  const s = v.state;
  const host = v.vm.host.u8;
  const r0 = v.cpu.regAddr('r', 0);
  const v0 = v.cpu.regAddr('v', 0);
  return {
    name: `x86.registers#${v.id}`,
    version: 1,
    side: 'guest',
    read: (): Plain => ({
      general: host.slice(r0, r0 + 16 * 8),
      xmm: host.slice(v0, v0 + 16 * 16),
      sys: new Uint8Array(s.sys.slice(0, 2 * SR_COUNT).buffer),
      segments: s.segments.map((g) => ({ ...g })),
      pc: [s.pcLo, s.pcHi],
      flags: s.flags,
      cpl: s.cpl,
    }),
    write(value: Plain): void {
      const r = value as unknown as RegisterState;
      host.set(r.general, r0);
      host.set(r.xmm, v0);
      s.sys.set(new Int32Array(r.sys.slice().buffer));
      for (const [n, g] of r.segments.entries()) Object.assign(s.segments[n] as Segment, g);
      s.setPc(r.pc[0], r.pc[1]);
      s.flags = r.flags;
      s.cpl = r.cpl;
      v.restored();
    },
  };
}

interface ControlState {
  readonly waiting: boolean;
  readonly mpState: number;
  readonly msrExit: 'none' | 'read' | 'write';
  readonly msrAnswer: readonly number[];
  readonly debt: number;
  readonly guards: number;
  readonly microcode: { readonly lo: number; readonly hi: number };
  readonly tscKhz: number;
  readonly intercepts: Plain;
  readonly ports: Plain;
}

function control(v: X86Vcpu): Cell {
  return {
    name: `x86.control#${v.id}`,
    version: 1,
    side: 'guest',
    read: (): Plain => ({
      waiting: v.waiting,
      mpState: v.mpState,
      msrExit: v.msrExit,
      msrAnswer: saveMsrExit(v),
      debt: v.debt,
      guards: v.guards.plugins,
      microcode: { lo: v.microcode.lo, hi: v.microcode.hi },
      tscKhz: v.tsc.khz,
      intercepts: v.intercepts.save(),
      ports: v.ports.save(),
    }),
    write(value: Plain): void {
      const c = value as unknown as ControlState;
      v.waiting = c.waiting;
      v.mpState = c.mpState;
      v.msrExit = c.msrExit;
      restoreMsrExit(v, c.msrAnswer);
      v.debt = c.debt;
      v.guards.plugins = c.guards;
      v.microcode.lo = c.microcode.lo;
      v.microcode.hi = c.microcode.hi;
      v.tsc.khz = c.tscKhz;
      v.intercepts.restore(c.intercepts);
      v.ports.restore(c.ports);
      v.attend();
    },
  };
}

function tlb(v: X86Vcpu): Cell {
  return {
    name: `x86.tlb#${v.id}`,
    version: 1,
    side: 'guest',
    read: () => v.tlb.save(),
    write(value: Plain): void {
      v.tlb.restore(value as Uint8Array);
      v.flush();
    },
  };
}

/** All cells of a vCPU. */
export function vcpuCells(v: X86Vcpu): readonly Cell[] {
  const cell = (name: string, part: { save(): Plain; restore(v: Plain): void }): Cell => ({
    name: `x86.${name}#${v.id}`,
    version: 1,
    side: 'guest',
    read: () => part.save(),
    write: (value) => part.restore(value),
  });
  return [
    cell('cpuid', v.cpuid),
    registers(v),
    cell('x87', v.x87),
    control(v),
    tlb(v),
    cell('events', v.events),
    cell('msrs', v.msrs),
    cell('apic', {
      save: () => v.apic?.save() ?? null,
      restore: (saved) => {
        if (saved !== null) v.apic?.restore(saved);
      },
    }),
    v.emulator.cell(`x86.emulator#${v.id}`),
  ];
}
