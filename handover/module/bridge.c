// SPDX-License-Identifier: GPL-2.0-only
/*
 * The incoming kernel's PCI: one host bridge for each segment of the ledger, over the
 * memory-mapped configuration space, that shows nothing but the functions taken so far, and,
 * read-only, the bridges on the way to them.  Made when the agent reports READY, at the latest at
 * the first TAKE.
 *
 * Addresses are claimed as they are, never assigned: the other kernel uses the same
 * windows.  Bridges are scanned but not added, so that no port driver binds to what is not ours.
 */
#include "kho.h"

#include <linux/io.h>
#include <linux/list.h>
#include <linux/slab.h>

struct shown_bus {
	void __iomem *cfg;
	DECLARE_BITMAP(shown, 256);
	DECLARE_BITMAP(bridges, 256);
};

struct segment {
	struct list_head node;
	struct pci_sysdata sysdata;
	u64 ecam;
	u8 first, last;
	struct pci_bus *root;
	struct resource busn;
	struct resource *windows;
	struct shown_bus *bus[256];
};

static LIST_HEAD(segments);
static DEFINE_MUTEX(make_lock);

static struct shown_bus *shown_bus(struct pci_bus *bus)
{
	struct segment *s = container_of(to_pci_sysdata(bus), struct segment, sysdata);

	return s->bus[bus->number];
}

static void __iomem *map_bus(struct pci_bus *bus, unsigned int devfn, int where)
{
	struct shown_bus *b = shown_bus(bus);

	if (!b || !(test_bit(devfn, b->shown) || test_bit(devfn, b->bridges)))
		return NULL;		/* reads as all ones */
	return b->cfg + (devfn << 12) + where;
}

/*
 * No I/O APIC, no INTx: what has no interrupt pin does not ask for one.  A bridge's own BARs
 * cannot be sized (its writes are dropped), and nobody here uses them.
 */
static u32 masked(bool bridge, int where, u32 val)
{
	u32 pin = 0xffU << 8 >> ((where & 3) * 8);

	if ((where & ~3) == (PCI_INTERRUPT_PIN & ~3) && where <= PCI_INTERRUPT_PIN)
		val &= ~pin;
	if (bridge && where >= PCI_BASE_ADDRESS_0 && where < PCI_PRIMARY_BUS)
		val = 0;
	if (bridge && (where & ~3) == PCI_ROM_ADDRESS1)
		val = 0;
	return val;
}

static int cfg_read(struct pci_bus *bus, unsigned int devfn, int where, int size, u32 *val)
{
	int ret = pci_generic_config_read(bus, devfn, where, size, val);

	if (!ret)
		*val = masked(test_bit(devfn, shown_bus(bus)->bridges), where, *val);
	return ret;
}

static int cfg_write(struct pci_bus *bus, unsigned int devfn, int where, int size, u32 val)
{
	struct shown_bus *b = shown_bus(bus);

	if (b && test_bit(devfn, b->bridges))
		return PCIBIOS_SUCCESSFUL;	/* dropped: the bridge is shared */
	return pci_generic_config_write(bus, devfn, where, size, val);
}

static struct pci_ops ops = {
	.map_bus = map_bus,
	.read = cfg_read,
	.write = cfg_write,
};

/* The buses that the ledger's functions are on. */
static int map_buses(struct segment *s)
{
	struct kho_ledger_pci *p;
	struct shown_bus *b;
	u32 i;

	for (i = 0; i < kho_up.npci; i++) {
		p = kho_known(&kho_up, &kho_up.pci[i]);
		if (p->segment != s->sysdata.domain || p->bus < s->first || p->bus > s->last)
			continue;
		b = s->bus[p->bus];
		if (!b) {
			b = kzalloc(sizeof(*b), GFP_KERNEL);
			if (!b)
				return -ENOMEM;
			s->bus[p->bus] = b;
			b->cfg = ioremap(s->ecam + ((u64)p->bus << 20), SZ_1M);
			if (!b->cfg)
				return -ENOMEM;
		}
		if (p->bridge)
			__set_bit(p->devfn, b->bridges);
	}
	return 0;
}

static int windows(struct segment *s, struct list_head *list)
{
	struct kho_ledger_window *w;
	struct resource *res;
	u32 i;

	s->windows = kcalloc(kho_up.nwindows, sizeof(*s->windows), GFP_KERNEL);
	if (kho_up.nwindows && !s->windows)
		return -ENOMEM;
	s->busn = (struct resource) { .name = "khoctl bus", .start = s->first, .end = s->last,
				      .flags = IORESOURCE_BUS };
	pci_add_resource(list, &s->busn);
	for (i = 0; i < kho_up.nwindows; i++) {
		w = &kho_up.windows[i];
		res = &s->windows[i];
		if (!w->bytes)
			continue;
		res->name = "khoctl window";
		res->start = w->base;
		res->end = w->base + w->bytes - 1;
		res->flags = w->flags & (IORESOURCE_TYPE_BITS | IORESOURCE_PREFETCH |
					 IORESOURCE_MEM_64);
		pci_add_resource(list, res);
	}
	return 0;
}

static void segment_free(struct segment *s)
{
	int i;

	for (i = 0; i < 256; i++)
		if (s->bus[i]) {
			if (s->bus[i]->cfg)
				iounmap(s->bus[i]->cfg);
			kfree(s->bus[i]);
		}
	kfree(s->windows);
	kfree(s);
}

