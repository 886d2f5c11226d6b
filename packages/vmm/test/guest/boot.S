/* A multiboot kernel that goes from 32-bit protected mode to long mode by itself and calls main() there. */
.intel_syntax noprefix

.set MAGIC, 0x1badb002
.set FLAGS, 3

.section .multiboot, "a"
.balign 4
.long MAGIC
.long FLAGS
.long -(MAGIC + FLAGS)

.section .text.start, "ax"
.code32
.globl start
start:
    mov esp, offset stack_top
    mov edi, eax                    /* for main: magic, information */
    mov esi, ebx
    /* one gigabyte to itself, in pages of 2 MiB */
    mov eax, offset pdpt
    or eax, 3
    mov dword ptr [pml4], eax
    mov eax, offset pd
    or eax, 3
    mov dword ptr [pdpt], eax
    xor ecx, ecx
1:  mov eax, ecx
    shl eax, 21
    or eax, 0x83
    mov dword ptr [pd + ecx*8], eax
    inc ecx
    cmp ecx, 512
    jne 1b
    mov eax, cr4
    or eax, 0x20                    /* PAE */
    mov cr4, eax
    mov eax, offset pml4
    mov cr3, eax
    mov ecx, 0xc0000080             /* EFER */
    rdmsr
    or eax, 0x100                   /* LME */
    wrmsr
    mov eax, cr0
    or eax, 0x80000000              /* PG */
    mov cr0, eax
    lgdt [gdt_pointer]
    jmp 8:long_mode

.code64
long_mode:
    mov eax, 0x10
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov edi, edi
    mov esi, esi
    call main
    mov edx, 0xf4
    out dx, eax
1:  hlt
    jmp 1b

.section .rodata
.balign 8
gdt:
    .quad 0
    .quad 0x00af9b000000ffff
    .quad 0x00cf93000000ffff
gdt_pointer:
    .word gdt_pointer - gdt - 1
    .long gdt

.section .bss
.balign 4096
pml4: .skip 4096
pdpt: .skip 4096
pd:   .skip 4096
      .skip 4096
stack_top:
