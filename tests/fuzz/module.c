// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fuzz target: what khoctl.ko checks of ioctl arguments, of a ledger and of a ring before it acts (handover/module/check.h). What
 * passes must be harmless to compute with. Input: one byte that says which, then the struct.
 */
#include "fuzz.h"
#include "handover/module/check.h"

#define BLOCK	(128ull << 20)
#define NODES	64

/* Whole of it, zeroes behind the end. */
#define GET(type, in) ({ type v_ = { 0 }; memcpy(&v_, (in)->data, (in)->size < sizeof(v_) ? (in)->size : sizeof(v_)); v_; })

static void mem_take(const struct fuzz_in *in)
{
	struct kho_ioc_mem_take a = GET(struct kho_ioc_mem_take, in);

	if (kho_check_mem_take(&a, NODES))
		return;
	uint64_t low = (a.min + a.align - 1) & ~(a.align - 1); /* as search() does */

	fuzz_check(a.align >= 4096 && a.bytes >= a.align && a.bytes % a.align == 0);
	fuzz_check(low >= a.min && low <= a.max && a.node >= -1 && a.node < NODES);
}

static void mem_adopt(const struct fuzz_in *in)
{
	struct kho_ioc_mem a = GET(struct kho_ioc_mem, in);

	if (kho_check_adopt(&a, BLOCK))
		return;
	fuzz_check(a.bytes >= BLOCK && a.base + a.bytes > a.base && !((a.base | a.bytes) & (BLOCK - 1)));
	fuzz_check(kho_within(a.base, a.bytes, a.base, a.bytes) && !kho_within(a.base, a.bytes, a.base + 1, a.bytes - 1));
}

static void region(const struct fuzz_in *in)
{
	struct kho_ioc_region_init a = GET(struct kho_ioc_region_init, in);

	if (kho_check_region(&a, BLOCK))
		return;
	fuzz_check(a.base + a.bytes > a.base && a.generation);
	fuzz_check(a.base + a.bytes - a.bulk_bytes >= a.base + KHO_HEAD_BYTES); /* the bulk area is not in the head */
}

static void spawn(const struct fuzz_in *in)
{
	struct kho_ioc_spawn a = GET(struct kho_ioc_spawn, in);
	const uint64_t base = 4 * BLOCK, end = 8 * BLOCK;

	if (kho_check_spawn(&a, base, end - base, 3))
		return;
	fuzz_check(a.apicid == 3 && a.entry >= base + KHO_HEAD_BYTES && a.entry < end);
	fuzz_check(a.rsi >= base && a.rsi + 4096 <= end);
}

static void others(const struct fuzz_in *in)
{
	struct kho_ioc_cpu c = GET(struct kho_ioc_cpu, in);
	struct kho_ioc_pci p = GET(struct kho_ioc_pci, in);
	struct kho_ioc_u32 u = GET(struct kho_ioc_u32, in);
	struct kho_ioc_ping g = GET(struct kho_ioc_ping, in);

	if (!kho_check_cpu(&c, 0))
		fuzz_check(!c.flags && (c.peer == KHO_PEER_INCOMING || c.peer == KHO_PEER_OUTGOING));
	if (!kho_check_cpu(&c, KHO_CPU_FENCE))
		fuzz_check(c.flags <= KHO_CPU_FENCE);
	if (!kho_check_pci(&p, 0))
		fuzz_check(!p.peer && kho_check_pci(&p, 1));
	if (!kho_check_state(u.value))
		fuzz_check(u.value > KHO_STATE_BOOTING && u.value < KHO_STATE_RETIRED);
	if (!kho_check_ping(&g))
		fuzz_check(g.count * sizeof(uint64_t) <= 80000);
}

static void ledger(const struct fuzz_in *in)
{
	struct kho_ledger l = GET(struct kho_ledger, in);
	const struct kho_ledger_table *t[] = { &l.cpus, &l.ram, &l.ecams, &l.windows, &l.pci, &l.given };

	if (!kho_check_ledger(&l, l.region_base)) {
		fuzz_check(l.region_base + l.region_bytes >= l.region_base && l.bulk_base >= l.region_base + KHO_HEAD_BYTES);
		fuzz_check(l.bulk_base + l.bulk_bytes == l.region_base + l.region_bytes && l.low_slot < 2);
	}
	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++)
		for (uint64_t entry = 8; entry <= 24; entry += 8)
			if (kho_check_table(t[i], entry))
				fuzz_check(t[i]->off >= sizeof(l) && t[i]->off + t[i]->count * entry <= KHO_LEDGER_BYTES);
}

/* A receiver that reads frame after frame out of what the peer has written: it stays in the ring, and comes to an end. */
static void ring(const struct fuzz_in *in)
{
	uint64_t tail = 0, frames = 0;
	size_t at = 0;

	for (; at + 12 <= in->size; at += 12) {
		uint64_t head;
		uint32_t n;
		long have;

		memcpy(&head, in->data + at, sizeof(head));
		memcpy(&n, in->data + at + 8, sizeof(n));
		have = kho_check_ring(head, tail);
		if (have < 0 || !kho_check_frame(n, have))
			return;
		fuzz_check(tail % 8 == 0 && tail % KHO_RING_DATA + sizeof(n) <= KHO_RING_DATA);
		fuzz_check(n <= KHO_FRAME_MAX && KHO_FRAME_BYTES(n) >= n + sizeof(n) && KHO_FRAME_BYTES(n) <= KHO_RING_DATA);
		tail += KHO_FRAME_BYTES(n);
		fuzz_check(kho_check_ring(head, tail) >= 0);
		frames++;
	}
	fuzz_check(frames <= in->size / 12);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const what[])(const struct fuzz_in *in) = { mem_take, mem_adopt, region, spawn, others, ledger, ring };
	struct fuzz_in in = { data + 1, size - 1 };

	if (size && data[0] < sizeof(what) / sizeof(*what))
		what[data[0]](&in);
	return 0;
}
