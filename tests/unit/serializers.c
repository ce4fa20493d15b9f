// SPDX-License-Identifier: GPL-2.0-only
/*
 * Serializers as far as they work without devices: table, blobs, parameter table, clock, and addresses, routes and neighbours
 * in a network namespace. Files are in files.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"
#include "state-serializers/clock.pb-c.h"
#include "state-serializers/common.h"
#include "state-serializers/host.pb-c.h"
#include "state-serializers/host-sysctl.h"
#include "state-serializers/netdev.h"

static void table_is_in_order(void **state)
{
	(void)state;
	int last = 0;

	for (size_t i = 0; kho_serializers[i]; i++) {
		assert_true(kho_serializers[i]->order > last);
		last = kho_serializers[i]->order;
		assert_ptr_equal(kho_serializer_find(kho_serializers[i]->name), kho_serializers[i]);
		for (size_t k = 0; kho_serializers[i]->needs && kho_serializers[i]->needs[k]; k++)
			assert_non_null(kho_serializer_find(kho_serializers[i]->needs[k]));
	}
	assert_null(kho_serializer_find("no such"));
}

static void pci_addresses(void **state)
{
	(void)state;
	struct kho_pci_addr a;
	char text[KHO_PCI_LEN];

	assert_true(kho_pci_parse("0001:a0:1f.7", &a));
	assert_int_equal(a.segment, 1);
	assert_int_equal(a.bus, 0xa0);
	assert_int_equal(a.devfn, 0x1f << 3 | 7);
	kho_pci_format(a, text);
	assert_string_equal(text, "0001:a0:1f.7");
	assert_false(kho_pci_parse("0000:00:20.0", &a));
	assert_false(kho_pci_parse("0000:00:04.0x", &a));
	assert_false(kho_pci_parse("virtio1", &a));
}

static void malformed_blob(void **state)
{
	(void)state;
	struct kho_err e = KHO_ERR_INIT;
	struct kho_blob b = { .data = "\xff\xff\xff\xff", .len = 4 };

	assert_null(kho_pb_unpack(&kho__netdev__descriptor, &b, &e));
	assert_int_equal(e.code, -EBADMSG);
	Kho__Netdev *empty = kho_pb_unpack(&kho__netdev__descriptor, NULL, &e);

	assert_non_null(empty);
	kho__netdev__free_unpacked(empty, NULL);
	for (size_t i = 0; kho_serializers[i]; i++)
		if (kho_serializers[i]->retrieve && kho_serializers[i]->order < 50 &&
		    strcmp(kho_serializers[i]->name, "proc"))
			assert_int_equal(kho_serializers[i]->retrieve(
						 &(struct kho_env){ .run_dir = "/nonexistent" }, &b,
						 &e),
					 -EBADMSG);
}

static void sysctl_table(void **state)
{
	(void)state;
	bool late;

	assert_true(kho_sysctl_is_carried("vm/swappiness", &late));
	assert_false(late);
	assert_true(kho_sysctl_is_carried("net/ipv4/tcp_timestamps", &late));
	assert_true(kho_sysctl_is_carried("net/ipv4/conf/default/rp_filter", &late));
	assert_true(kho_sysctl_is_carried("kernel/yama/ptrace_scope", &late));
	assert_true(late);
	/* memory that is restored may have been one that can be executed */
	assert_true(kho_sysctl_is_carried("vm/memfd_noexec", &late));
	assert_true(late);
	assert_false(kho_sysctl_is_carried("net/ipv4/conf/eth0/rp_filter", &late));
	assert_false(kho_sysctl_is_carried("net/ipv4/neigh/eth0/app_solicit", &late));
	assert_false(kho_sysctl_is_carried("net/ipv6/neigh/docker0/app_solicit", &late));
	assert_true(kho_sysctl_is_carried("net/ipv4/neigh/default/gc_thresh1", &late));
	assert_false(kho_sysctl_is_carried("kernel/random/boot_id", &late));
	assert_false(kho_sysctl_is_carried("kernel/panic_on_oops", &late));
	assert_false(kho_sysctl_is_carried("kernel/modules_disabled", &late));
	assert_false(kho_sysctl_is_carried("vm/drop_caches", &late));
	assert_false(kho_sysctl_is_carried("vm/../../../etc/passwd", &late));
	assert_false(kho_sysctl_is_carried("dev/raid/speed_limit_max", &late));
}

