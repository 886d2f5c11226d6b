// Counts the ones of x1 three ways: plainly, with ACME_CTL_EL1.TRAP set, and what the register keeps of all ones.
    adr     x9, vectors
    msr     vbar_el1, x9
    mov     x1, #0xff0
    acmepop x0, x1              // 8
    mov     x2, #-1
    msr     acme_ctl_el1, x2    // TRAP, and what is not RES0
    mrs     x3, acme_ctl_el1    // 0xff
    acmepop x4, x1              // trapped
    mov     x5, #1              // the guest went on
    wfi

    .balign 2048
vectors:
    .space  0x200
    mrs     x6, esr_el1         // synchronous, from EL1 with SP_EL1
    mrs     x7, elr_el1
    wfi
