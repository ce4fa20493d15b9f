// SPDX-License-Identifier: GPL-2.0-only
/*
 * PCI functions of this kernel that change hands.  Quiescing goes through the power management
 * callbacks of the bus: the driver stays bound, mounts and addresses stay, undo is a thaw.  A
 * quiesced function is given to the incoming kernel by the ledger and the filter; towards the
 * kernel above it is the bridge's business (bridge.c).
 */
#include "kho.h"

#include <linux/ktime.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/pm.h>
#include <linux/pm_runtime.h>
#include <linux/slab.h>

struct kho_fn {
	struct list_head node;
	struct kho_pci_id id;
	struct mutex lock;
	struct pci_dev *dev;	/* held while quiesced or given */
	bool quiesced, given;
	bool unmatched;		/* driverless: kept from being bound while it is away */
};

static LIST_HEAD(functions);
static DEFINE_MUTEX(functions_lock);

static struct kho_fn *fn_get(const struct kho_ioc_pci *a)
{
	struct kho_fn *fn;

	mutex_lock(&functions_lock);
	list_for_each_entry(fn, &functions, node)
		if (fn->id.segment == a->segment && fn->id.bus == a->bus &&
		    fn->id.devfn == a->devfn)
			goto out;
	fn = kzalloc(sizeof(*fn), GFP_KERNEL);
	if (fn) {
		fn->id.segment = a->segment;
		fn->id.bus = a->bus;
		fn->id.devfn = a->devfn;
		mutex_init(&fn->lock);
		list_add(&fn->node, &functions);
	}
out:
	mutex_unlock(&functions_lock);
	return fn;
}

static struct pci_dev *dev_get(struct kho_pci_id id)
{
	return pci_get_domain_bus_and_slot(id.segment, id.bus, id.devfn);
}

static void hold(struct kho_fn *fn, struct pci_dev *dev)
{
	if (fn->dev)
		return;
	fn->dev = pci_dev_get(dev);
	__module_get(THIS_MODULE);
}

static void let_go(struct kho_fn *fn)
{
	if (fn->quiesced || fn->given || !fn->dev)
		return;
	pci_dev_put(fn->dev);
	fn->dev = NULL;
	module_put(THIS_MODULE);
}

/*
 * SCSI disks of a host adapter: it is their own freeze that keeps commands away from the adapter's driver, which relies on that.
 * Children before parents, as a suspend does it.
 */
static bool is_scsi(struct device *dev)
{
	return dev->bus && !strcmp(dev->bus->name, "scsi") && dev->bus->pm && dev->bus->pm->freeze && dev->bus->pm->thaw;
}

static int freeze_below(struct device *dev, void *unused)
{
	int ret = device_for_each_child(dev, NULL, freeze_below);

	return ret ?: is_scsi(dev) ? dev->bus->pm->freeze(dev) : 0;
}

/* One that was not frozen is as it was; one that fails keeps no other from it. */
static int thaw_one(struct device *dev, void *arg)
{
	int *first = arg, ret = is_scsi(dev) ? dev->bus->pm->thaw(dev) : 0;

	if (!*first)
		*first = ret;
	return device_for_each_child(dev, arg, thaw_one);
}

static int thaw_below(struct device *dev)
{
	int first = 0;

	device_for_each_child(dev, &first, thaw_one);
	return first;
}

static int freeze(struct device *dev)
{
	const struct dev_pm_ops *pm = dev->bus->pm;
	int ret;

	if (!dev->driver)
		return -ENXIO;
	if (!pm || !pm->freeze || !pm->freeze_noirq || !pm->thaw || !pm->thaw_noirq ||
	    !dev->driver->pm || !(dev->driver->pm->freeze || dev->driver->pm->freeze_noirq))
		return -EOPNOTSUPP;
	ret = device_for_each_child(dev, NULL, freeze_below);
	if (!ret)
		ret = pm->freeze(dev);
	if (ret) {
		thaw_below(dev);
		return ret;
	}
	ret = pm->freeze_noirq(dev);
	if (ret) {
		pm->thaw(dev);
		thaw_below(dev);
	}
	return ret;
}

