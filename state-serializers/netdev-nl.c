// SPDX-License-Identifier: GPL-2.0-only
#include "state-serializers/netdev-nl.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <arpa/inet.h>

#include "state-serializers/common.h"

#define NL_BUF (64u << 10)	/* a dump's answer comes in datagrams of up to 32 KiB */

int kho_nl_open_bus(struct kho_nl *nl, int bus, struct kho_err *err)
{
	const char *name = bus == NETLINK_ROUTE ? "rtnetlink" : "netfilter netlink";
	int one = 1;

	*nl = (struct kho_nl)KHO_NL_INIT;
	nl->buf = malloc(NL_BUF);
	nl->s = nl->buf ? mnl_socket_open2(bus, SOCK_CLOEXEC) : NULL;
	if (!nl->s)
		return kho_fail_errno(err, "open %s", name);
	if (mnl_socket_bind(nl->s, 0, MNL_SOCKET_AUTOPID) < 0)
		return kho_fail_errno(err, "bind %s", name);
	/* the kernel's own words on a refusal */
	mnl_socket_setsockopt(nl->s, NETLINK_EXT_ACK, &one, sizeof(one));
	mnl_socket_setsockopt(nl->s, NETLINK_CAP_ACK, &one, sizeof(one));
	nl->portid = mnl_socket_get_portid(nl->s);
	return 0;
}

int kho_nl_open(struct kho_nl *nl, struct kho_err *err)
{
	return kho_nl_open_bus(nl, NETLINK_ROUTE, err);
}

void kho_nl_close(struct kho_nl *nl)
{
	if (nl->s)
		mnl_socket_close(nl->s);
	free(nl->buf);
	*nl = (struct kho_nl)KHO_NL_INIT;
}

struct nlmsghdr *kho_nl_request(struct kho_nl *nl, uint16_t type, uint16_t flags, size_t extra)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(nl->buf);

	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = NLM_F_REQUEST | flags;
	nlh->nlmsg_seq = ++nl->seq;
	mnl_nlmsg_put_extra_header(nlh, extra);
	return nlh;
}

static const char *ext_ack(const struct nlmsghdr *nlh)
{
	const struct nlmsgerr *e = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *a;

	if (!(nlh->nlmsg_flags & NLM_F_ACK_TLVS))
		return NULL;
	/* NETLINK_CAP_ACK: the request itself is not repeated in the answer */
	mnl_attr_for_each(a, nlh, sizeof(*e))
		if (mnl_attr_get_type(a) == NLMSGERR_ATTR_MSG && mnl_attr_validate(a, MNL_TYPE_NUL_STRING) >= 0)
			return mnl_attr_get_str(a);
	return NULL;
}

static int answer_of(struct kho_nl *nl, uint32_t seq, const char **out_text)
{
	for (;;) {
		ssize_t got = mnl_socket_recvfrom(nl->s, nl->buf, NL_BUF);

		if (got < 0)
			return -errno;
		int left = got;

		for (struct nlmsghdr *h = (void *)nl->buf; mnl_nlmsg_ok(h, left); h = mnl_nlmsg_next(h, &left)) {
			const struct nlmsgerr *e = mnl_nlmsg_get_payload(h);

			if (h->nlmsg_seq != seq || h->nlmsg_type != NLMSG_ERROR)
				continue;
			*out_text = ext_ack(h);
			return e->error;
		}
	}
}

int kho_nl_do(struct kho_nl *nl, struct nlmsghdr *nlh, struct kho_err *err, const char *what_fmt, ...)
{
	const char *text = NULL;
	char what[128];
	va_list ap;
	int ret;

	nlh->nlmsg_flags |= NLM_F_ACK;
	uint32_t seq = nlh->nlmsg_seq;

	ret = mnl_socket_sendto(nl->s, nlh, nlh->nlmsg_len) < 0 ? -errno : answer_of(nl, seq, &text);
	if (ret >= 0)
		return 0;
	va_start(ap, what_fmt);
	vsnprintf(what, sizeof(what), what_fmt, ap);
	va_end(ap);
	return kho_fail(err, ret, "%s: %s%s%s%s", what, strerror(-ret), text ? " (" : "", text ? text : "", text ? ")" : "");
}

int kho_nl_dump(struct kho_nl *nl, struct nlmsghdr *nlh, mnl_cb_t cb, void *arg, struct kho_err *err, const char *what)
{
	uint32_t seq = nlh->nlmsg_seq;
	bool single = !(nlh->nlmsg_flags & NLM_F_DUMP);

	if (mnl_socket_sendto(nl->s, nlh, nlh->nlmsg_len) < 0)
		return kho_fail_errno(err, "%s", what);
	for (;;) {
		ssize_t got = mnl_socket_recvfrom(nl->s, nl->buf, NL_BUF);
		int ret = got < 0 ? -1 : mnl_cb_run(nl->buf, got, seq, nl->portid, cb, arg);

		if (ret < 0)
			return kho_fail_errno(err, "%s", what);
		if (ret == MNL_CB_STOP || single)
			return 0;
	}
}

const struct nlattr *kho_nl_attr(const ProtobufCBinaryData *msg, size_t header, uint16_t type)
{
	kho_nl_for_each(a, msg, header)
		if (mnl_attr_get_type(a) == type)
			return a;
	return NULL;
}

const struct nlattr *kho_nl_nested(const struct nlattr *nest, uint16_t type)
{
	const struct nlattr *a;

	if (nest)
		mnl_attr_for_each_nested(a, nest)
			if (mnl_attr_get_type(a) == type)
				return a;
	return NULL;
}

const char *kho_nl_text(const struct nlattr *a)
{
	return a && mnl_attr_validate(a, MNL_TYPE_NUL_STRING) >= 0 ? mnl_attr_get_str(a) : "";
}

uint32_t kho_nl_be32(const struct nlattr *a)
{
	return a && mnl_attr_get_payload_len(a) == 4 ? ntohl(mnl_attr_get_u32(a)) : 0;
}

const struct rtnexthop *kho_nl_nexthop(const struct nlattr *mp, size_t *off)
{
	size_t left = mnl_attr_get_payload_len(mp) - *off;
	const struct rtnexthop *nh = (const void *)((const char *)mnl_attr_get_payload(mp) + *off);

	if (left < sizeof(*nh) || nh->rtnh_len < sizeof(*nh) || nh->rtnh_len > left)
		return NULL;
	*off += RTNH_ALIGN((size_t)nh->rtnh_len) < left ? RTNH_ALIGN((size_t)nh->rtnh_len) : left;
	return nh;
}
