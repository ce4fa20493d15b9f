/* SPDX-License-Identifier: (GPL-2.0-only WITH Linux-syscall-note) OR BSD-3-Clause */
/*
 * /dev/khoctl, /dev/khoctl-link and /dev/khoctl-console: what the module does for user space.
 * All three nodes are 0600; opening them and every ioctl needs CAP_SYS_BOOT and CAP_SYS_ADMIN.
 *
 * Every argument begins with `size` = sizeof(the struct the caller was built with); a larger
 * struct whose unknown tail is not zero is refused with E2BIG, a smaller one than the first
 * revision with EINVAL.  `pad` and unknown `flags` must be zero (EINVAL).
 *
 * No policy here: the module does one thing at a time, checks it against the ledger (bounds,
 * owner, state) and refuses what the ledger does not allow with EPERM.
 *
 * "peer" names the other kernel of a hand-over: KHO_PEER_INCOMING is the one this kernel has made
 * (its region is "down"), KHO_PEER_OUTGOING the one that made this kernel (region "up").  A kernel in
 * the middle of a chain has had both, but only one of them is alive at a time.
 */
#ifndef KHOCTL_IOCTL_H
#define KHOCTL_IOCTL_H

#include <linux/types.h>
#include <linux/ioctl.h>
#include "khoctl_region.h"

#define KHO_PEER_INCOMING	1	/* down */
#define KHO_PEER_OUTGOING	2	/* up */

/* --- facts --- */
#define KHO_INFO_X2APIC		(1u << 0)	/* this kernel's CPUs are in x2APIC mode */
#define KHO_INFO_LA57		(1u << 1)	/* 5-level page tables */
#define KHO_INFO_HAS_UP		(1u << 2)	/* was made by another kernel */
#define KHO_INFO_HAS_DOWN	(1u << 3)	/* has made a region for another kernel */
#define KHO_INFO_IRQ_REMAP	(1u << 4)	/* interrupt remapping is on */
struct kho_ioc_info {
	__u32 size;
	__u32 revision;			/* out: KHO_REGION_REVISION of the module */
	__u32 flags;			/* out: KHO_INFO_* */
	__u32 generation;		/* out */
	__u32 instance_id;		/* out */
	__u32 tsc_khz;			/* out */
	__u64 up_base, up_bytes;	/* out: region this kernel lives in, 0 when firmware-booted */
	__u64 down_base, down_bytes;	/* out: region made for the incoming kernel, or 0 */
	__u64 memory_block_bytes;	/* out: unit of memory hot-plug */
	__u32 bsp_apicid;		/* out */
	__u32 low_slot;			/* out: slot a new region would use */
	__u32 state;			/* out: what this kernel has said of itself there (down, else up): enum kho_instance_state */
	__u32 pad;
	char  build_release[64];	/* out: kernel release the module was built for */
};

struct kho_cpu_info {			/* one possible CPU of this kernel */
	__u32 cpu, apicid;
	__u8 online, present, owner_known, owner;	/* owner: enum kho_owner in the live ledger, if any */
	__s32 node;
};
struct kho_ioc_cpus {
	__u32 size;
	__u32 count;			/* in: room at `cpus`; out: entries there are (may be more than room) */
	__u64 cpus;			/* in: user pointer to struct kho_cpu_info[count] */
};

/* --- memory for the incoming kernel, out of the page allocator --- */
struct kho_ioc_mem_take {
	__u32 size;
	__s32 node;			/* in: NUMA node or -1 */
	__u64 bytes, align;		/* in: align a power of two, bytes a multiple of it */
	__u64 min, max;			/* in: physical bounds [min, max) */
	__u64 base;			/* out */
};
struct kho_ioc_mem {			/* RELEASE (a taken range), ADOPT, DISOWN */
	__u32 size;
	__u32 pad;
	__u64 base, bytes;
};

/* --- the region of an incoming kernel --- */
struct kho_ioc_region_init {
	__u32 size;
	__u32 boot_apicid;		/* in: CPU that will be sent in */
	__u64 base, bytes;		/* in: exactly one taken range */
	__u64 bulk_bytes;		/* in: multiple of 2 MiB */
	__u64 ram, ecams, windows, pci;	/* in: user pointers to struct kho_ledger_{range,ecam,window,pci}[] */
	__u32 nram, necams, nwindows, npci;
	__u32 instance_id, generation;	/* in: of the incoming kernel */
	__u32 low_slot;			/* out */
	__u32 pad;
};

/* --- CPUs (physical APIC ids) --- */
#define KHO_CPU_FENCE		(1u << 0)	/* TAKE: stop it first with INIT, whatever it does (never the BSP) */
struct kho_ioc_cpu {
	__u32 size;
	__u32 apicid;
	__u32 peer;			/* KHO_PEER_* */
	__u32 flags;
};
struct kho_ioc_spawn {
	__u32 size;
	__u32 apicid;			/* in: parked, given to the incoming kernel */
	__u64 entry, rsi;		/* in: physical; 64-bit entry point and boot_params, inside the region */
};

