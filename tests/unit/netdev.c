// SPDX-License-Identifier: GPL-2.0-only
/*
 * Links in a network namespace of their own: bridges with VLANs, indexes; files of network services, modules that are wanted.
 * Skipped where there is no root.
 */
#include "netns.h"

/* --- a bridge whose port has VLANs --- */

static Kho__NetLink *add(Kho__Netdev *c, const char *name, const char *kind)
{
	Kho__NetLink *l = malloc(sizeof(*l));

	kho__net_link__init(l);
	assert_int_equal(kho_pb_set(&l->name, name) | kho_pb_set(&l->kind, kind), 0);
	assert_int_equal(kho_pb_append(&c->link, &c->n_link, l), 0);
	return l;
}

/* What is in it; c itself is on the stack. */
static void config_done(const Kho__Netdev *c)
{
	Kho__Netdev *copy = malloc(sizeof(*copy));

	assert_non_null(copy);
	*copy = *c;
	kho__netdev__free_unpacked(copy, NULL);
}

static int new_link(struct kho_nl *nl, const char *name, const char *kind)
{
	struct kho_err e = KHO_ERR_INIT;
	struct nlmsghdr *nlh = kho_nl_request(nl, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, sizeof(struct ifinfomsg));
	struct nlattr *info;

	mnl_attr_put_strz(nlh, IFLA_IFNAME, name);
	info = mnl_attr_nest_start(nlh, IFLA_LINKINFO);
	mnl_attr_put_strz(nlh, IFLA_INFO_KIND, kind);
	mnl_attr_nest_end(nlh, info);
	must(kho_nl_do(nl, nlh, &e, "add %s", name), &e);
	return (int)if_nametoindex(name);
}

static const struct nlattr *of_bridge(const Kho__NetLink *l, uint16_t type)
{
	const struct nlattr *a = kho_nl_attr(&l->info, 0, type);

	assert_non_null(a);
	return a;
}

static void bridge_comes_back(void **state)
{
	_cleanup_nl_ struct kho_nl nl = KHO_NL_INIT;
	struct kho_err e = KHO_ERR_INIT;
	Kho__Netdev was = KHO__NETDEV__INIT, is = KHO__NETDEV__INIT;
	int index[2];

	(void)state;
	if (unshare(CLONE_NEWNET) < 0)
		skip();
	must(kho_nl_open(&nl, &e), &e);
	new_link(&nl, "port0", "veth");
	new_link(&nl, "br0", "bridge");
	add(&was, "port0", "");
	must(kho_netdev_find_virtual(&nl, &was, &e), &e);
	assert_int_equal(was.n_link, 2); /* a veth is none of those that are carried */
	assert_string_equal(was.link[1]->name, "br0");
	assert_string_equal(was.link[1]->kind, "bridge");
	index[0] = (int)if_nametoindex("port0");
	index[1] = (int)if_nametoindex("br0");
	set_bridge(&nl, index[1], false, IFLA_BR_AGEING_TIME, 12300, 4);
	set_bridge(&nl, index[1], false, IFLA_BR_MCAST_SNOOPING, 0, 1);
	was.link[0]->index = (uint32_t)index[0];
	was.link[0]->master = was.link[1]->index;
	must(kho_netdev_enslave(&nl, &was, 0, index, &e), &e);
	set_bridge(&nl, index[0], true, IFLA_BRPORT_MODE, 1, 1);
	must(kho_netdev_read(&nl, &was, false, &e), &e);
	assert_int_equal(was.link[0]->master, was.link[1]->index);
	assert_true(was.link[0]->port.len > 0);

	/* and from the beginning, with other indexes */
	must(kho_link_del(&nl, "br0", &e), &e);
	must(kho_link_del(&nl, "port0", &e), &e);
	new_link(&nl, "spare", "ifb");
	index[0] = new_link(&nl, "port0", "veth");
	index[1] = 0;
	index[1] = kho_netdev_make(&nl, &was, 1, index, &e);
	must(index[1], &e);
	must(kho_netdev_apply_link(&nl, was.link[1], index[1], &e), &e);
	must(kho_netdev_enslave(&nl, &was, 0, index, &e), &e);
	must(kho_netdev_apply_ports(&nl, &was, 0, index, &e), &e);
	add(&is, "port0", "");
	must(kho_netdev_find_virtual(&nl, &is, &e), &e);
	must(kho_netdev_read(&nl, &is, false, &e), &e);
	assert_int_equal(is.n_link, 2);
	assert_int_equal(is.link[0]->master, is.link[1]->index);
	assert_int_equal(mnl_attr_get_u32(of_bridge(is.link[1], IFLA_BR_AGEING_TIME)), 12300);
	assert_int_equal(mnl_attr_get_u8(of_bridge(is.link[1], IFLA_BR_MCAST_SNOOPING)), 0);
	assert_int_equal(mnl_attr_get_u8(kho_nl_attr(&is.link[0]->port, 0, IFLA_BRPORT_MODE)), 1);
	assert_int_equal(is.link[1]->mac.len, 6);
	assert_memory_equal(is.link[1]->mac.data, was.link[1]->mac.data, 6);
	config_done(&was);
	config_done(&is);
}

