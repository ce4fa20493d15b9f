/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The client outside of the VM: ONE TCP connection to a server, numbered requests without pause, every reply must be the next
 * number. It never connects again: what it counts is what a real client would have seen.
 *   client [--protocol redis|http|postgres] [--interval-us N] [--window N] [--key K] ADDRESS [PORT]
 * SIGTERM: sends no more, waits up to 60 s for the replies that are owed, prints the result (JSON, stdout), exit 0 only if all is
 * well. SIGUSR1: the same numbers so far, to stderr, and goes on. A gap is the time from when a reply was owed and
 * none came until the next one came.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tests/vm/client.h"

enum { GAP_US = 100000, DRAIN_US = 60000000 };

struct gap {
	double start;			/* wall clock */
	uint64_t us;
};

static struct {
	uint64_t sent, acked, errors, resets, out_of_order, max_gap_us;
	struct gap *gap;
	size_t gaps;
	char why[200];			/* of the first error */
} seen;

static volatile sig_atomic_t stop, report;
static uint64_t interval_us = 5000, window = 32;
static const char *key = "ctr";
static const struct client_protocol *protocol = &client_redis;
static int64_t last_number = -1;	/* of the last reply, -1: none yet */
static uint64_t owed_since;		/* 0: nothing is owed */

static void on_signal(int s)
{
	if (s == SIGUSR1)
		report = 1;
	else
		stop = 1;
}

static uint64_t now_us(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void print(FILE *f)
{
	fprintf(f, "{\"sent\":%llu,\"acked\":%llu,\"errors\":%llu,\"resets\":%llu,\"out_of_order\":%llu,\"max_gap_us\":%llu,\"gaps\":[",
		(unsigned long long)seen.sent, (unsigned long long)seen.acked, (unsigned long long)seen.errors,
		(unsigned long long)seen.resets, (unsigned long long)seen.out_of_order, (unsigned long long)seen.max_gap_us);
	for (size_t i = 0; i < seen.gaps; i++)
		fprintf(f, "%s{\"start\":%.6f,\"us\":%llu}", i ? "," : "", seen.gap[i].start, (unsigned long long)seen.gap[i].us);
	fprintf(f, "],\"why\":\"%s\"}\n", seen.why);
	fflush(f);
}

static bool bad(uint64_t *counter, const char *what, const char *detail)
{
	(*counter)++;
	if (!seen.why[0]) {
		snprintf(seen.why, sizeof(seen.why), "%s %s", what, detail);
		for (char *p = seen.why; *p; p++)
			if (*p < ' ' || *p == '"' || *p == '\\')
				*p = '\'';
	}
	return false;
}

bool client_error(const char *what, const char *detail)
{
	return bad(&seen.errors, what, detail);
}

bool client_broken(int err)
{
	if (!err)
		return bad(&seen.errors, "connection:", "closed by the server");
	if (err == ECONNRESET || err == EPIPE)
		return bad(&seen.resets, "connection:", strerror(err));
	return bad(&seen.errors, "connection:", strerror(err));
}

static void replied(uint64_t t)
{
	uint64_t gap = owed_since ? t - owed_since : 0;

	if (gap > seen.max_gap_us)
		seen.max_gap_us = gap;
	if (gap > GAP_US) {
		struct gap *g = realloc(seen.gap, (seen.gaps + 1) * sizeof(*g));

		if (g) {
			g[seen.gaps] = (struct gap){ (double)(now_us(CLOCK_REALTIME) - gap) / 1e6, gap };
			seen.gap = g;
			seen.gaps++;
		}
	}
	owed_since = seen.sent > seen.acked ? t : 0;
}

void client_number(int64_t n)
{
	char b[80];

	seen.acked++;
	if (last_number >= 0 && n != last_number + 1) {
		snprintf(b, sizeof(b), "%lld after %lld", (long long)n, (long long)last_number);
		bad(&seen.out_of_order, "reply:", b);
	}
	if (seen.acked > seen.sent) {
		snprintf(b, sizeof(b), "%lld", (long long)n);
		bad(&seen.out_of_order, "reply that nobody asked for:", b);
	}
	last_number = n;
}

bool client_recv(int fd, char *buf, unsigned long room, unsigned long *n)
{
	ssize_t got = recv(fd, buf + *n, room - 1 - *n, MSG_DONTWAIT);

	if (got <= 0)
		return got < 0 && (errno == EAGAIN || errno == EINTR) ? true : client_broken(got ? errno : 0);
	*n += (unsigned long)got;
	buf[*n] = 0;
	return true;
}

bool client_send(int fd, const char *request, int n)
{
	ssize_t w;

	do
		w = send(fd, request, (size_t)n, MSG_NOSIGNAL);
	while (w < 0 && errno == EINTR);
	return w == n || client_broken(w < 0 ? errno : EIO);
}

/* Returns false when the connection is of no more use. */
static bool receive(void)
{
	uint64_t acked = seen.acked;

	if (!protocol->receive())
		return false;
	if (seen.acked != acked)
		replied(now_us(CLOCK_MONOTONIC));
	return true;
}

static bool ask(uint64_t t)
{
	if (!protocol->ask(seen.sent + 1))
		return false;
	seen.sent++;
	if (!owed_since)
		owed_since = t;
	return true;
}

static void run(int fd)
{
	uint64_t next = now_us(CLOCK_MONOTONIC), until = 0;

	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		uint64_t t = now_us(CLOCK_MONOTONIC), wait_us;

		if (report) {
			report = 0;
			print(stderr);
		}
		if (stop && !until)
			until = t + DRAIN_US;
		if (until && (seen.acked == seen.sent || t > until))
			return;
		if (!until && t >= next && seen.sent - seen.acked < window) {
			if (!ask(t))
				return;
			next = t + interval_us;
		}
		wait_us = !until && seen.sent - seen.acked < window ? next - t : 100000;
		if (wait_us > interval_us && !until)
			wait_us = interval_us;
		if (ppoll(&p, 1, &(struct timespec){ 0, (long)(wait_us % 1000000) * 1000 }, NULL) > 0 && !receive())
			return;
	}
}

