// SPDX-License-Identifier: GPL-2.0-only
/*
 * Holding packets instead of dropping them: plug qdiscs, and the ifb through which packets of both
 * directions are led while the incoming kernel is in the dark.
 *
 * Adding or deleting a ROOT or clsact qdisc takes the interface's queues down for a grace period
 * (what is sent meanwhile is lost); adding or deleting a filter, holding and releasing a plug does
 * not. So qdiscs are changed only while nothing depends on them, filters and plugs do the work.
 */
#include <errno.h>
#include <linux/if_link.h>
#include <linux/gen_stats.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/tc_act/tc_mirred.h>
#include <net/if.h>
#include <netinet/in.h>
#include <net/ethernet.h>
#include <string.h>
#include <time.h>

#include "lib/clock.h"
#include "state-serializers/common.h"
#include "state-serializers/netdev-nl.h"

#define PLUG_HANDLE	 0x4b480000u /* "KH" */
#define CLSACT_HANDLE	 TC_H_MAKE(TC_H_CLSACT, 0)
#define NOTHING_POLL_US	 500
#define PAUSE_US	 200
#define PAUSE_TIMEOUT_US 1000000

enum { PRIO_ARP = 1, PRIO_ND = 2, PRIO_VLAN = 3, PRIO_ALL = 4 };

static struct nlmsghdr *tc_request(struct kho_nl *nl, uint16_t type, uint16_t flags, int ifindex,
				   uint32_t parent, uint32_t handle, uint32_t info)
{
	struct nlmsghdr *nlh = kho_nl_request(nl, type, flags, sizeof(struct tcmsg));
	struct tcmsg *tcm = mnl_nlmsg_get_payload(nlh);

	tcm->tcm_family = AF_UNSPEC;
	tcm->tcm_ifindex = ifindex;
	tcm->tcm_parent = parent;
	tcm->tcm_handle = handle;
	tcm->tcm_info = info;
	return nlh;
}

static int plug_send(struct kho_nl *nl, int ifindex, int action, uint16_t flags,
		     struct kho_err *err, const char *what)
{
	struct tc_plug_qopt opt = { .action = action, .limit = KHO_PLUG_LIMIT };
	struct nlmsghdr *nlh =
		tc_request(nl, RTM_NEWQDISC, flags, ifindex, TC_H_ROOT, PLUG_HANDLE, 0);

	mnl_attr_put_strz(nlh, TCA_KIND, "plug");
	mnl_attr_put(nlh, TCA_OPTIONS, sizeof(opt), &opt);
	return kho_nl_do(nl, nlh, err, "%s (interface %d)", what, ifindex);
}

int kho_plug_add(struct kho_nl *nl, int ifindex, struct kho_err *err)
{
	return plug_send(nl, ifindex, TCQ_PLUG_LIMIT, NLM_F_CREATE | NLM_F_REPLACE, err,
			 "add plug qdisc");
}

int kho_plug_hold(struct kho_nl *nl, int ifindex, struct kho_err *err)
{
	return plug_send(nl, ifindex, TCQ_PLUG_BUFFER, 0, err, "hold packets");
}

int kho_plug_release(struct kho_nl *nl, int ifindex, struct kho_err *err)
{
	return plug_send(nl, ifindex, TCQ_PLUG_RELEASE_INDEFINITE, 0, err, "release packets");
}

int kho_plug_del(struct kho_nl *nl, int ifindex, struct kho_err *err)
{
	int ret = kho_nl_do(nl, tc_request(nl, RTM_DELQDISC, 0, ifindex, TC_H_ROOT, PLUG_HANDLE, 0),
			    err, "delete plug qdisc (interface %d)", ifindex);

	return ret == -ENOENT || ret == -ENODEV ? 0 : ret;
}

struct qdisc_arg {
	int ifindex;
	char root[16];
	uint32_t root_handle, qlen;
	bool clsact;
};

