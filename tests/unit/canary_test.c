// SPDX-License-Identifier: GPL-2.0-only
/*
 * Canaries: each way in which one can fail ends in its verdict with everything as before, and no serializer or workload has been
 * asked for anything, but for a shadow's. The loads really run, on this kernel.
 */
#include "canary_rig.h"

#include "orchestrator/history.h"

/* Everything is back, and only what was this side's to give was ever touched. */
static void assert_untouched(void)
{
	static const char *const never[] = { "preserve", "freeze", "prepare", "retrieve", "commit", "entrust", "retire", "shift_rest" };

	assert_true(fake_as_before());
	assert_quiet_again();
	for (size_t i = 0; i < sizeof(never) / sizeof(*never); i++)
		if (strstr(fake.log, never[i]))
			fail_msg("a canary has called %s: %s", never[i], fake.log);
}

static void passes(void **state)
{
	_cleanup_json_ struct json_object *r = NULL;
	const struct json_object *c, *load;
	struct kho_err err;

	(void)state;
	assert_int_equal(run(NULL, &err), KHO_OUT_PASSED);
	assert_string_equal(err.msg, "");
	assert_untouched();
	assert_int_equal(fake.loads, 2);
	assert_true(fake_order("engine reserve", "engine connect") && fake_order("engine gates", "engine load") && fake_order("engine load", "engine unreserve"));
	r = report();
	assert_string_equal(kho_json_get_str(r, "outcome"), "passed");
	c = kho_json_get(r, "canary");
	assert_string_equal(kho_json_get_str(c, "verdict"), "pass");
	assert_string_equal(kho_json_get_str(c, "kernel"), "7.3.4");
	assert_int_equal(json_object_array_length(kho_json_get(kho_json_get(c, "ready"), "after")), 4);
	load = json_object_array_get_idx(kho_json_get(c, "load"), 0);
	assert_string_equal(kho_json_get_str(load, "name"), "command");
	assert_true(kho_json_get_int(kho_json_get(load, "canary"), "operations") > 0);
	assert_true(kho_json_get_int(kho_json_get(load, "running"), "operations") > 0);
	assert_non_null(strstr(events, "\"outcome\":\"passed\""));
	/* no upgrade: nothing for the history, the prediction, or who asks whether one may begin */
	assert_null(kho_history_entry(r));
	assert_int_equal(kho_upgrade_may_begin(&plan.world, &err), 0);
}

/* Each way to fail that lies in the kernel, and what is said of it. */
static void verdicts(void **state)
{
	struct kho_err err;

	(void)state;
	fake.warn_later = true;
	assert_int_equal(run(NULL, &err), KHO_OUT_FAILED);
	assert_non_null(strstr(err.msg, "after the load: gate warn: warnings (WARN) since boot: 1, and at most 0 is allowed: first: WARNING: at x.c:1"));
	assert_untouched();

	fake_reset();
	fake.late = true;
	assert_int_equal(run(NULL, &err), KHO_OUT_FAILED);
	assert_non_null(strstr(err.msg, "probe: gate timer: "));
	assert_int_equal(fake.loads, 0); /* not worth it */
	assert_untouched();

	fake_reset();
	fake.no_btf = true;
	assert_int_equal(run(NULL, &err), KHO_OUT_UNDECIDED);
	assert_non_null(strstr(err.msg, "gate wakeup: not known: no BTF"));
	assert_untouched();
	plan.gates.allow_unknown = true;
	assert_int_equal(run(NULL, &err), KHO_OUT_PASSED);

	fake_reset();
	fake.wrong = 2;
	assert_int_equal(run(NULL, &err), KHO_OUT_FAILED);
	assert_non_null(strstr(err.msg, "command: 4 operations failed on the canary, first: SHA-256 is wrong"));
	assert_untouched();

	fake_reset();
	fake.no_load = true;
	plan.gates.allow_unknown = false;
	assert_int_equal(run(NULL, &err), KHO_OUT_UNDECIDED);
	assert_non_null(strstr(err.msg, "command: cannot be run on the canary: no such module"));
	assert_untouched();

	fake_reset();
	fake.slow = 4;
	plan.canary.mixes = 1u << KHO_MIX_SCHED;
	plan.canary.command = plan.canary.program = NULL;
	plan.canary.us = 2000000;
	if (run(NULL, &err) != KHO_OUT_FAILED || !strstr(err.msg, "sched: slower than on this kernel: median "))
		fail_msg("%s", err.msg);
	assert_untouched();
}

