// SPDX-License-Identifier: GPL-2.0-only
/*
 * The netdev serializer: PCI network interfaces with addresses, routes, rules and neighbours.
 *
 * Happy path: outgoing preserve reads the configuration and puts a released plug on the NIC's root;
 * incoming prepare loads drivers and makes the ifbs that will hold packets; freeze holds the plug (from
 * now on nothing is sent), quiesces the NIC; drain gives it away; retrieve takes it, leads both directions
 * into the ifbs before the link is up, configures it; finish lets the held packets go, in order,
 * tidy takes the ifbs out of the way.
 * Unhappy path: discard gives the NIC back, unfreeze wakes it (a thaw: it still has its
 * configuration) and releases the plug, unpreserve removes the plug.
 */
#include "state-serializers/netdev.h"

extern const struct kho_serializer kho_ser_netdev;
const struct kho_serializer kho_ser_netdev = {
	.name = "netdev",
	.order = 30,
	.flags = KHO_SER_GATE | KHO_SER_APART,
	.probe = kho_netdev_probe,
	.preserve = kho_netdev_preserve,
	.unpreserve = kho_netdev_unpreserve,
	.freeze = kho_netdev_freeze,
	.drain = kho_netdev_drain,
	.unfreeze = kho_netdev_unfreeze,
	.prepare = kho_netdev_prepare,
	.unprepare = kho_netdev_unprepare,
	.retrieve = kho_netdev_retrieve,
	.verify = kho_netdev_verify,
	.discard = kho_netdev_discard,
	.finish = kho_netdev_finish,
	.tidy = kho_netdev_tidy,
};
