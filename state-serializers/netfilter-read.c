// SPDX-License-Identifier: GPL-2.0-only
/*
 * nftables' objects of all tables, as the kernel dumps them; and what of the packet filter can be
 * carried.  Reads only.
 */
#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nf_tables_compat.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/x_tables.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv6/ip6_tables.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/cleanup.h"
#include "state-serializers/common.h"
#include "state-serializers/netfilter.h"

#define OF_CRIU "CRIU-"	/* tables by which CRIU locks a network: its own business */

struct read_arg {
	ProtobufCBinaryData **array;
	size_t *n;
	uint16_t table_attr;	/* the attribute that says which table; 0: the object is one */
	int error;
};

static int on_object(const struct nlmsghdr *nlh, void *data)
{
	struct read_arg *r = data;
	ProtobufCBinaryData msg = { mnl_nlmsg_get_payload_len(nlh), mnl_nlmsg_get_payload(nlh) };
	const char *table = kho_nl_text(kho_nl_attr(&msg, sizeof(struct nfgenmsg), r->table_attr));

	if (!strncmp(table, OF_CRIU, strlen(OF_CRIU)))
		return MNL_CB_OK;
	r->error = kho_pb_append_bytes(r->array, r->n, msg.data, msg.len);
	return r->error ? MNL_CB_ERROR : MNL_CB_OK;
}

static struct nlmsghdr *request(struct kho_nl *nl, uint16_t msg, uint16_t flags, uint8_t family)
{
	struct nlmsghdr *nlh = kho_nl_request(nl, NFNL_SUBSYS_NFTABLES << 8 | msg, flags, sizeof(struct nfgenmsg));

	*(struct nfgenmsg *)mnl_nlmsg_get_payload(nlh) = (struct nfgenmsg){ .nfgen_family = family };
	return nlh;
}

static int dump(struct kho_nl *nl, struct nlmsghdr *nlh, struct read_arg *arg, const char *what, struct kho_err *err)
{
	int ret = kho_nl_dump(nl, nlh, on_object, arg, err, what);

	return arg->error ? kho_fail(err, arg->error, "%s: %s", what, strerror(-arg->error)) : ret;
}

/* The elements of each set, under its name. */
static int read_elements(struct kho_nl *nl, Kho__NetRuleset *r, struct kho_err *err)
{
	struct read_arg arg = { .array = &r->element, .n = &r->n_element, .table_attr = NFTA_SET_ELEM_LIST_TABLE };
	int ret = 0;

	for (size_t i = 0; !ret && i < r->n_set; i++) {
		const struct nfgenmsg *g = (const void *)r->set[i].data;
		struct nlmsghdr *nlh = request(nl, NFT_MSG_GETSETELEM, NLM_F_DUMP, g->nfgen_family);

		mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_TABLE, kho_nl_text(kho_nl_attr(&r->set[i], sizeof(*g), NFTA_SET_TABLE)));
		mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_SET, kho_nl_text(kho_nl_attr(&r->set[i], sizeof(*g), NFTA_SET_NAME)));
		ret = dump(nl, nlh, &arg, "read nftables set elements", err);
	}
	return ret;
}

static int on_generation(const struct nlmsghdr *nlh, void *data)
{
	ProtobufCBinaryData msg = { mnl_nlmsg_get_payload_len(nlh), mnl_nlmsg_get_payload(nlh) };

	*(uint32_t *)data = kho_nl_be32(kho_nl_attr(&msg, sizeof(struct nfgenmsg), NFTA_GEN_ID));
	return MNL_CB_OK;
}

static int read_generation(struct kho_nl *nl, uint32_t *out, struct kho_err *err)
{
	*out = 0;
	return kho_nl_dump(nl, request(nl, NFT_MSG_GETGEN, 0, AF_UNSPEC), on_generation, out, err, "read nftables generation");
}

static int read_once(struct kho_nl *nl, Kho__NetRuleset *r, struct kho_err *err)
{
	const struct kind {
		uint16_t msg, table_attr;
		ProtobufCBinaryData **array;
		size_t *n;
	} kinds[] = {
		{ NFT_MSG_GETTABLE, NFTA_TABLE_NAME, &r->table, &r->n_table },
		{ NFT_MSG_GETCHAIN, NFTA_CHAIN_TABLE, &r->chain, &r->n_chain },
		{ NFT_MSG_GETSET, NFTA_SET_TABLE, &r->set, &r->n_set },
		{ NFT_MSG_GETOBJ, NFTA_OBJ_TABLE, &r->object, &r->n_object },
		{ NFT_MSG_GETFLOWTABLE, NFTA_FLOWTABLE_TABLE, &r->flowtable, &r->n_flowtable },
		{ NFT_MSG_GETRULE, NFTA_RULE_TABLE, &r->rule, &r->n_rule },
	};
	uint32_t after = 0;
	int ret = read_generation(nl, &r->generation, err);

	/* sets of all families: the kernel dumps those of one table only when it is named */
	for (size_t i = 0; !ret && i < KHO_ARRAY_SIZE(kinds); i++) {
		struct read_arg arg = { .array = kinds[i].array, .n = kinds[i].n, .table_attr = kinds[i].table_attr };

		ret = dump(nl, request(nl, kinds[i].msg, NLM_F_DUMP, NFPROTO_UNSPEC), &arg, "read nftables rule set", err);
		if (ret == -EOPNOTSUPP && !*kinds[i].n)
			ret = 0;
	}
	if (!ret)
		ret = read_elements(nl, r, err);
	if (!ret)
		ret = read_generation(nl, &after, err);
	return !ret && after != r->generation ? kho_fail(err, -EINTR, "the nftables rule set changes while it is read") : ret;
}

