/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Counting in a histogram, for programs in the kernel: a map of one or more (struct kho_hist) for each CPU.
 */
#ifndef KHO_BPF_HIST_COUNT_H
#define KHO_BPF_HIST_COUNT_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "bpf/hist_slot.h"

/* Such a map, with n of them. */
#define KHO_HIST_MAP(name, n)                             \
	struct {                                          \
		__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);  \
		__uint(max_entries, n);                   \
		__type(key, __u32);                       \
		__type(value, struct kho_hist);           \
	} name SEC(".maps")

/* Atomic: an interrupt on this CPU may count in the same one, in the middle of it. */
static inline void kho_hist_count_in(void *map, __u32 key, __u64 value)
{
	struct kho_hist *h = bpf_map_lookup_elem(map, &key);
	__u32 slot;

	if (!h)
		return;
	slot = kho_hist_slot(value);
	barrier_var(slot); /* the compiler knows the bound and would leave the mask out, by which the verifier knows it */
	__sync_fetch_and_add(&h->slot[slot & (KHO_HIST_SLOTS - 1)], 1);
}

#endif
