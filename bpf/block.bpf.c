// SPDX-License-Identifier: GPL-2.0-only
/* How long the machine's disks take: from a request's way to the driver to its completion. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "bpf/hist_count.h"
#include "bpf/record_map.h"

char LICENSE[] SEC("license") = "GPL";

struct request;

volatile unsigned int window; /* record_map.h */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct kho_record_request);
} under_way SEC(".maps");

KHO_HIST_MAP(times, 1);

SEC("tp_btf/block_rq_issue")
int BPF_PROG(kho_block_issue, struct request *rq)
{
	struct kho_record_request r = { bpf_ktime_get_ns(), window };
	__u64 key = (__u64)rq;

	bpf_map_update_elem(&under_way, &key, &r, BPF_ANY);
	return 0;
}

SEC("tp_btf/block_rq_complete")
int BPF_PROG(kho_block_complete, struct request *rq)
{
	__u64 key = (__u64)rq;
	struct kho_record_request *r = bpf_map_lookup_elem(&under_way, &key);

	if (!r || r->window != window)
		return 0;
	kho_hist_count_in(&times, 0, bpf_ktime_get_ns() - r->at);
	bpf_map_delete_elem(&under_way, &key);
	return 0;
}
