// SPDX-License-Identifier: GPL-2.0-only
/*
 * The packet filter in a network namespace of its own: a rule set and connections that were recorded
 * (serializer-check record) are loaded and read again; a rule set that is refused changes nothing.
 * Skipped where there is no root, or the kernel lacks nftables.
 */
#include "netns.h"

#define RECORDED "tests/sysroots/netfilter/"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ruleset_comes_back),	   cmocka_unit_test(without_devices),	   cmocka_unit_test(all_or_nothing),
		cmocka_unit_test(protocols_of_extensions), cmocka_unit_test(connections_come_back),
	};

	return cmocka_run_group_tests_name("netfilter", tests, NULL, NULL);
}
