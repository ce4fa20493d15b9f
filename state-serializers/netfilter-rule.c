// SPDX-License-Identifier: GPL-2.0-only
/*
 * What makes a rule of nftables again, where that is not what its dump says: attributes that the kernel
 * dumps but does not take, and the protocol that extensions of iptables check when they are added, which
 * it does not dump.
 */
#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>

#include "state-serializers/common.h"
#include "state-serializers/netfilter.h"

#define GEN	       sizeof(struct nfgenmsg)
#define IPPROTO_OFFSET 9 /* of the protocol in an IPv4 header */
#define NEXTHDR_OFFSET 6 /* of the next header in an IPv6 one */

/* The byte that a comparison compares with; false when it is not one byte. */
static bool compared_byte(const struct nlattr *cmp, uint8_t *out)
{
	const struct nlattr *v = kho_nl_nested(kho_nl_nested(cmp, NFTA_CMP_DATA), NFTA_DATA_VALUE);

	if (!v || mnl_attr_get_payload_len(v) != 1)
		return false;
	*out = *(const uint8_t *)mnl_attr_get_payload(v);
	return true;
}

static bool loads_protocol(const char *kind, const struct nlattr *data, uint8_t family)
{
	if (!strcmp(kind, "meta"))
		return kho_nl_be32(kho_nl_nested(data, NFTA_META_KEY)) == NFT_META_L4PROTO;
	return !strcmp(kind, "payload") && kho_nl_be32(kho_nl_nested(data, NFTA_PAYLOAD_BASE)) == NFT_PAYLOAD_NETWORK_HEADER &&
	       kho_nl_be32(kho_nl_nested(data, NFTA_PAYLOAD_LEN)) == 1 &&
	       kho_nl_be32(kho_nl_nested(data, NFTA_PAYLOAD_OFFSET)) == (family == NFPROTO_IPV6 ? NEXTHDR_OFFSET : IPPROTO_OFFSET);
}

bool kho_nft_rule_protocol(const ProtobufCBinaryData *rule, uint32_t *out_protocol, bool *out_inverted)
{
	const struct nlattr *e, *list = kho_nl_attr(rule, GEN, NFTA_RULE_EXPRESSIONS);
	bool found = false, extension = false;
	uint32_t reg = UINT32_MAX; /* that holds the protocol */

	if (!list)
		return false;
	mnl_attr_for_each_nested(e, list) {
		const char *kind = kho_nl_text(kho_nl_nested(e, NFTA_EXPR_NAME));
		const struct nlattr *data = kho_nl_nested(e, NFTA_EXPR_DATA);
		uint8_t byte;

		extension |= !strcmp(kind, "match") || !strcmp(kind, "target");
		if (!strcmp(kind, "meta") || !strcmp(kind, "payload")) {
			uint32_t to = kho_nl_be32(kho_nl_nested(data, !strcmp(kind, "meta") ? (int)NFTA_META_DREG : (int)NFTA_PAYLOAD_DREG));

			if (loads_protocol(kind, data, *rule->data))
				reg = to;
			else if (to == reg)
				reg = UINT32_MAX;
		} else if (!found && !strcmp(kind, "cmp") && reg != UINT32_MAX &&
			   kho_nl_be32(kho_nl_nested(data, NFTA_CMP_SREG)) == reg && compared_byte(data, &byte)) {
			found = true;
			*out_protocol = byte;
			*out_inverted = kho_nl_be32(kho_nl_nested(data, NFTA_CMP_OP)) == NFT_CMP_NEQ;
		}
	}
	return found && extension;
}

/* Whether the expression brings an index. */
static bool loads_index(const struct nlattr *expr)
{
	const char *kind = kho_nl_text(kho_nl_nested(expr, NFTA_EXPR_NAME));
	const struct nlattr *data = kho_nl_nested(expr, NFTA_EXPR_DATA);
	uint32_t key = kho_nl_be32(kho_nl_nested(data, NFTA_META_KEY));

	if (!strcmp(kind, "meta"))
		return kho_nl_nested(data, NFTA_META_DREG) && (key == NFT_META_IIF || key == NFT_META_OIF);
	if (!strcmp(kind, "fib"))
		return kho_nl_be32(kho_nl_nested(data, NFTA_FIB_RESULT)) == NFT_FIB_RESULT_OIF &&
		       !(kho_nl_be32(kho_nl_nested(data, NFTA_FIB_FLAGS)) & NFTA_FIB_F_PRESENT);
	return !strcmp(kind, "dup") || !strcmp(kind, "fwd");
}

/* Compared with none or with the loopback interface, which are 0 and 1 everywhere. */
static bool compares_lo(const struct nlattr *expr)
{
	const struct nlattr *v = kho_nl_nested(kho_nl_nested(kho_nl_nested(expr, NFTA_EXPR_DATA), NFTA_CMP_DATA), NFTA_DATA_VALUE);

	return !strcmp(kho_nl_text(kho_nl_nested(expr, NFTA_EXPR_NAME)), "cmp") && v && mnl_attr_get_payload_len(v) == 4 &&
	       mnl_attr_get_u32(v) <= 1;
}

