// SPDX-License-Identifier: GPL-2.0-only
/* The Converging gate: what is predicted just before the freeze, waiting for a good moment, refusing, and what the report says of it. */
#include "orchestrator_rig.h"

#include "orchestrator/converge.h"

#define MS 1000ull

/* A machine that has seen an upgrade: 1 s without what is to be copied. */
static void predicted(int64_t limit_ms, uint64_t wait_ms)
{
	plan.gates.ask = false;
	plan.prediction = (struct kho_prediction){ .us = 1000 * MS, .upgrades = 1 };
	plan.gates.limit[KHO_GATE_BLACKOUT] = limit_ms < 0 ? KHO_GATE_NO_LIMIT : limit_ms * (int64_t)MS;
	plan.config.max_blackout_wait_us = wait_ms * MS;
	fake.calm_after = 1000000;
}

static struct json_object *report_of(const void *data, size_t len)
{
	_cleanup_json_ struct json_object *records = NULL;

	assert_int_equal(kho_journal_parse(data, len, &records, NULL, NULL), 0);
	return kho_report_of_journal(records);
}

static struct json_object *report_here(void)
{
	_cleanup_json_ struct json_object *records = NULL;

	assert_int_equal(kho_journal_read(run_dir, state_dir, &records, NULL, NULL), 0);
	return kho_report_of_journal(records);
}

/* How often that was done. */
static int times(const char *what)
{
	int n = 0;

	for (const char *at = fake.log; (at = strstr(at, what)); at++)
		n++;
	return n;
}

static const struct json_object *converging(const struct json_object *report)
{
	return kho_json_get(report, "converging");
}

/* Without a limit it is told once, and nothing is held up by it. */
static void test_told(void **state)
{
	struct kho_workload omega = { .name = (char *)"omega's", .npids = 1 };
	struct kho_upgrade_options o = options(NULL);
	_cleanup_json_ struct json_object *report = NULL;
	struct kho_sample s;
	struct kho_err err = KHO_ERR_INIT;
	const struct json_object *w;

	(void)state;
	predicted(-1, 60000);
	plan.workloads = (struct kho_workload_list){ &omega, 1 };
	plan.facts.n[KHO_FACT_PROCESSES] = 1;
	plan.prediction.copy_us = 200 * MS; /* of it, in earlier upgrades */
	fake.copy_us = 500 * MS;
	fake.rate = 3 << 20;
	fake.again = 100;
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_UPGRADED);
	assert_int_equal(fake.looks, 1);
	assert_int_equal(fake.asked, 1);
	report = report_of(fake.record, fake.record_len);
	assert_int_equal(kho_json_get_int(converging(report), "predicted_us"), 1300 * MS);
	assert_int_equal(kho_json_get_int(converging(report), "copy_us"), 500 * MS);
	assert_int_equal(kho_json_get_int(converging(report), "dirty_bytes"), 1 << 20);
	assert_string_equal(kho_json_get_str(converging(report), "how"), "fake");
	assert_null(kho_json_get(converging(report), "limit_us"));
	w = json_object_array_get_idx(kho_json_get(report, "workloads"), 0);
	assert_int_equal(kho_json_get_int(w, "dirty_bytes_per_s"), 3 << 20);
	assert_non_null(strstr(events, "\"event\":\"converging\",\"predicted_us\":1300000,\"limit_us\":null"));
	/* the next upgrade knows what this one had to copy */
	assert_true(kho_sample_of_report(report, &s));
	assert_true(s.facts.copy_known);
	assert_int_equal(s.facts.copy_us, 500 * MS);
	plan.workloads = (struct kho_workload_list){ 0 };
}

