// SPDX-License-Identifier: GPL-2.0-only
/* Runner, lanes, undo, deadline, journal: every step made to fail, to hang, to die; all must be as
 * before. */
#include "orchestrator_rig.h"

static void test_upgrade(void **state)
{
	struct kho_upgrade_options o = options(NULL);
	struct kho_err err = KHO_ERR_INIT;
	_cleanup_json_ struct json_object *records = NULL, *report = NULL;
	bool torn = true;

	(void)state;
	fake.rounds = 3;
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_UPGRADED);
	assert_int_equal(fake.commits, 2);
	for (int i = 0; i < NSER; i++)
		assert_true(fake.prepared[i] && fake.retrieved[i] && fake.finished[i] &&
			    fake.forgotten[i]);
	assert_string_equal(fake.blob[2], "omega-data");
	assert_true(fake.shifted && fake.retired);
	assert_int_equal(fake.state, KHO_STATE_RETIRING);
	/* needs: beta after omega's freeze; LAST: omega after all others; verify after all */
	assert_true(fake_order("freeze omega", "freeze beta"));
	assert_true(fake_order("retrieve beta", "retrieve omega"));
	assert_true(fake_order("retrieve alpha", "retrieve omega"));
	assert_true(fake_order("retrieve omega", "verify alpha"));
	assert_true(fake_order("verify omega", "engine commit"));
	assert_true(fake_order("engine commit", "finish alpha"));
	assert_true(fake_order("finish omega", "forget alpha"));
	/* what the peer keeps is a whole journal */
	assert_int_equal(kho_journal_parse(fake.record, fake.record_len, &records, &torn, &err), 0);
	assert_false(torn);
	report = kho_report_of_journal(records);
	assert_string_equal(kho_json_get_str(report, "from"), "6.12.1");
	assert_string_equal(kho_json_get_str(report, "to"), "7.3.4");
	assert_string_equal(kho_json_get_str(report, "outcome"), "upgraded");
	assert_true(kho_json_get_int(report, "blackout_us") > 2000);
	assert_int_equal(kho_json_get_int(kho_json_get(report, "precopy"), "rounds"), 3);
	assert_true(kho_json_get_int(kho_json_get(report, "precopy"), "bytes") > 0);
	/* four of the kernel, two of the outgoing side's quiet, one of the dark */
	assert_int_equal(json_object_array_length(kho_json_get(report, "gates")), 7);
	assert_non_null(strstr(events, "\"event\":\"result\""));
	assert_non_null(strstr(events, "\"event\":\"progress\",\"round\":2"));
}

/* A name or a message of somebody else may be no UTF-8; a line of events is. */
static void test_event_text(void **state)
{
	struct json_object *ev = kho_event_new("note");
	struct kho_err err = KHO_ERR_INIT;
	struct kho_events *e = NULL;
	_cleanup_free_ char *path = NULL, *text = NULL;
	size_t len;

	(void)state;
	assert_int_equal(kho_events_create(run_dir, state_dir, on_event, NULL, &e, &err), 0);
	kho_json_str(ev, "text", "caf\xe9 \xc3\xa9");
	kho_events_emit(e, ev);
	kho_events_free(e);
	assert_non_null(strstr(events, "\"text\":\"caf? \xc3\xa9\""));
	assert_true(asprintf(&path, "%s/" KHO_EVENTS_NAME, run_dir) > 0);
	assert_int_equal(kho_read_file(path, 1 << 20, &text, &len, &err), 0);
	assert_string_equal(text, events);
}

/* What the incoming kernel does with the journal that it is given. */
static void upgrade_and_keep(const struct kho_upgrade_options *o)
{
	struct kho_err err = KHO_ERR_INIT;
	char path[96];

	assert_int_equal(kho_upgrade_run(o, &err), KHO_OUT_UPGRADED);
	/* a dozen upgrades are more than they hold */
	events_len = 0;
	fake.log[0] = '\0';
	snprintf(path, sizeof(path), "%s/" KHO_JOURNAL_NAME, state_dir);
	assert_int_equal(kho_write_file(path, fake.record, fake.record_len, &err), 0);
	unlink_journal();
}

/* Predicted and real, for each workload; and the next upgrade is predicted from this one. */
static void test_times(void **state)
{
	pid_t self = getpid();
	struct kho_workload redis = { .name = (char *)"redis", .unit = (char *)"redis-server.service", .pids = &self, .npids = 1 };
	struct kho_upgrade_options o = options(NULL);
	_cleanup_json_ struct json_object *records = NULL, *report = NULL;
	struct kho_sample past[KHO_SAMPLES_MAX];
	struct kho_err err = KHO_ERR_INIT;
	const struct json_object *w;
	int64_t stopped, blackout;

	(void)state;
	plan.workloads = (struct kho_workload_list){ &redis, 1 };
	plan.facts.n[KHO_FACT_PROCESSES] = 1;
	plan.prediction.us = 4711;
	strcpy(plan.basis, "estimated");
	assert_int_equal(kho_samples_load(state_dir, false, past), 0);
	upgrade_and_keep(&o);
	assert_int_equal(kho_journal_parse(fake.record, fake.record_len, &records, NULL, &err), 0);
	report = kho_report_of_journal(records);
	assert_int_equal(kho_json_get_int(report, "predicted_blackout_us"), 4711);
	assert_string_equal(kho_json_get_str(report, "predicted_basis"), "estimated");
	assert_true(kho_json_get_int(report, "time") > 1700000000);
	assert_int_equal(kho_json_get_int(kho_json_get(report, "facts"), "processes"), 1);
	w = json_object_array_get_idx(kho_json_get(report, "workloads"), 0);
	assert_string_equal(kho_json_get_str(w, "declared"), "redis-server.service");
	stopped = kho_json_get_int(w, "stopped_us");
	blackout = kho_json_get_int(w, "blackout_us");
	assert_true(stopped >= 2000 && blackout >= stopped);
	assert_true(blackout <= kho_json_get_int(report, "blackout_us"));
	/* the journal has it until the next one begins, then the history */
	for (size_t n = 1; n <= KHO_SAMPLES_MAX + 2; n++) {
		size_t want = n < KHO_SAMPLES_MAX ? n : KHO_SAMPLES_MAX;

		assert_int_equal(kho_samples_load(state_dir, false, past), want);
		assert_int_equal(past[0].facts.n[KHO_FACT_PROCESSES], 1);
		upgrade_and_keep(&o);
	}
	/* one that was undone teaches nothing */
	o = options("shift:fail");
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_ROLLED_BACK);
	assert_int_equal(kho_samples_load(state_dir, false, past), KHO_SAMPLES_MAX);
}

/* The other steps must get through in that time; on a loaded machine it is tried again with more. */
#ifdef __SANITIZE_ADDRESS__
#define HANG_CAP_US 800000
#else
#define HANG_CAP_US 200000
#endif
#define HANG_CAP_MAX_US (HANG_CAP_US * 16)

/* One upgrade with this fault in step i; true: it ended as it should, and it is that step that failed. */
static bool one_fault(size_t i, const char *fault, uint64_t cap_us, bool committed, enum kho_outcome *out, struct kho_err *err)
{
	enum kho_outcome wanted = committed ? KHO_OUT_PERSON : i == 0 ? KHO_OUT_REFUSED : KHO_OUT_ROLLED_BACK;

	struct kho_upgrade_options o;

	fake_reset();
	events_len = 0;
	o = options(fault);
	if (cap_us)
		o.deadline_cap_us = cap_us;
	*out = kho_upgrade_run(&o, err);
	return *out == wanted && (committed || strstr(err->msg, kho_steps[i].name));
}

