// SPDX-License-Identifier: GPL-2.0-only
/*
 * serializer-check net: the NIC is frozen, unbound and bound, silent until finish, and comes back
 * as it was; asked with pings to a neighbour.
 */
#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"
#include "serializer_check.h"
#include "state-serializers/common.h"
#include "state-serializers/netdev.h"
#include "state-serializers/netfilter.h"

/* What the unit tests load elsewhere: rule set and tracked connections of this machine. */
void record_filter(const char *dir)
{
	Kho__NetConntrack c = KHO__NET_CONNTRACK__INIT;
	struct kho_blob b = { 0 };
	struct kho_err e = KHO_ERR_INIT;
	Kho__NetRuleset *r;
	char path[512];

	must(kho_nft_read(&r, &e), &e, "read rule set");
	must(kho_pb_pack(&r->base, &b, &e), &e, "pack rule set");
	snprintf(path, sizeof(path), "%s/ruleset", dir);
	must(kho_write_file(path, b.data, b.len, &e), &e, path);
	fact(r->n_table > 0, "%zu tables, %zu rules", r->n_table, r->n_rule);
	must(kho_ct_read(&c, &e), &e, "read connections");
	must(kho_pb_pack(&c.base, &b, &e), &e, "pack connections");
	snprintf(path, sizeof(path), "%s/conntrack", dir);
	must(kho_write_file(path, b.data, b.len, &e), &e, path);
	fact(c.n_entry > 0, "%zu connections", c.n_entry);
}

static int ping(const char *ip, unsigned timeout_ms)
{
	struct {
		uint8_t type, code;
		uint16_t sum, id, seq;
	} echo = { .type = 8, .seq = htons(1) };
	struct sockaddr_in to = { .sin_family = AF_INET };
	_cleanup_close_ int s = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);
	uint64_t end = kho_clock_us() + timeout_ms * 1000;
	uint8_t buf[2048];

	echo.id = htons(getpid());
	echo.sum = (uint16_t) ~((0x0008 + echo.id + echo.seq) % 0xffff);
	inet_pton(AF_INET, ip, &to.sin_addr);
	if (timeout_ms == 0 || sendto(s, &echo, sizeof(echo), 0, (void *)&to, sizeof(to)) < 0)
		return -errno;
	while (kho_clock_us() < end) {
		struct pollfd p = { .fd = s, .events = POLLIN };

		if (poll(&p, 1, 20) > 0) {
			ssize_t n = recv(s, buf, sizeof(buf), 0);

			if (n >= 28 && buf[20] == 0 && buf[24] == (echo.id & 0xff))
				return 0;
		}
	}
	return -ETIMEDOUT;
}

struct late_ping {
	const char *peer;
	int ret;
	uint64_t us;
};

static void *pinger(void *arg)
{
	struct late_ping *p = arg;
	uint64_t begin = kho_clock_us();

	p->ret = ping(p->peer, 8000);
	p->us = kho_clock_us() - begin;
	return NULL;
}

static Kho__Netdev *snapshot(void)
{
	_cleanup_nl_ struct kho_nl nl = KHO_NL_INIT;
	struct kho_err e = KHO_ERR_INIT;
	Kho__Netdev *c = NULL;

	if (kho_nl_open(&nl, &e) < 0 || kho_netdev_find("", &c, &e) < 0 ||
	    kho_netdev_read(&nl, c, true, &e) < 0)
		fact(false, "read configuration: %s", e.msg);
	return c;
}

void check_net(const char *peer)
{
	struct kho_blob b0 = { 0 }, b1 = { 0 };
	struct kho_err e = KHO_ERR_INIT;
	struct late_ping late = { .peer = peer };
	bool more;
	pthread_t t;

	fact(ping(peer, 3000) == 0, "ping before");
	Kho__Netdev *was = snapshot();

	Kho__NetRuleset *rules_were = NULL, *rules_are = NULL;

	must(kho_nft_read(&rules_were, &e), &e, "read rule set");
	must(kho_netdev_preserve(&check_env, 0, &b0, &more, &e), &e, "preserve");
	fact(ping(peer, 3000) == 0, "ping while preserved");
	must(kho_netdev_freeze(&check_env, &e), &e, "freeze");
	fact(ping(peer, 700) == -ETIMEDOUT, "nothing goes out while frozen");
	must(kho_netdev_unfreeze(&check_env, &e), &e, "unfreeze");
	fact(ping(peer, 3000) == 0, "ping after unfreeze");
	must(kho_netdev_freeze(&check_env, &e), &e, "freeze again");
	must(kho_netdev_drain(&check_env, &b1, &e), &e, "drain");
	must(kho_netdev_prepare(&check_env, &b0, &e), &e, "prepare");
	check_rebind = true;
	for (int round = 0; round < 2; round++) {
		must(kho_netdev_retrieve(&check_env, &b1, &e), &e, "retrieve");
		fact(ping(peer, 1500) == -ETIMEDOUT, "dark: no packet leaves");
		if (!round)
			must(kho_netdev_discard(&check_env, &e), &e, "discard");
	}
	pthread_create(&t, NULL, pinger, &late);
	sleep_ms(1000);
	must(kho_netdev_finish(&check_env, &e), &e, "finish");
	must(kho_netdev_tidy(&check_env, &e), &e, "tidy");
	pthread_join(t, NULL);
	fact(late.ret == 0 && late.us > 900000,
	     "a ping sent in the dark is answered after finish (%llu ms)",
	     (unsigned long long)late.us / 1000);
	fact(ping(peer, 3000) == 0, "ping after");
	Kho__Netdev *is = snapshot();

	fact(was && is && was->n_link == is->n_link && was->n_route == is->n_route &&
		     was->n_rule == is->n_rule,
	     "%zu links, %zu routes, %zu rules as before", is->n_link, is->n_route, is->n_rule);
	for (size_t i = 0; i < was->n_link && i < is->n_link; i++)
		fact(!strcmp(was->link[i]->name, is->link[i]->name) &&
			     was->link[i]->mtu == is->link[i]->mtu &&
			     was->link[i]->n_address == is->link[i]->n_address &&
			     was->link[i]->n_sysctl == is->link[i]->n_sysctl &&
			     was->link[i]->n_vlan == is->link[i]->n_vlan && was->link[i]->info.len == is->link[i]->info.len &&
			     !was->link[i]->master == !is->link[i]->master,
		     "%s: mtu %u, %zu addresses, %zu sysctls as before (%zu, %zu)",
		     is->link[i]->name, is->link[i]->mtu, is->link[i]->n_address,
		     is->link[i]->n_sysctl, was->link[i]->n_address, was->link[i]->n_sysctl);
	must(kho_nft_read(&rules_are, &e), &e, "read rule set");
	fact(rules_were->n_table > 0 && rules_were->n_table == rules_are->n_table && rules_were->n_rule == rules_are->n_rule &&
		     rules_were->n_element == rules_are->n_element,
	     "%zu tables, %zu rules as before", rules_are->n_table, rules_are->n_rule);
	must(kho_netdev_unpreserve(&check_env, &e), &e, "unpreserve");
}