static int segment_make(struct kho_ledger_ecam *e)
{
	struct segment *s = kzalloc(sizeof(*s), GFP_KERNEL);
	LIST_HEAD(list);
	int ret;

	if (!s)
		return -ENOMEM;
	s->sysdata.domain = e->segment;
	s->sysdata.node = NUMA_NO_NODE;
	s->ecam = e->base;
	s->first = e->bus_first;
	s->last = e->bus_last;
	ret = s->last < s->first ? -EPROTO : map_buses(s);
	if (!ret)
		ret = windows(s, &list);
	if (!ret) {
		pci_lock_rescan_remove();
		s->root = pci_create_root_bus(NULL, s->first, &ops, &s->sysdata, &list);
		if (s->root) {
			pci_scan_child_bus(s->root);	/* only bridges are shown yet */
			pci_bus_claim_resources(s->root);
		}
		pci_unlock_rescan_remove();
		ret = s->root ? 0 : -ENOMEM;
	}
	if (ret) {
		pci_free_resource_list(&list);
		segment_free(s);
		return ret;
	}
	list_add(&s->node, &segments);
	return 0;
}

static struct segment *find(u16 domain)
{
	struct segment *s;

	list_for_each_entry(s, &segments, node)
		if (s->sysdata.domain == domain)
			return s;
	return NULL;
}

/* Make the host bridges; again is no harm.  Outside the blackout when the agent reports READY. */
int kho_pci_in_prepare(void)
{
	int ret = 0;
	u32 i;

	mutex_lock(&make_lock);
	for (i = 0; i < kho_up.necams && !ret; i++)
		if (!find(kho_up.ecams[i].segment))
			ret = segment_make(&kho_up.ecams[i]);
	mutex_unlock(&make_lock);
	return ret;
}

static struct pci_bus *bus_of(struct kho_pci_id id)
{
	struct segment *s;

	if (kho_pci_in_prepare())
		return NULL;
	s = find(id.segment);		/* the list does not change any more */
	return s && s->bus[id.bus] ? pci_find_bus(id.segment, id.bus) : NULL;
}

/* The addresses stay as they are; what the windows do not cover the driver will miss. */
static void claim(struct pci_dev *dev)
{
	struct resource *res;
	int i;

	for (i = 0; i < PCI_STD_NUM_BARS; i++) {
		res = &dev->resource[i];
		if (res->flags && !res->parent && pci_claim_resource(dev, i))
			pci_warn(dev, "BAR %d lies outside the windows of the ledger\n", i);
	}
}

static void hide(struct pci_dev *dev, u8 devfn)
{
	struct shown_bus *b = shown_bus(dev->bus);

	device_release_driver(&dev->dev);	/* the long part, without the lock of the tree */
	pci_clear_master(dev);
	pci_stop_and_remove_bus_device_locked(dev);
	clear_bit(devfn, b->shown);
}

static int bind(struct pci_dev *dev)
{
	pci_bus_add_device(dev);
	if (device_is_bound(&dev->dev))
		return 0;
	wait_for_device_probe();		/* drivers that probe asynchronously */
	if (device_is_bound(&dev->dev))
		return 0;
	return device_attach(&dev->dev) == 1 ? 0 : -ENODEV;
}

/* Under the function's lock, so that functions come up at the same time. */
int kho_pci_take_up(struct kho_pci_id id)
{
	struct kho_region *r = &kho_up;
	struct kho_ledger_pci *p = kho_ledger_pci(r, id.segment, id.bus, id.devfn);
	struct pci_bus *bus;
	struct pci_dev *dev;
	int ret;

	if (READ_ONCE(p->owner) == r->self_owner)
		return 0;
	if (p->bridge ||
	    !(KHO_MAY(r, TAKE, p) || KHO_MAY(r, RECLAIM, p) || KHO_MAY(r, INHERIT, p)))
		return -EPERM;
	bus = bus_of(id);
	if (!bus)
		return -ENODEV;
	set_bit(id.devfn, shown_bus(bus)->shown);
	pci_lock_rescan_remove();
	dev = pci_scan_single_device(bus, id.devfn);
	if (dev)
		claim(dev);
	pci_unlock_rescan_remove();
	if (!dev) {
		clear_bit(id.devfn, shown_bus(bus)->shown);
		return -ENODEV;
	}
	pci_dev_get(dev);
	ret = bind(dev);
	if (ret)
		hide(dev, id.devfn);
	else
		kho_own(r, p, r->self_owner);
	pci_dev_put(dev);
	return ret;
}

int kho_pci_give_up(struct kho_pci_id id)
{
	struct kho_region *r = &kho_up;
	struct kho_ledger_pci *p = kho_ledger_pci(r, id.segment, id.bus, id.devfn);
	struct pci_dev *dev;

	if (KHO_MAY(r, RETURN, p)) {
		kho_give(r, p, r->peer_owner);
		return 0;
	}
	if (!KHO_MAY(r, GIVE, p) || !kho_peer_runs(r))
		return -EPERM;
	dev = pci_get_domain_bus_and_slot(id.segment, id.bus, id.devfn);
	if (dev) {
		hide(dev, id.devfn);
		pci_dev_put(dev);
	}
	kho_give(r, p, r->peer_owner);
	return 0;
}
