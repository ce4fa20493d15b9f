// SPDX-License-Identifier: GPL-2.0-only
/*
 * nftables' rule set from kept messages, in one transaction.
 *
 * An object is dumped in the attributes by which it is made, and some that only tell (handles, use
 * counts); those are left out.  Not in a dump and made again: an identifier for each set, and the order
 * in which a chain without a name of its own ("jump { ... }") must be filled: before the rule that is
 * bound to it.  What is special about rules is in netfilter-rule.c.
 */
#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "state-serializers/common.h"
#include "state-serializers/netfilter.h"

#define GEN	       sizeof(struct nfgenmsg)
#define SEND_TIMEOUT_S 20

#define BIT(n) (1u << (n))

/* What makes an object, by kind. */
static const struct kind {
	uint16_t msg, flags;
	uint32_t keep;	/* bits of attribute types */
	const char *what;
} tables = { NFT_MSG_NEWTABLE, NLM_F_CREATE, BIT(NFTA_TABLE_NAME) | BIT(NFTA_TABLE_USERDATA), "table" },
  chains = { NFT_MSG_NEWCHAIN, NLM_F_CREATE,
	     BIT(NFTA_CHAIN_TABLE) | BIT(NFTA_CHAIN_NAME) | BIT(NFTA_CHAIN_HOOK) | BIT(NFTA_CHAIN_POLICY) | BIT(NFTA_CHAIN_TYPE) |
		     BIT(NFTA_CHAIN_COUNTERS) | BIT(NFTA_CHAIN_FLAGS) | BIT(NFTA_CHAIN_USERDATA),
	     "chain" },
  sets = { NFT_MSG_NEWSET, NLM_F_CREATE,
	   BIT(NFTA_SET_TABLE) | BIT(NFTA_SET_NAME) | BIT(NFTA_SET_FLAGS) | BIT(NFTA_SET_KEY_TYPE) | BIT(NFTA_SET_KEY_LEN) |
		   BIT(NFTA_SET_DATA_TYPE) | BIT(NFTA_SET_DATA_LEN) | BIT(NFTA_SET_POLICY) | BIT(NFTA_SET_DESC) | BIT(NFTA_SET_TIMEOUT) |
		   BIT(NFTA_SET_GC_INTERVAL) | BIT(NFTA_SET_USERDATA) | BIT(NFTA_SET_OBJ_TYPE) | BIT(NFTA_SET_EXPR) |
		   BIT(NFTA_SET_EXPRESSIONS),
	   "set" },
  objects = { NFT_MSG_NEWOBJ, NLM_F_CREATE,
	      BIT(NFTA_OBJ_TABLE) | BIT(NFTA_OBJ_NAME) | BIT(NFTA_OBJ_TYPE) | BIT(NFTA_OBJ_DATA) | BIT(NFTA_OBJ_USERDATA), "object" },
  flowtables = { NFT_MSG_NEWFLOWTABLE, NLM_F_CREATE,
		 BIT(NFTA_FLOWTABLE_TABLE) | BIT(NFTA_FLOWTABLE_NAME) | BIT(NFTA_FLOWTABLE_HOOK) | BIT(NFTA_FLOWTABLE_FLAGS), "flowtable" },
  elements = { NFT_MSG_NEWSETELEM, NLM_F_CREATE,
	       BIT(NFTA_SET_ELEM_LIST_TABLE) | BIT(NFTA_SET_ELEM_LIST_SET) | BIT(NFTA_SET_ELEM_LIST_ELEMENTS), "set elements" },
  rules = { NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND,
	    BIT(NFTA_RULE_TABLE) | BIT(NFTA_RULE_CHAIN) | BIT(NFTA_RULE_USERDATA), "rule" };

/* Messages of one transaction, sent at once. */
struct batch {
	char *buf;
	size_t len, room;
	uint32_t seq;
	bool nomem, malformed;
};

static struct nlmsghdr *begin(struct batch *b, uint16_t type, uint16_t flags, uint8_t family, uint16_t res_id, size_t more)
{
	size_t need = b->len + more + 1024;

	if (need > b->room) {
		char *bigger = realloc(b->buf, need * 2);

		if (!bigger) {
			b->nomem = true;
			return NULL;
		}
		b->buf = bigger;
		b->room = need * 2;
	}
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(b->buf + b->len);

	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = NLM_F_REQUEST | flags;
	nlh->nlmsg_seq = ++b->seq;
	*(struct nfgenmsg *)mnl_nlmsg_put_extra_header(nlh, GEN) =
		(struct nfgenmsg){ .nfgen_family = family, .version = NFNETLINK_V0, .res_id = htons(res_id) };
	return nlh;
}