/* Every step made to fail or hang, before and after its act; before the commit all is undone. */
static void each_fault(const char *kind)
{
	static const char *const places[] = { "before", "after" };
	bool hang = !strcmp(kind, "hang");

	for (size_t i = 0; i < kho_nsteps; i++) {
		for (size_t p = 0; p < 2; p++) {
			bool committed = i > (size_t)kho_step_find("commit") ||
					 (i == (size_t)kho_step_find("commit") && p == 1);
			uint64_t cap_us = hang ? HANG_CAP_US : 0;
			struct kho_err err = KHO_ERR_INIT;
			enum kho_outcome out;
			char fault[64];

			snprintf(fault, sizeof(fault), "%s.%s:%s", kho_steps[i].name, places[p],
				 kind);
			while (!one_fault(i, fault, cap_us, committed, &out, &err) && hang && cap_us < HANG_CAP_MAX_US) {
				cap_us *= 2;
				put("/run/journal", "", 0);
			}
			if (committed) {
				assert_int_equal(out, KHO_OUT_PERSON);
				put("/proc/sys/kernel/panic", "30\n", 3);
				/* this kernel is done for; the next round is another one */
				assert_int_equal(kho_upgrade_may_begin(&plan.world, &err), -EBUSY);
				put("/run/journal", "", 0);
				continue;
			}
			assert_int_equal(out, i == 0 ? KHO_OUT_REFUSED : KHO_OUT_ROLLED_BACK);
			assert_true(fake_as_before());
			assert_quiet_again();
			assert_non_null(strstr(err.msg, kho_steps[i].name));
		}
	}
}

static void test_each_fail(void **state)
{
	(void)state;
	each_fault("fail");
}

static void test_each_hang(void **state)
{
	(void)state;
	each_fault("hang");
}

/* kill -9 in every step: a second khoctl undoes from the journal alone. */
static void test_each_kill(void **state)
{
	(void)state;
	for (size_t i = 1; i < (size_t)kho_step_find("commit"); i++) {
		struct kho_err err = KHO_ERR_INIT;
		struct kho_upgrade_options o;
		char fault[64], step[32];

		snprintf(fault, sizeof(fault), "%s.after:kill", kho_steps[i].name);
		run_killed(fault);
		assert_int_equal(kho_lock_holder(run_dir, step), 0);
		o = options(NULL);
		assert_int_equal(kho_upgrade_recover(&o, &err), 0);
		assert_quiet_again();
		assert_non_null(strstr(fake.log, "engine unreserve"));
		assert_int_equal(strstr(fake.log, "unfreeze beta") != NULL,
				 i >= (size_t)kho_step_find("freeze"));
		assert_int_equal(kho_upgrade_recover(&o, &err), -ENOENT);
	}
}

/* Serializer operations that fail by themselves, on either side, in any lane. */
static void test_lane_failures(void **state)
{
	static const char *const ops[] = {
		"preserve beta", "prepare omega",  "freeze alpha", "freeze beta",
		"freeze omega",	 "drain beta",	   "drain omega",  "retrieve alpha",
		"retrieve beta", "retrieve omega", "verify beta",  "verdict omega",
		"engine commit", "engine reserve", "engine spawn", "engine connect",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(ops) / sizeof(*ops); i++) {
		struct kho_err err = KHO_ERR_INIT;
		struct kho_upgrade_options o = options(NULL);

		fake_reset();
		events_len = 0;
		fake.fail_op = ops[i];
		assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_ROLLED_BACK);
		assert_true(fake_as_before());
		assert_quiet_again();
		assert_non_null(strstr(err.msg, i == 11 ? "no answer" : "went wrong"));
	}
}

