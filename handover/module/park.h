/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Offsets inside the park page and the start-up page: slots that the module fills in, and entry
 * points of the exception handlers.  Shared by park.S, sipi.S and init.c.
 */
#ifndef KHO_PARK_H
#define KHO_PARK_H

/* park page */
#define PARK_NMI	0x400
#define PARK_MCE	0x440
#define PARK_FAULT	0x480
#define PARK_CR3_4	0xe00	/* u64: identity map, 4 levels */
#define PARK_CR3_5	0xe08	/* u64: identity map, 5 levels */
#define PARK_MBOX	0xe10	/* u64: physical address of the mailbox */
#define PARK_STACKS	0xe18	/* u64 */
#define PARK_GDTR	0xe20	/* u16 limit, u64 base */
#define PARK_IDTR	0xe30
#define PARK_SELF	0xe40	/* u64: physical address of the park page */
#define PARK_GDT	0xf00
#define PARK_GDT_BYTES	32

/* start-up page: 32-bit physical addresses */
#define SIPI_CODE	0x000
#define SIPI_PM32	0x100	/* 32-bit code */
#define SIPI_LM64	0x180	/* 64-bit code */
#define SIPI_GDT	0x800
#define SIPI_GDTR	0x820	/* u16 limit, u32 base */
#define SIPI_FAR32	0x828	/* u32 offset, u16 selector */
#define SIPI_FAR64	0x830	/* u32 offset, u16 selector */
#define SIPI_CR3	0x838	/* u32 */
#define SIPI_ENTRY	0x840	/* u64: park page */

#define PARK_CS		0x10
#define PARK_DS		0x18

#endif
