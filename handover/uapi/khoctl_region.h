/* SPDX-License-Identifier: (GPL-2.0-only WITH Linux-syscall-note) OR BSD-3-Clause */
/*
 * What two kernels on one machine share: the layout of the incoming kernel's memory region and of
 * the ledger in its head.  Used by the module, the tools and both kernels; compiles alone.
 *
 * An incoming kernel lives in ONE physically contiguous region, aligned to and a multiple of the
 * memory block size (so that its successor can adopt it whole).  The first 2 MiB (the head) are
 * never RAM of that kernel: park page, mailbox, ledger, rings, tables.  The last `bulk_bytes` are
 * the bulk area of the link.  What lies between is the incoming kernel's RAM.
 *
 * Rules of the ledger:
 *  - every field has ONE writer, named in its comment: C = the kernel that made the region
 *    (the outgoing one) before spawn, constant afterwards; O = outgoing, I = incoming, at any time;
 *    owner = the present owner of the thing.
 *  - fixed-width fields, explicit padding (always written as zero).
 *  - KHO_REGION_REVISION goes up with ANY change of layout or meaning, in both files of this folder;
 *    kernels with different revisions refuse each other at the handshake.
 */
#ifndef KHOCTL_REGION_H
#define KHOCTL_REGION_H

#ifndef __ASSEMBLER__
#include <linux/types.h>
#endif

#define KHO_REGION_MAGIC	0x4e4f494745524f4bULL	/* "KOREGION", little endian */
#define KHO_REGION_REVISION	5

/* --- offsets in the head of the region --- */
#define KHO_OFF_PARK		0x00000	/* park page; first byte = ACPI reset vector */
#define KHO_OFF_MAILBOX		0x01000	/* ACPI MP wakeup mailbox: firmware half is ours, see below */
#define KHO_OFF_LEDGER		0x02000	/* struct kho_ledger and its tables */
#define KHO_LEDGER_BYTES	0x0e000
#define KHO_OFF_IDT		0x18000	/* IDT of the park code */
#define KHO_OFF_RETIRE_PGD	0x19000	/* identity map low, retiring kernel's own map high */
#define KHO_OFF_RESET_REG	0x1a000	/* FADT reset register of the incoming kernel: memory, watched */
#define KHO_OFF_ERST		0x1b000	/* registers of its error record store (ACPI ERST), see below */
#define KHO_OFF_STACKS		0x20000	/* 256 bytes for each 8-bit APIC id (NMI and #MC frames) */
#define KHO_OFF_ACPI		0x30000	/* synthesized ACPI tables; E820 type 3 */
#define KHO_ACPI_BYTES		0x10000
#define KHO_OFF_BOOT_PARAMS	0x40000	/* struct boot_params (4 KiB) */
#define KHO_OFF_CMDLINE		0x41000	/* command line (4 KiB) */
#define KHO_OFF_SETUP_DATA	0x42000	/* C: struct setup_data (4 KiB): a random seed, which the incoming kernel wipes */
#define KHO_OFF_CONSOLE		0x50000	/* struct kho_console_ring: incoming kernel's messages */
#define KHO_CONSOLE_BYTES	0x20000
#define KHO_OFF_RECORD		0x70000	/* error record: what a kernel says when it ends before its module is loaded */
#define KHO_RECORD_BYTES	0x10000
#define KHO_OFF_RING_DOWN	0x80000	/* struct kho_ring: outgoing -> incoming */
#define KHO_OFF_RING_UP		0xc0000	/* struct kho_ring: incoming -> outgoing */
#define KHO_RING_BYTES		0x40000
#define KHO_OFF_DMESG		0x100000	/* struct kho_dmesg: the outgoing kernel's log, when it ends */
#define KHO_DMESG_BYTES		0x100000
#define KHO_HEAD_BYTES		0x200000

/*
 * Below 1 MiB: what must have a 16- or 32-bit address.  Two slots, used in turn, because the
 * outgoing kernel (generation n) still lives in its own slot while the next one boots.
 * A firmware-booted kernel uses neither.  Offsets in a slot:
 */
#define KHO_LOW_SLOT(n)		(0x10000 + (n) * 0x40000)	/* n = 0, 1 */
#define KHO_LOW_SIPI		0x00000	/* real mode -> long mode start-up page */
#define KHO_LOW_IOAPIC		0x01000	/* page of 0xff: "an I/O APIC that reads all ones" */
#define KHO_LOW_PGTABLE		0x02000	/* PML4, PML5, PDPT, up to 16 page directories */
#define KHO_LOW_PGTABLE_NPD	16
#define KHO_LOW_RAM		0x20000	/* low RAM of the incoming kernel, to the end of the slot */
#define KHO_LOW_BYTES		0x40000