static void clock_refuses_another_clock(void **state)
{
	(void)state;
	const struct kho_serializer *s = kho_serializer_find("clock");
	struct kho_err e = KHO_ERR_INIT;
	struct kho_blob b = { 0 };
	struct kho_env env = { 0 };

	assert_int_equal(s->drain(&env, &b, &e), 0);
	Kho__Clock *c = kho_pb_unpack(&kho__clock__descriptor, &b, &e);

	assert_non_null(c);
	assert_true(kho_clock_us() - c->shared_us < 60000000); /* of now */
	c->shared_us += 5000000;
	assert_int_equal(kho_pb_pack(&c->base, &b, &e), 0);
	assert_int_equal(s->retrieve(&env, &b, &e), -ERANGE);
	kho__clock__free_unpacked(c, NULL);
	kho_blob_done(&b);
}

/* --- netdev, in a namespace --- */
static void must(int ret, const struct kho_err *e)
{
	if (ret < 0)
		fail_msg("%s", e->msg);
}

static void add_nic(struct kho_nl *nl)
{
	struct kho_err e = KHO_ERR_INIT;
	struct nlmsghdr *nlh = kho_nl_request(nl, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL,
					      sizeof(struct ifinfomsg));

	mnl_attr_put_strz(nlh, IFLA_IFNAME, "tmp0");
	struct nlattr *info = mnl_attr_nest_start(nlh, IFLA_LINKINFO);

	mnl_attr_put_strz(nlh, IFLA_INFO_KIND, "veth");
	mnl_attr_nest_end(nlh, info);
	must(kho_nl_do(nl, nlh, &e, "add veth"), &e);
}

static void add_address(struct kho_nl *nl, int family, const char *ip, int prefix)
{
	struct kho_err e = KHO_ERR_INIT;
	struct nlmsghdr *nlh = kho_nl_request(nl, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL,
					      sizeof(struct ifaddrmsg));
	struct ifaddrmsg *ifa = mnl_nlmsg_get_payload(nlh);
	uint8_t a[16];

	inet_pton(family, ip, a);
	*ifa = (struct ifaddrmsg){ .ifa_family = family,
				   .ifa_prefixlen = prefix,
				   .ifa_index = if_nametoindex("nic0"),
				   .ifa_flags = family == AF_INET6 ? IFA_F_NODAD : 0 };
	mnl_attr_put(nlh, IFA_LOCAL, family == AF_INET ? 4 : 16, a);
	must(kho_nl_do(nl, nlh, &e, "add %s", ip), &e);
}

static void add_route(struct kho_nl *nl, int family, const char *to, int prefix, const char *via,
		      uint32_t table)
{
	struct kho_err e = KHO_ERR_INIT;
	struct nlmsghdr *nlh =
		kho_nl_request(nl, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, sizeof(struct rtmsg));
	struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);
	size_t len = family == AF_INET ? 4 : 16;
	uint8_t a[16];

	*rtm = (struct rtmsg){ .rtm_family = family,
			       .rtm_dst_len = prefix,
			       .rtm_protocol = RTPROT_STATIC,
			       .rtm_type = via ? RTN_UNICAST : RTN_BLACKHOLE };
	inet_pton(family, to, a);
	mnl_attr_put(nlh, RTA_DST, len, a);
	mnl_attr_put_u32(nlh, RTA_TABLE, table);
	if (via) {
		inet_pton(family, via, a);
		mnl_attr_put(nlh, RTA_GATEWAY, len, a);
		mnl_attr_put_u32(nlh, RTA_OIF, if_nametoindex("nic0"));
	}
	must(kho_nl_do(nl, nlh, &e, "add route %s", to), &e);
}

