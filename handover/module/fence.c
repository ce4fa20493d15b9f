// SPDX-License-Identifier: GPL-2.0-only
/*
 * STOP: the other kernel is stopped, whatever it does.  Its CPUs go to the park by INIT, its functions lose bus
 * mastering, and all of it waits for this kernel to take it; last the ledger says FENCED.
 *
 * The incoming kernel can fence the outgoing one, too, when that has panicked, is silent, or has signed: before
 * anything becomes visible here, nothing of it may run any more, and nothing may write into memory that is adopted.
 * The machine's boot CPU is never sent INIT: it gets an NMI, which the module there takes as the order to park
 * (leave.c).  That comes first, for it may fail: then nothing was done, and a kernel that has panicked resets
 * the machine as it would without us.
 */
#include "kho.h"

#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/io.h>
#include <linux/sizes.h>
#include <asm/apic.h>

#define NMI_TRIES	10	/* a CPU that is panicking writes its log meanwhile */

/*
 * What a fence takes away: FENCE and FENCEPK of the table, by what this kernel has and has given; the peer may have written
 * anything into the ledger.
 */
#define THEIRS(r, e)	(!kho_is_ours(r, e))

static u32 *fence_word(const struct kho_region *r)
{
	return r->head + KHO_OFF_MAILBOX + KHO_MBOX_FENCE;
}

/* An incoming kernel has no claim before the blackout: what it writes there earlier is that of a kernel gone wild. */
static bool peer_may_claim(const struct kho_region *r)
{
	return r == &kho_up || READ_ONCE(r->frozen);
}

bool kho_fence_claimed(const struct kho_region *r)
{
	return READ_ONCE(*fence_word(r)) == 1 + r->peer && peer_may_claim(r);
}

/* Two kernels that take each other for dead must not stop each other: one of them wins. What is nobody's claim counts for nothing. */
static int claim(struct kho_region *r)
{
	u32 mine = 1 + r->self, theirs = 1 + r->peer, *w = fence_word(r), old;

	for (;;) {
		old = READ_ONCE(*w);
		if (old == mine)
			return 0;
		if (old == theirs && peer_may_claim(r))
			return -EPERM;
		if (cmpxchg(w, old, mine) == old)
			return 0;
	}
}

/* A CPU that answers was parked already, by the first NMI or by itself. */
static int park_by_nmi(struct kho_region *r, u32 apicid)
{
	int i, ret = -ETIMEDOUT;

	for (i = 0; i < NMI_TRIES && ret; i++) {
		kho_ipi(APIC_DM_NMI, apicid);
		mdelay(20);
		kho_mbox_break(r);
		ret = kho_mbox_test(r, apicid, 300);
	}
	return ret;
}

static int fence_bsp(struct kho_region *r)
{
	struct kho_ledger_cpu *c;
	int ret;
	u32 i;

	for (i = 0; i < r->ncpus; i++) {
		c = &r->cpus[i];
		if (!kho_known(r, c)->bsp || !THEIRS(r, c))
			continue;
		ret = park_by_nmi(r, kho_known(r, c)->apicid);
		if (ret) {
			pr_err("APIC id %u, the machine's boot CPU, does not answer an NMI: %d\n",
			       kho_known(r, c)->apicid, ret);
			return -EIO;
		}
		kho_give(r, c, r->self_owner);
	}
	return 0;
}

static bool is_fenced_by_init(const struct kho_region *r, struct kho_ledger_cpu *c)
{
	return THEIRS(r, c) && !kho_known(r, c)->bsp;
}

/* Everything it has, or may be waking up at this moment; the BSP is not among them any more. */
static int fence_cpus(struct kho_region *r)
{
	struct kho_ledger_cpu *c;
	int ret = 0, one;
	u32 i;

	for (i = 0; i < r->ncpus; i++) {
		c = &r->cpus[i];
		if (is_fenced_by_init(r, c))
			kho_ipi_init(kho_known(r, c)->apicid);
	}
	mdelay(10);
	for (i = 0; i < r->ncpus; i++) {
		c = &r->cpus[i];
		if (is_fenced_by_init(r, c))
			kho_ipi_deinit(kho_known(r, c)->apicid);
	}
	if (r == &kho_down)
		kho_region_heal(r);
	else
		kho_mbox_break(r);
	for (i = 0; i < r->ncpus; i++) {
		c = &r->cpus[i];
		if (!is_fenced_by_init(r, c))
			continue;
		one = kho_sipi(r, kho_known(r, c)->apicid);
		if (one) {
			pr_err("APIC id %u does not answer after INIT: %d\n", kho_known(r, c)->apicid, one);
			ret = -EIO;
			continue;
		}
		kho_give(r, c, r->self_owner);
	}
	return ret;
}