/* Every step made to fail, and Ctrl-C in each: what says something of the kernel fails it, the rest leaves it undecided. */
static void each_step(void **state)
{
	(void)state;
	for (size_t i = 0; i < kho_ncanary_steps; i++) {
		const char *step = kho_canary_steps[i].name;
		bool kernel = !strcmp(step, "handshake") || !strcmp(step, "probe") || !strcmp(step, "load") || !strcmp(step, "shadow");
		enum kho_outcome want = i == 0 ? KHO_OUT_REFUSED : kernel ? KHO_OUT_FAILED : KHO_OUT_UNDECIDED;
		struct kho_err err;
		char fault[64];

		fake_reset();
		snprintf(fault, sizeof(fault), "%s:fail", step);
		assert_int_equal(run(fault, &err), want);
		assert_non_null(strstr(err.msg, step));
		assert_untouched();
		if (!kho_canary_steps[i].undo)
			continue;
		fake_reset();
		snprintf(fault, sizeof(fault), "%s.undo:fail", step);
		assert_int_equal(run(fault, &err), KHO_OUT_PERSON);
		assert_true(fake_as_before());
		{
			struct kho_upgrade_options o = options(NULL);

			assert_int_equal(kho_upgrade_recover(&o, &err), 0);
		}
	}
}

static void *press(void *arg)
{
	int sig = SIGINT;

	(void)arg;
	while (!fake.loads)
		usleep(10000);
	return write(stop_pipe[1], &sig, sizeof(sig)) < 0 ? arg : NULL;
}

/* Ctrl-C while the load runs: at once, and nothing is said of the kernel. */
static void interrupted(void **state)
{
	uint64_t begin = kho_clock_us();
	struct kho_err err;
	pthread_t t;

	(void)state;
	plan.canary.command = (char *)"/bin/sleep 3600";
	plan.canary.us = 120000000;
	assert_int_equal(pthread_create(&t, NULL, press, NULL), 0);
	{
		struct kho_upgrade_options o = options(NULL);

		err = (struct kho_err)KHO_ERR_INIT;
		o.deadline_cap_us = 60000000;
		assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_UNDECIDED);
	}
	pthread_join(t, NULL);
	assert_string_equal(err.msg, "load: stopped by SIGINT");
	assert_true(kho_clock_us() - begin < 20000000);
	assert_untouched();
}

static void dies(void **state)
{
	_cleanup_json_ struct json_object *r = NULL;
	struct kho_err err;

	(void)state;
	fake.die_in = "engine load";
	assert_int_equal(run(NULL, &err), KHO_OUT_FAILED);
	assert_non_null(strstr(err.msg, "load: the incoming kernel is lost"));
	assert_untouched();
	r = report();
	assert_string_equal(kho_json_get_str(kho_json_get(r, "canary"), "verdict"), "fail");
	assert_int_equal(json_object_array_length(kho_json_get(kho_json_get(kho_json_get(r, "canary"), "ready"), "after")), 0);
}

/* khoctl is killed in each step: no upgrade begins before rollback has undone it, by a canary's steps. */
static void killed(void **state)
{
	(void)state;
	for (size_t i = 1; i < kho_ncanary_steps; i++) {
		struct kho_err err = KHO_ERR_INIT;
		struct kho_upgrade_options o;
		char fault[64];

		snprintf(fault, sizeof(fault), "%s.after:kill", kho_canary_steps[i].name);
		run_killed(fault);
		assert_int_equal(kho_upgrade_may_begin(&plan.world, &err), -EBUSY);
		o = options(NULL);
		assert_int_equal(kho_upgrade_recover(&o, &err), 0);
		assert_untouched();
		assert_non_null(strstr(fake.log, "engine unreserve"));
		assert_int_equal(kho_upgrade_may_begin(&plan.world, &err), 0);
	}
}

