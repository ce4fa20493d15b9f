// SPDX-License-Identifier: GPL-2.0-only
/*
 * serializer-check hold: numbered packets through veth in both directions, held by the plugs that
 * hold a NIC's, and released: none lost, none overtaken.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <linux/veth.h>

#include "lib/clock.h"
#include "serializer_check.h"
#include "state-serializers/common.h"
#include "state-serializers/netdev.h"

struct flow {
	int rx, tx;
	struct sockaddr_in to;
	volatile bool stop;
	bool out;
	unsigned sent, got, late;
	volatile unsigned got_now;
};

struct world {
	struct kho_nl nl;
	int nic, ifb[2], home, away; /* the ifbs: in, out; the namespaces */
	struct flow f[2];	     /* into the NIC, out of the NIC */
	pthread_t t[4];
};

/*
 * What goes out is sent from one CPU: veth hands a packet to the other side's queue of the sending
 * CPU, and queues of two CPUs overtake each other whatever we do.
 */
static void stay_on_cpu0(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(0, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void *sender(void *arg)
{
	struct flow *f = arg;

	if (f->out)
		stay_on_cpu0();
	while (!f->stop) {
		for (int burst = 0; burst < 4; burst++) {
			uint32_t n = f->sent;

			if (sendto(f->tx, &n, sizeof(n), 0, (void *)&f->to, sizeof(f->to)) ==
			    sizeof(n))
				f->sent++;
		}
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
	return NULL;
}

static void *receiver(void *arg)
{
	struct flow *f = arg;
	uint32_t next = 0, n;

	for (;;) {
		struct pollfd p = { .fd = f->rx, .events = POLLIN };

		if (poll(&p, 1, 1500) <= 0 || recv(f->rx, &n, sizeof(n), 0) != sizeof(n)) {
			if (f->stop)
				return NULL;
			continue;
		}
		f->late += n < next;
		next = n < next ? next : n + 1;
		f->got++;
		f->got_now = f->got;
	}
}

static int udp(const char *ip, int port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), size = 16 << 20;

	inet_pton(AF_INET, ip, &a.sin_addr);
	setsockopt(s, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	setsockopt(s, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	if (bind(s, (void *)&a, sizeof(a)) < 0)
		perror("bind");
	return s;
}

static void veth_add(struct kho_nl *nl, struct kho_err *e)
{
	struct nlmsghdr *nlh = kho_nl_request(nl, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL,
					      sizeof(struct ifinfomsg));

	mnl_attr_put_strz(nlh, IFLA_IFNAME, "nic0");
	struct nlattr *info = mnl_attr_nest_start(nlh, IFLA_LINKINFO);

	mnl_attr_put_strz(nlh, IFLA_INFO_KIND, "veth");
	struct nlattr *data = mnl_attr_nest_start(nlh, IFLA_INFO_DATA),
		      *peer = mnl_attr_nest_start(nlh, VETH_INFO_PEER);

	mnl_nlmsg_put_extra_header(nlh, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(nlh, IFLA_IFNAME, "peer0");
	mnl_attr_nest_end(nlh, peer);
	mnl_attr_nest_end(nlh, data);
	mnl_attr_nest_end(nlh, info);
	must(kho_nl_do(nl, nlh, e, "add veth"), e, "veth");
}

static void address(struct kho_nl *nl, int index, const char *ip, struct kho_err *e)
{
	struct nlmsghdr *nlh = kho_nl_request(nl, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL,
					      sizeof(struct ifaddrmsg));
	struct ifaddrmsg *ifa = mnl_nlmsg_get_payload(nlh);
	struct in_addr a;

	inet_pton(AF_INET, ip, &a);
	*ifa = (struct ifaddrmsg){ .ifa_family = AF_INET, .ifa_prefixlen = 24, .ifa_index = index };
	mnl_attr_put(nlh, IFA_LOCAL, 4, &a);
	mnl_attr_put(nlh, IFA_ADDRESS, 4, &a);
	must(kho_nl_do(nl, nlh, e, "add address"), e, ip);
}

static int namespace(void)
{
	if (unshare(CLONE_NEWNET) < 0)
		perror("unshare");
	return open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
}

/* Two network namespaces: the NIC is nic0 here, its peer in a namespace of its own. */
static void make_nic(struct world *w, struct kho_err *e)
{
	struct nlmsghdr *nlh;

	w->away = namespace();
	w->home = namespace();
	must(kho_nl_open(&w->nl, e), e, "rtnetlink");
	veth_add(&w->nl, e);
	nlh = kho_nl_request(&w->nl, RTM_NEWLINK, 0, sizeof(struct ifinfomsg));
	((struct ifinfomsg *)mnl_nlmsg_get_payload(nlh))->ifi_index = if_nametoindex("peer0");
	mnl_attr_put_u32(nlh, IFLA_NET_NS_FD, w->away);
	must(kho_nl_do(&w->nl, nlh, e, "move peer"), e, "peer in its namespace");
	w->nic = if_nametoindex("nic0");
}

static void plug_nic(struct world *w, struct kho_err *e)
{
	must(kho_ifb_add(&w->nl, "kho-in0", 0, &w->ifb[0], e), e, "ifb in");
	must(kho_ifb_add(&w->nl, "kho-out0", 0, &w->ifb[1], e), e, "ifb out");
	must(kho_clsact_add(&w->nl, w->nic, e), e, "clsact");
	must(kho_redirect_add(&w->nl, w->nic, true, w->ifb[0], e), e, "redirect in");
	must(kho_redirect_add(&w->nl, w->nic, false, w->ifb[1], e), e, "redirect out");
	must(kho_link_set(&w->nl, w->nic, IFF_UP, IFF_UP, e), e, "nic up");
	address(&w->nl, w->nic, "10.9.9.1", e);
	w->f[0].rx = udp("10.9.9.1", 1000);
	w->f[1].tx = udp("10.9.9.1", 1001);
}

static void make_peer(struct world *w, struct kho_err *e)
{
	_cleanup_nl_ struct kho_nl nl = KHO_NL_INIT;
	int peer;

	if (setns(w->away, CLONE_NEWNET) < 0)
		perror("setns");
	peer = if_nametoindex("peer0");
	must(kho_nl_open(&nl, e), e, "rtnetlink of the peer");
	must(kho_link_set(&nl, peer, IFF_UP, IFF_UP, e), e, "peer up");
	address(&nl, peer, "10.9.9.2", e);
	w->f[0].tx = udp("10.9.9.2", 1002);
	w->f[1].rx = udp("10.9.9.2", 1003);
	if (setns(w->home, CLONE_NEWNET) < 0)
		perror("setns");
}

static void start_flows(struct world *w)
{
	for (int i = 0; i < 2; i++) {
		w->f[i].to = (struct sockaddr_in){ .sin_family = AF_INET,
						   .sin_port = htons(i ? 1003 : 1000) };
		inet_pton(AF_INET, i ? "10.9.9.2" : "10.9.9.1", &w->f[i].to.sin_addr);
		w->f[i].out = i;
		pthread_create(&w->t[2 * i], NULL, receiver, &w->f[i]);
		pthread_create(&w->t[2 * i + 1], NULL, sender, &w->f[i]);
	}
	stay_on_cpu0();
}

static void release(struct world *w, struct kho_err *e)
{
	for (int i = 0; i < 2; i++)
		must(kho_plug_release(&w->nl, w->ifb[i], e), e, "release");
	for (int i = 0; i < 2; i++) {
		uint64_t begin = kho_clock_us();

		must(kho_redirect_end(&w->nl, w->nic, !i, w->ifb[i], e), e, "direct way");
		printf("      %llu us\n", (unsigned long long)(kho_clock_us() - begin));
	}
	must(kho_link_del(&w->nl, "kho-in0", e), e, "ifb in deleted");
	must(kho_link_del(&w->nl, "kho-out0", e), e, "ifb out deleted");
}

void check_hold(void)
{
	static const char *const modules[] = { "veth",	      "ifb numifbs=0", "sch_plug",
					       "sch_ingress", "cls_matchall",  "cls_u32",
					       "act_mirred" };
	struct kho_err e = KHO_ERR_INIT;
	struct world w = { .nl = KHO_NL_INIT };

	must(kho_modules_load(modules, KHO_ARRAY_SIZE(modules), &e), &e, "modules");
	make_nic(&w, &e);
	plug_nic(&w, &e);
	make_peer(&w, &e);
	start_flows(&w);
	sleep_ms(1500);
	unsigned dark[2] = { w.f[0].got_now, w.f[1].got_now },
		 sent[2] = { w.f[0].sent, w.f[1].sent };

	release(&w, &e);
	sleep_ms(1000);
	w.f[0].stop = w.f[1].stop = true;
	for (int i = 0; i < 4; i++)
		pthread_join(w.t[i], NULL);
	kho_nl_close(&w.nl);
	for (int i = 0; i < 2; i++) {
		const struct flow *f = &w.f[i];
		const char *way = i ? "out" : "in";

		fact(dark[i] == 0 && sent[i] > 500, "%s: while held %u of %u packets came through",
		     way, dark[i], sent[i]);
		fact(f->got == f->sent, "%s: %u of %u packets delivered", way, f->got, f->sent);
		/* at the change of the way one burst may be cut in two: see kho_redirect_end() */
		fact(f->late <= 4, "%s: %u of them overtaken", way, f->late);
	}
}
