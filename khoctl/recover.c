// SPDX-License-Identifier: GPL-2.0-only
/* Undo, or the rest, from the journal.  See khoctl/recover.h. */
#include "khoctl/recover.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "khoctl/cli.h"
#include "orchestrator/steps.h"

void kho_recover_steady(void)
{
	static const int all[] = { SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGQUIT, SIGTSTP, SIGTTIN, SIGTTOU };

	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		signal(all[i], SIG_IGN);
	(void)!mlockall(MCL_CURRENT | MCL_FUTURE);
}

/* What both take from the journal of the one that died. Inverse: close_past(), also after a failure. */
static int open_past(const struct kho_past *past, void (*on_event)(void *arg, const char *line, size_t len), void *arg,
		     struct kho_plan **p, struct kho_upgrade_options *o, struct kho_err *err)
{
	struct kho_engine *e = NULL;
	int rc = kho_plan_for_undo(kho_cli_world(), past->records, p, &e, err);

	*o = (struct kho_upgrade_options){
		.plan = *p,
		.engine = e,
		.stop_fd = -1,
		.lock_fd = -1,
		.on_event = on_event,
		.event_arg = arg,
	};
	/* a fault may be wanted here, too */
	return rc ? rc : kho_cli_faults(e, &o->faults, &o->deadline_cap_us, err);
}

static void close_past(struct kho_plan *p, const struct kho_upgrade_options *o)
{
	if (o->engine)
		o->engine->ops->free(o->engine);
	kho_plan_free(p);
}

int kho_recover(const struct kho_past *past, void (*on_event)(void *arg, const char *line, size_t len),
		void *arg, struct kho_err *err)
{
	struct kho_upgrade_options o;
	struct kho_plan *p = NULL;
	int rc = open_past(past, on_event, arg, &p, &o, err);

	if (rc == 0)
		rc = kho_upgrade_recover(&o, err);
	close_past(p, &o);
	return rc;
}

enum kho_outcome kho_resume(const struct kho_past *past, uint64_t retire_delay_us,
			    void (*on_event)(void *arg, const char *line, size_t len), void *arg, struct kho_err *err)
{
	enum kho_outcome out = KHO_OUT_INTERNAL;
	struct kho_upgrade_options o;
	struct kho_plan *p = NULL;

	if (open_past(past, on_event, arg, &p, &o, err) == 0) {
		o.retire_delay_us = retire_delay_us;
		out = kho_upgrade_resume(&o, err);
	}
	close_past(p, &o);
	return out;
}
