// SPDX-License-Identifier: GPL-2.0-only
/* Multicast groups: the kernel's lists as text, and real sockets that have joined one, or not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "state-serializers/proc/probe.h"
#include "state-serializers/proc/tree.h"
#include "tests/unit/tree.h"

#define V4 "239.1.2.3"
#define V6 "ff05::1:3"

static bool has(const struct kho_mcast *m, unsigned ifindex, const char *text)
{
	for (size_t i = 0; i < m->n; i++) {
		const struct sockaddr_storage *a = &m->g[i].address;
		char is[INET6_ADDRSTRLEN] = "";

		inet_ntop(a->ss_family,
			  a->ss_family == AF_INET ? (const void *)&((const struct sockaddr_in *)a)->sin_addr
						  : (const void *)&((const struct sockaddr_in6 *)a)->sin6_addr,
			  is, sizeof(is));
		if (m->g[i].ifindex == ifindex && !strcmp(is, text))
			return true;
	}
	return false;
}

static void lists(void **state)
{
	static const char igmp[] = "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n"
				   "1\tlo        :     1      V3\n"
				   "\t\t\t\t010000E0     1 0:00000000\t\t0\n"
				   "12\teth0      :     2      V3\n"
				   "\t\t\t\tFB0000E0     1 0:00000000\t\t0\n"
				   "\t\t\t\t010000E0     1 0:00000000\t\t0\n";
	static const char igmp6[] = "1    lo              ff020000000000000000000000000001     1 0000000C 0\n"
				    "12   eth0            ff0200000000000000000001ff00abcd     1 00000004 0\n";
	char dir[] = "/tmp/kho-mcast.XXXXXX";
	struct kho_mcast m;

	(void)state;
	assert_non_null(mkdtemp(dir));
	test_put(dir, "/proc/700/net/igmp", igmp, strlen(igmp));
	test_put(dir, "/proc/700/net/igmp6", igmp6, strlen(igmp6));
	assert_int_equal(kho_mcast_read(dir, 700, &m), 0);
	assert_int_equal(m.n, 5);
	assert_true(has(&m, 1, "224.0.0.1") && has(&m, 12, "224.0.0.251") && has(&m, 12, "224.0.0.1"));
	assert_true(has(&m, 1, "ff02::1") && has(&m, 12, "ff02::1:ff00:abcd"));
	kho_mcast_done(&m);
	assert_int_equal(kho_mcast_read(dir, 701, &m), 0);
	assert_int_equal(m.n, 0);
	assert_int_equal(kho_tree_remove(dir, NULL), 0);
}

/* Through the eyes of the probe. */
static bool joined(int fd, char out[INET6_ADDRSTRLEN])
{
	struct kho_mcast m;
	bool is;

	assert_int_equal(kho_mcast_read("", getpid(), &m), 0);
	is = kho_mcast_joined(&m, getpid(), fd, out);
	kho_mcast_done(&m);
	return is;
}

static void may_look(int fd)
{
	_cleanup_close_ int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	_cleanup_close_ int copy = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);

	if (copy < 0)
		skip(); /* nobody may here */
}

static void v4(void **state)
{
	struct ip_mreqn m = { .imr_ifindex = (int)if_nametoindex("lo") };
	_cleanup_close_ int in = socket(AF_INET, SOCK_DGRAM, 0), out = socket(AF_INET, SOCK_DGRAM, 0);
	char group[INET6_ADDRSTRLEN];

	(void)state;
	may_look(in);
	inet_pton(AF_INET, V4, &m.imr_multiaddr);
	if (setsockopt(in, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof(m)))
		skip();
	assert_true(joined(in, group));
	assert_string_equal(group, V4);
	assert_false(joined(out, group));
	assert_int_equal(setsockopt(in, IPPROTO_IP, IP_DROP_MEMBERSHIP, &m, sizeof(m)), 0);
	assert_false(joined(in, group));
}

static void v6(void **state)
{
	struct ipv6_mreq m = { .ipv6mr_interface = if_nametoindex("lo") };
	_cleanup_close_ int in = socket(AF_INET6, SOCK_DGRAM, 0);
	char group[INET6_ADDRSTRLEN];

	(void)state;
	may_look(in);
	inet_pton(AF_INET6, V6, &m.ipv6mr_multiaddr);
	if (in < 0 || setsockopt(in, IPPROTO_IPV6, IPV6_JOIN_GROUP, &m, sizeof(m)))
		skip();
	assert_true(joined(in, group));
	assert_string_equal(group, V6);
}

/* It is a loss, and says which group. */
static void verdict(void **state)
{
	struct kho_probe p = { .sysroot = "" };
	struct kho_fd fd = { .target = "socket:[99]", .info = "", .fstype = "", .proto = "UDP", .group = V4 };
	struct kho_fd_verdict v;

	(void)state;
	kho_fd_classify(&p, &fd, &v);
	assert_int_equal(v.verdict, KHO_V_LOSS);
	assert_non_null(strstr(v.what, V4));
	fd.group = "";
	kho_fd_classify(&p, &fd, &v);
	assert_int_equal(v.verdict, KHO_V_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(lists), cmocka_unit_test(v4), cmocka_unit_test(v6),
					    cmocka_unit_test(verdict) };

	return cmocka_run_group_tests_name("mcast", tests, NULL, NULL);
}
