/** Scenarios, decision tables and conformance tests for authors of Faultyard plugins. */
export * from './conformance/index.ts';
export * from './ride.ts';
export * from './scenario.ts';
export * from './table.ts';
export * from './toy/index.ts';
