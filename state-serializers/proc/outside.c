// SPDX-License-Identifier: GPL-2.0-only
/*
 * The outgoing side: which sockets of a workload lead to the journal, and what journald knows of
 * each. It keeps that in a file per stream, named after the device and inode of its own end; for a
 * stream through our relay, kho_outside_start() has written the same into run_dir/streams.
 */
#include "state-serializers/proc/outside.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/pid.h"

#define RELAY_NAME "@" KHO_JOURNAL_COMM "/"

static bool starts(const char *s, const char *with)
{
	return !strncmp(s, with, strlen(with));
}

/* "/run/systemd/journal" or, of a log namespace, "/run/systemd/journal.NAME", and what follows. */
static const char *in_journal(const char *name)
{
	static const char dir[] = "/run/systemd/journal";

	if (!starts(name, dir) || (name[sizeof(dir) - 1] != '/' && name[sizeof(dir) - 1] != '.'))
		return "";
	return strchr(name + sizeof(dir) - 1, '/') ? strchr(name + sizeof(dir) - 1, '/') + 1 : "";
}

static const char *const datagrams[] = {
	"/run/systemd/journal/dev-log",
	"/run/systemd/journal/socket",
	"/run/systemd/journal/syslog",
	"/run/systemd/notify",
};

enum kho_outside kho_outside_of(const struct kho_sock *peer)
{
	const char *name = peer && peer->name ? peer->name : "";

	if (peer && peer->type == SOCK_STREAM &&
	    (!strcmp(in_journal(name), "stdout") || starts(name, RELAY_NAME)))
		return KHO_OUTSIDE_STREAM;
	for (size_t i = 0; i < sizeof(datagrams) / sizeof(*datagrams); i++)
		if (peer && peer->type == SOCK_DGRAM && !strcmp(name, datagrams[i]))
			return KHO_OUTSIDE_DATAGRAM;
	return KHO_OUTSIDE_FOREIGN;
}

/* The value of KEY= in a file of such lines, malloc'd; C escapes of journald's are taken back. */
static char *value_of(const char *text, const char *key)
{
	size_t len = strlen(key);

	for (const char *p = text; p && *p; p = strchr(p, '\n')) {
		char *v, *to;

		p += *p == '\n';
		if (strncmp(p, key, len) || p[len] != '=')
			continue;
		v = to = strndup(p + len + 1, strcspn(p + len + 1, "\n"));
		for (const char *from = v; from && *from; to++) {
			unsigned c;

			if (sscanf(from, "\\x%2x", &c) == 1 && strlen(from) >= 4) {
				*to = (char)c;
				from += 4;
			} else {
				*to = *from++;
			}
		}
		if (to)
			*to = '\0';
		return v;
	}
	return NULL;
}

static bool is_set(const char *text, const char *key, bool otherwise)
{
	_cleanup_free_ char *v = value_of(text, key);

	return v ? *v == '1' : otherwise;
}

/* The file of a directory whose name ends with ":INODE". */
static char *stream_file(const char *sysroot, const char *journal_dir, uint64_t ino)
{
	char end[32];
	_cleanup_free_ char *path = NULL;
	_cleanup_closedir_ DIR *d = NULL;
	struct dirent *e;

	snprintf(end, sizeof(end), ":%llu", (unsigned long long)ino);
	if (asprintf(&path, "%s%s/streams", sysroot, journal_dir) < 0)
		return NULL;
	d = opendir(path);
	while (d && (e = readdir(d))) {
		const char *colon = strchr(e->d_name, ':');
		char *file;

		if (colon && !strcmp(colon, end))
			return asprintf(&file, "%s/%s", path, e->d_name) < 0 ? NULL : file;
	}
	return NULL;
}

/* journald's (or our own) file on the stream whose other end is peer. */
static char *stream_text(const char *sysroot, const char *run_dir, const struct kho_sock *peer)
{
	_cleanup_free_ char *dir = strndup(peer->name, strlen(peer->name)), *path = NULL;
	char *text = NULL;

	if (!dir)
		return NULL;
	if (starts(dir, RELAY_NAME)) {
		const char *rest = dir + strlen(RELAY_NAME);

		if (strstr(rest, "..") || asprintf(&path, "%s%s/streams/%s", sysroot, run_dir, rest) < 0)
			return NULL;
	} else {
		*strrchr(dir, '/') = '\0';
		path = stream_file(sysroot, dir, peer->ino);
	}
	return path && !kho_read_file(path, 65536, &text, NULL, NULL) ? text : NULL;
}

static bool set(char **field, char *value)
{
	*field = value;
	return value;
}

static char *root_comm(const char *sysroot, pid_t pid)
{
	char *comm = kho_pid_name(sysroot, pid);

	return comm ? comm : strdup("");
}

