// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reading interfaces that are made of others.
 */
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <stdlib.h>
#include <string.h>

#include "state-serializers/common.h"
#include "state-serializers/netdev-link.h"

static int set_bytes(ProtobufCBinaryData *to, const struct nlattr *a)
{
	free(to->data);
	*to = (ProtobufCBinaryData){ 0 };
	if (!a || !mnl_attr_get_payload_len(a))
		return 0;
	to->data = malloc(mnl_attr_get_payload_len(a));
	if (!to->data)
		return -ENOMEM;
	to->len = mnl_attr_get_payload_len(a);
	memcpy(to->data, mnl_attr_get_payload(a), to->len);
	return 0;
}

static uint32_t number(const struct nlattr *a)
{
	return a && mnl_attr_get_payload_len(a) == 4 ? mnl_attr_get_u32(a) : 0;
}

int kho_netdev_read_kind(Kho__NetLink *l, const struct nlmsghdr *nlh)
{
	ProtobufCBinaryData msg = { mnl_nlmsg_get_payload_len(nlh), mnl_nlmsg_get_payload(nlh) };
	const struct nlattr *info = kho_nl_attr(&msg, sizeof(struct ifinfomsg), IFLA_LINKINFO);

	l->master = number(kho_nl_attr(&msg, sizeof(struct ifinfomsg), IFLA_MASTER));
	/* in another namespace: a number of there */
	l->lower = kho_nl_attr(&msg, sizeof(struct ifinfomsg), IFLA_LINK_NETNSID) ?
			   0 :
			   number(kho_nl_attr(&msg, sizeof(struct ifinfomsg), IFLA_LINK));
	if (l->lower == l->index)
		l->lower = 0;
	if (set_bytes(&l->port, kho_nl_nested(info, IFLA_INFO_SLAVE_DATA)))
		return -ENOMEM;
	/* a bond gives its ports its own address: theirs is what it will give back */
	if (!strcmp(kho_nl_text(kho_nl_nested(info, IFLA_INFO_SLAVE_KIND)), "bond")) {
		const struct nlattr *mac = kho_nl_attr(&l->port, 0, IFLA_BOND_SLAVE_PERM_HWADDR);

		if (mac && mnl_attr_get_payload_len(mac) == l->mac.len)
			memcpy(l->mac.data, mnl_attr_get_payload(mac), l->mac.len);
	}
	return kho_link_is_virtual(l) ? set_bytes(&l->info, kho_nl_nested(info, IFLA_INFO_DATA)) : 0;
}

struct find_arg {
	Kho__Netdev *cfg;	/* virtual ones only, in the kernel's order */
	int error;
};

static int on_link(const struct nlmsghdr *nlh, void *data)
{
	ProtobufCBinaryData msg = { mnl_nlmsg_get_payload_len(nlh), mnl_nlmsg_get_payload(nlh) };
	const char *name = kho_nl_text(kho_nl_attr(&msg, sizeof(struct ifinfomsg), IFLA_IFNAME));
	const char *kind = kho_nl_text(kho_nl_nested(kho_nl_attr(&msg, sizeof(struct ifinfomsg), IFLA_LINKINFO), IFLA_INFO_KIND));
	struct find_arg *f = data;
	Kho__NetLink *l;

	if (!*name || !kho_link_kind(kind))
		return MNL_CB_OK;
	l = malloc(sizeof(*l));
	if (!l)
		return f->error = -ENOMEM, MNL_CB_ERROR;
	kho__net_link__init(l);
	l->index = ((const struct ifinfomsg *)msg.data)->ifi_index;
	if (kho_pb_set(&l->name, name) || kho_pb_set(&l->kind, kind) || kho_netdev_read_kind(l, nlh) ||
	    kho_pb_append(&f->cfg->link, &f->cfg->n_link, l)) {
		kho__net_link__free_unpacked(l, NULL);
		return f->error = -ENOMEM, MNL_CB_ERROR;
	}
	return MNL_CB_OK;
}

static bool is_waiting(const Kho__Netdev *found, uint32_t index)
{
	for (size_t i = 0; index && i < found->n_link; i++)
		if (found->link[i] && found->link[i]->index == index)
			return true;
	return false;
}

/* Each behind what it lies on. */
static int move_in_order(Kho__Netdev *found, Kho__Netdev *to)
{
	for (bool moved = true; moved;) {
		moved = false;
		for (size_t i = 0; i < found->n_link; i++) {
			if (!found->link[i] || is_waiting(found, found->link[i]->lower))
				continue;
			if (kho_pb_append(&to->link, &to->n_link, found->link[i]))
				return -ENOMEM;
			found->link[i] = NULL;
			moved = true;
		}
	}
	return 0;
}

int kho_netdev_find_virtual(struct kho_nl *nl, Kho__Netdev *cfg, struct kho_err *err)
{
	Kho__Netdev found = KHO__NETDEV__INIT;
	struct find_arg f = { .cfg = &found };
	int ret = -EINTR;

	for (int tries = 0; ret == -EINTR && tries < 5; tries++) {
		while (found.n_link)
			kho__net_link__free_unpacked(found.link[--found.n_link], NULL);
		ret = kho_nl_dump(nl, kho_nl_request(nl, RTM_GETLINK, NLM_F_DUMP, sizeof(struct ifinfomsg)), on_link, &f, err,
				  "read interfaces");
	}
	if (!f.error && !ret)
		f.error = move_in_order(&found, cfg);
	if (f.error)
		ret = kho_fail(err, f.error, "read interfaces: out of memory");
	for (size_t i = 0; i < found.n_link; i++)
		if (found.link[i])
			kho__net_link__free_unpacked(found.link[i], NULL);
	free(found.link);
	return ret;
}