/* Return: 0, or why it is still frozen; *below: what the first of its disks that failed returned. */
static int thaw(struct device *dev, int *below)
{
	const struct dev_pm_ops *pm = dev->bus->pm;
	int ret;

	*below = 0;
	if (!dev->driver)
		return 0;		/* unbound meanwhile */
	ret = pm->thaw_noirq(dev);
	if (!ret)
		ret = pm->thaw(dev);
	if (!ret)
		*below = thaw_below(dev);
	return ret;
}

static int quiesce(struct kho_fn *fn)
{
	struct pci_dev *dev;
	int ret;

	if (fn->quiesced)
		return 0;
	if (fn->given)
		return -EPERM;
	dev = dev_get(fn->id);
	if (!dev)
		return -ENODEV;
	if (dev->hdr_type != PCI_HEADER_TYPE_NORMAL) {
		pci_dev_put(dev);
		return -EINVAL;
	}
	pm_runtime_get_sync(&dev->dev);
	device_lock(&dev->dev);
	ret = freeze(&dev->dev);
	device_unlock(&dev->dev);
	if (ret) {
		pm_runtime_put(&dev->dev);
	} else {
		hold(fn, dev);
		fn->quiesced = true;
	}
	pci_dev_put(dev);
	return ret;
}

static int unquiesce(struct kho_fn *fn)
{
	struct device *dev;
	int ret, below;

	if (!fn->quiesced)
		return 0;
	if (fn->given)
		return -EPERM;
	dev = &fn->dev->dev;
	kho_cpus_show();
	device_lock(dev);
	ret = thaw(dev, &below);
	device_unlock(dev);
	kho_cpus_hide();
	if (ret)
		return ret;
	/* (for a disk, rtnl is not to be waited for: who has it may want the disk) */
	if (fn->dev->class >> 16 == PCI_BASE_CLASS_NETWORK)
		kho_net_renew(dev);
	pm_runtime_put(dev);
	/* whatever its disks say: it runs, and would be set up under its driver if it was thawed once more */
	fn->quiesced = false;
	let_go(fn);
	return below;
}

static void rematch(struct kho_fn *fn, struct pci_dev *dev)
{
	if (fn->unmatched)
		device_set_driver_override(&dev->dev, NULL);
	fn->unmatched = false;
}

/* To the incoming kernel. */
static int give_down(struct kho_fn *fn, struct kho_ledger_pci *p)
{
	struct pci_dev *dev;
	int ret = 0;

	if (kho_known(&kho_down, p)->bridge || !KHO_MAY(&kho_down, GIVE, p))
		return -EPERM;
	dev = dev_get(fn->id);
	if (!dev)
		return -ENODEV;
	device_lock(&dev->dev);
	if (!fn->quiesced && dev->dev.driver)
		ret = -EBUSY;
	device_unlock(&dev->dev);
	if (!ret && !fn->quiesced && !device_has_driver_override(&dev->dev)) {
		ret = device_set_driver_override(&dev->dev, "khoctl-given");
		fn->unmatched = !ret;
	}
	if (!ret)
		ret = kho_filter_set(dev, true);
	if (!ret) {
		hold(fn, dev);
		fn->given = true;
		kho_filter_stop_dma(dev);
		kho_give(&kho_down, p, KHO_OWNER_INCOMING);
	} else {
		rematch(fn, dev);
	}
	pci_dev_put(dev);
	return ret;
}

static int take_down(struct kho_fn *fn, struct kho_ledger_pci *p)
{
	if (kho_is_ours(&kho_down, p) && !fn->given)
		return 0;
	if (!KHO_MAY(&kho_down, TAKE, p) && !KHO_MAY(&kho_down, RECLAIM, p))
		return -EPERM;
	if (fn->given) {
		kho_filter_set(fn->dev, false);
		rematch(fn, fn->dev);
		fn->given = false;
	}
	kho_own(&kho_down, p, KHO_OWNER_OUTGOING);
	let_go(fn);
	return 0;
}

static int shift(struct kho_fn *fn, u32 peer, bool give)
{
	struct kho_region *r = kho_region_of(peer);
	struct kho_ledger_pci *p;

	if (!r)
		return -ENODEV;
	p = kho_ledger_pci(r, fn->id.segment, fn->id.bus, fn->id.devfn);
	if (!p)
		return -EPERM;
	if (r == &kho_down)
		return give ? give_down(fn, p) : take_down(fn, p);
	if (fn->quiesced || fn->given)
		return -EBUSY;
	return give ? kho_pci_give_up(fn->id) : kho_pci_take_up(fn->id);
}

