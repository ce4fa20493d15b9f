// SPDX-License-Identifier: GPL-2.0-only
/*
 * Starting a worker that becomes CRIU somewhere else: see place.h.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/cleanup.h"
#include "lib/criu.h"
#include "lib/io.h"
#include "lib/memfd.h"
#include "lib/spawn.h"
#include "state-serializers/common.h"
#include "state-serializers/proc/place.h"

bool kho_place_is_elsewhere(const KhoProc__Place *p)
{
	return p->ns_of || p->join || p->new_ipc || p->new_uts || *p->new_root || p->mount_ns || p->container ||
	       (*p->cgroup && strcmp(p->cgroup, "/"));
}

void kho_place_join(KhoProc__Place *place, const KhoProc__Container *c)
{
	place->join = c->pod_ipc || c->pod_uts ? c->pod : 0;
	place->join_ipc = c->pod_ipc;
	place->join_uts = c->pod_uts;
}

static bool ns_stat(const char *of, const char *kind, struct stat *out)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%s/ns/%s", of, kind);
	return !stat(path, out);
}

static bool ns_stat_pid(pid_t pid, const char *kind, struct stat *out)
{
	char number[16];

	snprintf(number, sizeof(number), "%d", pid);
	return ns_stat(number, kind, out);
}

static bool is_one(const struct stat *a, const struct stat *b)
{
	return a->st_ino == b->st_ino && a->st_dev == b->st_dev;
}

bool kho_ns_differs(pid_t pid, const char *kind)
{
	struct stat his, ours;

	return ns_stat_pid(pid, kind, &his) && ns_stat("self", kind, &ours) && !is_one(&his, &ours);
}

bool kho_ns_is_same(pid_t a, pid_t b, const char *kind)
{
	struct stat x, y;

	return ns_stat_pid(a, kind, &x) && ns_stat_pid(b, kind, &y) && is_one(&x, &y);
}

/* The message as a file: it may be longer than a datagram can be. */
static int as_file(const KhoProc__Place *place, struct kho_err *err)
{
	struct kho_blob b = { 0 };
	_cleanup_close_ int fd = -1;
	int rc = kho_pb_pack(&place->base, &b, err);

	if (rc)
		return rc;
	fd = kho_memfd("khoctl-place", 0, err);
	if (fd < 0)
		rc = kho_wrap(err, "start criu");
	else if (kho_write_all(fd, b.data, b.len) || lseek(fd, 0, SEEK_SET))
		rc = kho_fail_errno(err, "start criu: memory for its place");
	kho_blob_done(&b);
	return rc ? rc : steal_fd(fd);
}

int kho_place_file(const char *run_dir, KhoProc__Place *place, struct kho_err *err)
{
	_cleanup_free_ char *criu = NULL, *plugins = NULL;
	int rc = kho_criu_find(&criu, err);

	if (!rc)
		rc = kho_criu_plugins(run_dir, &plugins, err);
	if (rc)
		return rc;
	place->criu = criu;
	place->plugins = plugins;
	rc = as_file(place, err);
	place->criu = place->plugins = (char *)protobuf_c_empty_string;
	return rc;
}

int kho_place_spawn(struct kho_criu *c, const char *run_dir, KhoProc__Place *place, const int *fds,
		    size_t n, struct kho_err *err)
{
	char *argv[] = { (char *)KHO_ROLE_CRIU, NULL, NULL };
	_cleanup_close_ int file = -1;
	int all[KHO_SPAWN_FDS_MAX];
	char number[16];

	if (n + 2 > KHO_SPAWN_FDS_MAX)
		return kho_fail(err, -E2BIG, "start criu: %zu files to inherit", n);
	file = kho_place_file(run_dir, place, err);
	if (file < 0)
		return file;
	if (n)
		memcpy(all, fds, n * sizeof(*fds));
	all[n] = file;
	snprintf(number, sizeof(number), "%zu", n);
	argv[1] = number;
	return kho_criu_start(c, "/proc/self/exe", argv, NULL, all, n + 1, err);
}
