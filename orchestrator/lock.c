// SPDX-License-Identifier: GPL-2.0-only
/* Only one upgrade at a time.  See orchestrator/lock.h. */
#include "orchestrator/lock.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/io.h"

#define MOMENT_US 2000000u
#define TICK_US	  50000u

static char *lock_path(const char *run_dir)
{
	char *path;

	return asprintf(&path, "%s/lock", run_dir) < 0 ? NULL : path;
}

pid_t kho_lock_holder(const char *run_dir, char step[32])
{
	_cleanup_free_ char *path = lock_path(run_dir);
	_cleanup_close_ int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	struct flock l = { .l_type = F_RDLCK, .l_whence = SEEK_SET };
	char text[64] = "";
	int pid = 0;

	/* asked for, never taken: a look must not be in the way of who takes it now */
	step[0] = '\0';
	if (fd < 0 || fcntl(fd, F_OFD_GETLK, &l) < 0 || l.l_type == F_UNLCK ||
	    pread(fd, text, sizeof(text) - 1, 0) < 0)
		return 0;
	if (sscanf(text, "%d %31s", &pid, step) < 1)
		return 0;
	return pid;
}

void kho_lock_step(int fd, const char *step)
{
	char text[64];
	int n = snprintf(text, sizeof(text), "%d %-31.31s\n", getpid(), step);

	/* same length every time: a reader sees the old text or the new one */
	(void)!pwrite(fd, text, (size_t)n, 0);
}

static int busy(const char *which, pid_t pid, const char *step, struct kho_err *err)
{
	return kho_fail(err, -EBUSY, "%s upgrade is running (pid %d, step %s); wait for it, or stop it: khoctl rollback", which, pid, step);
}

int kho_lock_look(const char *run_dir, struct kho_err *err)
{
	char step[32];
	pid_t pid;

	/* who has told a result has it for a moment yet */
	for (unsigned us = 0; (pid = kho_lock_holder(run_dir, step)); us += TICK_US) {
		if (us >= MOMENT_US)
			return busy("an", pid, step, err);
		usleep(TICK_US);
	}
	return 0;
}

int kho_lock_take(const char *run_dir, struct kho_err *err)
{
	_cleanup_free_ char *path = lock_path(run_dir);
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	_cleanup_close_ int fd = -1;
	char step[32];
	int rc = kho_mkdir(run_dir, err);

	if (rc < 0)
		return rc;
	if (!path)
		return kho_fail(err, -ENOMEM, "lock: out of memory");
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return kho_fail_errno(err, "open %s", path);
	if (fcntl(fd, F_OFD_SETLK, &l) < 0) {
		pid_t pid = kho_lock_holder(run_dir, step);

		return busy("another", pid, step, err);
	}
	kho_lock_step(fd, "begin");
	return steal_fd(fd);
}