/* In the middle of a lane: every operation of every serializer; it is told, and journaled. */
static void test_lane_faults(void **state)
{
	(void)state;
	for (const char *const *lane = fake_names; *lane; lane++)
		for (int p = 0; p < KHO_FAULT_NPLACES; p++) {
			_cleanup_json_ struct json_object *records = NULL;
			struct kho_err err = KHO_ERR_INIT;
			struct kho_upgrade_options o;
			char fault[64];
			size_t told = 0;

			if (!(kho_fault_places[p].where & KHO_AT_LANE))
				continue;
			snprintf(fault, sizeof(fault), "%s.%s:fail", *lane, kho_fault_places[p].name);
			fake_reset();
			events_len = 0;
			o = options(fault);
			assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_ROLLED_BACK);
			assert_non_null(strstr(err.msg, fault));
			assert_non_null(strstr(events, KHO_FAULT_FIRED));
			assert_int_equal(kho_journal_read(run_dir, run_dir, &records, NULL, &err), 0);
			for (size_t i = 0; i < json_object_array_length(records); i++)
				told += !strcmp(kho_json_get_str(json_object_array_get_idx(records, i), "fault"), fault);
			assert_int_equal(told, 1);
			assert_true(fake_as_before());
			assert_quiet_again();
		}
}

/* It is undone while the incoming side works on what would take very long: that is left, and discarded. */
static void test_slow_retrieve(void **state)
{
	struct kho_upgrade_options o = options("shift:fail");
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	fake.hangs = true;
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_ROLLED_BACK);
	assert_true(!strstr(fake.log, "retrieve alpha") && fake_order("discard alpha", "unfreeze alpha") && fake_as_before());
	assert_quiet_again();
}

static void to_stop_pipe(int sig)
{
	(void)!write(stop_pipe[1], &sig, sizeof(sig));
}

/* The operator's signals in every step, and while all is undone already, where they change nothing. */
static void test_each_signal(void **state)
{
	static const char *const kinds[] = { "int", "term" };
	static const char *const words[] = { "stopped by SIGINT", "stopped by SIGTERM" };

	(void)state;
	signal(SIGINT, to_stop_pipe);
	signal(SIGTERM, to_stop_pipe);
	for (size_t i = 0; i < kho_nsteps; i++)
		for (size_t k = 0; k < 2; k++) {
			bool committed = i > (size_t)kho_step_find("commit");
			struct kho_err err = KHO_ERR_INIT;
			struct kho_upgrade_options o;
			char fault[100];

			fake_reset();
			events_len = 0;
			snprintf(fault, sizeof(fault), "%s:%s", kho_steps[i].name, kinds[k]);
			o = options(fault);
			assert_int_equal(kho_upgrade_run(&o, &err), committed ? KHO_OUT_UPGRADED : i ? KHO_OUT_ROLLED_BACK : KHO_OUT_REFUSED);
			put("/proc/sys/kernel/panic", "30\n", 3);
			put("/run/journal", "", 0);
			if (committed)
				continue;
			assert_non_null(strstr(err.msg, words[k]));
			assert_true(fake_as_before());
			if (!kho_steps[i].undo)
				continue;
			fake_reset();
			events_len = 0;
			snprintf(fault, sizeof(fault), "%s.undo:%s,restore.after:fail", kho_steps[i].name, kinds[k]);
			o = options(fault);
			assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_ROLLED_BACK);
			assert_true(fake_as_before());
		}
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
}

/* An answer after the commit that does not come is asked for once more, in the time that is left. */
static void test_finish_twice(void **state)
{
	struct kho_err err = KHO_ERR_INIT;
	struct kho_upgrade_options o = options(NULL);

	(void)state;
	o.deadline_cap_us = 3000000;
	fake.lost_op = "finish beta";
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_UPGRADED);
	assert_null(fake.lost_op);
	assert_true(fake.finished[1] && fake.retired);
}

static void test_undo_goes_on(void **state)
{
	struct kho_err err = KHO_ERR_INIT;
	struct kho_upgrade_options o = options("restore:fail,freeze.undo:fail,spawn.undo:fail");

	(void)state;
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_PERSON);
	assert_true(fake_as_before());
	assert_non_null(strstr(err.msg, "undo freeze"));
}

