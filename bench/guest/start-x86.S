// Entry of the speed guest on a PC, by multiboot 1: from 32-bit protected mode to long mode (identity map of 1 GiB in
// pages of 2 MiB), a stack, main(), and the end through the exit port at F4h.

        .section .text.start, "ax"
        .code32
header: .long   0x1badb002, 0, -0x1badb002      // no flags: the ELF headers say where everything goes

        .global _start
_start:
        movl    $pdpt + 3, pml4
        movl    $pd + 3, pdpt
        movl    $pd, %edi
        movl    $0x83, %eax                     // present, writable, 2 MiB
        movl    $512, %ecx
1:      movl    %eax, (%edi)
        addl    $0x200000, %eax
        addl    $8, %edi
        loop    1b
        movl    $pml4, %eax
        movl    %eax, %cr3
        movl    %cr4, %eax
        orl     $0x20, %eax                     // PAE
        movl    %eax, %cr4
        movl    $0xc0000080, %ecx               // EFER.LME
        rdmsr
        orl     $0x100, %eax
        wrmsr
        movl    %cr0, %eax
        orl     $0x80000001, %eax               // PG, PE
        movl    %eax, %cr0
        lgdt    gdtr
        ljmp    $8, $long
        .code64
long:   movl    $16, %eax
        movl    %eax, %ds
        movl    %eax, %es
        movl    %eax, %ss
        movl    $stack_end, %esp
        call    main
        movb    $0, %al
        outb    %al, $0xf4
        cli
2:      hlt
        jmp     2b

        .global ticks
ticks:                                          // unsigned long ticks(void)
        rdtsc
        shlq    $32, %rdx
        orq     %rdx, %rax
        ret

        .section .rodata
        .balign 8
gdt:    .quad   0, 0x00209a0000000000, 0x0000920000000000
gdtr:   .word   23
        .long   gdt

        .section .bss
        .balign 4096
pml4:   .skip   4096
pdpt:   .skip   4096
pd:     .skip   4096
        .skip   65536
stack_end:

        .section .note.GNU-stack, "", @progbits
