// SPDX-License-Identifier: GPL-2.0-only
/* Runner, lanes, undo, deadline, journal: every step made to fail, to hang, to die; all must be as
 * before. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "fake_world.h"
#include "kernel_image.h"
#include "tree.h"
#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/json.h"
#include "orchestrator/journal.h"
#include "orchestrator/lock.h"
#include "orchestrator/report.h"
#include "orchestrator/steps.h"
#include "orchestrator/upgrade.h"

static char dir[64], run_dir[80], state_dir[80], image[80];
static struct kho_plan plan;
static struct kho_engine *engine;
static int stop_pipe[2];
static char events[65536];
static size_t events_len;

static void on_event(void *arg, const char *line, size_t len)
{
	(void)arg;
	assert_true(events_len + len < sizeof(events));
	memcpy(events + events_len, line, len);
	events_len += len;
	events[events_len] = '\0';
}

static void put(const char *name, const void *data, size_t len)
{
	test_put(dir, name, data, len);
}

static int setup(void **state)
{
	uint8_t head[TEST_IMAGE_BYTES];
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	fake_reset();
	events_len = 0;
	strcpy(dir, "/tmp/khoctl-orch.XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(run_dir, sizeof(run_dir), "%s/run", dir);
	snprintf(state_dir, sizeof(state_dir), "%s/state", dir);
	snprintf(image, sizeof(image), "%s/vmlinuz", dir);
	test_image(head, "7.3.4");
	put("/vmlinuz", head, sizeof(head));
	put("/proc/sys/kernel/panic", "30\n", 3);
	plan = (struct kho_plan){
		.world = { fake_serializers, NULL, state_dir, run_dir },
		.sysroot = dir,
		.image_path = image,
		.from = (char *)"6.12.1",
		.engine_name = (char *)"fake",
		.old_image = (char *)"/boot/vmlinuz-6.12.1",
		.generation = 2,
		.config = { .precopy_rounds = 5 },
		.can = true,
	};
	assert_int_equal(kho_bzimage_read(image, &plan.image, &err), 0);
	assert_int_equal(fake_new(NULL, &engine, &err), 0);
	return pipe2(stop_pipe, O_CLOEXEC);
}

static int teardown(void **state)
{
	char cmd[128];

	(void)state;
	engine->ops->free(engine);
	close(stop_pipe[0]);
	close(stop_pipe[1]);
	snprintf(cmd, sizeof(cmd), "rm -rf '%s'", dir);
	return system(cmd);
}

static struct kho_upgrade_options options(const char *fault)
{
	struct kho_upgrade_options o = {
		.plan = &plan,
		.engine = engine,
		.on_event = on_event,
		.stop_fd = stop_pipe[0],
		.lock_fd = -1,
		.deadline_cap_us = 5000000,
	};

	assert_int_equal(kho_faults_parse(fault, kho_step_names, &o.faults, NULL), 0);
	return o;
}

static void assert_quiet_again(void)
{
	_cleanup_free_ char *path = kho_sysroot_path(dir, "/proc/sys/kernel/panic"), *text = NULL;
	char step[32];

	assert_int_equal(kho_read_line(path, &text, NULL), 0);
	assert_string_equal(text, "30");
	assert_int_equal(kho_lock_holder(run_dir, step), 0);
}

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
	assert_non_null(strstr(events, "\"event\":\"result\""));
	assert_non_null(strstr(events, "\"event\":\"progress\",\"round\":2"));
}

/* What the incoming kernel does with the journal that it is given. */
static void upgrade_and_keep(const struct kho_upgrade_options *o)
{
	struct kho_err err = KHO_ERR_INIT;
	char path[96];

	assert_int_equal(kho_upgrade_run(o, &err), KHO_OUT_UPGRADED);
	events_len = 0;
	snprintf(path, sizeof(path), "%s/" KHO_JOURNAL_NAME, state_dir);
	assert_int_equal(kho_write_file(path, fake.record, fake.record_len, &err), 0);
}

/* Predicted and real, for each workload; and the next upgrade is predicted from this one. */
static void test_times(void **state)
{
	struct kho_workload redis = { .name = (char *)"redis", .unit = (char *)"redis-server.service", .npids = 1 };
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
	assert_int_equal(kho_samples_load(state_dir, past), 0);
	upgrade_and_keep(&o);
	assert_int_equal(kho_journal_parse(fake.record, fake.record_len, &records, NULL, &err), 0);
	report = kho_report_of_journal(records);
	assert_int_equal(kho_json_get_int(report, "predicted_blackout_us"), 4711);
	assert_string_equal(kho_json_get_str(report, "predicted_basis"), "estimated");
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

		assert_int_equal(kho_samples_load(state_dir, past), want);
		assert_int_equal(past[0].facts.n[KHO_FACT_PROCESSES], 1);
		upgrade_and_keep(&o);
	}
	/* one that was undone teaches nothing */
	o = options("shift:fail");
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_ROLLED_BACK);
	assert_int_equal(kho_samples_load(state_dir, past), KHO_SAMPLES_MAX);
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