static void end(struct batch *b, const struct nlmsghdr *nlh)
{
	b->len += MNL_ALIGN(nlh->nlmsg_len);
}

/* The message that makes a kept object; more attributes may follow before end(). */
static struct nlmsghdr *begin_object(struct batch *b, const struct kind *k, const ProtobufCBinaryData *msg)
{
	struct nlmsghdr *nlh;

	if (msg->len < GEN) {
		b->malformed = true;
		return NULL;
	}
	nlh = begin(b, NFNL_SUBSYS_NFTABLES << 8 | k->msg, k->flags, *msg->data, 0, msg->len);
	if (!nlh)
		return NULL;
	kho_nl_for_each(a, msg, GEN)
		if (mnl_attr_get_type(a) < 32 && (k->keep & BIT(mnl_attr_get_type(a))))
			mnl_attr_put(nlh, a->nla_type, mnl_attr_get_payload_len(a), mnl_attr_get_payload(a));
	return nlh;
}

static void put_objects(struct batch *b, const struct kind *k, const ProtobufCBinaryData *array, size_t n, const bool *skip)
{
	for (size_t i = 0; i < n; i++) {
		struct nlmsghdr *nlh = skip[i] ? NULL : begin_object(b, k, &array[i]);

		if (nlh)
			end(b, nlh);
	}
}

/* A table that a program owns is everybody's afterwards: that program is another process then. */
static void put_tables(struct batch *b, const Kho__NetRuleset *r, const bool *skip)
{
	for (size_t i = 0; i < r->n_table; i++) {
		struct nlmsghdr *nlh = skip[i] ? NULL : begin_object(b, &tables, &r->table[i]);

		if (!nlh)
			continue;
		mnl_attr_put_u32(nlh, NFTA_TABLE_FLAGS,
				 htonl(kho_nl_be32(kho_nl_attr(&r->table[i], GEN, NFTA_TABLE_FLAGS)) & NFT_TABLE_F_DORMANT));
		end(b, nlh);
	}
}

static void put_sets(struct batch *b, const Kho__NetRuleset *r, const bool *skip)
{
	for (size_t i = 0; i < r->n_set; i++) {
		struct nlmsghdr *nlh = skip[i] ? NULL : begin_object(b, &sets, &r->set[i]);

		if (!nlh)
			continue;
		mnl_attr_put_u32(nlh, NFTA_SET_ID, htonl(i + 1));
		end(b, nlh);
	}
}

static void put_rule(struct batch *b, const ProtobufCBinaryData *rule)
{
	struct nlmsghdr *nlh = begin_object(b, &rules, rule);

	if (!nlh)
		return;
	kho_nft_put_rule(nlh, rule);
	end(b, nlh);
}

/* --- the order of rules --- */

static bool same_table(const ProtobufCBinaryData *a, uint16_t attr_a, const ProtobufCBinaryData *b, uint16_t attr_b)
{
	return a->len >= GEN && b->len >= GEN && *a->data == *b->data &&
	       !strcmp(kho_nl_text(kho_nl_attr(a, GEN, attr_a)), kho_nl_text(kho_nl_attr(b, GEN, attr_b)));
}

/* The chain of this name in the rule's table; n_chain when there is none. */
static size_t chain_of(const Kho__NetRuleset *r, const ProtobufCBinaryData *rule, const char *name)
{
	size_t i = 0;

	while (i < r->n_chain && (strcmp(kho_nl_text(kho_nl_attr(&r->chain[i], GEN, NFTA_CHAIN_NAME)), name) ||
				  !same_table(&r->chain[i], NFTA_CHAIN_TABLE, rule, NFTA_RULE_TABLE)))
		i++;
	return i;
}

/* The rule waits for a chain that is bound to it and is not filled yet. */
static bool waits(const Kho__NetRuleset *r, const ProtobufCBinaryData *rule, const bool *filled)
{
	const struct nlattr *e, *list = kho_nl_attr(rule, GEN, NFTA_RULE_EXPRESSIONS);

	if (!list)
		return false;
	mnl_attr_for_each_nested(e, list) {
		if (strcmp(kho_nl_text(kho_nl_nested(e, NFTA_EXPR_NAME)), "immediate"))
			continue;
		const struct nlattr *verdict = kho_nl_nested(
			kho_nl_nested(kho_nl_nested(e, NFTA_EXPR_DATA), NFTA_IMMEDIATE_DATA), NFTA_DATA_VERDICT);
		const struct nlattr *name = kho_nl_nested(verdict, NFTA_VERDICT_CHAIN);
		size_t c = name ? chain_of(r, rule, kho_nl_text(name)) : r->n_chain;

		if (c < r->n_chain && !filled[c] && (kho_nl_be32(kho_nl_attr(&r->chain[c], GEN, NFTA_CHAIN_FLAGS)) & NFT_CHAIN_BINDING))
			return true;
	}
	return false;
}

