/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The process an upgrade runs in, apart from the terminal that asked for it: it goes on when the
 * terminal is lost, and after its result it retires this kernel while the watching khoctl has
 * exited in order.
 */
#ifndef KHO_UPGRADE_WORKER_H
#define KHO_UPGRADE_WORKER_H

#include "khoctl/cli.h"

/* Values in the pipe to the worker: signal numbers, and the answers to its question. */
#define KHO_WORKER_GO 0
#define KHO_WORKER_NO (-1)

struct kho_worker_pipes {
	int events; /* worker writes event lines */
	int stop_read, stop_write;
	bool confirm; /* show the plan and wait for KHO_WORKER_GO */
};

typedef int kho_worker_fn(const struct kho_cli *c, const struct kho_worker_pipes *pipes);

/* In the child: take the lock, make the plan, run it. An exit code (nobody waits for it). */
kho_worker_fn kho_worker_main;
/* In the child: do the rest of the upgrade whose khoctl died after the commit. */
kho_worker_fn kho_worker_resume;

/* Start the child, show what it tells, and give back its result's exit code (verb_upgrade.c). */
int kho_worker_watch(const struct kho_cli *c, kho_worker_fn *child);

#endif
