// SPDX-License-Identifier: GPL-2.0-only
/*
 * How long a woken thread waits until it runs, on the CPU it runs on: from the decision to wake it (before another CPU is
 * interrupted for it) to the switch to it. Only threads of one process count, those of the load (exercise.h).
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "bpf/hist_count.h"

char LICENSE[] SEC("license") = "GPL";

/* the fields that are read, where this kernel has them */
struct task_struct {
	int pid, tgid;
} __attribute__((preserve_access_index));

const volatile int who; /* the process; set before the program is loaded */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, int);
	__type(value, __u64);
} woken SEC(".maps");

KHO_HIST_MAP(waited, 1);

SEC("tp_btf/sched_waking")
int BPF_PROG(kho_waking, struct task_struct *p)
{
	__u64 now = bpf_ktime_get_ns();
	int pid = p->pid;

	if (p->tgid == who)
		bpf_map_update_elem(&woken, &pid, &now, BPF_ANY);
	return 0;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(kho_switch, _Bool preempt, struct task_struct *prev, struct task_struct *next)
{
	int pid = prev->pid;
	__u64 *at;

	/* woken while it still ran: that was no waiting */
	if (prev->tgid == who)
		bpf_map_delete_elem(&woken, &pid);
	if (next->tgid != who)
		return 0;
	pid = next->pid;
	at = bpf_map_lookup_elem(&woken, &pid);
	if (!at)
		return 0;
	kho_hist_count_in(&waited, 0, bpf_ktime_get_ns() - *at);
	bpf_map_delete_elem(&woken, &pid);
	return 0;
}
