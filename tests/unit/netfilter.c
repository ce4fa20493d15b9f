// SPDX-License-Identifier: GPL-2.0-only
/*
 * The packet filter in a network namespace of its own: a rule set and connections that were recorded
 * (serializer-check record) are loaded and read again; a rule set that is refused changes nothing.  Bridges with VLANs, the
 * modules that are wanted.  Skipped where there is no root, or the kernel lacks nftables.
 */
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

#define RECORDED "tests/sysroots/netfilter/"

static void must(int ret, const struct kho_err *e)
{
	if (ret < 0)
		fail_msg("%s", e->msg);
}

static void *recorded(const ProtobufCMessageDescriptor *d, const char *path)
{
	struct kho_err e = KHO_ERR_INIT;
	struct kho_blob b = { 0 };
	char *data;
	void *m;

	must(kho_read_file(path, 1 << 20, &data, &b.len, &e), &e);
	b.data = data;
	m = kho_pb_unpack(d, &b, &e);
	assert_non_null(m);
	kho_blob_done(&b);
	return m;
}

/* A namespace with the links that rules name; false: not here. */
static bool new_namespace(void)
{
	static const Kho__NetRuleset nothing = KHO__NET_RULESET__INIT;
	struct kho_err e = KHO_ERR_INIT;

	return unshare(CLONE_NEWNET) == 0 && kho_nft_load(&nothing, true, &e) == 0;
}

static const char *name_of(const ProtobufCBinaryData *m, uint16_t attr)
{
	return kho_nl_text(kho_nl_attr(m, sizeof(struct nfgenmsg), attr));
}

/* Rules of the same chain, in the same order, with the same expressions. */
static void same_rules(const Kho__NetRuleset *a, const Kho__NetRuleset *b)
{
	assert_int_equal(a->n_rule, b->n_rule);
	for (size_t i = 0; i < a->n_rule; i++) {
		const struct nlattr *x = kho_nl_attr(&a->rule[i], sizeof(struct nfgenmsg), NFTA_RULE_EXPRESSIONS), *y = NULL;
		size_t nth = 0, k;

		/* the kernel's order of tables and chains is its own; within a chain it counts */
		for (k = 0; k < i; k++)
			nth += !strcmp(name_of(&a->rule[k], NFTA_RULE_CHAIN), name_of(&a->rule[i], NFTA_RULE_CHAIN)) &&
			       !strcmp(name_of(&a->rule[k], NFTA_RULE_TABLE), name_of(&a->rule[i], NFTA_RULE_TABLE)) &&
			       *a->rule[k].data == *a->rule[i].data;
		for (k = 0; !y && k < b->n_rule; k++)
			if (!strcmp(name_of(&b->rule[k], NFTA_RULE_CHAIN), name_of(&a->rule[i], NFTA_RULE_CHAIN)) &&
			    !strcmp(name_of(&b->rule[k], NFTA_RULE_TABLE), name_of(&a->rule[i], NFTA_RULE_TABLE)) &&
			    *b->rule[k].data == *a->rule[i].data && nth-- == 0)
				y = kho_nl_attr(&b->rule[k], sizeof(struct nfgenmsg), NFTA_RULE_EXPRESSIONS);
		assert_non_null(y);
		assert_int_equal(x->nla_len, y->nla_len);
		assert_memory_equal(x, y, x->nla_len);
	}
}

static size_t elements_in(const Kho__NetRuleset *r)
{
	size_t n = 0;

	for (size_t i = 0; i < r->n_element; i++) {
		const struct nlattr *e, *list = kho_nl_attr(&r->element[i], sizeof(struct nfgenmsg), NFTA_SET_ELEM_LIST_ELEMENTS);

		if (list)
			mnl_attr_for_each_nested(e, list)
				n++;
	}
	return n;
}

static void same_ruleset(const Kho__NetRuleset *a, const Kho__NetRuleset *b)
{
	assert_int_equal(a->n_table, b->n_table);
	assert_int_equal(a->n_chain, b->n_chain);
	assert_int_equal(a->n_set, b->n_set);
	assert_int_equal(a->n_object, b->n_object);
	assert_int_equal(elements_in(a), elements_in(b));
	same_rules(a, b);
}

