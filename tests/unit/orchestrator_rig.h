/* SPDX-License-Identifier: GPL-2.0-only */
/* What the tests of the orchestrator have in common: a plan, the fake engine, directories for journal and events. */
#ifndef TEST_ORCHESTRATOR_RIG_H
#define TEST_ORCHESTRATOR_RIG_H

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

static inline void put(const char *name, const void *data, size_t len)
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
	kho_gate_policy_init(&plan.gates);
	plan.gates.ask = true;
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

	const struct kho_fault_names known = { kho_step_names, fake_names, NULL };

	assert_int_equal(kho_faults_parse(fault, &known, &o.faults, NULL), 0);
	return o;
}

static inline void assert_quiet_again(void)
{
	_cleanup_free_ char *path = kho_sysroot_path(dir, "/proc/sys/kernel/panic"), *text = NULL;
	char step[32];

	assert_int_equal(kho_read_line(path, &text, NULL), 0);
	assert_string_equal(text, "30");
	assert_int_equal(kho_lock_holder(run_dir, step), 0);
}

/* An upgrade in a child, which is killed by this fault; its world is lost with it, so only the files tell of it. */
static inline void run_killed(const char *fault)
{
	struct kho_err err = KHO_ERR_INIT;
	struct kho_upgrade_options o;
	pid_t pid;
	int st;

	fake_reset();
	o = options(fault);
	pid = fork();
	if (pid == 0) {
		(void)kho_upgrade_run(&o, &err);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &st, 0), pid);
	assert_true(WIFSIGNALED(st) && WTERMSIG(st) == SIGKILL);
}

/* What was in RAM has ended with the outgoing kernel. */
static inline void unlink_journal(void)
{
	char path[96];

	snprintf(path, sizeof(path), "%s/" KHO_JOURNAL_NAME, run_dir);
	assert_int_equal(unlink(path), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
