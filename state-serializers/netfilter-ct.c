// SPDX-License-Identifier: GPL-2.0-only
/*
 * Entries of connection tracking through ctnetlink, as messages that make them.
 *
 * What a dump says and what makes an entry differ in four things.  Status bits that the kernel sets itself
 * must not be given.  A translated connection (NAT) is told as the plain answer to its original direction and the
 * addresses to translate to: given as dumped, nothing would be translated.  Flags of TCP need a mask.  And
 * an entry that another one has led to (FTP's data) comes after it.
 */
#include <arpa/inet.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "state-serializers/common.h"
#include "state-serializers/netfilter.h"

#define GEN	       sizeof(struct nfgenmsg)
#define COUNT	       "/proc/sys/net/netfilter/nf_conntrack_count"
#define NEW	       (NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW)
#define AT_ONCE	       (128u << 10) /* bytes of requests between two looks at the answers */
#define WAIT_S	       10

unsigned long kho_ct_count(void)
{
	_cleanup_free_ char *text = NULL;

	return kho_read_line(COUNT, &text, NULL) < 0 ? 0 : strtoul(text, NULL, 10);
}

/* --- reading --- */

static void put_copy(struct nlmsghdr *out, const struct nlattr *a)
{
	mnl_attr_put(out, a->nla_type, mnl_attr_get_payload_len(a), mnl_attr_get_payload(a));
}

/* The other direction of a tuple without any translation. */
static void put_inverse(struct nlmsghdr *out, uint16_t type, const struct nlattr *tuple)
{
	static const uint16_t swap_ip[] = { [CTA_IP_V4_SRC] = CTA_IP_V4_DST, [CTA_IP_V4_DST] = CTA_IP_V4_SRC,
					    [CTA_IP_V6_SRC] = CTA_IP_V6_DST, [CTA_IP_V6_DST] = CTA_IP_V6_SRC };
	struct nlattr *nest = mnl_attr_nest_start(out, type), *in;
	const struct nlattr *part, *a;

	mnl_attr_for_each_nested(part, tuple) {
		uint16_t kind = mnl_attr_get_type(part);

		if (kind != CTA_TUPLE_IP && kind != CTA_TUPLE_PROTO) {
			put_copy(out, part);
			continue;
		}
		in = mnl_attr_nest_start(out, kind);
		mnl_attr_for_each_nested(a, part) {
			uint16_t t = mnl_attr_get_type(a);

			if (kind == CTA_TUPLE_IP && t < KHO_ARRAY_SIZE(swap_ip) && swap_ip[t])
				t = swap_ip[t];
			else if (kind == CTA_TUPLE_PROTO && (t == CTA_PROTO_SRC_PORT || t == CTA_PROTO_DST_PORT))
				t = t == CTA_PROTO_SRC_PORT ? CTA_PROTO_DST_PORT : CTA_PROTO_SRC_PORT;
			mnl_attr_put(out, t, mnl_attr_get_payload_len(a), mnl_attr_get_payload(a));
		}
		mnl_attr_nest_end(out, in);
	}
	mnl_attr_nest_end(out, nest);
}

/* Translate to this end of the answering direction: its address and its port. */
static void put_nat(struct nlmsghdr *out, uint16_t type, const struct nlattr *reply, bool source)
{
	const struct nlattr *ip = kho_nl_nested(reply, CTA_TUPLE_IP), *proto = kho_nl_nested(reply, CTA_TUPLE_PROTO);
	const struct nlattr *v4 = kho_nl_nested(ip, source ? CTA_IP_V4_DST : CTA_IP_V4_SRC);
	const struct nlattr *v6 = kho_nl_nested(ip, source ? CTA_IP_V6_DST : CTA_IP_V6_SRC);
	const struct nlattr *port = kho_nl_nested(proto, source ? CTA_PROTO_DST_PORT : CTA_PROTO_SRC_PORT), *a = v4 ? v4 : v6;
	struct nlattr *nest;

	if (!port)
		port = kho_nl_nested(proto, v4 ? CTA_PROTO_ICMP_ID : CTA_PROTO_ICMPV6_ID);
	if (!a)
		return;
	nest = mnl_attr_nest_start(out, type);
	mnl_attr_put(out, v4 ? CTA_NAT_V4_MINIP : CTA_NAT_V6_MINIP, mnl_attr_get_payload_len(a), mnl_attr_get_payload(a));
	mnl_attr_put(out, v4 ? CTA_NAT_V4_MAXIP : CTA_NAT_V6_MAXIP, mnl_attr_get_payload_len(a), mnl_attr_get_payload(a));
	if (port) {
		struct nlattr *in = mnl_attr_nest_start(out, CTA_NAT_PROTO);

		mnl_attr_put(out, CTA_PROTONAT_PORT_MIN, mnl_attr_get_payload_len(port), mnl_attr_get_payload(port));
		mnl_attr_put(out, CTA_PROTONAT_PORT_MAX, mnl_attr_get_payload_len(port), mnl_attr_get_payload(port));
		mnl_attr_nest_end(out, in);
	}
	mnl_attr_nest_end(out, nest);
}

/* struct nf_ct_tcp_flags { __u8 flags, mask; }: dumped without a mask, taken only with one. */
static void put_protoinfo(struct nlmsghdr *out, const struct nlattr *info)
{
	const struct nlattr *a, *tcp = kho_nl_nested(info, CTA_PROTOINFO_TCP);
	struct nlattr *nest, *in;

	if (!tcp) {
		put_copy(out, info);
		return;
	}
	nest = mnl_attr_nest_start(out, CTA_PROTOINFO);
	in = mnl_attr_nest_start(out, CTA_PROTOINFO_TCP);
	mnl_attr_for_each_nested(a, tcp) {
		uint16_t t = mnl_attr_get_type(a);
		uint8_t flags[2] = { 0, 0xff };

		if ((t == CTA_PROTOINFO_TCP_FLAGS_ORIGINAL || t == CTA_PROTOINFO_TCP_FLAGS_REPLY) && mnl_attr_get_payload_len(a) >= 1) {
			flags[0] = *(const uint8_t *)mnl_attr_get_payload(a);
			mnl_attr_put(out, t, sizeof(flags), flags);
		} else {
			put_copy(out, a);
		}
	}
	mnl_attr_nest_end(out, in);
	mnl_attr_nest_end(out, nest);
}

/* The request that makes the dumped entry; false when it is none that can be made. */
static bool make_request(struct nlmsghdr *out, const ProtobufCBinaryData *msg)
{
	static const uint16_t as_dumped[] = { CTA_TUPLE_MASTER, CTA_TIMEOUT, CTA_MARK, CTA_HELP, CTA_ZONE, CTA_LABELS, CTA_SYNPROXY,
					      CTA_SEQ_ADJ_ORIG, CTA_SEQ_ADJ_REPLY };
	const struct nlattr *orig = kho_nl_attr(msg, GEN, CTA_TUPLE_ORIG), *reply = kho_nl_attr(msg, GEN, CTA_TUPLE_REPLY);
	uint32_t was = kho_nl_be32(kho_nl_attr(msg, GEN, CTA_STATUS)), status;
	const struct nlattr *info = kho_nl_attr(msg, GEN, CTA_PROTOINFO), *a;

	if (!orig || !reply || !(was & IPS_CONFIRMED) || (was & IPS_DYING) || !kho_nl_attr(msg, GEN, CTA_TIMEOUT))
		return false;
	status = was & (IPS_CONFIRMED | IPS_SEEN_REPLY | IPS_ASSURED | IPS_FIXED_TIMEOUT);
	put_copy(out, orig);
	if (was & IPS_NAT_MASK)
		put_inverse(out, CTA_TUPLE_REPLY, orig);
	else
		put_copy(out, reply);
	if (was & IPS_DST_NAT)
		put_nat(out, CTA_NAT_DST, reply, false);
	if (was & IPS_SRC_NAT)
		put_nat(out, CTA_NAT_SRC, reply, true);
	mnl_attr_put_u32(out, CTA_STATUS, htonl(status));
	if (info)
		put_protoinfo(out, info);
	for (size_t i = 0; i < KHO_ARRAY_SIZE(as_dumped); i++) {
		a = kho_nl_attr(msg, GEN, as_dumped[i]);
		if (a)
			put_copy(out, a);
	}
	return true;
}

struct read_arg {
	Kho__NetConntrack *c;
	char *buf;
	int error;
};

static int on_entry(const struct nlmsghdr *nlh, void *data)
{
	ProtobufCBinaryData msg = { mnl_nlmsg_get_payload_len(nlh), mnl_nlmsg_get_payload(nlh) };
	struct read_arg *r = data;

	/* what is built is little more than what was dumped */
	if (msg.len < GEN || msg.len > 4096)
		return MNL_CB_OK;
	/* what fills up an attribute, too: the same entry is the same bytes */
	memset(r->buf, 0, 2 * msg.len + 1024);
	struct nlmsghdr *out = mnl_nlmsg_put_header(r->buf);

	*(struct nfgenmsg *)mnl_nlmsg_put_extra_header(out, GEN) = (struct nfgenmsg){ .nfgen_family = *msg.data };
	if (!make_request(out, &msg))
		return MNL_CB_OK;
	r->error = kho_pb_append_bytes(&r->c->entry, &r->c->n_entry, mnl_nlmsg_get_payload(out), mnl_nlmsg_get_payload_len(out));
	return r->error ? MNL_CB_ERROR : MNL_CB_OK;
}

int kho_ct_read(Kho__NetConntrack *c, struct kho_err *err)
{
	_cleanup_nl_ struct kho_nl nl = KHO_NL_INIT;
	_cleanup_free_ char *buf = malloc(16384);
	struct read_arg arg = { .c = c, .buf = buf };
	int ret = buf ? kho_nl_open_bus(&nl, NETLINK_NETFILTER, err) : kho_fail(err, -ENOMEM, "read connections: out of memory");

	if (ret < 0)
		return ret;
	struct nlmsghdr *nlh = kho_nl_request(&nl, NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET, NLM_F_DUMP, GEN);

	ret = kho_nl_dump(&nl, nlh, on_entry, &arg, err, "read tracked connections");
	return arg.error ? kho_fail(err, arg.error, "read tracked connections: %s", strerror(-arg.error)) : ret;
}

/* --- making --- */

struct load {
	struct kho_nl nl;
	char *buf;
	size_t len, waiting;
};

static bool refused(int error)
{
	return error && error != -EEXIST;
}

/* Send what has gathered; an answer for each. */
static int flush(struct load *l, size_t *out_refused, struct kho_err *err)
{
	if (!l->len)
		return 0;
	if (mnl_socket_sendto(l->nl.s, l->buf, l->len) < 0)
		return kho_fail_errno(err, "make tracked connections");
	l->len = 0;
	while (l->waiting) {
		ssize_t got = mnl_socket_recvfrom(l->nl.s, l->nl.buf, 64u << 10);
		int left = (int)got;

		if (got < 0)
			return kho_fail_errno(err, "make tracked connections");
		for (const struct nlmsghdr *h = (void *)l->nl.buf; mnl_nlmsg_ok(h, left); h = mnl_nlmsg_next(h, &left)) {
			const struct nlmsgerr *e = mnl_nlmsg_get_payload(h);

			if (h->nlmsg_type != NLMSG_ERROR)
				continue;
			l->waiting -= l->waiting > 0;
			*out_refused += refused(e->error);
		}
	}
	return 0;
}

static int add(struct load *l, const ProtobufCBinaryData *entry, size_t *out_refused, struct kho_err *err)
{
	struct nlmsghdr *nlh;
	int ret = 0;

	if (entry->len < GEN || entry->len > 8192)
		return kho_fail(err, -EBADMSG, "make tracked connections: malformed entry");
	if (l->len + entry->len + 256 > AT_ONCE)
		ret = flush(l, out_refused, err);
	if (ret < 0)
		return ret;
	nlh = mnl_nlmsg_put_header(l->buf + l->len);
	nlh->nlmsg_type = NEW;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK;
	nlh->nlmsg_seq = 1;
	memcpy(mnl_nlmsg_put_extra_header(nlh, entry->len), entry->data, entry->len);
	l->len += MNL_ALIGN(nlh->nlmsg_len);
	l->waiting++;
	return 0;
}

int kho_ct_load(const Kho__NetConntrack *c, size_t *out_refused, struct kho_err *err)
{
	_cleanup_free_ char *buf = malloc(AT_ONCE);
	struct load l = { .buf = buf };
	struct timeval patience = { .tv_sec = WAIT_S };
	int ret = buf ? kho_nl_open_bus(&l.nl, NETLINK_NETFILTER, err) : kho_fail(err, -ENOMEM, "make connections: out of memory");

	*out_refused = 0;
	if (!ret) {
		int fd = mnl_socket_get_fd(l.nl.s), size = 2 * AT_ONCE, answers = 4 << 20;

		setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
		setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &answers, sizeof(answers));
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	}
	for (int follows = 0; !ret && follows < 2; follows++) {
		for (size_t i = 0; !ret && i < c->n_entry; i++)
			if (!!kho_nl_attr(&c->entry[i], GEN, CTA_TUPLE_MASTER) == follows)
				ret = add(&l, &c->entry[i], out_refused, err);
		if (!ret)
			ret = flush(&l, out_refused, err);
	}
	kho_nl_close(&l.nl);
	return ret;
}

int kho_ct_flush(struct kho_err *err)
{
	_cleanup_nl_ struct kho_nl nl = KHO_NL_INIT;
	int ret = kho_nl_open_bus(&nl, NETLINK_NETFILTER, err);

	if (ret < 0)
		return ret;
	return kho_nl_do(&nl, kho_nl_request(&nl, NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE, 0, GEN), err,
			 "forget tracked connections");
}
