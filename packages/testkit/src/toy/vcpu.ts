/** A toy vCPU: the smallest architecture that has everything core asks of one. */
import {
  type ArchVcpu,
  gpa as brand,
  type Cell,
  type Exit,
  type Plain,
  type RegisterInfo,
  Stop,
  type StopReason,
  type Task,
  type Vcpu,
  type Vm,
  type Walk,
} from '@faultyard/core';
import { Access, type Cpu, type Engine, Leave } from '@faultyard/engine';
import { TOY_REGISTERS, ToySlow } from './isa.ts';
import { ToyCause, ToyPort } from './port.ts';
import { disassembleToy } from './text.ts';

/** What a trap was for, as the guest finds it in r7. */
export const ToyTrap = { Undefined: 1, Poison: 2, NoCode: 3, Straddle: 4 } as const;

/** Registers that are not in the engine's block. */
const SYSTEM = ['tvec', 'tcause', 'taddr'] as const;

/** What KVM does about a page the host cannot resolve (knob `toy.faultPolicy`). */
export type ToyFaultPolicy = 'legacy' | 'exit';

/**
 * The toy's part of a vCPU.
 *
 * A trap puts its pc into r6 and its {@link ToyTrap} into r7, its address into taddr, and goes on at tvec; with tvec = 0
 * it ends the VM (exit `shutdown`). A device access commits when it is completed, by executing again.
 */
export class ToyVcpu implements ArchVcpu {
  readonly power = 'on';
  readonly registers: readonly RegisterInfo[];
  readonly cells: readonly Cell[];
  readonly cpu: Cpu;
  readonly port: ToyPort;
  retired = 0;
  readonly #vm: Vm;
  readonly #core: Vcpu;
  readonly #policy: ToyFaultPolicy;
  readonly #system = new Map<string, bigint>(SYSTEM.map((n) => [n, 0n]));
  /** Instructions completed outside {@link enter}, which the next one counts. */
  #debt = 0;
  #request: 'fault' | 'halt' | 'shutdown' = 'fault';

  constructor(vm: Vm, core: Vcpu, engine: Engine, policy: ToyFaultPolicy) {
    this.#vm = vm;
    this.#core = core;
    this.#policy = policy;
    this.port = new ToyPort(vm, core);
    this.cpu = engine.createCpu(this.port);
    const r = Array.from({ length: TOY_REGISTERS }, (_, n): RegisterInfo => {
      const doc =
        n === 6 ? 'general; pc of the last trap' : n === 7 ? 'general; cause of the last trap' : 'general';
      return { name: `r${n}`, bits: 64, group: 'general', doc };
    });
    const system = (name: string, doc: string): RegisterInfo => ({ name, bits: 64, group: 'system', doc });
    this.registers = [
      ...r,
      { name: 'pc', bits: 64, group: 'general', doc: 'program counter' },
      system('tvec', 'where traps go; 0: a trap shuts the VM down'),
      system('tcause', 'cause of the last trap'),
      system('taddr', 'address of the last trap'),
    ];
    this.cells = [this.#cell()];
    this.pc = 0n;
    for (let n = 0; n < TOY_REGISTERS; n++) this.write(`r${n}`, 0n);
  }

  #address(name: string): number | undefined {
    const n = /^r([0-7])$/.exec(name)?.[1];
    return n === undefined ? undefined : this.cpu.regAddr('r', Number(n));
  }
  get pc(): bigint {
    return this.#vm.host.dv.getBigUint64(this.cpu.pcAddr, true);
  }
  set pc(v: bigint) {
    this.#vm.host.dv.setBigUint64(this.cpu.pcAddr, BigInt.asUintN(64, v), true);
  }
  read(name: string): bigint | undefined {
    if (name === 'pc') return this.pc;
    const a = this.#address(name);
    return a === undefined ? this.#system.get(name) : this.#vm.host.dv.getBigUint64(a, true);
  }
  write(name: string, value: bigint): boolean {
    const v = BigInt.asUintN(64, value);
    const a = this.#address(name);
    if (name === 'pc') this.pc = v;
    else if (a !== undefined) this.#vm.host.dv.setBigUint64(a, v, true);
    else if (this.#system.has(name)) this.#system.set(name, v);
    else return false;
    return true;
  }
  /** ONE_REG ids of the toy: the size field for 8 bytes, and the register's place in the list. */
  oneReg(id: bigint): string | undefined {
    const n = BigInt.asUintN(64, id);
    return n >> 52n === 3n ? this.registers[Number(n & 0xffffn)]?.name : undefined;
  }

  prepare(): undefined {
    return undefined;
  }
  enter(slice: number): StopReason {
    this.retired = this.#debt;
    this.#debt = 0;
    while (this.retired < slice) {
      const why = this.cpu.run(slice - this.retired);
      this.retired += this.cpu.retired;
      if (why === Leave.Budget) return Stop.Slice;
      if (why === Leave.Fault && this.port.cause === ToyCause.Device) return Stop.Device;
      if (why === Leave.Fault && !this.#trapsHere()) {
        this.#request = 'fault';
        return Stop.Handle;
      }
      if (why === Leave.Slow && this.cpu.slowOp === ToySlow.Halt) {
        this.pc += 1n;
        this.retired++;
        this.#request = 'halt';
        return Stop.Handle;
      }
      if (why === Leave.Slow) {
        this.port.gpa = Number(BigInt.asUintN(48, this.pc));
        if (!this.#trap(ToyTrap.Undefined)) return Stop.Handle;
      }
    }
    return Stop.Slice;
  }
  /** Takes the traps that are the guest's own business; `false` for what KVM must look at. */
  #trapsHere(): boolean {
    switch (this.port.cause) {
      case ToyCause.Poison:
        return this.#trap(ToyTrap.Poison);
      case ToyCause.NoCode:
        return this.#trap(ToyTrap.NoCode);
      case ToyCause.Straddle:
        return this.#trap(ToyTrap.Straddle);
      default:
        return false;
    }
  }
  /** Enters the guest's trap handler; `false` if it has none. */
  #trap(cause: number): boolean {
    const vector = this.#system.get('tvec') ?? 0n;
    if (vector === 0n) {
      this.#request = 'shutdown';
      return false;
    }
    this.write('r6', this.pc);
    this.write('r7', BigInt(cause));
    this.#system.set('tcause', BigInt(cause));
    this.#system.set('taddr', BigInt(this.port.gpa));
    this.pc = vector;
    this.retired++;
    return true;
  }

