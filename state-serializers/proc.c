// SPDX-License-Identifier: GPL-2.0-only
/*
 * The serializer of processes, by CRIU: see proc/ for its halves.
 */
#include "state-serializers/proc/in.h"
#include "state-serializers/proc/out.h"
#include "state-serializers/proc/pinned.h"
#include "state-serializers/proc/probe.h"

/*
 * Trees are seized when the NIC is quiet: until then clients connect, and a connection that nobody
 * has accepted cannot be dumped; a packet that the kernel acknowledged after its socket was written
 * to the images would be lost, too. (The frozen NIC is CRIU's network lock.)
 */
static const char *const needs[] = { "netdev", NULL };

extern const struct kho_serializer kho_ser_proc;
const struct kho_serializer kho_ser_proc = {
	.name = "proc",
	.order = 60,
	.flags = KHO_SER_LAST | KHO_SER_COPY | KHO_SER_APART,
	.needs = needs,
	.probe = kho_proc_probe,
	.preserve = kho_proc_preserve,
	.dirty = kho_proc_dirty,
	.unpreserve = kho_proc_unpreserve,
	.freeze = kho_proc_freeze,
	.drain = kho_proc_drain,
	.quiet = kho_proc_quiet,
	.unfreeze = kho_proc_unfreeze,
	.forget = kho_proc_forget,
	.prepare = kho_proc_prepare,
	.unprepare = kho_proc_unprepare,
	.retrieve = kho_proc_retrieve,
	.verify = kho_proc_verify,
	.restored = kho_proc_restored,
	.cancel = kho_proc_cancel,
	.discard = kho_proc_discard,
	.finish = kho_proc_finish,
	.tidy = kho_proc_tidy,
	.cpus = kho_proc_cpus,
	.health = kho_proc_health_now,
};