static void read_qlen(const struct nlattr *stats2, uint32_t *out)
{
	const struct nlattr *a;

	mnl_attr_for_each_nested(a, stats2) if (mnl_attr_get_type(a) == TCA_STATS_QUEUE &&
						mnl_attr_get_payload_len(a) >=
							sizeof(struct gnet_stats_queue)) *out =
		((const struct gnet_stats_queue *)mnl_attr_get_payload(a))->qlen;
}

static int on_qdisc(const struct nlmsghdr *nlh, void *data)
{
	const struct tcmsg *tcm = mnl_nlmsg_get_payload(nlh);
	struct qdisc_arg *q = data;
	const struct nlattr *a;

	if (tcm->tcm_ifindex != q->ifindex)
		return MNL_CB_OK;
	if (tcm->tcm_parent == TC_H_CLSACT)
		q->clsact = true;
	if (tcm->tcm_parent != TC_H_ROOT)
		return MNL_CB_OK;
	q->root_handle = tcm->tcm_handle;
	mnl_attr_for_each(a, nlh, sizeof(*tcm))
	{
		if (mnl_attr_get_type(a) == TCA_KIND)
			snprintf(q->root, sizeof(q->root), "%s", mnl_attr_get_str(a));
		else if (mnl_attr_get_type(a) == TCA_STATS2)
			read_qlen(a, &q->qlen);
	}
	return MNL_CB_OK;
}

static int read_qdiscs(struct kho_nl *nl, struct qdisc_arg *q, struct kho_err *err)
{
	int ret = -EINTR;

	for (int tries = 0; ret == -EINTR && tries < 5; tries++)
		ret = kho_nl_dump(nl, tc_request(nl, RTM_GETQDISC, NLM_F_DUMP, q->ifindex, 0, 0, 0),
				  on_qdisc, q, err, "read qdiscs");
	return ret;
}

bool kho_plug_is_there(struct kho_nl *nl, int ifindex)
{
	struct qdisc_arg q = { .ifindex = ifindex };

	return !read_qdiscs(nl, &q, NULL) && q.root_handle == PLUG_HANDLE &&
	       !strcmp(q.root, "plug");
}

int kho_root_qdisc(struct kho_nl *nl, int ifindex, char kind[16], bool *out_clsact,
		   struct kho_err *err)
{
	struct qdisc_arg q = { .ifindex = ifindex };
	int ret = read_qdiscs(nl, &q, err);

	/* handle 0: the kernel attached it by itself */
	snprintf(kind, 16, "%s", q.root_handle && q.root_handle != PLUG_HANDLE ? q.root : "");
	*out_clsact = q.clsact;
	return ret;
}

static int on_stats(const struct nlmsghdr *nlh, void *data)
{
	struct kho_queue_stat *s = data;
	const struct nlattr *a;

	mnl_attr_for_each(a, nlh, sizeof(struct ifinfomsg))
	{
		const struct rtnl_link_stats64 *st = mnl_attr_get_payload(a);

		if (mnl_attr_get_type(a) != IFLA_STATS64 ||
		    mnl_attr_get_payload_len(a) < offsetof(struct rtnl_link_stats64, collisions))
			continue;
		/* an ifb counts what it is given as received and what it passes on as sent; drops
		 * of both kinds are over too */
		s->in = st->rx_packets;
		s->out = st->tx_packets + st->tx_dropped + st->rx_dropped;
	}
	return MNL_CB_OK;
}

int kho_link_del(struct kho_nl *nl, const char *name, struct kho_err *err)
{
	struct nlmsghdr *nlh = kho_nl_request(nl, RTM_DELLINK, 0, sizeof(struct ifinfomsg));

	mnl_attr_put_strz(nlh, IFLA_IFNAME, name);
	int ret = kho_nl_do(nl, nlh, err, "delete %s", name);

	return ret == -ENODEV ? 0 : ret;
}