static void test_peer_lost(void **state)
{
	static const char *const ops[] = { "preserve beta", "drain omega", "retrieve beta",
					   "verify alpha" };

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		struct kho_err err = KHO_ERR_INIT;
		struct kho_upgrade_options o = options(NULL);

		fake_reset();
		events_len = 0;
		fake.die_in = ops[i];
		assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_ROLLED_BACK);
		assert_true(fake_as_before());
		if (!strstr(err.msg, "no heartbeat"))
			fail_msg("%s: %s", ops[i], err.msg);
	}
}

static void test_signal(void **state)
{
	struct kho_err err = KHO_ERR_INIT;
	struct kho_upgrade_options o = options("precopy.after:hang");
	int sig = SIGINT;

	(void)state;
	assert_int_equal(write(stop_pipe[1], &sig, sizeof(sig)), sizeof(sig));
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_REFUSED);
	assert_non_null(strstr(err.msg, "SIGINT"));
	assert_true(fake_as_before());
}

/* A freeze that never returns: its lane is given up, everything else is undone, a person shall
 * look. */
static void test_stuck(void **state)
{
	struct kho_err err = KHO_ERR_INIT;
	struct kho_upgrade_options o = options(NULL);

	(void)state;
	o.deadline_cap_us = 300000;
	fake.stuck_freeze = true;
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_PERSON);
	assert_true(fake_as_before());
	assert_non_null(strstr(err.msg, "freeze"));
}

static void test_after_commit(void **state)
{
	struct kho_err err = KHO_ERR_INIT;
	struct kho_upgrade_options o = options(NULL);

	(void)state;
	fake.fail_op = "finish beta";
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_PERSON);
	assert_true(fake.finished[2]);
	assert_false(fake.retired);
	assert_null(strstr(fake.log, "unfreeze"));
}

static void test_busy(void **state)
{
	struct kho_err err = KHO_ERR_INIT;
	struct kho_upgrade_options o = options(NULL);
	char step[32];
	int fd = kho_lock_take(run_dir, &err);

	(void)state;
	assert_true(fd >= 0);
	kho_lock_step(fd, "precopy");
	assert_int_equal(kho_lock_holder(run_dir, step), getpid());
	assert_string_equal(step, "precopy");
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_BUSY);
	assert_non_null(strstr(err.msg, "another upgrade is running"));
	assert_non_null(strstr(err.msg, "step precopy"));
	assert_int_equal(kho_lock_look(run_dir, &err), -EBUSY);
	assert_non_null(strstr(err.msg, "an upgrade is running"));
	close(fd);
	assert_int_equal(kho_lock_look(run_dir, &err), 0);
	assert_int_equal(kho_lock_look("/nonexistent", &err), 0);
}

static void test_hold(void **state)
{
	struct kho_err err = KHO_ERR_INIT;
	struct kho_upgrade_options o = options(NULL);
	char *argv[] = { (char *)"true", NULL };

	(void)state;
	o.hold_before = "freeze";
	o.hold_exec = argv;
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_ROLLED_BACK);
	assert_true(fake_as_before());
	assert_non_null(strstr(fake.log, "preserve omega"));
	assert_null(strstr(fake.log, "freeze omega"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_upgrade),    T(test_times), T(test_each_fail),	   T(test_each_hang),
		T(test_each_kill),  T(test_lane_failures), T(test_lane_faults), T(test_slow_retrieve), T(test_each_signal),
		T(test_finish_twice), T(test_undo_goes_on), T(test_event_text),
		T(test_peer_lost),  T(test_signal),	   T(test_after_commit),
		T(test_busy),	    T(test_hold),	   T(test_stuck),
	};

	return cmocka_run_group_tests_name("orchestrator", tests, NULL, NULL);
}
