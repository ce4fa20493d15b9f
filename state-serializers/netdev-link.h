/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Interfaces that are made of others: VLANs, bonds, bridges and the like.  Which kinds are carried is one
 * table; what a kind has is replayed as it was read.
 */
#ifndef KHO_NETDEV_LINK_H
#define KHO_NETDEV_LINK_H

#include "state-serializers/netdev-nl.h"

struct kho_link_kind {
	const char *kind;
	uint64_t needed;	/* bits of attributes without which none can be made */
	uint64_t other;		/* bits of attributes that are the index of a port of it */
};

/* The row of a kind, NULL when it is not carried. */
const struct kho_link_kind *kho_link_kind(const char *kind);
/* The hardware or loopback interface has no kind. */
static inline bool kho_link_is_virtual(const Kho__NetLink *l)
{
	return *l->kind != '\0';
}
/* Why one of a carried kind cannot be carried all the same ("802.3ad ..."); NULL: it can. */
const char *kho_link_refused(const Kho__NetLink *l);

/* Append those that are carried to cfg (name and kind), each after what it lies on. */
int kho_netdev_find_virtual(struct kho_nl *nl, Kho__Netdev *cfg, struct kho_err *err);
/* Of each link from a message about it: kind, what it lies on and belongs to. -ENOMEM. */
int kho_netdev_read_kind(Kho__NetLink *l, const struct nlmsghdr *nlh);
/* VLANs of those of cfg's links that are bridges or their ports; of each only its index must be there. */
int kho_netdev_read_vlans(struct kho_nl *nl, Kho__Netdev *cfg, struct kho_err *err);
/* VLANs of bridges and their ports, and what they have learnt. cfg's links have been read. */
int kho_netdev_read_bridges(struct kho_nl *nl, Kho__Netdev *cfg, struct kho_err *err);

/*
 * Interfaces get the indexes they had: rules of the firewall, sockets and files know them by these. A virtual one is made
 * with its index; a NIC gets the lowest one that is free, so NICs come in the order of their indexes (after
 * kho_netdev_sort()), and all others below are taken by placeholders until then.
 */
#define KHO_INDEX_HOLDER "kho-idx"
void kho_netdev_sort(Kho__Netdev *cfg);
void kho_netdev_reserve_indexes(struct kho_nl *nl, const Kho__Netdev *cfg);
void kho_netdev_release_indexes(struct kho_nl *nl, const Kho__Netdev *cfg);

/* Index in this kernel of the link that had index `old` in the outgoing one; 0: not here. ifindex[i] is of cfg->link[i]. */
int kho_netdev_map_index(const Kho__Netdev *cfg, const int *ifindex, uint32_t old);
/* Make cfg->link[i], down; one of its name that is there is used. Its index; 0: what it lies on is not here. */
int kho_netdev_make(struct kho_nl *nl, const Kho__Netdev *cfg, size_t i, const int *ifindex, struct kho_err *err);
/* Put it below its master, with what it has as a port. All links are there. */
int kho_netdev_enslave(struct kho_nl *nl, const Kho__Netdev *cfg, size_t i, const int *ifindex, struct kho_err *err);
/* When all have their masters and are up: which port of a bond is the active one, VLANs and addresses of bridges. */
int kho_netdev_apply_ports(struct kho_nl *nl, const Kho__Netdev *cfg, size_t i, const int *ifindex, struct kho_err *err);

#endif
