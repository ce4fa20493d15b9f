// SPDX-License-Identifier: GPL-2.0-only
/*
 * A helper process with nothing of ours. See lib/spawn.h.
 */
#include "lib/spawn.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>

/* fd3 first: it may lie at 0, 1 or 2. A dup2 onto itself clears close-on-exec here (POSIX 2024). */
static int set_files(posix_spawn_file_actions_t *fa, int fd3)
{
	int rc = fd3 >= 0 ? posix_spawn_file_actions_adddup2(fa, fd3, KHO_SPAWN_FD) : 0;

	if (!rc)
		rc = posix_spawn_file_actions_addopen(fa, 0, "/dev/null", O_RDWR, 0);
	for (int fd = 1; !rc && fd <= 2; fd++)
		rc = posix_spawn_file_actions_adddup2(fa, 0, fd);
	if (!rc)
		rc = posix_spawn_file_actions_addclosefrom_np(fa, KHO_SPAWN_FD + (fd3 >= 0));
	return rc;
}

static int set_attributes(posix_spawnattr_t *at)
{
	sigset_t none, all;
	int rc;

	sigemptyset(&none);
	sigfillset(&all);
	rc = posix_spawnattr_setsigmask(at, &none);
	if (!rc)
		rc = posix_spawnattr_setsigdefault(at, &all);
	if (!rc)
		rc = posix_spawnattr_setflags(at, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
							  POSIX_SPAWN_SETSID);
	return rc;
}

int kho_spawn(const char *path, char *const argv[], char *const envp[], int fd3, pid_t *out,
	      struct kho_err *err)
{
	static char *const nothing[] = { NULL };
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t at;
	int rc;

	posix_spawn_file_actions_init(&fa);
	posix_spawnattr_init(&at);
	rc = set_files(&fa, fd3);
	if (!rc)
		rc = set_attributes(&at);
	if (!rc)
		rc = posix_spawn(out, path, &fa, &at, argv, envp ? envp : nothing);
	posix_spawn_file_actions_destroy(&fa);
	posix_spawnattr_destroy(&at);
	return rc ? kho_fail(err, -rc, "start %s: %s", path, strerror(rc)) : 0;
}
