/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The park page: where a CPU waits that belongs to nobody.  Data for this kernel (copied to the
 * head of a region), code for whoever gets there: its first byte is the reset vector of the ACPI
 * multiprocessor wakeup structure.  Entered in 64-bit mode with whatever control state the
 * previous kernel left, on any page table that maps this page 1:1.  Position independent; slots
 * are filled in by init.c.
 *
 * What must hold for the kernel that is woken: EFER.NXE on (its trampoline uses NX page tables
 * before it sets EFER), CR4.MCE on (a broadcast #MC with it off resets the machine), paging levels
 * unchanged (CR4.LA57 cannot be switched in long mode).
 */
#include "khoctl_region.h"
#include "park.h"

#if KHO_MBOX_COMMAND != 0 || KHO_MBOX_APICID != 4
#error the loop reads both as one
#endif

	.section .rodata.kho_park, "a"
	.balign	4096
	.globl	kho_park_blob
kho_park_blob:
.Lpark:
	.code64
	endbr64				/* the dying kernel jumps here indirectly */
	cli
	cld
	movq	%cr4, %rax
	movq	(.Lpark + PARK_CR3_4)(%rip), %rbx
	testl	$(1 << 12), %eax	/* CR4.LA57 */
	jz	1f
	movq	(.Lpark + PARK_CR3_5)(%rip), %rbx
1:	andl	$((1 << 5) | (1 << 12)), %eax	/* keep PAE and LA57 */
	orl	$(1 << 6), %eax		/* MCE */
	movq	%rax, %rcx
	movq	%cr4, %rdx
	andq	$~(1 << 7), %rdx	/* PGE off first: drops the global TLB entries */
	movq	%rdx, %cr4
	movq	%rbx, %cr3
	movq	%rcx, %cr4
	movl	$0xc0000080, %ecx
	rdmsr
	orl	$0x800, %eax		/* EFER.NXE */
	wrmsr
	lgdt	(.Lpark + PARK_GDTR)(%rip)
	lidt	(.Lpark + PARK_IDTR)(%rip)

	/* own APIC id -> r12d; the 32-bit one when there is a topology leaf */
	xorl	%eax, %eax
	cpuid
	cmpl	$0xb, %eax
	jb	2f
	movl	$0xb, %eax
	xorl	%ecx, %ecx
	cpuid
	testl	%ebx, %ebx
	jz	2f
	movl	%edx, %r12d
	jmp	3f
2:	movl	$1, %eax
	cpuid
	shrl	$24, %ebx
	movl	%ebx, %r12d
3:	movzbl	%r12b, %r11d		/* index of stack and hint byte */
	leal	1(%r11), %eax
	shll	$8, %eax
	addq	(.Lpark + PARK_STACKS)(%rip), %rax
	movq	%rax, %rsp
	movl	$PARK_DS, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	xorl	%eax, %eax
	movl	%eax, %fs
	movl	%eax, %gs
	movq	(.Lpark + PARK_SELF)(%rip), %rax
	addq	$(4f - .Lpark), %rax
	pushq	$PARK_CS
	pushq	%rax
	lretq

4:	movq	(.Lpark + PARK_MBOX)(%rip), %rbx
	movb	$1, KHO_MBOX_PARKED(%rbx, %r11)
5:	pause
	movq	(%rbx), %rax		/* command and APIC id at once */
	testw	%ax, %ax
	jz	5b
	movq	%rax, %rdx
	shrq	$32, %rdx
	cmpl	%r12d, %edx
	jne	5b
	movq	KHO_MBOX_VECTOR(%rbx), %r13
	movq	KHO_MBOX_RSI(%rbx), %rsi
	/* acknowledge, but not what was withdrawn meanwhile or is somebody else's by now: this CPU may have been stopped for long */
	xorl	%ecx, %ecx
	lock cmpxchgq %rcx, (%rbx)
	jne	5b
	cmpw	$KHO_MBOX_CMD_WAKE, %ax
	jne	5b			/* TEST, or anything unknown */
	movb	$0, KHO_MBOX_PARKED(%rbx, %r11)
	jmpq	*%r13

	.org	.Lpark + PARK_NMI
	pushq	%rbx
	movq	(.Lpark + PARK_MBOX)(%rip), %rbx
	lock incq KHO_MBOX_NMI_COUNT(%rbx)
	popq	%rbx
	iretq

	.org	.Lpark + PARK_MCE
	pushq	%rax
	pushq	%rcx
	pushq	%rdx
	movq	(.Lpark + PARK_MBOX)(%rip), %rax
	lock incq KHO_MBOX_MCE_COUNT(%rax)
	xorl	%eax, %eax
	xorl	%edx, %edx
	movl	$0x17a, %ecx		/* MCG_STATUS: MCIP off, or the next #MC is a shutdown */
	wrmsr
	popq	%rdx
	popq	%rcx
	popq	%rax
	iretq

	.org	.Lpark + PARK_FAULT
	movq	(.Lpark + PARK_MBOX)(%rip), %rbx
	movq	(%rsp), %rax
	movq	%rax, (KHO_MBOX_FAULT + 8)(%rbx)
	movq	8(%rsp), %rax
	movq	%rax, (KHO_MBOX_FAULT + 16)(%rbx)
	movq	%cr2, %rax
	movq	%rax, (KHO_MBOX_FAULT + 24)(%rbx)
	movq	$1, KHO_MBOX_FAULT(%rbx)
7:	hlt
	jmp	7b

	.org	.Lpark + PARK_GDT
	.quad	0
	.quad	0x00cf9b000000ffff	/* 0x08 32-bit code */
	.quad	0x00af9b000000ffff	/* 0x10 64-bit code */
	.quad	0x00cf93000000ffff	/* 0x18 data */
	.org	.Lpark + 0x1000

	.section .note.GNU-stack, "", @progbits
