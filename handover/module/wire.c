// SPDX-License-Identifier: GPL-2.0-only
/*
 * Interrupt wires of a kernel that is alone.  Its tables show it no I/O APIC (the real ones were the
 * outgoing kernel's, which masked them when it ended), so the few pins that matter, those of the serial
 * ports, get an interrupt domain of ours below x86_vector_domain.  Which pin a legacy interrupt is wired
 * to, the kernel that firmware booted reads out of the MADT.  Only edge-triggered wires: they need no
 * end-of-interrupt at the I/O APIC.  Under interrupt remapping there are none, and ports are polled.
 */
#include "kho.h"

#include <linux/acpi.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/irq.h>
#include <linux/irqdomain.h>
#include <asm/hw_irq.h>
#include <asm/irqdomain.h>

#define WIRES		KHO_UARTS
#define REG_VERSION	1
#define REG_PIN(n)	(0x10 + 2 * (n))
#define PIN_MASKED	(1u << 16)
#define PIN_DEST	24

struct wire {
	void __iomem *base;
	u8 pin;
};

static struct wire wires[WIRES];
static unsigned int nwires;
static struct irq_domain *domain;
static DEFINE_RAW_SPINLOCK(lock);

/* --- on the kernel that firmware booted --- */

static u32 gsi_of(u8 irq, const struct acpi_table_madt *m, bool *edge)
{
	const struct acpi_subtable_header *e = (void *)(m + 1);
	const void *end = (void *)m + m->header.length;

	*edge = true;
	for (; (void *)(e + 1) <= end && e->length >= sizeof(*e); e = (void *)e + e->length) {
		const struct acpi_madt_interrupt_override *o = (void *)e;

		if (e->type != ACPI_MADT_TYPE_INTERRUPT_OVERRIDE || o->source_irq != irq)
			continue;
		/* as the ISA bus does it, or said to be edge-triggered, active high */
		*edge = (o->inti_flags & 3) <= 1 && (o->inti_flags >> 2 & 3) <= 1;
		return o->global_irq;
	}
	return irq;
}

static bool pin_of(u32 gsi, const struct acpi_table_madt *m, struct kho_ledger_uart *u)
{
	const struct acpi_subtable_header *e = (void *)(m + 1);
	const void *end = (void *)m + m->header.length;
	u32 best = 0;

	for (; (void *)(e + 1) <= end && e->length >= sizeof(*e); e = (void *)e + e->length) {
		const struct acpi_madt_io_apic *a = (void *)e;

		if (e->type != ACPI_MADT_TYPE_IO_APIC || a->global_irq_base > gsi ||
		    gsi - a->global_irq_base > 239 || (u->ioapic && a->global_irq_base < best))
			continue;
		best = a->global_irq_base;
		u->ioapic = a->address;
		u->pin = gsi - best;
	}
	return u->ioapic;
}

/* Where the interrupt of a port is wired to; u->ioapic stays 0 when nobody could use that. */
void kho_wire_fill(u32 irq, struct kho_ledger_uart *u)
{
	struct irq_data *d = irq ? irq_get_irq_data(irq) : NULL;
	struct acpi_table_header *t;
	bool edge;
	u32 gsi;

	/* "IR-IO-APIC": remapped */
	if (acpi_disabled || irq > 15 || !d || !d->chip || !d->chip->name ||
	    strcmp(d->chip->name, "IO-APIC") || ACPI_FAILURE(acpi_get_table(ACPI_SIG_MADT, 0, &t)))
		return;
	gsi = gsi_of(irq, (void *)t, &edge);
	if (edge)
		(void)pin_of(gsi, (void *)t, u);
	acpi_put_table(t);
}

/* Where all of them are, for who fences this kernel. */
void kho_wires_fill(u32 *ioapic)
{
	const struct acpi_subtable_header *e;
	struct acpi_table_header *t;
	int n = 0;

	if (acpi_disabled || ACPI_FAILURE(acpi_get_table(ACPI_SIG_MADT, 0, &t)))
		return;
	for (e = (void *)((struct acpi_table_madt *)t + 1);
	     (void *)(e + 1) <= (void *)t + t->length && e->length >= sizeof(*e); e = (void *)e + e->length)
		if (e->type == ACPI_MADT_TYPE_IO_APIC && n < KHO_IOAPICS)
			ioapic[n++] = ((struct acpi_madt_io_apic *)e)->address;
	acpi_put_table(t);
}

/* --- on the kernel that is alone --- */

static u32 get(struct wire *w, u32 reg)
{
	writel(reg, w->base);
	return readl(w->base + 0x10);
}

static void put(struct wire *w, u32 reg, u32 v)
{
	writel(reg, w->base);
	writel(v, w->base + 0x10);
}

/*
 * The pins of a kernel that was fenced: what they raise would reach whoever gets its CPUs. Wires of ours are opened when this
 * kernel is alone, later.
 */
void kho_wires_mask(const u32 *ioapic)
{
	struct wire w;
	u32 version;
	int i, pin;

	for (i = 0; i < KHO_IOAPICS; i++) {
		w.base = ioapic[i] ? ioremap(ioapic[i], PAGE_SIZE) : NULL;
		if (!w.base)
			continue;
		version = get(&w, REG_VERSION);
		for (pin = version == ~0u ? -1 : (int)(version >> 16 & 0xff); pin >= 0; pin--)
			put(&w, REG_PIN(pin), get(&w, REG_PIN(pin)) | PIN_MASKED);
		iounmap(w.base);
	}
}