static Kho__NetRuleset *new_ruleset(void)
{
	Kho__NetRuleset *r = malloc(sizeof(*r));

	if (r)
		kho__net_ruleset__init(r);
	return r;
}

int kho_nft_read(Kho__NetRuleset **out, struct kho_err *err)
{
	_cleanup_nl_ struct kho_nl nl = KHO_NL_INIT;
	struct kho_err why = KHO_ERR_INIT;
	uint32_t generation;
	int ret = -EINTR;

	*out = new_ruleset();
	if (!*out)
		return kho_fail(err, -ENOMEM, "read nftables rule set: out of memory");
	/* a kernel without nftables */
	if (kho_nl_open_bus(&nl, NETLINK_NETFILTER, &why) < 0 || read_generation(&nl, &generation, &why) < 0)
		return 0;
	for (int tries = 0; ret == -EINTR && tries < 10; tries++) {
		kho__net_ruleset__free_unpacked(*out, NULL);
		*out = new_ruleset();
		ret = *out ? read_once(&nl, *out, err) : kho_fail(err, -ENOMEM, "read nftables rule set: out of memory");
	}
	if (ret < 0 && *out) {
		kho__net_ruleset__free_unpacked(*out, NULL);
		*out = NULL;
	}
	return ret;
}

/* --- probe --- */

/* Rules of the old iptables in one of its tables, besides a policy for each hook. */
static unsigned legacy_rules(int family, const char *table)
{
	struct ipt_getinfo info = { 0 }; /* the same in both families */
	_cleanup_close_ int s = socket(family, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
	socklen_t len = sizeof(info);
	int level = family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6, name = family == AF_INET ? IPT_SO_GET_INFO : IP6T_SO_GET_INFO;
	unsigned own;

	_Static_assert(sizeof(struct ipt_getinfo) == sizeof(struct ip6t_getinfo), "one structure");
	snprintf(info.name, sizeof(info.name), "%s", table);
	if (s < 0 || getsockopt(s, level, name, &info, &len) < 0)
		return 0;
	/* one entry for each hook, and one that ends the table */
	own = (unsigned)__builtin_popcount(info.valid_hooks) + 1;
	return info.num_entries > own ? info.num_entries - own : 0;
}

static int probe_legacy(struct kho_report *r)
{
	static const struct {
		int family;
		const char *names, *program;
	} rows[] = {
		{ AF_INET, "/proc/net/ip_tables_names", "iptables" },
		{ AF_INET6, "/proc/net/ip6_tables_names", "ip6tables" },
	};
	int ret = 0;

	for (size_t i = 0; !ret && i < KHO_ARRAY_SIZE(rows); i++) {
		_cleanup_fclose_ FILE *f = fopen(rows[i].names, "re");
		char table[XT_TABLE_MAXNAMELEN], fix[128];

		while (!ret && f && fscanf(f, "%31s", table) == 1) {
			unsigned n = legacy_rules(rows[i].family, table);

			snprintf(fix, sizeof(fix), "%s-legacy-save | %s-nft-restore, and flush the old ones", rows[i].program, rows[i].program);
			if (n)
				ret = kho_report_add(r, KHO_V_NO, "network", "firewall", fix, "%u rules of %s-legacy, table %s, cannot be carried",
						     n, rows[i].program, table);
		}
	}
	return ret;
}

/* Extensions of iptables whose state is elsewhere: ipset's sets are known to them by number. */
static unsigned rules_with_ipset(const Kho__NetRuleset *set)
{
	unsigned n = 0;

	for (size_t i = 0; i < set->n_rule; i++) {
		const struct nlattr *e, *list = kho_nl_attr(&set->rule[i], sizeof(struct nfgenmsg), NFTA_RULE_EXPRESSIONS);

		if (!list)
			continue;
		mnl_attr_for_each_nested(e, list) {
			const char *kind = kho_nl_text(kho_nl_nested(e, NFTA_EXPR_NAME));
			const struct nlattr *data = kho_nl_nested(e, NFTA_EXPR_DATA);

			if ((!strcmp(kind, "match") && !strcmp(kho_nl_text(kho_nl_nested(data, NFTA_MATCH_NAME)), "set")) ||
			    (!strcmp(kind, "target") && !strcmp(kho_nl_text(kho_nl_nested(data, NFTA_TARGET_NAME)), "SET"))) {
				n++;
				break;
			}
		}
	}
	return n;
}

int kho_netfilter_probe(struct kho_report *r, struct kho_err *err)
{
	Kho__NetRuleset *set = NULL;
	unsigned long entries = kho_ct_count();
	struct kho_err why = KHO_ERR_INIT;
	int ret = 0;

	if (kho_nft_read(&set, &why) < 0) {
		ret = kho_report_add(r, KHO_V_UNKNOWN, "network", "firewall", NULL, "%s", why.msg);
		return ret ? kho_fail(err, ret, "report: out of memory") : 0;
	}
	unsigned with_ipset = rules_with_ipset(set);

	if (with_ipset)
		ret = kho_report_add(r, KHO_V_NO, "network", "firewall", "use a set of nftables",
				     "%u rules ask an ipset, which cannot be carried", with_ipset);
	else if (set->n_table)
		ret = kho_report_add(r, KHO_V_OK, "network", "firewall", NULL, "nftables: %zu table(s), %zu chains, %zu rules, %zu sets move",
				     set->n_table, set->n_chain, set->n_rule, set->n_set);
	if (!ret && entries)
		ret = kho_report_add(r, KHO_V_OK, "network", "connection tracking", NULL, "%lu entries move", entries);
	if (!ret)
		ret = probe_legacy(r);
	kho__net_ruleset__free_unpacked(set, NULL);
	return ret ? kho_fail(err, ret, "report: out of memory") : 0;
}
