/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The filters of devices of a container's control groups: BPF programs that its runtime has made and attached (crun, runc; no file
 * has them). Such a program is read back from the kernel in the form in which it was loaded: the verifier changes nothing in
 * those that read only their context, and this type's context is the kernel's own structure (kernel/bpf/cgroup.c, cg_dev_prog).
 */
#ifndef KHO_PROC_CGROUP_FILTER_H
#define KHO_PROC_CGROUP_FILTER_H

#include <stdbool.h>

#include "lib/err.h"
#include "state-serializers/proc.pb-c.h"

/* Programs for one control group, at most (BPF_CGROUP_MAX_PROGS, include/linux/bpf-cgroup.h). */
#define KHO_FILTERS_MAX 64

/* A group that the system's init makes and filters by itself: a service or a slice. */
bool kho_filter_is_inits(const char *cg);

/* Those that are attached to the group c->path itself, added to c->filters. -errno. Live system only. */
int kho_filter_read(KhoProc__Cgroup *c, struct kho_err *err) __must_check;

/* Load all of w's: *out has a descriptor for each, in order, the caller's (kho_filter_done()). */
int kho_filter_load(const KhoProc__PlanWorkload *w, int **out, struct kho_err *err) __must_check;

/* Attach them to their groups, which are there. */
int kho_filter_attach(const KhoProc__PlanWorkload *w, const int *fds, struct kho_err *err) __must_check;

void kho_filter_done(const KhoProc__PlanWorkload *w, int **fds);

#endif