static void add_neighbour(struct kho_nl *nl, const char *ip, uint16_t nud)
{
	struct kho_err e = KHO_ERR_INIT;
	struct nlmsghdr *nlh =
		kho_nl_request(nl, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_EXCL, sizeof(struct ndmsg));
	struct ndmsg *ndm = mnl_nlmsg_get_payload(nlh);
	uint8_t a[4], mac[6] = { 2, 1, 2, 3, 4, 5 };

	*ndm = (struct ndmsg){ .ndm_family = AF_INET,
			       .ndm_ifindex = if_nametoindex("nic0"),
			       .ndm_state = nud };
	inet_pton(AF_INET, ip, a);
	mnl_attr_put(nlh, NDA_DST, 4, a);
	mnl_attr_put(nlh, NDA_LLADDR, 6, mac);
	must(kho_nl_do(nl, nlh, &e, "add neighbour %s", ip), &e);
}

static Kho__Netdev *config(struct kho_nl *nl)
{
	struct kho_err e = KHO_ERR_INIT;
	Kho__Netdev *c = malloc(sizeof(*c));
	Kho__NetLink *l = malloc(sizeof(*l));

	kho__netdev__init(c);
	kho__net_link__init(l);
	assert_int_equal(kho_pb_set(&l->name, "nic0") | kho_pb_set(&l->pci, "0000:00:04.0"), 0);
	assert_int_equal(kho_pb_append(&c->link, &c->n_link, l), 0);
	must(kho_netdev_read(nl, c, true, &e), &e);
	return c;
}

static void sysctl(const char *path, const char *value)
{
	struct kho_err e = KHO_ERR_INIT;

	must(kho_write_existing(path, value, &e), &e);
}

/* What differs between two reads must be the index alone. */
static void same_config(const Kho__NetLink *a, const Kho__NetLink *b)
{
	assert_int_equal(a->n_address, b->n_address);
	assert_int_equal(a->n_neighbour, b->n_neighbour);
	assert_int_equal(a->n_sysctl, b->n_sysctl);
	assert_int_equal(a->mtu, b->mtu);
	assert_int_equal(a->txqlen, b->txqlen);
	assert_int_equal(a->mac.len, b->mac.len);
	assert_memory_equal(a->mac.data, b->mac.data, a->mac.len);
	for (size_t i = 0; i < a->n_sysctl; i++) {
		assert_string_equal(a->sysctl[i]->key, b->sysctl[i]->key);
		assert_string_equal(a->sysctl[i]->value, b->sysctl[i]->value);
	}
}

/* nic0, up, with a carrier */
static void nic_is_up(struct kho_nl *nl)
{
	struct kho_err e = KHO_ERR_INIT;

	add_nic(nl);
	must(kho_link_rename(nl, if_nametoindex("tmp0"), "nic0", &e), &e);
	must(kho_link_set(nl, if_nametoindex("nic0"), IFF_UP, IFF_UP, &e), &e);
	must(kho_link_set(nl, if_nametoindex("veth0"), IFF_UP, IFF_UP, &e), &e);
}

