/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Small processes of our own beside the program: the same executable, started again under another
 * name.  They outlive an exec or end of the program, and no second file has to be carried along.
 */
#ifndef KHO_PROC_ROLE_H
#define KHO_PROC_ROLE_H

#include <sys/types.h>

#include "lib/err.h"

#define KHO_ROLE_LAZY                                                                         \
	"khoctl-lazy-pages" /* args: directory of the workload's images, progress file; fd 3: \
			       socket */
#define KHO_ROLE_HEALTH	  "khoctl-health" /* args: root directory, command in it */
#define KHO_ROLE_SELFTEST "khoctl-self-test" /* args: scratch directory */

/*
 * Start a role in a session of its own, with default signals, /dev/null as 0, 1 and 2, and fd3 (or
 * -1) as 3. args: NULL-terminated, without the name.
 */
int kho_role_spawn(const char *role, const char *const *args, int fd3, pid_t *out,
		   struct kho_err *err) __must_check;

/* What the roles do; the result is the exit status. */
int kho_lazy_main(int argc, char **argv);
int kho_selftest_main(int argc, char **argv);
int kho_health_main(int argc, char **argv);

#endif
