/* SPDX-License-Identifier: GPL-2.0-only */
/* Recordings (bpf/recording.h) of the declared workloads. */
#ifndef KHO_ORCH_RECORD_H
#define KHO_ORCH_RECORD_H

#include "bpf/recording.h"
#include "lib/workload.h"

/* In the state directory: the last upgrade's recordings, on the kernel before and on the one after. */
#define KHO_RECORD_BEFORE "regression-before.json"
#define KHO_RECORD_AFTER  "regression-after.json"

/* How long an upgrade may take for one: the outgoing one is made within the time of a step. */
#define KHO_RECORD_LEAST_US 1000000u
#define KHO_RECORD_MOST_US  30000000u

/*
 * Record workloads that have been resolved, all their processes. A workload without one is -ESRCH, an empty list, too. Else as
 * kho_record() (bpf/recorder.h).
 */
int kho_record_workloads(const struct kho_workload_list *l, uint64_t for_us, bool (*go_on)(void *arg), void *arg, struct kho_recording *out,
			 struct kho_err *err) __must_check;

/* The same of those that are declared on this machine and run now; name: only of that one, or NULL. */
int kho_record_declared(const char *name, uint64_t for_us, bool (*go_on)(void *arg), void *arg, struct kho_recording *out,
			struct kho_err *err) __must_check;

#endif
