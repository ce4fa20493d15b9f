// SPDX-License-Identifier: GPL-2.0-only
/*
 * Making interfaces that are made of others, from what was read about them.
 *
 * A kind's attributes are tried all at once.  Some kernels dump what they do not take (a bond's options for
 * other modes, counters), and one does not know all of another's: then one is made of what is needed, and each
 * of the others is set by itself, a refusal ignored.
 */
#include <net/if.h> /* before those of the kernel, which then leave out what is in it */

#include <linux/if_bonding.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <stdlib.h>
#include <string.h>

#include "state-serializers/common.h"
#include "state-serializers/netdev-link.h"

#define BIT(n) (1ull << (n))

static const struct kho_link_kind kinds[] = {
	{ "vlan", BIT(IFLA_VLAN_ID) | BIT(IFLA_VLAN_PROTOCOL) | BIT(IFLA_VLAN_FLAGS), 0 },
	{ "bond", BIT(IFLA_BOND_MODE) | BIT(IFLA_BOND_MIIMON), BIT(IFLA_BOND_ACTIVE_SLAVE) | BIT(IFLA_BOND_PRIMARY) },
	{ "bridge", 0, 0 },
	{ "dummy", 0, 0 },
	{ "macvlan", BIT(IFLA_MACVLAN_MODE) | BIT(IFLA_MACVLAN_FLAGS), 0 },
	{ "ipvlan", BIT(IFLA_IPVLAN_MODE) | BIT(IFLA_IPVLAN_FLAGS), 0 },
	{ "vrf", BIT(IFLA_VRF_TABLE), 0 },
};

const struct kho_link_kind *kho_link_kind(const char *kind)
{
	for (size_t i = 0; i < KHO_ARRAY_SIZE(kinds); i++)
		if (!strcmp(kinds[i].kind, kind))
			return &kinds[i];
	return NULL;
}

const char *kho_link_refused(const Kho__NetLink *l)
{
	const struct nlattr *mode = kho_nl_attr(&l->info, 0, IFLA_BOND_MODE);

	if (!strcmp(l->kind, "bond") && mode && mnl_attr_get_payload_len(mode) == 1 && mnl_attr_get_u8(mode) == BOND_MODE_8023AD)
		return "802.3ad (LACP) would have to negotiate anew, and no packet passes meanwhile";
	return NULL;
}

int kho_netdev_map_index(const Kho__Netdev *cfg, const int *ifindex, uint32_t old)
{
	for (size_t i = 0; old && i < cfg->n_link; i++)
		if (cfg->link[i]->index == old)
			return ifindex[i];
	return 0;
}

/* Bit of an attribute; 0 for one that is too high for a table. */
static uint64_t bit_of(const struct nlattr *a)
{
	return mnl_attr_get_type(a) < 64 ? BIT(mnl_attr_get_type(a)) : 0;
}

#define VLAN_FLAGS 0x1fu /* that all kernels know */

/* A VLAN's flags are dumped with a mask of all bits, and taken with one of those that are known. */
static void put_attr(struct nlmsghdr *nlh, const char *kind, bool port, const struct nlattr *a)
{
	struct ifla_vlan_flags f;

	if (port || strcmp(kind, "vlan") || mnl_attr_get_type(a) != IFLA_VLAN_FLAGS || mnl_attr_get_payload_len(a) != sizeof(f)) {
		mnl_attr_put(nlh, a->nla_type, mnl_attr_get_payload_len(a), mnl_attr_get_payload(a));
		return;
	}
	memcpy(&f, mnl_attr_get_payload(a), sizeof(f));
	f.flags &= VLAN_FLAGS;
	f.mask = VLAN_FLAGS;
	mnl_attr_put(nlh, IFLA_VLAN_FLAGS, sizeof(f), &f);
}

/* info or port data in its nests: attributes of `mask`, or only `one` of them. */
static void put_info(struct nlmsghdr *nlh, const char *kind, bool port, const ProtobufCBinaryData *data, uint64_t mask, const struct nlattr *one)
{
	struct nlattr *info = mnl_attr_nest_start(nlh, IFLA_LINKINFO), *in;

	mnl_attr_put_strz(nlh, port ? IFLA_INFO_SLAVE_KIND : IFLA_INFO_KIND, kind);
	in = mnl_attr_nest_start(nlh, port ? IFLA_INFO_SLAVE_DATA : IFLA_INFO_DATA);
	kho_nl_for_each(a, data, 0)
		if (one ? a == one : !!(bit_of(a) & mask))
			put_attr(nlh, kind, port, a);
	mnl_attr_nest_end(nlh, in);
	mnl_attr_nest_end(nlh, info);
}

static struct nlmsghdr *link_request(struct kho_nl *nl, uint16_t flags, int ifindex)
{
	struct nlmsghdr *nlh = kho_nl_request(nl, RTM_NEWLINK, flags, sizeof(struct ifinfomsg));

	((struct ifinfomsg *)mnl_nlmsg_get_payload(nlh))->ifi_index = ifindex;
	return nlh;
}

