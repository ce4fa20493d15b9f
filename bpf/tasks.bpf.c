// SPDX-License-Identifier: GPL-2.0-only
/*
 * The threads of some processes: how long their system calls take, how long they wait for a CPU, how often they are switched from.
 *
 * A call that waits for somebody else (a socket, a futex: a sleep that a signal ends) says nothing about the kernel, and the wait for a CPU is
 * told apart, so the time of a call is without both. What is left is the kernel's: its work, and sleep for disks and the like.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "bpf/hist_count.h"
#include "bpf/record_map.h"

char LICENSE[] SEC("license") = "GPL";

/* the fields that are read, where this kernel has them */
struct task_struct {
	int pid, tgid;
} __attribute__((preserve_access_index));
struct pt_regs {
	unsigned short cs;
} __attribute__((preserve_access_index));

#define USER_CS	      0x33 /* arch/x86/include/asm/segment.h; programs of 32 bits have other numbers of calls */
#define INTERRUPTIBLE 1	   /* include/linux/sched.h */

/* metric of a system call's number, plus one; 0: none. Set before the programs are loaded */
const volatile unsigned char kind_of[KHO_RECORD_CALLS];
volatile unsigned int window;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, KHO_RECORD_THREADS);
	__type(key, int);
	__type(value, struct kho_record_thread);
} threads SEC(".maps");

KHO_HIST_MAP(times, KHO_NMETRICS);

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct kho_record_counts);
} counts SEC(".maps");

static struct kho_record_thread *thread(int pid)
{
	struct kho_record_thread *t = bpf_map_lookup_elem(&threads, &pid);

	if (t && t->window != window) {
		t->call_at = 0;
		t->off_at = 0;
		t->waits_at = 0;
		t->asleep = 0;
		t->window = window;
	}
	return t;
}

static struct kho_record_counts *counters(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&counts, &zero);
}

SEC("tp_btf/sys_enter")
int BPF_PROG(kho_sys_enter, struct pt_regs *regs, long id)
{
	struct kho_record_counts *c = counters();
	__u32 nr = id, kind = nr < KHO_RECORD_CALLS ? kind_of[nr] : 0;
	struct kho_record_thread *t = kind ? thread((int)bpf_get_current_pid_tgid()) : NULL;

	if (!c)
		return 0;
	if (!t || regs->cs != USER_CS) {
		c->misses++;
		return 0;
	}
	c->hits++;
	t->metric = kind - 1;
	t->waited = 0;
	t->call_at = bpf_ktime_get_ns();
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(kho_sys_exit, struct pt_regs *regs, long ret)
{
	struct kho_record_thread *t = thread((int)bpf_get_current_pid_tgid());
	__u64 took;

	if (!t || !t->call_at)
		return 0;
	took = bpf_ktime_get_ns() - t->call_at;
	kho_hist_count_in(&times, t->metric, took > t->waited ? took - t->waited : 0);
	t->call_at = 0;
	return 0;
}

static void wake(struct kho_record_thread *t, __u64 now)
{
	if (t->off_at)
		t->waited += now - t->off_at;
	t->off_at = 0;
	t->asleep = 0;
}

SEC("tp_btf/sched_waking")
int BPF_PROG(kho_record_waking, struct task_struct *p)
{
	struct kho_record_thread *t = thread(p->pid);
	__u64 now;

	if (!t || !t->asleep)
		return 0;
	now = bpf_ktime_get_ns();
	wake(t, now);
	t->waits_at = now;
	return 0;
}

/* It goes on when there is a CPU for it, or when it is woken. */
static void leaves(struct kho_record_thread *t, _Bool can_run, _Bool interruptible)
{
	struct kho_record_counts *c = counters();
	__u64 now = bpf_ktime_get_ns();

	if (c)
		c->switches++;
	t->asleep = !can_run;
	t->waits_at = can_run ? now : 0;
	t->off_at = !can_run && interruptible ? now : 0;
}

static void comes(struct kho_record_thread *t)
{
	__u64 now = bpf_ktime_get_ns();

	if (t->waits_at) {
		kho_hist_count_in(&times, KHO_METRIC_RUNQUEUE, now - t->waits_at);
		t->waited += now - t->waits_at;
	}
	t->waits_at = 0;
	if (t->asleep) /* its waking was not seen */
		wake(t, now);
}

SEC("tp_btf/sched_switch")
int BPF_PROG(kho_record_switch, _Bool preempt, struct task_struct *prev, struct task_struct *next, unsigned int prev_state)
{
	struct kho_record_thread *t = thread(prev->pid);

	if (t)
		leaves(t, preempt || !prev_state, prev_state & INTERRUPTIBLE);
	t = thread(next->pid);
	if (t)
		comes(t);
	return 0;
}

/* Who is made by a thread of a workload is one, too. */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(kho_record_fork, struct task_struct *parent, struct task_struct *child)
{
	struct kho_record_thread fresh = { .tgid = child->tgid, .window = window };
	struct kho_record_counts *c;
	int pid = child->pid;

	if (!thread(parent->pid) || !bpf_map_update_elem(&threads, &pid, &fresh, BPF_ANY))
		return 0;
	c = counters();
	if (c)
		c->lost++;
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(kho_record_exit, struct task_struct *p)
{
	int pid = p->pid;

	if (thread(pid))
		bpf_map_delete_elem(&threads, &pid);
	return 0;
}
