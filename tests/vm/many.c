/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Many connections to one process.
 *
 *   many serve PORT              (in the VM) echoes what TCP connections and UDP datagrams bring, IPv4 and IPv6
 *   many hold ADDRESS PORT N     holds N TCP connections and one UDP socket; each connection in turn sends a number and must
 *                                get it back; SIGUSR1: how many have waited for 3 seconds, to stderr; SIGTERM ends it with one more
 *                                number through every connection
 *
 * hold prints {"connections", "replies", "broken", "wrong", "udp_sent", "udp_lost", "max_gap_us"}; exit 0 when none is broken or wrong.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define EVERY_US    2000   /* one of the connections sends */
#define UDP_US	    20000
#define FINAL_US    60000000
#define UDP_LATE_US 5000000

#define LATE_US	    3000000

static volatile sig_atomic_t stop, tell;

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000ull + t.tv_nsec / 1000;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void many_files(void)
{
	struct rlimit l = { 16384, 16384 };

	if (setrlimit(RLIMIT_NOFILE, &l) < 0)
		die("setrlimit");
}

/* --- serve --- */

static int bound(int type, int port)
{
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	int s = socket(AF_INET6, type | SOCK_CLOEXEC, 0), one = 1, zero = 0;

	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(s, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
	if (s < 0 || bind(s, (void *)&a, sizeof(a)) < 0 || (type == SOCK_STREAM && listen(s, 1024) < 0))
		die("bind");
	return s;
}

static void watch(int ep, int fd)
{
	struct epoll_event e = { .events = EPOLLIN, .data.fd = fd };

	if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e) < 0)
		die("epoll_ctl");
}

static _Noreturn void serve(int port)
{
	int tcp = bound(SOCK_STREAM, port), udp = bound(SOCK_DGRAM, port), ep = epoll_create1(EPOLL_CLOEXEC);
	char buf[2048];

	watch(ep, tcp);
	watch(ep, udp);
	for (;;) {
		struct epoll_event e[64];
		int n = epoll_wait(ep, e, 64, -1);

		for (int i = 0; i < n; i++) {
			int fd = e[i].data.fd;

			if (fd == tcp) {
				int c = accept4(tcp, NULL, NULL, SOCK_CLOEXEC);

				if (c >= 0)
					watch(ep, c);
			} else if (fd == udp) {
				struct sockaddr_in6 from;
				socklen_t len = sizeof(from);
				ssize_t got = recvfrom(udp, buf, sizeof(buf), MSG_DONTWAIT, (void *)&from, &len);

				if (got > 0)
					(void)!sendto(udp, buf, got, 0, (void *)&from, len);
			} else {
				ssize_t got = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);

				if (got > 0)
					(void)!send(fd, buf, got, MSG_NOSIGNAL);
				else if (got == 0 || (errno != EAGAIN && errno != EINTR))
					close(fd);
			}
		}
	}
}

/* --- hold --- */

struct conn {
	int fd;
	uint32_t sent;	/* number on its way; 0: none */
	uint64_t at;
};

static struct {
	unsigned n, broken, wrong, replies, udp_sent, udp_got;
	uint64_t max_gap;
	struct conn *c;
	uint32_t number;
} h;

static int connected(const char *address, const char *port, int type)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(atoi(port)) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(atoi(port)) };
	int is_v4 = inet_pton(AF_INET, address, &v4.sin_addr) == 1, s = socket(is_v4 ? AF_INET : AF_INET6, type | SOCK_CLOEXEC, 0);

	if (!is_v4 && inet_pton(AF_INET6, address, &v6.sin6_addr) != 1)
		die(address);
	if (s < 0 || (is_v4 ? connect(s, (void *)&v4, sizeof(v4)) : connect(s, (void *)&v6, sizeof(v6))) < 0)
		die("connect");
	return s;
}

static void break_it(struct conn *c, const char *why)
{
	fprintf(stderr, "connection %u: %s: %s\n", (unsigned)(c - h.c), why, strerror(errno));
	h.broken++;
	close(c->fd);
	c->fd = -1;
}

static void ask(struct conn *c)
{
	if (c->fd < 0 || c->sent)
		return;
	c->sent = ++h.number;
	c->at = now_us();
	if (send(c->fd, &c->sent, sizeof(c->sent), MSG_NOSIGNAL | MSG_DONTWAIT) != sizeof(c->sent))
		break_it(c, "send");
}