static const Kho__NetLink *named(const Kho__Netdev *c, const char *name)
{
	for (size_t i = 0; i < c->n_link; i++)
		if (!strcmp(c->link[i]->name, name))
			return c->link[i];
	fail_msg("no %s", name);
	return NULL;
}

static void expect_vlan(const Kho__NetLink *l, uint16_t vid)
{
	struct bridge_vlan_info v;

	assert_int_equal(l->n_vlan, vid ? 1 : 0);
	if (vid) {
		memcpy(&v, l->vlan[0].data, sizeof(v));
		assert_int_equal(v.vid, vid);
	}
}

static void expect_vlans(const Kho__Netdev *c)
{
	expect_vlan(named(c, "port0"), 10);
	expect_vlan(named(c, "port1"), 0);
	expect_vlan(named(c, "port2"), 100);
	expect_vlan(named(c, "br0"), 0);
}

/* Ports that are in another VLAN than new ones, or in none, and the bridge itself. */
static void isolation_comes_back(void **state)
{
	static const char *const port[] = { "port0", "port1", "port2" };
	_cleanup_nl_ struct kho_nl nl = KHO_NL_INIT;
	Kho__Netdev was = KHO__NETDEV__INIT, is = KHO__NETDEV__INIT;
	struct kho_err e = KHO_ERR_INIT;
	int index[4];

	(void)state;
	if (unshare(CLONE_NEWNET) < 0)
		skip();
	must(kho_nl_open(&nl, &e), &e);
	index[3] = new_link(&nl, "br0", "bridge");
	if (!set_bridge(&nl, index[3], false, IFLA_BR_VLAN_DEFAULT_PVID, 100, 2) || !set_bridge(&nl, index[3], false, IFLA_BR_VLAN_FILTERING, 1, 1)) {
		kho_nl_close(&nl); /* who skips does not come back */
		skip();
	}
	for (int i = 0; i < 3; i++) {
		index[i] = new_link(&nl, port[i], "veth");
		add(&was, port[i], "")->index = (uint32_t)index[i];
		add(&is, port[i], "");
	}
	must(kho_netdev_find_virtual(&nl, &was, &e), &e);
	assert_int_equal(was.n_link, 4);
	for (size_t i = 0; i < 3; i++) {
		was.link[i]->master = (uint32_t)index[3];
		must(kho_netdev_enslave(&nl, &was, i, index, &e), &e);
	}
	set_bridge_vlan(&nl, index[0], RTM_SETLINK, 10, 0);
	set_bridge_vlan(&nl, index[0], RTM_DELLINK, 100, 0);
	set_bridge_vlan(&nl, index[1], RTM_DELLINK, 100, 0);
	set_bridge_vlan(&nl, index[3], RTM_DELLINK, 100, BRIDGE_FLAGS_SELF);
	must(kho_netdev_read(&nl, &was, false, &e), &e);
	expect_vlans(&was);

	must(kho_link_del(&nl, "br0", &e), &e);
	index[3] = kho_netdev_make(&nl, &was, 3, index, &e);
	must(index[3], &e);
	for (size_t i = 0; i < 3; i++)
		must(kho_netdev_enslave(&nl, &was, i, index, &e), &e);
	for (size_t i = 0; i < 4; i++)
		must(kho_netdev_apply_ports(&nl, &was, i, index, &e), &e);
	must(kho_netdev_find_virtual(&nl, &is, &e), &e);
	must(kho_netdev_read(&nl, &is, false, &e), &e);
	expect_vlans(&is);
	config_done(&was);
	config_done(&is);
}

/* --- routes --- */

