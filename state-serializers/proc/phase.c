// SPDX-License-Identifier: GPL-2.0-only
/* Phases of one workload.  See state-serializers/proc/phase.h. */
#include "state-serializers/proc/phase.h"

#include <stdio.h>

static void tell(struct kho_env *env, const char *what, const char *workload, uint64_t begin_us,
		 uint64_t end_us)
{
	char name[96];

	snprintf(name, sizeof(name), "%s %s", what, workload);
	env->ops->phase(env, name, begin_us, end_us);
}

void kho_proc_stopped(struct kho_env *env, const char *workload, uint64_t begin_us, uint64_t end_us)
{
	tell(env, "stop", workload, begin_us, end_us);
}

void kho_proc_resumed(struct kho_env *env, const char *workload, uint64_t begin_us, uint64_t end_us)
{
	tell(env, "resume", workload, begin_us, end_us);
}
