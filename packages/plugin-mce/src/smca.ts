/**
 * AMD's window of MCA registers, 16 for each bank, which no KVM knows; and what KVM could do about MCA_DESTAT, which Linux
 * 6.19 writes in guests without the window ("[RFC] AMD VM crashing on deferred memory error injection", Feb 2026).
 */
import { type MsrAccess, type MsrDef, MsrResult, type MsrResultCode } from '@faultyard/arch-x86';
import { McaMsr, SmcaRegister } from './bits.ts';
import { answer, type MsrGround, readBank, statusWritable, writeBank, written } from './msrs.ts';

/** Banks that the window has room for. */
const WINDOW_BANKS = 64;

/** Rows of the window; none while KVM knows nothing of it. */
export function smcaMsrs(g: MsrGround): readonly MsrDef[] {
  const { smcaDestat, razwi } = g.knobs;
  if (smcaDestat === 'reject' && razwi === 'off') return [];
  return [
    {
      index: McaMsr.SMCA,
      count: 16 * WINDOW_BANKS,
      name: 'SMCA',
      doc: 'MCA registers of AMD, 16 for each bank',
      read: (a) => access(g, a, false),
      write: (a) => access(g, a, true),
    },
  ];
}

function access(g: MsrGround, a: MsrAccess, write: boolean): MsrResultCode {
  const { smcaDestat, deferredFillsDestat, razwi, gated } = g.knobs;
  if (gated === 'on' && !a.vcpu.cpuid.has('smca')) return MsrResult.Unsupported;
  const at = a.index - McaMsr.SMCA;
  const bank = at >>> 4;
  const register = at & 15;
  const there = bank < g.of(a.vcpu).count;
  const filled = smcaDestat === 'full' && deferredFillsDestat === 'on' && register === SmcaRegister.DEADDR;
  const deferred = smcaDestat !== 'reject' && (register === SmcaRegister.DESTAT || filled);
  if (deferred && there) return write ? writeDeferred(g, a, bank, filled) : readDeferred(g, a, bank, filled);
  if (razwi === 'aliased' && there && register <= SmcaRegister.MISC0) {
    const legacy = 4 * bank + register;
    return write ? writeBank(g, a, legacy) : readBank(g, a, legacy);
  }
  if (razwi !== 'off') return MsrResult.Ok;
  return deferred ? MsrResult.Refused : MsrResult.Unsupported;
}

function readDeferred(g: MsrGround, a: MsrAccess, bank: number, address: boolean): MsrResultCode {
  const s = g.of(a.vcpu);
  // `ignore` and `validate` store nothing: 0
  return answer(a, (address ? s.deaddr : s.destat)[bank] ?? 0n);
}
function writeDeferred(g: MsrGround, a: MsrAccess, bank: number, address: boolean): MsrResultCode {
  const { smcaDestat } = g.knobs;
  if (smcaDestat === 'ignore') return MsrResult.Ok;
  const s = g.of(a.vcpu);
  const value = written(a);
  const clear = value === 0n;
  if (smcaDestat === 'validate') return clear ? MsrResult.Ok : MsrResult.Refused;
  if (!clear && !a.host && !statusWritable(a.vcpu, s)) return MsrResult.Refused;
  (address ? s.deaddr : s.destat)[bank] = value;
  return MsrResult.Ok;
}
