// SPDX-License-Identifier: GPL-2.0-only
/* See health.h. */
#include "orchestrator/health.h"

#include "lib/workload.h"

static void say_nothing(struct kho_env *env, const char *name, uint64_t begin_us, uint64_t end_us)
{
	(void)env;
	(void)name;
	(void)begin_us;
	(void)end_us;
}

static void note_nothing(struct kho_env *env, const char *fmt, ...)
{
	(void)env;
	(void)fmt;
}

static const struct kho_env_ops ops = { .phase = say_nothing, .note = note_nothing };

/* One, so that one that does not run hides none of the others. */
static int look_at(const struct kho_world *world, struct kho_workload *w, struct kho_report *r, struct kho_err *err)
{
	struct kho_workload_list one = { w, 1 };
	struct kho_env env = { .ops = &ops, .workloads = &one, .run_dir = world->run_dir, .sysroot = "" };
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
	int rc = kho_workloads_load("", NULL, &all, err);

	for (size_t i = 0; !rc && i < all.n; i++)
		rc = look_at(world, &all.w[i], r, err);
	r->workload = NULL;
	kho_workloads_done(&all);
	return rc;
}
