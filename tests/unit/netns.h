/* SPDX-License-Identifier: GPL-2.0-only */
/* Tests in a network namespace of their own. */
#ifndef TEST_NETNS_H
#define TEST_NETNS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <ftw.h>
#include <linux/if_bridge.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/io.h"
#include "lib/netmods.h"
#include "state-serializers/common.h"
#include "state-serializers/netdev-link.h"
#include "state-serializers/netdev.h"
#include "state-serializers/netfilter.h"

static inline void must(int ret, const struct kho_err *e)
{
	if (ret < 0)
		fail_msg("%s", e->msg);
}

/* A namespace with the links that rules name; false: not here. */
static inline bool new_namespace(void)
{
	static const Kho__NetRuleset nothing = KHO__NET_RULESET__INIT;
	struct kho_err e = KHO_ERR_INIT;

	return unshare(CLONE_NEWNET) == 0 && kho_nft_load(&nothing, true, &e) == 0;
}

/* As `ip link set ... type bridge` and `bridge link set` do. false: this kernel cannot (bridges without VLANs). */
static inline bool set_bridge(struct kho_nl *nl, int index, bool port, uint16_t type, uint32_t value, size_t len)
{
	struct kho_err e = KHO_ERR_INIT;
	struct nlmsghdr *nlh = kho_nl_request(nl, RTM_NEWLINK, 0, sizeof(struct ifinfomsg));
	struct nlattr *info, *in;

	((struct ifinfomsg *)mnl_nlmsg_get_payload(nlh))->ifi_index = index;
	info = mnl_attr_nest_start(nlh, IFLA_LINKINFO);
	mnl_attr_put_strz(nlh, port ? IFLA_INFO_SLAVE_KIND : IFLA_INFO_KIND, "bridge");
	in = mnl_attr_nest_start(nlh, port ? IFLA_INFO_SLAVE_DATA : IFLA_INFO_DATA);
	mnl_attr_put(nlh, type, len, &value);
	mnl_attr_nest_end(nlh, in);
	mnl_attr_nest_end(nlh, info);
	int ret = kho_nl_do(nl, nlh, &e, "set");

	if (ret != -EOPNOTSUPP)
		must(ret, &e);
	return !ret;
}

/* As `bridge vlan add` (RTM_SETLINK) and `del` (RTM_DELLINK) do; flags: BRIDGE_FLAGS_SELF for a bridge. */
static inline void set_bridge_vlan(struct kho_nl *nl, int index, uint16_t type, uint16_t vid, uint16_t flags)
{
	struct bridge_vlan_info v = { .vid = vid };
	struct kho_err e = KHO_ERR_INIT;
	struct nlmsghdr *nlh = kho_nl_request(nl, type, 0, sizeof(struct ifinfomsg));
	struct ifinfomsg *ifm = mnl_nlmsg_get_payload(nlh);
	struct nlattr *nest;

	ifm->ifi_family = AF_BRIDGE;
	ifm->ifi_index = index;
	nest = mnl_attr_nest_start(nlh, IFLA_AF_SPEC);
	if (flags)
		mnl_attr_put_u16(nlh, IFLA_BRIDGE_FLAGS, flags);
	mnl_attr_put(nlh, IFLA_BRIDGE_VLAN_INFO, sizeof(v), &v);
	mnl_attr_nest_end(nlh, nest);
	must(kho_nl_do(nl, nlh, &e, "VLAN %u", vid), &e);
}

#endif
