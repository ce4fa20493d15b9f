/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Makes a recording (recording.h) on the kernel that runs here, by programs in it (tasks.bpf.c, block.bpf.c, tcp.bpf.c) and what /proc says.
 */
#ifndef KHO_BPF_RECORDER_H
#define KHO_BPF_RECORDER_H

#include <sys/types.h>

#include "bpf/recording.h"

#define KHO_RECORD_MIN_US 1000000u /* a shorter recording says nothing */
#define KHO_RECORD_MAX_US (uint64_t)(KHO_RECORDING_SLICES * 1000000ull)

/* Whom to look at, all borrowed. */
struct kho_record_target {
	const char *name;  /* of the workload */
	const pid_t *pids; /* its processes, the main one first; who they make meanwhile is one of them */
	size_t npids;
};

/*
 * Looks at them for so long (KHO_RECORD_MIN_US to MAX_US). Needs root. A part that this kernel does not take is unknown in the recording, with
 * its reason; that is no failure. go_on (may be NULL) is asked every second: false ends it with -ECANCELED. -ESRCH: none of the
 * processes is there. Nothing is left in the kernel afterwards. *out is the caller's (kho_recording_done); nothing on failure.
 */
int kho_record(const struct kho_record_target *t, size_t n, uint64_t for_us, bool (*go_on)(void *arg), void *arg, struct kho_recording *out,
	       struct kho_err *err) __must_check;

#endif
