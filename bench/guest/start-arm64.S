// Entry of the benchmark guests on a machine laid out like QEMU's `virt`: identity map with the MMU on (first GiB
// Device, second GiB Normal), a stack, main(), PSCI SYSTEM_OFF.

        .section .text.start, "ax"
        .global _start
_start:
        adrp    x0, tables
        mov     x1, #0x0401                     // block, access flag, attribute 0
        movk    x1, #0x0060, lsl #48            // never executable
        str     x1, [x0]
        mov     x1, #0x0705                     // block, access flag, inner shareable, attribute 1
        movk    x1, #0x4000, lsl #16
        str     x1, [x0, #8]
        mov     x1, #0xff04                     // attribute 0 Device-nGnRE, 1 Normal write-back
        msr     mair_el1, x1
        mov     x1, #0x3519                     // T0SZ 25: 39 bits, the walk starts at level 1; cacheable walks
        movk    x1, #0x0080, lsl #16            // no walks for the upper half
        msr     tcr_el1, x1
        msr     ttbr0_el1, x0
        tlbi    vmalle1
        dsb     sy
        isb
        mrs     x1, sctlr_el1
        mov     x2, #0x1005                     // M, C, I
        orr     x1, x1, x2
        msr     sctlr_el1, x1
        isb
        adrp    x1, stack_end
        mov     sp, x1
        bl      main
        mov     x0, #8                          // PSCI SYSTEM_OFF
        movk    x0, #0x8400, lsl #16
        hvc     #0
        b       .

        .global ticks
ticks:                                          // unsigned long ticks(void)
        isb
        mrs     x0, cntvct_el0
        ret

        .section .bss
        .balign 4096
tables: .skip   4096
        .skip   65536
stack_end:
