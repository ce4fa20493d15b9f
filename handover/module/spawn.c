// SPDX-License-Identifier: GPL-2.0-only
/*
 * SPAWN sends a parked CPU into the incoming kernel; STOP is its inverse whatever that kernel
 * does: its CPUs are stopped by INIT and put back into the park, its functions lose bus
 * mastering, and all of it waits for this kernel to take it.
 */
#include "kho.h"

#include <linux/cpumask.h>
#include <linux/delay.h>
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

/*
 * What a fence takes away: FENCE and FENCEPK of the table, by what we have given and not taken back; the peer may have
 * written anything into the ledger.
 */
#define THEIRS(r, e)	(!kho_is_ours(r, e))

/* Everything it has, or may be waking up at this moment; the BSP cannot be among them. */
static int fence_cpus(struct kho_region *r)
{
	struct kho_ledger_cpu *c;
	int ret = 0, one;
	u32 i;

	for (i = 0; i < r->ncpus; i++) {
		c = &r->cpus[i];
		if (THEIRS(r, c))
			kho_ipi_init(kho_known(r, c)->apicid);
	}
	mdelay(10);
	for (i = 0; i < r->ncpus; i++) {
		c = &r->cpus[i];
		if (THEIRS(r, c))
			kho_ipi_deinit(kho_known(r, c)->apicid);
	}
	kho_region_heal(r);
	for (i = 0; i < r->ncpus; i++) {
		c = &r->cpus[i];
		if (!THEIRS(r, c))
			continue;
		one = kho_sipi(r, kho_known(r, c)->apicid);
		if (one) {
			pr_err("APIC id %u does not answer after INIT: %d\n", kho_known(r, c)->apicid, one);
			ret = -EIO;
			continue;
		}
		kho_give(r, c, KHO_OWNER_OUTGOING);
	}
	return ret;
}

static int stop(struct kho_region *r)
{
	struct kho_ledger_pci *p;
	struct kho_ledger_cpu *c;
	int cpu, ret;
	u32 i;

	for (i = 0; i < r->ncpus; i++) {
		c = &r->cpus[i];
		if (!THEIRS(r, c))
			continue;
		cpu = kho_cpu_of(kho_known(r, c)->apicid);
		if (kho_known(r, c)->bsp || cpu <= 0 || cpu_online(cpu))
			return -EPERM;
	}
	ret = fence_cpus(r);
	kho_pci_stop_dma();
	for (i = 0; i < r->npci; i++) {
		p = &r->pci[i];
		if (THEIRS(r, p))
			kho_give(r, p, KHO_OWNER_OUTGOING);
	}
	/* last: nothing of it runs any more, and it cannot write over this */
	if (!kho_state_terminal(READ_ONCE(kho_peer(r)->state)))
		smp_store_release(&kho_peer(r)->state, (u32)KHO_STATE_FENCED);
	wake_up_all(&r->wait);
	return ret;
}

/**
 * kho_stop - KHO_IOC_STOP; may be repeated
 *
 * Context: process; about 10 ms.
 * Return: 0; -EINVAL; -ENODEV no region; -EPERM the machine's boot CPU was given, nothing was done;
 * -EIO a CPU does not answer, the rest was done.
 */
long kho_stop(void *arg)
{
	struct kho_ioc_u32 *a = arg;
	long ret = -ENODEV;

	if (a->value)
		return -EINVAL;
	down_read(&kho_life);
	mutex_lock(&kho_cpu_lock);
	if (kho_live(&kho_down))
		ret = stop(&kho_down);
	mutex_unlock(&kho_cpu_lock);
	up_read(&kho_life);
	return ret;
}
