// SPDX-License-Identifier: GPL-2.0-only
/* The recorder on the kernel that runs here, on processes of which we know what they do. Skips what this kernel or user may not do, and says why. */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "bpf/recorder.h"
#include "bpf/record_programs.h"
#include "tests/unit/bpf_left.h"

#define EVERY_US 2000u
#define FOR_US	 2500000u

static void *echo(void *arg)
{
	const int *fds = arg;
	char c;

	while (read(fds[0], &c, 1) == 1) /* waits for the other thread */
		(void)!write(fds[1], &c, 1);
	return NULL;
}

/* Asks a thread of its own for an answer, again and again; the thread sleeps in read for most of the time. */
static void __attribute__((noreturn)) work(void)
{
	int there[2], back[2], fds[2];
	pthread_t t;
	char c = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (pipe(there) || pipe(back))
		_exit(1);
	fds[0] = there[0];
	fds[1] = back[1];
	pthread_create(&t, NULL, echo, fds);
	for (;;) {
		usleep(EVERY_US);
		(void)!write(there[1], &c, 1);
		(void)!read(back[0], &c, 1);
	}
}

/* Does nothing for a while, then all of it in a process that it makes. */
static void __attribute__((noreturn)) work_later(void)
{
	pid_t pid;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	usleep(500000);
	pid = fork();
	if (!pid)
		work();
	for (;;)
		pause();
}

