// SPDX-License-Identifier: GPL-2.0-only
/*
 * The doorbell: a fixed IPI from the other kernel, taken as an ordinary interrupt of this
 * one.  Its vector comes from an interrupt domain of our own below x86_vector_domain; vector and
 * CPU are published in the ledger and follow the interrupt's affinity, also when its CPU goes
 * offline.
 */
#include "kho.h"

#include <linux/interrupt.h>
#include <linux/irq.h>
#include <linux/irqdomain.h>
#include <linux/rcupdate.h>
#include <asm/apic.h>
#include <asm/hw_irq.h>
#include <asm/irq_vectors.h>
#include <asm/irqdomain.h>

static struct fwnode_handle *fwnode;
static struct irq_domain *domain;
static int virq;
static DEFINE_MUTEX(open_lock);

static void publish(struct kho_region *r, struct irq_data *d)
{
	unsigned int cpu = cpumask_first(irq_data_get_effective_affinity_mask(d));
	struct irq_cfg *cfg = irqd_cfg(d);

	if (!cfg || !cfg->vector || cpu >= nr_cpu_ids)
		return;
	WRITE_ONCE(kho_self(r)->doorbell_apicid, kho_apicid(cpu));
	smp_store_release(&kho_self(r)->doorbell_vector, cfg->vector);
}

void kho_doorbell_publish(struct kho_region *r)
{
	if (virq)
		publish(r, irq_get_irq_data(virq));
}

static int set_affinity(struct irq_data *d, const struct cpumask *mask, bool force)
{
	int ret = irq_chip_set_affinity_parent(d, mask, force);
	struct kho_region *r;

	if (ret < 0)
		return ret;
	rcu_read_lock();
	for_each_region(r)
		if (kho_live(r))
			publish(r, d);
	rcu_read_unlock();
	return ret;
}

static void no_mask(struct irq_data *d)
{
}

static struct irq_chip chip = {
	.name = "khoctl",
	.irq_ack = irq_chip_ack_parent,
	.irq_mask = no_mask,		/* an IPI: the sender cannot be masked */
	.irq_unmask = no_mask,
	.irq_set_affinity = set_affinity,
	.irq_retrigger = irq_chip_retrigger_hierarchy,
	.flags = IRQCHIP_SKIP_SET_WAKE | IRQCHIP_AFFINITY_PRE_STARTUP,
};

static int domain_alloc(struct irq_domain *d, unsigned int v, unsigned int nr, void *arg)
{
	int ret = irq_domain_alloc_irqs_parent(d, v, nr, arg);

	if (!ret)
		irq_domain_set_info(d, v, 0, &chip, NULL, handle_edge_irq, NULL, "edge");
	return ret;
}

static const struct irq_domain_ops domain_ops = {
	.alloc = domain_alloc,
	.free = irq_domain_free_irqs_common,
};

static irqreturn_t handler(int irq, void *arg)
{
	struct kho_region *r;

	rcu_read_lock();
	for_each_region(r) {
		if (!kho_live(r))
			continue;
		WRITE_ONCE(kho_self(r)->link_irqs, kho_self(r)->link_irqs + 1);
		kho_ping_irq(r);
		wake_up(&r->wait);
	}
	rcu_read_unlock();
	return IRQ_HANDLED;
}

/* Where the ledger says the peer takes it, but only a device vector, no CPU of ours. */
void kho_doorbell_ring(struct kho_region *r)
{
	u32 vector = smp_load_acquire(&kho_peer(r)->doorbell_vector);
	u32 apicid = READ_ONCE(kho_peer(r)->doorbell_apicid);
	struct kho_ledger_cpu *c;

	if (vector < FIRST_EXTERNAL_VECTOR || vector >= FIRST_SYSTEM_VECTOR || !kho_peer_runs(r))
		return;
	c = kho_ledger_cpu(r, apicid);
	if (!c || kho_is_ours(r, c))
		return;
	kho_ipi(APIC_DM_FIXED | APIC_DEST_PHYSICAL | vector, apicid);
}

/* Kept until the module goes: both regions use the same interrupt. */
int kho_doorbell_open(void)
{
	struct irq_domain_info di = {
		.ops = &domain_ops, .size = 1, .hwirq_max = 1, .parent = x86_vector_domain,
		.domain_flags = IRQ_DOMAIN_FLAG_HIERARCHY,
	};
	struct irq_alloc_info info = { };
	int ret = 0;

	mutex_lock(&open_lock);
	if (virq)
		goto unlock;
	ret = -ENOMEM;
	fwnode = irq_domain_alloc_named_fwnode("khoctl");
	if (!fwnode)
		goto unlock;
	di.fwnode = fwnode;
	domain = irq_domain_instantiate(&di);
	ret = PTR_ERR_OR_ZERO(domain);
	if (ret)
		goto free_fwnode;
	ret = irq_domain_alloc_irqs(domain, 1, NUMA_NO_NODE, &info);
	if (ret < 0)
		goto remove_domain;
	virq = ret;
	ret = request_irq(virq, handler, 0, "khoctl", &virq);
	if (!ret)
		goto unlock;
	irq_dispose_mapping(virq);
	virq = 0;
remove_domain:
	irq_domain_remove(domain);
free_fwnode:
	irq_domain_free_fwnode(fwnode);
unlock:
	mutex_unlock(&open_lock);
	return ret;
}

void kho_doorbell_close(void)
{
	if (!virq)
		return;
	free_irq(virq, &virq);
	irq_dispose_mapping(virq);
	irq_domain_remove(domain);
	irq_domain_free_fwnode(fwnode);
	virq = 0;
}