/* A writer that never stops: refused with what was predicted, after the last round that there is room for, and all is as before. */
static void test_never(void **state)
{
	struct kho_upgrade_options o = options(NULL);
	_cleanup_json_ struct json_object *report = NULL;
	struct kho_err err = KHO_ERR_INIT;
	uint64_t begin = kho_clock_us();

	(void)state;
	predicted(2000, 640);
	fake.copy_us = 7000 * MS;
	fake.rate = 3 << 20;
	fake.again = 6;
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_ROLLED_BACK);
	assert_true(kho_clock_us() - begin >= 500 * MS);
	assert_non_null(strstr(err.msg, "precopy: gate blackout: the blackout as it would be now, predicted: 8000000 us, and at most 2000000 us is allowed"));
	assert_non_null(strstr(err.msg, "7.00 s to copy 1.0 MiB that were written since the last round, most of it (1.0 MiB) by omega's; waited for "));
	assert_non_null(strstr(err.msg, "a longer --max-blackout"));
	/* the five rounds that were left were spread over the time (on a loaded machine it is over before the last of them), and those who do not write were left alone */
	assert_in_range(fake.asked, 2, 6);
	assert_true(fake.looks > fake.asked);
	assert_int_equal(times(";preserve alpha"), 1);
	assert_true(!strstr(fake.log, "freeze") && fake_as_before());
	report = report_here();
	assert_int_equal(kho_json_get_int(converging(report), "predicted_us"), 8000 * MS);
	assert_int_equal(kho_json_get_int(converging(report), "limit_us"), 2000 * MS);
	assert_int_equal(kho_json_get_int(converging(report), "rounds"), fake.asked - 1);
	assert_true(kho_json_get_int(converging(report), "waited_us") >= 500000);
	assert_int_equal(kho_json_get_int(kho_json_get(report, "precopy"), "rounds"), fake.asked);
}

/* One that pauses: after the round that finds it calm it goes on, long before the time is over. */
static void test_calms(void **state)
{
	struct kho_upgrade_options o = options(NULL);
	_cleanup_json_ struct json_object *report = NULL;
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	predicted(1100, 60000);
	plan.config.max_blackout_wait_us = 3000 * MS;
	fake.copy_us = 7000 * MS;
	fake.rate = 3 << 20;
	fake.again = 16;
	fake.calm_after = 2;
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_UPGRADED);
	assert_int_equal(fake.asked, 3);
	assert_true(fake_order("preserve omega", "engine entrust") && fake_order("engine entrust", "freeze omega"));
	report = report_of(fake.record, fake.record_len);
	assert_int_equal(kho_json_get_int(converging(report), "predicted_us"), 1000 * MS);
	assert_int_equal(kho_json_get_int(converging(report), "rounds"), 2);
	assert_true(kho_json_get_int(converging(report), "waited_us") < 3000000);
}

/* Nor for longer than was said, however many rounds there are. */
static void test_time(void **state)
{
	struct kho_upgrade_options o = options(NULL);
	struct kho_err err = KHO_ERR_INIT;
	uint64_t begin = kho_clock_us();

	(void)state;
	predicted(2000, 300);
	fake.copy_us = 7000 * MS;
	fake.again = 40; /* one is due after each look */
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_ROLLED_BACK);
	assert_in_range(kho_clock_us() - begin, 300 * MS, 5000 * MS);
	assert_true(fake_as_before());
}

/* It is not waited for what does not come: more is too long than what is written, or no round is left. */
static void test_hopeless(void **state)
{
	struct kho_upgrade_options o = options(NULL);
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	predicted(900, 60000);
	fake.copy_us = 10 * MS;
	fake.again = 1000;
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_ROLLED_BACK);
	assert_int_equal(fake.looks, 1);
	assert_non_null(strstr(err.msg, "1010000 us, and at most 900000 us is allowed"));

	fake_reset();
	predicted(2000, 60000);
	fake.copy_us = 7000 * MS;
	fake.again = 1;
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_ROLLED_BACK);
	assert_int_equal(fake.looks, 1);
	assert_true(fake_as_before());
}

