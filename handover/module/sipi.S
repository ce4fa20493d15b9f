/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The start-up page of a low slot: a CPU that got INIT and SIPI goes from real mode to 64-bit
 * mode and enters the park page.  Data for this kernel; the two slots have different addresses,
 * so every absolute address is a slot that init.c fills in.
 */
#include "park.h"

	.section .rodata.kho_sipi, "a"
	.balign	4096
	.globl	kho_sipi_blob
kho_sipi_blob:
.Lsipi:
	.code16
	cli
	cld
	movw	%cs, %ax
	movw	%ax, %ds
	lgdtl	SIPI_GDTR
	movl	%cr0, %eax
	andl	$0x9fffffff, %eax	/* INIT leaves CD and NW set */
	orl	$1, %eax
	movl	%eax, %cr0
	/* the real-mode segment base stays in DS until it is loaded again: still page relative */
	ljmpl	*SIPI_FAR32

	.org	.Lsipi + SIPI_PM32
	.code32
	movl	SIPI_CR3, %ebx		/* DS as above */
	movl	$(1 << 5), %eax		/* PAE */
	movl	%eax, %cr4
	movl	%ebx, %cr3
	movl	$0xc0000080, %ecx
	rdmsr
	orl	$0x900, %eax		/* EFER.LME and NXE */
	wrmsr
	movl	%cr0, %eax
	orl	$0x80000000, %eax
	movl	%eax, %cr0
	ljmpl	*SIPI_FAR64

	.org	.Lsipi + SIPI_LM64
	.code64
	movl	$PARK_DS, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	movq	(.Lsipi + SIPI_ENTRY)(%rip), %rax
	jmpq	*%rax

	.org	.Lsipi + SIPI_GDT
	.quad	0
	.quad	0x00cf9b000000ffff	/* 0x08 32-bit code */
	.quad	0x00af9b000000ffff	/* 0x10 64-bit code */
	.quad	0x00cf93000000ffff	/* 0x18 data */
	.org	.Lsipi + 0x1000

	.section .note.GNU-stack, "", @progbits