/* kill -9 in every step: a second khoctl undoes from the journal alone. The child's world is lost
 * with it, so it is told to us by a file. */
static void test_each_kill(void **state)
{
	(void)state;
	for (size_t i = 1; i < (size_t)kho_step_find("commit"); i++) {
		struct kho_err err = KHO_ERR_INIT;
		struct kho_upgrade_options o;
		char fault[64], step[32];
		pid_t pid;
		int st;

		snprintf(fault, sizeof(fault), "%s.after:kill", kho_steps[i].name);
		fake_reset();
		o = options(fault);
		pid = fork();
		if (pid == 0) {
			(void)kho_upgrade_run(&o, &err);
			_exit(0);
		}
		assert_int_equal(waitpid(pid, &st, 0), pid);
		assert_true(WIFSIGNALED(st) && WTERMSIG(st) == SIGKILL);
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

/* Run it in a child, which shall kill itself. */
static void killed(int (*fn)(const struct kho_upgrade_options *o), const char *fault)
{
	struct kho_upgrade_options o = options(fault);
	pid_t pid = fork();
	int st;

	if (pid == 0) {
		(void)fn(&o);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &st, 0), pid);
	assert_true(WIFSIGNALED(st) && WTERMSIG(st) == SIGKILL);
}

static int child_run(const struct kho_upgrade_options *o)
{
	struct kho_err err = KHO_ERR_INIT;

	return (int)kho_upgrade_run(o, &err);
}

static int child_recover(const struct kho_upgrade_options *o)
{
	struct kho_err err = KHO_ERR_INIT;

	return kho_upgrade_recover(o, &err);
}

static unsigned count_records(struct json_object *records, const char *kind)
{
	unsigned n = 0;

	for (size_t i = 0; i < json_object_array_length(records); i++)
		n += !strcmp(kho_json_get_str(json_object_array_get_idx(records, i), "rec"), kind);
	return n;
}

static void assert_same_file(const char *name)
{
	_cleanup_free_ char *a = NULL, *b = NULL, *ram = NULL, *disk = NULL;
	size_t alen, blen;

	assert_true(asprintf(&ram, "%s/%s", run_dir, name) > 0);
	assert_true(asprintf(&disk, "%s/%s", state_dir, name) > 0);
	assert_int_equal(kho_read_file(ram, 1 << 20, &a, &alen, NULL), 0);
	assert_int_equal(kho_read_file(disk, 1 << 20, &b, &blen, NULL), 0);
	assert_int_equal(alen, blen);
	assert_memory_equal(a, b, alen);
}

/* kill -9 of the upgrade, then of the one that undoes it: the third one still knows it all. */
static void test_killed_undo(void **state)
{
	_cleanup_json_ struct json_object *records = NULL, *report = NULL;
	struct kho_upgrade_options o = options(NULL);
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	killed(child_run, "freeze.after:kill");
	assert_int_equal(kho_upgrade_may_begin(&plan.world, &err), -EBUSY);
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_BUSY);
	killed(child_recover, "spawn.undo:kill");
	assert_int_equal(kho_upgrade_may_begin(&plan.world, &err), -EBUSY);
	assert_int_equal(kho_upgrade_recover(&o, &err), 0);
	assert_int_equal(kho_upgrade_may_begin(&plan.world, &err), 0);
	assert_quiet_again();
	assert_true(fake_order("unfreeze beta", "engine unreserve"));
	assert_int_equal(kho_journal_read(run_dir, run_dir, &records, NULL, &err), 0);
	assert_int_equal(count_records(records, "begin"), 1);
	assert_int_equal(count_records(records, "recover"), 2);
	report = kho_report_of_journal(records);
	assert_string_equal(kho_json_get_str(report, "from"), "6.12.1");
	assert_string_equal(kho_json_get_str(report, "outcome"), "rolled back");
	assert_non_null(strstr(kho_json_get_str(report, "msg"), "step freeze"));
	assert_same_file(KHO_JOURNAL_NAME);
	assert_same_file(KHO_EVENTS_NAME);
}