  *handle(): Task<Exit | undefined> {
    const of = { vcpu: this.#core.id } as const;
    const request = this.#request;
    this.#request = 'fault';
    if (request === 'halt') return { ...of, kind: 'hlt', ret: 0 };
    const stage2 = this.port.cause === ToyCause.Stage2 || this.port.cause === ToyCause.NoMemory;
    if (request === 'shutdown' || !stage2)
      return { ...of, kind: 'shutdown', ret: 0, why: 'a trap without handler' };
    return yield* this.#fault();
  }
  /** KVM's fault path. */
  *#fault(): Task<Exit | undefined> {
    const { gpa, kind } = this.port;
    const write = kind === Access.Write || kind === Access.ReadWrite;
    const exec = kind === Access.Exec;
    const out = yield* this.#vm.stage2.fault({ gpa, write, exec, origin: 'hardware' });
    switch (out.kind) {
      case 'mapped':
      case 'noslot':
      case 'readonly-slot':
        // The access is tried again and finds the mapping, or the device.
        return undefined;
      case 'retry':
        yield { at: 'toy.retry', spins: true };
        return undefined;
      case 'error-pfn':
        if (out.pfn === 'hwpoison') {
          const to = { vcpu: this.#core.id } as const;
          this.#vm.signals.send({
            signal: 'SIGBUS',
            code: 'BUS_MCEERR_AR',
            addr: BigInt(out.hva),
            lsb: out.lsb,
            to,
          });
          return undefined;
        }
        return this.#broken(gpa, 'EFAULT');
      case 'gmem-error':
        return this.#broken(gpa, out.errno);
      case 'userfault':
      case 'exec-device':
        return this.#broken(gpa, 'EFAULT');
    }
  }
  #broken(gpa: number, errno: 'EFAULT' | Exclude<Exit['errno'], undefined>): Exit {
    const of = { vcpu: this.#core.id, ret: -1, errno } as const;
    if (this.#policy === 'legacy') return { ...of, kind: 'run-error' };
    return { ...of, kind: 'memory-fault', flags: 0n, gpa: brand(gpa - (gpa % 4096)), size: 4096n };
  }

  /** Executes the instruction again with the device's answer. A page of code that went away meanwhile cancels it. */
  complete(): undefined {
    this.port.completing = true;
    for (let mapped = false; ; mapped = true) {
      const why = this.cpu.step();
      if (why !== Leave.Fault || this.port.cause !== ToyCause.Stage2 || mapped) break;
      const fetch = this.#fault();
      while (!fetch.next().done);
    }
    this.port.completing = false;
    this.#debt += this.cpu.retired;
  }

  runnable(): boolean {
    return true;
  }
  deadline(): number {
    return Infinity;
  }
  flush(): void {
    this.cpu.flush();
  }
  zapped(gfn: number, count: number): void {
    if (count > 64) this.cpu.flush();
    else
      for (let i = 0; i < count; i++)
        this.cpu.dropPage(((gfn + i) * 4096) | 0, Math.floor((gfn + i) / 2 ** 20));
  }
  walk(gva: bigint): Walk {
    return { steps: [], gpa: BigInt.asUintN(48, gva) };
  }
  disassemble(gva: bigint, count: number): readonly { pc: bigint; bytes: Uint8Array; text: string }[] {
    return disassembleToy((a, n) => this.#vm.read(BigInt.asUintN(48, a), n), gva, count);
  }

  #cell(): Cell {
    const names = this.registers.map((r) => r.name);
    return {
      name: `toy.cpu#${this.#core.id}`,
      version: 1,
      side: 'guest',
      read: (): Plain => ({
        registers: Object.fromEntries(names.map((n) => [n, this.read(n) ?? 0n])),
        debt: this.#debt,
      }),
      write: (v) => {
        const s = v as unknown as { registers: Record<string, bigint>; debt: number };
        for (const n of names) this.write(n, s.registers[n] ?? 0n);
        this.#debt = s.debt;
      },
    };
  }
  /** Gives the vCPU's block in host memory back. */
  dispose(): void {
    this.cpu.dispose();
  }
}