/* --- mailbox page: first half OS (ACPI 6.5, 5.2.12.19), second half firmware = park code --- */
#define KHO_MBOX_COMMAND	0x000	/* u16 */
#define KHO_MBOX_APICID		0x004	/* u32 */
#define KHO_MBOX_VECTOR		0x008	/* u64 */
#define KHO_MBOX_RSI		0x800	/* u64: %rsi handed to the woken code (boot_params) */
#define KHO_MBOX_NMI_COUNT	0x808	/* u64 */
#define KHO_MBOX_FAULT		0x810	/* u64 != 0: a parked CPU took an exception; +8 rip/error +24 cr2 */
#define KHO_MBOX_MCE_COUNT	0x840	/* u64 */
#define KHO_MBOX_LOCK		0x848	/* u32: 0 free, else 1 + KHO_SIDE_* of the kernel whose command is under way */
#define KHO_MBOX_FENCE		0x84c	/* u32: 0, else 1 + KHO_SIDE_* of the kernel that stops the other one; the first to write it wins */
#define KHO_MBOX_PARKED		0xc00	/* one byte per APIC id: a hint; the TEST command is the truth */
#define KHO_MBOX_CMD_WAKE	1
#define KHO_MBOX_CMD_TEST	2	/* acknowledged by writing 0 to the command */

/*
 * Error record store: a stock kernel runs its table at a panic, an oops, a restart, a halt, and before anything else that
 * these lead to.  Until the module is there to look after them, the table makes that CPU stay where it is (it reads
 * the gate as the number of the instruction to go on with), so that nothing resets the machine.
 */
#define KHO_ERST_SIGN		0x00	/* u64, I: 1 = a record was written */
#define KHO_ERST_GATE		0x08	/* u64, C: SHUT; then I: OPEN, by its module, which shuts it again if it fails to load */
#define KHO_ERST_GATE_SHUT	1
#define KHO_ERST_GATE_OPEN	3
#define KHO_ERST_ZERO		0x10	/* u64, C: status, busy, count, attributes */
#define KHO_ERST_BASE		0x18	/* u64, C: physical address of the record */
#define KHO_ERST_LENGTH		0x20	/* u64, C */
#define KHO_ERST_NONE		0x28	/* u64, C: all ones, the id of no record */
#define KHO_ERST_SINK		0x30	/* u64, I: whatever the table writes that nobody reads */

#ifndef __ASSEMBLER__

/* State of one instance, written by that instance alone. */
enum kho_instance_state {
	KHO_STATE_NONE = 0,		/* no kernel */
	KHO_STATE_LOADED = 1,		/* placed, not started (set by the creator in side[1]) */
	KHO_STATE_BOOTING = 2,		/* CPU sent in (set by the creator in side[1]; last write by it) */
	KHO_STATE_RUNNING = 3,		/* module bound, heartbeat runs */
	KHO_STATE_READY = 4,		/* its agent answers the link */
	KHO_STATE_FROZEN = 5,		/* outgoing: blackout has begun */
	KHO_STATE_DARK = 6,		/* incoming: holds the workload, nothing visible outside */
	KHO_STATE_COMMITTED = 7,	/* each side signs for itself */
	KHO_STATE_RETIRING = 8,		/* outgoing: giving away the rest */
	KHO_STATE_RETIRED = 9,		/* terminal: its last CPUs are parked */
	KHO_STATE_HALTED = 10,		/* terminal: orderly stop (poweroff, reboot, halt) */
	KHO_STATE_PANICKED = 11,	/* terminal */
	KHO_STATE_FENCED = 12,		/* terminal: stopped by the other kernel (written by the fencer) */
};

/* Who owns a CPU or a PCI function. */
enum kho_owner {
	KHO_OWNER_OUTGOING = 0,
	KHO_OWNER_INCOMING = 1,
	KHO_OWNER_PARK = 2,		/* nobody; `to` says who may take it */
};

#define KHO_SIDE_OUTGOING	0
#define KHO_SIDE_INCOMING	1

