/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The programs of a recording: into the kernel, on and off, and what they have counted. For recorder.c.
 */
#ifndef KHO_BPF_RECORD_PROGRAMS_H
#define KHO_BPF_RECORD_PROGRAMS_H

#include <sys/types.h>

#include "bpf/recording.h"

struct kho_record_programs;

/*
 * Load them and switch them on. A part that the kernel refuses is unknown in r, with its reason, and the rest goes on. Only no memory is a
 * failure. *out is the caller's (kho_record_unload).
 */
int kho_record_load(struct kho_recording *r, struct kho_record_programs **out, struct kho_err *err) __must_check;
/* Out of the kernel, all of it. NULL is fine. */
void kho_record_unload(struct kho_record_programs *p);

/* Off, if they are on: nothing runs any more but what notices new threads. What is under way for a ms or longer is counted in r, as long as it has lasted so far. */
void kho_record_off(struct kho_record_programs *p, struct kho_recording *r);
/* On again: a new window. */
int kho_record_on(struct kho_record_programs *p, struct kho_err *err) __must_check;

/* All threads of a process belong to a workload; who is made by one does then. How many were not known; those that had no room add to *lost. */
size_t kho_record_add(struct kho_record_programs *p, pid_t tgid, uint64_t *lost);
/* The processes of the workloads now, p's until the next call; how many, none where TASKS is unknown. */
size_t kho_record_procs(struct kho_record_programs *p, const pid_t **out);

/* So far, of all CPUs; zero where TASKS is unknown. replies (may be NULL): calls that write or send. */
int kho_record_read_counts(struct kho_record_programs *p, struct kho_record_counts *out, uint64_t *replies, struct kho_err *err) __must_check;
/* Add all histograms to r's. */
int kho_record_read_times(struct kho_record_programs *p, struct kho_recording *r, struct kho_err *err) __must_check;

#endif