static int put_rules(struct batch *b, const Kho__NetRuleset *r, const bool *skip)
{
	_cleanup_free_ bool *filled = calloc(r->n_chain + 1, 1), *later = calloc(r->n_chain + 1, 1);
	_cleanup_free_ size_t *chain = calloc(r->n_rule + 1, sizeof(*chain));
	size_t left = r->n_chain, before = left + 1;

	if (!filled || !later || !chain)
		return -ENOMEM;
	for (size_t i = 0; i < r->n_rule; i++) {
		chain[i] = chain_of(r, &r->rule[i], kho_nl_text(kho_nl_attr(&r->rule[i], GEN, NFTA_RULE_CHAIN)));
		if (chain[i] == r->n_chain)
			return -EBADMSG;
	}
	while (left && left < before) {
		before = left;
		memset(later, 0, r->n_chain);
		for (size_t i = 0; i < r->n_rule; i++)
			if (!filled[chain[i]] && waits(r, &r->rule[i], filled))
				later[chain[i]] = true;
		for (size_t i = 0; i < r->n_rule; i++)
			if (!skip[i] && !filled[chain[i]] && !later[chain[i]])
				put_rule(b, &r->rule[i]);
		left = 0;
		for (size_t c = 0; c < r->n_chain; c++) {
			filled[c] |= !later[c];
			left += !filled[c];
		}
	}
	return left ? -EBADMSG : 0;
}

/* --- tables that name interfaces --- */

static bool has_device(const struct nlattr *hook, uint16_t dev, uint16_t devs)
{
	return kho_nl_nested(hook, dev) || kho_nl_nested(hook, devs);
}

/* Mark what belongs to the table of `of`. */
static void mark(const ProtobufCBinaryData *array, size_t n, uint16_t attr, const ProtobufCBinaryData *of, uint16_t of_attr, bool *skip)
{
	for (size_t i = 0; i < n; i++)
		skip[i] |= same_table(&array[i], attr, of, of_attr);
}

struct skips {
	bool *table, *chain, *set, *object, *flowtable, *element, *rule;
};

static void skip_table(const Kho__NetRuleset *r, struct skips *s, const ProtobufCBinaryData *of, uint16_t attr)
{
	mark(r->table, r->n_table, NFTA_TABLE_NAME, of, attr, s->table);
	mark(r->chain, r->n_chain, NFTA_CHAIN_TABLE, of, attr, s->chain);
	mark(r->set, r->n_set, NFTA_SET_TABLE, of, attr, s->set);
	mark(r->object, r->n_object, NFTA_OBJ_TABLE, of, attr, s->object);
	mark(r->flowtable, r->n_flowtable, NFTA_FLOWTABLE_TABLE, of, attr, s->flowtable);
	mark(r->element, r->n_element, NFTA_SET_ELEM_LIST_TABLE, of, attr, s->element);
	mark(r->rule, r->n_rule, NFTA_RULE_TABLE, of, attr, s->rule);
}

static bool chain_names_device(const ProtobufCBinaryData *chain)
{
	return has_device(kho_nl_attr(chain, GEN, NFTA_CHAIN_HOOK), NFTA_HOOK_DEV, NFTA_HOOK_DEVS);
}

bool kho_nft_names_devices(const Kho__NetRuleset *r)
{
	for (size_t i = 0; i < r->n_chain; i++)
		if (chain_names_device(&r->chain[i]))
			return true;
	return r->n_flowtable > 0;
}

/* --- the transaction --- */

static int build(struct batch *b, const Kho__NetRuleset *r, bool devices)
{
	size_t all = r->n_table + r->n_chain + r->n_set + r->n_object + r->n_flowtable + r->n_element + r->n_rule;
	_cleanup_free_ bool *flags = calloc(all + 1, 1);
	struct skips s;

	if (!flags)
		return -ENOMEM;
	s.table = flags;
	s.chain = s.table + r->n_table;
	s.set = s.chain + r->n_chain;
	s.object = s.set + r->n_set;
	s.flowtable = s.object + r->n_object;
	s.element = s.flowtable + r->n_flowtable;
	s.rule = s.element + r->n_element;
	for (size_t i = 0; !devices && i < r->n_chain; i++)
		if (chain_names_device(&r->chain[i]))
			skip_table(r, &s, &r->chain[i], NFTA_CHAIN_TABLE);
	for (size_t i = 0; !devices && i < r->n_flowtable; i++)
		skip_table(r, &s, &r->flowtable[i], NFTA_FLOWTABLE_TABLE);
	put_tables(b, r, s.table);
	put_objects(b, &chains, r->chain, r->n_chain, s.chain);
	put_sets(b, r, s.set);
	put_objects(b, &objects, r->object, r->n_object, s.object);
	put_objects(b, &flowtables, r->flowtable, r->n_flowtable, s.flowtable);
	put_objects(b, &elements, r->element, r->n_element, s.element);
	return put_rules(b, r, s.rule);
}