static bool knows_index(const ProtobufCBinaryData *rule)
{
	const struct nlattr *e, *list = kho_nl_attr(rule, GEN, NFTA_RULE_EXPRESSIONS);
	bool loaded = false;

	if (!list)
		return false;
	mnl_attr_for_each_nested(e, list) {
		if (loaded && !compares_lo(e))
			return true;
		loaded = loads_index(e);
	}
	return loaded;
}

bool kho_nft_knows_indexes(const Kho__NetRuleset *r)
{
	for (size_t i = 0; i < r->n_rule; i++)
		if (knows_index(&r->rule[i]))
			return true;
	return false;
}

/* --- attributes that are dumped but not taken --- */

/* An expression that writes a TCP option, or removes one (it has neither source nor destination). */
static bool drops_of_exthdr(const struct nlattr *data, const struct nlattr *a)
{
	uint16_t t = mnl_attr_get_type(a);

	if (kho_nl_nested(data, NFTA_EXTHDR_DREG))
		return false;
	return t == NFTA_EXTHDR_FLAGS ||
	       (!kho_nl_nested(data, NFTA_EXTHDR_SREG) && (t == NFTA_EXTHDR_OFFSET || t == NFTA_EXTHDR_LEN));
}

/* A time of 0 is "the set's own", also of sets that have none. */
static bool drops_of_dynset(const struct nlattr *data, const struct nlattr *a)
{
	(void)data;
	return mnl_attr_get_type(a) == NFTA_DYNSET_TIMEOUT && (mnl_attr_get_payload_len(a) != 8 || !mnl_attr_get_u64(a));
}

/* Flags may be given, but not as 0. */
static bool drops_of_osf(const struct nlattr *data, const struct nlattr *a)
{
	(void)data;
	return mnl_attr_get_type(a) == NFTA_OSF_FLAGS && !kho_nl_be32(a);
}

static const struct fix {
	const char *expression;
	bool (*drops)(const struct nlattr *data, const struct nlattr *a);
} fixes[] = {
	{ "exthdr", drops_of_exthdr },
	{ "dynset", drops_of_dynset },
	{ "osf", drops_of_osf },
};

static void put_fixed(struct nlmsghdr *nlh, const struct fix *f, const struct nlattr *data)
{
	struct nlattr *elem = mnl_attr_nest_start(nlh, NFTA_LIST_ELEM), *in;
	const struct nlattr *a;

	mnl_attr_put_strz(nlh, NFTA_EXPR_NAME, f->expression);
	in = mnl_attr_nest_start(nlh, NFTA_EXPR_DATA);
	mnl_attr_for_each_nested(a, data)
		if (!f->drops(data, a))
			mnl_attr_put(nlh, a->nla_type, mnl_attr_get_payload_len(a), mnl_attr_get_payload(a));
	mnl_attr_nest_end(nlh, in);
	mnl_attr_nest_end(nlh, elem);
}

static void put_expressions(struct nlmsghdr *nlh, const struct nlattr *list)
{
	struct nlattr *nest = mnl_attr_nest_start(nlh, NFTA_RULE_EXPRESSIONS);
	const struct nlattr *e;

	mnl_attr_for_each_nested(e, list) {
		const char *kind = kho_nl_text(kho_nl_nested(e, NFTA_EXPR_NAME));
		const struct nlattr *data = kho_nl_nested(e, NFTA_EXPR_DATA);
		const struct fix *f = NULL;

		for (size_t i = 0; data && i < KHO_ARRAY_SIZE(fixes); i++)
			if (!strcmp(fixes[i].expression, kind))
				f = &fixes[i];
		if (f)
			put_fixed(nlh, f, data);
		else
			mnl_attr_put(nlh, e->nla_type, mnl_attr_get_payload_len(e), mnl_attr_get_payload(e));
	}
	mnl_attr_nest_end(nlh, nest);
}

void kho_nft_put_rule(struct nlmsghdr *nlh, const ProtobufCBinaryData *rule)
{
	const struct nlattr *list = kho_nl_attr(rule, GEN, NFTA_RULE_EXPRESSIONS);
	struct nlattr *nest;
	uint32_t protocol;
	bool inverted;

	if (list)
		put_expressions(nlh, list);
	if (!kho_nft_rule_protocol(rule, &protocol, &inverted))
		return;
	nest = mnl_attr_nest_start(nlh, NFTA_RULE_COMPAT);
	mnl_attr_put_u32(nlh, NFTA_RULE_COMPAT_PROTO, htonl(protocol));
	mnl_attr_put_u32(nlh, NFTA_RULE_COMPAT_FLAGS, htonl(inverted ? NFT_RULE_COMPAT_F_INV : 0));
	mnl_attr_nest_end(nlh, nest);
}