enum act { QUIESCE, UNQUIESCE, GIVE, TAKE };

static long act(struct kho_ioc_pci *a, enum act what)
{
	struct kho_fn *fn;
	ktime_t start;
	int ret = kho_check_pci(a, what == GIVE || what == TAKE);

	if (ret)
		return ret;
	fn = fn_get(a);
	if (!fn)
		return -ENOMEM;
	down_read(&kho_life);
	mutex_lock(&fn->lock);
	start = ktime_get();
	if (what == QUIESCE)
		ret = quiesce(fn);
	else if (what == UNQUIESCE)
		ret = unquiesce(fn);
	else
		ret = shift(fn, a->peer, what == GIVE);
	a->duration_us = ktime_us_delta(ktime_get(), start);
	mutex_unlock(&fn->lock);
	up_read(&kho_life);
	return ret;
}

/**
 * kho_pci_quiesce - KHO_IOC_PCI_QUIESCE; quiesced already is no error
 *
 * Context: process; the driver's freeze callback runs.
 * Return: 0; -EINVAL a bridge; -ENODEV; -ENXIO no driver (nothing to quiesce); -EOPNOTSUPP the
 * driver has no power management (unbind it instead); -EPERM given away; what the driver returns.
 */
long kho_pci_quiesce(void *arg)
{
	return act(arg, QUIESCE);
}

/**
 * kho_pci_unquiesce - KHO_IOC_PCI_UNQUIESCE; not quiesced is no error
 *
 * Context: process.
 * Return: 0; -EPERM given away: TAKE first; what the driver returns, or that of a disk below it, which stays frozen then.
 */
long kho_pci_unquiesce(void *arg)
{
	return act(arg, UNQUIESCE);
}

/**
 * kho_pci_give - KHO_IOC_PCI_GIVE
 *
 * Context: process; towards the outgoing kernel the driver is unbound.
 * Return: 0; -EINVAL; -ENODEV no region, no function; -EPERM not in the ledger, not ours, a
 * bridge; -EBUSY a driver is bound and not quiesced.
 */
long kho_pci_give(void *arg)
{
	return act(arg, GIVE);
}

/**
 * kho_pci_take - KHO_IOC_PCI_TAKE; from the outgoing kernel it returns when a driver is bound
 *
 * Context: process; the driver's probe runs.
 * Return: 0; -EINVAL; -ENODEV no region, no such function on the bus, no driver (nothing has
 * changed hands then); -EPERM not in the ledger, not parked for us.
 */
long kho_pci_take(void *arg)
{
	return act(arg, TAKE);
}

void kho_pci_stop_dma(void)
{
	struct kho_fn *fn;

	mutex_lock(&functions_lock);
	list_for_each_entry(fn, &functions, node)
		if (READ_ONCE(fn->given) && kho_filter_stop_dma(fn->dev))
			pci_warn(fn->dev, "bus mastering could not be switched off\n");
	mutex_unlock(&functions_lock);
}

bool kho_pci_masters(u16 segment, u8 bus, u8 devfn)
{
	struct kho_pci_id id = { .segment = segment, .bus = bus, .devfn = devfn };
	struct pci_dev *dev = dev_get(id);
	u16 cmd = 0;

	if (!dev)
		return false;
	if (!kho_filter_has(dev))
		pci_read_config_word(dev, PCI_COMMAND, &cmd);
	pci_dev_put(dev);
	return cmd != 0xffff && (cmd & PCI_COMMAND_MASTER);
}

void kho_pci_quiet(void)
{
	struct pci_dev *dev = NULL;

	for_each_pci_dev(dev)
		if (dev->hdr_type == PCI_HEADER_TYPE_NORMAL && !kho_filter_has(dev))
			pci_clear_master(dev);
}

void kho_pci_cleanup(void)
{
	struct kho_fn *fn, *n;

	list_for_each_entry_safe(fn, n, &functions, node) {
		list_del(&fn->node);
		kfree(fn);
	}
	kho_filter_cleanup();
}
