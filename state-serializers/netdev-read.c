// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the kernel knows about the interfaces that are carried, out of rtnetlink and /proc/sys/net.
 * Reads only.  Kernel-made entries (connected routes, local table, multicast neighbours) are left
 * out: the incoming kernel makes them itself.
 */
#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <net/if.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "state-serializers/common.h"
#include "state-serializers/netdev-link.h"

#ifndef IFA_F_NOPREFIXROUTE
#define IFA_F_NOPREFIXROUTE 0x200
#endif

struct read_arg {
	Kho__Netdev *cfg;
	int error;
};

static Kho__NetLink *link_by_index(const Kho__Netdev *cfg, uint32_t index)
{
	for (size_t i = 0; i < cfg->n_link; i++)
		if (cfg->link[i]->index == index && index)
			return cfg->link[i];
	return NULL;
}

static int keep(struct read_arg *a, ProtobufCBinaryData **array, size_t *n, const struct nlmsghdr *nlh)
{
	a->error = kho_pb_append_bytes(array, n, mnl_nlmsg_get_payload(nlh), mnl_nlmsg_get_payload_len(nlh));
	return a->error ? MNL_CB_ERROR : MNL_CB_OK;
}

static void bytes_clear(ProtobufCBinaryData **array, size_t *n)
{
	for (size_t i = 0; i < *n; i++)
		free((*array)[i].data);
	free(*array);
	*array = NULL;
	*n = 0;
}

static const struct nlattr *find_attr(const struct nlmsghdr *nlh, size_t header, uint16_t type)
{
	const struct nlattr *a;

	mnl_attr_for_each(a, nlh, header)
		if (mnl_attr_get_type(a) == type)
			return a;
	return NULL;
}

static uint32_t attr_u32(const struct nlmsghdr *nlh, size_t header, uint16_t type, uint32_t otherwise)
{
	const struct nlattr *a = find_attr(nlh, header, type);

	return a && mnl_attr_get_payload_len(a) == 4 ? mnl_attr_get_u32(a) : otherwise;
}

static int on_link(const struct nlmsghdr *nlh, void *data)
{
	const struct ifinfomsg *ifm = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *a, *name = find_attr(nlh, sizeof(*ifm), IFLA_IFNAME);
	struct read_arg *arg = data;
	Kho__NetLink *l = NULL;

	for (size_t i = 0; name && i < arg->cfg->n_link; i++)
		if (!strcmp(arg->cfg->link[i]->name, mnl_attr_get_str(name)))
			l = arg->cfg->link[i];
	if (!l)
		return MNL_CB_OK;
	l->index = ifm->ifi_index;
	l->flags = ifm->ifi_flags;
	l->mtu = attr_u32(nlh, sizeof(*ifm), IFLA_MTU, 0);
	l->txqlen = attr_u32(nlh, sizeof(*ifm), IFLA_TXQLEN, 0);
	a = find_attr(nlh, sizeof(*ifm), IFLA_ADDRESS);
	if (a) {
		free(l->mac.data);
		l->mac.len = mnl_attr_get_payload_len(a);
		l->mac.data = malloc(l->mac.len ? l->mac.len : 1);
		if (!l->mac.data)
			return arg->error = -ENOMEM, MNL_CB_ERROR;
		memcpy(l->mac.data, mnl_attr_get_payload(a), l->mac.len);
	}
	a = find_attr(nlh, sizeof(*ifm), IFLA_IFALIAS);
	if (kho_pb_set(&l->alias, a ? mnl_attr_get_str(a) : "") || kho_netdev_read_kind(l, nlh))
		return arg->error = -ENOMEM, MNL_CB_ERROR;
	return MNL_CB_OK;
}

static int on_addr(const struct nlmsghdr *nlh, void *data)
{
	const struct ifaddrmsg *ifa = mnl_nlmsg_get_payload(nlh);
	struct read_arg *arg = data;
	Kho__NetLink *l = link_by_index(arg->cfg, ifa->ifa_index);

	if (!l || (attr_u32(nlh, sizeof(*ifa), IFA_FLAGS, ifa->ifa_flags) & IFA_F_DADFAILED))
		return MNL_CB_OK;
	/* the kernel gives lo its own ones */
	if (!*l->pci && !kho_link_is_virtual(l) && ifa->ifa_scope == RT_SCOPE_HOST && ifa->ifa_prefixlen == (ifa->ifa_family == AF_INET ? 8 : 128))
		return MNL_CB_OK;
	return keep(arg, &l->address, &l->n_address, nlh);
}

static int on_neigh(const struct nlmsghdr *nlh, void *data)
{
	const struct ndmsg *ndm = mnl_nlmsg_get_payload(nlh);
	struct read_arg *arg = data;
	Kho__NetLink *l = link_by_index(arg->cfg, ndm->ndm_ifindex);
	unsigned useful = NUD_PERMANENT | NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE;

	if (!l || (ndm->ndm_family != AF_INET && ndm->ndm_family != AF_INET6))
		return MNL_CB_OK;
	if (!(ndm->ndm_flags & NTF_PROXY) && !(ndm->ndm_state & useful))
		return MNL_CB_OK;
	return keep(arg, &l->neighbour, &l->n_neighbour, nlh);
}

