/** The kernel of Faultyard: vCPUs, exits, memslots, host memory, points, capabilities, cells, trace and schedule. */
export {};
