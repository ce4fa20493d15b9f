// SPDX-License-Identifier: GPL-2.0-only
#include "lib/netmods.h"

#include <fnmatch.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* Not the old iptables' tables: their rules are not carried, and empty they only cost time for each packet. */
static const char *const patterns[] = {
	"nf_*",	  "nft_*",  "nfnetlink*", "xt_*",   "x_tables",	 "ip_set*",	 "ip6t_*", "ipt_*",    "ebt_*",	    "sch_*",
	"cls_*",  "act_*",  "em_*",	  "8021q",  "garp",	 "mrp",		 "stp",	   "llc",      "bridge",    "br_netfilter",
	"bonding", "dummy", "macvlan",	  "macvtap", "ipvlan",	 "vrf",		 "veth",   "vxlan",    "geneve",    "ifb",
	"tun",	  "tap",    "ipip",	  "sit",    "gre",	 "ip_gre",	 "ip6_gre", "ip_tunnel", "ip6_tunnel", "tunnel4",
	"tunnel6", "udp_tunnel", "ip6_udp_tunnel", "tcp_*", "tls",	 "failover",	 "net_failover",
};

bool kho_module_is_network(const char *name)
{
	for (size_t i = 0; i < sizeof(patterns) / sizeof(*patterns); i++)
		if (!fnmatch(patterns[i], name, 0))
			return true;
	return false;
}

int kho_network_modules(const char *text, int (*fn)(void *arg, const char *name), void *arg)
{
	char name[64];
	int ret = 0;

	for (const char *p = text; !ret && *p; p += strcspn(p, "\n"), p += *p == '\n') {
		snprintf(name, sizeof(name), "%.*s", (int)strcspn(p, " \n"), p);
		if (*name && kho_module_is_network(name))
			ret = fn(arg, name);
	}
	return ret;
}
