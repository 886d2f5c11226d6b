/** Scenarios, decision tables and conformance tests for authors of Faultyard plugins. */
export {};