/* The kernel makes a connected route for each address, unless the address says that somebody else does. */
static bool has_noprefixroute(const Kho__NetLink *l)
{
	for (size_t i = 0; i < l->n_address; i++)
		kho_nl_for_each(a, &l->address[i], sizeof(struct ifaddrmsg))
			if (mnl_attr_get_type(a) == IFA_FLAGS && (mnl_attr_get_u32(a) & IFA_F_NOPREFIXROUTE))
				return true;
	return false;
}

static int on_route(const struct nlmsghdr *nlh, void *data)
{
	const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);
	struct read_arg *arg = data;
	uint32_t table = attr_u32(nlh, sizeof(*rtm), RTA_TABLE, rtm->rtm_table);
	uint32_t oif = attr_u32(nlh, sizeof(*rtm), RTA_OIF, 0);
	Kho__NetLink *l = link_by_index(arg->cfg, oif);

	if (rtm->rtm_flags & RTM_F_CLONED)
		return MNL_CB_OK;
	if (table == RT_TABLE_LOCAL && rtm->rtm_protocol == RTPROT_KERNEL)
		return MNL_CB_OK;
	if (rtm->rtm_protocol == RTPROT_KERNEL && (!l || rtm->rtm_type != RTN_UNICAST || !has_noprefixroute(l)))
		return MNL_CB_OK;
	if (oif && !l)
		return MNL_CB_OK;
	return keep(arg, &arg->cfg->route, &arg->cfg->n_route, nlh);
}

static int on_rule(const struct nlmsghdr *nlh, void *data)
{
	const struct fib_rule_hdr *frh = mnl_nlmsg_get_payload(nlh);
	struct read_arg *arg = data;
	uint32_t prio = attr_u32(nlh, sizeof(*frh), FRA_PRIORITY, 0);
	uint32_t table = attr_u32(nlh, sizeof(*frh), FRA_TABLE, frh->table);

	if (frh->action == FR_ACT_TO_TBL && !frh->src_len && !frh->dst_len &&
	    ((prio == 0 && table == RT_TABLE_LOCAL) || (prio == 32766 && table == RT_TABLE_MAIN) ||
	     (prio == 32767 && table == RT_TABLE_DEFAULT)))
		return MNL_CB_OK;
	return keep(arg, &arg->cfg->rule, &arg->cfg->n_rule, nlh);
}

static int dump(struct kho_nl *nl, uint16_t type, size_t header, unsigned char family, unsigned char nd_flags,
		mnl_cb_t cb, struct read_arg *arg, struct kho_err *err, const char *what)
{
	struct nlmsghdr *nlh = kho_nl_request(nl, type, NLM_F_DUMP, header);

	/* every rtnetlink header begins with the family */
	*(unsigned char *)mnl_nlmsg_get_payload(nlh) = family;
	if (type == RTM_GETNEIGH)
		((struct ndmsg *)mnl_nlmsg_get_payload(nlh))->ndm_flags = nd_flags;
	int ret = kho_nl_dump(nl, nlh, cb, arg, err, what);

	if (arg->error)
		return kho_fail(err, arg->error, "%s: %s", what, strerror(-arg->error));
	return ret;
}

static int read_once(struct kho_nl *nl, Kho__Netdev *cfg, struct kho_err *err)
{
	static const unsigned char family[] = { AF_INET, AF_INET6 };
	struct read_arg arg = { .cfg = cfg };
	int ret;

	bytes_clear(&cfg->route, &cfg->n_route);
	bytes_clear(&cfg->rule, &cfg->n_rule);
	for (size_t i = 0; i < cfg->n_link; i++) {
		cfg->link[i]->index = 0;
		bytes_clear(&cfg->link[i]->address, &cfg->link[i]->n_address);
		bytes_clear(&cfg->link[i]->neighbour, &cfg->link[i]->n_neighbour);
	}
	ret = dump(nl, RTM_GETLINK, sizeof(struct ifinfomsg), AF_UNSPEC, 0, on_link, &arg, err, "read interfaces");
	if (!ret)
		ret = dump(nl, RTM_GETADDR, sizeof(struct ifaddrmsg), AF_UNSPEC, 0, on_addr, &arg, err, "read addresses");
	for (size_t f = 0; !ret && f < KHO_ARRAY_SIZE(family); f++) {
		ret = dump(nl, RTM_GETROUTE, sizeof(struct rtmsg), family[f], 0, on_route, &arg, err, "read routes");
		if (!ret)
			ret = dump(nl, RTM_GETRULE, sizeof(struct fib_rule_hdr), family[f], 0, on_rule, &arg, err, "read rules");
		if (!ret)
			ret = dump(nl, RTM_GETNEIGH, sizeof(struct ndmsg), family[f], 0, on_neigh, &arg, err, "read neighbours");
		if (!ret)
			ret = dump(nl, RTM_GETNEIGH, sizeof(struct ndmsg), family[f], NTF_PROXY, on_neigh, &arg, err,
				   "read proxy neighbours");
		/* a kernel without IPv6 */
		if (ret == -EAFNOSUPPORT || ret == -EOPNOTSUPP)
			ret = 0;
	}
	return ret ? ret : kho_netdev_read_bridges(nl, cfg, err);
}