int kho_link_placeholder(struct kho_nl *nl, const char *name, int index, struct kho_err *err)
{
	struct nlmsghdr *nlh = kho_nl_request(nl, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL,
					      sizeof(struct ifinfomsg));

	((struct ifinfomsg *)mnl_nlmsg_get_payload(nlh))->ifi_index = index;
	mnl_attr_put_strz(nlh, IFLA_IFNAME, name);
	struct nlattr *info = mnl_attr_nest_start(nlh, IFLA_LINKINFO);

	mnl_attr_put_strz(nlh, IFLA_INFO_KIND, "ifb");
	mnl_attr_nest_end(nlh, info);
	return kho_nl_do(nl, nlh, err, "add %s", name);
}

int kho_ifb_add(struct kho_nl *nl, const char *name, int want, int *out_ifindex,
		struct kho_err *err)
{
	/* a used plug may be released already: never use one twice */
	int ret = kho_link_del(nl, name, err);

	if (!ret)
		ret = kho_link_placeholder(nl, name, want, err);
	if (ret < 0)
		return ret;
	*out_ifindex = if_nametoindex(name);
	if (!*out_ifindex)
		return kho_fail_errno(err, "find %s", name);
	ret = kho_plug_add(nl, *out_ifindex, err);
	return ret < 0 ? ret : kho_link_set(nl, *out_ifindex, IFF_UP, IFF_UP, err);
}

int kho_clsact_add(struct kho_nl *nl, int ifindex, struct kho_err *err)
{
	struct nlmsghdr *nlh = tc_request(nl, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, ifindex,
					  TC_H_CLSACT, CLSACT_HANDLE, 0);

	mnl_attr_put_strz(nlh, TCA_KIND, "clsact");
	int ret = kho_nl_do(nl, nlh, err, "add clsact (interface %d)", ifindex);

	return ret == -EEXIST ? 0 : ret;
}

int kho_clsact_del(struct kho_nl *nl, int ifindex, struct kho_err *err)
{
	int ret = kho_nl_do(nl,
			    tc_request(nl, RTM_DELQDISC, 0, ifindex, TC_H_CLSACT, CLSACT_HANDLE, 0),
			    err, "delete clsact (interface %d)", ifindex);

	return ret == -ENOENT || ret == -EINVAL || ret == -ENODEV ? 0 : ret;
}

static struct nlmsghdr *filter(struct kho_nl *nl, uint16_t type, int ifindex, bool ingress,
			       uint32_t prio, uint16_t proto)
{
	return tc_request(nl, type, type == RTM_NEWTFILTER ? NLM_F_CREATE | NLM_F_EXCL : 0, ifindex,
			  TC_H_MAKE(TC_H_CLSACT, ingress ? TC_H_MIN_INGRESS : TC_H_MIN_EGRESS), 0,
			  TC_H_MAKE(prio << 16, htons(proto)));
}

/* A filter without an action lets the packet pass and ends the search. */
static int pass_arp(struct kho_nl *nl, int ifindex, bool ingress, struct kho_err *err)
{
	struct nlmsghdr *nlh =
		filter(nl, RTM_NEWTFILTER, ifindex, ingress, PRIO_ARP, ETHERTYPE_ARP);

	mnl_attr_put_strz(nlh, TCA_KIND, "matchall");
	mnl_attr_nest_end(nlh, mnl_attr_nest_start(nlh, TCA_OPTIONS));
	return kho_nl_do(nl, nlh, err, "let ARP pass (interface %d)", ifindex);
}

struct u32_keys {
	struct tc_u32_sel sel;
	struct tc_u32_key key[3];
};

/* Packets that have all the keys pass. */
static int pass_u32(struct kho_nl *nl, int ifindex, bool ingress, uint32_t prio, uint16_t proto,
		    const struct u32_keys *u, struct kho_err *err)
{
	struct nlmsghdr *nlh = filter(nl, RTM_NEWTFILTER, ifindex, ingress, prio, proto);

	mnl_attr_put_strz(nlh, TCA_KIND, "u32");
	struct nlattr *opt = mnl_attr_nest_start(nlh, TCA_OPTIONS);

	mnl_attr_put(nlh, TCA_U32_SEL, sizeof(u->sel) + u->sel.nkeys * sizeof(u->key[0]), u);
	mnl_attr_nest_end(nlh, opt);
	return kho_nl_do(nl, nlh, err, "let neighbour discovery pass (interface %d)", ifindex);
}

