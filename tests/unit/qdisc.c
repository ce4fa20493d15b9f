// SPDX-License-Identifier: GPL-2.0-only
/*
 * Queueing disciplines of others, put on interfaces in a network namespace of our own, read, and put on others. Needs root; tbf and
 * pfifo, because no kernel can be without them or loads them when they are asked for.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <linux/pkt_sched.h>
#include <net/if.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "state-serializers/common.h"
#include "state-serializers/netdev-nl.h"

static int add_veth(struct kho_nl *nl)
{
	struct nlmsghdr *nlh = kho_nl_request(nl, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, sizeof(struct ifinfomsg));
	struct nlattr *info;

	mnl_attr_put_strz(nlh, IFLA_IFNAME, "a");
	info = mnl_attr_nest_start(nlh, IFLA_LINKINFO);
	mnl_attr_put_strz(nlh, IFLA_INFO_KIND, "veth");
	mnl_attr_nest_end(nlh, info);
	return kho_nl_do(nl, nlh, NULL, "make a veth pair");
}

/* One as it would be dumped. */
static void wanted(ProtobufCBinaryData *q, const char *kind, uint32_t handle, const void *options, size_t len, uint16_t nested)
{
	static char buf[512] __attribute__((aligned(8)));
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct tcmsg *tcm = mnl_nlmsg_put_extra_header(nlh, sizeof(*tcm));
	struct nlattr *nest;

	memset(tcm, 0, sizeof(*tcm));
	tcm->tcm_handle = handle;
	tcm->tcm_parent = TC_H_ROOT;
	mnl_attr_put_strz(nlh, TCA_KIND, kind);
	if (nested) {
		nest = mnl_attr_nest_start(nlh, TCA_OPTIONS);
		mnl_attr_put(nlh, nested, len, options);
		mnl_attr_nest_end(nlh, nest);
	} else {
		mnl_attr_put(nlh, TCA_OPTIONS, len, options);
	}
	q->data = (void *)tcm;
	q->len = mnl_nlmsg_get_payload_len(nlh);
}

/* Put on one interface, read, put on the other, read: the same. */
static void there_and_back(struct kho_nl *nl, const char *kind, uint32_t handle, const void *options, size_t len, uint16_t nested)
{
	Kho__NetLink a = KHO__NET_LINK__INIT, b = KHO__NET_LINK__INIT, *links[] = { &a, &b };
	Kho__Netdev cfg = KHO__NETDEV__INIT;
	struct kho_err err = KHO_ERR_INIT;
	const struct nlattr *oa, *ob;
	char is[16];
	bool clsact;

	cfg.link = links;
	cfg.n_link = 2;
	a.name = (char *)"a";
	a.index = if_nametoindex("a");
	b.name = (char *)"veth0";
	b.index = if_nametoindex("veth0");
	assert_true(a.index && b.index);
	wanted(&a.qdisc, kind, handle, options, len, nested);
	if (kho_qdisc_put(nl, &a, (int)a.index, &err))
		fail_msg("%s", err.msg);
	a.qdisc.data = NULL;
	assert_int_equal(kho_root_qdisc(nl, (int)a.index, is, &clsact, &err), 0);
	assert_string_equal(is, kind);
	assert_int_equal(kho_qdisc_read(nl, &cfg, &err), 0);
	assert_true(a.qdisc.len && !b.qdisc.len);
	assert_int_equal(((const struct tcmsg *)(void *)a.qdisc.data)->tcm_handle, handle);
	for (int again = 0; again < 2; again++)
		if (kho_qdisc_put(nl, &a, (int)b.index, &err))
			fail_msg("%s", err.msg);
	assert_int_equal(kho_qdisc_read(nl, &cfg, &err), 0);
	oa = kho_nl_attr(&a.qdisc, sizeof(struct tcmsg), TCA_OPTIONS);
	ob = kho_nl_attr(&b.qdisc, sizeof(struct tcmsg), TCA_OPTIONS);
	assert_true(oa && ob && oa->nla_len == ob->nla_len);
	assert_memory_equal(oa, ob, oa->nla_len);
	free(a.qdisc.data);
	free(b.qdisc.data);
}

static void put_and_read(void **state)
{
	static const struct tc_fifo_qopt fifo = { .limit = 77 };
	const struct tc_tbf_qopt tbf = { .rate = { .rate = 1250000, .linklayer = TC_LINKLAYER_ETHERNET }, .limit = 96000, .buffer = 500000 };
	_cleanup_nl_ struct kho_nl nl = KHO_NL_INIT;
	Kho__NetLink bad = KHO__NET_LINK__INIT;
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	if (geteuid() || unshare(CLONE_NEWNET) || kho_nl_open(&nl, &err) || add_veth(&nl))
		skip();
	there_and_back(&nl, "pfifo", 0x770000, &fifo, sizeof(fifo), 0);
	assert_int_equal(kho_link_del(&nl, "a", &err), 0);
	assert_int_equal(add_veth(&nl), 0);
	there_and_back(&nl, "tbf", 0x10000, &tbf, sizeof(tbf), TCA_TBF_PARMS);
	/* nothing was there */
	assert_int_equal(kho_qdisc_put(&nl, &bad, (int)if_nametoindex("a"), &err), 0);
	bad.qdisc.data = (void *)"x";
	bad.qdisc.len = 1;
	assert_int_equal(kho_qdisc_put(&nl, &bad, (int)if_nametoindex("a"), &err), -EBADMSG);
	assert_false(kho_qdisc_has_filters(&nl, (int)if_nametoindex("a")));
}

static void which(void **state)
{
	(void)state;
	assert_true(kho_qdisc_is_carried("fq"));
	assert_false(kho_qdisc_is_carried("htb"));
	assert_false(kho_qdisc_is_carried("plug"));
	assert_false(kho_qdisc_is_carried(""));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(which), cmocka_unit_test(put_and_read) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