static int sysctl_add(Kho__NetLink *l, const char *key, const char *value)
{
	Kho__NetSysctl *s = malloc(sizeof(*s));

	if (!s)
		return -ENOMEM;
	kho__net_sysctl__init(s);
	if (kho_pb_set(&s->key, key) || kho_pb_set(&s->value, value) || kho_pb_append(&l->sysctl, &l->n_sysctl, s)) {
		kho__net_sysctl__free_unpacked(s, NULL);
		return -ENOMEM;
	}
	return 0;
}

/* Those of one directory that differ from what a new interface gets. */
static int read_sysctl_dir(Kho__NetLink *l, const char *dir)
{
	char path[256], value_path[512], default_path[512], key[320];

	/* those after stable_secret say what a neighbour of theirs says, and warn */
	static const char *const skip[] = { "mtu", "stable_secret", "base_reachable_time", "retrans_time", "unres_qlen" };

	snprintf(path, sizeof(path), "/proc/sys/net/%s/%s", dir, l->name);
	_cleanup_closedir_ DIR *d = opendir(path);

	for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
		_cleanup_free_ char *value = NULL, *otherwise = NULL;
		struct stat st;

		bool skipped = false;

		for (size_t i = 0; i < KHO_ARRAY_SIZE(skip); i++)
			skipped |= !strcmp(e->d_name, skip[i]);
		snprintf(value_path, sizeof(value_path), "%s/%s", path, e->d_name);
		snprintf(default_path, sizeof(default_path), "/proc/sys/net/%s/default/%s", dir, e->d_name);
		if (skipped || stat(value_path, &st) < 0 || !S_ISREG(st.st_mode) || !(st.st_mode & 0200) || !(st.st_mode & 0400))
			continue;
		if (kho_read_line(value_path, &value, NULL) < 0 || kho_read_line(default_path, &otherwise, NULL) < 0)
			continue;
		if (!strcmp(value, otherwise))
			continue;
		snprintf(key, sizeof(key), "%s/*/%s", dir, e->d_name);
		if (sysctl_add(l, key, value))
			return -ENOMEM;
	}
	return 0;
}

static int read_sysctls(Kho__NetLink *l)
{
	static const char *const dirs[] = { "ipv4/conf", "ipv6/conf", "ipv4/neigh", "ipv6/neigh" };
	int ret = 0;

	for (size_t i = 0; i < l->n_sysctl; i++)
		kho__net_sysctl__free_unpacked(l->sysctl[i], NULL);
	free(l->sysctl);
	l->sysctl = NULL;
	l->n_sysctl = 0;
	for (size_t i = 0; !ret && i < KHO_ARRAY_SIZE(dirs); i++)
		ret = read_sysctl_dir(l, dirs[i]);
	return ret;
}

/* A virtual one may go at any time (a container's bridge); a NIC may not. */
static void drop_gone(Kho__Netdev *cfg)
{
	size_t n = 0;

	for (size_t i = 0; i < cfg->n_link; i++) {
		if (!cfg->link[i]->index && kho_link_is_virtual(cfg->link[i]))
			kho__net_link__free_unpacked(cfg->link[i], NULL);
		else
			cfg->link[n++] = cfg->link[i];
	}
	cfg->n_link = n;
}

int kho_netdev_read(struct kho_nl *nl, Kho__Netdev *cfg, bool sysctls, struct kho_err *err)
{
	int ret = -EINTR;

	for (int tries = 0; ret == -EINTR && tries < 5; tries++)
		ret = read_once(nl, cfg, err);
	if (ret < 0)
		return ret;
	drop_gone(cfg);
	for (size_t i = 0; i < cfg->n_link; i++) {
		if (!cfg->link[i]->index)
			return kho_fail(err, -ENODEV, "read interfaces: %s is gone", cfg->link[i]->name);
		if (sysctls && read_sysctls(cfg->link[i]))
			return kho_fail(err, -ENOMEM, "read sysctls of %s: out of memory", cfg->link[i]->name);
	}
	return 0;
}

size_t kho_netdev_cut_routes(const Kho__Netdev *cfg)
{
	size_t n = 0;

	for (size_t i = 0; i < cfg->n_route; i++) {
		const struct nlattr *mp = kho_nl_attr(&cfg->route[i], sizeof(struct rtmsg), RTA_MULTIPATH);
		const struct rtnexthop *nh;
		bool cut = false;
		size_t off = 0;

		while (mp && (nh = kho_nl_nexthop(mp, &off)))
			cut |= !link_by_index(cfg, (uint32_t)nh->rtnh_ifindex);
		n += cut;
	}
	return n;
}
