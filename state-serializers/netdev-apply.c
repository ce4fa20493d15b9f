// SPDX-License-Identifier: GPL-2.0-only
/*
 * Give an interface of the incoming kernel what it had in the outgoing one.  The order matters: what
 * must be there before the link is up (MAC, MTU, sysctls), up, addresses without duplicate address
 * detection, neighbours, then routes, of which a gateway's needs the connected one first.
 */
#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "state-serializers/common.h"
#include "state-serializers/netdev-link.h"

#define CARRIED_FLAGS (IFF_PROMISC | IFF_ALLMULTI | IFF_NOARP)
#define NET_ADDR_IS_SET "3" /* addr_assign_type: by somebody */
#define ROUTE_PASSES 4	/* a route over a route over a connected route */

int kho_link_set(struct kho_nl *nl, int ifindex, unsigned flags, unsigned change, struct kho_err *err)
{
	struct nlmsghdr *nlh = kho_nl_request(nl, RTM_NEWLINK, 0, sizeof(struct ifinfomsg));
	struct ifinfomsg *ifm = mnl_nlmsg_get_payload(nlh);

	ifm->ifi_index = ifindex;
	ifm->ifi_flags = flags;
	ifm->ifi_change = change;
	return kho_nl_do(nl, nlh, err, "set flags %#x of interface %d", flags, ifindex);
}

int kho_link_rename(struct kho_nl *nl, int ifindex, const char *name, struct kho_err *err)
{
	struct nlmsghdr *nlh = kho_nl_request(nl, RTM_NEWLINK, 0, sizeof(struct ifinfomsg));

	((struct ifinfomsg *)mnl_nlmsg_get_payload(nlh))->ifi_index = ifindex;
	mnl_attr_put_strz(nlh, IFLA_IFNAME, name);
	return kho_nl_do(nl, nlh, err, "name interface %d %s", ifindex, name);
}

/* The name may be taken by another one that has not got its own yet. */
static int take_name(struct kho_nl *nl, int ifindex, const char *name, struct kho_err *err)
{
	char spare[IF_NAMESIZE];
	int other = if_nametoindex(name), ret;

	if (other == ifindex)
		return 0;
	if (other) {
		snprintf(spare, sizeof(spare), "khospare%d", other % 1000);
		ret = kho_link_set(nl, other, 0, IFF_UP, err);
		if (!ret)
			ret = kho_link_rename(nl, other, spare, err);
		if (ret < 0)
			return ret;
	}
	return kho_link_rename(nl, ifindex, name, err);
}

static void net_sysctl_path(const char *key, const char *name, char path[512])
{
	const char *star = strchr(key, '*');

	if (star)
		snprintf(path, 512, "/proc/sys/net/%.*s%s%s", (int)(star - key), key, name, star + 1);
	else
		path[0] = '\0';
}

/* A sysctl that the incoming kernel does not have (or no longer takes) is no reason to fail. */
static void apply_sysctls(const Kho__NetLink *l)
{
	char path[512];

	for (int pass = 0; pass < 2; pass++) {
		for (size_t i = 0; i < l->n_sysctl; i++) {
			const char *key = l->sysctl[i]->key;
			const char *tail = strrchr(key, '/');

			if (kho_sysctl_goes_first(key) != !pass || strstr(key, "..") || (tail && !strcmp(tail, "/addr_gen_mode")))
				continue;
			net_sysctl_path(key, l->name, path);
			if (*path)
				(void)!kho_write_existing(path, l->sysctl[i]->value, NULL);
		}
	}
}

void kho_netdev_addrgen(const char *name, bool on, const Kho__NetLink *l)
{
	/* to one that is down, or a bond's port, the kernel would give what it gives it otherwise only when it comes up */
	bool makes = l->flags & IFF_UP && !(l->flags & IFF_SLAVE);
	const char *value = !makes ? NULL : on ? "0" : "1";
	char path[512];

	for (size_t i = 0; on == makes && i < l->n_sysctl; i++)
		if (!strcmp(l->sysctl[i]->key, "ipv6/conf/*/addr_gen_mode"))
			value = l->sysctl[i]->value;
	if (!value)
		return;
	net_sysctl_path("ipv6/conf/*/addr_gen_mode", name, path);
	(void)!kho_write_existing(path, value, NULL);
}

