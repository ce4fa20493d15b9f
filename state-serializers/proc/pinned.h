/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Threads that are pinned to CPUs (lib/affinity.h): CRIU does not carry that (its pull requests 1298 and 2014 are open), and the next kernel numbers CPUs
 * differently. Who is pinned is noted while CRIU dumps, by APIC ids; the threads are pinned again when the incoming kernel has all its CPUs,
 * because a thread cannot be pinned to CPUs of which none is online.
 */
#ifndef KHO_PROC_PINNED_H
#define KHO_PROC_PINNED_H

#include "state-serializers/proc/out.h"

/*
 * Outgoing: who of the (frozen) trees is pinned, by what he was pinned to before CPUs left this kernel (env->affinity), into each workload's affinity,
 * which is emptied first. Nothing where that is not known. -ENOMEM.
 */
int kho_proc_pinned_note(const struct kho_env *env, struct kho_proc_out *o, struct kho_err *err) __must_check;
void kho_proc_pinned_drop(struct kho_proc_out_wl *w);

/* Incoming: the state of the processes (taken over; NULL: none) is kept for kho_proc_cpus(), when all else is dropped. */
void kho_proc_pinned_keep(KhoProc__State *s);

/* See struct kho_serializer's cpus. A thread that is pinned to something by now is left alone; CPUs that are not here are left out. */
int kho_proc_cpus(struct kho_env *env, struct kho_err *err);

#endif