static void netdev_comes_back(void **state)
{
	(void)state;
	struct kho_err e = KHO_ERR_INIT;
	_cleanup_nl_ struct kho_nl nl = KHO_NL_INIT;

	if (unshare(CLONE_NEWNET) < 0)
		skip();
	must(kho_nl_open(&nl, &e), &e);
	nic_is_up(&nl);
	sysctl("/proc/sys/net/ipv4/conf/nic0/rp_filter", "2");
	sysctl("/proc/sys/net/ipv4/conf/nic0/forwarding", "1");
	add_address(&nl, AF_INET, "10.1.0.1", 24);
	add_address(&nl, AF_INET, "10.1.0.2", 24); /* a secondary one */
	add_address(&nl, AF_INET6, "fd01::1", 64);
	add_route(&nl, AF_INET, "10.2.0.0", 16, "10.1.0.9", RT_TABLE_MAIN);
	add_route(&nl, AF_INET, "10.3.0.0", 16, NULL, RT_TABLE_MAIN);
	add_route(&nl, AF_INET, "10.4.0.0", 16, "10.1.0.9", 1000);
	add_route(&nl, AF_INET6, "fd02::", 64, "fd01::9", RT_TABLE_MAIN);
	add_neighbour(&nl, "10.1.0.9", NUD_PERMANENT);
	add_neighbour(&nl, "10.1.0.10", NUD_REACHABLE);
	Kho__Netdev *was = config(&nl);

	/* the kernel adds the link-local address when the carrier has come up, some time later */
	for (int i = 0; was->link[0]->n_address < 4 && i < 500; i++) {
		kho__netdev__free_unpacked(was, NULL);
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
		was = config(&nl);
	}
	assert_int_equal(was->link[0]->n_address, 4);
	struct kho_blob blob = { 0 };

	assert_int_equal(was->n_route, 4);
	must(kho_pb_pack(&was->base, &blob, &e), &e);
	must(kho_link_del(&nl, "nic0", &e), &e);
	assert_int_equal(if_nametoindex("nic0"), 0);

	/* another interface, with another index and its own name */
	add_nic(&nl);
	Kho__Netdev *cfg = kho_pb_unpack(&kho__netdev__descriptor, &blob, &e);
	int index = if_nametoindex("tmp0");

	must(kho_netdev_apply_link(&nl, cfg->link[0], index, &e), &e);
	must(kho_netdev_apply_up(&nl, cfg->link[0], index, &e), &e);
	must(kho_netdev_apply_routes(&nl, cfg, &index, &e), &e);
	kho_netdev_addrgen("nic0", true, cfg->link[0]);
	must(kho_netdev_apply_routes(&nl, cfg, &index, &e), &e); /* twice does no harm */
	assert_int_equal(if_nametoindex("nic0"), index);
	must(kho_link_set(&nl, if_nametoindex("veth0"), IFF_UP, IFF_UP, &e), &e);
	Kho__Netdev *is = config(&nl);

	same_config(was->link[0], is->link[0]);
	assert_int_equal(was->n_route, is->n_route);
	assert_int_equal(was->n_rule, is->n_rule);
	kho__netdev__free_unpacked(was, NULL);
	kho__netdev__free_unpacked(is, NULL);
	kho__netdev__free_unpacked(cfg, NULL);
	kho_blob_done(&blob);
}

/* A nexthop over nic0 and one over the other end of it, which is not carried. False: this kernel has no such routes. */
static bool add_multipath(struct kho_nl *nl)
{
	struct {
		struct rtnexthop nh;
		struct nlattr a;
		uint8_t via[4];
	} first = { { .rtnh_len = sizeof(first), .rtnh_ifindex = (int)if_nametoindex("nic0") }, { 8, RTA_GATEWAY }, { 10, 1, 0, 9 } };
	struct rtnexthop second = { .rtnh_len = sizeof(second), .rtnh_ifindex = (int)if_nametoindex("veth0") };
	uint8_t to[4] = { 10, 5, 0, 0 }, both[sizeof(first) + sizeof(second)];
	struct nlmsghdr *nlh = kho_nl_request(nl, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, sizeof(struct rtmsg));
	struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);

	*rtm = (struct rtmsg){
		.rtm_family = AF_INET, .rtm_dst_len = 16, .rtm_protocol = RTPROT_STATIC, .rtm_type = RTN_UNICAST, .rtm_table = RT_TABLE_MAIN
	};
	memcpy(both, &first, sizeof(first));
	memcpy(both + sizeof(first), &second, sizeof(second));
	mnl_attr_put(nlh, RTA_DST, sizeof(to), to);
	mnl_attr_put(nlh, RTA_MULTIPATH, sizeof(both), both);
	return kho_nl_do(nl, nlh, NULL, "add a multipath route") == 0;
}