static void ruleset_comes_back(void **state)
{
	Kho__NetRuleset *was = recorded(&kho__net_ruleset__descriptor, RECORDED "ruleset"), *is, *again;
	struct kho_err e = KHO_ERR_INIT;

	(void)state;
	if (!new_namespace())
		skip();
	assert_true(was->n_table >= 9 && was->n_rule >= 30 && was->n_object >= 4);
	must(kho_nft_load(was, true, &e), &e);
	must(kho_nft_read(&is, &e), &e);
	same_ruleset(was, is);
	/* what was loaded is loaded once more, in place of itself */
	must(kho_nft_load(is, true, &e), &e);
	must(kho_nft_read(&again, &e), &e);
	same_ruleset(is, again);
	kho__net_ruleset__free_unpacked(again, NULL);
	must(kho_nft_load(NULL, true, &e), &e);
	must(kho_nft_read(&again, &e), &e);
	assert_int_equal(again->n_table, 0);
	kho__net_ruleset__free_unpacked(was, NULL);
	kho__net_ruleset__free_unpacked(is, NULL);
	kho__net_ruleset__free_unpacked(again, NULL);
}

static void without_devices(void **state)
{
	Kho__NetRuleset *was = recorded(&kho__net_ruleset__descriptor, RECORDED "ruleset"), *is;
	struct kho_err e = KHO_ERR_INIT;

	(void)state;
	assert_true(kho_nft_names_devices(was));
	if (!new_namespace())
		skip();
	must(kho_nft_load(was, false, &e), &e);
	must(kho_nft_read(&is, &e), &e);
	assert_int_equal(is->n_table, was->n_table - 1);
	assert_false(kho_nft_names_devices(is));
	kho__net_ruleset__free_unpacked(is, NULL);
	kho__net_ruleset__free_unpacked(was, NULL);
}

/* One bad rule: nothing of the new set, all of the old one, and the error says where. */
static void all_or_nothing(void **state)
{
	Kho__NetRuleset *r = recorded(&kho__net_ruleset__descriptor, RECORDED "ruleset"), *is;
	struct kho_err e = KHO_ERR_INIT;
	struct nlattr *chain;

	(void)state;
	if (!new_namespace())
		skip();
	must(kho_nft_load(r, true, &e), &e);
	/* an expression that no kernel has */
	chain = (struct nlattr *)kho_nl_nested(
		kho_nl_nested(kho_nl_attr(&r->rule[r->n_rule - 1], sizeof(struct nfgenmsg), NFTA_RULE_EXPRESSIONS), NFTA_LIST_ELEM), NFTA_EXPR_NAME);
	assert_non_null(chain);
	*(char *)mnl_attr_get_payload(chain) = '?';
	assert_true(kho_nft_load(r, true, &e) < 0);
	assert_non_null(strstr(e.msg, "rule (family"));
	must(kho_nft_read(&is, &e), &e);
	assert_int_equal(is->n_table, r->n_table);
	assert_int_equal(is->n_rule, r->n_rule);
	kho__net_ruleset__free_unpacked(is, NULL);
	kho__net_ruleset__free_unpacked(r, NULL);
}

/* `iif "lo"` becomes the interface with index 5. */
static void make_it_another(Kho__NetRuleset *r)
{
	for (size_t i = 0; i < r->n_rule; i++) {
		const struct nlattr *e, *list = kho_nl_attr(&r->rule[i], sizeof(struct nfgenmsg), NFTA_RULE_EXPRESSIONS), *v;
		bool iif = false;

		if (!list)
			continue;
		mnl_attr_for_each_nested(e, list) {
			const struct nlattr *data = kho_nl_nested(e, NFTA_EXPR_DATA);

			v = kho_nl_nested(kho_nl_nested(data, NFTA_CMP_DATA), NFTA_DATA_VALUE);
			if (iif && v && mnl_attr_get_payload_len(v) == 4)
				*(uint32_t *)mnl_attr_get_payload(v) = 5;
			iif = !strcmp(kho_nl_text(kho_nl_nested(e, NFTA_EXPR_NAME)), "meta") &&
			      kho_nl_be32(kho_nl_nested(data, NFTA_META_KEY)) == NFT_META_IIF;
		}
	}
}

