// SPDX-License-Identifier: GPL-2.0-only
/* What is under way: processes that run, wait, are stopped, traced, dead; requests and dirty pages as kernels have told them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/pid.h"
#include "state-serializers/block.h"
#include "state-serializers/common.h"
#include "state-serializers/proc/out.h"
#include "tree.h"

static void *sleeps(void *arg)
{
	(void)arg;
	for (;;)
		pause();
	return NULL;
}

/* A process with one more thread, and a child; ready when it has written. */
static pid_t start(pid_t *child)
{
	int p[2];
	pid_t pid;

	assert_int_equal(pipe(p), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		pthread_t t;
		pid_t c = fork();

		/* whatever becomes of the test */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (c == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			sleeps(NULL);
		}
		if (pthread_create(&t, NULL, sleeps, NULL) || write(p[1], &c, sizeof(c)) != sizeof(c))
			_exit(1);
		for (;;)
			;
	}
	assert_int_equal(read(p[0], child, sizeof(*child)), sizeof(*child));
	close(p[0]);
	close(p[1]);
	return pid;
}

static void processes(void **state)
{
	char what[64] = "", want[64];
	pid_t child, pid = start(&child);

	(void)state;
	assert_int_equal(kho_proc_running(pid, what, sizeof(what)), 3); /* two threads and the child, asleep or not */
	snprintf(want, sizeof(want), "%d (", pid);
	assert_int_equal(strncmp(what, want, strlen(want)), 0);
	kill(pid, SIGSTOP);
	assert_int_equal(kho_proc_running(pid, what, sizeof(what)), 1);
	assert_int_equal(kho_pid_state(NULL, pid), 'T');
	snprintf(want, sizeof(want), "%d (S)", child);
	assert_string_equal(what, want);
	assert_int_equal(ptrace(PTRACE_SEIZE, child, 0, 0), 0);
	assert_int_equal(kho_proc_running(pid, what, sizeof(what)), 0); /* traced: who traces it decides */
	kill(pid, SIGCONT);
	assert_int_equal(kho_proc_running(pid, what, sizeof(what)), 2);
	kill(child, SIGKILL);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	waitpid(child, NULL, __WALL);
	assert_int_equal(kho_proc_running(pid, what, sizeof(what)), 0);
}

static char dir[64];

static void put(const char *name, const char *text)
{
	test_put(dir, name, text, strlen(text));
}

static void disks(void **state)
{
	Kho__BlockDisk vda = KHO__BLOCK_DISK__INIT, vdb = KHO__BLOCK_DISK__INIT, *list[] = { &vda, &vdb };
	Kho__Block b = KHO__BLOCK__INIT;
	struct kho_quiet_list q = { .n = 0 };

	(void)state;
	vda.name = (char *)"vda";
	vdb.name = (char *)"vdb";
	kho_block_quiet_disks(dir, &b, &q);
	assert_int_equal(q.n, 0); /* none change hands */
	b.disk = list;
	b.n_disk = 2;
	put("/sys/block/vda/inflight", "       0        0\n");
	put("/sys/block/vdb/inflight", "       0        0\n");
	kho_block_quiet_disks(dir, &b, &q);
	assert_true(q.n == 1 && q.q[0].known && q.q[0].value == 0 && !*q.q[0].what);
	put("/sys/block/vdb/inflight", "       2       17\n");
	kho_block_quiet_disks(dir, &b, &q);
	assert_true(q.n == 2 && q.q[1].known && q.q[1].value == 19);
	assert_string_equal(q.q[1].gate, "requests");
	assert_string_equal(q.q[1].what, "19 on vdb");
	put("/sys/block/vda/inflight", "none\n");
	kho_block_quiet_disks(dir, &b, &q);
	assert_true(q.n == 3 && !q.q[2].known);
	assert_string_equal(q.q[2].what, "/sys/block/vda/inflight does not say it");
	assert_int_equal(kho_block_in_flight(dir, "vdc"), -1);
	put("/sys/block/vdc/inflight", "99999999999999999999 1\n");
	assert_int_equal(kho_block_in_flight(dir, "vdc"), -1);
}

static void files(void **state)
{
	Kho__Block b = KHO__BLOCK__INIT;
	struct kho_quiet_list q = { .n = 0 };

	(void)state;
	put("/proc/meminfo", "MemTotal:        4025312 kB\nDirty:               132 kB\nWriteback:             8 kB\nWritebackTmp:          4 kB\n");
	kho_block_quiet_files(dir, &b, &q);
	assert_int_equal(q.n, 0); /* no file system changes hands */
	b.n_source = 1;
	kho_block_quiet_files(dir, &b, &q);
	assert_true(q.n == 1 && q.q[0].known && q.q[0].value == 140);
	assert_string_equal(q.q[0].what, "132 KiB dirty, 8 KiB on their way");
	put("/proc/meminfo", "MemTotal:        4025312 kB\nWritebackTmp:          4 kB\n");
	kho_block_quiet_files(dir, &b, &q);
	assert_true(q.n == 2 && !q.q[1].known);
	assert_int_equal(kho_meminfo_kib(dir, "MemTotal"), 4025312);
	assert_int_equal(kho_meminfo_kib(dir, "Mem"), -1);
	/* more than there is room for is left out */
	for (int i = 0; i < 20; i++)
		kho_quiet_add(&q, "dirty", 1, "x");
	assert_int_equal(q.n, KHO_QUIET_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(processes),
		cmocka_unit_test(disks),
		cmocka_unit_test(files),
	};

	int failed;

	strcpy(dir, "/tmp/khoctl-quiet.XXXXXX");
	if (!mkdtemp(dir))
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	kho_remove_tree(dir);
	return failed;
}
