/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside of the loads, shared by load*.c: what a mix is made of. All of it runs in a process that kho_load_run() has made, and ends with it.
 */
#ifndef KHO_BPF_LOAD_MIX_H
#define KHO_BPF_LOAD_MIX_H

#include <pthread.h>

#include "bpf/load.h"

struct kho_mix_place { /* of one process, on one CPU */
	const struct kho_load *l;
	int cpu;
	uint64_t end_ns; /* no operation begins after it; kho_now_ns() */
	int fd[2];	 /* the mix's own */
	pthread_t partner;
	char **argv;
	uint64_t turn; /* operations so far */
};

/* All are called by the first thread of that process. */
struct kho_mix_ops {
	/* What an operation needs; negative with err: this kernel cannot run the mix. */
	int (*open)(struct kho_mix_place *p, struct kho_err *err);
	/* One operation: 0; negative with err: it failed, or its result is wrong; 1: cut short by the end, it does not count. */
	int (*op)(struct kho_mix_place *p, struct kho_err *err);
	/* The inverse of open, also of one that failed. */
	void (*close)(struct kho_mix_place *p);
};

#define X(id, name, what) extern const struct kho_mix_ops kho_mix_##name;
#include "bpf/load.def"
#undef X

#endif