static struct wire *wire_of(struct irq_data *d)
{
	return irq_data_get_irq_chip_data(d);
}

static void set_masked(struct irq_data *d, bool masked)
{
	struct wire *w = wire_of(d);
	unsigned long flags;
	u32 v;

	raw_spin_lock_irqsave(&lock, flags);
	v = get(w, REG_PIN(w->pin));
	put(w, REG_PIN(w->pin), masked ? v | PIN_MASKED : v & ~PIN_MASKED);
	raw_spin_unlock_irqrestore(&lock, flags);
}

static void mask(struct irq_data *d)
{
	set_masked(d, true);
}

static void unmask(struct irq_data *d)
{
	set_masked(d, false);
}

/* Fixed, physical, edge, active high; masked or not as it was. */
static void point(struct irq_data *d)
{
	unsigned int cpu = cpumask_first(irq_data_get_effective_affinity_mask(d));
	struct irq_cfg *cfg = irqd_cfg(d);
	struct wire *w = wire_of(d);
	unsigned long flags;
	u32 v;

	if (!cfg || !cfg->vector || cpu >= nr_cpu_ids)
		return;
	raw_spin_lock_irqsave(&lock, flags);
	v = get(w, REG_PIN(w->pin)) & PIN_MASKED;
	put(w, REG_PIN(w->pin), PIN_MASKED);
	put(w, REG_PIN(w->pin) + 1, kho_apicid(cpu) << PIN_DEST);
	put(w, REG_PIN(w->pin), v | cfg->vector);
	raw_spin_unlock_irqrestore(&lock, flags);
}

static int set_affinity(struct irq_data *d, const struct cpumask *to, bool force)
{
	int ret = irq_chip_set_affinity_parent(d, to, force);

	if (ret >= 0)
		point(d);
	return ret;
}

/* The name makes mask_ioapics() (leave.c) find it. */
static struct irq_chip chip = {
	.name = "KHO-IO-APIC",
	.irq_ack = irq_chip_ack_parent,
	.irq_mask = mask,
	.irq_unmask = unmask,
	.irq_set_affinity = set_affinity,
	.irq_retrigger = irq_chip_retrigger_hierarchy,
	.flags = IRQCHIP_SKIP_SET_WAKE | IRQCHIP_AFFINITY_PRE_STARTUP,
};

static int domain_alloc(struct irq_domain *d, unsigned int v, unsigned int nr, void *arg)
{
	int ret = irq_domain_alloc_irqs_parent(d, v, nr, arg);

	if (!ret)
		irq_domain_set_info(d, v, nwires, &chip, &wires[nwires], handle_edge_irq, NULL,
				    "edge");
	return ret;
}

static int domain_activate(struct irq_domain *d, struct irq_data *data, bool reserve)
{
	mask(data);
	point(data);
	return 0;
}

static void domain_deactivate(struct irq_domain *d, struct irq_data *data)
{
	mask(data);
}

static const struct irq_domain_ops domain_ops = {
	.alloc = domain_alloc,
	.free = irq_domain_free_irqs_common,
	.activate = domain_activate,
	.deactivate = domain_deactivate,
};

static int make_domain(void)
{
	struct irq_domain_info di = {
		.ops = &domain_ops, .size = WIRES, .hwirq_max = WIRES, .parent = x86_vector_domain,
		.domain_flags = IRQ_DOMAIN_FLAG_HIERARCHY,
	};
	struct irq_domain *d;

	if (domain)
		return 0;
	di.fwnode = irq_domain_alloc_named_fwnode("khoctl-wires");
	if (!di.fwnode)
		return -ENOMEM;
	d = irq_domain_instantiate(&di);
	if (IS_ERR(d)) {
		irq_domain_free_fwnode(di.fwnode);
		return PTR_ERR(d);
	}
	domain = d;
	return 0;
}

/**
 * kho_wire_open - an interrupt of this kernel for a pin of an I/O APIC
 *
 * Context: process; one after the other. Never closed: a kernel that is alone keeps the module.
 * Return: the interrupt's number; 0 the port has no usable wire; negative errno.
 */
int kho_wire_open(const struct kho_ledger_uart *u)
{
	struct irq_alloc_info info = { };
	struct wire *w = &wires[nwires];
	int ret;

	if (!u->ioapic || nwires == WIRES)
		return 0;
	ret = make_domain();
	if (ret)
		return ret;
	w->base = ioremap(u->ioapic, PAGE_SIZE);
	if (!w->base)
		return -ENOMEM;
	w->pin = u->pin;
	/* the number of its last pin; all ones: there is nothing */
	ret = (get(w, REG_VERSION) >> 16 & 0xff) < w->pin || get(w, REG_VERSION) == ~0u ? -ENXIO : 0;
	if (!ret)
		ret = irq_domain_alloc_irqs(domain, 1, NUMA_NO_NODE, &info);
	if (ret < 0) {
		iounmap(w->base);
		return ret;
	}
	nwires++;
	return ret;
}