/* What is not known holds: a machine without an upgrade on record, a kernel that does not tell; unless unknown is allowed. */
static void test_unknown(void **state)
{
	struct kho_upgrade_options o = options(NULL);
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	predicted(5000, 60000);
	plan.prediction.upgrades = 0;
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_ROLLED_BACK);
	assert_non_null(strstr(err.msg, "gate blackout: not known: no upgrade of this kind is on record here; the estimate is 1.000 s"));
	assert_non_null(strstr(err.msg, "--allow-unknown"));
	assert_true(fake_as_before());

	fake_reset();
	predicted(5000, 60000);
	fake.dirty_unknown = true;
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_ROLLED_BACK);
	assert_non_null(strstr(err.msg, "gate blackout: not known: this kernel does not tell"));

	/* allowed: the estimate is taken for it, and holds when it is too long */
	fake_reset();
	predicted(900, 60000);
	plan.gates.allow_unknown = true;
	plan.prediction.upgrades = 0;
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_ROLLED_BACK);
	assert_non_null(strstr(err.msg, "1000000 us, and at most 900000 us is allowed"));

	fake_reset();
	predicted(900, 60000);
	plan.gates.allow_unknown = true;
	fake.dirty_unknown = true;
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_UPGRADED);
}

/* Ctrl-C while it waits is heard. */
static void test_stopped(void **state)
{
	struct kho_upgrade_options o = options(NULL);
	struct kho_err err = KHO_ERR_INIT;
	uint64_t begin = kho_clock_us();

	(void)state;
	predicted(2000, 60000);
	fake.copy_us = 7000 * MS;
	fake.again = 1000;
	fake.interrupt = stop_pipe[1];
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_ROLLED_BACK);
	assert_true(kho_clock_us() - begin < 5000000);
	assert_non_null(strstr(err.msg, "SIGINT"));
	assert_true(fake_as_before());
}

/* Who would go on with rounds that are not made must know, so that all is ready for the freeze. */
static void test_last_round(void **state)
{
	struct kho_upgrade_options o = options(NULL);
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	predicted(-1, 60000);
	fake.rounds = 5;
	plan.config.precopy_rounds = 2;
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_UPGRADED);
	assert_int_equal(fake.asked, 2);
	assert_int_equal(fake.last_rounds, 1);
}

/* --- the plan --- */

static void check(int64_t limit_ms, bool allow, enum kho_verdict want, const char *says)
{
	struct kho_err err = KHO_ERR_INIT;

	kho_report_done(&plan.report);
	plan.report = (struct kho_report)KHO_REPORT_INIT;
	plan.gates.limit[KHO_GATE_BLACKOUT] = limit_ms < 0 ? KHO_GATE_NO_LIMIT : limit_ms * (int64_t)MS;
	plan.gates.allow_unknown = allow;
	assert_int_equal(kho_converge_check(&plan, &err), 0);
	assert_int_equal(plan.report.n, limit_ms < 0 ? 0 : 1);
	if (limit_ms < 0)
		return;
	assert_int_equal(plan.report.items[0].verdict, want);
	assert_non_null(strstr(plan.report.items[0].what, says));
}

/* check and --dry-run say what can be said before anything runs: the least of it. */
static void test_plan(void **state)
{
	(void)state;
	predicted(-1, 60000);
	plan.prediction.copy_us = 300 * MS;
	strcpy(plan.basis, "from the last upgrade");
	check(-1, false, KHO_V_OK, "");
	check(701, false, KHO_V_OK, "700.0 ms at the least, 701.0 ms is allowed");
	check(699, false, KHO_V_NO, "about 700.0 ms at the least, and 699.0 ms is allowed (from the last upgrade)");
	check(699, true, KHO_V_NO, "about 700.0 ms");
	plan.prediction.upgrades = 0;
	check(701, false, KHO_V_NO, "is not known: no upgrade of this kind is on record here; the estimate is 0.700 s");
	assert_non_null(strstr(plan.report.items[0].fix, "--allow-unknown"));
	check(701, true, KHO_V_OK, "700.0 ms at the least");
	plan.prediction = (struct kho_prediction){ .jumps = true };
	check(701, false, KHO_V_NO, "is not known: no upgrade of this kind");
	check(701, true, KHO_V_UNKNOWN, "not known");
	kho_report_done(&plan.report);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_told), T(test_never), T(test_calms), T(test_time), T(test_hopeless), T(test_unknown), T(test_stopped), T(test_last_round), T(test_plan),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
