// SPDX-License-Identifier: GPL-2.0-only
/*
 * Starting this executable again under another name. The name is looked at before main() runs, so
 * that every program of khoctl has the roles without knowing of them.
 */
#include <string.h>
#include <unistd.h>

#include "lib/spawn.h"
#include "state-serializers/proc/monitor.h"
#include "state-serializers/proc/place.h"
#include "state-serializers/proc/relay.h"
#include "state-serializers/proc/role.h"
#include "state-serializers/proc/shim.h"

static const struct {
	const char *name;
	int (*main)(int argc, char **argv);
} roles[] = {
	{ KHO_ROLE_LAZY, kho_lazy_main },
	{ KHO_ROLE_HEALTH, kho_health_main },
	{ KHO_ROLE_SELFTEST, kho_selftest_main },
	{ KHO_ROLE_RELAY, kho_relay_main },
	{ KHO_ROLE_CRIU, kho_place_main },
	{ KHO_ROLE_MONITOR, kho_monitor_main },
	{ KHO_ROLE_RUNTIME, kho_runtime_main },
};

__attribute__((constructor)) static void run_role(int argc, char **argv)
{
	/* as an interpreter its name is a path, and the role its argument */
	const char *name = argc > 2 && !strncmp(argv[0], "/proc/", 6) ? argv[1] : argc > 0 ? argv[0] : "";

	for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++)
		if (!strcmp(name, roles[i].name))
			_exit(roles[i].main(argc, argv));
}

#define ARGS_MAX 6

int kho_role_spawn(const char *role, const char *const *args, int fd3, pid_t *out,
		   struct kho_err *err)
{
	char *argv[ARGS_MAX + 2] = { (char *)role };
	size_t n = 0;

	for (; args && args[n] && n < ARGS_MAX; n++)
		argv[n + 1] = (char *)args[n];
	return kho_spawn("/proc/self/exe", argv, NULL, fd3, out, err) < 0
		       ? kho_wrap(err, "%s", role)
		       : 0;
}