/* One kernel.  128-byte aligned so that the two sides share no cache line. */
struct kho_ledger_side {
	__u32 id;		/* instance id, unique on the machine since power-on */
	__u32 generation;	/* 1 = booted by firmware */
	__u32 state;		/* enum kho_instance_state */
	__u32 doorbell_vector;	/* 0: no doorbell yet */
	__u32 doorbell_apicid;	/* physical APIC id that takes the doorbell */
	__u32 online_cpus;
	__u64 mem_total_kib;
	__u64 heartbeat;	/* counts up every KHO_HEARTBEAT_MS */
	__u64 heartbeat_tsc;	/* TSC of the last beat; one TSC for the machine */
	__u64 boot_tsc;		/* TSC when its module was loaded */
	__u64 link_irqs;	/* doorbells taken */
	char  release[64];	/* utsname.release, NUL-terminated */
	__u64 frozen_tsc;	/* TSC when it last said FROZEN */
	__u32 link_open;	/* 1: a process of this side has the link */
	__u8  pad[372];
} __attribute__((aligned(128)));

#define KHO_HEARTBEAT_MS	100

struct kho_ledger_cpu {
	__u32 apicid;		/* C */
	__u8  owner;		/* enum kho_owner; written by the owner when it gives, by the taker when it took */
	__u8  to;		/* with owner == PARK: enum kho_owner that may take it */
	__u8  bsp;		/* C: 1 = the machine's boot CPU, never sent INIT */
	__u8  pad0;
	__s32 node;		/* C: NUMA node or -1 */
	__u32 pad1;
};

struct kho_ledger_range {
	__u64 base;		/* C */
	__u64 bytes;		/* C */
};

/* A PCI function that may change hands. */
struct kho_ledger_pci {
	__u16 segment;		/* C */
	__u8  bus;		/* C */
	__u8  devfn;		/* C */
	__u8  owner;		/* as for CPUs */
	__u8  to;
	__u8  bridge;		/* C: 1 = shown read-only on the way to a function behind it */
	__u8  pad0;
};

/* Memory-mapped configuration space of one segment. */
struct kho_ledger_ecam {
	__u64 base;		/* C: physical address of bus 0 of the segment */
	__u16 segment;
	__u8  bus_first, bus_last;
	__u32 pad0;
};

/* A window of the root bus (memory or I/O) that BARs may lie in; claimed, never assigned from. */
struct kho_ledger_window {
	__u64 base, bytes;	/* C */
	__u32 flags;		/* C: IORESOURCE_* type bits of the window */
	__u32 pad0;
};

/* A register as ACPI describes it (generic address); address 0: there is none. */
struct kho_ledger_gas {
	__u64 address;
	__u8  space, bit_width, bit_offset, access;	/* space: 0 memory, 1 I/O */
	__u32 pad0;
};

/* A serial port of the first kernel's, as the 8250 driver had it; iobase 0: none. */
struct kho_ledger_uart {
	__u16 iobase;
	__u8  console;		/* 1 = the kernel's messages go there */
	__u8  pin;		/* of that I/O APIC: its interrupt; edge-triggered, active high */
	__u32 baud;		/* of the console */
	__u32 uartclk;
	__u32 ioapic;		/* physical address; 0: no interrupt, the port is polled */
};
#define KHO_UARTS		4	/* ttyS0 ... */
#define KHO_IOAPICS		8

/*
 * What the machine's firmware tables say of its end, its clock and its serial ports: read by the kernel that firmware booted,
 * passed on by the others, used by a kernel as soon as it is alone.
 */
#define KHO_PLATFORM_RESET	(1u << 0)	/* `reset` and `reset_value` reset it */
#define KHO_PLATFORM_POWER_OFF	(1u << 1)	/* the sleep types are those of _S5 */
#define KHO_PLATFORM_RTC	(1u << 2)	/* there is a CMOS clock */
#define KHO_PLATFORM_BUTTON	(1u << 3)	/* the power button is a fixed event of the PM1 registers */
struct kho_ledger_platform {
	__u32 flags;		/* C: KHO_PLATFORM_* */
	__s32 panic_timeout;	/* C: kernel.panic of a kernel that is alone; the outgoing one's when it made the region */
	__u8  reset_value;	/* C, as all that follows */
	__u8  sleep_type_a, sleep_type_b;
	__u8  century;		/* CMOS register of the century, or 0 */
	__u32 pad0;
	struct kho_ledger_gas reset, pm1a_event, pm1b_event, pm1a_control, pm1b_control;
	struct kho_ledger_gas gpe0, gpe1;			/* status, then enable registers, like the event blocks */
	struct kho_ledger_gas sleep_control, sleep_status;	/* instead of PM1 where ACPI is hardware-reduced */
	struct kho_ledger_uart uart[KHO_UARTS];
	__u32 ioapic[KHO_IOAPICS];	/* physical addresses, 0: none; who fences the kernel that used them masks their pins */
};

