// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a network driver forgets when it thaws.  virtio-net tells its device, which has been reset, nothing of the VLANs that
 * are in use: it hears them only as long as it takes everything, which ends with the next change of its filters.
 * (A MAC that somebody has set is renewed by netdev's unfreeze.)
 */
#include "kho.h"

#include <linux/device.h>
#include <linux/if_vlan.h>
#include <linux/netdevice.h>
#include <linux/rtnetlink.h>

/* vlan: the interface of that VLAN, or none: a bond's VLANs are its ports', too. */
static int add_vlan(struct net_device *vlan, int vid, void *arg)
{
	struct net_device *dev = arg;
	const struct net_device_ops *ops = dev->netdev_ops;

	return ops->ndo_vlan_rx_add_vid ? ops->ndo_vlan_rx_add_vid(dev, htons(ETH_P_8021Q), vid) : 0;
}

/* A virtio device on that PCI function. */
static bool is_on(const struct net_device *dev, const struct device *fn)
{
	const struct device *parent = dev->dev.parent;

	return parent && parent->bus && !strcmp(parent->bus->name, "virtio") && parent->parent == fn;
}

void kho_net_renew(struct device *fn)
{
	struct net_device *dev;

	rtnl_lock();
	for_each_netdev(&init_net, dev)
		if (is_on(dev, fn) && dev->features & NETIF_F_HW_VLAN_CTAG_FILTER && vlan_for_each(dev, add_vlan, dev))
			pr_warn("%s: a VLAN could not be given to the device again\n", netdev_name(dev));
	rtnl_unlock();
}