static pid_t start(void (*fn)(void))
{
	pid_t pid = fork();

	if (!pid)
		fn();
	assert_true(pid > 0);
	usleep(50000);
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static struct kho_recording record(pid_t pid, uint64_t for_us)
{
	struct kho_record_target t = { "it", &pid, 1 };
	struct kho_recording r;
	struct kho_err err = KHO_ERR_INIT;

	if (kho_record(&t, 1, for_us, NULL, NULL, &r, &err))
		fail_msg("%s", err.msg);
	for (int p = 0; p < KHO_RECORD_NPARTS; p++)
		if (*r.why[p])
			print_message("part %d: %s\n", p, r.why[p]);
	return r;
}

static uint64_t sum(const struct kho_recording *r, size_t off)
{
	uint64_t n = 0;

	for (size_t i = 0; i < r->n; i++)
		n += *(const uint64_t *)((const char *)&r->slices[i] + off);
	return n;
}

static void counted(void **state)
{
	__u32 ids[OWN_PROGRAMS];
	struct kho_recording r;
	uint64_t n;
	pid_t pid;

	(void)state;
	need_bpf();
	pid = start(work);
	r = record(pid, FOR_US);
	end(pid);
	assert_true(!*r.why[KHO_RECORD_TASKS] && !*r.why[KHO_RECORD_BLOCK] && !*r.why[KHO_RECORD_TCP]);
	n = kho_hist_count(&r.times[KHO_METRIC_READ]);
	print_message("%zu slices, %llu reads: median %llu ns, %llu writes, %llu waits for a CPU, %llu switches, %.1f ms of CPU\n", r.n, (unsigned long long)n,
		      (unsigned long long)kho_hist_quantile(&r.times[KHO_METRIC_READ], 0.5), (unsigned long long)kho_hist_count(&r.times[KHO_METRIC_WRITE]),
		      (unsigned long long)kho_hist_count(&r.times[KHO_METRIC_RUNQUEUE]), (unsigned long long)sum(&r, offsetof(struct kho_slice, switches)),
		      (double)sum(&r, offsetof(struct kho_slice, cpu_ns)) / 1e6);
	/* both threads read and write once in each round, so there are as many of both, but for windows' ends */
	assert_in_range(n, 20, 2 * FOR_US / EVERY_US);
	assert_in_range(kho_hist_count(&r.times[KHO_METRIC_WRITE]), n - 2 * r.n - 2, n + 2 * r.n + 2);
	assert_true(kho_hist_count(&r.times[KHO_METRIC_RUNQUEUE]) > n / 2);
	/* half of them waited for 2 ms: for the other thread, which is not this kernel's time */
	assert_true(kho_hist_quantile(&r.times[KHO_METRIC_READ], 0.75) < EVERY_US * 1000 / 2);
	assert_int_equal(kho_hist_count(&r.times[KHO_METRIC_FSYNC]) + kho_hist_count(&r.times[KHO_METRIC_POLL]) + kho_hist_count(&r.times[KHO_METRIC_SEND]), 0);
	assert_true(sum(&r, offsetof(struct kho_slice, switches)) > n / 2 && sum(&r, offsetof(struct kho_slice, cpu_ns)) > 0);
	assert_int_equal(r.restarts, 0);
	assert_int_equal(r.lost, 0);
	kho_recording_done(&r);
	assert_int_equal(own_programs(ids), 0);
	for (int i = 0; i < 300 && in_kernel("kho_sys_enter"); i++)
		usleep(10000); /* a moment later */
	assert_int_equal(in_kernel("kho_sys_enter"), 0);
}

/* Who is made meanwhile belongs to it. */
static void children(void **state)
{
	uint64_t reads = 0;

	(void)state;
	need_bpf();
	/* how often a child comes to read is the machine's load */
	for (int i = 0; i < 8 && reads <= 20; i++) {
		pid_t pid = start(work_later);
		struct kho_recording r = record(pid, FOR_US);

		end(pid);
		reads += kho_hist_count(&r.times[KHO_METRIC_READ]);
		assert_true(sum(&r, offsetof(struct kho_slice, cpu_ns)) > 0);
		kho_recording_done(&r);
	}
	assert_true(reads > 20);
}

static void *kill_it(void *arg)
{
	usleep(600000);
	kill(*(pid_t *)arg, SIGKILL);
	return NULL;
}

static void ends(void **state)
{
	struct kho_recording r;
	pthread_t t;
	pid_t pid;

	(void)state;
	pid = start(work);
	assert_int_equal(pthread_create(&t, NULL, kill_it, &pid), 0);
	r = record(pid, 1500000);
	pthread_join(t, NULL);
	assert_int_equal(r.restarts, 1);
	kho_recording_done(&r);
	waitpid(pid, NULL, 0);
}

static void __attribute__((noreturn)) fsyncs(void)
{
	char path[] = "/var/tmp/khoctl-fsync.XXXXXX";
	int fd = mkstemp(path);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	unlink(path);
	for (char c = 0;; c++)
		if (pwrite(fd, &c, 1, 0) != 1 || fsync(fd))
			_exit(1);
}

/* An fsync sleeps, for the disk: that is the kernel's. */
static void disk(void **state)
{
	struct kho_recording r;
	uint64_t fsync_ns;
	pid_t pid;

	(void)state;
	need_bpf();
	pid = start(fsyncs);
	r = record(pid, FOR_US);
	end(pid);
	fsync_ns = kho_hist_quantile(&r.times[KHO_METRIC_FSYNC], 0.5);
	print_message("%llu fsyncs: median %llu ns, %llu requests: median %llu ns\n", (unsigned long long)kho_hist_count(&r.times[KHO_METRIC_FSYNC]),
		      (unsigned long long)fsync_ns, (unsigned long long)kho_hist_count(&r.times[KHO_METRIC_BLOCK]),
		      (unsigned long long)kho_hist_quantile(&r.times[KHO_METRIC_BLOCK], 0.5));
	assert_true(kho_hist_count(&r.times[KHO_METRIC_FSYNC]) > 5);
	if (kho_hist_count(&r.times[KHO_METRIC_BLOCK]) > kho_hist_count(&r.times[KHO_METRIC_FSYNC])) /* else no disk is below */
		assert_true(fsync_ns * 2 > kho_hist_quantile(&r.times[KHO_METRIC_BLOCK], 0.25));
	kho_recording_done(&r);
}

/* Off is off: what is done then is not counted, and on again counts only what began since. */
static void windows(void **state)
{
	struct kho_recording r = { 0 };
	struct kho_record_programs *p = NULL;
	struct kho_record_counts c[3];
	uint64_t replies[3], lost = 0;
	struct kho_err err = KHO_ERR_INIT;
	__u32 ids[OWN_PROGRAMS];
	size_t n;
	pid_t pid;

	(void)state;
	need_bpf();
	pid = start(work);
	assert_int_equal(kho_record_load(&r, &p, &err), 0);
	n = own_programs(ids);
	assert_true(n >= 9 && in_kernel("kho_sys_enter") >= 1);
	assert_int_equal(kho_record_add(p, pid, &lost), 2); /* its threads */
	assert_int_equal(kho_record_add(p, pid, &lost), 0);
	usleep(300000);
	kho_record_off(p, &r);
	assert_int_equal(kho_record_read_counts(p, &c[0], &replies[0], &err), 0);
	usleep(300000);
	assert_int_equal(kho_record_read_counts(p, &c[1], &replies[1], &err), 0);
	assert_int_equal(kho_record_on(p, &err), 0);
	usleep(300000);
	assert_int_equal(kho_record_read_counts(p, &c[2], &replies[2], &err), 0);
	assert_true(replies[0] > 5 && c[0].hits > replies[0] && c[0].switches > 5 && !lost);
	assert_true(replies[1] == replies[0] && c[1].hits == c[0].hits && c[1].switches == c[0].switches);
	assert_true(replies[2] > replies[1] && c[2].hits > c[1].hits);
	assert_int_equal(kho_record_read_times(p, &r, &err), 0);
	assert_true(kho_hist_quantile(&r.times[KHO_METRIC_READ], 1) < 250000000); /* nothing that began before it was off has come to an end after it */
	kho_record_unload(p);
	expect_gone(ids, n);
	end(pid);
}

/* Who may not load programs gets what /proc says, and the reason. */
static void degraded(void **state)
{
	int status = -1;
	pid_t child;

	(void)state;
	if (geteuid()) {
		print_message("skipped: not root\n");
		skip();
	}
	child = fork();
	if (!child) {
		struct kho_recording r;
		struct kho_err err = KHO_ERR_INIT;
		struct kho_record_target t;
		pid_t pid;

		if (setgid(65534) || setuid(65534))
			_exit(2);
		pid = fork();
		if (!pid)
			work();
		t = (struct kho_record_target){ "it", &pid, 1 };
		if (kho_record(&t, 1, 1200000, NULL, NULL, &r, &err))
			_exit(3);
		kill(pid, SIGKILL);
		for (int p = 0; p < KHO_RECORD_PROC; p++)
			if (!*r.why[p] || kho_hist_count(&r.times[KHO_METRIC_READ]))
				_exit(4);
		fprintf(stderr, "%s\n", r.why[KHO_RECORD_TASKS]);
		_exit(*r.why[KHO_RECORD_PROC] || !sum(&r, offsetof(struct kho_slice, cpu_ns)) ? 5 : 0);
	}
	waitpid(child, &status, 0);
	assert_int_equal(status, 0);
}

static bool stop(void *arg)
{
	return ++*(int *)arg < 2;
}

static void refused(void **state)
{
	struct kho_recording r;
	struct kho_err err = KHO_ERR_INIT;
	pid_t pid = getpid(), gone = start(work);
	struct kho_record_target t = { "it", &pid, 1 }, dead = { "dead", &gone, 1 };
	__u32 ids[OWN_PROGRAMS];
	int asked = 0;

	(void)state;
	end(gone);
	assert_int_equal(kho_record(&t, 1, 10, NULL, NULL, &r, &err), -EINVAL);
	assert_int_equal(kho_record(&t, 0, 1000000, NULL, NULL, &r, &err), -ESRCH);
	assert_int_equal(kho_record(&dead, 1, 1000000, NULL, NULL, &r, &err), -ESRCH);
	assert_int_equal(kho_record(&t, 1, 60000000, stop, &asked, &r, &err), -ECANCELED);
	assert_true(asked == 2 && !r.slices);
	assert_int_equal(own_programs(ids), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counted), cmocka_unit_test(children), cmocka_unit_test(ends),	  cmocka_unit_test(disk),
		cmocka_unit_test(windows), cmocka_unit_test(degraded), cmocka_unit_test(refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