/* --- PCI functions --- */
struct kho_ioc_pci {
	__u32 size;
	__u16 segment;
	__u8  bus, devfn;
	__u32 peer;			/* GIVE, TAKE: KHO_PEER_*; else 0 */
	__u32 duration_us;		/* out */
};

struct kho_ioc_u32 {
	__u32 size;
	__u32 value;
};

/* --- link --- */
#define KHO_PING_IRQ		0	/* sleep until the answering doorbell */
#define KHO_PING_POLL		1	/* both sides poll */
struct kho_ioc_ping {
	__u32 size;
	__u32 mode, count;		/* in: count 1..10000 */
	__u32 lost;			/* out */
	__u64 min_ns, median_ns, p99_ns;	/* out: round trips */
};

#define KHO_IOC_INFO		_IOWR('k', 0x01, struct kho_ioc_info)
#define KHO_IOC_CPUS		_IOWR('k', 0x02, struct kho_ioc_cpus)

#define KHO_IOC_MEM_TAKE	_IOWR('k', 0x10, struct kho_ioc_mem_take)	/* inverse: MEM_RELEASE */
#define KHO_IOC_MEM_RELEASE	_IOW('k', 0x11, struct kho_ioc_mem)
#define KHO_IOC_MEM_ADOPT	_IOW('k', 0x12, struct kho_ioc_mem)	/* hot-add, left offline; inverse: MEM_DISOWN */
#define KHO_IOC_MEM_DISOWN	_IOW('k', 0x13, struct kho_ioc_mem)	/* offline and remove */

/*
 * A taken range that is not the region: the incoming kernel may adopt it while both run. It cannot be released
 * until REGION_DROP. ENOSPC: KHO_GIVEN_MAX ranges are given.
 */
#define KHO_IOC_MEM_GIVE	_IOW('k', 0x14, struct kho_ioc_mem)
#define KHO_GIVEN_MAX		256

#define KHO_IOC_REGION_INIT	_IOWR('k', 0x20, struct kho_ioc_region_init)	/* inverse: REGION_DROP */
#define KHO_IOC_REGION_DROP	_IOW('k', 0x21, struct kho_ioc_u32)	/* value 0; EBUSY while it owns anything */

#define KHO_IOC_CPU_GIVE	_IOW('k', 0x30, struct kho_ioc_cpu)	/* offline here if online, park for peer; inverse: TAKE */
#define KHO_IOC_CPU_TAKE	_IOW('k', 0x31, struct kho_ioc_cpu)	/* take a parked CPU and online it here */
#define KHO_IOC_SPAWN		_IOW('k', 0x32, struct kho_ioc_spawn)	/* inverse: STOP */
/*
 * Fence the other kernel: all its CPUs to the park, functions to PARK. value 0: the incoming one. KHO_PEER_OUTGOING: the
 * outgoing one, by an incoming kernel that has signed, or that holds the state while that one has panicked or is silent; the
 * machine's boot CPU goes there by an NMI that its module takes, and everything else of the machine loses bus mastering.
 */
#define KHO_IOC_STOP		_IOW('k', 0x33, struct kho_ioc_u32)
#define KHO_IOC_RETIRE		_IOW('k', 0x34, struct kho_ioc_u32)	/* this kernel's CPUs park for the incoming one: no return */

#define KHO_IOC_PCI_QUIESCE	_IOWR('k', 0x40, struct kho_ioc_pci)	/* PM freeze, driver stays bound; inverse: UNQUIESCE */
#define KHO_IOC_PCI_UNQUIESCE	_IOWR('k', 0x41, struct kho_ioc_pci)
#define KHO_IOC_PCI_GIVE	_IOWR('k', 0x42, struct kho_ioc_pci)	/* quiesced (or driverless) function to peer; inverse: TAKE */
#define KHO_IOC_PCI_TAKE	_IOWR('k', 0x43, struct kho_ioc_pci)	/* incoming: show it on the filtered bridge and bind */

#define KHO_IOC_STATE		_IOW('k', 0x50, struct kho_ioc_u32)	/* own state: enum kho_instance_state */
#define KHO_IOC_PING		_IOWR('k', 0x51, struct kho_ioc_ping)	/* on a /dev/khoctl-link that is attached */

/*
 * /dev/khoctl-link: one read() = one frame, one write() = one frame (1..KHO_FRAME_MAX bytes), poll().
 * ATTACH first.  write: EAGAIN when the ring is full, EPIPE when the peer is gone (terminal state);
 * read: blocks (or EAGAIN with O_NONBLOCK), 0 when the peer is in a terminal state and nothing is left.
 * A frame that breaks the rules (length) ends the link: EPROTO from then on.
 */
#define KHO_LINK_ATTACH		_IOW('k', 0x60, struct kho_ioc_u32)	/* value: KHO_PEER_* */

/*
 * /dev/khoctl-console: read() gives the incoming kernel's messages from the oldest kept byte on,
 * blocks at the end (EAGAIN with O_NONBLOCK), 0 at the end when that kernel is in a terminal state.
 *
 * mmap of /dev/khoctl: offset = physical address, inside a taken range, or (for an incoming kernel)
 * inside its own bulk area, or (read-only) the ledger or struct kho_dmesg of the region it lives in.
 */
#endif