/* iptables-nft was given: -p tcp -m multiport (IPv4, IPv6), ! -p tcp -m comment. */
static void protocols_of_extensions(void **state)
{
	Kho__NetRuleset *r = recorded(&kho__net_ruleset__descriptor, RECORDED "ruleset");
	unsigned tcp = 0, not_tcp = 0, none = 0;
	uint32_t protocol;
	bool inverted;

	(void)state;
	for (size_t i = 0; i < r->n_rule; i++) {
		if (!kho_nft_rule_protocol(&r->rule[i], &protocol, &inverted)) {
			none++;
			continue;
		}
		assert_int_equal(protocol, 6);
		tcp += !inverted;
		not_tcp += inverted;
	}
	assert_int_equal(tcp, 2);
	assert_int_equal(not_tcp, 1);
	assert_true(none > 20);
	/* all the recorded set asks for by index is lo */
	assert_false(kho_nft_knows_indexes(r));
	make_it_another(r);
	assert_true(kho_nft_knows_indexes(r));
	kho__net_ruleset__free_unpacked(r, NULL);
}

static void connections_come_back(void **state)
{
	Kho__NetConntrack *was = recorded(&kho__net_conntrack__descriptor, RECORDED "conntrack"), is = KHO__NET_CONNTRACK__INIT;
	Kho__NetRuleset *rules = recorded(&kho__net_ruleset__descriptor, RECORDED "ruleset");
	size_t refused, translated = 0;
	struct kho_err e = KHO_ERR_INIT;

	(void)state;
	if (!new_namespace())
		skip();
	must(kho_nft_load(rules, true, &e), &e);
	must(kho_ct_load(was, &refused, &e), &e);
	assert_int_equal(refused, 0);
	must(kho_ct_read(&is, &e), &e);
	assert_int_equal(is.n_entry, was->n_entry);
	assert_int_equal(kho_ct_count(), was->n_entry);
	for (size_t i = 0; i < was->n_entry; i++) {
		size_t k, header = sizeof(struct nfgenmsg);
		const struct nlattr *tuple = kho_nl_attr(&was->entry[i], header, 1 /* CTA_TUPLE_ORIG */), *other = NULL;

		for (k = 0; !other && k < is.n_entry; k++) {
			other = kho_nl_attr(&is.entry[k], header, 1);
			if (other->nla_len != tuple->nla_len || memcmp(other, tuple, tuple->nla_len))
				other = NULL;
		}
		assert_non_null(other);
		/* reply, status, protocol's state, both translations, mark */
		for (const uint16_t *t = (const uint16_t[]){ 2, 3, 4, 6, 13, 8, 0 }; *t; t++) {
			const struct nlattr *a = kho_nl_attr(&was->entry[i], header, *t), *b = kho_nl_attr(&is.entry[k - 1], header, *t);

			assert_int_equal(!a, !b);
			if (a)
				assert_memory_equal(a, b, a->nla_len);
			translated += a && (*t == 6 || *t == 13);
		}
	}
	assert_true(translated >= 2);
	must(kho_ct_flush(&e), &e);
	assert_int_equal(kho_ct_count(), 0);
	for (size_t i = 0; i < is.n_entry; i++)
		free(is.entry[i].data);
	free(is.entry);
	kho__net_conntrack__free_unpacked(was, NULL);
	kho__net_ruleset__free_unpacked(rules, NULL);
}

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

/* As `ip link set ... type bridge` and `bridge link set` do. */
static void set(struct kho_nl *nl, int index, bool port, uint16_t type, uint32_t value, size_t len)
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
	must(kho_nl_do(nl, nlh, &e, "set"), &e);
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
	set(&nl, index[1], false, IFLA_BR_AGEING_TIME, 12300, 4);
	set(&nl, index[1], false, IFLA_BR_MCAST_SNOOPING, 0, 1);
	was.link[0]->index = (uint32_t)index[0];
	was.link[0]->master = was.link[1]->index;
	must(kho_netdev_enslave(&nl, &was, 0, index, &e), &e);
	set(&nl, index[0], true, IFLA_BRPORT_MODE, 1, 1);
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
		cmocka_unit_test(ruleset_comes_back),	  cmocka_unit_test(without_devices),   cmocka_unit_test(all_or_nothing),
		cmocka_unit_test(protocols_of_extensions), cmocka_unit_test(connections_come_back), cmocka_unit_test(bridge_comes_back),
		cmocka_unit_test(wanted_modules),	  cmocka_unit_test(files_of_services),
		cmocka_unit_test(indexes_come_back),
	};

	return cmocka_run_group_tests_name("netfilter", tests, NULL, NULL);
}
