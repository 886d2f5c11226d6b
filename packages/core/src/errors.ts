/** Every error of the house: one table of codes, and KVM's refusals with their errno. */

/** Linux errno values that KVM's interface uses (include/uapi/asm-generic/errno-base.h, errno.h). */
export const ERRNO = {
  EPERM: 1,
  ENOENT: 2,
  EINTR: 4,
  EIO: 5,
  ENXIO: 6,
  E2BIG: 7,
  ENOEXEC: 8,
  EBADF: 9,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EFAULT: 14,
  EBUSY: 16,
  EEXIST: 17,
  ENODEV: 19,
  EINVAL: 22,
  ENOTTY: 25,
  ENOSYS: 38,
  EOPNOTSUPP: 95,
  EHWPOISON: 133,
} as const;
/** Symbolic errno. */
export type Errno = keyof typeof ERRNO;

/** Codes and message templates; `{name}` is filled from the error's fields. `fix` says what to do. */
export const ERROR_TABLE = {
  FY_PLUGIN_UNKNOWN: { text: 'unknown plugin {plugin}', fix: 'pass a plugin value made by definePlugin' },
  FY_PLUGIN_TWICE: { text: 'plugin {plugin} is given twice', fix: 'list every plugin once' },
  FY_PLUGIN_NEEDS: {
    text: 'plugin {plugin} needs {needs}, which is not installed',
    fix: 'add {needs} to arch or plugins',
  },
  FY_PLUGIN_VERSION: {
    text: 'plugin {plugin} was made for core {wants}, this is core {have}',
    fix: 'install matching versions of {plugin} and @faultyard/core',
  },
  FY_PLUGIN_INVALID: { text: 'plugin {plugin}: {why}', fix: 'correct its definition' },
  FY_PLUGIN_CLASH: {
    text: '{what} {name} is defined by both {plugin} and {other}',
    fix: '{fix}',
  },
  FY_INSTRUCTION: { text: '{why}', fix: '{fix}' },
  FY_EXIT_CODEC: {
    text: 'exit {kind} has no codec in this VM',
    fix: 'name it under exits in the definition of the plugin that returns it, and install that plugin',
  },
  FY_TWO_CORES: {
    text: 'two copies of @faultyard/core are loaded: {first} and {second}',
    fix: 'deduplicate them: core is a peer dependency of every plugin',
  },
  FY_KNOB_UNKNOWN: { text: 'unknown knob {knob}', fix: 'knobs here: {known}' },
  FY_KNOB_AMBIGUOUS: { text: 'knob {knob} is ambiguous', fix: 'write one of {known}' },
  FY_KNOB_VALUE: { text: 'knob {knob} does not take {value}', fix: 'its values: {known}' },
  FY_CAP_UNSUPPORTED: { text: 'capability {cap} is not supported here', fix: 'capabilities here: {known}' },
  FY_OP_UNKNOWN: { text: 'unknown operation {op}', fix: 'operations here: {known}' },
  FY_EXIT_ANSWER: { text: 'exit {kind} of vcpu {vcpu} {why}', fix: '{fix}' },
  FY_ADDRESS: { text: '{what} {value} {why}', fix: '{fix}' },
  FY_ARGUMENT: { text: '{what} {value} {why}', fix: '{fix}' },
  FY_REGISTER_UNKNOWN: { text: 'no register {name}', fix: 'registers: {known}' },
  FY_SNAPSHOT_BUSY: { text: 'no snapshot while {task} is at {point}', fix: 'finish or drop that task first' },
  FY_SNAPSHOT_FOREIGN: { text: 'the snapshot {why}', fix: '{fix}' },
  FY_CELL_MISSING: {
    text: 'the snapshot holds cell {cell} (version {version}), which {why}',
    fix: 'install {plugin}',
  },
  FY_SCHEDULE: { text: 'schedule {schedule}: {why}', fix: '{fix}' },
  FY_DEADLOCK: { text: 'deadlock: {who}', fix: 'look at the lock order of these tasks' },
  FY_HOST_MEMORY: { text: 'host memory: {why}', fix: '{fix}' },
  FY_ASSEMBLY: { text: '{where}: {why}', fix: '{fix}' },
  FY_IMAGE: { text: 'image {what}: {why}', fix: '{fix}' },
  FY_POLICY: { text: '{policy}: {why}', fix: '{fix}' },
  FY_SCENARIO: { text: 'scenario {scenario}: {why}', fix: '{fix}' },
} as const;
/** A code of {@link ERROR_TABLE}. */
export type ErrorCode = keyof typeof ERROR_TABLE;

const fill = (template: string, fields: Readonly<Record<string, unknown>>): string =>
  template.replace(/\{(\w+)\}/g, (_, k: string) => String(fields[k] ?? `{${k}}`));

/** A caller's mistake: what, where, and what to do. */
export class FaultyardError extends Error {
  override readonly name: string = 'FaultyardError';
  readonly code: ErrorCode;
  readonly fields: Readonly<Record<string, unknown>>;
  constructor(code: ErrorCode, fields: Readonly<Record<string, unknown>> = {}) {
    const e: { readonly text: string; readonly fix: string } = ERROR_TABLE[code];
    super(`${code}: ${fill(e.text, fields)}; ${fill(e.fix, fields)}`);
    this.code = code;
    this.fields = fields;
  }
}

/** What KVM refuses: the operation, KVM's errno, and why. */
export class KvmError extends Error {
  override readonly name: string = 'KvmError';
  /** KVM's name of the operation, e.g. `KVM_SET_USER_MEMORY_REGION`. */
  readonly op: string;
  readonly errno: Errno;
  constructor(op: string, errno: Errno, why: string) {
    super(`${op}: ${errno} (${ERRNO[errno]}): ${why}`);
    this.op = op;
    this.errno = errno;
  }
}
