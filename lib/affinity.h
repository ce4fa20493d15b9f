/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Threads that are pinned to CPUs: by themselves, taskset, or CPUAffinity= of their unit. What their control group allows is no pinning.
 *
 * A CPU that leaves a kernel takes the pinning of those with it that could run on it alone: when one of them wakes up, the kernel gives it
 * all CPUs (select_fallback_rq(), kernel/sched/core.c), for good. So who was pinned is noted before, and pinned again when the CPUs are back,
 * or on the kernel that they went to.
 *
 * Lists of CPUs are texts, as the kernel writes them ("0-3,8").
 */
#ifndef KHO_LIB_AFFINITY_H
#define KHO_LIB_AFFINITY_H

#include <stdbool.h>
#include <sys/types.h>

#include <json-c/json.h>

#include "lib/cpuinfo.h"

struct kho_affinity_thread {
	pid_t tid;
	uint64_t start; /* kho_pid_start() */
	char *cpus;	/* that it may run on */
};

/* Of the whole system, at one moment. */
struct kho_affinity {
	char *all;		 /* CPUs that were online; "": not known */
	struct kho_cpuinfo *cpu; /* the same, ncpu of them; 0: not known */
	size_t ncpu;
	struct kho_affinity_thread *t; /* n of them, by number: those that were pinned */
	size_t n;
};

/* What the CPUs of a thread are compared with. */
struct kho_affinity_scope {
	const char *sysroot; /* "" or a recorded tree */
	const char *all;     /* the CPUs that there are */
	const char *away;    /* those of them that another kernel has for the moment; "": none */
};

/* CPUs that are online, malloc'd; NULL: not known. */
char *kho_affinity_online(const char *sysroot);

/*
 * Is a thread of process pid, which may run on these CPUs, pinned? Not if they are all that its control group has, but for those that the kernel gives to
 * nobody (isolcpus=). A group loses what is away, and its threads with it; the topmost one does not. (Who was pinned to just the rest before is known
 * by kho_affinity_was().)
 */
bool kho_affinity_is_narrow(const struct kho_affinity_scope *s, pid_t pid, const char *may);

/*
 * Who is pinned, of all threads but the kernel's own. What cannot be read is left out: a thread ends at any time. Free with
 * kho_affinity_done(), also after a failure. 0 or -ENOMEM.
 */
int kho_affinity_read(const char *sysroot, struct kho_affinity *out, struct kho_err *err) __must_check;

/* The CPUs of a thread that was pinned then, a's own; NULL: it was not, or this is another one with its number. Live system only. */
const char *kho_affinity_was(const struct kho_affinity *a, pid_t tid);

/* Those of a->all that are not online now, malloc'd; NULL: out of memory. Live system only. */
char *kho_affinity_away(const struct kho_affinity *a);

/*
 * What a thread is pinned to that may run on `now` (narrow: kho_affinity_is_narrow() of that), and was pinned to `was` (NULL: was not) before CPUs
 * were away: one of the two, or NULL when it is not pinned. It is `was` unless it has been given others since.
 */
const char *kho_affinity_wanted(const struct kho_affinity_scope *s, const char *was, const char *now, bool narrow);

/* From now on a thread may run on these CPUs alone (those of them that are online). 0, or -errno: -EINVAL: none is; -ESRCH: it has ended. */
int kho_affinity_set(pid_t tid, const uint32_t *cpus, size_t n) __must_check;

/*
 * Who was pinned then, and may now run on all CPUs, is pinned again; one that is pinned otherwise, or is no more, is left alone. *pinned: how many; the
 * result: how many could not be, and why the first (*why).
 */
unsigned kho_affinity_put_back(const struct kho_affinity *a, unsigned *pinned, struct kho_err *why);

/* As a record of the journal (docs/formats.md), the caller's. */
struct json_object *kho_affinity_record(const struct kho_affinity *a);

/* Out of such a record (NULL: nobody was pinned), all but the CPUs' APIC ids. What cannot be is left out. 0 or -ENOMEM. */
int kho_affinity_from_record(const struct json_object *rec, struct kho_affinity *out, struct kho_err *err) __must_check;

void kho_affinity_done(struct kho_affinity *a);

#endif
