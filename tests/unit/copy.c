// SPDX-License-Identifier: GPL-2.0-only
/* The network that a copy of a workload has (proc/copy.h): in a network namespace of our own. Needs root. */
#include "netns.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>

#include "lib/cleanup.h"
#include "state-serializers/proc/copy.h"

static void addresses(void **state)
{
	KhoProc__Plan p = KHO_PROC__PLAN__INIT;
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	must(kho_copy_addresses(&p, &err), &err);
	for (size_t i = 0; i < p.n_address; i++) {
		struct in6_addr a;

		assert_int_equal(inet_pton(strchr(p.address[i], ':') ? AF_INET6 : AF_INET, p.address[i], &a), 1);
		assert_int_not_equal(strncmp(p.address[i], "127.", 4), 0);
		assert_int_not_equal(strncmp(p.address[i], "fe80:", 5), 0);
	}
	kho_copy_addresses_done(&p);
	kho_copy_addresses_done(&p); /* once more does no harm */
	assert_int_equal(p.n_address, 0);
}

static struct sockaddr_in at(const char *address, uint16_t port)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons(port) };

	assert_int_equal(inet_pton(AF_INET, address, &sin.sin_addr), 1);
	return sin;
}

/* Whoever was bound to the machine's address is so here, and reached by it; whoever was connected to somebody else can be made so again, and reaches nobody. */
static void network(void **state)
{
	char *own[] = { (char *)"10.77.0.2", (char *)"2001:db8::2" }, *bad[] = { (char *)"10.77" };
	struct sockaddr_in here = at("10.77.0.2", 6379), there = at("192.0.2.1", 53);
	KhoProc__Plan p = KHO_PROC__PLAN__INIT;
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	if (geteuid() || unshare(CLONE_NEWNET))
		skip();
	p.address = own;
	p.n_address = 2;
	for (int i = 0; i < 2; i++) /* the second time all is there */
		must(kho_copy_network(&p, &err), &err);
	_cleanup_close_ int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	_cleanup_close_ int udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), out = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(server, (struct sockaddr *)&here, sizeof(here)), 0);
	assert_int_equal(listen(server, 1), 0);
	assert_int_equal(connect(client, (struct sockaddr *)&here, sizeof(here)), 0);
	here.sin_port = htons(53);
	assert_int_equal(bind(udp, (struct sockaddr *)&here, sizeof(here)), 0);
	assert_int_equal(connect(udp, (struct sockaddr *)&there, sizeof(there)), 0);
	assert_int_equal(send(udp, "x", 1, 0), 1);
	there.sin_port = htons(80);
	assert_int_equal(connect(out, (struct sockaddr *)&there, sizeof(there)), -1);
	assert_int_equal(errno, EINPROGRESS);
	p.address = bad;
	p.n_address = 1;
	assert_int_equal(kho_copy_network(&p, &err), -EPROTO);
	assert_string_equal(err.msg, "10.77 is no address");
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(addresses), cmocka_unit_test(network) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
