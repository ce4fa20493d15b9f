// SPDX-License-Identifier: GPL-2.0-only
/* A program that no verifier may accept: it uses what a lookup gave back without looking whether there was anything. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, int);
	__type(value, int);
} nothing SEC(".maps");

SEC("tp_btf/sched_switch")
int BPF_PROG(kho_refused)
{
	int zero = 0, *value = bpf_map_lookup_elem(&nothing, &zero);

	*value = 1;
	return 0;
}
