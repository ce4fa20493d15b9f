// SPDX-License-Identifier: GPL-2.0-only
/*
 * Packets to and from what a workload listens on, by a packet socket on all interfaces.  See bpf/replay_parts.h. What is sent over loopback passes by twice, as sent
 * and as received; and what others send to others passes by as well. So of segments to a server only those count that this machine has received, for one of its own
 * addresses, and of those from it only those that it has sent. Of the latter no more than the headers leave the kernel.
 */
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bpf/replay_parts.h"
#include "lib/cleanup.h"

#define PACKET_MAX (128u << 10) /* segments come in bunches of up to 64 KiB */
#define QUEUE_MAX  (16u << 20)	/* bytes that wait for us, with what the kernel needs for each packet */
#define HEADERS	   128u		/* an IP and a TCP header with all that can be in them */

#define HEAD_STEPS 28u			      /* of the filter, before the ports */
#define TO_STEPS   (2 * KHO_REPLAY_PORTS + 2) /* and for the ports of one direction, at most */

/* --- the filter --- */

/* Of IPv4 or IPv6 without further headers, TCP that is no later fragment: its ports into M[0] (from) and M[1] (to); then whether it was sent or received. */
static const struct sock_filter head[HEAD_STEPS] = {
	BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0),
	BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 4),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 6, 14, 0), /* to 17 */
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 4, 1, 0),
	BPF_STMT(BPF_RET | BPF_K, 0),
	BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 9),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_TCP, 1, 0),
	BPF_STMT(BPF_RET | BPF_K, 0),
	BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 6),
	BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x1fff, 0, 1),
	BPF_STMT(BPF_RET | BPF_K, 0),
	BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 0),
	BPF_STMT(BPF_LD | BPF_H | BPF_IND, 2),
	BPF_STMT(BPF_ST, 1),
	BPF_STMT(BPF_LD | BPF_H | BPF_IND, 0),
	BPF_STMT(BPF_ST, 0),
	BPF_STMT(BPF_JMP | BPF_JA, 7), /* to 24 */
	BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 6), /* 17 */
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_TCP, 1, 0),
	BPF_STMT(BPF_RET | BPF_K, 0),
	BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 42),
	BPF_STMT(BPF_ST, 1),
	BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 40),
	BPF_STMT(BPF_ST, 0),
	BPF_STMT(BPF_LD | BPF_B | BPF_ABS, (uint32_t)(SKF_AD_OFF + SKF_AD_PKTTYPE)), /* 24 */
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PACKET_OUTGOING, 0, 0), /* to the second block of ports */
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PACKET_HOST, 1, 0),
	BPF_STMT(BPF_RET | BPF_K, 0),
};

/* Is M[slot] one of the ports? Then so many bytes of the packet are wanted. */
static size_t add_ports(struct sock_filter *f, size_t n, unsigned slot, uint32_t wanted, const struct kho_replay_listeners *l)
{
	f[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_MEM, slot);
	for (size_t i = 0; i < l->nports; i++) {
		f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, l->port[i], 0, 1);
		f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, wanted);
	}
	f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, 0);
	return n;
}

static int attach(int fd, const struct kho_replay_listeners *l)
{
	struct sock_filter f[HEAD_STEPS + 2 * TO_STEPS];
	struct sock_fprog p = { .filter = f };
	size_t n;

	memcpy(f, head, sizeof(head));
	n = add_ports(f, HEAD_STEPS, 1, PACKET_MAX, l);
	f[HEAD_STEPS - 3].jt = (uint8_t)(n - (HEAD_STEPS - 2));
	n = add_ports(f, n, 0, HEADERS, l);
	p.len = (unsigned short)n;
	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &p, sizeof(p));
}

/* --- whose address it is --- */

static bool take_address(const struct ifaddrs *i, struct kho_replay_address *out)
{
	memset(out, 0, sizeof(*out));
	if (!i->ifa_addr)
		return false;
	if (i->ifa_addr->sa_family == AF_INET) {
		out->family = 4;
		memcpy(out->a, &((const struct sockaddr_in *)(const void *)i->ifa_addr)->sin_addr, 4);
		return true;
	}
	if (i->ifa_addr->sa_family != AF_INET6)
		return false;
	out->family = 6;
	memcpy(out->a, &((const struct sockaddr_in6 *)(const void *)i->ifa_addr)->sin6_addr, 16);
	/* one of a single link is nowhere on another machine */
	return !(out->a[0] == 0xfe && (out->a[1] & 0xc0) == 0x80);
}