/* ICMPv6 directly behind the IPv6 header, types 132..135 and 136..139: neighbour discovery and
 * harmless others. In a VLAN it may be any protocol: the version is looked at, too. */
static int pass_nd(struct kho_nl *nl, int ifindex, bool ingress, bool vlan, struct kho_err *err)
{
	struct u32_keys u = {
		.sel = { .flags = TC_U32_TERMINAL, .nkeys = vlan ? 3 : 2 },
		.key = {
			{ .mask = htonl(0x0000ff00), .val = htonl(IPPROTO_ICMPV6 << 8), .off = 4 },
			{ .mask = htonl(0xfc000000), .val = htonl(132u << 24), .off = 40 },
			{ .mask = htonl(0xf0000000), .val = htonl(6u << 28), .off = 0 },
		},
	};
	int ret = 0;

	for (unsigned i = 0; !ret && i < 2; i++) {
		u.key[1].val = htonl((132u + 4 * i) << 24);
		ret = pass_u32(nl, ifindex, ingress, vlan ? PRIO_VLAN : PRIO_ND,
			       vlan ? ETHERTYPE_VLAN : ETHERTYPE_IPV6, &u, err);
	}
	return ret;
}

/* What is tagged has the protocol "VLAN" here, whatever it is: ARP is known by its first six bytes. */
static int pass_arp_vlan(struct kho_nl *nl, int ifindex, bool ingress, struct kho_err *err)
{
	const struct u32_keys u = {
		.sel = { .flags = TC_U32_TERMINAL, .nkeys = 2 },
		.key = {
			{ .mask = htonl(0xffffffff), .val = htonl(0x00010800), .off = 0 },
			{ .mask = htonl(0xffff0000), .val = htonl(0x06040000), .off = 4 },
		},
	};

	return pass_u32(nl, ifindex, ingress, PRIO_VLAN, ETHERTYPE_VLAN, &u, err);
}

static int redirect_all(struct kho_nl *nl, int ifindex, bool ingress, int ifb, struct kho_err *err)
{
	struct tc_mirred parms = { .action = TC_ACT_STOLEN,
				   .eaction = TCA_EGRESS_REDIR,
				   .ifindex = ifb };
	struct nlmsghdr *nlh = filter(nl, RTM_NEWTFILTER, ifindex, ingress, PRIO_ALL, ETH_P_ALL);

	mnl_attr_put_strz(nlh, TCA_KIND, "matchall");
	struct nlattr *opt = mnl_attr_nest_start(nlh, TCA_OPTIONS);
	struct nlattr *acts = mnl_attr_nest_start(nlh, TCA_MATCHALL_ACT);
	struct nlattr *first = mnl_attr_nest_start(nlh, 1);

	mnl_attr_put_strz(nlh, TCA_ACT_KIND, "mirred");
	struct nlattr *act = mnl_attr_nest_start(nlh, TCA_ACT_OPTIONS | NLA_F_NESTED);

	mnl_attr_put(nlh, TCA_MIRRED_PARMS, sizeof(parms), &parms);
	mnl_attr_nest_end(nlh, act);
	mnl_attr_nest_end(nlh, first);
	mnl_attr_nest_end(nlh, acts);
	mnl_attr_nest_end(nlh, opt);
	return kho_nl_do(nl, nlh, err, "redirect packets (interface %d to %d)", ifindex, ifb);
}

int kho_redirect_add(struct kho_nl *nl, int ifindex, bool ingress, int ifb, struct kho_err *err)
{
	int ret = pass_arp(nl, ifindex, ingress, err);

	if (!ret)
		ret = pass_nd(nl, ifindex, ingress, false, err);
	if (!ret)
		ret = pass_arp_vlan(nl, ifindex, ingress, err);
	if (!ret)
		ret = pass_nd(nl, ifindex, ingress, true, err);
	return ret ? ret : redirect_all(nl, ifindex, ingress, ifb, err);
}

