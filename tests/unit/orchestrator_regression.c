// SPDX-License-Identifier: GPL-2.0-only
/* An upgrade with --regression: what is recorded before anything is done, and what stands in the report afterwards. */
#include "orchestrator_rig.h"

#include <pthread.h>
#include <sys/prctl.h>

#include "bpf/regress.h"
#include "orchestrator/record.h"
#include "tests/unit/bpf_left.h"

static pid_t worker;
static struct kho_workload redis = { .name = (char *)"redis", .unit = (char *)"redis-server.service", .pids = &worker, .npids = 1 };

static void start(void)
{
	worker = fork();
	if (!worker) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (int fd = open("/dev/null", O_WRONLY);; usleep(2000))
			(void)!write(fd, "x", 1);
	}
	assert_true(worker > 0);
	plan.workloads = (struct kho_workload_list){ &redis, 1 };
	plan.config.regression_us = 1100000;
}

static void end(void)
{
	kill(worker, SIGKILL);
	waitpid(worker, NULL, 0);
}

static void recorded(void **state)
{
	struct kho_upgrade_options o = options(NULL);
	struct kho_err err = KHO_ERR_INIT;
	struct kho_recording r;
	char path[128];

	(void)state;
	need_bpf();
	start();
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_UPGRADED);
	end();
	snprintf(path, sizeof(path), "%s/" KHO_RECORD_BEFORE, state_dir);
	assert_int_equal(kho_recording_load(path, &r, &err), 0);
	assert_string_equal(r.workloads, "redis");
	assert_true(kho_hist_count(&r.times[KHO_METRIC_WRITE]) > 5);
	kho_recording_done(&r);
	/* before anything else */
	assert_true(strstr(events, "regression: redis recorded for 1.1 s") && strstr(events, "\"record\""));
	assert_true(strstr(events, "redis recorded for") < strstr(events, "reserve"));
}

static void *stop_soon(void *arg)
{
	int sig = SIGINT;

	(void)arg;
	usleep(300000);
	(void)!write(stop_pipe[1], &sig, sizeof(sig));
	return NULL;
}

static void not_recorded(void **state)
{
	struct kho_upgrade_options o = options(NULL);
	struct kho_err err = KHO_ERR_INIT;
	__u32 ids[OWN_PROGRAMS];
	pthread_t t;

	(void)state;
	start();
	end();
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_REFUSED);
	assert_non_null(strstr(err.msg, "regression: recording: a process that was to be looked at is not there"));
	assert_true(!strstr(fake.log, "preserve") && fake_as_before());
	unlink_journal();
	fake_reset();

	start();
	plan.config.regression_us = 4000000;
	assert_int_equal(pthread_create(&t, NULL, stop_soon, NULL), 0);
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_REFUSED);
	pthread_join(t, NULL);
	end();
	assert_true(!strstr(fake.log, "preserve") && fake_as_before());
	assert_int_equal(own_programs(ids), 0);
}

/* What the new kernel finds out later goes to the end of the journal, and into the report. */
static void noted(void **state)
{
	_cleanup_json_ struct json_object *records = NULL, *report = NULL, *before = NULL;
	struct json_object *rec = json_object_new_object(), *loss = kho_record_new("loss");
	struct kho_upgrade_options o = options(NULL);
	struct kho_gate_policy p;
	struct kho_gate_list l = { 0 };
	struct kho_err err = KHO_ERR_INIT;
	char path[128];

	(void)state;
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_UPGRADED);
	snprintf(path, sizeof(path), "%s/" KHO_JOURNAL_NAME, state_dir);
	assert_int_equal(kho_write_file(path, fake.record, fake.record_len, &err), 0);
	unlink_journal();
	assert_int_equal(kho_journal_read(run_dir, state_dir, &records, NULL, &err), 0);
	before = kho_report_of_journal(records);
	assert_null(kho_json_get(before, "regression"));
	assert_int_equal(json_object_array_length(kho_json_get(before, "losses")), 0);
	json_object_put(steal_ptr(records));

	kho_gate_policy_init(&p);
	kho_gate_judged(&l, &p, KHO_GATE_RUNQUEUE, 1954, KHO_GATE_FAIL, "median 5 us");
	kho_json_str(rec, "rec", "regression");
	kho_json_str(rec, "verdict", "fail");
	kho_json_str(rec, "msg", "gate runqueue: so it is");
	json_object_object_add(rec, "gates", kho_gates_json(&l));
	assert_int_equal(kho_journal_note(state_dir, rec, &err), 0);
	kho_json_str(loss, "what", "web: threads that run on all CPUs now: 1");
	assert_int_equal(kho_journal_note(state_dir, loss, &err), 0);
	assert_int_equal(kho_journal_read(run_dir, state_dir, &records, NULL, &err), 0);
	report = kho_report_of_journal(records);
	assert_string_equal(kho_json_get_str(report, "outcome"), "upgraded");
	assert_string_equal(kho_json_get_str(kho_json_get(report, "regression"), "verdict"), "fail");
	assert_string_equal(kho_json_get_str(kho_json_get(report, "regression"), "msg"), "gate runqueue: so it is");
	assert_int_equal(json_object_array_length(kho_json_get(kho_json_get(report, "regression"), "gates")), 1);
	assert_int_equal(json_object_array_length(kho_json_get(report, "losses")), 1);
	assert_string_equal(json_object_get_string(json_object_array_get_idx(kho_json_get(report, "losses"), 0)), "web: threads that run on all CPUs now: 1");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(recorded, setup, teardown),
		cmocka_unit_test_setup_teardown(not_recorded, setup, teardown),
		cmocka_unit_test_setup_teardown(noted, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
