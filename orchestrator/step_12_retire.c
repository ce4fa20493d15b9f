// SPDX-License-Identifier: GPL-2.0-only
/*
 * retire: the incoming kernel gets the complete journal (with the end of the blackout and the
 * result), the operator's terminal gets a moment, then this kernel ends in the engine's retire.
 */
#include <unistd.h>

#include "orchestrator/context.h"
#include "orchestrator/step_list.h"

int kho_step_retire(struct kho_upgrade *u, struct kho_err *err)
{
	struct kho_blob record = { 0 };

	/* the peer has signed already; without this its copy of the report lacks the last lines, no
	 * more */
	if (kho_logfile_bytes(kho_journal_file(u->journal), &record, err) == 0)
		(void)!u->engine->ops->commit(u->engine, &record, err);
	kho_blob_done(&record);
	usleep((useconds_t)u->opt->retire_delay_us);
	return u->engine->ops->retire(u->engine, err);
}
