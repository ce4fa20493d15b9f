// SPDX-License-Identifier: GPL-2.0-only
/*
 * A helper process with nothing of ours. See lib/spawn.h.
 */
#include "lib/spawn.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The copies lie above all numbers that they go to, and are in nobody's way. */
static int set_files(posix_spawn_file_actions_t *fa, const int *copies, size_t n)
{
	int rc = posix_spawn_file_actions_addopen(fa, 0, "/dev/null", O_RDWR, 0);

	for (int fd = 1; !rc && fd <= 2; fd++)
		rc = posix_spawn_file_actions_adddup2(fa, 0, fd);
	for (size_t i = 0; !rc && i < n; i++)
		rc = posix_spawn_file_actions_adddup2(fa, copies[i], KHO_SPAWN_FD + (int)i);
	if (!rc)
		rc = posix_spawn_file_actions_addclosefrom_np(fa, KHO_SPAWN_FD + (int)n);
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

static int start(const char *path, char *const argv[], char *const envp[], const int *copies,
		 size_t n, pid_t *out, struct kho_err *err)
{
	static char *const nothing[] = { NULL };
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t at;
	int rc;

	posix_spawn_file_actions_init(&fa);
	posix_spawnattr_init(&at);
	rc = set_files(&fa, copies, n);
	if (!rc)
		rc = set_attributes(&at);
	if (!rc)
		rc = posix_spawn(out, path, &fa, &at, argv, envp ? envp : nothing);
	posix_spawn_file_actions_destroy(&fa);
	posix_spawnattr_destroy(&at);
	return rc ? kho_fail(err, -rc, "start %s: %s", path, strerror(rc)) : 0;
}

int kho_spawn_fds(const char *path, char *const argv[], char *const envp[], const int *fds,
		  size_t n, pid_t *out, struct kho_err *err)
{
	int copies[KHO_SPAWN_FDS_MAX], rc = 0;
	size_t made = 0;

	if (n > KHO_SPAWN_FDS_MAX)
		return kho_fail(err, -E2BIG, "start %s: %zu descriptors", path, n);
	while (!rc && made < n) {
		copies[made] = fcntl(fds[made], F_DUPFD_CLOEXEC, KHO_SPAWN_FD + (int)n);
		rc = copies[made] < 0 ? kho_fail_errno(err, "start %s: descriptor %d", path,
						       fds[made])
				      : 0;
		made += !rc;
	}
	if (!rc)
		rc = start(path, argv, envp, copies, n, out, err);
	while (made)
		close(copies[--made]);
	return rc;
}

int kho_spawn(const char *path, char *const argv[], char *const envp[], int fd3, pid_t *out,
	      struct kho_err *err)
{
	return kho_spawn_fds(path, argv, envp, &fd3, fd3 >= 0, out, err);
}

char **kho_split_words(char *text)
{
	size_t n = 0, room = strlen(text) / 2 + 2;
	char **argv = calloc(room, sizeof(*argv)), *save = NULL;

	for (char *w = argv ? strtok_r(text, " \t\n", &save) : NULL; w; w = strtok_r(NULL, " \t\n", &save))
		argv[n++] = w;
	return argv;
}
