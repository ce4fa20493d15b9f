/* SPDX-License-Identifier: GPL-2.0-only */
/* What dark.bpf.c counts, shared with who reads it (dark.c). */
#ifndef KHO_BPF_DARK_MAP_H
#define KHO_BPF_DARK_MAP_H

#define KHO_DARK_PROCESSES 16384u /* of the workloads; more are not looked at, which is said */

/* One process. */
struct kho_dark_process {
	unsigned long long calls;  /* system calls that have returned */
	unsigned long long failed; /* of them, with an error that does not mean "not now" or "again" */
	unsigned int last;	   /* the last such error */
	unsigned int signal;	   /* that has ended it; 0: none has */
	int root;		   /* who was named, and is this process or has started it */
	unsigned int usual;	   /* percent of the calls of that one that fail anyway */
};

#endif