/* A multipath route goes on over the interfaces that are carried. */
static void multipath(void **state)
{
	(void)state;
	struct kho_err e = KHO_ERR_INIT;
	_cleanup_nl_ struct kho_nl nl = KHO_NL_INIT;

	if (unshare(CLONE_NEWNET) < 0)
		skip();
	must(kho_nl_open(&nl, &e), &e);
	nic_is_up(&nl);
	add_address(&nl, AF_INET, "10.1.0.1", 24);
	if (!add_multipath(&nl)) {
		kho_nl_close(&nl); /* who skips does not come back */
		skip();
	}
	Kho__Netdev *was = config(&nl);

	assert_int_equal(was->n_route, 1);
	assert_int_equal(kho_netdev_cut_routes(was), 1);
	must(kho_link_del(&nl, "nic0", &e), &e);
	add_nic(&nl);
	int index = if_nametoindex("tmp0");

	must(kho_netdev_apply_link(&nl, was->link[0], index, &e), &e);
	must(kho_netdev_apply_up(&nl, was->link[0], index, &e), &e);
	must(kho_netdev_apply_routes(&nl, was, &index, &e), &e);
	Kho__Netdev *is = config(&nl);

	assert_int_equal(is->n_route, 1);
	assert_int_equal(kho_netdev_cut_routes(is), 0);
	kho__netdev__free_unpacked(was, NULL);
	kho__netdev__free_unpacked(is, NULL);
}

/* Forwarding resets accept_redirects when it changes: both are what they were all the same. */
static void forwarding_goes_first(void **state)
{
	static const char forward[] = "/proc/sys/net/ipv4/ip_forward", redirects[] = "/proc/sys/net/ipv4/conf/all/accept_redirects";
	const struct kho_serializer *host = kho_serializer_find("host");
	Kho__HostSysctl first = KHO__HOST_SYSCTL__INIT, second = KHO__HOST_SYSCTL__INIT, *both[] = { &first, &second };
	_cleanup_free_ char *was = NULL, *is = NULL, *redirected = NULL, *value = NULL;
	char name[] = "test";
	Kho__Host h = KHO__HOST__INIT;
	struct kho_blob blob = { 0 };
	struct kho_err e = KHO_ERR_INIT;
	struct kho_env env = { 0 };

	(void)state;
	if (unshare(CLONE_NEWNET | CLONE_NEWUTS) < 0 || access(forward, W_OK) < 0 || access(redirects, W_OK) < 0)
		skip();
	must(kho_read_line(forward, &was, &e), &e);
	value = strdup(*was == '1' ? "0" : "1");
	h.hostname = h.domainname = name;
	first.key = (char *)(uintptr_t)"net/ipv4/conf/all/accept_redirects";
	second.key = (char *)(uintptr_t)"net/ipv4/ip_forward";
	first.value = second.value = value;
	h.sysctl = both;
	h.n_sysctl = 2;
	must(kho_pb_pack(&h.base, &blob, &e), &e);
	must(host->prepare(&env, &blob, &e), &e);
	must(kho_read_line(forward, &is, &e), &e);
	must(kho_read_line(redirects, &redirected, &e), &e);
	assert_string_equal(is, value);
	assert_string_equal(redirected, value);
	must(host->unprepare(&env, &e), &e);
	kho_blob_done(&blob);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(table_is_in_order),
		cmocka_unit_test(pci_addresses),
		cmocka_unit_test(malformed_blob),
		cmocka_unit_test(sysctl_table),
		cmocka_unit_test(clock_refuses_another_clock),
		cmocka_unit_test(netdev_comes_back),
		cmocka_unit_test(multipath),
		cmocka_unit_test(forwarding_goes_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