/* Setting the MAC is a command to the device: only when somebody had changed it. */
static bool has_mac(const Kho__NetLink *l)
{
	char path[64 + IF_NAMESIZE], want[3 * 32 + 1] = "";
	_cleanup_free_ char *is = NULL;

	for (size_t i = 0, n = 0; i < l->mac.len && i < 32; i++)
		n += snprintf(want + n, sizeof(want) - n, "%s%02x", i ? ":" : "", l->mac.data[i]);
	snprintf(path, sizeof(path), "/sys/class/net/%s/address", l->name);
	return kho_read_line(path, &is, NULL) >= 0 && !strcmp(is, want);
}

static int set_mac(struct kho_nl *nl, int ifindex, const void *mac, size_t len, struct kho_err *err)
{
	struct nlmsghdr *nlh = kho_nl_request(nl, RTM_NEWLINK, 0, sizeof(struct ifinfomsg));

	((struct ifinfomsg *)mnl_nlmsg_get_payload(nlh))->ifi_index = ifindex;
	mnl_attr_put(nlh, IFLA_ADDRESS, len, mac);
	return kho_nl_do(nl, nlh, err, "set the address of interface %d", ifindex);
}

/* Others tell their device all of it, and may refuse another MAC while they are up. */
static bool forgets_mac(const char *name)
{
	_cleanup_free_ char *type = NULL;
	char path[64 + IF_NAMESIZE], driver[PATH_MAX];
	ssize_t n;

	snprintf(path, sizeof(path), "/sys/class/net/%s/addr_assign_type", name);
	if (kho_read_line(path, &type, NULL) < 0 || strcmp(type, NET_ADDR_IS_SET))
		return false;
	snprintf(path, sizeof(path), "/sys/class/net/%s/device/driver", name);
	n = readlink(path, driver, sizeof(driver) - 1);
	driver[n > 0 ? n : 0] = '\0';
	return strrchr(driver, '/') && !strcmp(strrchr(driver, '/'), "/virtio_net");
}

int kho_netdev_renew_mac(struct kho_nl *nl, const char *name, int ifindex, struct kho_err *err)
{
	_cleanup_free_ char *text = NULL;
	uint8_t mac[6], other[6];
	char path[64 + IF_NAMESIZE];
	int ret;

	/* what it has now: of a bond's port we carry the one that it has by itself */
	snprintf(path, sizeof(path), "/sys/class/net/%s/address", name);
	if (!forgets_mac(name) || kho_read_line(path, &text, NULL) < 0 ||
	    sscanf(text, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &mac[0], &mac[1], &mac[2], &mac[3], &mac[4], &mac[5]) != 6)
		return 0;
	/* the same one, as the kernel sees it, would not be given to the driver */
	memcpy(other, mac, sizeof(other));
	other[5] ^= 1;
	ret = set_mac(nl, ifindex, other, sizeof(other), err);
	return ret ? ret : set_mac(nl, ifindex, mac, sizeof(mac), err);
}

int kho_netdev_apply_link(struct kho_nl *nl, const Kho__NetLink *l, int ifindex, struct kho_err *err)
{
	int ret = take_name(nl, ifindex, l->name, err);

	if (ret < 0)
		return ret;
	kho_netdev_addrgen(l->name, false, l);
	apply_sysctls(l);
	struct nlmsghdr *nlh = kho_nl_request(nl, RTM_NEWLINK, 0, sizeof(struct ifinfomsg));
	struct ifinfomsg *ifm = mnl_nlmsg_get_payload(nlh);

	ifm->ifi_index = ifindex;
	ifm->ifi_flags = l->flags & CARRIED_FLAGS;
	ifm->ifi_change = CARRIED_FLAGS;
	if (l->mtu)
		mnl_attr_put_u32(nlh, IFLA_MTU, l->mtu);
	mnl_attr_put_u32(nlh, IFLA_TXQLEN, l->txqlen);
	if (*l->alias)
		mnl_attr_put_strz(nlh, IFLA_IFALIAS, l->alias);
	if (l->mac.len && (*l->pci || kho_link_is_virtual(l)) && !has_mac(l))
		mnl_attr_put(nlh, IFLA_ADDRESS, l->mac.len, l->mac.data);
	return kho_nl_do(nl, nlh, err, "set up %s", l->name);
}