/* A tail that was cut off by the kill is dropped, what is written then is good. */
static void test_killed_in_a_record(void **state)
{
	_cleanup_json_ struct json_object *records = NULL;
	struct kho_upgrade_options o = options(NULL);
	struct kho_err err = KHO_ERR_INIT;
	_cleanup_free_ char *path = NULL;
	bool torn = true;
	FILE *f;

	(void)state;
	killed(child_run, "precopy.after:kill");
	assert_true(asprintf(&path, "%s/journal", run_dir) > 0);
	f = fopen(path, "a");
	assert_non_null(f);
	assert_int_equal(fwrite("\x40\0\0\0half", 1, 8, f), 8);
	fclose(f);
	assert_int_equal(kho_upgrade_recover(&o, &err), 0);
	assert_int_equal(kho_journal_read(run_dir, run_dir, &records, &torn, &err), 0);
	assert_false(torn);
	assert_int_equal(count_records(records, "end"), 1);
}

/* The outgoing kernel may fall right after it: what the peer has of the journal says that it was committed. */
static void test_peer_keeps_signed(void **state)
{
	struct kho_upgrade_options o = options("commit.after:fail");
	_cleanup_json_ struct json_object *records = NULL;
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_PERSON);
	assert_true(fake.first_is_signed);
	assert_int_equal(kho_journal_read(run_dir, run_dir, &records, NULL, &err), 0);
	assert_int_equal(count_records(records, "signed"), 1);
}

/* What could not be undone is in the way of the next upgrade, and may be undone once more. */
static void test_undo_again(void **state)
{
	struct kho_upgrade_options o = options("precopy:fail,spawn.undo:fail");
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_PERSON);
	o = options(NULL);
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_BUSY);
	assert_int_equal(kho_upgrade_recover(&o, &err), 0);
	assert_int_equal(kho_upgrade_recover(&o, &err), -ENOENT);
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_UPGRADED);
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
	close(fd);
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

/* Cut the journal at every byte: what is whole is read, the tail is called torn, nothing crashes.
 */
static void test_torn_journal(void **state)
{
	struct kho_err err = KHO_ERR_INIT;
	struct kho_upgrade_options o = options(NULL);
	struct json_object *records;
	size_t whole = 0, n = 0;
	bool torn;

	(void)state;
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_UPGRADED);
	assert_int_equal(kho_journal_parse(fake.record, 7, &records, &torn, &err), -EINVAL);
	for (size_t len = 8; len <= fake.record_len; len++) {
		assert_int_equal(kho_journal_parse(fake.record, len, &records, &torn, &err), 0);
		whole += !torn;
		assert_true(json_object_array_length(records) >= n);
		n = json_object_array_length(records);
		json_object_put(records);
	}
	assert_int_equal(whole, n + 1);
	fake.record[fake.record_len / 2] ^= 1;
	assert_int_equal(kho_journal_parse(fake.record, fake.record_len, &records, &torn, &err), 0);
	assert_true(torn && json_object_array_length(records) < n);
	json_object_put(records);
	assert_int_equal(kho_crc32("123456789", 9), 0xcbf43926);
}

/* What is learnt at the next boot goes behind the good records, a torn tail goes away. */
static void test_note(void **state)
{
	struct kho_err err = KHO_ERR_INIT;
	struct kho_upgrade_options o = options(NULL);
	struct json_object *records, *rec = json_object_new_object();
	size_t n;
	bool torn;

	(void)state;
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_UPGRADED);
	assert_int_equal(kho_journal_parse(fake.record, fake.record_len - 3, &records, &torn, &err), 0);
	n = json_object_array_length(records);
	assert_true(torn);
	json_object_put(records);
	put("state/journal", fake.record, fake.record_len - 3);
	json_object_object_add(rec, "rec", json_object_new_string("reset"));
	assert_int_equal(kho_journal_note(state_dir, rec, &err), 0);
	assert_int_equal(kho_journal_read("/nonexistent", state_dir, &records, &torn, &err), 0);
	assert_int_equal(json_object_array_length(records), n + 1);
	assert_false(torn);
	json_object_put(records);
	assert_int_equal(kho_journal_note("/nonexistent", json_object_new_object(), &err), -ENOENT);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_upgrade),    T(test_times), T(test_each_fail),	   T(test_each_hang),
		T(test_each_kill),  T(test_lane_failures), T(test_undo_goes_on),
		T(test_peer_lost),  T(test_signal),	   T(test_after_commit),
		T(test_busy),	    T(test_hold),	   T(test_torn_journal),
		T(test_stuck),	    T(test_killed_undo),   T(test_killed_in_a_record),
		T(test_undo_again), T(test_peer_keeps_signed), T(test_note),
	};

	return cmocka_run_group_tests_name("orchestrator", tests, NULL, NULL);
}
