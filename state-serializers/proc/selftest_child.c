// SPDX-License-Identifier: GPL-2.0-only
/*
 * The process that the self-test dumps: numbers go round through a TCP pair, a UNIX pair and a
 * pipe, with one always under way; what came through is written to a file.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "state-serializers/proc/role.h"

#define PERIOD_NS 2000000

/* In an incoming kernel nobody may have done it yet. */
static void loopback_up(int fd)
{
	struct ifreq r = { .ifr_name = "lo" };

	if (!ioctl(fd, SIOCGIFFLAGS, &r) && !(r.ifr_flags & IFF_UP)) {
		r.ifr_flags |= IFF_UP;
		ioctl(fd, SIOCSIFFLAGS, &r);
	}
}

static int tcp_pair(int out[2])
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	int l = socket(AF_INET, SOCK_STREAM, 0);

	loopback_up(l);
	out[0] = socket(AF_INET, SOCK_STREAM, 0);
	if (l < 0 || out[0] < 0 || bind(l, (struct sockaddr *)&a, len) || listen(l, 1) ||
	    getsockname(l, (struct sockaddr *)&a, &len) ||
	    connect(out[0], (struct sockaddr *)&a, len))
		return -errno;
	out[1] = accept(l, NULL, NULL);
	return out[1] < 0 ? -errno : 0;
}

static int hand_on(int to, int from, uint64_t seq)
{
	uint64_t next = seq + 1, got = 0;

	if (write(to, &next, sizeof(next)) != (ssize_t)sizeof(next) ||
	    read(from, &got, sizeof(got)) != (ssize_t)sizeof(got))
		return -EIO;
	return got == seq ? 0 : -EPROTO;
}

int kho_selftest_main(int argc, char **argv)
{
	int ends[3][2], out, rc;
	uint64_t seq = 0;
	char path[PATH_MAX];

	if (argc != 2)
		return 2;
	snprintf(path, sizeof(path), "%s/progress", argv[1]);
	out = open(path, O_RDWR | O_CREAT, 0600);
	rc = out < 0 ? -errno : tcp_pair(ends[0]);
	if (!rc && socketpair(AF_UNIX, SOCK_STREAM, 0, ends[1]))
		rc = -errno;
	if (!rc && pipe(ends[2]))
		rc = -errno;
	for (int i = 0; !rc && i < 3;
	     i++) /* the one that is always under way; [1] of each pair is the writing end */
		if (write(ends[i][1], &seq, sizeof(seq)) != (ssize_t)sizeof(seq))
			rc = -EIO;
	while (!rc) {
		struct timespec t = { .tv_nsec = PERIOD_NS };

		for (int i = 0; !rc && i < 3; i++)
			rc = hand_on(ends[i][1], ends[i][0], seq);
		seq++;
		if (!rc && pwrite(out, &seq, sizeof(seq), 0) != (ssize_t)sizeof(seq))
			rc = -EIO;
		nanosleep(&t, NULL);
	}
	seq = ~0ull;
	(void)!pwrite(out, &seq, sizeof(seq), 0);
	return 1;
}
