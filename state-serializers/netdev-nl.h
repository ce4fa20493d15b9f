/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * rtnetlink for the netdev serializer: one request at a time with its answer, and what the
 * serializer reads, writes and arms through it.  No policy: which interfaces, and when, is
 * netdev-out.c's and netdev-in.c's business; so this part is tested in any network namespace.
 */
#ifndef KHO_NETDEV_NL_H
#define KHO_NETDEV_NL_H

#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/err.h"
#include "state-serializers/netdev.pb-c.h"

struct kho_nl {
	struct mnl_socket *s;
	uint32_t seq, portid;
	char *buf;			/* request and answers */
};

int kho_nl_open(struct kho_nl *nl, struct kho_err *err);
/* The same on another bus (NETLINK_NETFILTER). */
int kho_nl_open_bus(struct kho_nl *nl, int bus, struct kho_err *err);
void kho_nl_close(struct kho_nl *nl);
#define _cleanup_nl_ __attribute__((cleanup(kho_nl_close)))
#define KHO_NL_INIT { 0 }

/* A new request in nl->buf (NLM_F_REQUEST is added), with a zeroed fixed header of `extra` bytes. */
struct nlmsghdr *kho_nl_request(struct kho_nl *nl, uint16_t type, uint16_t flags, size_t extra);
/* Send it and wait for the acknowledgement; what: "add route" for the error. */
int kho_nl_do(struct kho_nl *nl, struct nlmsghdr *nlh, struct kho_err *err, const char *what_fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* Send a dump (or get) request; cb for each answer, MNL_CB_OK to go on. -EINTR: changed meanwhile, ask again. */
int kho_nl_dump(struct kho_nl *nl, struct nlmsghdr *nlh, mnl_cb_t cb, void *arg, struct kho_err *err, const char *what);

/* The attributes of a kept message behind its header; one that is cut off, or empty (it has no bytes at all then), has none. */
static inline const struct nlattr *kho_nl_first(const ProtobufCBinaryData *msg, size_t header)
{
	return msg->len && msg->len >= MNL_ALIGN(header) ? (const void *)(msg->data + MNL_ALIGN(header)) : NULL;
}
static inline bool kho_nl_is_in(const struct nlattr *a, const ProtobufCBinaryData *msg)
{
	return a && mnl_attr_ok(a, (int)(msg->data + msg->len - (const uint8_t *)a));
}
#define kho_nl_for_each(a, msg, header) \
	for (const struct nlattr *a = kho_nl_first(msg, header); kho_nl_is_in(a, msg); a = mnl_attr_next(a))

/* A kept message is a fixed header of `header` bytes and attributes. Its first attribute of that type, or NULL. */
const struct nlattr *kho_nl_attr(const ProtobufCBinaryData *msg, size_t header, uint16_t type);
/* The same inside of an attribute (may be NULL). */
const struct nlattr *kho_nl_nested(const struct nlattr *nest, uint16_t type);
/* Its text, "" when there is none or it does not end. */
const char *kho_nl_text(const struct nlattr *a);
/* Its number in network order, 0 when it is none. */
uint32_t kho_nl_be32(const struct nlattr *a);
/* The next nexthop in a route's RTA_MULTIPATH, from *off (0: the first) on, which then is behind it. NULL: what is left is none. */
const struct rtnexthop *kho_nl_nexthop(const struct nlattr *mp, size_t *off);

/* --- reading (netdev-read.c) --- */
/*
 * Fill the links of cfg (their name and pci are given) with what the kernel has, and cfg's routes and rules.
 * sysctls: also the per-interface ones. Whatever the message had before is replaced.
 */
int kho_netdev_read(struct kho_nl *nl, Kho__Netdev *cfg, bool sysctls, struct kho_err *err);
/* How many of cfg's multipath routes have a nexthop over an interface that is none of its links. */
size_t kho_netdev_cut_routes(const Kho__Netdev *cfg);

/* --- writing (netdev-apply.c) --- */
/* Before it is up: name, MAC, MTU, alias, sysctls. */
int kho_netdev_apply_link(struct kho_nl *nl, const Kho__NetLink *l, int ifindex, struct kho_err *err);
/*
 * A device that was reset may have its own MAC again: virtio-net's, whose driver does not set another one anew when it wakes up. A port
 * of a bond, which has the bond's, would hear nothing.
 */
int kho_netdev_renew_mac(struct kho_nl *nl, const char *name, int ifindex, struct kho_err *err);
/* Up, then addresses (without duplicate address detection) and neighbours. */
int kho_netdev_apply_up(struct kho_nl *nl, const Kho__NetLink *l, int ifindex, struct kho_err *err);
/* ifindex[i]: new index of cfg->link[i], 0 = not here (its routes are left out). */
int kho_netdev_apply_routes(struct kho_nl *nl, const Kho__Netdev *cfg, const int *ifindex, struct kho_err *err);
/* IPv6 makes its own link-local address at link up: not before ours are there. finish turns it on again. */
void kho_netdev_addrgen(const char *name, bool on, const Kho__NetLink *l);
int kho_link_set(struct kho_nl *nl, int ifindex, unsigned flags, unsigned change, struct kho_err *err);
int kho_link_rename(struct kho_nl *nl, int ifindex, const char *name, struct kho_err *err);

/* --- queueing disciplines of others (netdev-qdisc.c) --- */
#define KHO_QDISC_MAX (16u << 10)	/* bytes of one, as dumped */
bool kho_qdisc_is_carried(const char *kind);
/* Those at the root of cfg's links, whose indexes are known. */
int kho_qdisc_read(struct kho_nl *nl, Kho__Netdev *cfg, struct kho_err *err);
/* Put what was read there, in place of what is there; nothing when there was none. May be repeated. */
int kho_qdisc_put(struct kho_nl *nl, const Kho__NetLink *l, int ifindex, struct kho_err *err);
/* Are there filters at its clsact or ingress? */
bool kho_qdisc_has_filters(struct kho_nl *nl, int ifindex);

/* --- holding packets (netdev-hold.c) --- */
#define KHO_PLUG_LIMIT (64u << 20)	/* bytes held at most; beyond it packets are dropped */

struct kho_queue_stat {
	uint32_t qlen;			/* packets in the plug */
	uint64_t in, out;		/* of the ifb: packets it got, packets it passed on */
};

/* Root plug qdisc. add: holds from the first packet on. */
int kho_plug_add(struct kho_nl *nl, int ifindex, struct kho_err *err);
int kho_plug_hold(struct kho_nl *nl, int ifindex, struct kho_err *err);
int kho_plug_release(struct kho_nl *nl, int ifindex, struct kho_err *err);
int kho_plug_del(struct kho_nl *nl, int ifindex, struct kho_err *err);
/* The root qdisc is our plug. */
bool kho_plug_is_there(struct kho_nl *nl, int ifindex);
/* A root qdisc that somebody has configured: its kind; "" when it is the kernel's default (or our plug). */
int kho_root_qdisc(struct kho_nl *nl, int ifindex, char kind[16], bool *out_clsact, struct kho_err *err);
int kho_queue_stat(struct kho_nl *nl, int ifindex, struct kho_queue_stat *out, struct kho_err *err);

/* A new ifb of that name, up, with a holding plug; one that is there already is deleted first. want: its index, 0: any. */
int kho_ifb_add(struct kho_nl *nl, const char *name, int want, int *out_ifindex, struct kho_err *err);
/* An interface that does nothing but have this index. */
int kho_link_placeholder(struct kho_nl *nl, const char *name, int index, struct kho_err *err);
int kho_link_del(struct kho_nl *nl, const char *name, struct kho_err *err);

/* clsact on the interface, and everything but ARP and neighbour discovery redirected to the ifb. */
int kho_clsact_add(struct kho_nl *nl, int ifindex, struct kho_err *err);
int kho_clsact_del(struct kho_nl *nl, int ifindex, struct kho_err *err);
int kho_redirect_add(struct kho_nl *nl, int ifindex, bool ingress, int ifb, struct kho_err *err);
int kho_redirect_del(struct kho_nl *nl, int ifindex, bool ingress, struct kho_err *err);
/* Wait until nothing is in the ifb's plug nor on its way through it. -ETIMEDOUT. */
int kho_ifb_wait_empty(struct kho_nl *nl, int ifb, unsigned timeout_us, struct kho_err *err);
/* Packets take the direct way again, in order: in a pause between packets if there is one. The plug must be released. */
int kho_redirect_end(struct kho_nl *nl, int ifindex, bool ingress, int ifb, struct kho_err *err);

#endif