/* Copy the attributes of a dumped message except those in `drop`; false when the message is malformed. */
static bool copy_attrs(struct nlmsghdr *nlh, const ProtobufCBinaryData *msg, size_t header, const uint16_t *drop, size_t ndrop)
{
	kho_nl_for_each(a, msg, header) {
		bool skip = false;

		for (size_t i = 0; i < ndrop; i++)
			skip |= drop[i] == mnl_attr_get_type(a);
		if (skip)
			continue;
		if (nlh->nlmsg_len + MNL_ALIGN(a->nla_len) > 32u << 10)
			return false;
		mnl_attr_put(nlh, a->nla_type, mnl_attr_get_payload_len(a), mnl_attr_get_payload(a));
	}
	return true;
}

static int send_address(struct kho_nl *nl, const Kho__NetLink *l, const ProtobufCBinaryData *msg, int ifindex, uint32_t flags, struct kho_err *err)
{
	static const uint16_t drop[] = { IFA_FLAGS, IFA_CACHEINFO };
	struct nlmsghdr *nlh = kho_nl_request(nl, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, sizeof(struct ifaddrmsg));
	struct ifaddrmsg *ifa = mnl_nlmsg_get_payload(nlh);

	memcpy(ifa, msg->data, sizeof(*ifa));
	ifa->ifa_flags = flags;
	ifa->ifa_index = ifindex;
	if (!copy_attrs(nlh, msg, sizeof(*ifa), drop, l->address_stays && ifa->ifa_family == AF_INET ? 2 : 1))
		return kho_fail(err, -EBADMSG, "%s: malformed address", l->name);
	mnl_attr_put_u32(nlh, IFA_FLAGS, flags);
	return kho_nl_do(nl, nlh, err, "%s: add address", l->name);
}

static int apply_address(struct kho_nl *nl, const Kho__NetLink *l, const ProtobufCBinaryData *msg, int ifindex, struct kho_err *err)
{
	const struct ifaddrmsg *ifa = (const void *)msg->data;
	const struct nlattr *a;
	uint32_t flags;
	int ret;

	if (msg->len < sizeof(*ifa))
		return kho_fail(err, -EBADMSG, "%s: malformed address", l->name);
	a = kho_nl_attr(msg, sizeof(*ifa), IFA_FLAGS);
	flags = a && mnl_attr_get_payload_len(a) == 4 ? mnl_attr_get_u32(a) : ifa->ifa_flags;
	flags &= ~(IFA_F_TENTATIVE | IFA_F_PERMANENT | IFA_F_SECONDARY | IFA_F_DEPRECATED);
	if (ifa->ifa_family != AF_INET6 || flags & IFA_F_NODAD)
		return send_address(nl, l, msg, ifindex, flags, err);
	/* not looked for on the wire now, but whenever the link comes up again, as before */
	ret = send_address(nl, l, msg, ifindex, flags | IFA_F_NODAD, err);
	return ret ? ret : send_address(nl, l, msg, ifindex, flags, err);
}

