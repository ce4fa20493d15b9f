/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Undo what a khoctl that died had begun, or do the rest of it, out of its journal: for `khoctl rollback` and `khoctl resume`; the
 * undo also for the process that stands by (khoctl/guard.h).
 */
#ifndef KHO_RECOVER_H
#define KHO_RECOVER_H

#include "khoctl/past.h"
#include "lib/err.h"
#include "orchestrator/upgrade.h"

/* Nothing may stop this process half-way, and no page of it may have to come from a frozen disk. */
void kho_recover_steady(void);

/*
 * Undo it. on_event (may be NULL) gets each event line. -EBUSY: another khoctl works; -ENOENT:
 * nothing to undo; other errors: the first thing that could not be undone, the rest is.
 */
int kho_recover(const struct kho_past *past, void (*on_event)(void *arg, const char *line, size_t len),
		void *arg, struct kho_err *err);

/*
 * Do the rest of one that was committed. Does not return when it works: this kernel ends. The outcome's last event is "result", as
 * in an upgrade.
 */
enum kho_outcome kho_resume(const struct kho_past *past, uint64_t retire_delay_us,
			    void (*on_event)(void *arg, const char *line, size_t len), void *arg, struct kho_err *err);

#endif
