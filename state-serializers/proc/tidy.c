// SPDX-License-Identifier: GPL-2.0-only
/*
 * After the commit: the processes that have the numbers of containers' monitors become these monitors.
 */
#include "lib/cleanup.h"
#include "lib/pod.h"
#include "state-serializers/common.h"
#include "state-serializers/proc/container.h"
#include "state-serializers/proc/in.h"
#include "state-serializers/proc/pinned.h"
#include "state-serializers/proc/shim.h"

/* Of container i, and of the others of its pod. */
static int become_shim(const struct kho_proc_in *p, size_t i, struct kho_err *err)
{
	struct kho_shim_task tasks[KHO_POD_MAX] = { { p->w[i].plan->container, &p->w[i].monitor } };
	size_t n = 1;
	int rc;

	for (size_t k = i + 1; k < p->n && n < KHO_POD_MAX; k++) {
		const KhoProc__Container *c = p->w[k].plan->container;

		if (c && c->shim && p->w[k].state && c->pod == tasks->c->root && c->monitor == tasks->c->monitor)
			tasks[n++] = (struct kho_shim_task){ c, &p->w[k].monitor };
	}
	rc = kho_shim_become(tasks, n, err);
	return rc ? kho_wrap(err, "shim of container %.12s", tasks->c->id) : 0;
}

/* Until now a container's output was held in its pipes. */
int kho_proc_tidy(struct kho_env *env, struct kho_err *err)
{
	struct kho_proc_in *p = &kho_proc_in;
	struct kho_err one = KHO_ERR_INIT;
	int first = 0;

	(void)env;
	for (size_t i = 0; i < p->n; i++) {
		const KhoProc__Container *c = p->w[i].plan->container;
		struct kho_monitor *m = &p->w[i].monitor;

		if (!c || !p->w[i].state)
			continue;
		if (!c->pod)
			kho_first_failure(c->shim ? become_shim(p, i, &one) : kho_monitor_become(m, c, &one), &one, &first, err);
		kho_first_failure(kho_container_tell(c, m->inode, &one), &one, &first, err);
	}
	/* its CPUs are not all here */
	kho_proc_pinned_keep(steal_ptr(p->state));
	kho_proc_in_reset();
	return first;
}