static int add_stream(const char *sysroot, const char *run_dir, const struct kho_workload *w,
		      const struct kho_sock *s, const struct kho_sock *peer,
		      KhoProc__PlanWorkload *out)
{
	_cleanup_free_ char *text = stream_text(sysroot, run_dir, peer), *priority = NULL;
	KhoProc__JournalStream **bigger =
		realloc(out->streams, (out->n_streams + 1) * sizeof(*bigger)), *j;
	char *v;

	if (bigger)
		out->streams = bigger;
	j = bigger ? malloc(sizeof(*j)) : NULL;
	if (!j)
		return -ENOMEM;
	kho_proc__journal_stream__init(j);
	out->streams[out->n_streams++] = j;
	j->inode = s->ino;
	priority = text ? value_of(text, "PRIORITY") : NULL;
	j->priority = priority ? atoi(priority) & KHO_OUTSIDE_PRIORITY : 6;
	j->level_prefix = !text || is_set(text, "LEVEL_PREFIX", true);
	j->to_syslog = text && is_set(text, "FORWARD_TO_SYSLOG", false);
	j->to_kmsg = text && is_set(text, "FORWARD_TO_KMSG", false);
	j->to_console = text && is_set(text, "FORWARD_TO_CONSOLE", false);
	v = text ? value_of(text, "IDENTIFIER") : NULL;
	if (!set(&j->identifier, v ? v : root_comm(sysroot, w->root)))
		return -ENOMEM;
	v = text ? value_of(text, "UNIT") : NULL;
	if (!set(&j->unit, v ? v : strdup(w->unit ? w->unit : "")))
		return -ENOMEM;
	v = text ? value_of(text, "TARGET") : NULL;
	return set(&j->target, v			   ? v
			       : starts(peer->name, "/") ? strdup(peer->name)
							   : strdup("/run/systemd/journal/stdout"))
		       ? 0
		       : -ENOMEM;
}

static bool is_known(const KhoProc__PlanWorkload *p, uint64_t ino)
{
	for (size_t i = 0; i < p->n_streams; i++)
		if (p->streams[i]->inode == ino)
			return true;
	return false;
}

static int collect_fd(const char *sysroot, const char *run_dir, const struct kho_workload *w,
		      const struct kho_socks *socks, const char *link, KhoProc__PlanWorkload *out)
{
	const struct kho_sock *s, *peer;
	char target[64] = "";
	unsigned long long ino;

	if (readlink(link, target, sizeof(target) - 1) < 0 ||
	    sscanf(target, "socket:[%llu]", &ino) != 1)
		return 0;
	s = kho_socks_find(socks, ino);
	peer = s && s->kind == KHO_SOCK_UNIX && s->peer ? kho_socks_find(socks, s->peer) : NULL;
	if (kho_outside_of(peer) != KHO_OUTSIDE_STREAM || is_known(out, ino))
		return 0;
	return out->n_streams < KHO_OUTSIDE_MAX
		       ? add_stream(sysroot, run_dir, w, s, peer, out)
		       : -E2BIG;
}

static int collect_pid(const char *sysroot, const char *run_dir, const struct kho_workload *w,
		       pid_t pid, const struct kho_socks *socks, KhoProc__PlanWorkload *out)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_closedir_ DIR *d = NULL;
	struct dirent *e;
	int rc = 0;

	if (asprintf(&path, "%s/proc/%d/fd", sysroot, pid) < 0)
		return -ENOMEM;
	d = opendir(path);
	while (!rc && d && (e = readdir(d))) {
		_cleanup_free_ char *link = NULL;

		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		rc = asprintf(&link, "%s/%s", path, e->d_name) < 0
			     ? -ENOMEM
			     : collect_fd(sysroot, run_dir, w, socks, link, out);
	}
	return rc;
}

int kho_outside_collect(const char *sysroot, const char *run_dir, const struct kho_workload *w,
			KhoProc__PlanWorkload *out, struct kho_err *err)
{
	struct kho_socks socks;
	int rc = kho_socks_read(sysroot, w->root, &socks, err);

	if (rc)
		return rc;
	for (size_t i = 0; !rc && i < w->npids; i++)
		rc = collect_pid(sysroot, run_dir, w, w->pids[i], &socks, out);
	kho_socks_done(&socks);
	return rc ? kho_fail(err, rc, "journal streams of %s: %s", w->name, strerror(-rc)) : 0;
}

int kho_outside_names(const char *sysroot, KhoProc__Plan *out, struct kho_err *err)
{
	size_t n = sizeof(datagrams) / sizeof(*datagrams);

	out->names = calloc(n, sizeof(*out->names));
	if (!out->names)
		return kho_fail(err, -ENOMEM, "journal sockets: out of memory");
	for (size_t i = 0; i < n; i++) {
		_cleanup_free_ char *path = kho_sysroot_path(sysroot, datagrams[i]);

		if (!path || !kho_exists(path))
			continue;
		out->names[out->n_names] = strdup(datagrams[i]);
		if (!out->names[out->n_names])
			return kho_fail(err, -ENOMEM, "journal sockets: out of memory");
		out->n_names++;
	}
	return 0;
}

void kho_outside_plan_done(KhoProc__PlanWorkload *w)
{
	for (size_t i = 0; i < w->n_streams; i++)
		kho_proc__journal_stream__free_unpacked(w->streams[i], NULL);
	free(w->streams);
	w->streams = NULL;
	w->n_streams = 0;
}

void kho_outside_names_done(KhoProc__Plan *p)
{
	for (size_t i = 0; i < p->n_names; i++)
		free(p->names[i]);
	free(p->names);
	p->names = NULL;
	p->n_names = 0;
}
