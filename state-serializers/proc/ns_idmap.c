// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mounts that show other owners than the disk has: systemd keeps StateDirectory= of a dynamic user as
 * nobody's, and shows it to the unit as its user's. The kernel takes such a map from a user namespace.
 */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "state-serializers/proc/place.h"

/* The one owner, and root, who stays what he is. */
static int write_map(pid_t pid, const char *kind, uint32_t from, uint32_t to, struct kho_err *err)
{
	char path[64], map[96];

	snprintf(path, sizeof(path), "/proc/%d/%s_map", pid, kind);
	snprintf(map, sizeof(map), "%u %u 1\n%s", from, to, from && to ? "0 0 1\n" : "");
	return kho_write_existing(path, map, err);
}

static void __attribute__((noreturn)) be_in_namespace(int ready)
{
	char ok = !unshare(CLONE_NEWUSER);

	if (write(ready, &ok, 1) == 1)
		pause();
	_exit(1);
}

int kho_ns_idmap(const KhoProc__Mount *m, struct kho_err *err)
{
	int p[2], fd = -1, rc;
	char ok = 0, path[64];
	pid_t pid;

	if (!m->node)
		return kho_fail(err, -EINVAL, "mount %s: a map of no owner", m->target);
	if (pipe2(p, O_CLOEXEC))
		return kho_fail_errno(err, "mount %s: map of owners", m->target);
	pid = fork();
	if (!pid)
		be_in_namespace(p[1]);
	close(p[1]);
	rc = pid > 0 && read(p[0], &ok, 1) == 1 && ok ? 0 : kho_fail(err, -EPERM, "mount %s: no user namespace", m->target);
	close(p[0]);
	if (!rc)
		rc = write_map(pid, "uid", m->node->uid, m->idmap_uid, err);
	if (!rc)
		rc = write_map(pid, "gid", m->node->gid, m->idmap_gid, err);
	snprintf(path, sizeof(path), "/proc/%d/ns/user", pid);
	if (!rc && (fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
		rc = kho_fail_errno(err, "mount %s: open %s", m->target, path);
	if (pid > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	return rc ? rc : fd;
}