/* What it loaded of modules is known to who undoes it; what others use or was there before is left alone. */
static void modules(void **state)
{
	_cleanup_json_ struct json_object *records = NULL;
	struct kho_err err;
	bool seen = false;
	static const char text[] = "af_alg 1 0 - Live 0x0\nkho_test_sha256 1 0 - Live 0x0\n";

	(void)state;
	put("/proc/modules", text, strlen(text));
	assert_int_equal(run(NULL, &err), KHO_OUT_PASSED);
	assert_int_equal(kho_journal_read(run_dir, run_dir, &records, NULL, &err), 0);
	for (size_t i = 0; i < json_object_array_length(records); i++) {
		struct json_object *o = json_object_array_get_idx(records, i);

		if (strcmp(kho_json_get_str(o, "rec"), "modules"))
			continue;
		seen = true;
		assert_int_equal(json_object_array_length(kho_json_get(o, "old")), 2);
	}
	assert_true(seen);
}

/* --- a shadow --- */

/* Those that can copy did, and the workload went on before its copy was made; nobody was given anything, and the copy is gone. */
static void copied(void **state)
{
	static const char *const order[] = { "engine load",    "preserve beta", "prepare beta",	   "freeze omega", "freeze beta",  "drain beta", "unfreeze",
					     "retrieve beta",  "retrieve omega", "engine restored", "verify omega", "engine dark",  "discard omega" };
	static const char *const never[] = { "alpha", "commit", "entrust", "finish", "forget", "retire" };
	_cleanup_json_ struct json_object *r = NULL;
	const struct json_object *c, *s;
	struct kho_err err;

	(void)state;
	fake.rounds = 3;
	assert_int_equal(run(NULL, &err), KHO_OUT_PASSED);
	assert_true(fake_as_before());
	assert_quiet_again();
	for (size_t i = 1; i < sizeof(order) / sizeof(*order); i++)
		if (!fake_order(order[i - 1], order[i]))
			fail_msg("%s is not before %s: %s", order[i - 1], order[i], fake.log);
	for (size_t i = 0; i < sizeof(never) / sizeof(*never); i++)
		if (strstr(fake.log, never[i]))
			fail_msg("a canary has called %s: %s", never[i], fake.log);
	assert_int_equal(fake.asked, 3);
	r = report();
	assert_int_equal(json_object_array_length(kho_json_get(r, "workloads")), 0);
	c = kho_json_get(r, "canary");
	assert_int_equal(json_object_array_length(kho_json_get(kho_json_get(c, "ready"), "end")), 4);
	s = json_object_array_get_idx(kho_json_get(c, "shadow"), 0);
	assert_string_equal(kho_json_get_str(s, "name"), "redis");
	assert_string_equal(kho_json_get_str(s, "verdict"), "pass");
	assert_string_equal(kho_json_get_str(s, "health"), "127.0.0.1:6379");
	assert_true(kho_json_get_int(s, "frozen_us") > 0 && kho_json_get_int(s, "looks") >= 2);
	assert_true(json_object_get_boolean(kho_json_get(s, "restored")) && json_object_get_boolean(kho_json_get(s, "well")));
	/* without its network calls fail, and that is no reason */
	shadow_reset();
	fake.storm = true;
	assert_int_equal(run(NULL, &err), KHO_OUT_PASSED);
}

