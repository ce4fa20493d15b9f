// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which groups a socket has joined (IP_ADD_MEMBERSHIP and the like). No list says it: /proc/PID/net has the groups of each
 * interface, and the socket itself is asked for each whether it has a filter of senders there, which is only so when it joined.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "state-serializers/proc/probe.h"

/* One more; or NULL. */
static struct kho_mcast_group *add(struct kho_mcast *m, unsigned ifindex)
{
	struct kho_mcast_group *bigger = realloc(m->g, (m->n + 1) * sizeof(*bigger));

	if (!bigger)
		return NULL;
	m->g = bigger;
	bigger[m->n] = (struct kho_mcast_group){ .ifindex = ifindex };
	return &bigger[m->n++];
}

/* "2	eth0  :  2  V3", and below it lines that begin with the address, as the number that it is in memory. */
static int add_v4(struct kho_mcast *m, const char *line, unsigned *ifindex)
{
	struct kho_mcast_group *g;
	unsigned address;

	if (*line != '\t') {
		(void)!sscanf(line, "%u", ifindex); /* the heading has no number */
		return 0;
	}
	if (sscanf(line, " %8x", &address) != 1)
		return 0;
	g = add(m, *ifindex);
	if (!g)
		return -ENOMEM;
	((struct sockaddr_in *)&g->address)->sin_addr.s_addr = address;
	g->address.ss_family = AF_INET;
	return 0;
}

/* "2    eth0            ff020000000000000000000000000001     1 0000000C 0" */
static int add_v6(struct kho_mcast *m, const char *line, unsigned *ifindex)
{
	struct kho_mcast_group *g;
	uint8_t *bytes;
	char hex[33];

	if (sscanf(line, "%u %*s %32s", ifindex, hex) != 2 || strlen(hex) != 32)
		return 0;
	g = add(m, *ifindex);
	if (!g)
		return -ENOMEM;
	g->address.ss_family = AF_INET6;
	bytes = ((struct sockaddr_in6 *)&g->address)->sin6_addr.s6_addr;
	for (int i = 0; i < 16; i++)
		(void)!sscanf(hex + 2 * i, "%2hhx", &bytes[i]);
	return 0;
}

int kho_mcast_read(const char *sysroot, pid_t pid, struct kho_mcast *out)
{
	static const struct {
		const char *name;
		int (*add)(struct kho_mcast *m, const char *line, unsigned *ifindex);
	} files[] = { { "igmp", add_v4 }, { "igmp6", add_v6 } };
	int rc = 0;

	*out = (struct kho_mcast){ 0 };
	for (size_t i = 0; !rc && i < sizeof(files) / sizeof(files[0]); i++) {
		_cleanup_free_ char *path = NULL, *text = NULL;
		char *save = NULL, *line;
		unsigned ifindex = 0;

		if (asprintf(&path, "%s/proc/%d/net/%s", sysroot, pid, files[i].name) < 0)
			rc = -ENOMEM;
		else if (kho_read_file(path, 64u << 20, &text, NULL, NULL))
			continue; /* that protocol is not there */
		for (line = text ? strtok_r(text, "\n", &save) : NULL; !rc && line; line = strtok_r(NULL, "\n", &save))
			rc = files[i].add(out, line, &ifindex);
	}
	return rc;
}

void kho_mcast_done(struct kho_mcast *m)
{
	free(m->g);
	*m = (struct kho_mcast){ 0 };
}

static bool has_joined(int sk, const struct kho_mcast_group *g)
{
	struct group_filter f = { .gf_interface = g->ifindex, .gf_group = g->address };
	socklen_t len = sizeof(f);

	return !getsockopt(sk, g->address.ss_family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6, MCAST_MSFILTER, &f, &len);
}

bool kho_mcast_joined(const struct kho_mcast *m, pid_t pid, int fd, char out[INET6_ADDRSTRLEN])
{
	_cleanup_close_ int pidfd = m->n ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
	_cleanup_close_ int sk = pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);

	for (size_t i = 0; sk >= 0 && i < m->n; i++) {
		const struct sockaddr_storage *a = &m->g[i].address;

		if (has_joined(sk, &m->g[i]))
			return inet_ntop(a->ss_family,
					 a->ss_family == AF_INET ? (const void *)&((const struct sockaddr_in *)a)->sin_addr
								 : (const void *)&((const struct sockaddr_in6 *)a)->sin6_addr,
					 out, INET6_ADDRSTRLEN);
	}
	return false;
}
