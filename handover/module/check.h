/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is checked of arguments and of shared memory before anything is done: pure functions of values that were copied once.
 * Compiles in user space, too (tests/fuzz/module.c).
 */
#ifndef KHO_CHECK_H
#define KHO_CHECK_H

#include <linux/errno.h>

#ifdef __KERNEL__
#include "khoctl_ioctl.h"
#else
#include "handover/uapi/khoctl_ioctl.h"
#endif

#define KHO_PAGE_BYTES	4096ULL

/* A frame in a ring, with its length in front: always a multiple of 8. */
#define KHO_FRAME_BYTES(n)	((sizeof(__u32) + (n) + 7) & ~7ULL)

/* [base, base + bytes) lies in [in_base, in_base + in_bytes), which does not wrap. */
static inline int kho_within(__u64 base, __u64 bytes, __u64 in_base, __u64 in_bytes)
{
	return bytes <= in_bytes && base >= in_base && base - in_base <= in_bytes - bytes;
}

static inline int kho_check_mem_take(const struct kho_ioc_mem_take *a, int nodes)
{
	if (!a->bytes || !a->align || (a->align & (a->align - 1)) || a->align < KHO_PAGE_BYTES || a->bytes % a->align)
		return -EINVAL;
	if (a->min >= a->max || a->max - a->min < a->bytes || a->node < -1 || a->node >= nodes)
		return -EINVAL;
	return 0;
}

/* ADOPT: whole blocks of memory hot-plug (a power of two). */
static inline int kho_check_adopt(const struct kho_ioc_mem *a, __u64 block)
{
	if (a->pad || !a->bytes || a->base % block || a->bytes % block || a->base + a->bytes < a->base)
		return -EINVAL;
	return 0;
}

static inline int kho_check_region(const struct kho_ioc_region_init *a, __u64 block)
{
	if (a->pad || !a->bytes || a->base % block || a->bytes % block || a->base + a->bytes < a->base || !a->generation)
		return -EINVAL;
	if (a->bytes <= KHO_HEAD_BYTES || a->bulk_bytes % KHO_HEAD_BYTES || a->bulk_bytes > a->bytes - KHO_HEAD_BYTES)
		return -EINVAL;
	return 0;
}

/* Where the boot CPU is sent in: nothing of the head is code of that kernel. */
static inline int kho_check_spawn(const struct kho_ioc_spawn *a, __u64 base, __u64 bytes, __u32 boot_apicid)
{
	if (a->apicid != boot_apicid || !kho_within(a->rsi, KHO_PAGE_BYTES, base, bytes) ||
	    !kho_within(a->entry, 1, base + KHO_HEAD_BYTES, bytes - KHO_HEAD_BYTES))
		return -EINVAL;
	return 0;
}

static inline int kho_check_peer(__u32 peer)
{
	return peer == KHO_PEER_INCOMING || peer == KHO_PEER_OUTGOING ? 0 : -EINVAL;
}

static inline int kho_check_cpu(const struct kho_ioc_cpu *a, __u32 flags)
{
	return a->flags & ~flags ? -EINVAL : kho_check_peer(a->peer);
}

/* with_peer: GIVE, TAKE; else the field has to be 0 */
static inline int kho_check_pci(const struct kho_ioc_pci *a, int with_peer)
{
	return with_peer ? kho_check_peer(a->peer) : a->peer ? -EINVAL : 0;
}

/* Only these are for user space to say; the others are said by what happens. */
static inline int kho_check_state(__u32 state)
{
	return state < KHO_STATE_RUNNING || state > KHO_STATE_RETIRING ? -EINVAL : 0;
}

static inline int kho_check_ping(const struct kho_ioc_ping *a)
{
	return a->mode > KHO_PING_POLL || !a->count || a->count > 10000 ? -EINVAL : 0;
}

/* A table behind the ledger. */
static inline int kho_check_table(const struct kho_ledger_table *t, __u64 entry)
{
	return t->off % 8 == 0 && t->off >= sizeof(struct kho_ledger) && t->off <= KHO_LEDGER_BYTES &&
	       t->count <= (KHO_LEDGER_BYTES - t->off) / entry;
}

/* A copy of the ledger of a region at base. */
static inline int kho_check_ledger(const struct kho_ledger *l, __u64 base)
{
	if (l->revision != KHO_REGION_REVISION || l->region_base != base || l->low_slot > 1)
		return -EPROTO;
	if (l->region_bytes <= KHO_HEAD_BYTES || base + l->region_bytes < base ||
	    l->bulk_bytes > l->region_bytes - KHO_HEAD_BYTES ||
	    l->bulk_base != base + l->region_bytes - l->bulk_bytes)
		return -EPROTO;
	return 0;
}

/* Bytes in a ring between two counters, one of them the peer's. */
static inline long kho_check_ring(__u64 head, __u64 tail)
{
	__u64 n = head - tail;

	return n > KHO_RING_DATA ? -EPROTO : (long)n;
}

/* A frame of n bytes may be what `have` bytes in the ring begin with. */
static inline int kho_check_frame(__u32 n, long have)
{
	return n && n <= KHO_FRAME_MAX && (long)KHO_FRAME_BYTES(n) <= have;
}

#endif
