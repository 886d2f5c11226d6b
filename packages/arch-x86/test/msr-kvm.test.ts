import { accessSync, constants } from 'node:fs';
import { createVm } from '@faultyard/core';
import { capture, missingFor, runC } from '@faultyard/testkit/oracle';
import { describe, expect, test } from 'vitest';
import { x86 } from '../src/index.ts';

/** Index, name, and the values the host sets, each on a vCPU of its own. */
const CASES: readonly (readonly [index: number, name: string, ...values: bigint[]])[] = [
  [0xc000_0080, 'EFER', 0n, 0x500n, 0xd01n, 0x1000n, 1n << 32n],
  [0xc000_0081, 'STAR', 0x1234_5678_9abc_def0n],
  [0xc000_0082, 'LSTAR', 1n << 51n, 1n << 60n, 0xffff_8000_0000_0000n],
  [0xc000_0084, 'SFMASK', 0xffff_ffff_ffff_ffffn],
  [0xc000_0100, 'FS_BASE', 0xffff_8000_0000_0000n, 1n << 47n],
  [0xc000_0101, 'GS_BASE', 1n],
  [0xc000_0102, 'KERNEL_GS_BASE', 1n << 60n],
  [0xc000_0103, 'TSC_AUX', 7n, 0x5_0000_0007n],
  [0x174, 'SYSENTER_CS', 0x1_2345_6789n],
  [0x176, 'SYSENTER_EIP', 0x1234_0000_0000_1234n, 0xffff_8000_0000_1234n],
  [0x277, 'PAT', 0x0007_0406_0007_0406n],
  [0x1b, 'APIC_BASE', 0xfee0_0900n, 0xfee0_0800n, 0xfee0_0400n, 0xfee0_0901n],
  [0x1a0, 'MISC_ENABLE', 0x1800n, 0n, 0x4_0001n],
  [0xfe, 'MTRRCAP', 0x508n],
  [0x200, 'MTRR_PHYSBASE0', 6n, 7n, 2n, 0x10_0000n],
  [0x201, 'MTRR_PHYSMASK0', 0x800n, 0x400n, 0xfff_0000_0000_0800n],
  [0x250, 'MTRR_FIX64K', 0x0606_0606_0606_0606n, 0x0606_0606_0606_0602n],
  [0x2ff, 'MTRR_DEF_TYPE', 0xc06n, 0x106n, 0x1000n],
  [0x8b, 'UCODE_REV', 0x77n],
  [0x79, 'UCODE_WRITE', 5n],
  [0x17, 'PLATFORM_ID', 0n, 1n],
  [0x2a, 'EBL_CR_POWERON', 0n],
  [0x2c, 'EBC_FREQUENCY_ID', 0n],
  [0xcd, 'FSB_FREQ', 0n],
  [0xce, 'PLATFORM_INFO', 0n, 0x8000_0000n, 5n],
  [0x140, 'MISC_FEATURES_ENABLES', 0n, 1n],
  [0x11e, 'BBL_CR_CTL3', 5n],
  [0x198, 'PERF_STATUS', 0n],
  [0x199, 'PERF_CTL', 0n, 5n],
  [0x1db, 'LASTBRANCHFROMIP', 0n, 5n],
  [0x34, 'SMI_COUNT', 5n],
  [0x1fc, 'POWER_CTL', 7n],
  [0x606, 'RAPL_POWER_UNIT', 0n],
  [0x639, 'PP0_ENERGY_STATUS', 5n],
  [0xc001_0015, 'HWCR', 0x148n, 0x4_0000n, 0x100_0000n, 0x10n],
  [0xc001_001b, 'CLK_CTL', 5n],
  [0xc001_001f, 'NB_CFG', 5n],
  [0xc001_0020, 'PATCH_LOADER', 5n],
  [0xc001_0010, 'SYSCFG', 0n, 5n],
  [0xc001_0055, 'INT_PENDING_MSG', 0n],
  [0xc001_0058, 'MMIO_CONF_BASE', 0n, 5n],
  [0xc001_0112, 'TSEG_ADDR', 5n],
  [0xc001_102a, 'BU_CFG2', 5n],
  [0xc001_1022, 'DC_CFG', 5n],
  [0xc001_1023, 'TW_CFG', 5n],
  [0xc001_102c, 'EX_CFG', 5n],
  [0xc001_0000, 'EVNTSEL0', 5n],
  [0xc001_0004, 'PERFCTR0', 5n],
  [0xc1, 'P6_PERFCTR0', 5n],
  [0x186, 'P6_EVNTSEL0', 5n],
  [0xc001_0200, 'PERF_CTL0', 0n, 5n],
  [0xc001_0140, 'OSVW_ID_LENGTH', 5n],
  [0x10a, 'ARCH_CAPABILITIES', 0n],
  [0x345, 'PERF_CAPABILITIES', 0n],
  [0xda0, 'XSS', 0n, 1n],
  [0x6e0, 'TSC_DEADLINE', 5n],
  [0x3b, 'TSC_ADJUST', 5n],
  [0, 'P5_MC_ADDR', 0n, 5n],
  [1, 'P5_MC_TYPE', 0n],
  [0x17a, 'MCG_STATUS', 7n],
  [0x800, 'X2APIC_ID', 0n],
  [0x1_2345, 'nothing', 0n],
];
const all = CASES.flatMap(([index, name, ...values]) => values.map((value) => ({ index, name, value })));

function unlessKvm(): string | undefined {
  const tools = missingFor('native');
  if (tools) return tools;
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK);
    return undefined;
  } catch {
    return 'no access to /dev/kvm';
  }
}
const unless = unlessKvm();
const said = capture({
  record: new URL('recorded/kvm-msrs.txt', import.meta.url),
  unless,
  live: () =>
    runC({
      source: new URL('abi/kvm-msrs.c', import.meta.url),
      stdin: all.map((c) => `${c.index.toString(16)} ${c.value.toString(16)}\n`).join(''),
    }),
});
/** The recording's machine: the other vendor and other paging give other answers. */
const answers = (said.recorded ?? said.text).split('\n').filter((l) => l);

describe('KVM_SET_MSRS and KVM_GET_MSRS against a real KVM 6.18 on an Intel host (recorded)', () => {
  test('the recording -> an answer for every case', () => {
    expect(answers).toHaveLength(all.length);
  });
  // the recording host has 57-bit linear addresses and 46-bit physical ones
  const arch = x86({ model: 'skylake', features: { la57: true } });
  test.each(all.map((c, i) => [c.name, `0x${c.value.toString(16)}`, i] as const))(
    '%s <- %s -> as recorded',
    (_, __, i) => {
      const { index, value } = all[i] as (typeof all)[number];
      const vm = createVm({ arch });
      const v = vm.vcpus[0];
      const set = v?.op('set-msrs', { msrs: [{ index, data: value }] });
      const got = v?.op('get-msrs', { indices: [index] }) ?? [];
      const ours = [index, value, set, got.length, got[0] ?? 0n].map((x) => (x ?? 0).toString(16)).join(' ');
      vm.dispose();
      expect(ours).toBe(answers[i]);
    },
  );
});