static void answer(struct conn *c)
{
	uint32_t got;
	ssize_t n = recv(c->fd, &got, sizeof(got), MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n != sizeof(got)) {
		break_it(c, n ? "receive" : "closed by the server");
		return;
	}
	h.wrong += got != c->sent;
	h.replies++;
	if (now_us() - c->at > h.max_gap)
		h.max_gap = now_us() - c->at;
	c->sent = 0;
}

static void look(struct pollfd *p, int udp, int timeout_ms)
{
	char buf[64];

	for (unsigned i = 0; i < h.n; i++)
		p[i] = (struct pollfd){ .fd = h.c[i].fd, .events = h.c[i].sent ? POLLIN : 0 };
	p[h.n] = (struct pollfd){ .fd = udp, .events = POLLIN };
	if (poll(p, h.n + 1, timeout_ms) <= 0)
		return;
	for (unsigned i = 0; i < h.n; i++)
		if (p[i].revents)
			answer(&h.c[i]);
	while (recv(udp, buf, sizeof(buf), MSG_DONTWAIT) > 0)
		h.udp_got++;
}

/* Every connection once more. */
static void last_round(struct pollfd *p, int udp)
{
	uint64_t end = now_us() + FINAL_US, late = now_us() + UDP_LATE_US;
	unsigned left = 1;

	while (left && now_us() < end) {
		look(p, udp, 20);
		left = 0;
		for (unsigned i = 0; i < h.n; i++)
			left += h.c[i].fd >= 0 && h.c[i].sent;
	}
	for (unsigned i = 0; i < h.n; i++)
		ask(&h.c[i]);
	left = 1;
	while (left && now_us() < end) {
		look(p, udp, 20);
		left = 0;
		for (unsigned i = 0; i < h.n; i++)
			left += h.c[i].fd >= 0 && h.c[i].sent;
	}
	while (h.udp_got < h.udp_sent && now_us() < late)
		look(p, udp, 20);
	h.broken += left;
}

static void on_term(int s)
{
	(void)s;
	stop = 1;
}

static void on_usr1(int s)
{
	(void)s;
	tell = 1;
}

static void tell_late(void)
{
	unsigned late = 0;

	tell = 0;
	for (unsigned i = 0; i < h.n; i++)
		late += h.c[i].fd >= 0 && h.c[i].sent && now_us() - h.c[i].at > LATE_US;
	fprintf(stderr, "%u late\n", late);
}

static int hold(const char *address, const char *port, unsigned n)
{
	struct pollfd *p = calloc(n + 1, sizeof(*p));
	uint64_t next = 0, next_udp = 0;
	unsigned turn = 0;
	int udp;

	h.c = calloc(n, sizeof(*h.c));
	if (!h.c || !p)
		return fprintf(stderr, "many: out of memory\n"), 1;
	signal(SIGTERM, on_term);
	signal(SIGUSR1, on_usr1);
	for (h.n = 0; h.n < n; h.n++)
		h.c[h.n].fd = connected(address, port, SOCK_STREAM);
	udp = connected(address, port, SOCK_DGRAM);
	fprintf(stderr, "%u connections\n", n);
	while (!stop) {
		if (now_us() >= next) {
			next = now_us() + EVERY_US;
			ask(&h.c[turn++ % n]);
		}
		if (now_us() >= next_udp) {
			next_udp = now_us() + UDP_US;
			h.udp_sent += send(udp, &h.udp_sent, sizeof(h.udp_sent), MSG_DONTWAIT) > 0;
		}
		look(p, udp, 1);
		if (tell)
			tell_late();
	}
	last_round(p, udp);
	printf("{\"connections\": %u, \"replies\": %u, \"broken\": %u, \"wrong\": %u, \"udp_sent\": %u, \"udp_lost\": %u, \"max_gap_us\": %llu}\n", n,
	       h.replies, h.broken, h.wrong, h.udp_sent, h.udp_sent - h.udp_got, (unsigned long long)h.max_gap);
	return h.broken || h.wrong;
}

int main(int argc, char **argv)
{
	many_files();
	if (argc == 3 && !strcmp(argv[1], "serve"))
		serve(atoi(argv[2]));
	if (argc == 5 && !strcmp(argv[1], "hold") && atoi(argv[4]) > 0)
		return hold(argv[2], argv[3], (unsigned)atoi(argv[4]));
	fprintf(stderr, "usage: many serve PORT | many hold ADDRESS PORT N\n");
	return 2;
}
