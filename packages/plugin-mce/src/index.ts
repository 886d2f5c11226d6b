/** Machine checks of x86 guests as KVM keeps and delivers them. */
export {
  CMCI_EN,
  FeatCtl,
  Hwcr,
  MAX_BANKS,
  McaMsr,
  McgCap,
  McgStatus,
  SmcaRegister,
  Status,
} from './bits.ts';
export { MCE_KNOBS, type MceKnobs } from './knobs.ts';
export { type MceApi, mce } from './plugin.ts';
export type { KvmX86Mce, MceOutcome } from './set-mce.ts';
export type { BankView, McaView } from './view.ts';
