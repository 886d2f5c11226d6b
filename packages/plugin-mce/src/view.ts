/** Machine-check registers as plain data, for observers. */
import { ADDR, CTL, type McaState, MISC, STATUS } from './state.ts';

/** One bank. */
export interface BankView {
  readonly ctl: bigint;
  readonly status: bigint;
  readonly addr: bigint;
  readonly misc: bigint;
  readonly ctl2: bigint;
  /** MCA_DESTAT and MCA_DEADDR; 0 unless a policy keeps them. */
  readonly destat: bigint;
  readonly deaddr: bigint;
}
/** A vCPU's machine-check registers at one moment. */
export interface McaView {
  readonly mcgCap: bigint;
  readonly mcgStatus: bigint;
  readonly mcgCtl: bigint;
  readonly mcgExtCtl: bigint;
  readonly hwcr: bigint;
  readonly featCtl: bigint;
  /** Banks that MCG_CAP counts. */
  readonly banks: readonly BankView[];
}

/** Takes a view. */
export function viewOf(s: McaState): McaView {
  const { featCtlValid: _, ...globals } = s.globals;
  const banks = Array.from({ length: s.count }, (_bank, i) => ({
    ctl: s.get(i, CTL),
    status: s.get(i, STATUS),
    addr: s.get(i, ADDR),
    misc: s.get(i, MISC),
    ctl2: s.ctl2[i] ?? 0n,
    destat: s.destat[i] ?? 0n,
    deaddr: s.deaddr[i] ?? 0n,
  }));
  return { ...globals, banks };
}