/* Where a table lies: offset from the ledger's first byte, count of entries. */
struct kho_ledger_table {
	__u32 off, count;
};

struct kho_ledger {
	__u64 magic;		/* C, written last: the rest is valid */
	__u32 revision;		/* C */
	__u32 bytes;		/* C: ledger with its tables */
	__u64 region_base, region_bytes;	/* C */
	__u64 bulk_base, bulk_bytes;		/* C: physical; inside the region, at its end */
	__u32 tsc_khz;		/* C */
	__u32 low_slot;		/* C: 0 or 1 */
	__u32 boot_apicid;	/* C: the CPU that was or will be sent in */
	__u32 pad0;
	__s64 realtime_offset_us;	/* O: CLOCK_REALTIME us minus TSC us (tsc / tsc_khz * 1000) */
	struct kho_ledger_table cpus;	/* struct kho_ledger_cpu: every CPU of the machine */
	struct kho_ledger_table ram;	/* struct kho_ledger_range: all RAM of the machine */
	struct kho_ledger_table ecams;	/* struct kho_ledger_ecam */
	struct kho_ledger_table windows;	/* struct kho_ledger_window */
	struct kho_ledger_table pci;	/* struct kho_ledger_pci */
	struct kho_ledger_table given;	/* O: struct kho_ledger_range: further memory that the incoming kernel may adopt at once;
					 * all entries are there from the start, bytes 0 = not in use, bytes written last */
	struct kho_ledger_platform platform;
	__u8 pad1[512 - 120 - 256];
	struct kho_ledger_side side[2];	/* [KHO_SIDE_OUTGOING], [KHO_SIDE_INCOMING] */
};

/*
 * One direction of the link: a byte ring of frames, each a __u32 length (1..KHO_FRAME_MAX) and that
 * many bytes, padded to 8.  head is written by the sender, tail by the receiver, both count bytes
 * since the start and never wrap in 2^64.
 */
#define KHO_RING_DATA		(KHO_RING_BYTES - 4096)
#define KHO_FRAME_MAX		0xf000
struct kho_ring {
	__u64 head;		/* sender */
	__u8  pad0[120];
	__u64 tail;		/* receiver */
	__u64 ping;		/* sender: latency test by doorbell */
	__u64 poll_ping;	/* sender: latency test by polling */
	__u8  pad1[104];
	__u64 pong;		/* sender of THIS ring: last ping of the other ring it has answered */
	__u64 poll_pong;
	__u8  pad2[4096 - 256 - 16];
	__u8  data[KHO_RING_DATA];
};

/* Messages of the incoming kernel; `head` counts bytes ever written, the ring holds the last ones. */
struct kho_console_ring {
	__u64 head;		/* I */
	__u8  pad0[4096 - 8];
	__u8  data[KHO_CONSOLE_BYTES - 4096];
};

/* The log of an outgoing kernel that ends in whatever way it can still speak in: text, oldest line first. */
struct kho_dmesg {
	__u64 bytes;		/* O, written last; 0: nothing yet */
	__u8  pad0[4096 - 8];
	__u8  data[KHO_DMESG_BYTES - 4096];
};

#ifdef __cplusplus
#define KHO_ASSERT(c, m) static_assert(c, m)
#else
#define KHO_ASSERT(c, m) _Static_assert(c, m)
#endif
KHO_ASSERT(sizeof(struct kho_ledger_side) == 512, "ledger side");
KHO_ASSERT(sizeof(struct kho_ledger) == 512 + 2 * 512, "ledger");
KHO_ASSERT(sizeof(struct kho_ledger_platform) == 256, "ledger platform");
KHO_ASSERT(sizeof(struct kho_dmesg) == KHO_DMESG_BYTES, "dmesg");
KHO_ASSERT(sizeof(struct kho_ledger_cpu) == 16, "ledger cpu");
KHO_ASSERT(sizeof(struct kho_ledger_pci) == 8, "ledger pci");
KHO_ASSERT(sizeof(struct kho_ledger_ecam) == 16, "ledger ecam");
KHO_ASSERT(sizeof(struct kho_ledger_window) == 24, "ledger window");
KHO_ASSERT(sizeof(struct kho_ring) == KHO_RING_BYTES, "ring");
KHO_ASSERT(sizeof(struct kho_console_ring) == KHO_CONSOLE_BYTES, "console ring");

#endif /* !__ASSEMBLER__ */
#endif