/* fd77::/64 by that interface, as it would be dumped. */
static void add_route(Kho__Netdev *c, const Kho__NetLink *l)
{
	static const uint8_t to[16] = { 0xfd, 0x77 };
	char buf[256] __attribute__((aligned(8)));
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct rtmsg *rtm = mnl_nlmsg_put_extra_header(nlh, sizeof(*rtm));

	*rtm = (struct rtmsg){ .rtm_family = AF_INET6,
			       .rtm_dst_len = 64,
			       .rtm_table = RT_TABLE_MAIN,
			       .rtm_protocol = RTPROT_STATIC,
			       .rtm_type = RTN_UNICAST };
	mnl_attr_put(nlh, RTA_DST, sizeof(to), to);
	mnl_attr_put_u32(nlh, RTA_OIF, l->index);
	mnl_attr_put_u32(nlh, RTA_PRIORITY, 256);
	assert_int_equal(kho_pb_append_bytes(&c->route, &c->n_route, mnl_nlmsg_get_payload(nlh), mnl_nlmsg_get_payload_len(nlh)), 0);
}

/* IPv6: one prefix by two interfaces, with the same metric. */
static void routes_of_equal_metric(void **state)
{
	static const char *const name[] = { "eth0", "eth1" };
	_cleanup_nl_ struct kho_nl nl = KHO_NL_INIT;
	Kho__Netdev was = KHO__NETDEV__INIT;
	struct kho_err e = KHO_ERR_INIT;
	int index[2];

	(void)state;
	if (!kho_exists("/proc/sys/net/ipv6") || unshare(CLONE_NEWNET) < 0)
		skip();
	must(kho_nl_open(&nl, &e), &e);
	for (int i = 0; i < 2; i++) {
		index[i] = new_link(&nl, name[i], "ifb");
		must(kho_link_set(&nl, index[i], IFF_UP, IFF_UP, &e), &e);
		add(&was, name[i], "")->index = (uint32_t)index[i];
	}
	for (int i = 0; i < 2; i++)
		add_route(&was, was.link[i]);
	add_route(&was, was.link[1]); /* the very same one is there already */
	must(kho_netdev_apply_routes(&nl, &was, index, &e), &e);
	must(kho_netdev_read(&nl, &was, false, &e), &e);
	assert_int_equal(was.n_route, 2);
	for (int i = 0; i < 2; i++)
		assert_int_equal(mnl_attr_get_u32(kho_nl_attr(&was.route[i], sizeof(struct rtmsg), RTA_OIF)), index[i]);
	config_done(&was);
}

/* --- indexes --- */

static void indexes_come_back(void **state)
{
	_cleanup_nl_ struct kho_nl nl = KHO_NL_INIT;
	Kho__Netdev c = KHO__NETDEV__INIT;
	struct kho_err e = KHO_ERR_INIT;
	int index[4] = { 1 };

	(void)state;
	if (unshare(CLONE_NEWNET) < 0)
		skip();
	must(kho_nl_open(&nl, &e), &e);
	add(&c, "lo", "")->index = 1;
	add(&c, "eth0", "")->index = 8;
	add(&c, "eth1", "")->index = 5;
	add(&c, "br0", "bridge")->index = 6;
	for (int i = 1; i < 3; i++)
		assert_int_equal(kho_pb_set(&c.link[i]->pci, i == 1 ? "0000:00:04.0" : "0000:00:05.0"), 0);
	kho_netdev_sort(&c);
	assert_string_equal(c.link[1]->name, "eth1");
	assert_string_equal(c.link[2]->name, "eth0");
	assert_string_equal(c.link[3]->name, "br0");
	/* those that hold packets come first, and take none of the indexes */
	must(kho_link_placeholder(&nl, "kho-in0", 1000, &e), &e);
	kho_netdev_reserve_indexes(&nl, &c);
	/* a driver does not say which index it wants */
	assert_int_equal(new_link(&nl, "eth1", "ifb"), 5);
	assert_int_equal(new_link(&nl, "eth0", "ifb"), 8);
	assert_int_equal(kho_netdev_make(&nl, &c, 3, index, &e), 6);
	kho_netdev_release_indexes(&nl, &c);
	assert_int_equal(if_nametoindex(KHO_INDEX_HOLDER "7"), 0);
	assert_int_equal(if_nametoindex("br0"), 6);
	config_done(&c);
}

/* --- files in /run --- */

static void put(const char *root, const char *path, const char *text)
{
	Kho__NetFile f = KHO__NET_FILE__INIT, *one = &f;
	Kho__Netdev c = KHO__NETDEV__INIT;
	struct kho_err e = KHO_ERR_INIT;

	f.path = (char *)(uintptr_t)path;
	f.text = (char *)(uintptr_t)text;
	c.file = &one;
	c.n_file = 1;
	must(kho_netdev_files_place(&c, root, &e), &e);
}

