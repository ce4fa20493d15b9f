// SPDX-License-Identifier: GPL-2.0-only
/*
 * Connections that wait in the queues of listening sockets: CRIU cannot dump them. When the NIC is quiet no
 * new ones come, and a server that runs takes what is there in no time.
 */
#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <time.h>

#include "lib/clock.h"
#include "state-serializers/common.h"
#include "state-serializers/proc/out.h"

#define POLL_NS	    1000000
#define PATIENCE_US 50000

static int on_listener(const struct nlmsghdr *h, void *arg)
{
	const struct inet_diag_msg *m = mnl_nlmsg_get_payload(h);

	/* of a listener: how many wait to be accepted */
	if (mnl_nlmsg_get_payload_len(h) >= sizeof(*m) && m->idiag_state == TCP_LISTEN && m->idiag_rqueue)
		*(bool *)arg = true;
	return MNL_CB_OK;
}

static bool any_waits(struct mnl_socket *nl, unsigned char family)
{
	char buf[16384];
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
	struct inet_diag_req_v2 *q = mnl_nlmsg_put_extra_header(h, sizeof(*q));
	bool waits = false;
	ssize_t n;

	h->nlmsg_type = SOCK_DIAG_BY_FAMILY;
	h->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	h->nlmsg_seq = 1;
	*q = (struct inet_diag_req_v2){ .sdiag_family = family,
					.sdiag_protocol = IPPROTO_TCP,
					.idiag_states = 1u << TCP_LISTEN };
	if (mnl_socket_sendto(nl, h, h->nlmsg_len) < 0)
		return false;
	while ((n = mnl_socket_recvfrom(nl, buf, sizeof(buf))) > 0)
		if (mnl_cb_run(buf, (size_t)n, 1, mnl_socket_get_portid(nl), on_listener, &waits) <= MNL_CB_STOP)
			break;
	return waits;
}

void kho_proc_wait_accepted(struct kho_env *env)
{
	struct timespec rest = { .tv_nsec = POLL_NS };
	struct mnl_socket *nl = kho_proc_out.n ? mnl_socket_open2(NETLINK_SOCK_DIAG, SOCK_CLOEXEC) : NULL;
	uint64_t begin = kho_clock_us();

	/* a server that hangs: CRIU refuses it, if it is a workload */
	if (nl && !mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID))
		while ((any_waits(nl, AF_INET) || any_waits(nl, AF_INET6)) && kho_clock_us() < begin + PATIENCE_US)
			nanosleep(&rest, NULL);
	if (nl)
		mnl_socket_close(nl);
	if (kho_proc_out.n)
		kho_phase(env, "accept", begin);
}