/* Each by itself; what is refused stays as this kernel has it. */
static void set_each(struct kho_nl *nl, int ifindex, const char *kind, bool port, const ProtobufCBinaryData *data, uint64_t mask)
{
	kho_nl_for_each(a, data, 0) {
		if (!(bit_of(a) & mask))
			continue;
		struct nlmsghdr *nlh = link_request(nl, 0, ifindex);

		put_info(nlh, kind, port, data, mask, a);
		(void)!kho_nl_do(nl, nlh, NULL, "set");
	}
}

static int create(struct kho_nl *nl, const Kho__NetLink *l, int index, int lower, uint64_t mask, struct kho_err *err)
{
	struct nlmsghdr *nlh = link_request(nl, NLM_F_CREATE | NLM_F_EXCL, index);

	mnl_attr_put_strz(nlh, IFLA_IFNAME, l->name);
	if (lower)
		mnl_attr_put_u32(nlh, IFLA_LINK, lower);
	/* the address is set later where it is another than the kernel's choice: a VLAN goes on following its NIC */
	put_info(nlh, l->kind, false, &l->info, mask, NULL);
	return kho_nl_do(nl, nlh, err, "make the %s %s", l->kind, l->name);
}

int kho_netdev_make(struct kho_nl *nl, const Kho__Netdev *cfg, size_t i, const int *ifindex, struct kho_err *err)
{
	const Kho__NetLink *l = cfg->link[i];
	const struct kho_link_kind *k = kho_link_kind(l->kind);
	int lower = kho_netdev_map_index(cfg, ifindex, l->lower), ret;

	if (!k || l->info.len > 16384 || l->mac.len > 32)
		return kho_fail(err, -EBADMSG, "%s: cannot make a %.16s", l->name, l->kind);
	if (l->lower && !lower)
		return 0;
	uint64_t all = ~k->other;
	bool there = if_nametoindex(l->name);
	char holder[IF_NAMESIZE];
	int index = (int)l->index;

	/* the index it had, unless another one has it here */
	if (!there && if_indextoname(l->index, holder)) {
		if (!strncmp(holder, KHO_INDEX_HOLDER, strlen(KHO_INDEX_HOLDER)))
			(void)!kho_link_del(nl, holder, NULL);
		index = if_indextoname(l->index, holder) ? 0 : index;
	}
	ret = there ? 0 : create(nl, l, index, lower, all, NULL);
	if (ret < 0) {
		ret = create(nl, l, index, lower, k->needed, err);
		there = true;
	}
	if (ret < 0)
		return ret;
	ret = (int)if_nametoindex(l->name);
	if (!ret)
		return kho_fail(err, -ENODEV, "%s is gone again", l->name);
	if (there)
		set_each(nl, ret, l->kind, false, &l->info, all);
	return ret;
}

static const Kho__NetLink *master_of(const Kho__Netdev *cfg, const Kho__NetLink *l)
{
	for (size_t i = 0; l->master && i < cfg->n_link; i++)
		if (cfg->link[i]->index == l->master)
			return cfg->link[i];
	return NULL;
}

int kho_netdev_enslave(struct kho_nl *nl, const Kho__Netdev *cfg, size_t i, const int *ifindex, struct kho_err *err)
{
	const Kho__NetLink *l = cfg->link[i], *master = master_of(cfg, l);
	int to = kho_netdev_map_index(cfg, ifindex, l->master), ret;

	if (!master || !to)
		return 0;
	struct nlmsghdr *nlh = link_request(nl, 0, ifindex[i]);

	mnl_attr_put_u32(nlh, IFLA_MASTER, to);
	ret = kho_nl_do(nl, nlh, err, "put %s below %s", l->name, master->name);
	if (ret < 0 || !l->port.len || l->port.len > 16384)
		return ret;
	nlh = link_request(nl, 0, ifindex[i]);
	put_info(nlh, master->kind, true, &l->port, ~0ull, NULL);
	if (kho_nl_do(nl, nlh, NULL, "set") < 0)
		set_each(nl, ifindex[i], master->kind, true, &l->port, ~0ull);
	return 0;
}

/* Attributes that name a port: which is the active one, which is preferred. */
static void set_other(struct kho_nl *nl, const Kho__Netdev *cfg, size_t i, const int *ifindex)
{
	const Kho__NetLink *l = cfg->link[i];
	const struct kho_link_kind *k = kho_link_kind(l->kind);

	for (uint16_t t = 0; k && t < 64; t++) {
		const struct nlattr *a = k->other & BIT(t) ? kho_nl_attr(&l->info, 0, t) : NULL;
		int port = a && mnl_attr_get_payload_len(a) == 4 ? kho_netdev_map_index(cfg, ifindex, mnl_attr_get_u32(a)) : 0;
		struct {
			struct nlattr a;
			uint32_t index;
		} one = { .a = { .nla_len = 8, .nla_type = t }, .index = (uint32_t)port };
		ProtobufCBinaryData data = { sizeof(one), (void *)&one };

		if (port)
			set_each(nl, ifindex[i], l->kind, false, &data, BIT(t));
	}
}