/* --- bridges --- */

static Kho__NetLink *by_index(Kho__Netdev *cfg, uint32_t index)
{
	for (size_t i = 0; i < cfg->n_link; i++)
		if (cfg->link[i]->index == index && index)
			return cfg->link[i];
	return NULL;
}

static void clear(ProtobufCBinaryData **array, size_t *n)
{
	for (size_t i = 0; i < *n; i++)
		free((*array)[i].data);
	free(*array);
	*array = NULL;
	*n = 0;
}

static int on_vlans(const struct nlmsghdr *nlh, void *data)
{
	ProtobufCBinaryData msg = { mnl_nlmsg_get_payload_len(nlh), mnl_nlmsg_get_payload(nlh) };
	const struct nlattr *a, *spec = kho_nl_attr(&msg, sizeof(struct ifinfomsg), IFLA_AF_SPEC);
	struct find_arg *f = data;
	Kho__NetLink *l = by_index(f->cfg, ((const struct ifinfomsg *)msg.data)->ifi_index);

	if (!l || !spec)
		return MNL_CB_OK;
	mnl_attr_for_each_nested(a, spec) {
		struct bridge_vlan_info v;

		if (mnl_attr_get_type(a) != IFLA_BRIDGE_VLAN_INFO || mnl_attr_get_payload_len(a) != sizeof(v))
			continue;
		memcpy(&v, mnl_attr_get_payload(a), sizeof(v));
		if (kho_pb_append_bytes(&l->vlan, &l->n_vlan, &v, sizeof(v)))
			return f->error = -ENOMEM, MNL_CB_ERROR;
	}
	return MNL_CB_OK;
}

/* Not the ports' own addresses; not what an interface (self) has rather than the bridge. */
static int on_fdb(const struct nlmsghdr *nlh, void *data)
{
	const struct ndmsg *ndm = mnl_nlmsg_get_payload(nlh);
	struct find_arg *f = data;
	Kho__NetLink *l = by_index(f->cfg, ndm->ndm_ifindex);

	ProtobufCBinaryData msg = { mnl_nlmsg_get_payload_len(nlh), mnl_nlmsg_get_payload(nlh) };

	if (!l || ndm->ndm_family != AF_BRIDGE || !kho_nl_attr(&msg, sizeof(*ndm), NDA_MASTER) || (ndm->ndm_state & NUD_PERMANENT))
		return MNL_CB_OK;
	f->error = kho_pb_append_bytes(&l->fdb, &l->n_fdb, ndm, mnl_nlmsg_get_payload_len(nlh));
	return f->error ? MNL_CB_ERROR : MNL_CB_OK;
}

int kho_netdev_read_vlans(struct kho_nl *nl, Kho__Netdev *cfg, struct kho_err *err)
{
	struct find_arg f = { .cfg = cfg };
	struct nlmsghdr *nlh;
	int ret;

	for (size_t i = 0; i < cfg->n_link; i++)
		clear(&cfg->link[i]->vlan, &cfg->link[i]->n_vlan);
	nlh = kho_nl_request(nl, RTM_GETLINK, NLM_F_DUMP, sizeof(struct ifinfomsg));
	((struct ifinfomsg *)mnl_nlmsg_get_payload(nlh))->ifi_family = AF_BRIDGE;
	mnl_attr_put_u32(nlh, IFLA_EXT_MASK, RTEXT_FILTER_BRVLAN);
	ret = kho_nl_dump(nl, nlh, on_vlans, &f, err, "read VLANs of bridges");
	return f.error ? kho_fail(err, f.error, "read VLANs of bridges: out of memory") : ret;
}

int kho_netdev_read_bridges(struct kho_nl *nl, Kho__Netdev *cfg, struct kho_err *err)
{
	struct find_arg f = { .cfg = cfg };
	struct nlmsghdr *nlh;
	bool any = false;
	int ret;

	for (size_t i = 0; i < cfg->n_link; i++) {
		clear(&cfg->link[i]->vlan, &cfg->link[i]->n_vlan);
		clear(&cfg->link[i]->fdb, &cfg->link[i]->n_fdb);
		any |= !strcmp(cfg->link[i]->kind, "bridge");
	}
	if (!any)
		return 0;
	ret = kho_netdev_read_vlans(nl, cfg, err);
	if (!ret) {
		nlh = kho_nl_request(nl, RTM_GETNEIGH, NLM_F_DUMP, sizeof(struct ndmsg));
		((struct ndmsg *)mnl_nlmsg_get_payload(nlh))->ndm_family = AF_BRIDGE;
		ret = kho_nl_dump(nl, nlh, on_fdb, &f, err, "read what bridges have learnt");
	}
	return f.error ? kho_fail(err, f.error, "read bridges: out of memory") : ret;
}