static int read_own(struct kho_capture *c, struct kho_err *err)
{
	struct ifaddrs *all = NULL;
	size_t n = 0;

	if (getifaddrs(&all))
		return kho_fail_errno(err, "addresses of its network");
	for (const struct ifaddrs *i = all; i; i = i->ifa_next)
		n++;
	c->own = calloc(n + 1, sizeof(*c->own));
	for (const struct ifaddrs *i = all; c->own && i; i = i->ifa_next)
		c->n_own += take_address(i, &c->own[c->n_own]);
	freeifaddrs(all);
	return c->own ? 0 : kho_fail(err, -ENOMEM, "addresses of its network");
}

static bool is_own(const struct kho_capture *c, const struct kho_replay_address *a)
{
	if (a->family == 4 && a->a[0] == 127)
		return true;
	for (size_t i = 0; i < c->n_own; i++)
		if (c->own[i].family == a->family && !memcmp(c->own[i].a, a->a, sizeof(a->a)))
			return true;
	return false;
}

/* A socket that listens on all addresses of IPv6 does so on those of IPv4. */
static bool is_listener(const struct kho_capture *c, const struct kho_replay_address *a)
{
	static const uint8_t any[16];

	for (size_t i = 0; i < c->l->n; i++) {
		const struct kho_replay_address *l = &c->l->a[i];

		if (l->port != a->port)
			continue;
		if (l->family == a->family && !memcmp(l->a, a->a, sizeof(any)))
			return true;
		if (l->family >= a->family && !memcmp(l->a, any, sizeof(any)) && is_own(c, a))
			return true;
	}
	return false;
}

/* --- the socket --- */

int kho_capture_open(struct kho_capture *c, const struct kho_replay_listeners *l, struct kho_err *err)
{
	struct sockaddr_ll all = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };
	int on = 1, room = (int)QUEUE_MAX, rc = read_own(c, err);

	c->l = l;
	if (rc < 0)
		return rc;
	c->buf = kho_private_map(PACKET_MAX);
	if (!c->buf)
		return kho_fail(err, -ENOMEM, "room for packets");
	/* of no protocol yet, so that nothing comes before there is a filter */
	c->fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->fd < 0)
		return kho_fail_errno(err, "a packet socket");
	if (attach(c->fd, l))
		return kho_fail_errno(err, "a filter of packets");
	/* with less of it more connections may be cut short */
	(void)!setsockopt(c->fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	if (setsockopt(c->fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on)))
		return kho_fail_errno(err, "times of packets");
	if (bind(c->fd, (const struct sockaddr *)&all, sizeof(all)))
		return kho_fail_errno(err, "see packets");
	return 0;
}

void kho_capture_close(struct kho_capture *c)
{
	kho_closep(&c->fd);
	c->fd = -1;
	free(c->own);
	c->own = NULL;
	c->n_own = 0;
	kho_private_unmap(c->buf, PACKET_MAX, PACKET_MAX);
	c->buf = NULL;
}

uint64_t kho_capture_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t time_of(struct msghdr *m)
{
	for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR(m, h)) {
		struct timespec t;

		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_TIMESTAMPNS)
			continue;
		memcpy(&t, CMSG_DATA(h), sizeof(t));
		return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
	}
	return kho_capture_now();
}

/* One packet: 1; 0: there is none. */
static int take_one(struct kho_capture *c, struct kho_streams *s)
{
	struct sockaddr_ll from = { 0 };
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(struct timespec)) + 64];
	} control;
	struct iovec io = { c->buf, PACKET_MAX };
	struct msghdr m = { .msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &io, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
	struct kho_segment g;
	ssize_t n = recvmsg(c->fd, &m, 0);

	/* an interface that went down is told as an error, once */
	if (n < 0)
		return errno == EINTR || errno == ENETDOWN;
	if (!kho_segment_parse(c->buf, (size_t)n, from.sll_pkttype == PACKET_HOST, &g) || !is_listener(c, &g.server))
		return 1;
	g.ns = time_of(&m);
	kho_streams_add(s, &g);
	return 1;
}

size_t kho_capture_take(struct kho_capture *c, struct kho_streams *s, size_t most)
{
	size_t n = 0;

	while (n < most && take_one(c, s))
		n++;
	return n;
}
