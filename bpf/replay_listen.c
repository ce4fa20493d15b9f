// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which TCP sockets of a workload listen: those of /proc/PID/net that one of its processes has open.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bpf/replay_parts.h"
#include "lib/cleanup.h"
#include "lib/io.h"

#define TABLE_MAX  (64u << 20)
#define TCP_LISTEN 10

const char *kho_replay_address_text(const struct kho_replay_address *a, char out[KHO_REPLAY_ADDRESS_TEXT])
{
	char ip[INET6_ADDRSTRLEN] = "?";

	(void)!inet_ntop(a->family == 4 ? AF_INET : AF_INET6, a->a, ip, sizeof(ip));
	snprintf(out, KHO_REPLAY_ADDRESS_TEXT, a->family == 4 ? "%s:%u" : "[%s]:%u", ip, a->port);
	return out;
}

static int add_port(struct kho_replay_listeners *l, uint16_t port, struct kho_err *err)
{
	for (size_t i = 0; i < l->nports; i++)
		if (l->port[i] == port)
			return 0;
	if (l->nports == KHO_REPLAY_PORTS)
		return kho_fail(err, -E2BIG, "it listens on more than %u TCP ports", KHO_REPLAY_PORTS);
	l->port[l->nports++] = port;
	return 0;
}

int kho_replay_listeners_add(struct kho_replay_listeners *l, const struct kho_replay_address *a, struct kho_err *err)
{
	for (size_t i = 0; i < l->n; i++)
		if (!memcmp(&l->a[i], a, sizeof(*a)))
			return 0;
	if (l->n == sizeof(l->a) / sizeof(l->a[0]))
		return kho_fail(err, -E2BIG, "it listens on more than %zu TCP addresses", l->n);
	l->a[l->n++] = *a;
	return add_port(l, a->port, err);
}

/* As the kernel prints it: words of 32 bits, each as this machine reads it. An IPv4 address in one of IPv6 is one of IPv4. */
static bool parse_address(const char *hex, uint8_t family, unsigned port, struct kho_replay_address *out)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	size_t words = family == 4 ? 1 : 4;

	memset(out, 0, sizeof(*out));
	if (strlen(hex) != words * 8 || !port || port > UINT16_MAX)
		return false;
	for (size_t i = 0; i < words; i++) {
		char word[9] = "";
		uint32_t v;

		memcpy(word, hex + i * 8, 8);
		v = (uint32_t)strtoul(word, NULL, 16);
		memcpy(out->a + i * 4, &v, 4);
	}
	out->family = family;
	out->port = (uint16_t)port;
	if (family == 6 && !memcmp(out->a, mapped, sizeof(mapped))) {
		memcpy(out->a, out->a + 12, 4);
		memset(out->a + 4, 0, 12);
		out->family = 4;
	}
	return true;
}

static int by_value(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

int kho_replay_listeners_parse(const char *text, uint8_t family, const uint64_t *inodes, size_t n, struct kho_replay_listeners *l,
			       struct kho_err *err)
{
	for (const char *line = strchr(text, '\n'); line; line = strchr(line + 1, '\n')) {
		struct kho_replay_address a;
		unsigned long long ino;
		unsigned port, state;
		uint64_t key;
		char hex[33];

		if (sscanf(line + 1, " %*[^:]: %32[0-9A-Fa-f]:%x %*s %x %*s %*s %*s %*s %*s %llu", hex, &port, &state, &ino) != 4 || state != TCP_LISTEN)
			continue;
		key = ino;
		if (!n || !bsearch(&key, inodes, n, sizeof(key), by_value) || !parse_address(hex, family, port, &a))
			continue;
		if (kho_replay_listeners_add(l, &a, err) < 0)
			return err ? err->code : -E2BIG;
	}
	return 0;
}

struct inodes {
	uint64_t *v;
	size_t n;
};

static bool add_inode(struct inodes *s, uint64_t ino)
{
	uint64_t *bigger = s->n & (s->n - 1) ? s->v : realloc(s->v, (s->n ? s->n * 2 : 1) * sizeof(*bigger));

	if (!bigger)
		return false;
	s->v = bigger;
	s->v[s->n++] = ino;
	return true;
}

/* Of the sockets that a process has open. One that has just ended has none. */
static bool add_inodes(struct inodes *s, pid_t pid)
{
	char path[64], target[64];
	unsigned long long ino;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	_cleanup_closedir_ DIR *d = opendir(path);

	for (const struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
		ssize_t len = readlinkat(dirfd(d), e->d_name, target, sizeof(target) - 1);

		target[len < 0 ? 0 : len] = '\0';
		if (sscanf(target, "socket:[%llu]", &ino) == 1 && !add_inode(s, ino))
			return false;
	}
	return true;
}

static int read_tables(pid_t pid, const struct inodes *s, struct kho_replay_listeners *l, struct kho_err *err)
{
	for (uint8_t family = 4; family <= 6; family += 2) {
		_cleanup_free_ char *text = NULL;
		char path[64];
		int rc;

		snprintf(path, sizeof(path), "/proc/%d/net/%s", pid, family == 4 ? "tcp" : "tcp6");
		rc = kho_read_file(path, TABLE_MAX, &text, NULL, family == 4 ? err : NULL);
		if (rc < 0 && family == 6)
			break; /* this kernel has no IPv6 */
		if (rc == 0)
			rc = kho_replay_listeners_parse(text, family, s->v, s->n, l, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

int kho_replay_listeners_of(const pid_t *pids, size_t n, struct kho_replay_listeners *l, struct kho_err *err)
{
	struct inodes s = { 0 };
	bool all = true;
	int rc;

	*l = (struct kho_replay_listeners){ 0 };
	for (size_t i = 0; i < n && all; i++)
		all = add_inodes(&s, pids[i]);
	if (s.n)
		qsort(s.v, s.n, sizeof(*s.v), by_value);
	rc = !all ? kho_fail(err, -ENOMEM, "its sockets: out of memory") : n ? read_tables(pids[0], &s, l, err) : 0;
	free(s.v);
	if (rc == 0 && !l->n)
		rc = kho_fail(err, -ENOENT, "it listens on no TCP port");
	return rc;
}
