/** What a VMM says about machine checks: the events of its control socket, log lines, and errors on their way in. */

/** Event MEMORY_FAILURE as the VMM's control socket gives it (QEMU qapi/run-state.json). */
export interface MemoryFailureEvent {
  /** Who is told: the guest, by a machine check, or nobody but the VMM. */
  readonly recipient: 'guest' | 'hypervisor';
  /** `inject`: it reached the banks; `ignore`; `reset`: the VM is to be reset; `fatal`: the VMM ends. */
  readonly action: 'ignore' | 'inject' | 'fatal' | 'reset';
  readonly flags: {
    /** Bit 55 of the status: action required, as Intel says it. */
    readonly actionRequired: boolean;
    /** MCIP was set already. */
    readonly recursive: boolean;
  };
  /** The vCPU and the bank it was meant for; absent for the hypervisor. */
  readonly vcpu?: number;
  readonly bank?: number;
}

/** Where a line of text goes. */
export interface LogLine {
  readonly to: 'error' | 'warning' | 'monitor';
  readonly text: string;
}

/** A SIGBUS of a bad page, as the relay sees it. */
export interface SigbusEvent {
  /** 1, 2, 3 … in the order of arrival. */
  readonly id: number;
  /** Action optional (nobody consumed it) or required (the thread needs the data now). */
  readonly code: 'BUS_MCEERR_AO' | 'BUS_MCEERR_AR';
  /** The vCPU that is told: the one whose thread got the signal, or vCPU 0 for the main thread. */
  readonly vcpu: number;
  /** si_addr; 0 where the kernel gave none. */
  readonly hva: bigint;
  /** log2 of what is gone. */
  readonly lsb: number;
  /** Where the guest has the page; absent for memory of the VMM itself. */
  readonly gpa?: bigint;
}

/** An address as C's %p and HWADDR_PRIx print it, with `0x`. */
export function pointer(a: bigint): string {
  return `0x${a.toString(16)}`;
}
