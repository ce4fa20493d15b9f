// SPDX-License-Identifier: GPL-2.0-only
/*
 * Serializers on one kernel, with devices that only pretend to change hands: what needs root, real
 * modules and real devices, but no second kernel.  Run inside a test VM:
 *
 *   serializer-check hold                 packets through veth, held and released: none lost
 *   serializer-check net PEER             the NIC is unbound and bound: comes back as it was, silent until finish
 *   serializer-check block DEVICE DIR     ext4 on DEVICE (mounted at DIR): frozen, snapshot, discard, merge
 *
 * Prints one line for each fact, exit 0 when all hold.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <linux/fs.h>
#include <linux/veth.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"
#include "state-serializers/block.h"
#include "state-serializers/common.h"
#include "state-serializers/netdev.h"

static int bad;

static void fact(bool ok, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void fact(bool ok, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	printf("%s  ", ok ? "ok  " : "FAIL");
	vprintf(fmt, ap);
	printf("\n");
	fflush(stdout);
	va_end(ap);
	bad += !ok;
}

static void must(int ret, const struct kho_err *e, const char *what)
{
	fact(ret >= 0, "%s%s%s", what, ret < 0 ? ": " : "", ret < 0 ? e->msg : "");
}

static void sleep_ms(unsigned ms)
{
	nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000l }, NULL);
}

/* --- devices that pretend --- */
static int nothing(struct kho_env *env, struct kho_pci_addr a, struct kho_err *err)
{
	(void)env, (void)a, (void)err;
	return 0;
}

static bool rebind;	/* take: unbind and bind, so that the driver makes everything anew */

static int take(struct kho_env *env, struct kho_pci_addr a, struct kho_err *err)
{
	char addr[KHO_PCI_LEN];

	(void)env;
	if (!rebind)
		return 0;
	kho_pci_format(a, addr);
	int ret = kho_write_existing("/sys/bus/pci/drivers/virtio-pci/unbind", addr, err);

	return ret < 0 ? ret : kho_write_existing("/sys/bus/pci/drivers/virtio-pci/bind", addr, err);
}

static void phase(struct kho_env *env, const char *name, uint64_t begin, uint64_t end)
{
	(void)env;
	printf("      %s %llu us\n", name, (unsigned long long)(end - begin));
}

static void note(struct kho_env *env, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void note(struct kho_env *env, const char *fmt, ...)
{
	va_list ap;

	(void)env;
	va_start(ap, fmt);
	printf("      note: ");
	vprintf(fmt, ap);
	printf("\n");
	va_end(ap);
}

static const struct kho_env_ops ops = {
	.pci_quiesce = nothing, .pci_unquiesce = nothing, .pci_give = nothing, .pci_take = take, .phase = phase, .note = note,
};
static struct kho_env env = { .ops = &ops, .run_dir = "/run/khoctl-check", .images_dir = "/run/khoctl-check/images", .sysroot = "" };

/* --- hold --- */
struct flow {
	int rx, tx;
	struct sockaddr_in to;
	volatile bool stop;
	bool out;
	unsigned sent, got, late;
	volatile unsigned got_now;
};

/*
 * What goes out is sent from one CPU: veth hands a packet to the other side's queue of the sending CPU, and
 * queues of two CPUs overtake each other whatever we do.
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

			if (sendto(f->tx, &n, sizeof(n), 0, (void *)&f->to, sizeof(f->to)) == sizeof(n))
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
	struct nlmsghdr *nlh = kho_nl_request(nl, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, sizeof(struct ifinfomsg));

	mnl_attr_put_strz(nlh, IFLA_IFNAME, "nic0");
	struct nlattr *info = mnl_attr_nest_start(nlh, IFLA_LINKINFO);

	mnl_attr_put_strz(nlh, IFLA_INFO_KIND, "veth");
	struct nlattr *data = mnl_attr_nest_start(nlh, IFLA_INFO_DATA), *peer = mnl_attr_nest_start(nlh, VETH_INFO_PEER);

	mnl_nlmsg_put_extra_header(nlh, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(nlh, IFLA_IFNAME, "peer0");
	mnl_attr_nest_end(nlh, peer);
	mnl_attr_nest_end(nlh, data);
	mnl_attr_nest_end(nlh, info);
	must(kho_nl_do(nl, nlh, e, "add veth"), e, "veth");
}

static void address(struct kho_nl *nl, int index, const char *ip, struct kho_err *e)
{
	struct nlmsghdr *nlh = kho_nl_request(nl, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, sizeof(struct ifaddrmsg));
	struct ifaddrmsg *ifa = mnl_nlmsg_get_payload(nlh);
	struct in_addr a;

	inet_pton(AF_INET, ip, &a);
	*ifa = (struct ifaddrmsg){ .ifa_family = AF_INET, .ifa_prefixlen = 24, .ifa_index = index };
	mnl_attr_put(nlh, IFA_LOCAL, 4, &a);
	mnl_attr_put(nlh, IFA_ADDRESS, 4, &a);
	must(kho_nl_do(nl, nlh, e, "add address"), e, ip);
}

/* Two network namespaces: the NIC is nic0 here, its peer in a namespace of its own. */
static int hold(void)
{
	static const char *const modules[] = { "veth", "ifb numifbs=0", "sch_plug", "sch_ingress", "cls_matchall", "cls_u32", "act_mirred" };
	struct kho_err e = KHO_ERR_INIT;
	_cleanup_nl_ struct kho_nl nl = KHO_NL_INIT;
	struct flow f[2] = { 0 };	/* into the NIC, out of the NIC */
	int ifb[2], home, away;
	pthread_t t[4];

	must(kho_modules_load(modules, KHO_ARRAY_SIZE(modules), &e), &e, "modules");
	if (unshare(CLONE_NEWNET) < 0)
		perror("unshare");
	away = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (unshare(CLONE_NEWNET) < 0)
		perror("unshare");
	home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	must(kho_nl_open(&nl, &e), &e, "rtnetlink");
	veth_add(&nl, &e);
	struct nlmsghdr *nlh = kho_nl_request(&nl, RTM_NEWLINK, 0, sizeof(struct ifinfomsg));

	((struct ifinfomsg *)mnl_nlmsg_get_payload(nlh))->ifi_index = if_nametoindex("peer0");
	mnl_attr_put_u32(nlh, IFLA_NET_NS_FD, away);
	must(kho_nl_do(&nl, nlh, &e, "move peer"), &e, "peer in its namespace");
	int nic = if_nametoindex("nic0");

	must(kho_ifb_add(&nl, "kho-in0", &ifb[0], &e), &e, "ifb in");
	must(kho_ifb_add(&nl, "kho-out0", &ifb[1], &e), &e, "ifb out");
	must(kho_clsact_add(&nl, nic, &e), &e, "clsact");
	must(kho_redirect_add(&nl, nic, true, ifb[0], &e), &e, "redirect in");
	must(kho_redirect_add(&nl, nic, false, ifb[1], &e), &e, "redirect out");
	must(kho_link_set(&nl, nic, IFF_UP, IFF_UP, &e), &e, "nic up");
	address(&nl, nic, "10.9.9.1", &e);
	f[0].rx = udp("10.9.9.1", 1000);
	f[1].tx = udp("10.9.9.1", 1001);
	if (setns(away, CLONE_NEWNET) < 0)
		perror("setns");
	{
		_cleanup_nl_ struct kho_nl nl2 = KHO_NL_INIT;
		int peer = if_nametoindex("peer0");

		must(kho_nl_open(&nl2, &e), &e, "rtnetlink of the peer");
		must(kho_link_set(&nl2, peer, IFF_UP, IFF_UP, &e), &e, "peer up");
		address(&nl2, peer, "10.9.9.2", &e);
		f[0].tx = udp("10.9.9.2", 1002);
		f[1].rx = udp("10.9.9.2", 1003);
	}
	if (setns(home, CLONE_NEWNET) < 0)
		perror("setns");
	for (int i = 0; i < 2; i++) {
		f[i].to = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(i ? 1003 : 1000) };
		inet_pton(AF_INET, i ? "10.9.9.2" : "10.9.9.1", &f[i].to.sin_addr);
		f[i].out = i;
		pthread_create(&t[2 * i], NULL, receiver, &f[i]);
		pthread_create(&t[2 * i + 1], NULL, sender, &f[i]);
	}
	stay_on_cpu0();
	sleep_ms(1500);
	unsigned dark[2] = { f[0].got_now, f[1].got_now }, sent[2] = { f[0].sent, f[1].sent };

	for (int i = 0; i < 2; i++)
		must(kho_plug_release(&nl, ifb[i], &e), &e, "release");
	for (int i = 0; i < 2; i++) {
		uint64_t begin = kho_clock_us();

		must(kho_redirect_end(&nl, nic, !i, ifb[i], &e), &e, "direct way");
		printf("      %llu us\n", (unsigned long long)(kho_clock_us() - begin));
	}
	must(kho_link_del(&nl, "kho-in0", &e), &e, "ifb in deleted");
	must(kho_link_del(&nl, "kho-out0", &e), &e, "ifb out deleted");
	sleep_ms(1000);
	f[0].stop = f[1].stop = true;
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	for (int i = 0; i < 2; i++) {
		const char *way = i ? "out" : "in";

		fact(dark[i] == 0 && sent[i] > 500, "%s: while held %u of %u packets came through", way, dark[i], sent[i]);
		fact(f[i].got == f[i].sent, "%s: %u of %u packets delivered", way, f[i].got, f[i].sent);
		/* at the change of the way one burst may be cut in two: see kho_redirect_end() */
		fact(f[i].late <= 4, "%s: %u of them overtaken", way, f[i].late);
	}
	return bad;
}

