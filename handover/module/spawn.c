// SPDX-License-Identifier: GPL-2.0-only
/*
 * SPAWN sends a parked CPU into the incoming kernel.  STOP, in fence.c, is its inverse.
 */
#include "kho.h"

#include <asm/tsc.h>

static int spawn(struct kho_region *r, const struct kho_ioc_spawn *a)
{
	struct kho_ledger_cpu *c = kho_ledger_cpu(r, a->apicid);
	u32 *state = &kho_peer(r)->state;
	int ret = kho_check_spawn(a, r->base, r->bytes, r->known->boot_apicid);

	if (ret)
		return ret;
	if (!c || READ_ONCE(c->owner) != KHO_OWNER_PARK || READ_ONCE(c->to) != KHO_OWNER_INCOMING ||
	    READ_ONCE(*state) != KHO_STATE_LOADED)
		return -EPERM;
	ret = kho_mbox_test(r, a->apicid, 1000);
	if (ret)
		return ret == -ETIMEDOUT ? -EBUSY : ret;
	/* this side's last word in that field: from the wakeup on it is the incoming kernel's */
	smp_store_release(state, (u32)KHO_STATE_BOOTING);
	r->peer_beat_tsc = rdtsc_ordered();
	ret = kho_mbox_wake(r, a->apicid, a->entry, a->rsi);
	if (ret)
		smp_store_release(state, (u32)KHO_STATE_LOADED);
	return ret == -ETIMEDOUT ? -EBUSY : ret;
}

/**
 * kho_spawn - KHO_IOC_SPAWN
 *
 * Context: process.
 * Return: 0; -EINVAL not the boot CPU of the region, addresses outside it; -ENODEV no region;
 * -EPERM the CPU was not given, or the region is not freshly loaded; -EBUSY the CPU is not in the
 * park.
 */
long kho_spawn(void *arg)
{
	long ret = -ENODEV;

	down_read(&kho_life);
	mutex_lock(&kho_cpu_lock);
	if (kho_live(&kho_down))
		ret = spawn(&kho_down, arg);
	mutex_unlock(&kho_cpu_lock);
	up_read(&kho_life);
	return ret;
}
