/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Load on the kernel that this runs on, and how long its operations take: the same code on two kernels, so that both can be laid side
 * by side. Nothing of it stays: files, network and memory are of its own and end with it. (Modules that the kernel loads for it do stay.)
 */
#ifndef KHO_BPF_LOAD_H
#define KHO_BPF_LOAD_H

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

#include "bpf/hist.h"
#include "lib/err.h"

enum kho_mix {
#define X(id, name, what) KHO_MIX_##id,
#include "bpf/load.def"
#undef X
	KHO_NMIXES,
};

struct kho_mix_row {
	const char *name, *what;
};
extern const struct kho_mix_row kho_mixes[KHO_NMIXES]; /* load.def */

#define KHO_MIX_BUILT_IN ((1u << KHO_MIX_COMMAND) - 1) /* as a set of bits */
#define KHO_LOAD_COMMAND_MAX 1024

struct kho_load {
	enum kho_mix mix;
	const char *command; /* KHO_MIX_COMMAND: program (an absolute path) and arguments, split at blanks; else NULL */
	unsigned cpus;	     /* on so many, a process each */
	uint64_t us;	     /* for so long; an operation that has begun is ended */
};

#define KHO_LOAD_WHAT 200

struct kho_load_result {
	bool known;	   /* it could be run at all; else what says why not, and the rest means nothing */
	struct kho_hist ns; /* of each operation that was right, nanoseconds */
	uint64_t errors;   /* operations that failed, or had a wrong result */
	char what[KHO_LOAD_WHAT]; /* the first of those; "" */
};

/* The number of the load of that name, or -1. */
int kho_mix_find(const char *name);

/* "all", "sched,net" (built-in ones), or an absolute path with arguments: as set of bits. -EINVAL says what is wrong. */
int kho_mixes_parse(const char *text, unsigned *out, struct kho_err *err) __must_check;

/* Another part of the same load; sum->known must be true before the first. What one could not run makes all of it unknown. */
void kho_load_add(struct kho_load_result *sum, const struct kho_load_result *r);

/*
 * Run it in processes of its own, on the first l->cpus of the CPUs in `on` (NULL: that this process may use), and wait for it: l->us, at most 20 s longer. stop (may
 * be NULL) is asked ten times a second; when it says yes, they are killed. 0: *out is filled, also when it could not be run;
 * -EINTR: stopped; -ETIMEDOUT: they have not come back, which is the kernel's fault. Needs root.
 */
int kho_load_run(const struct kho_load *l, const cpu_set_t *on, bool (*stop)(void *arg), void *arg, struct kho_load_result *out,
		 struct kho_err *err) __must_check;

#endif
