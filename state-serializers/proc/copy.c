// SPDX-License-Identifier: GPL-2.0-only
/* The network of a copy.  See copy.h. */
#include "state-serializers/proc/copy.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "state-serializers/common.h"
#include "state-serializers/netdev-nl.h"

static void ifaddrsp(struct ifaddrs **a)
{
	if (*a)
		freeifaddrs(*a);
}

/* Of one that others reach it by; false: it is none of these. */
static bool address_text(const struct ifaddrs *a, char out[INET6_ADDRSTRLEN])
{
	const struct sockaddr_in *v4 = (const void *)a->ifa_addr;
	const struct sockaddr_in6 *v6 = (const void *)a->ifa_addr;

	if (!a->ifa_addr || a->ifa_flags & IFF_LOOPBACK)
		return false;
	if (a->ifa_addr->sa_family == AF_INET)
		return inet_ntop(AF_INET, &v4->sin_addr, out, INET6_ADDRSTRLEN);
	return a->ifa_addr->sa_family == AF_INET6 && !IN6_IS_ADDR_LINKLOCAL(&v6->sin6_addr) && inet_ntop(AF_INET6, &v6->sin6_addr, out, INET6_ADDRSTRLEN);
}

int kho_copy_addresses(KhoProc__Plan *p, struct kho_err *err)
{
	_cleanup_(ifaddrsp) struct ifaddrs *all = NULL;

	if (getifaddrs(&all))
		return kho_fail_errno(err, "addresses of this machine");
	for (const struct ifaddrs *a = all; a; a = a->ifa_next) {
		char text[INET6_ADDRSTRLEN], *own;

		if (!address_text(a, text))
			continue;
		own = strdup(text);
		if (own && !kho_pb_append(&p->address, &p->n_address, own))
			continue;
		free(own);
		return kho_fail(err, -ENOMEM, "addresses of this machine: out of memory");
	}
	return 0;
}

void kho_copy_addresses_done(KhoProc__Plan *p)
{
	for (size_t i = 0; i < p->n_address; i++)
		free(p->address[i]);
	free(p->address);
	p->address = NULL;
	p->n_address = 0;
}

static int alone(struct kho_err *err)
{
	_cleanup_(ifaddrsp) struct ifaddrs *all = NULL;

	if (getifaddrs(&all))
		return kho_fail_errno(err, "interfaces of this kernel");
	for (const struct ifaddrs *a = all; a; a = a->ifa_next)
		if (a->ifa_flags & IFF_UP && !(a->ifa_flags & IFF_LOOPBACK))
			return kho_fail(err, -EBUSY, "%s is up: what is copied here would be seen outside", a->ifa_name);
	return 0;
}

static int add_address(struct kho_nl *nl, unsigned lo, const char *text, struct kho_err *err)
{
	struct nlmsghdr *nlh = kho_nl_request(nl, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, sizeof(struct ifaddrmsg));
	struct ifaddrmsg *ifa = mnl_nlmsg_get_payload(nlh);
	bool v6 = strchr(text, ':');
	struct in6_addr a;

	if (inet_pton(v6 ? AF_INET6 : AF_INET, text, &a) != 1)
		return kho_fail(err, -EPROTO, "%s is no address", text);
	ifa->ifa_family = v6 ? AF_INET6 : AF_INET;
	ifa->ifa_prefixlen = v6 ? 128 : 32;
	ifa->ifa_flags = v6 ? IFA_F_NODAD : 0;
	ifa->ifa_index = lo;
	mnl_attr_put(nlh, IFA_LOCAL, v6 ? 16 : 4, &a);
	mnl_attr_put(nlh, IFA_ADDRESS, v6 ? 16 : 4, &a);
	return kho_nl_do(nl, nlh, err, "add %s to loopback", text);
}

/* Everything else. Not of IPv6: there a route over loopback is one that rejects (fib6_is_reject(), net/ipv6/route.c), as if there were none. */
static int add_route(struct kho_nl *nl, unsigned lo, struct kho_err *err)
{
	struct nlmsghdr *nlh = kho_nl_request(nl, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, sizeof(struct rtmsg));
	struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);

	rtm->rtm_family = AF_INET;
	rtm->rtm_table = RT_TABLE_MAIN;
	rtm->rtm_protocol = RTPROT_BOOT;
	rtm->rtm_scope = RT_SCOPE_LINK;
	rtm->rtm_type = RTN_UNICAST;
	mnl_attr_put_u32(nlh, RTA_OIF, lo);
	return kho_nl_do(nl, nlh, err, "add a route over loopback");
}

int kho_copy_network(const KhoProc__Plan *p, struct kho_err *err)
{
	_cleanup_nl_ struct kho_nl nl = KHO_NL_INIT;
	unsigned lo = if_nametoindex("lo");
	int rc = lo ? alone(err) : kho_fail_errno(err, "loopback");

	if (!rc)
		rc = kho_nl_open(&nl, err);
	if (!rc)
		rc = kho_link_set(&nl, (int)lo, IFF_UP, IFF_UP, err);
	for (size_t i = 0; !rc && i < p->n_address; i++) {
		bool v6 = strchr(p->address[i], ':');

		rc = add_address(&nl, lo, p->address[i], v6 ? NULL : err);
		if (v6) /* a kernel without IPv6: CRIU says it, if there is a socket that needs it */
			rc = 0;
	}
	return rc ? rc : add_route(&nl, lo, err);
}