static int apply_neighbour(struct kho_nl *nl, const Kho__NetLink *l, const ProtobufCBinaryData *msg, int ifindex, struct kho_err *err)
{
	static const uint16_t drop[] = { NDA_CACHEINFO, NDA_PROBES, NDA_FLAGS_EXT };
	struct nlmsghdr *nlh = kho_nl_request(nl, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, sizeof(struct ndmsg));
	struct ndmsg *ndm = mnl_nlmsg_get_payload(nlh);

	if (msg->len < sizeof(*ndm))
		return kho_fail(err, -EBADMSG, "%s: malformed neighbour", l->name);
	memcpy(ndm, msg->data, sizeof(*ndm));
	ndm->ndm_ifindex = ifindex;
	/* one that was being checked is checked again when it is used; it is used at once all the same */
	if (ndm->ndm_state & (NUD_DELAY | NUD_PROBE))
		ndm->ndm_state = NUD_STALE;
	if (!copy_attrs(nlh, msg, sizeof(*ndm), drop, KHO_ARRAY_SIZE(drop)))
		return kho_fail(err, -EBADMSG, "%s: malformed neighbour", l->name);
	return kho_nl_do(nl, nlh, err, "%s: add neighbour", l->name);
}

int kho_netdev_apply_up(struct kho_nl *nl, const Kho__NetLink *l, int ifindex, struct kho_err *err)
{
	bool up = l->flags & IFF_UP;
	int ret = up ? kho_link_set(nl, ifindex, IFF_UP, IFF_UP, err) : 0;

	/* one that is down has no IPv6, whatever it had */
	for (size_t i = 0; !ret && i < l->n_address; i++) {
		ret = apply_address(nl, l, &l->address[i], ifindex, up ? err : NULL);
		if (!up)
			ret = 0;
	}
	/* a neighbour only saves time: not having it is no failure */
	for (size_t i = 0; !ret && i < l->n_neighbour; i++)
		(void)!apply_neighbour(nl, l, &l->neighbour[i], ifindex, NULL);
	return ret;
}

/*
 * Nexthops of a multipath route: indexes are mapped in a copy. Those over interfaces that are not here are left out, as the
 * kernel does it when one is gone; -ENODEV when none is left.
 */
static int put_multipath(struct nlmsghdr *nlh, const struct nlattr *mp, const Kho__Netdev *cfg, const int *ifindex)
{
	size_t len = mnl_attr_get_payload_len(mp), off = 0, begin = 0, kept = 0;
	_cleanup_free_ char *copy = malloc(len ? len : 1);
	const struct rtnexthop *was;

	if (!copy)
		return -ENOMEM;
	for (; (was = kho_nl_nexthop(mp, &off)); begin = off) {
		struct rtnexthop *nh = (void *)(copy + kept);
		int index = kho_netdev_map_index(cfg, ifindex, was->rtnh_ifindex);

		if (!index)
			continue;
		memcpy(nh, was, off - begin);
		nh->rtnh_ifindex = index;
		nh->rtnh_flags &= RTNH_F_ONLINK;
		kept += off - begin;
	}
	if (len - off >= sizeof(*was))
		return -EBADMSG;
	if (!kept)
		return -ENODEV;
	mnl_attr_put(nlh, RTA_MULTIPATH, kept, copy);
	return 0;
}

/* The rest of a route's life is dumped in one attribute, in ticks, and taken in another, in seconds. */
static void put_expiry(struct nlmsghdr *nlh, const ProtobufCBinaryData *msg)
{
	const struct nlattr *a = kho_nl_attr(msg, sizeof(struct rtmsg), RTA_CACHEINFO);
	const struct rta_cacheinfo *ci = a ? mnl_attr_get_payload(a) : NULL;

	if (!ci || mnl_attr_get_payload_len(a) < sizeof(*ci) || !ci->rta_expires || kho_nl_attr(msg, sizeof(struct rtmsg), RTA_EXPIRES))
		return;
	/* expired already: let it go at once */
	mnl_attr_put_u32(nlh, RTA_EXPIRES, (int32_t)ci->rta_expires > 0 ? (ci->rta_expires + 99) / 100 : 1);
}

