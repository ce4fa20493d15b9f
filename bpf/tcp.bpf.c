// SPDX-License-Identifier: GPL-2.0-only
/* The round trip of TCP, as the machine's connections know it (smoothed), at each packet that one gets. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>

#include "bpf/hist_count.h"

char LICENSE[] SEC("license") = "GPL";

struct sock;
/* the field that is read, where this kernel has it: microseconds, times 8 */
struct tcp_sock {
	unsigned int srtt_us;
} __attribute__((preserve_access_index));

KHO_HIST_MAP(times, 1);

SEC("tp_btf/tcp_probe")
int BPF_PROG(kho_tcp_probe, struct sock *sk)
{
	__u64 ns = (__u64)BPF_CORE_READ((struct tcp_sock *)sk, srtt_us) * 125;

	if (ns)
		kho_hist_count_in(&times, 0, ns);
	return 0;
}