/* --- net --- */
static int ping(const char *ip, unsigned timeout_ms)
{
	struct { uint8_t type, code; uint16_t sum, id, seq; } echo = { .type = 8, .seq = htons(1) };
	struct sockaddr_in to = { .sin_family = AF_INET };
	_cleanup_close_ int s = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);
	uint64_t end = kho_clock_us() + timeout_ms * 1000;
	uint8_t buf[2048];

	echo.id = htons(getpid());
	echo.sum = (uint16_t)~((0x0008 + echo.id + echo.seq) % 0xffff);
	inet_pton(AF_INET, ip, &to.sin_addr);
	if (timeout_ms == 0 || sendto(s, &echo, sizeof(echo), 0, (void *)&to, sizeof(to)) < 0)
		return -errno;
	while (kho_clock_us() < end) {
		struct pollfd p = { .fd = s, .events = POLLIN };

		if (poll(&p, 1, 20) > 0) {
			ssize_t n = recv(s, buf, sizeof(buf), 0);

			if (n >= 28 && buf[20] == 0 && buf[24] == (echo.id & 0xff))
				return 0;
		}
	}
	return -ETIMEDOUT;
}

struct late_ping { const char *peer; int ret; uint64_t us; };

static void *pinger(void *arg)
{
	struct late_ping *p = arg;
	uint64_t begin = kho_clock_us();

	p->ret = ping(p->peer, 8000);
	p->us = kho_clock_us() - begin;
	return NULL;
}

static Kho__Netdev *snapshot(void)
{
	_cleanup_nl_ struct kho_nl nl = KHO_NL_INIT;
	struct kho_err e = KHO_ERR_INIT;
	Kho__Netdev *c = NULL;

	if (kho_nl_open(&nl, &e) < 0 || kho_netdev_find("", &c, &e) < 0 || kho_netdev_read(&nl, c, true, &e) < 0)
		fact(false, "read configuration: %s", e.msg);
	return c;
}

