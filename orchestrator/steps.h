/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The steps of an upgrade: one table, made from steps.def.
 */
#ifndef KHO_STEPS_H
#define KHO_STEPS_H

#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

#define KHO_STEP_BLACKOUT \
	(1u << 0) /* workloads do not answer while it runs: nothing may touch a disk */
#define KHO_STEP_NO_RETURN (1u << 1) /* no undo from here on, once the commit is signed */
#define KHO_STEP_PEER	   (1u << 2) /* needs a living peer: its loss fails the step */
#define KHO_STEP_LOAD	   (1u << 3) /* goes on for what a canary was asked to take, once or on two kernels: its deadline is longer by four times that */

#define KHO_STEP_HELD "freeze"	/* the last one that an upgrade can be held before */
#define KHO_STEP_SIGNS "commit" /* the step in which both kernels sign */

struct kho_upgrade;

/*
 * One act and its inverse.  undo accepts a half-done or never-done run, does all it can and
 * reports the first failure; NULL: nothing to undo.  Only the runner calls them and sees what they
 * return.
 */
struct kho_step {
	const char *name;
	int (*run)(struct kho_upgrade *u, struct kho_err *err);
	int (*undo)(struct kho_upgrade *u, struct kho_err *err);
	uint64_t deadline_us;
	unsigned flags;
	const char *what;
};

extern const struct kho_step kho_steps[];
extern const size_t kho_nsteps;

/* Those of a canary: the first ones of an upgrade, and its own. */
extern const struct kho_step kho_canary_steps[];
extern const size_t kho_ncanary_steps;

/* NULL-terminated names of both, for the fault parser. */
extern const char *const kho_step_names[];

/* Index of a step, or -1: of those of an upgrade; of these. */
int kho_step_find(const char *name);
int kho_step_find_in(const struct kho_step *list, size_t n, const char *name);

#endif
