// SPDX-License-Identifier: GPL-2.0-only
/*
 * A PCI function that was given away stays known here (its driver sleeps), but this kernel must not
 * touch its configuration: the bus gets operations that refuse it, until it is taken back.
 */
#include "kho.h"

#include <linux/list.h>
#include <linux/rculist.h>
#include <linux/slab.h>

struct bus_filter {
	struct list_head node;
	struct pci_bus *bus;
	struct pci_ops *old;
	struct pci_ops ops;
	unsigned int n;
	DECLARE_BITMAP(given, 256);
};

/* Only added to while the module lives: lookups happen under the PCI core's raw spinlock. */
static LIST_HEAD(filters);
static DEFINE_MUTEX(filter_lock);

static struct bus_filter *find(const struct pci_bus *bus)
{
	struct bus_filter *f;

	list_for_each_entry_rcu(f, &filters, node, true)
		if (f->bus == bus)
			return f;
	return NULL;
}

static int filter_read(struct pci_bus *bus, unsigned int devfn, int where, int size, u32 *val)
{
	struct bus_filter *f = find(bus);

	if (!f || test_bit(devfn, f->given)) {
		PCI_SET_ERROR_RESPONSE(val);
		return PCIBIOS_DEVICE_NOT_FOUND;
	}
	return f->old->read(bus, devfn, where, size, val);
}

static int filter_write(struct pci_bus *bus, unsigned int devfn, int where, int size, u32 val)
{
	struct bus_filter *f = find(bus);

	if (!f || test_bit(devfn, f->given))
		return PCIBIOS_DEVICE_NOT_FOUND;
	return f->old->write(bus, devfn, where, size, val);
}

static struct bus_filter *make(struct pci_bus *bus)
{
	struct bus_filter *f = kzalloc(sizeof(*f), GFP_KERNEL);

	if (!f)
		return NULL;
	f->bus = bus;
	f->old = bus->ops;
	f->ops = *bus->ops;
	f->ops.read = filter_read;
	f->ops.write = filter_write;
	list_add_rcu(&f->node, &filters);
	return f;
}

int kho_filter_set(struct pci_dev *dev, bool given)
{
	struct bus_filter *f;
	int ret = 0;

	mutex_lock(&filter_lock);
	f = find(dev->bus);
	if (!f && given)
		f = make(dev->bus);
	if (!f) {
		ret = given ? -ENOMEM : 0;
	} else if (given && !test_and_set_bit(dev->devfn, f->given)) {
		if (!f->n++)
			pci_bus_set_ops(dev->bus, &f->ops);
	} else if (!given && test_and_clear_bit(dev->devfn, f->given)) {
		if (!--f->n && dev->bus->ops == &f->ops)
			pci_bus_set_ops(dev->bus, f->old);
	}
	mutex_unlock(&filter_lock);
	return ret;
}

bool kho_filter_has(const struct pci_dev *dev)
{
	struct bus_filter *f = find(dev->bus);

	return f && test_bit(dev->devfn, f->given);
}

/* Its kernel was stopped: what it had started must not go on writing to memory. */
int kho_filter_stop_dma(struct pci_dev *dev)
{
	struct bus_filter *f = find(dev->bus);
	u32 cmd;
	int ret;

	if (!f)
		return -ENOENT;
	ret = f->old->read(dev->bus, dev->devfn, PCI_COMMAND, 2, &cmd);
	if (ret || cmd == 0xffff)
		return -EIO;
	cmd &= ~PCI_COMMAND_MASTER;
	cmd |= PCI_COMMAND_INTX_DISABLE;
	ret = f->old->write(dev->bus, dev->devfn, PCI_COMMAND, 2, cmd);
	return ret ? -EIO : 0;
}

/* Nothing is given any more: every function holds the module. */
void kho_filter_cleanup(void)
{
	struct bus_filter *f, *n;

	list_for_each_entry_safe(f, n, &filters, node) {
		list_del(&f->node);
		kfree(f);
	}
}
