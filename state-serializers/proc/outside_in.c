// SPDX-License-Identifier: GPL-2.0-only
/*
 * The incoming side: connected sockets for CRIU to give to restored processes, and the relay at
 * their other ends. The relay's end has a name, "@khoctl-journal/WORKLOAD/N", by which the next
 * upgrade knows it; what journald is told of the stream is kept in run_dir/streams/WORKLOAD/N, in the
 * form of journald's own files.
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "lib/cleanup.h"
#include "lib/fdpass.h"
#include "lib/io.h"
#include "lib/patience.h"
#include "state-serializers/proc/outside.h"
#include "state-serializers/proc/place.h"
#include "state-serializers/proc/relay.h"
#include "state-serializers/proc/role.h"

#define SEND_BYTES (8 << 20) /* as systemd gives to a service's output */

static void *reap(void *arg)
{
	while (waitpid((pid_t)(intptr_t)arg, NULL, 0) < 0 && errno == EINTR)
		;
	return NULL;
}

/* Start a relay; *control is our end of its control socket. */
static int start_relay(const char *name, int *control, pid_t *pid, struct kho_err *err)
{
	const char *args[] = { name, NULL };
	pthread_t t;
	int sv[2], rc;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv))
		return kho_fail_errno(err, "journal relay: socketpair");
	rc = kho_role_spawn(KHO_ROLE_RELAY, args, sv[1], pid, err);
	close(sv[1]);
	if (rc) {
		close(sv[0]);
		return rc;
	}
	*control = sv[0];
	if (!pthread_create(&t, NULL, reap, (void *)(intptr_t)*pid))
		pthread_detach(t);
	return 0;
}

static int tell_relay(int control, char kind, const char *target, const char *greeting, int fd,
		      struct kho_err *err)
{
	_cleanup_free_ char *text = NULL;
	struct pollfd p = { .fd = control, .events = POLLIN };
	int len = asprintf(&text, "%c%s\n%s", kind, target, greeting);
	char ready;
	int rc;

	if (len < 0 || len > KHO_RELAY_MESSAGE)
		return kho_fail(err, -E2BIG, "journal relay: %s", target);
	rc = kho_fd_send(control, text, (size_t)len, fd, 0);
	if (rc)
		return kho_fail(err, rc, "journal relay: %s", strerror(-rc));
	if (poll(&p, 1, KHO_PATIENCE_MS) != 1 || recv(control, &ready, 1, 0) != 1)
		return kho_fail(err, -EPIPE, "journal relay: it does not answer");
	return 0;
}

/* A connected pair: ours[0] for the workload, ours[1], which has the name, for the relay. */
static int connected(const char *workload, size_t i, int ours[2], struct kho_err *err)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int n = snprintf(sun.sun_path + 1, sizeof(sun.sun_path) - 1, "%s/%s/%zu", KHO_JOURNAL_COMM,
			 workload, i);
	socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
	_cleanup_close_ int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int bytes = SEND_BYTES;

	if (listener < 0 || fd < 0 || bind(listener, (struct sockaddr *)&sun, len) ||
	    listen(listener, 1) || connect(fd, (struct sockaddr *)&sun, len))
		return kho_fail_errno(err, "journal stream %zu of %s", i, workload);
	ours[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (ours[1] < 0)
		return kho_fail_errno(err, "journal stream %zu of %s", i, workload);
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes));
	shutdown(fd, SHUT_RD);
	ours[0] = steal_fd(fd);
	return 0;
}

/* What an earlier upgrade's relay is asked by is kept as journald keeps it. */
static int keep(const char *run_dir, const char *workload, size_t i, const KhoProc__JournalStream *s,
		struct kho_err *err)
{
	_cleanup_free_ char *dir = NULL, *path = NULL, *text = NULL;
	int rc, len = asprintf(&text,
			       "PRIORITY=%u\nLEVEL_PREFIX=%d\nFORWARD_TO_SYSLOG=%d\n"
			       "FORWARD_TO_KMSG=%d\nFORWARD_TO_CONSOLE=%d\nIDENTIFIER=%s\n"
			       "UNIT=%s\nTARGET=%s\n",
			       s->priority & KHO_OUTSIDE_PRIORITY, s->level_prefix, s->to_syslog, s->to_kmsg,
			       s->to_console, s->identifier, s->unit, s->target);

	if (len < 0 || asprintf(&dir, "%s/streams/%s", run_dir, workload) < 0 ||
	    asprintf(&path, "%s/%zu", dir, i) < 0)
		return kho_fail(err, -ENOMEM, "journal streams: out of memory");
	rc = kho_mkdir(dir, err);
	return rc ? rc : kho_write_file(path, text, (size_t)len, err);
}

