// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who holds the Live Update Orchestrator's device, seen with another process that really has a file open; and the carrier of an upgrade that finds it taken.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "handover/kexec/kexec.h"
#include "handover/kexec/luo.h"
#include "tests/unit/tree.h"

#define MIB (1ULL << 20)

static char dir[64];

static int setup(void **state)
{
	(void)state;
	return test_dir_make(dir, "kexec-luo");
}

static int teardown(void **state)
{
	(void)state;
	return test_dir_drop(dir);
}

/* A process of that name which has the file open, until it is killed; when this returns it has. */
static pid_t hold(const char *path, const char *name)
{
	int ready[2];
	pid_t pid;
	char c;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		prctl(PR_SET_NAME, name);
		if (open(path, O_RDONLY) >= 0 && write(ready[1], "x", 1) == 1)
			pause();
		_exit(1);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &c, 1), 1);
	close(ready[0]);
	return pid;
}

static void release(pid_t pid)
{
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void test_holder(void **state)
{
	char path[96], other[96];
	struct kho_luo_use use;
	pid_t stranger, pid;
	int own;

	(void)state;
	test_put(dir, "/liveupdate", "", 0);
	test_put(dir, "/elsewhere/liveupdate", "", 0);
	snprintf(path, sizeof(path), "%s/liveupdate", dir);
	snprintf(other, sizeof(other), "%s/elsewhere/liveupdate", dir);
	own = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(own >= 0);
	kho_luo_look(path, &use);
	assert_int_equal(use.holder.pid, 0); /* this process does not count */
	close(own);
	/* another file of that name is another one */
	stranger = hold(other, "stranger");
	kho_luo_look(path, &use);
	assert_int_equal(use.holder.pid, 0);
	pid = hold(path, "luod");
	kho_luo_look(path, &use);
	assert_int_equal(use.holder.pid, pid);
	assert_string_equal(use.holder.name, "luod");
	release(pid);
	kho_luo_look(path, &use);
	assert_int_equal(use.holder.pid, 0);
	release(stranger);
}

/* There is no device, whatever processes have open. */
static void test_no_device(void **state)
{
	struct kho_luo_use use;
	char path[96];
	pid_t pid;

	(void)state;
	test_put(dir, "/elsewhere/liveupdate", "", 0);
	snprintf(path, sizeof(path), "%s/elsewhere/liveupdate", dir);
	pid = hold(path, "luod");
	snprintf(path, sizeof(path), "%s/liveupdate", dir);
	kho_luo_look(path, &use);
	assert_int_equal(use.holder.pid, 0);
	release(pid);
}

/* The device cannot be had any more (here: it is not there at all). */
static void test_carrier(void **state)
{
	static struct kho_workload w = { .rss_bytes = 100 * MIB };
	static const struct kho_workload_list list = { .w = &w, .n = 1 };
	static const struct kho_engine_request rq = { .workloads = &list };
	struct kho_kexec k = { .e.req = &rq, .luo = true, .session = -1, .carrier = "both kernels have it" };
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	if (kho_exists(KHO_LUO_DEVICE))
		skip();
	/* three times the workload, twice the initramfs */
	k.m.available_bytes = 400 * MIB;
	assert_int_equal(kho_kexec_fix_carrier(&k, 50 * MIB, &err), 0);
	assert_false(k.luo);
	assert_string_equal(kho_kexec_carrier_name(&k), "the initramfs");
	assert_non_null(strstr(k.carrier, "no Live Update Orchestrator"));
	/* once chosen, it is */
	assert_int_equal(kho_kexec_fix_carrier(&k, 500 * MIB, &err), 0);
	k.luo = true;
	k.m.available_bytes--;
	assert_int_equal(kho_kexec_fix_carrier(&k, 50 * MIB, &err), -ENOMEM);
	assert_non_null(strstr(err.msg, "400 MiB are needed"));
	assert_false(k.luo);
	assert_true(k.session < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_holder, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_device, setup, teardown),
		cmocka_unit_test(test_carrier),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