static const char *file(const Kho__Netdev *c, const char *path)
{
	for (size_t i = 0; i < c->n_file; i++)
		if (!strcmp(c->file[i]->path, path))
			return c->file[i]->text;
	return NULL;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void files_of_services(void **state)
{
	static const char unit[] = "[Unit]\nDescription=nftables\n[Service]\nType=oneshot\nRemainAfterExit=yes\n"
				   "ExecStart=/usr/sbin/nft -f /etc/nftables.conf\nExecReload=/usr/sbin/nft -f /etc/nftables.conf\n";
	char root[] = "/tmp/khoctl-files.XXXXXX", path[128];
	Kho__NetRuleset rules = KHO__NET_RULESET__INIT;
	Kho__Netdev c = KHO__NETDEV__INIT;
	struct kho_err e = KHO_ERR_INIT;

	(void)state;
	assert_non_null(mkdtemp(root));
	put(root, "/run/systemd/netif/leases/3", "ADDRESS=10.0.0.5\n");
	put(root, "/run/systemd/netif/links/3", "ADMIN_STATE=configured\nNETWORK_FILE=/etc/systemd/network/10-lan.network\n");
	put(root, "/run/systemd/netif/links/4", "NETWORK_FILE=/etc/systemd/network/20-static.network\n");
	put(root, "/run/systemd/resolve/stub-resolv.conf", "nameserver 127.0.0.53\n");
	put(root, "/run/systemd/resolve/resolv.conf", "nameserver 10.0.0.1\n");
	snprintf(path, sizeof(path), "%s/etc", root);
	assert_int_equal(mkdir(path, 0755), 0);
	snprintf(path, sizeof(path), "%s/etc/resolv.conf", root);
	assert_int_equal(symlink("../run/systemd/resolve/stub-resolv.conf", path), 0);
	add(&c, "eth0", "")->index = 3;
	add(&c, "eth1", "")->index = 4;
	/* Debian's, but for comments */
	snprintf(path, sizeof(path), "%s/usr/lib/systemd/system", root);
	must(kho_make_dirs(path, 0755, &e), &e);
	strcat(path, "/nftables.service");
	must(kho_write_file(path, unit, strlen(unit), &e), &e);
	c.ruleset = &rules;
	must(kho_netdev_files_collect(&c, root, &e), &e);
	assert_int_equal(c.n_file, 3); /* no rules: nothing to leave as it is */
	rules.n_table = 1;
	must(kho_netdev_files_collect(&c, root, &e), &e);
	assert_int_equal(c.n_file, 8);
	assert_non_null(strstr(file(&c, "/run/systemd/system/nftables.service.d/khoctl.conf"), "exec /usr/sbin/nft -f /etc/nftables.conf'\n"));
	assert_non_null(file(&c, "/run/khoctl/ruleset-carried"));
	assert_string_equal(file(&c, "/run/systemd/resolve/stub-resolv.conf"), "nameserver 127.0.0.53\n");
	assert_string_equal(file(&c, "/run/systemd/resolve/resolv.conf"), "nameserver 10.0.0.1\n");
	assert_non_null(strstr(file(&c, "/run/systemd/network/10-lan.network.d/khoctl.conf"), "KeepConfiguration=dhcp\n"));
	c.file[0]->path[1] = 'e'; /* "/eun/..." */
	assert_int_equal(kho_netdev_files_place(&c, root, &e), -EBADMSG);
	assert_int_equal(nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
	c.ruleset = NULL; /* it is ours */
	config_done(&c);
}

static int count(void *arg, const char *name)
{
	++*(unsigned *)arg;
	return strcmp(name, "xt_stop") ? 0 : -EINTR;
}

static void wanted_modules(void **state)
{
	unsigned n = 0;

	(void)state;
	assert_true(kho_module_is_network("nft_ct"));
	assert_true(kho_module_is_network("bonding"));
	assert_false(kho_module_is_network("iptable_filter"));
	assert_false(kho_module_is_network("ext4"));
	assert_int_equal(kho_network_modules("nf_tables 376832 3 nft_ct, Live 0x0\next4 1 1\n8021q 1 1\nbridge", count, &n), 0);
	assert_int_equal(n, 3);
	assert_int_equal(kho_network_modules("xt_stop 1\nxt_b 1\n", count, &n), -EINTR);
	assert_int_equal(n, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bridge_comes_back), cmocka_unit_test(isolation_comes_back), cmocka_unit_test(routes_of_equal_metric),
		cmocka_unit_test(wanted_modules), cmocka_unit_test(files_of_services), cmocka_unit_test(indexes_come_back),
	};

	return cmocka_run_group_tests_name("netdev", tests, NULL, NULL);
}