/* --- what the fenced outgoing kernel had beside CPUs --- */

static void quiet_function(void __iomem *f, u16 segment, u8 bus, u8 devfn)
{
	struct kho_ledger_pci *p = kho_ledger_pci(&kho_up, segment, bus, devfn);
	u16 cmd = readw(f + PCI_COMMAND);

	/* ours, or given to us: quiet, or a driver of ours is about to have it */
	if (p && (kho_is_ours(&kho_up, p) || READ_ONCE(p->to) == KHO_OWNER_INCOMING))
		return;
	if (!(cmd & PCI_COMMAND_MASTER))
		return;
	writew((cmd & ~PCI_COMMAND_MASTER) | PCI_COMMAND_INTX_DISABLE, f + PCI_COMMAND);
}

static void quiet_bus(void __iomem *cfg, u16 segment, u8 bus)
{
	bool many = false;
	u8 type;
	int i;

	for (i = 0; i < 256; i++) {
		void __iomem *f = cfg + (i << 12);

		if (PCI_FUNC(i) && !many)
			continue;
		if (readw(f + PCI_VENDOR_ID) == 0xffff) {
			many = many && PCI_FUNC(i);
			continue;
		}
		type = readb(f + PCI_HEADER_TYPE);
		if (!PCI_FUNC(i))
			many = type & 0x80;
		/* bridges pass on what our own functions do */
		if ((type & 0x7f) == PCI_HEADER_TYPE_NORMAL)
			quiet_function(f, segment, bus, i);
	}
}

/* No DMA from what stays behind, as a kernel that retires leaves it (kho_pci_quiet()). */
static int quiet_all(const struct kho_region *r)
{
	void __iomem *cfg;
	u32 i, bus;

	for (i = 0; i < r->necams; i++) {
		const struct kho_ledger_ecam *e = &r->ecams[i];

		for (bus = e->bus_first; bus <= e->bus_last; bus++) {
			cfg = ioremap(e->base + ((u64)bus << 20), SZ_1M);
			if (!cfg)
				return -ENOMEM;
			quiet_bus(cfg, e->segment, bus);
			iounmap(cfg);
		}
	}
	return 0;
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
		if ((r == &kho_down && kho_known(r, c)->bsp) || cpu <= 0 || cpu_online(cpu))
			return -EPERM;
	}
	ret = claim(r);
	if (ret)
		return ret;
	ret = fence_bsp(r);
	if (ret) {
		cmpxchg(fence_word(r), 1 + r->self, 0);
		return ret;
	}
	ret = fence_cpus(r);
	if (r == &kho_down) {
		kho_pci_stop_dma();
	} else {
		kho_wires_mask(kho_platform()->ioapic);
		ret = ret ?: quiet_all(r);
	}
	for (i = 0; i < r->npci; i++) {
		p = &r->pci[i];
		if (THEIRS(r, p))
			kho_give(r, p, r->self_owner);
	}
	/* last: nothing of it runs any more, and it cannot write over this */
	if (!ret)
		WRITE_ONCE(r->fenced, true);
	if (r == &kho_up ? !ret : !kho_state_terminal(READ_ONCE(kho_peer(r)->state)))
		smp_store_release(&kho_peer(r)->state, (u32)KHO_STATE_FENCED);
	wake_up_all(&r->wait);
	return ret;
}

/* May this incoming kernel end the one that made it? */
static bool may_stop_up(const struct kho_region *r)
{
	u32 own = READ_ONCE(r->state);

	return own == KHO_STATE_COMMITTED || (own == KHO_STATE_DARK && kho_peer_silent(r));
}

/**
 * kho_stop - KHO_IOC_STOP; may be repeated
 *
 * Context: process; about 10 ms, up to four seconds for the outgoing kernel.
 * Return: 0; -EINVAL; -ENODEV no region; -EPERM nothing was done: the machine's boot CPU was given, the outgoing
 * kernel may not be stopped now, or it stops this one; -EIO the boot CPU does not answer, nothing was done, or another CPU does
 * not, the rest was done; -ENOMEM.
 */
long kho_stop(void *arg)
{
	struct kho_ioc_u32 *a = arg;
	struct kho_region *r = a->value ? &kho_up : &kho_down;
	long ret = -ENODEV;

	if (a->value && a->value != KHO_PEER_OUTGOING)
		return -EINVAL;
	down_read(&kho_life);
	mutex_lock(&kho_cpu_lock);
	if (kho_live(r))
		ret = r == &kho_up && !may_stop_up(r) ? -EPERM : stop(r);
	mutex_unlock(&kho_cpu_lock);
	up_read(&kho_life);
	return ret;
}
