/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * void kho_jump(unsigned long cr3, unsigned long target): leave this kernel for good.  The page
 * table maps the low half 1:1 and keeps this kernel's high half, so that the jump itself still
 * exists.
 */
#include <linux/linkage.h>
#include <asm/nospec-branch.h>

	.text
SYM_FUNC_START(kho_jump)
	movq	%rdi, %cr3
	ANNOTATE_RETPOLINE_SAFE
	jmp	*%rsi
	int3
SYM_FUNC_END(kho_jump)
