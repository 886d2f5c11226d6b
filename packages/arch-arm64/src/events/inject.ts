/**
 * Aborts that KVM builds in software for the guest (arch/arm64/kvm/inject_fault.c; sea.md 4.3), and the one the CPU
 * takes itself.
 */

import { FSC, TableRead, type TableReader, walk, walkResult } from '../memory/walk.ts';
import type { FaultInfo, KvmRules } from '../points.ts';
import { high, low, type Pair } from '../state.ts';
import type { ExceptionContext } from './exceptions.ts';
import { takeAbort } from './exceptions.ts';

/** ISS bits of an abort. */
export const ISS = {
  FSC: 0x3f,
  WnR: 0x40,
  S1PTW: 0x80,
  CM: 0x100,
  FnV: 0x400,
  IL: 0x200_0000,
} as const;

/** The CPU takes a synchronous external abort to EL1 (DDI 0487, D1.10): S1PTW is a stage 2 matter and reads 0. */
export function takeExternalAbort(c: ExceptionContext, syndrome: number, far: bigint): void {
  const fetch = syndrome >>> 26 === 0x20 || syndrome >>> 26 === 0x21;
  takeAbort(c, {
    fetch,
    iss: syndrome & 0x00ff_ffff & ~ISS.S1PTW,
    farLo: low(far),
    farHi: high(far),
    external: true,
  });
}

/**
 * kvm_inject_sea: FSC 0x10, or 0x14 + level when the last abort was on a stage 1 walk (S1PTW) whose descriptor KVM
 * finds again by walking; if it finds none it injects nothing. `false`: nothing was injected.
 */
export function injectSea(
  c: ExceptionContext,
  rules: KvmRules,
  last: FaultInfo,
  reader: TableReader,
  paBits: number,
  iabt: boolean,
  far: bigint,
): boolean {
  let fsc: number = FSC.External;
  if (last.esr & ISS.S1PTW) {
    const level = levelOf(c, last, reader, paBits);
    if (level === undefined) return false;
    fsc = FSC.ExternalWalk + level;
  } else if (rules.injectLevel === 'copy') fsc = last.esr & ISS.FSC || fsc;
  const fnv = rules.injectFnV === 'copy' ? last.esr & ISS.FnV : 0;
  const il = rules.injectIL === 'always1' || last.esr & ISS.IL ? 1 : 0;
  takeAbort(
    c,
    { fetch: iabt, iss: fsc | fnv, farLo: low(far), farHi: high(far), external: true },
    { by: 'kvm' },
    il,
  );
  return true;
}

const found: Pair & { level: number | undefined } = { lo: 0, hi: 0, level: undefined };

/** Level of the stage 1 descriptor that lies at the fault IPA, by a fresh walk of FAR. */
function levelOf(
  c: ExceptionContext,
  last: FaultInfo,
  reader: TableReader,
  paBits: number,
): number | undefined {
  if (last.hpfar === 0n) return undefined;
  const page = Number((last.hpfar & 0x0fff_ffff_fff0n) >> 4n);
  found.level = undefined;
  const result = walkResult();
  const spy: TableReader = {
    readTable(gpa, out) {
      if (Math.floor(gpa / 4096) === page) {
        found.level = result.level;
        return TableRead.Stage2;
      }
      return reader.readTable(gpa, out);
    },
  };
  walk(c.state, paBits, low(last.far), high(last.far), spy, result);
  return found.level;
}

/** kvm_inject_size_fault: an Address size fault, level 0, with the IPA in FAR. */
export function injectSizeFault(c: ExceptionContext, iabt: boolean, ipa: number): void {
  takeAbort(
    c,
    {
      fetch: iabt,
      iss: FSC.AddressSize,
      farLo: ipa | 0,
      farHi: Math.floor(ipa / 0x1_0000_0000),
      external: false,
    },
    { by: 'kvm' },
  );
}
