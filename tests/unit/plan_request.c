// SPDX-License-Identifier: GPL-2.0-only
/* What a request (argv) and khoctl.conf make of a plan: gates, canaries, shadows; and what cannot be asked for. */
#include "plan_rig.h"

static int make_from(struct kho_plan_request rq, const char *conf, struct kho_plan **p, struct kho_engine **e, struct kho_err *err)
{
	put_text("/etc/khoctl/khoctl.conf", conf);
	rq.to = "latest";
	return make_request(rq, p, e, err);
}

static int make_canary(struct kho_plan_request rq, const char *conf, struct kho_plan **p, struct kho_engine **e, struct kho_err *err)
{
	rq.canary = true;
	return make_from(rq, conf, p, e, err);
}

/* Measured unless khoctl.conf or argv say no; what is asked for in argv is demanded, whatever khoctl.conf says. */
static void test_gates(void **state)
{
	static const struct {
		const char *conf, *limits;
		bool gates, no_gates, ask, demanded;
	} cases[] = {
		{ "", NULL, false, false, true, false },
		{ "", NULL, false, true, false, false },
		{ "", NULL, true, false, true, true },
		{ "gates = yes\n", NULL, false, false, true, false },
		{ "gates = yes\n", NULL, false, true, false, false },
		{ "gates = no\n", NULL, false, false, false, false },
		{ "gates = no\n", NULL, true, false, true, true },
		{ "gates = no\n", "memory=1", false, false, true, true },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct kho_plan_request rq = { .gates = cases[i].gates, .no_gates = cases[i].no_gates, .gate_limits = cases[i].limits };
		struct kho_plan *p;
		struct kho_engine *e;
		struct kho_err err;

		assert_int_equal(make_from(rq, cases[i].conf, &p, &e, &err), 0);
		assert_int_equal(p->gates.ask, cases[i].ask);
		assert_int_equal(p->gates.demanded, cases[i].demanded);
		done(p, e);
		if (!rq.gates && !rq.gate_limits)
			continue;
		rq.no_gates = true;
		assert_int_equal(make_from(rq, cases[i].conf, &p, &e, &err), -EINVAL);
		assert_non_null(strstr(err.msg, "--no-gates"));
	}
}

/* A canary: no workload, no serializer, and nothing that khoctl.conf says of what follows an upgrade. */
static void test_canary(void **state)
{
	struct kho_plan *p;
	struct kho_engine *e;
	struct kho_err err;

	(void)state;
	assert_int_equal(make_canary((struct kho_plan_request){ .cpus = 2, .memory = 1ull << 30 }, "after-commit = /bin/x\nrollback-on-failure = 60s\n"
				     "cpus-before-freeze = 7\nengine = broken\ncmdline = quiet\n", &p, &e, &err), 0);
	assert_true(p->can && p->canary.on && p->gates.ask);
	assert_string_equal(p->engine_name, "fake");
	assert_int_equal(p->workloads.n, 0);
	assert_null(p->world.serializers[0]);
	assert_null(p->request.after_commit);
	assert_null(p->request.watch);
	assert_int_equal(p->request.cpus_before_freeze, 2);
	assert_int_equal(p->request.memory_bytes, 1 << 30);
	assert_string_equal(p->request.extra_cmdline, "quiet");
	assert_int_equal(p->canary.mixes, KHO_MIX_BUILT_IN);
	assert_int_equal(p->canary.us, 60000000);
	assert_int_equal(p->canary.rounds, 3); /* of 4 s */
	assert_int_equal(p->canary.slower, KHO_CANARY_SLOWER);
	done(p, e);
	assert_int_equal(make_canary((struct kho_plan_request){ .load = "net", .load_for = "10m", .slower = "20" }, "", &p, &e, &err), 0);
	assert_int_equal(p->canary.rounds, 120); /* of 5 s: Ctrl-C is heard in between */
	assert_int_equal(p->canary.slower, 20);
	assert_int_equal(p->request.cpus_before_freeze, 1);
	done(p, e);
	assert_int_equal(make_canary((struct kho_plan_request){ .load = "/bin/true 1 2", .load_for = "30s" }, "", &p, &e, &err), 0);
	assert_int_equal(p->canary.rounds, 3);
	assert_string_equal(p->canary.command, "/bin/true 1 2");
	assert_string_equal(p->request.program, "/bin/true");
	assert_true(p->can);
	done(p, e);
	assert_int_equal(make_canary((struct kho_plan_request){ .load = "/nowhere/at-all", .engine = "fake" }, "", &p, &e, &err), 0);
	assert_false(p->can);
	assert_int_equal(kho_plan_refusal(p, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.msg, "/nowhere/at-all: there is no such program here"));
	done(p, e);
}

