/** A vCPU's state as cells: canonical, versioned, nothing derived. */
import type { Cell, Plain } from '@faultyard/core';
import { EXCLUSIVE_STATE } from './isa/exclusive.ts';
import { high, join, low, SR_COUNT } from './state.ts';
import type { Sysreg } from './sysregs/system-registers.ts';
import type { Arm64Vcpu } from './vcpu.ts';

interface RegisterState {
  readonly x: Uint8Array;
  readonly v: Uint8Array;
  readonly sys: Uint8Array;
  readonly pc: bigint;
  readonly pstate: number;
}

function registers(v: Arm64Vcpu): Cell {
  const s = v.state;
  const host = v.vm.host.u8;
  const x0 = v.cpu.regAddr('x', 0);
  const v0 = v.cpu.regAddr('v', 0);
  return {
    name: `arm64.registers#${v.id}`,
    version: 1,
    side: 'guest',
    read(): Plain {
      s.settleSp();
      const sys = new Int32Array(SR_COUNT * 2);
      for (let n = 0; n < SR_COUNT; n++) {
        sys[2 * n] = s.lo(n);
        sys[2 * n + 1] = s.hi(n);
      }
      return {
        x: host.slice(x0, x0 + 31 * 8),
        v: host.slice(v0, v0 + 512),
        sys: new Uint8Array(sys.buffer),
        pc: v.pc,
        pstate: s.pstate >>> 0,
      };
    },
    write(value: Plain): void {
      const r = value as unknown as RegisterState;
      host.set(r.x, x0);
      host.set(r.v, v0);
      const sys = new Int32Array(r.sys.slice().buffer);
      s.ps = r.pstate & 0x0fff_ffff;
      s.nzcv = r.pstate | 0;
      for (let n = 0; n < SR_COUNT; n++) s.put(n, sys[2 * n] as number, sys[2 * n + 1] as number);
      s.setX(31, s.lo(s.spSlot), s.hi(s.spSlot));
      v.pc = r.pc;
      v.restored();
    },
  };
}

function exclusive(v: Arm64Vcpu): Cell {
  const names = Object.keys(EXCLUSIVE_STATE);
  const at = (name: string): number => v.cpu.stateAddr(name) >>> 2;
  const i32 = v.vm.host.i32;
  return {
    name: `arm64.exclusive#${v.id}`,
    version: 1,
    side: 'guest',
    // an open monitor remembers nothing
    read(): Plain {
      const open = i32[at('exclusiveSize')] === 0;
      return names.map((n) => {
        if (open) return 0n;
        const i = at(n);
        return EXCLUSIVE_STATE[n]?.ty === 'i64'
          ? join(i32[i] as number, i32[i + 1] as number)
          : BigInt((i32[i] as number) >>> 0);
      });
    },
    write(value: Plain): void {
      (value as readonly bigint[]).forEach((x, k) => {
        const n = names[k] as string;
        i32[at(n)] = low(x);
        if (EXCLUSIVE_STATE[n]?.ty === 'i64') i32[at(n) + 1] = high(x);
      });
    },
  };
}

interface ControlState {
  readonly power: 'on' | 'off';
  readonly initialised: boolean;
  readonly waiting: boolean;
  readonly event: boolean;
  readonly irq: boolean;
  readonly fiq: boolean;
  readonly vse: boolean;
  readonly queued: readonly number[];
  readonly completion: number;
  readonly spared: number;
  readonly trapped: number;
  readonly stepped: 0 | 1 | 2;
  readonly debt: number;
  readonly guards: number;
  readonly fault: { readonly esr: number; readonly far: bigint; readonly hpfar: bigint };
  readonly events: Plain;
}

function control(v: Arm64Vcpu): Cell {
  return {
    name: `arm64.control#${v.id}`,
    version: 1,
    side: 'guest',
    read: (): Plain => ({
      power: v.power,
      initialised: v.initialised,
      waiting: v.waiting,
      event: v.eventRegister,
      irq: v.irqLine,
      fiq: v.fiqLine,
      vse: v.serrors.pending,
      queued: [...v.serrors.queue],
      completion: v.completion,
      spared: v.port.spared,
      trapped: v.trappedEsr,
      stepped: v.stepped,
      debt: v.debt,
      guards: v.guards.plugins,
      fault: { ...v.fault },
      events: v.pendingEvents.save(),
    }),
    write(value: Plain): void {
      const c = value as unknown as ControlState;
      v.power = c.power;
      v.initialised = c.initialised;
      v.waiting = c.waiting;
      v.eventRegister = c.event;
      v.irqLine = c.irq;
      v.fiqLine = c.fiq;
      v.serrors.pending = c.vse;
      v.serrors.queue = [...c.queued];
      v.completion = c.completion;
      v.port.spared = c.spared;
      v.trappedEsr = c.trapped;
      v.stepped = c.stepped;
      v.debt = c.debt;
      v.guards.plugins = c.guards;
      v.fault = { ...c.fault };
      v.pendingEvents.restore(c.events);
      v.interruptsChanged();
    },
  };
}

function tlb(v: Arm64Vcpu): Cell {
  return {
    name: `arm64.tlb#${v.id}`,
    version: 1,
    side: 'guest',
    read: () => v.tlb.save(),
    write(value: Plain): void {
      v.tlb.restore(value as Uint8Array);
      v.flush();
    },
  };
}

/** System registers of plugins, by name. */
function added(v: Arm64Vcpu): Cell {
  const slot = (r: Sysreg): number => r.slot as number;
  return {
    name: `arm64.added-registers#${v.id}`,
    version: 1,
    side: 'guest',
    read: () =>
      Object.fromEntries(
        v.sysregs.stored.map((r) => [r.def.name, join(v.state.lo(slot(r)), v.state.hi(slot(r)))]),
      ),
    write(value: Plain): void {
      const by = value as Readonly<Record<string, bigint>>;
      for (const r of v.sysregs.stored) {
        const x = by[r.def.name] ?? join(r.resetLo, r.resetHi);
        v.state.put(slot(r), low(x), high(x));
      }
    },
  };
}

/** All cells of a vCPU. */
export function vcpuCells(v: Arm64Vcpu): readonly Cell[] {
  return [
    registers(v),
    exclusive(v),
    control(v),
    tlb(v),
    v.presented.cell(v.id),
    ...(v.sysregs.stored.length ? [added(v)] : []),
  ];
}
