/** The outcome codes of the decision table in a sentence each; the grammar is in data/README.md. */

/** What a token says that begins with these letters (and the digit behind them). */
export const CODES: Readonly<Record<string, string>> = {
  K: 'KVM_X86_SET_MCE returned this',
  SETUP: 'KVM_X86_SETUP_MCE returned this',
  V: "what the VMM's relay of a SIGBUS did: inject, ignore, reset (asked for), exit1, warn",
  QMP: 'the VMM told its control socket: recipient and action',
  MON: "the VMM's monitor refused, or warned: bank, status, disabled",
  RESET: 'the VMM reset the VM; the banks stayed',
  POLL: 'the poller of the guest found bank 9 valid, with this STATUS',
  GP: 'the guest took #GP(0) at RDMSR or WRMSR of this MSR',
  W: 'WRMSR of this MSR was done',
  R: 'RDMSR of this MSR gave this',
  CLR: 'the guest wrote MCA_DESTAT 0 and STATUS 0 without a fault',
  PANIC: "the guest's own code found a fatal condition and stopped",
  MC: 'the guest took #MC: MCG_STATUS, privilege level, the first valid bank with its STATUS',
  IRQ: 'the guest took an interrupt with this vector',
  KILL: 'the handler of the guest gave the interrupted program up',
  LOOP: 'the same again, a hundred times',
  LIVE: 'the main program of the guest came to its end',
  X8: 'KVM_RUN returned 0 with exit 8, a triple fault',
  S: 'STATUS of bank 9 at the end, by KVM_GET_MSRS',
  M: 'MCG_STATUS at the end, by KVM_GET_MSRS',
  D: 'MCA_DESTAT of bank 9 at the end, by KVM_GET_MSRS',
};