static int net(const char *peer)
{
	struct kho_blob b0 = { 0 }, b1 = { 0 };
	struct kho_err e = KHO_ERR_INIT;
	struct late_ping late = { .peer = peer };
	bool more;
	pthread_t t;

	fact(ping(peer, 3000) == 0, "ping before");
	Kho__Netdev *was = snapshot();

	must(kho_netdev_preserve(&env, 0, &b0, &more, &e), &e, "preserve");
	fact(ping(peer, 3000) == 0, "ping while preserved");
	must(kho_netdev_freeze(&env, &e), &e, "freeze");
	fact(ping(peer, 700) == -ETIMEDOUT, "nothing goes out while frozen");
	must(kho_netdev_unfreeze(&env, &e), &e, "unfreeze");
	fact(ping(peer, 3000) == 0, "ping after unfreeze");
	must(kho_netdev_freeze(&env, &e), &e, "freeze again");
	must(kho_netdev_drain(&env, &b1, &e), &e, "drain");
	must(kho_netdev_prepare(&env, &b0, &e), &e, "prepare");
	rebind = true;
	for (int round = 0; round < 2; round++) {
		must(kho_netdev_retrieve(&env, &b1, &e), &e, "retrieve");
		fact(ping(peer, 1500) == -ETIMEDOUT, "dark: no packet leaves");
		if (!round)
			must(kho_netdev_discard(&env, &e), &e, "discard");
	}
	pthread_create(&t, NULL, pinger, &late);
	sleep_ms(1000);
	must(kho_netdev_finish(&env, &e), &e, "finish");
	pthread_join(t, NULL);
	fact(late.ret == 0 && late.us > 900000, "a ping sent in the dark is answered after finish (%llu ms)", (unsigned long long)late.us / 1000);
	fact(ping(peer, 3000) == 0, "ping after");
	Kho__Netdev *is = snapshot();

	fact(was && is && was->n_link == is->n_link && was->n_route == is->n_route && was->n_rule == is->n_rule,
	     "%zu links, %zu routes, %zu rules as before", is->n_link, is->n_route, is->n_rule);
	for (size_t i = 0; i < was->n_link; i++)
		fact(!strcmp(was->link[i]->name, is->link[i]->name) && was->link[i]->mtu == is->link[i]->mtu &&
		     was->link[i]->n_address == is->link[i]->n_address && was->link[i]->n_sysctl == is->link[i]->n_sysctl,
		     "%s: mtu %u, %zu addresses, %zu sysctls as before (%zu, %zu)", is->link[i]->name, is->link[i]->mtu,
		     is->link[i]->n_address, is->link[i]->n_sysctl, was->link[i]->n_address, was->link[i]->n_sysctl);
	must(kho_netdev_unpreserve(&env, &e), &e, "unpreserve");
	return bad;
}

/* --- block --- */
static uint64_t checksum(const char *dev)
{
	_cleanup_close_ int fd = open(dev, O_RDONLY | O_DIRECT | O_CLOEXEC);
	uint64_t h = 14695981039346656037ull;
	uint64_t *buf = aligned_alloc(4096, 1 << 20);
	ssize_t n;

	while (fd >= 0 && (n = read(fd, buf, 1 << 20)) > 0)
		for (ssize_t i = 0; i < n / 8; i++)
			h = (h ^ buf[i]) * 1099511628211ull;
	free(buf);
	return fd < 0 ? 0 : h;
}

static void put(const char *dir, const char *name, const char *text)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	fact(fd >= 0 && kho_write_all(fd, text, strlen(text)) >= 0 && !fsync(fd), "write %s", name);
}

static bool holds(const char *dir, const char *name, const char *text)
{
	_cleanup_free_ char *got = NULL;
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return kho_read_line(path, &got, NULL) >= 0 && !strcmp(got, text);
}

static void junk(const char *dir, unsigned mib)
{
	static char buf[1 << 20];
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/junk", dir);
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	for (unsigned i = 0; i < mib; i++) {
		memset(buf, i + 1, sizeof(buf));
		bad += kho_write_all(fd, buf, sizeof(buf)) < 0;
	}
	fact(fd >= 0 && !fsync(fd), "write %u MiB", mib);
}

static void *writer(void *arg)
{
	put(arg, "blocked", "thawed");
	return NULL;
}