int client_dial(const char *address, const char *port, const char **why)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	if (fd < 0 || inet_pton(AF_INET, address, &a.sin_addr) != 1 || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
		*why = strerror(errno);
		return -1;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

static bool choose(const char *name)
{
	static const struct client_protocol *const all[] = { &client_redis, &client_http, &client_postgres };

	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		if (!strcmp(all[i]->name, name)) {
			protocol = all[i];
			return true;
		}
	return false;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "protocol", required_argument, NULL, 'p' },
		{ "interval-us", required_argument, NULL, 'i' },
		{ "window", required_argument, NULL, 'w' },
		{ "key", required_argument, NULL, 'k' },
		{ NULL, 0, NULL, 0 },
	};
	struct sigaction sa = { .sa_handler = on_signal };
	const char *why = "", *port;
	int c, fd;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'i')
			interval_us = strtoull(optarg, NULL, 10);
		else if (c == 'w')
			window = strtoull(optarg, NULL, 10);
		else if (c == 'k')
			key = optarg;
		else if (c != 'p' || !choose(optarg))
			return 2;
	}
	if (argc - optind < 1 || argc - optind > 2 || !window || interval_us >= 1000000 || strlen(key) > 64) {
		fprintf(stderr, "usage: client [--protocol redis|http|postgres] [--interval-us N] [--window N] [--key K] ADDRESS [PORT]\n");
		return 2;
	}
	port = argc - optind == 2 ? argv[optind + 1] : protocol->port;
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGUSR1, &sa, NULL);
	fd = protocol->open(argv[optind], port, key, &why);
	if (fd < 0) {
		fprintf(stderr, "client: %s:%s: %s\n", argv[optind], port, why);
		return 2;
	}
	run(fd);
	print(stdout);
	return seen.errors || seen.resets || seen.out_of_order || seen.sent != seen.acked;
}