/* With a shadow: that workload alone, and those serializers that can copy; that it is stopped is said before. */
static void test_shadow(void **state)
{
	struct kho_plan *p;
	struct kho_engine *e;
	struct kho_err err;
	bool told = false;

	(void)state;
	put_text("/etc/khoctl/workloads.d/other.conf", "match = /usr/bin/other\n");
	assert_int_equal(make_canary((struct kho_plan_request){ .shadow = "redis" }, "", &p, &e, &err), 0);
	assert_true(p->can && p->canary.on && e->env.copy);
	assert_int_equal(p->workloads.n, 1);
	assert_int_equal(p->workloads.w[0].root, 100);
	assert_ptr_equal(p->world.serializers[0], &ser_beta);
	assert_ptr_equal(p->world.serializers[1], &ser_omega);
	assert_null(p->world.serializers[2]);
	for (size_t i = 0; i < p->report.n; i++)
		told |= p->report.items[i].verdict == KHO_V_LOSS && !strcmp(p->report.items[i].area, "shadow") &&
			strstr(p->report.items[i].what, "stands still while it is copied");
	assert_true(told);
	assert_false(p->canary.replay);
	done(p, e);
	told = false;
	assert_int_equal(make_canary((struct kho_plan_request){ .shadow = "redis", .replay = true, .load_for = "6s" }, "", &p, &e, &err), 0);
	assert_true(p->can && p->canary.replay);
	for (size_t i = 0; i < p->report.n; i++)
		told |= !strcmp(p->report.items[i].area, "replay") && strstr(p->report.items[i].what, "is recorded before, for 6");
	assert_true(told);
	done(p, e);
	assert_int_equal(make_canary((struct kho_plan_request){ .shadow = "postgres" }, "", &p, &e, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "--shadow postgres: no workload of that name"));
	put_text("/run/redis.pid", "4711");
	assert_int_equal(make_canary((struct kho_plan_request){ .shadow = "redis" }, "", &p, &e, &err), 0);
	assert_false(p->can);
	done(p, e);
}

static void test_canary_refused(void **state)
{
	static const struct {
		struct kho_plan_request rq;
		const char *says;
	} bad[] = {
		{ { .load = "shced" }, "load 'shced'" },       { { .load_for = "soon" }, "--for soon" },
		{ { .load_for = "100ms" }, "at least 1500 ms" }, { { .load_for = "1441m" }, "at most a day" },
		{ { .slower = "a lot" }, "--slower a lot" },   { { .slower = "-1" }, "--slower -1" },
		{ { .slower = "10001" }, "0 to 10000" },       { { .cpus = 5000 }, "--cpus" },
		{ { .load = "/bin/true", .load_for = "31m" }, "at most 30 minutes" },
		{ { .replay = true }, "--replay: requests are sent to a copy" },
	};
	struct kho_plan *p;
	struct kho_engine *e;
	struct kho_err err;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		if (make_canary(bad[i].rq, "", &p, &e, &err) != -EINVAL || !strstr(err.msg, bad[i].says))
			fail_msg("%s: %s", bad[i].says, err.msg);
	}
	/* by an engine that has no kernel beside this one there is none */
	assert_int_equal(make_canary((struct kho_plan_request){ .engine = "broken" }, "", &p, &e, &err), 0);
	assert_false(p->can);
	done(p, e);
}

/* What argv alone is wrong in; what the machine lacks, or its configuration says, is no matter. */
static void test_request_check(void **state)
{
	static const struct {
		struct kho_plan_request rq;
		const char *says; /* NULL: it can be */
	} t[] = {
		{ { .to = "/nowhere", .engine = "broken", .regression = "10s", .max_blackout = "50ms" }, NULL },
		{ { .engine = "auto", .canary = true, .load = "/nowhere/at-all", .load_for = "30s" }, NULL },
		{ { .engine = "warp" }, "engine 'warp' is unknown" },
		{ { .regression = "31s" }, "from 1s to 30s" },
		{ { .max_blackout = "0ms" }, "--max-blackout 0ms" },
		{ { .gates = true, .no_gates = true }, "--no-gates" },
		{ { .canary = true, .slower = "much" }, "--slower much" },
	};
	struct kho_world w = { fake_serializers, engines, "/nonexistent", "/nonexistent" };

	(void)state;
	put_text("/etc/khoctl/khoctl.conf", "memory = lots\n");
	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		struct kho_err err = KHO_ERR_INIT;

		assert_int_equal(kho_plan_request_check(&w, &t[i].rq, &err), t[i].says ? -EINVAL : 0);
		assert_true(!t[i].says || strstr(err.msg, t[i].says));
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = { T(test_gates), T(test_canary), T(test_shadow), T(test_canary_refused), T(test_request_check) };

	return cmocka_run_group_tests_name("plan_request", tests, NULL, NULL);
}
