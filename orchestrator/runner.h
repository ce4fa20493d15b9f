/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The only one who calls steps and sees what they return: journals before and after each, watches
 * deadline, signals and peer, and unwinds in reverse.
 */
#ifndef KHO_RUNNER_H
#define KHO_RUNNER_H

#include "orchestrator/context.h"
#include "orchestrator/worker.h"

struct kho_runner {
	struct kho_upgrade *u;
	struct kho_worker *worker;
	bool stuck; /* a step did not come back; its thread is left behind */
	bool watch_peer;
	uint64_t grace_us; /* after its deadline or a stop a step gets this long to come back */
};

/* Run step i: journal, faults, deadline. 0 or what made it fail. */
int kho_runner_step(struct kho_runner *r, size_t i, struct kho_err *err) __must_check;

/* Undo steps i, i - 1 ... 0. Never stops; the first failure. */
int kho_runner_unwind(struct kho_runner *r, size_t i, struct kho_err *err) __must_check;

/*
 * The same as an outcome: refused (i is 0: nothing had been done), rolled back, or a person is needed. err: why it is undone; what could
 * not be is added.
 */
enum kho_outcome kho_runner_undo(struct kho_runner *r, size_t i, struct kho_err *err);

#endif