static int apply_route(struct kho_nl *nl, const Kho__Netdev *cfg, const int *ifindex, const ProtobufCBinaryData *msg,
		       struct kho_err *err)
{
	/* nexthop objects are dumped with their meaning spelled out too: that is what is carried */
	static const uint16_t drop[] = { RTA_OIF, RTA_MULTIPATH, RTA_CACHEINFO, RTA_NH_ID, RTA_MFC_STATS };
	struct nlmsghdr *nlh = kho_nl_request(nl, RTM_NEWROUTE, NLM_F_CREATE, sizeof(struct rtmsg));
	struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *oif = kho_nl_attr(msg, sizeof(*rtm), RTA_OIF), *mp = kho_nl_attr(msg, sizeof(*rtm), RTA_MULTIPATH);
	int index = 0, ret;

	if (msg->len < sizeof(*rtm))
		return kho_fail(err, -EBADMSG, "malformed route");
	memcpy(rtm, msg->data, sizeof(*rtm));
	/* IPv6 takes any other of the same metric for the same one, unless it is appended; the very same one exists all the same */
	nlh->nlmsg_flags |= rtm->rtm_family == AF_INET6 ? NLM_F_APPEND : NLM_F_EXCL;
	rtm->rtm_flags &= RTNH_F_ONLINK;
	if (oif && mnl_attr_get_payload_len(oif) == 4) {
		index = kho_netdev_map_index(cfg, ifindex, mnl_attr_get_u32(oif));
		if (!index)
			return 0;
	}
	if (!copy_attrs(nlh, msg, sizeof(*rtm), drop, KHO_ARRAY_SIZE(drop)))
		return kho_fail(err, -EBADMSG, "malformed route");
	if (index)
		mnl_attr_put_u32(nlh, RTA_OIF, index);
	put_expiry(nlh, msg);
	if (mp) {
		ret = put_multipath(nlh, mp, cfg, ifindex);
		if (ret == -ENODEV)
			return 0;
		if (ret < 0)
			return kho_fail(err, ret, "multipath route: %s", strerror(-ret));
	}
	ret = kho_nl_do(nl, nlh, err, "add route (family %u, table %u)", rtm->rtm_family, rtm->rtm_table);
	return ret == -EEXIST ? 0 : ret;
}

static int apply_rule(struct kho_nl *nl, const ProtobufCBinaryData *msg, struct kho_err *err)
{
	static const uint16_t drop[] = { FRA_UNSPEC };
	struct nlmsghdr *nlh = kho_nl_request(nl, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, sizeof(struct fib_rule_hdr));

	if (msg->len < sizeof(struct fib_rule_hdr))
		return kho_fail(err, -EBADMSG, "malformed rule");
	memcpy(mnl_nlmsg_get_payload(nlh), msg->data, sizeof(struct fib_rule_hdr));
	((struct fib_rule_hdr *)mnl_nlmsg_get_payload(nlh))->flags &= FIB_RULE_INVERT;
	if (!copy_attrs(nlh, msg, sizeof(struct fib_rule_hdr), drop, 1))
		return kho_fail(err, -EBADMSG, "malformed rule");
	int ret = kho_nl_do(nl, nlh, err, "add rule");

	return ret == -EEXIST ? 0 : ret;
}

int kho_netdev_apply_routes(struct kho_nl *nl, const Kho__Netdev *cfg, const int *ifindex, struct kho_err *err)
{
	_cleanup_free_ bool *done = calloc(cfg->n_route + 1, sizeof(*done));
	int ret = 0;

	if (!done)
		return kho_fail(err, -ENOMEM, "add routes: out of memory");
	for (size_t i = 0; i < cfg->n_rule; i++) {
		ret = apply_rule(nl, &cfg->rule[i], err);
		if (ret < 0)
			return ret;
	}
	for (int pass = 0; pass < ROUTE_PASSES; pass++) {
		int left = 0;

		for (size_t i = 0; i < cfg->n_route; i++) {
			if (done[i])
				continue;
			int r = apply_route(nl, cfg, ifindex, &cfg->route[i], err);

			done[i] = !r;
			if (r < 0)
				ret = r, left++;
		}
		if (!left)
			return 0;
	}
	return ret;
}
