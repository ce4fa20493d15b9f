/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the programs of a recording (tasks.bpf.c, block.bpf.c, tcp.bpf.c) and who reads them (recorder.c) share.
 */
#ifndef KHO_BPF_RECORD_MAP_H
#define KHO_BPF_RECORD_MAP_H

enum kho_metric {
#define X(id, kind, part, floor) KHO_METRIC_##id,
#include "bpf/metrics.def"
#undef X
	KHO_NMETRICS,
};

#define KHO_RECORD_CALLS   512u	  /* numbers of system calls that are looked at */
#define KHO_RECORD_THREADS 16384u /* of the workloads; more are not counted, which is said */

/*
 * The programs are in the kernel for windows of time (recorder.c), counted from 1. What began in another window is not counted, since
 * what has become of it in between is not known.
 */

/* One thread of a workload; written where it runs, or where it is woken. */
struct kho_record_thread {
	unsigned long long call_at;  /* in a system call since; 0: in none that counts */
	unsigned long long waited;   /* so long of it: for somebody else, or for a CPU */
	unsigned long long off_at;   /* asleep since, so that a signal would wake it; 0: not */
	unsigned long long waits_at; /* could run since, and does not; 0: not */
	unsigned int metric;	     /* of the call */
	unsigned int asleep;
	int tgid; /* its process */
	unsigned int window; /* the one that all but tgid is of: else it is as good as zero */
};

/* Counted on each CPU. */
struct kho_record_counts {
	unsigned long long switches; /* from a thread of a workload */
	unsigned long long lost;     /* threads that had no room */
	unsigned long long hits;     /* system calls that were counted */
	unsigned long long misses;   /* system calls of anybody that were not */
};

/* A request that a driver has. */
struct kho_record_request {
	unsigned long long at;
	unsigned long long window;
};

#endif
