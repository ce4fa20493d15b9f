// SPDX-License-Identifier: GPL-2.0-only
/*
 * Processes that have just been restored: how many of their system calls fail, and whether a signal ends them or what they start.
 */
#include <linux/bpf.h>
#include <linux/errno.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "bpf/dark_map.h"

char LICENSE[] SEC("license") = "GPL";

/* the fields that are read, where this kernel has them */
struct task_struct {
	int pid, tgid, exit_code;
} __attribute__((preserve_access_index));

#define MAX_ERRNO    4095 /* include/linux/err.h */
#define RESTARTS     512  /* ERESTARTSYS to ERESTART_RESTARTBLOCK, include/linux/errno.h: a signal came, the call is made again */
#define RESTARTS_END 516
#define SIGNAL	     0x7f /* of an exit code, as wait(2) has it */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, KHO_DARK_PROCESSES);
	__type(key, int);
	__type(value, struct kho_dark_process);
} processes SEC(".maps");

unsigned int lost; /* processes that had no room */

static _Bool is_failure(long ret)
{
	long e = -ret;

	if (e <= 0 || e > MAX_ERRNO || (e >= RESTARTS && e <= RESTARTS_END))
		return 0;
	return e != EINTR && e != EAGAIN && e != ETIMEDOUT && e != EINPROGRESS && e != EALREADY;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(kho_dark_sys_exit, void *regs, long ret)
{
	int tgid = (int)(bpf_get_current_pid_tgid() >> 32);
	struct kho_dark_process *p = bpf_map_lookup_elem(&processes, &tgid);

	if (!p)
		return 0;
	__sync_fetch_and_add(&p->calls, 1);
	if (!is_failure(ret))
		return 0;
	__sync_fetch_and_add(&p->failed, 1);
	p->last = (unsigned int)-ret;
	return 0;
}

/* What a process of theirs starts is theirs, too. */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(kho_dark_fork, struct task_struct *parent, struct task_struct *child)
{
	struct kho_dark_process fresh = { 0 }, *p;
	int of = parent->tgid, pid = child->tgid;

	p = of == pid ? 0 : bpf_map_lookup_elem(&processes, &of);
	if (!p)
		return 0;
	fresh.root = p->root;
	fresh.usual = p->usual;
	if (bpf_map_update_elem(&processes, &pid, &fresh, BPF_NOEXIST))
		__sync_fetch_and_add(&lost, 1);
	return 0;
}

/* All threads of a process that a signal ends have it in their exit codes. */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(kho_dark_exit, struct task_struct *task)
{
	struct kho_dark_process *p;
	int tgid = task->tgid;

	p = bpf_map_lookup_elem(&processes, &tgid);
	if (p && (task->exit_code & SIGNAL))
		p->signal = task->exit_code & SIGNAL;
	return 0;
}
