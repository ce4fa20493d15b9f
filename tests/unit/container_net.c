// SPDX-License-Identifier: GPL-2.0-only
/*
 * The network namespace of a container, made and read back in a network and mount namespace of our own. Needs root and a
 * kernel with veth, as the machines have where containers run.
 */
#include "netns.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "lib/cleanup.h"
#include "state-serializers/proc/container_net.h"

#define PATH_OF "/run/netns/netns-test"
#define CONFIG	"{\"linux\":{\"namespaces\":[{\"type\":\"pid\"},{\"type\":\"network\",\"path\":\"" PATH_OF "\"}]}}"

static uint8_t inner_mac[] = { 2, 0, 0, 0, 0, 7 }, outer_mac[] = { 2, 0, 0, 0, 0, 8 };

static void config_path(void **state)
{
	_cleanup_free_ char *path = kho_container_net_path(CONFIG, strlen(CONFIG));
	static const char *const none[] = { "", "{", "{}", "{\"linux\":{\"namespaces\":[{\"type\":\"network\"},7]}}", "{\"linux\":{\"namespaces\":{}}}" };

	(void)state;
	assert_string_equal(path, PATH_OF);
	for (size_t i = 0; i < KHO_ARRAY_SIZE(none); i++)
		assert_null(kho_container_net_path(none[i], strlen(none[i])));
}

/* The request to add an address, as it is dumped. */
static void add_address(Kho__NetLink *l, const char *address)
{
	char buf[256] __attribute__((aligned(8)));
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct ifaddrmsg *ifa = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifa));
	struct in_addr a;

	inet_pton(AF_INET, address, &a);
	ifa->ifa_family = AF_INET;
	ifa->ifa_prefixlen = 16;
	mnl_attr_put(nlh, IFA_LOCAL, 4, &a);
	mnl_attr_put(nlh, IFA_ADDRESS, 4, &a);
	assert_int_equal(kho_pb_append_bytes(&l->address, &l->n_address, mnl_nlmsg_get_payload(nlh), mnl_nlmsg_get_payload_len(nlh)), 0);
}

static KhoProc__ContainerNet *wanted(void)
{
	static KhoProc__ContainerNet n = KHO_PROC__CONTAINER_NET__INIT;
	static KhoProc__VethPeer lo = KHO_PROC__VETH_PEER__INIT, veth = KHO_PROC__VETH_PEER__INIT, *peers[] = { &lo, &veth };
	static KhoProc__Setting set = KHO_PROC__SETTING__INIT, *sets[] = { &set };
	Kho__NetLink a = KHO__NET_LINK__INIT, b = KHO__NET_LINK__INIT, *links[] = { &a, &b };
	Kho__Netdev cfg = KHO__NETDEV__INIT;
	struct kho_blob blob = { 0 };

	a.name = (char *)"lo";
	a.flags = b.flags = IFF_UP;
	a.mtu = 65536;
	b.name = (char *)"eth0";
	b.index = 5;
	b.mtu = 1400;
	b.mac.data = inner_mac;
	b.mac.len = sizeof(inner_mac);
	add_address(&b, "10.88.0.7");
	cfg.link = links;
	cfg.n_link = 2;
	assert_int_equal(kho_pb_pack(&cfg.base, &blob, NULL), 0);
	free(b.address[0].data);
	free(b.address);
	n.path = (char *)PATH_OF;
	n.config.data = blob.data;
	n.config.len = blob.len;
	n.peer = peers;
	n.n_peer = 2;
	veth.name = (char *)"vethtest";
	veth.mtu = 1400;
	veth.mac.data = outer_mac;
	veth.mac.len = sizeof(outer_mac);
	veth.master = (char *)"brtest";
	veth.up = true;
	set.key = (char *)"ipv4/ping_group_range";
	set.value = (char *)"0\t0";
	n.sysctl = sets;
	n.n_sysctl = 1;
	return &n;
}

