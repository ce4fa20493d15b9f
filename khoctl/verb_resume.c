// SPDX-License-Identifier: GPL-2.0-only
/*
 * khoctl resume: what is left of an upgrade that was committed and whose khoctl died.  On the outgoing kernel: settle
 * and retire, in order.  On the incoming one, which has done its own part by itself: end the outgoing kernel and wait
 * until this one has all.  Before the commit there is no resuming: the processes that khoctl held, and state on
 * its way, were in the memory of the one that died.
 */
#include <unistd.h>

#include "khoctl/cli.h"
#include "khoctl/past.h"
#include "khoctl/worker.h"
#include "lib/io.h"

#define WAIT_S 120

/* The incoming kernel's agent sees that the other one has ended, and takes what it had. */
static int end_the_other(const struct kho_cli *c)
{
	struct kho_err err = KHO_ERR_INIT;

	if (kho_instance_end_outgoing(&err) < 0)
		return kho_cli_error(c, KHO_EXIT_PERSON, &err);
	for (int i = 0; i < WAIT_S * 10 && !kho_exists(KHO_RUN_DIR "/instance.json"); i++)
		usleep(100000);
	if (!kho_exists(KHO_RUN_DIR "/instance.json"))
		return kho_cli_tell(c, KHO_EXIT_PERSON, "the outgoing kernel was ended",
			    "its CPUs and memory are not here yet; khoctl list, and this kernel's log, say more");
	return kho_cli_tell(c, KHO_EXIT_OK, kho_outcome_name(KHO_OUT_UPGRADED), "the outgoing kernel was ended; this one is alone");
}

int kho_verb_resume(const struct kho_cli *c)
{
	_cleanup_past_ struct kho_past p;

	if (kho_cli_need_root(c, "resume"))
		return KHO_EXIT_REFUSED;
	kho_past_read(&p, "");
	switch (p.state) {
	case KHO_PAST_RUNNING:
		return kho_cli_tell(c, KHO_EXIT_BUSY, "nothing to resume", "it runs; khoctl status --follow watches it");
	case KHO_PAST_INTERRUPTED:
		return kho_cli_tell(c, KHO_EXIT_REFUSED, "cannot be resumed",
			    "it was not committed, and what it held (processes, state on its way) has died with its khoctl; "
			    "khoctl rollback undoes it, then khoctl upgrade begins anew");
	case KHO_PAST_HANDED:
		return kho_worker_watch(c, kho_worker_resume);
	case KHO_PAST_WAITING:
		return end_the_other(c);
	case KHO_PAST_NONE:
		return kho_cli_tell(c, KHO_EXIT_REFUSED, "nothing to resume", "no upgrade has been run");
	case KHO_PAST_REBOOTED:
		return kho_cli_tell(c, KHO_EXIT_REFUSED, "nothing to resume", "the machine was restarted since");
	case KHO_PAST_ENDED:
		break;
	}
	return kho_cli_tell(c, KHO_EXIT_REFUSED, "nothing to resume", "the last upgrade has ended");
}