/* Which message an answer is about: "rule of inet filter input". */
static void what_of(const struct batch *b, uint32_t seq, char out[128])
{
	static const struct kind *const all[] = { &tables, &chains, &sets, &objects, &flowtables, &elements, &rules };
	int left = (int)b->len;

	snprintf(out, 128, "transaction");
	for (const struct nlmsghdr *h = (void *)b->buf; mnl_nlmsg_ok(h, left); h = mnl_nlmsg_next(h, &left)) {
		ProtobufCBinaryData msg = { mnl_nlmsg_get_payload_len(h), mnl_nlmsg_get_payload(h) };

		/* the first two names of each: its table, and what it is called or where it belongs */
		for (size_t i = 0; h->nlmsg_seq == seq && i < KHO_ARRAY_SIZE(all); i++)
			if (h->nlmsg_type == (NFNL_SUBSYS_NFTABLES << 8 | all[i]->msg))
				snprintf(out, 128, "%s (family %u, table %.32s, %.32s)", all[i]->what, *msg.data,
					 kho_nl_text(kho_nl_attr(&msg, GEN, 1)),
					 kho_nl_text(kho_nl_attr(&msg, GEN, all[i] == &chains ? (int)NFTA_CHAIN_NAME : 2)));
	}
}

/* An acknowledgement was asked for with the last message: answers come in order, after all is done. */
static int send_batch(struct kho_nl *nl, const struct batch *b, uint32_t last, struct kho_err *err)
{
	struct timeval patience = { .tv_sec = SEND_TIMEOUT_S };
	int fd = mnl_socket_get_fd(nl->s), size = (int)b->len + 65536, first = 0;
	char what[128];

	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (mnl_socket_sendto(nl->s, b->buf, b->len) < 0)
		return kho_fail_errno(err, "load nftables rule set");
	for (;;) {
		ssize_t got = mnl_socket_recvfrom(nl->s, nl->buf, 64u << 10);
		int left = (int)got;

		if (got < 0)
			return first ? first : kho_fail_errno(err, "load nftables rule set");
		for (const struct nlmsghdr *h = (void *)nl->buf; mnl_nlmsg_ok(h, left); h = mnl_nlmsg_next(h, &left)) {
			const struct nlmsgerr *e = mnl_nlmsg_get_payload(h);

			if (h->nlmsg_type != NLMSG_ERROR)
				continue;
			if (e->error && !first) {
				what_of(b, h->nlmsg_seq, what);
				first = kho_fail(err, e->error, "load nftables rule set: %s: %s", what, strerror(-e->error));
			}
			/* about the whole: nothing more comes */
			if (h->nlmsg_seq == last || (e->error && h->nlmsg_seq == 1))
				return first;
		}
	}
}

int kho_nft_load(const Kho__NetRuleset *r, bool devices, struct kho_err *err)
{
	static const Kho__NetRuleset nothing = KHO__NET_RULESET__INIT;
	_cleanup_nl_ struct kho_nl nl = KHO_NL_INIT;
	struct batch b = { 0 };
	struct nlmsghdr *nlh;
	uint32_t last;
	int ret;

	ret = kho_nl_open_bus(&nl, NETLINK_NETFILTER, err);
	if (ret < 0)
		return ret;
	nlh = begin(&b, NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES, 0);
	if (nlh)
		end(&b, nlh);
	nlh = begin(&b, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELTABLE, 0, AF_UNSPEC, 0, 0);
	if (nlh)
		end(&b, nlh);
	ret = build(&b, r ? r : &nothing, devices);
	if (!ret && b.len) {
		/* the last of the objects: the message before the end */
		int left = (int)b.len;
		struct nlmsghdr *h = (void *)b.buf;

		while (mnl_nlmsg_ok(h, left) && h->nlmsg_seq != b.seq)
			h = mnl_nlmsg_next(h, &left);
		h->nlmsg_flags |= NLM_F_ACK;
	}
	last = b.seq;
	nlh = begin(&b, NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES, 0);
	if (nlh)
		end(&b, nlh);
	if (b.nomem)
		ret = -ENOMEM;
	else if (b.malformed)
		ret = -EBADMSG;
	if (ret < 0)
		kho_fail(err, ret, "load nftables rule set: %s", strerror(-ret));
	else
		ret = send_batch(&nl, &b, last, err);
	free(b.buf);
	return ret;
}
