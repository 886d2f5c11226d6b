/** Far transfers: JMP, CALL, RET. */
import type { Operations } from '../system/operation.ts';

/** Far JMP, CALL and RET. */
export const FAR_OPERATIONS: Operations = new Map();
