// SPDX-License-Identifier: GPL-2.0-only
/* See health.h. */
#include "orchestrator/health.h"

#include "lib/pod.h"

/* One, so that one that does not run hides none of the others. */
static int look_at(const struct kho_world *world, struct kho_workload *w, struct kho_report *r, struct kho_err *err)
{
	struct kho_workload_list one = { w, 1 };
	struct kho_env env = { .workloads = &one, .run_dir = world->run_dir, .sysroot = "" };
	struct kho_err why = KHO_ERR_INIT;
	int rc;

	r->workload = w->name;
	rc = kho_workloads_resolve("", &one, &why);
	if (rc == -ENOMEM)
		return kho_fail(err, rc, "look at the workloads: out of memory");
	if (rc)
		return kho_report_add(r, KHO_V_NO, "process", w->name, NULL, "%s", why.msg);
	for (size_t i = 0; !rc && world->serializers[i]; i++)
		if (world->serializers[i]->health)
			rc = world->serializers[i]->health(&env, r, err);
	return rc;
}

int kho_health_now(const struct kho_world *world, struct kho_report *r, struct kho_err *err)
{
	struct kho_workload_list all = { 0 };
	int rc = kho_workloads_declared("", &all, err);

	for (size_t i = 0; !rc && i < all.n; i++)
		rc = look_at(world, &all.w[i], r, err);
	r->workload = NULL;
	kho_workloads_done(&all);
	return rc;
}