/* Lines of the protocol may not hold what ends a line, the target must be a journald's. */
static bool is_sane(const KhoProc__JournalStream *s)
{
	struct kho_sock peer = { .type = SOCK_STREAM, .name = s->target };

	return !strchr(s->identifier, '\n') && !strchr(s->unit, '\n') &&
	       !strchr(s->target, '\n') && !strstr(s->target, "..") && s->target[0] == '/' &&
	       kho_outside_of(&peer) == KHO_OUTSIDE_STREAM;
}

static int start_stream(struct kho_outside_in *j, const char *run_dir, int control,
			const KhoProc__PlanWorkload *w, size_t i, struct kho_err *err)
{
	const KhoProc__JournalStream *s = w->streams[i];
	_cleanup_free_ char *greeting = NULL;
	int pair[2] = { -1, -1 }, rc;

	if (!is_sane(s))
		return kho_fail(err, -EPROTO, "journal stream %zu of %s is not understood", i,
				w->name);
	if (asprintf(&greeting, "%s\n%s\n%u\n%d\n%d\n%d\n%d\n", s->identifier, s->unit,
		     s->priority & KHO_OUTSIDE_PRIORITY, s->level_prefix, s->to_syslog, s->to_kmsg,
		     s->to_console) < 0)
		return kho_fail(err, -ENOMEM, "journal streams: out of memory");
	rc = connected(w->name, i, pair, err);
	if (rc)
		return rc;
	j->fds[j->n] = pair[0];
	snprintf(j->keys[j->n++], sizeof(j->keys[0]), "socket:[%llu]",
		 (unsigned long long)s->inode);
	rc = tell_relay(control, KHO_RELAY_STREAM, s->target, greeting, pair[1], err);
	close(pair[1]);
	return rc ? rc : keep(run_dir, w->name, i, s, err);
}

int kho_outside_start(struct kho_outside_in *j, const char *run_dir, const KhoProc__PlanWorkload *w,
		      const char *cg, struct kho_err *err)
{
	_cleanup_close_ int control = -1;
	pid_t pid;
	int rc;

	j->n = 0;
	if (!w->n_streams)
		return 0;
	if (w->n_streams > KHO_OUTSIDE_MAX)
		return kho_fail(err, -E2BIG, "%s has %zu journal streams", w->name, w->n_streams);
	rc = start_relay(w->name, &control, &pid, err);
	/* it is part of the unit: journald asks the cgroup, systemd ends it with the unit */
	if (!rc && cg)
		rc = kho_cgroup_enter(cg, pid, err);
	for (size_t i = 0; !rc && i < w->n_streams; i++)
		rc = start_stream(j, run_dir, control, w, i, err);
	return rc;
}

void kho_outside_close(struct kho_outside_in *j)
{
	for (size_t i = 0; i < j->n; i++) {
		if (j->fds[i] >= 0)
			close(j->fds[i]);
		j->fds[i] = -1;
	}
}

/* The directories of a path, as systemd makes them. */
static void make_parents(const char *path)
{
	_cleanup_free_ char *copy = strdup(path);

	for (char *p = copy ? strchr(copy + 1, '/') : NULL; p; p = strchr(p + 1, '/')) {
		*p = '\0';
		mkdir(copy, 0755);
		*p = '/';
	}
}

static int bind_name(const char *path, int control, struct kho_err *err)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	struct kho_sock peer = { .type = SOCK_DGRAM, .name = (char *)path };
	_cleanup_close_ int fd = -1;

	if (kho_outside_of(&peer) != KHO_OUTSIDE_DATAGRAM ||
	    strlen(path) >= sizeof(sun.sun_path))
		return kho_fail(err, -EPROTO, "journal sockets: %s is none of systemd's", path);
	strcpy(sun.sun_path, path);
	make_parents(path);
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&sun, sizeof(sun)))
		return errno == EADDRINUSE ? 0 : kho_fail_errno(err, "bind %s", path);
	chmod(path, 0666);
	return tell_relay(control, KHO_RELAY_DATAGRAM, path, "", fd, err);
}

int kho_outside_bind_names(const KhoProc__Plan *p, pid_t *out, struct kho_err *err)
{
	_cleanup_close_ int control = -1;
	int rc;

	*out = 0;
	if (!p->n_names)
		return 0;
	rc = start_relay("names", &control, out, err);
	for (size_t i = 0; !rc && i < p->n_names; i++)
		rc = bind_name(p->names[i], control, err);
	return rc;
}