/* Somebody who is in there. */
static pid_t dweller(void)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	int fd = open(PATH_OF, O_RDONLY);

	if (fd < 0 || setns(fd, CLONE_NEWNET))
		_exit(1);
	pause();
	_exit(0);
}

static KhoProc__ContainerNet *read_back(struct kho_err *err)
{
	KhoProc__Container c = KHO_PROC__CONTAINER__INIT;
	KhoProc__ContainerNet *n = NULL;
	pid_t pid = dweller();
	int rc = -EAGAIN;

	c.id = (char *)"test";
	c.root = pid;

	/* until it is there */
	for (int i = 0; rc && i < 200; i++) {
		usleep(10000);
		rc = kho_container_net_read(&c, &n, err);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	if (rc)
		fail_msg("read: %s", err->msg);
	return n;
}

static bool has_vlans; /* bridges of this kernel */

/* The outer end, which is up, shall be in another VLAN than new ports, and hear no other isolated one. */
static void isolate(void)
{
	_cleanup_nl_ struct kho_nl nl = KHO_NL_INIT;
	struct kho_err e = KHO_ERR_INIT;
	int index = (int)if_nametoindex("vethtest");

	must(kho_nl_open(&nl, &e), &e);
	assert_true(set_bridge(&nl, index, true, IFLA_BRPORT_ISOLATED, 1, 1));
	has_vlans = set_bridge(&nl, (int)if_nametoindex("brtest"), false, IFLA_BR_VLAN_FILTERING, 1, 1);
	if (!has_vlans)
		return;
	set_bridge_vlan(&nl, index, RTM_SETLINK, 10, 0);
	set_bridge_vlan(&nl, index, RTM_DELLINK, 1, 0);
}

static void check_port(const KhoProc__VethPeer *p)
{
	const struct nlattr *isolated = kho_nl_attr(&p->port, 0, IFLA_BRPORT_ISOLATED);
	struct bridge_vlan_info v;

	assert_non_null(isolated);
	assert_int_equal(mnl_attr_get_u8(isolated), 1);
	if (!has_vlans)
		return;
	assert_int_equal(p->n_vlan, 1);
	memcpy(&v, p->vlan[0].data, sizeof(v));
	assert_int_equal(v.vid, 10);
}

static void check(const KhoProc__ContainerNet *n)
{
	struct kho_blob b = { .data = n->config.data, .len = n->config.len };
	Kho__Netdev *cfg = kho_pb_unpack(&kho__netdev__descriptor, &b, NULL);
	const Kho__NetLink *l;

	assert_non_null(cfg);
	assert_int_equal(cfg->n_link, 2);
	assert_string_equal(cfg->link[0]->name, "lo");
	l = cfg->link[1];
	assert_string_equal(l->name, "eth0");
	assert_int_equal(l->index, 5);
	assert_int_equal(l->mtu, 1400);
	assert_memory_equal(l->mac.data, inner_mac, sizeof(inner_mac));
	assert_true(l->n_address >= 1); /* IPv6 may have made one of its own */
	assert_int_equal(((const struct ifaddrmsg *)(const void *)l->address[0].data)->ifa_prefixlen, 16);
	assert_string_equal(n->peer[0]->name, "");
	assert_string_equal(n->peer[1]->name, "vethtest");
	assert_string_equal(n->peer[1]->master, "brtest");
	assert_true(n->peer[1]->up);
	check_port(n->peer[1]);
	assert_memory_equal(n->peer[1]->mac.data, outer_mac, sizeof(outer_mac));
	for (size_t i = 0; i < n->n_sysctl; i++)
		if (!strcmp(n->sysctl[i]->key, "ipv4/ping_group_range"))
			assert_string_equal(n->sysctl[i]->value, "0\t0");
	assert_true(n->n_sysctl >= 1 && n->n_sysctl < 20);
	kho__netdev__free_unpacked(cfg, NULL);
}

static int add_bridge(void)
{
	_cleanup_nl_ struct kho_nl nl = KHO_NL_INIT;
	struct nlmsghdr *nlh;
	struct nlattr *info;

	if (kho_nl_open(&nl, NULL))
		return -1;
	nlh = kho_nl_request(&nl, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(nlh, IFLA_IFNAME, "brtest");
	info = mnl_attr_nest_start(nlh, IFLA_LINKINFO);
	mnl_attr_put_strz(nlh, IFLA_INFO_KIND, "bridge");
	mnl_attr_nest_end(nlh, info);
	return kho_nl_do(&nl, nlh, NULL, "make a bridge");
}

static void put(const char *path, const char *text)
{
	assert_int_equal(kho_write_file(path, text, strlen(text), NULL), 0);
}

/* What `khoctl check` says of the outer end when that container is a workload, or NULL. */
static char *verdict(struct kho_workload *w, size_t n)
{
	struct kho_workload_list list = { .w = w, .n = n };
	struct kho_env env = { .sysroot = "", .workloads = &list };
	struct kho_report r = KHO_REPORT_INIT;
	struct kho_err err = KHO_ERR_INIT;
	char *what = NULL;

	if (kho_netdev_probe(&env, &r, &err))
		fail_msg("%s", err.msg);
	for (size_t i = 0; !what && i < r.n; i++)
		if (!strcmp(r.items[i].subject, "vethtest"))
			what = strdup(r.items[i].what);
	kho_report_done(&r);
	return what;
}

static void told(void)
{
	struct kho_workload w[] = { { .container = (char *)"other", .root = getpid() }, { .container = (char *)"web", .root = dweller() } };
	_cleanup_free_ char *with = NULL, *without = verdict(w, 1);

	for (int i = 0; i < 200 && (!with || !strstr(with, "moves")); i++) {
		usleep(10000); /* until it is in there */
		free(with);
		with = verdict(w, 2);
	}
	kill(w[1].root, SIGKILL);
	waitpid(w[1].root, NULL, 0);
	assert_string_equal(with, "veth: moves with container web");
	assert_string_equal(without, "virtual interface of a kind that is not carried");
}

static void there_and_back(void **state)
{
	struct kho_err err = KHO_ERR_INIT;
	KhoProc__ContainerNet *n = wanted(), *first, *second;

	(void)state;
	if (geteuid() || unshare(CLONE_NEWNET | CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("tmpfs", "/run", "tmpfs", 0, NULL) || mount("sysfs", "/sys", "sysfs", 0, NULL) || add_bridge())
		skip();
	assert_int_equal(kho_mkdir("/run/crun/test", &err), 0);
	put("/run/crun/test/config.json", CONFIG);
	if (kho_container_net_make(n, &err))
		fail_msg("make: %s", err.msg);
	must(kho_container_net_connect(n, &err), &err);
	isolate();
	first = read_back(&err);
	check(first);
	kho_container_net_drop(n);
	assert_int_equal(access(PATH_OF, F_OK), -1);
	assert_int_equal(if_nametoindex("vethtest"), 0);
	kho_container_net_drop(n); /* once more does no harm */
	/* what was read makes the same again */
	if (kho_container_net_make(first, &err))
		fail_msg("make again: %s", err.msg);
	must(kho_container_net_connect(first, &err), &err);
	second = read_back(&err);
	check(second);
	told();
	kho_container_net_drop(second);
	kho_proc__container_net__free_unpacked(first, NULL);
	kho_proc__container_net__free_unpacked(second, NULL);
	free(n->config.data);
	/* without its bridge */
	n->config.data = NULL;
	n->config.len = 0;
	assert_int_equal(kho_container_net_make(n, &err), -EPROTO);
	assert_int_equal(kho_container_net_connect(n, &err), -ENODEV);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(config_path), cmocka_unit_test(there_and_back) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
