/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * System V IPC of the system's own namespace. No list says whose an object is: the kernel knows only who has touched it last, and
 * who has a segment attached.
 */
#ifndef KHO_PROC_SYSV_H
#define KHO_PROC_SYSV_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/report.h"
#include "lib/workload.h"

struct kho_sysv {
	bool attached;	/* a process of it has a segment attached */
	size_t touched; /* sets of semaphores, queues and segments that one of its processes has touched last, or made */
	size_t unknown; /* objects whose last users have all ended: they may be anybody's */
};

/* What a (resolved) workload has to do with the objects of our namespace. Live system only. */
void kho_sysv_look(const struct kho_workload *w, struct kho_sysv *out);

/* Does it need copies of what is in our namespace? Not if it has a namespace of its own. */
bool kho_sysv_is_used(const struct kho_workload *w);

/* The verdicts on all workloads. 0 or -ENOMEM. */
int kho_sysv_probe(const struct kho_workload_list *l, struct kho_report *r, struct kho_err *err) __must_check;

#endif
