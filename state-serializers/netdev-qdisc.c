// SPDX-License-Identifier: GPL-2.0-only
/*
 * The queueing discipline that somebody has put on an interface.  A plug takes its place while khoctl works: it is read before that, put
 * back when all is undone, and made in the incoming kernel before the interface is up (changed later, packets are lost).  Those
 * with classes are not carried, what others hold at the moment neither.
 */
#include <errno.h>
#include <linux/pkt_sched.h>
#include <stdlib.h>
#include <string.h>

#include "state-serializers/common.h"
#include "state-serializers/netdev-nl.h"

/* Their options are dumped as they are given. */
static const char *const kinds[] = { "fq", "fq_codel", "fq_pie", "codel", "pie", "cake", "sfq", "pfifo", "bfifo", "tbf", "noqueue" };

bool kho_qdisc_is_carried(const char *kind)
{
	for (size_t i = 0; i < KHO_ARRAY_SIZE(kinds); i++)
		if (!strcmp(kind, kinds[i]))
			return true;
	return false;
}

struct look {
	Kho__Netdev *cfg;
	int error;
};

static int on_qdisc(const struct nlmsghdr *nlh, void *data)
{
	const struct tcmsg *tcm = mnl_nlmsg_get_payload(nlh);
	size_t len = mnl_nlmsg_get_payload_len(nlh);
	const struct nlattr *a, *kind = NULL;
	struct look *l = data;

	mnl_attr_for_each(a, nlh, sizeof(*tcm))
		if (mnl_attr_get_type(a) == TCA_KIND)
			kind = a;
	/* without a handle the kernel has made it */
	if (tcm->tcm_parent != TC_H_ROOT || !tcm->tcm_handle || !kind || !kho_qdisc_is_carried(mnl_attr_get_str(kind)))
		return MNL_CB_OK;
	for (size_t i = 0; i < l->cfg->n_link; i++) {
		ProtobufCBinaryData *q = &l->cfg->link[i]->qdisc;

		if ((int)l->cfg->link[i]->index != tcm->tcm_ifindex)
			continue;
		free(q->data);
		q->data = malloc(len);
		q->len = q->data ? len : 0;
		if (!q->data)
			return l->error = -ENOMEM, MNL_CB_ERROR;
		memcpy(q->data, tcm, len);
	}
	return MNL_CB_OK;
}

int kho_qdisc_read(struct kho_nl *nl, Kho__Netdev *cfg, struct kho_err *err)
{
	struct look l = { .cfg = cfg };
	int ret = -EINTR;

	for (int tries = 0; ret == -EINTR && tries < 5; tries++)
		ret = kho_nl_dump(nl, kho_nl_request(nl, RTM_GETQDISC, NLM_F_DUMP, sizeof(struct tcmsg)), on_qdisc, &l, err, "read qdiscs");
	return l.error ? kho_fail(err, l.error, "read qdiscs: out of memory") : ret;
}

int kho_qdisc_put(struct kho_nl *nl, const Kho__NetLink *l, int ifindex, struct kho_err *err)
{
	static const uint16_t types[] = { TCA_KIND, TCA_OPTIONS };
	const struct tcmsg *is = (const void *)l->qdisc.data;
	struct nlmsghdr *nlh;
	struct tcmsg *tcm;

	if (!l->qdisc.len)
		return 0;
	if (l->qdisc.len < sizeof(*is) || l->qdisc.len > KHO_QDISC_MAX)
		return kho_fail(err, -EBADMSG, "%s: malformed qdisc", l->name);
	nlh = kho_nl_request(nl, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, sizeof(*tcm));
	tcm = mnl_nlmsg_get_payload(nlh);
	tcm->tcm_ifindex = ifindex;
	tcm->tcm_parent = TC_H_ROOT;
	tcm->tcm_handle = is->tcm_handle;
	for (size_t i = 0; i < KHO_ARRAY_SIZE(types); i++) {
		const struct nlattr *a = kho_nl_attr(&l->qdisc, sizeof(*is), types[i]);

		if (a)
			mnl_attr_put(nlh, a->nla_type, mnl_attr_get_payload_len(a), mnl_attr_get_payload(a));
	}
	return kho_nl_do(nl, nlh, err, "%s: put its qdisc", l->name);
}

/* --- filters at clsact and ingress, which are not carried --- */

static int on_filter(const struct nlmsghdr *nlh, void *data)
{
	(void)nlh;
	*(bool *)data = true;
	return MNL_CB_OK;
}

bool kho_qdisc_has_filters(struct kho_nl *nl, int ifindex)
{
	static const uint32_t parents[] = { TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS), TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS) };
	bool found = false;

	for (size_t i = 0; i < KHO_ARRAY_SIZE(parents); i++) {
		struct nlmsghdr *nlh = kho_nl_request(nl, RTM_GETTFILTER, NLM_F_DUMP, sizeof(struct tcmsg));
		struct tcmsg *tcm = mnl_nlmsg_get_payload(nlh);

		tcm->tcm_ifindex = ifindex;
		tcm->tcm_parent = parents[i];
		(void)!kho_nl_dump(nl, nlh, on_filter, &found, NULL, "read filters"); /* there is no such qdisc */
	}
	return found;
}