int kho_redirect_del(struct kho_nl *nl, int ifindex, bool ingress, struct kho_err *err)
{
	static const struct {
		uint32_t prio;
		uint16_t proto;
	} rows[] = {
		{ PRIO_ALL, ETH_P_ALL },
		{ PRIO_VLAN, ETHERTYPE_VLAN },
		{ PRIO_ND, ETHERTYPE_IPV6 },
		{ PRIO_ARP, ETHERTYPE_ARP },
	};
	int first = 0;

	for (size_t i = 0; i < KHO_ARRAY_SIZE(rows); i++) {
		struct kho_err e = KHO_ERR_INIT;
		int ret = kho_nl_do(nl,
				    filter(nl, RTM_DELTFILTER, ifindex, ingress, rows[i].prio,
					   rows[i].proto),
				    &e, "delete filter %u (interface %d)", rows[i].prio, ifindex);

		if (ret != -ENOENT && ret != -EINVAL && ret != -ENODEV)
			kho_first_failure(ret, &e, &first, err);
	}
	return first;
}

static int read_counters(struct kho_nl *nl, int ifindex, struct kho_queue_stat *s,
			 struct kho_err *err)
{
	struct nlmsghdr *nlh = kho_nl_request(nl, RTM_GETLINK, 0, sizeof(struct ifinfomsg));

	((struct ifinfomsg *)mnl_nlmsg_get_payload(nlh))->ifi_index = ifindex;
	return kho_nl_dump(nl, nlh, on_stats, s, err, "read counters");
}

int kho_queue_stat(struct kho_nl *nl, int ifindex, struct kho_queue_stat *out, struct kho_err *err)
{
	struct qdisc_arg q = { .ifindex = ifindex };
	int ret = read_qdiscs(nl, &q, err);

	*out = (struct kho_queue_stat){ .qlen = q.qlen };
	return ret < 0 ? ret : read_counters(nl, ifindex, out, err);
}

int kho_ifb_wait_empty(struct kho_nl *nl, int ifb, unsigned timeout_us, struct kho_err *err)
{
	uint64_t end = kho_clock_us() + timeout_us;
	struct kho_queue_stat s;

	for (;;) {
		int ret = kho_queue_stat(nl, ifb, &s, err);

		if (ret < 0 || (!s.qlen && s.in == s.out))
			return ret;
		if (kho_clock_us() > end)
			return kho_fail(err, -ETIMEDOUT,
					"interface %d: %u packets wait, %llu are on their way", ifb,
					s.qlen, (unsigned long long)(s.in - s.out));
		nanosleep(&(struct timespec){ .tv_nsec = NOTHING_POLL_US * 1000 }, NULL);
	}
}

/* A moment in which nothing is on its way and nothing has come for a little while. */
static void wait_for_pause(struct kho_nl *nl, int ifb)
{
	uint64_t end = kho_clock_us() + PAUSE_TIMEOUT_US;
	struct kho_queue_stat s = { 0 }, before = { .in = UINT64_MAX };

	/* the queue too: its run may have been put off to a busy CPU's softirq */
	while (kho_clock_us() < end && !kho_queue_stat(nl, ifb, &s, NULL)) {
		if (!s.qlen && s.in == s.out && s.in == before.in)
			return;
		before = s;
		nanosleep(&(struct timespec){ .tv_nsec = PAUSE_US * 1000 }, NULL);
	}
}

int kho_redirect_end(struct kho_nl *nl, int ifindex, bool ingress, int ifb, struct kho_err *err)
{
	struct kho_err e = KHO_ERR_INIT;
	int first = 0;

	/*
	 * A packet on its way through the ifb can be overtaken by the first one that goes the
	 * direct way. In a pause there is none; without any pause for a second a neighbour or two
	 * may change places, which TCP takes without sending anything again.
	 */
	wait_for_pause(nl, ifb);
	kho_first_failure(kho_redirect_del(nl, ifindex, ingress, &e), &e, &first, err);
	kho_first_failure(kho_ifb_wait_empty(nl, ifb, PAUSE_TIMEOUT_US, &e), &e, &first, err);
	return first;
}
