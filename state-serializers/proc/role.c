// SPDX-License-Identifier: GPL-2.0-only
/*
 * Starting this executable again under another name. The name is looked at before main() runs, so
 * that every program of khoctl has the roles without knowing of them.
 */
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "state-serializers/proc/role.h"

static const struct {
	const char *name;
	int (*main)(int argc, char **argv);
} roles[] = {
	{ KHO_ROLE_LAZY, kho_lazy_main },
	{ KHO_ROLE_SELFTEST, kho_selftest_main },
};

__attribute__((constructor)) static void run_role(int argc, char **argv)
{
	for (size_t i = 0; argc > 0 && i < sizeof(roles) / sizeof(roles[0]); i++)
		if (!strcmp(argv[0], roles[i].name))
			_exit(roles[i].main(argc, argv));
}

#define ARGS_MAX 6

static int spawn(char *const argv[], int fd3, pid_t *out)
{
	static char *const envp[] = { NULL };
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t at;
	sigset_t none, all;
	int rc;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&fa);
	posix_spawnattr_init(&at);
	posix_spawnattr_setflags(&at, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
					      POSIX_SPAWN_SETSID);
	posix_spawnattr_setsigmask(&at, &none);
	posix_spawnattr_setsigdefault(&at, &all);
	if (fd3 >= 0)
		posix_spawn_file_actions_adddup2(&fa, fd3, 3);
	posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDWR, 0);
	posix_spawn_file_actions_adddup2(&fa, 0, 1);
	posix_spawn_file_actions_adddup2(&fa, 0, 2);
	posix_spawn_file_actions_addclosefrom_np(&fa, fd3 >= 0 ? 4 : 3);
	rc = posix_spawn(out, "/proc/self/exe", &fa, &at, argv, envp);
	posix_spawn_file_actions_destroy(&fa);
	posix_spawnattr_destroy(&at);
	return rc;
}

int kho_role_spawn(const char *role, const char *const *args, int fd3, pid_t *out,
		   struct kho_err *err)
{
	char *argv[ARGS_MAX + 2] = { (char *)role };
	size_t n = 0;
	int rc;

	for (; args && args[n] && n < ARGS_MAX; n++)
		argv[n + 1] = (char *)args[n];
	rc = spawn(argv, fd3, out);
	return rc ? kho_fail(err, -rc, "start %s: %s", role, strerror(rc)) : 0;
}
