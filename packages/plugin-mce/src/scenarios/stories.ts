/** The rows of the table as a reader who has not seen the sheet meets them. */

/** What a scenario is called beside its row, and what it tells. */
export interface Story {
  readonly aliases?: readonly string[];
  readonly title: string;
  readonly prose: string;
}

/** By id of the scenario. */
export const STORIES: Readonly<Record<string, Story>> = {
  'mce/destat': {
    aliases: ['mce/1'],
    title: 'AMD guest clears MCA_DESTAT of a deferred error',
    prose:
      'The host finds a bad page of guest memory and tells the VMM, which writes a deferred error into bank 9. The guest polls its banks as Linux 6.19.0 does: it logs the error and clears it, MCA_DESTAT first, without looking whether CPUID has scalable MCA. KVM does not know that MSR: #GP in machine-check code, where no fault of WRMSR is forgiven. With smcaDestat=ignore, validate or full the write is taken and the guest lives.',
  },
  'mce/reboot-loop': {
    aliases: ['mce/2'],
    title: 'the same guest boots with the error still in its bank',
    prose:
      'A reset by the VMM keeps the banks. The guest that died before it cleared STATUS polls the leftover while it boots, and dies again, at every boot until the VMM process ends. Where it does not die, the VMM resets once before it polls: it boots, logs, and clears the bank.',
  },
  'mce/3': {
    aliases: ['mce/fixed'],
    title: 'fixed AMD guest polls a deferred error',
    prose: 'As mce/destat, but the guest does not touch MCA_DESTAT (before 6.19, from 6.19.10 and 7.0 on).',
  },
  'mce/4': {
    aliases: ['mce/late-kill'],
    title: 'fixed AMD guest, owner of the page not told early',
    prose: 'The same mechanism as mce/3; what differs happens inside Linux.',
  },
  'mce/5': {
    aliases: ['mce/silicon-form'],
    title: 'deferred error as silicon reports it, without POISON',
    prose: 'The affected guest dies as in mce/destat; the fixed one logs it.',
  },
  'mce/6': {
    aliases: ['mce/corrected'],
    title: 'corrected error, affected AMD guest',
    prose: 'Not deferred: the guest clears STATUS alone, and lives under every policy.',
  },
  'mce/7': {
    aliases: ['mce/livelock'],
    title: 'AMD guest consumes poison in user mode, SER_P set',
    prose:
      "The handler looks for banks with bit 56 (Intel's S), because MCG_CAP.SER_P is set as QEMU needs it; AMD's error has it clear. The bank is passed over, the program goes on at the load, and the host sends the next SIGBUS: inject and retry without end.",
  },
  'mce/8': {
    aliases: ['mce/recovers'],
    title: 'AMD guest consumes poison in user mode, SER_P clear',
    prose:
      'The handler looks for UC, finds the bank, and gives the process up. A real QEMU would not have relayed it (mce/37).',
  },
  'mce/9': {
    aliases: ['mce/no-ripv'],
    title: 'AMD error in user mode, RIPV clear',
    prose: 'The bank is passed over as in mce/7; but the program cannot go on where it was, and is killed.',
  },
  'mce/10': {
    aliases: ['mce/no-succor'],
    title: 'AMD error, CPUID without SUCCOR',
    prose: 'Without recovery by software every uncorrected error is fatal.',
  },
  'mce/11': {
    aliases: ['mce/overflow'],
    title: 'AMD error with OVER, CPUID without OVERFLOW_RECOV',
    prose: 'Another error was lost: fatal unless the CPU promises that the lost one could be recovered too.',
  },
  'mce/12': {
    aliases: ['mce/in-kernel'],
    title: 'AMD error that needs action, in kernel mode',
    prose: 'The kernel cannot give itself up.',
  },
  'mce/13': {
    aliases: ['mce/srao'],
    title: 'Intel, action optional',
    prose:
      'The relay of SIGBUS AO is a machine check; the handler clears the bank, the interrupted code goes on.',
  },
  'mce/14': {
    aliases: ['mce/srar'],
    title: 'Intel guest loads from a bad page in user mode',
    prose: 'SIGBUS AR becomes SRAR at the load; the handler gives the process up.',
  },
  'mce/15': {
    aliases: ['mce/srar-kernel'],
    title: 'Intel guest loads from a bad page in kernel mode',
    prose: 'The same in the kernel: fatal.',
  },
  'mce/16': {
    aliases: ['mce/srar-overflow'],
    title: 'Intel SRAR with OVER',
    prose: 'Events that need action were lost: fatal.',
  },
  'mce/17': {
    aliases: ['mce/no-mcip'],
    title: 'Intel uncorrected error with MCG_STATUS 0',
    prose: 'KVM stores what it is given: a handler that finds MCIP clear does not trust anything.',
  },
  'mce/18': {
    aliases: ['mce/one-vcpu'],
    title: 'Intel, two vCPUs, error injected into one',
    prose:
      'KVM_X86_SET_MCE reaches the vCPU it is called on, and no other; the time-out that Linux would run into is its own.',
  },
  'mce/19': {
    aliases: ['mce/broadcast'],
    title: 'Intel, two vCPUs, LMCE or broadcast by the VMM',
    prose:
      'Where the guest enabled LMCE, the error says that it is local; else the VMM puts a filler into every other vCPU, which its handler passes over.',
  },
  'mce/20': {
    aliases: ['mce/recursive'],
    title: 'second uncorrected error while one is handled',
    prose:
      'KVM asks for a triple fault. The VMM drops it where bit 55 says that no action is required (AMD has no such bit: always), else it resets the VM.',
  },
  'mce/21': {
    aliases: ['mce/disabled'],
    title: 'uncorrected error, CR4.MCE clear',
    prose: 'A triple fault by KVM, a reset by the VMM.',
  },
  'mce/22': {
    aliases: ['mce/disabled-logged'],
    title: 'corrected or deferred error, CR4.MCE clear',
    prose: 'Stored; nobody is told.',
  },
  'mce/23': {
    aliases: ['mce/ctl'],
    title: 'uncorrected error where reporting is off',
    prose: 'MCG_CTL or MCi_CTL is not all ones: KVM drops it and returns 0.',
  },
  'mce/24': {
    aliases: ['mce/bad-input'],
    title: 'bank or status that cannot be',
    prose: 'EINVAL from KVM, a message from the monitor; nothing changes.',
  },
  'mce/25': {
    aliases: ['mce/over'],
    title: 'error on error',
    prose:
      'Corrected on corrected replaces it with OVER; corrected on uncorrected only marks; uncorrected replaces anything.',
  },
  'mce/26': {
    aliases: ['mce/ucna'],
    title: 'UCNA without CMCI',
    prose: 'Uncorrected, no action: stored without a word.',
  },
  'mce/27': {
    aliases: ['mce/cmci'],
    title: 'UCNA with CMCI',
    prose:
      'An interrupt through the LVT, if MC9_CTL2 enables it, the LVT entry is not masked, and the backend has CMCI at all.',
  },
  'mce/28': {
    aliases: ['mce/destat-clear'],
    title: 'WRMSR MCA_DESTAT 0',
    prose: 'The write of mce/destat alone.',
  },
  'mce/29': {
    aliases: ['mce/destat-set'],
    title: 'WRMSR MCA_DESTAT, not 0',
    prose: 'Refused where the policy looks at the value.',
  },
  'mce/30': {
    aliases: ['mce/destat-hwcr'],
    title: 'the same with HWCR.McStatusWrEn',
    prose: 'Stored by `full`, for a guest whose CPUID says AMD.',
  },
  'mce/31': { aliases: ['mce/destat-read'], title: 'RDMSR MCA_DESTAT', prose: 'Unknown, or 0.' },
  'mce/32': {
    aliases: ['mce/smca'],
    title: 'other registers of the SMCA window',
    prose: 'Unknown under every policy, and so is MCA_DESTAT of a bank that is not there.',
  },
  'mce/34': {
    aliases: ['mce/lmce'],
    title: 'guest enables LMCE',
    prose: 'Needs the Intel backend, MCG_CAP.LMCE_P and FEAT_CTL[20].',
  },
  'mce/35': {
    aliases: ['mce/old-vmm'],
    title: 'Intel-shaped error in an AMD guest, from an old VMM',
    prose: "QEMU up to 9.0 knows only Intel's shapes: without SUCCOR any of them is fatal to an AMD guest.",
  },
  'mce/36': {
    aliases: ['mce/refused'],
    title: 'writes that KVM refuses',
    prose: 'Values of HWCR, MCi_CTL and MCi_STATUS that cannot be: #GP.',
  },
  'mce/37': {
    aliases: ['mce/vmm-dies'],
    title: 'action required, and the guest cannot be told',
    prose: 'Memory of the VMM itself, or a guest without SER_P: the VMM ends with status 1.',
  },
  'mce/38': {
    aliases: ['mce/vmm-warns'],
    title: 'action optional, and the guest cannot be told',
    prose: 'The VMM goes on; its control socket hears of it.',
  },
};
