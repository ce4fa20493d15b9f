// SPDX-License-Identifier: GPL-2.0-only
/*
 * Faults of the incoming kernel and of the link, for tests (lib/fault.h): those of what the incoming side sends, and
 * its own, are asked of its agent, which refuses unless its kernel was started with khoctl.fault=1.
 */
#include "handover/beside/beside.h"
#include "lib/clock.h"

#define ASK_US 10000000ull

void kho_beside_fault_struck(void *arg, const char *name)
{
	struct kho_beside *b = arg;

	if (b->e.fault_struck)
		b->e.fault_struck(b->e.event_arg, name);
}

int kho_beside_peer_fault(struct kho_engine *e, const char *kind, struct kho_err *err)
{
	struct kho_beside *b = kho_beside_of(e);

	if (!b->peer)
		return kho_fail(err, -ENOTCONN, "fault %s: not connected to the incoming kernel",
				kind);
	return kho_peer_fault(b->peer, kind, kho_clock_us() + ASK_US, err);
}

int kho_beside_link_fault(struct kho_engine *e, const struct kho_fault *f, struct kho_err *err)
{
	struct kho_beside *b = kho_beside_of(e);

	if (!kho_link_fault_is_agents(f))
		return kho_link_fault_arm(&b->faults, f, err);
	if (b->peer)
		return kho_beside_peer_fault(e, f->name, err);
	if (b->peer_faults.n == KHO_FAULTS_MAX)
		return kho_fail(err, -E2BIG, "more than %d faults of the incoming side", KHO_FAULTS_MAX);
	b->peer_faults.f[b->peer_faults.n++] = *f;
	return 0;
}

int kho_beside_ask_faults(struct kho_beside *b, struct kho_err *err)
{
	int rc = 0;

	for (size_t i = 0; !rc && i < b->peer_faults.n; i++)
		rc = kho_beside_peer_fault(&b->e, b->peer_faults.f[i].name, err);
	b->peer_faults.n = 0;
	return rc;
}