static struct nlmsghdr *vlan_request(struct kho_nl *nl, uint16_t type, int ifindex, bool self, struct nlattr **out_nest)
{
	struct nlmsghdr *nlh = kho_nl_request(nl, type, 0, sizeof(struct ifinfomsg));
	struct ifinfomsg *ifm = mnl_nlmsg_get_payload(nlh);

	ifm->ifi_family = AF_BRIDGE;
	ifm->ifi_index = ifindex;
	*out_nest = mnl_attr_nest_start(nlh, IFLA_AF_SPEC);
	if (self)
		mnl_attr_put_u16(nlh, IFLA_BRIDGE_FLAGS, BRIDGE_FLAGS_SELF);
	return nlh;
}

static int change_vlan(struct kho_nl *nl, uint16_t type, const Kho__NetLink *l, int ifindex, const struct bridge_vlan_info *v,
		       struct kho_err *err)
{
	struct nlattr *nest;
	struct nlmsghdr *nlh = vlan_request(nl, type, ifindex, !strcmp(l->kind, "bridge"), &nest);

	mnl_attr_put(nlh, IFLA_BRIDGE_VLAN_INFO, sizeof(*v), v);
	mnl_attr_nest_end(nlh, nest);
	return kho_nl_do(nl, nlh, err, "%s: VLAN %u", l->name, v->vid);
}

/* The VLAN in which a new bridge, or a new port of it, is by itself; 0: none. */
static uint16_t default_vlan(const Kho__Netdev *cfg, const Kho__NetLink *l)
{
	const Kho__NetLink *bridge = !strcmp(l->kind, "bridge") ? l : master_of(cfg, l);
	const struct nlattr *a = NULL;

	if (bridge && !strcmp(bridge->kind, "bridge"))
		a = kho_nl_attr(&bridge->info, 0, IFLA_BR_VLAN_DEFAULT_PVID);
	return a && mnl_attr_get_payload_len(a) == 2 ? mnl_attr_get_u16(a) : 0;
}

static int apply_vlans(struct kho_nl *nl, const Kho__Netdev *cfg, const Kho__NetLink *l, int ifindex, struct kho_err *err)
{
	struct bridge_vlan_info v, first = { .vid = default_vlan(cfg, l) };
	bool has_first = false;
	int ret = 0;

	for (size_t i = 0; !ret && i < l->n_vlan; i++) {
		if (l->vlan[i].len != sizeof(v))
			return kho_fail(err, -EBADMSG, "%s: malformed VLAN", l->name);
		memcpy(&v, l->vlan[i].data, sizeof(v));
		has_first |= v.vid == first.vid;
		ret = change_vlan(nl, RTM_SETLINK, l, ifindex, &v, err);
	}
	/* also when it was in none at all; a kernel says nothing of one that is not there */
	if (!ret && first.vid && !has_first)
		(void)!change_vlan(nl, RTM_DELLINK, l, ifindex, &first, NULL);
	return ret;
}

/* What a bridge has learnt saves it from flooding: not having it is no failure. */
static void apply_fdb(struct kho_nl *nl, const Kho__NetLink *l, int ifindex)
{
	for (size_t i = 0; i < l->n_fdb; i++) {
		const struct nlattr *mac = kho_nl_attr(&l->fdb[i], sizeof(struct ndmsg), NDA_LLADDR);
		const struct nlattr *vlan = kho_nl_attr(&l->fdb[i], sizeof(struct ndmsg), NDA_VLAN);
		const struct ndmsg *was = (const void *)l->fdb[i].data;
		struct nlmsghdr *nlh = kho_nl_request(nl, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, sizeof(struct ndmsg));

		if (!mac || mnl_attr_get_payload_len(mac) != 6)
			continue;
		*(struct ndmsg *)mnl_nlmsg_get_payload(nlh) = (struct ndmsg){ .ndm_family = AF_BRIDGE,
									      .ndm_ifindex = ifindex,
									      .ndm_state = was->ndm_state & NUD_NOARP ? NUD_NOARP : NUD_REACHABLE,
									      .ndm_flags = NTF_MASTER | (was->ndm_flags & NTF_STICKY) };
		mnl_attr_put(nlh, NDA_LLADDR, 6, mnl_attr_get_payload(mac));
		if (vlan && mnl_attr_get_payload_len(vlan) == 2)
			mnl_attr_put_u16(nlh, NDA_VLAN, mnl_attr_get_u16(vlan));
		(void)!kho_nl_do(nl, nlh, NULL, "add");
	}
}

int kho_netdev_apply_ports(struct kho_nl *nl, const Kho__Netdev *cfg, size_t i, const int *ifindex, struct kho_err *err)
{
	int ret = apply_vlans(nl, cfg, cfg->link[i], ifindex[i], err);

	if (!ret) {
		apply_fdb(nl, cfg->link[i], ifindex[i]);
		set_other(nl, cfg, i, ifindex);
	}
	return ret;
}