static int block(const char *dev, const char *dir)
{
	struct kho_report r = KHO_REPORT_INIT;
	struct kho_blob b0 = { 0 }, b1 = { 0 };
	struct kho_err e = KHO_ERR_INIT;
	char source[64] = "/dev/mapper/khoctl-0", *line = NULL;
	pthread_t t;
	bool more;

	put(dir, "old", "by the outgoing kernel");
	must(kho_block_probe(&env, &r, &e), &e, "probe");
	for (size_t i = 0; i < r.n; i++)
		printf("      %s %s: %s: %s\n", kho_verdict_name(r.items[i].verdict), r.items[i].area, r.items[i].subject, r.items[i].what);
	must(kho_block_preserve(&env, 0, &b0, &more, &e), &e, "preserve");
	must(kho_block_freeze(&env, &e), &e, "freeze");
	pthread_create(&t, NULL, writer, (void *)(uintptr_t)dir);
	sleep_ms(500);
	fact(!holds(dir, "blocked", "thawed"), "a writer waits");
	must(kho_block_unfreeze(&env, &e), &e, "unfreeze");
	pthread_join(t, NULL);
	must(kho_block_preserve(&env, 1, &b1, &more, &e), &e, "preserve, round 1");
	must(kho_block_freeze(&env, &e), &e, "freeze");
	must(kho_block_drain(&env, &b1, &e), &e, "drain");
	must(kho_block_unfreeze(&env, &e), &e, "unfreeze: one kernel only");
	must(kho_block_forget(&env, &e), &e, "forget");
	fact(!umount(dir), "unmounted");
	uint64_t was = checksum(dev);

	must(kho_block_prepare(&env, &b0, &e), &e, "prepare");
	for (int round = 0; round < 2; round++) {
		must(kho_block_retrieve(&env, &b1, &e), &e, "retrieve");
		fact(holds(dir, "old", "by the outgoing kernel"), "old file is there");
		fact(!holds(dir, "new", "by the incoming kernel"), "no file of the round before");
		put(dir, "new", "by the incoming kernel");
		junk(dir, 8);
		must(kho_block_verify(&env, &r, &e), &e, "verify");
		fact(r.items[r.n - 1].verdict == KHO_V_OK, "store is fine");
		printf("      %s: %s\n", r.items[r.n - 1].subject, r.items[r.n - 1].what);
		fact(checksum(dev) == was, "the disk is unchanged");
		if (!round)
			must(kho_block_discard(&env, &e), &e, "discard");
	}
	must(kho_block_finish(&env, &e), &e, "finish");
	put(dir, "during", "written during the merge");
	must(kho_merge_wait_all(60000000, &e), &e, "merged");
	char type[32], params[256];
	uint64_t sectors;

	must(kho_dm_status("khoctl-0", true, type, params, &sectors, &e), &e, "status");
	fact(!strcmp(type, "linear"), "the device is %s %s", type, params);
	put(dir, "after", "written after the merge");
	fact(kho_read_file("/proc/mounts", 1 << 20, &line, NULL, &e) >= 0 && strstr(line, source), "mounted from %s", source);
	fact(!kho_exists("/sys/block/ram0"), "the store is freed");
	struct kho_blob b2 = { 0 };

	kho_report_done(&r);
	must(kho_block_probe(&env, &r, &e), &e, "probe, next generation");
	for (size_t i = 0; i < r.n; i++)
		printf("      %s %s: %s: %s\n", kho_verdict_name(r.items[i].verdict), r.items[i].area, r.items[i].subject, r.items[i].what);
	must(kho_block_preserve(&env, 0, &b2, &more, &e), &e, "preserve, next generation");
	Kho__Block *b = kho_pb_unpack(&kho__block__descriptor, &b2, &e), *a = kho_pb_unpack(&kho__block__descriptor, &b1, &e);

	fact(a && b && a->n_disk == b->n_disk && b->n_disk == 1 && !strcmp(a->disk[0]->pci, b->disk[0]->pci), "the next generation sees the disk %s through it",
	     b && b->n_disk ? b->disk[0]->pci : "?");
	must(kho_block_unpreserve(&env, &e), &e, "unpreserve");
	fact(!umount(dir), "unmounted");
	must(kho_dm_remove("khoctl-0", &e), &e, "removed");
	return bad;
}

int main(int argc, char **argv)
{
	struct kho_err e = KHO_ERR_INIT;
	const char *what = argc > 1 ? argv[1] : "";

	must(kho_mkdir(env.images_dir, &e), &e, "run directory");
	if (!strcmp(what, "hold"))
		hold();
	else if (!strcmp(what, "net") && argc == 3)
		net(argv[2]);
	else if (!strcmp(what, "block") && argc == 4)
		block(argv[2], argv[3]);
	else
		return fprintf(stderr, "serializer-check hold | net PEER | block DEVICE DIR\n"), 2;
	printf("%s %s\n", what, bad ? "FAILED" : "ok");
	return !!bad;
}