/* Whose fault it is makes the verdict; the workload goes on in any case, and all is as before. */
static void shadow_verdicts(void **state)
{
	static const struct {
		const char *fails, *says;
		enum kho_outcome out;
	} cases[] = {
		{ "preserve omega", "shadow redis: not copied: preserve omega: ", KHO_OUT_UNDECIDED },
		{ "prepare omega", "shadow redis: not restored: prepare omega: ", KHO_OUT_FAILED },
		{ "freeze omega", "shadow redis: not copied: freeze omega: ", KHO_OUT_UNDECIDED },
		{ "drain beta", "shadow redis: not copied: drain beta: ", KHO_OUT_UNDECIDED },
		{ "retrieve beta", "shadow redis: not copied: retrieve beta: ", KHO_OUT_UNDECIDED },
		{ "retrieve omega", "shadow redis: not restored: retrieve omega: ", KHO_OUT_FAILED },
		{ "verdict omega", "shadow redis: verify omega: omega: no answer", KHO_OUT_FAILED },
		{ "verify omega", "shadow redis: verify omega: verify omega went wrong", KHO_OUT_FAILED },
	};
	struct kho_err err;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		shadow_reset();
		fake.fail_op = cases[i].fails;
		if (run(NULL, &err) != cases[i].out || !strstr(err.msg, cases[i].says))
			fail_msg("%s: %s", cases[i].fails, err.msg);
		if (!fake_as_before())
			fail_msg("%s: %s", cases[i].fails, fake.log);
		assert_quiet_again();
	}
	shadow_reset();
	fake.crashed = 1;
	assert_int_equal(run(NULL, &err), KHO_OUT_FAILED);
	assert_non_null(strstr(err.msg, "shadow redis: gate signals: "));
	assert_non_null(strstr(err.msg, "process 400: Segmentation fault"));
	/* it has ended since the plan was made */
	shadow_reset();
	put_text("/run/redis.pid", "4711");
	assert_int_equal(run(NULL, &err), KHO_OUT_UNDECIDED);
	assert_non_null(strstr(err.msg, "shadow redis: not copied: workload redis (/run/redis.pid) does not run"));
	put_text("/run/redis.pid", "100");
	/* what was not measured is not passed */
	fake_reset();
	assert_int_equal(run(NULL, &err), KHO_OUT_UNDECIDED);
	assert_non_null(strstr(err.msg, "shadow redis: no gate was measured"));
	/* nobody is stopped for a kernel that has failed */
	shadow_reset();
	fake.warn_later = true;
	assert_int_equal(run(NULL, &err), KHO_OUT_FAILED);
	assert_non_null(strstr(err.msg, "after the load: gate warn"));
	assert_null(strstr(fake.log, ";preserve "));
	assert_null(strstr(fake.log, "retrieve"));
	shadow_reset();
	fake.wrong = 2;
	assert_int_equal(run(NULL, &err), KHO_OUT_FAILED);
	assert_non_null(strstr(err.msg, "command: 4 operations failed on the canary"));
	assert_null(strstr(fake.log, ";preserve "));
	/* what may be unknown is a gate, and not whether there was a copy */
	shadow_reset();
	fake.fail_op = "preserve omega";
	plan.gates.allow_unknown = true;
	assert_int_equal(run(NULL, &err), KHO_OUT_UNDECIDED);
	assert_non_null(strstr(err.msg, "shadow redis: not copied: preserve omega: "));
}

/* A workload that does not go on is for a person; one whose canary dies, or whose khoctl does while it stands still, does. */
static void shadow_lost(void **state)
{
	struct kho_upgrade_options o;
	struct kho_err err;

	(void)state;
	fake.fail_op = "unfreeze omega";
	assert_int_equal(run(NULL, &err), KHO_OUT_PERSON);
	assert_non_null(strstr(err.msg, "shadow: let redis go on: unfreeze omega went wrong; and undoing it: undo shadow: "));
	fake.fail_op = NULL;
	o = options(NULL);
	assert_int_equal(kho_upgrade_recover(&o, &err), 0);

	shadow_reset();
	fake.die_in = "retrieve omega";
	assert_int_equal(run(NULL, &err), KHO_OUT_FAILED);
	assert_non_null(strstr(err.msg, "shadow: the incoming kernel is lost"));
	assert_true(fake_as_before());

	run_killed("omega.drain:kill");
	o = options(NULL);
	assert_int_equal(kho_upgrade_recover(&o, &err), 0);
	assert_true(fake_order("unfreeze omega", "unpreserve omega") && fake_as_before());
	assert_int_equal(kho_upgrade_may_begin(&plan.world, &err), 0);
}

#define C(f) cmocka_unit_test_setup_teardown(f, setup_canary, teardown)
#define S(f) cmocka_unit_test_setup_teardown(f, setup_shadow, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		C(passes), C(verdicts), C(each_step), C(interrupted), C(dies), C(killed), C(modules),
		S(copied), S(shadow_verdicts), S(shadow_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
