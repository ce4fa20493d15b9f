// SPDX-License-Identifier: GPL-2.0-only
/* The gates of an upgrade in their steps: Ready, Quiescent, Dark; what fails is undone. (Converging: orchestrator_converge.c) */
#include "orchestrator_rig.h"

/* A kernel that is not fit to be given work gets none: nothing has been copied yet, and all is as before. */
static void test_gates(void **state)
{
	struct kho_upgrade_options o = options(NULL);
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	fake.late = true;
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_ROLLED_BACK);
	assert_non_null(strstr(err.msg, "gate timer: how late timers are"));
	assert_non_null(strstr(err.msg, "250000 us, and at most 100000 us is allowed: CPU 1 of 2"));
	assert_true(strstr(fake.log, "engine gates") && !strstr(fake.log, "preserve"));
	assert_true(fake_as_before());
	assert_non_null(strstr(events, "gates: of 4, 3 passed, 1 failed, 0 not known"));

	fake_reset();
	fake.no_btf = true;
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_ROLLED_BACK);
	assert_non_null(strstr(err.msg, "gate wakeup: not known: no BTF; --allow-unknown"));
	assert_true(!strstr(fake.log, "preserve") && fake_as_before());

	/* what the policy allows */
	fake_reset();
	fake.late = fake.no_btf = true;
	plan.gates.allow_unknown = true;
	plan.gates.limit[KHO_GATE_TIMER] = 300000;
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_UPGRADED);
	assert_true(fake_order("engine gates", "preserve"));
	assert_non_null(memmem(fake.record, fake.record_len, "\"rec\":\"gates\"", 13));
}

/* Something still runs when all is frozen, or is in flight when all is across: undone, unless nothing is to be measured. */
static void test_quiescent(void **state)
{
	struct kho_upgrade_options o = options(NULL);
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	fake.running = 2;
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_ROLLED_BACK);
	assert_non_null(strstr(err.msg, "freeze: gate running: threads of workloads that nobody holds: 2, and at most 0 is allowed: 4711 (R) of omega's"));
	assert_true(fake_order("freeze beta", "quiet omega") && fake_as_before());

	fake_reset();
	fake.requests = 3;
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_ROLLED_BACK);
	assert_non_null(strstr(err.msg, "shift: gate requests: "));
	assert_true(fake_order("retrieve beta", "quiet shifted omega") && fake_as_before());

	fake_reset();
	fake.requests = -1;
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_ROLLED_BACK);
	assert_non_null(strstr(err.msg, "gate requests: not known: 3 on vda"));

	fake_reset();
	fake.running = fake.requests = 3;
	plan.gates.ask = false;
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_UPGRADED);
	assert_true(!strstr(fake.log, "quiet"));

	fake_reset();
	unlink_journal();
	plan.gates.ask = true;
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_UPGRADED);
	assert_non_null(memmem(fake.record, fake.record_len, "\"quiescent\"", 11));
}

/* Looked at from the restore on, decided when all is verified; what fails is undone. */
static void test_dark(void **state)
{
	struct kho_upgrade_options o = options(NULL);
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	fake.storm = true;
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_ROLLED_BACK);
	assert_non_null(strstr(err.msg, "restore: gate errors: "));
	assert_non_null(strstr(err.msg, "97 %, and at most 50 % is allowed: process 400: 970 calls of 1000"));
	assert_true(fake_order("retrieve omega", "engine restored") && fake_order("engine restored", "verify omega") &&
		    fake_order("verify omega", "engine dark") && fake_as_before());

	fake_reset();
	fake.storm = true;
	plan.gates.ask = false;
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_UPGRADED);
	assert_true(!strstr(fake.log, "engine dark"));

	fake_reset();
	unlink_journal();
	plan.gates.ask = true;
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_UPGRADED);
	assert_true(fake_order("engine dark", "engine commit"));
}

/* An engine whose incoming kernel boots in the blackout: it is not measured, and refused only to who has asked for that. */
static void test_no_measure(void **state)
{
	const struct kho_engine_ops *whole = engine->ops;
	struct kho_engine_ops without = *whole;
	struct kho_upgrade_options o = options(NULL);
	struct kho_err err = KHO_ERR_INIT;
	enum kho_outcome out;

	(void)state;
	without.gates = NULL;
	engine->ops = &without;
	plan.gates.demanded = true;
	out = kho_upgrade_run(&o, &err);
	assert_true(out == KHO_OUT_ROLLED_BACK && fake_as_before());
	assert_non_null(strstr(err.msg, "engine fake has no incoming kernel that could be measured now"));

	fake_reset();
	fake.storm = fake.late = true;
	plan.gates.demanded = false;
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_UPGRADED);
	assert_non_null(strstr(events, "gates: not measured, engine fake has no incoming kernel before the jump"));
	assert_true(!strstr(fake.log, "quiet") && !strstr(fake.log, "engine dark"));
	engine->ops = whole;
}

int main(void)
{
	const struct CMUnitTest tests[] = { T(test_gates), T(test_quiescent), T(test_dark), T(test_no_measure) };

	return cmocka_run_group_tests_name("orchestrator_gates", tests, NULL, NULL);
}
