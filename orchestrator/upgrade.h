/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One upgrade, from outside: run the plan's steps, learn how it ended.
 */
#ifndef KHO_UPGRADE_H
#define KHO_UPGRADE_H

#include "lib/fault.h"
#include "orchestrator/events.h"
#include "orchestrator/plan.h"

enum kho_outcome {
	KHO_OUT_UPGRADED,    /* committed; the incoming kernel is the machine */
	KHO_OUT_REFUSED,     /* nothing was touched */
	KHO_OUT_ROLLED_BACK, /* the machine is as before */
	KHO_OUT_PERSON,	     /* something could not be undone, or failed after the commit */
	KHO_OUT_INTERNAL,    /* khoctl itself failed before anything was touched */
	KHO_OUT_BUSY,	     /* another upgrade runs, or a dead one must be undone first */
	KHO_OUT_DECLINED,    /* the person at the terminal said no */
	/* of a canary, and the machine is as before: */
	KHO_OUT_PASSED,
	KHO_OUT_FAILED,
	KHO_OUT_UNDECIDED, /* something could not be measured, or somebody stopped it */
	KHO_NOUTCOMES,
};

/* "upgraded", "refused", "rolled back", "needs a person", "internal error", "busy", "declined", "passed", "failed", "undecided" */
const char *kho_outcome_name(enum kho_outcome o);

/* Is it the name of one after which the machine is as it was before? */
bool kho_outcome_is_as_before(const char *name);

struct kho_upgrade_options {
	const struct kho_plan *plan;
	struct kho_engine *engine;
	struct kho_faults faults;
	const char *hold_before;  /* stop before this step, run hold_exec, then undo everything; or
				     NULL */
	char *const *hold_exec;	  /* argv, or NULL: wait for a signal */
	uint64_t retire_delay_us; /* between the last event and retirement, so that the operator's
				     terminal gets both */
	uint64_t deadline_cap_us; /* shortens every deadline (tests); 0: as in steps.def */
	kho_event_fn on_event;
	void *event_arg;
	int stop_fd; /* readable: an int (signal number) asks to stop; -1: none */
	int lock_fd; /* of kho_lock_take, from then on the upgrade's; -1: it takes it itself */
};

/*
 * 0, or -EBUSY: an upgrade died half-way on this very boot, what it took must be given back first;
 * or it was committed, and this kernel is no longer the one to be upgraded.
 * An upgrade of before a reboot is in nobody's way.
 */
int kho_upgrade_may_begin(const struct kho_world *w, struct kho_err *err) __must_check;

/*
 * Do these records (kho_journal_read) end in the step in which both kernels sign, and not say whether they have? Then khoctl died in it,
 * and the other kernel's ledger tells (kho_instance_other_signed).
 */
bool kho_upgrade_died_signing(const struct json_object *records);

/*
 * Run it, or (the plan is one of a canary) try the kernel and take everything back. The last event is "result" (docs/formats.md). Returns the outcome; err is filled unless
 * upgraded. When it works and the engine is a real one, it does not return: this kernel ends in it.
 */
enum kho_outcome kho_upgrade_run(const struct kho_upgrade_options *o, struct kho_err *err);

/*
 * After a khoctl that died in the middle: undo, in reverse, what its journal says was begun, and
 * go on in that journal; so it may die, too, and be called again. The plan is kho_plan_for_undo's.
 * -EALREADY when it had been committed, -ENOENT when there is nothing to undo.
 */
int kho_upgrade_recover(const struct kho_upgrade_options *o, struct kho_err *err) __must_check;

/*
 * After a khoctl that died after the commit: the rest, from the commit's own on; what was done already is not done
 * twice. Like kho_upgrade_run it does not return when it works and the engine is a real one. KHO_OUT_REFUSED: it had not been
 * committed.
 */
enum kho_outcome kho_upgrade_resume(const struct kho_upgrade_options *o, struct kho_err *err);

#endif
