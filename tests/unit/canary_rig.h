/* SPDX-License-Identifier: GPL-2.0-only */
/* What the tests of canaries have in common: a plan of one, with a shadow or without; its run, and what is reported of it. */
#ifndef TEST_CANARY_RIG_H
#define TEST_CANARY_RIG_H

#include "orchestrator_rig.h"

#include "orchestrator/canary.h"

/* The command runs too seldom in this time to be compared: what is compared is tested in canary_judge.c, without the noise of this machine. */
static inline int setup_canary(void **state)
{
	int rc = setup(state);

	plan.world.serializers = kho_no_serializers;
	plan.engine_plan.nbefore = 1;
	plan.canary = (struct kho_canary_plan){ .on = true,
						.mixes = 1u << KHO_MIX_COMMAND,
						.command = (char *)"/bin/sleep 0.02",
						.program = (char *)"/bin/sleep",
						.us = 1000000,
						.rounds = 2,
						.slower = 50,
						.busy_most = 100 }; /* tests are not alone here */
	return rc;
}

static inline enum kho_outcome run(const char *fault, struct kho_err *err)
{
	struct kho_upgrade_options o = options(fault);

	*err = (struct kho_err)KHO_ERR_INIT;
	events_len = 0;
	return kho_upgrade_run(&o, err);
}

static inline struct json_object *report(void)
{
	struct json_object *records = NULL, *r;
	struct kho_err err = KHO_ERR_INIT;

	assert_int_equal(kho_journal_read(run_dir, run_dir, &records, NULL, &err), 0);
	r = kho_report_of_journal(records);
	json_object_put(records);
	return r;
}

static const struct kho_serializer *const copiers[] = { &ser_beta, &ser_omega, NULL };

static inline void shadow_reset(void)
{
	fake_reset();
	fake.tell_signals = true;
}

static inline void put_text(const char *name, const char *text)
{
	put(name, text, strlen(text));
}

static inline int setup_shadow(void **state)
{
	static struct kho_workload redis = { .name = (char *)"redis", .health_tcp = (char *)"127.0.0.1:6379" };
	int rc = setup_canary(state);

	shadow_reset();
	put_text("/etc/khoctl/workloads.d/redis.conf", "pidfile = /run/redis.pid\nhealth-tcp = 127.0.0.1:6379\n");
	put_text("/run/redis.pid", "100");
	put_text("/proc/100/stat", "100 (redis-server) S 1 100 100 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 100 1000 256 1\n");
	plan.world.serializers = copiers;
	plan.canary.shadow = (char *)"redis";
	plan.workloads = (struct kho_workload_list){ &redis, 1 };
	return rc;
}

#endif
