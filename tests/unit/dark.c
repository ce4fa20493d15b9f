// SPDX-License-Identifier: GPL-2.0-only
/* The gates of the dark, by real processes on the kernel that runs here: some are well, some crash, some get nothing but errors, one is held. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "bpf/dark.h"
#include "bpf/dark_map.h"
#include "tests/unit/bpf_left.h"

static struct kho_gate_policy policy;

static const struct kho_gate_result *of(const struct kho_gate_list *l, enum kho_gate_id id)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->r[i].gate == id)
			return &l->r[i];
	fail_msg("no result for gate %s", kho_gates[id].name);
	return NULL;
}

static void expect(const struct kho_gate_list *l, enum kho_gate_id id, enum kho_gate_verdict verdict, int64_t value, const char *what)
{
	const struct kho_gate_result *r = of(l, id);

	print_message("%s: %lld %s\n", kho_gates[id].name, (long long)r->value, r->what);
	assert_int_equal(r->verdict, verdict);
	assert_int_equal(r->value, value);
	assert_non_null(strstr(r->what, what));
}

static void judged(void **state)
{
	const pid_t pids[] = { 10, 11, 12 };
	struct kho_dark_process p[] = { { .calls = 1000, .failed = 99, .last = ENOENT },
				       { .calls = 500, .failed = 100, .last = ENOSYS, .signal = SIGTERM },
				       { .calls = 0 } };
	struct kho_gate_list l = { .n = 0 };

	(void)state;
	kho_dark_judge(pids, p, 3, &policy, &l);
	expect(&l, KHO_GATE_SIGNALS, KHO_GATE_PASS, 0, "of 3 processes");
	expect(&l, KHO_GATE_ERRORS, KHO_GATE_PASS, 20, "process 11: 100 calls of 500 (before: 0 %), at last: Function not implemented");
	p[1].failed = 255;
	p[2].signal = SIGSEGV;
	l.n = 0;
	kho_dark_judge(pids, p, 3, &policy, &l);
	expect(&l, KHO_GATE_SIGNALS, KHO_GATE_FAIL, 1, "process 12: Segmentation fault");
	expect(&l, KHO_GATE_ERRORS, KHO_GATE_FAIL, 51, "process 11: 255 calls of 500");
	l.n = 0;
	kho_dark_judge(pids, p, 1, &policy, &l);
	expect(&l, KHO_GATE_ERRORS, KHO_GATE_PASS, 0, "99 of 1000 calls failed");
	/* what failed anyway hides nothing of another process */
	p[1].usual = 60;
	p[2] = (struct kho_dark_process){ .calls = 1000, .failed = 400, .last = ENOENT, .root = 12, .usual = 5 };
	l.n = 0;
	kho_dark_judge(pids, p, 3, &policy, &l);
	expect(&l, KHO_GATE_ERRORS, KHO_GATE_PASS, 35, "process 12: 400 calls of 1000 (before: 5 %)");
}

static void *sleeps(void *arg)
{
	while (!arg)
		pause();
	return NULL;
}

/* A process with two threads that sleep. Ends with the test. */
static pid_t sleeper(void)
{
	int ready[2];
	pid_t pid;
	char c;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (!pid) {
		pthread_t t;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (pthread_create(&t, NULL, sleeps, NULL) || write(ready[1], "r", 1) != 1)
			_exit(1);
		sleeps(NULL);
	}
	assert_int_equal(read(ready[0], &c, 1), 1);
	close(ready[0]);
	close(ready[1]);
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, __WALL);
}

static void threads(void **state)
{
	pid_t pids[2] = { sleeper(), sleeper() };
	struct kho_gate_list l = { .n = 0 };

	(void)state;
	kho_dark_threads(pids, 2, &policy, &l);
	expect(&l, KHO_GATE_THREADS, KHO_GATE_PASS, 0, "of 4 in 2 processes");
	assert_int_equal(ptrace(PTRACE_SEIZE, pids[1], 0, 0), 0);
	assert_int_equal(ptrace(PTRACE_INTERRUPT, pids[1], 0, 0), 0);
	waitpid(pids[1], NULL, __WALL);
	l.n = 0;
	kho_dark_threads(pids, 2, &policy, &l);
	expect(&l, KHO_GATE_THREADS, KHO_GATE_FAIL, 1, "(t), of 4 in 2 processes");
	/* who has gone meanwhile is no thread that is stuck */
	end(pids[1]);
	l.n = 0;
	kho_dark_threads(pids, 2, &policy, &l);
	expect(&l, KHO_GATE_THREADS, KHO_GATE_PASS, 0, "of 2 in 2 processes");
	end(pids[0]);
}

static void crash(void)
{
	const struct rlimit none = { 0, 0 };

	setrlimit(RLIMIT_CORE, &none);
	signal(SIGSEGV, SIG_DFL);
	raise(SIGSEGV);
}

/* On SIGUSR1: what it is told by its kind. */
static void moody(char kind, int go)
{
	char c;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (read(go, &c, 1) == 1) {
		pid_t child = kind == 'c' ? fork() : 1;

		if (!child)
			crash();
		if (kind == 'c')
			waitpid(child, NULL, 0);
		for (int i = 0; i < 300; i++) {
			close(kind == 'e' ? -1 : dup(go));
			(void)!read(-1 - (kind != 'e'), NULL, 0);
		}
	}
	_exit(0);
}

/* Of a child's, of which its parent's does not: on the other kernel they fail as well. */
static void failing_children(int go)
{
	char c;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (read(go, &c, 1) == 1) {
		pid_t child = fork();

		for (int i = 0; !child && i < 300; i++)
			close(-1);
		if (!child)
			_exit(0);
		waitpid(child, NULL, 0);
	}
	_exit(0);
}

/* What failed on the kernel before is not the other kernel's fault; what fails in addition is. */
static void usual(void **state)
{
	struct kho_gate_usual *was = NULL;
	struct kho_dark *d = NULL;
	struct kho_gate_list l;
	struct kho_err err = KHO_ERR_INIT;
	int go[2];
	size_t n = 0;
	pid_t pid;

	(void)state;
	need_bpf();
	assert_int_equal(pipe2(go, O_CLOEXEC), 0);
	pid = fork();
	if (!pid) {
		close(go[1]);
		failing_children(go[0]);
	}
	assert_int_equal(kho_dark_load(&d, &err), 0);
	kho_dark_begin(d, &pid, 1, NULL, 0);
	assert_int_equal(kho_dark_usual(d, &was, &n, &err), 0);
	assert_int_equal(n, 0); /* too little was seen */
	free(was);
	assert_int_equal(write(go[1], "g", 1), 1);
	usleep(200000);
	assert_int_equal(kho_dark_usual(d, &was, &n, &err), 0);
	kho_dark_free(d);
	assert_int_equal(n, 1);
	assert_int_equal(was->pid, pid);
	assert_in_range(was->percent, 90, 100);

	for (int i = 0; i < 2; i++) {
		assert_int_equal(kho_dark_load(&d, &err), 0);
		kho_dark_begin(d, &pid, 1, was, i ? n : 0);
		assert_int_equal(write(go[1], "g", 1), 1);
		usleep(200000);
		kho_dark_read(d, &pid, 1, &policy, &l);
		assert_int_equal(of(&l, KHO_GATE_ERRORS)->verdict, i ? KHO_GATE_PASS : KHO_GATE_FAIL);
		assert_non_null(strstr(of(&l, KHO_GATE_ERRORS)->what, i ? "calls" : "(before: 0 %)"));
		kho_dark_free(d);
	}
	free(was);
	end(pid);
}

static void live(void **state)
{
	static const char kinds[] = "wec"; /* well, errors, crashes */
	int go[3][2];
	pid_t pids[3];
	struct kho_dark *d = NULL;
	struct kho_gate_list l;
	struct kho_err err = KHO_ERR_INIT;
	__u32 ids[OWN_PROGRAMS];
	size_t nids;

	(void)state;
	need_bpf();
	for (int i = 0; i < 3; i++) {
		assert_int_equal(pipe2(go[i], O_CLOEXEC), 0);
		pids[i] = fork();
		if (!pids[i]) {
			close(go[i][1]);
			moody(kinds[i], go[i][0]);
		}
	}
	assert_int_equal(kho_dark_load(&d, &err), 0);
	/* what nobody has begun is not known */
	kho_dark_read(d, pids, 3, &policy, &l);
	assert_int_equal(of(&l, KHO_GATE_ERRORS)->verdict, KHO_GATE_UNKNOWN);
	kho_dark_free(d);
	assert_int_equal(kho_dark_load(&d, &err), 0);
	kho_dark_begin(d, pids, 1, NULL, 0);
	assert_int_equal(write(go[0][1], "g", 1), 1);
	usleep(100000);
	kho_dark_read(d, pids, 1, &policy, &l);
	expect(&l, KHO_GATE_THREADS, KHO_GATE_PASS, 0, "of 1 in 1 processes");
	expect(&l, KHO_GATE_SIGNALS, KHO_GATE_PASS, 0, "");
	kho_dark_free(d);

	assert_int_equal(kho_dark_load(&d, &err), 0);
	kho_dark_begin(d, pids, 3, NULL, 0);
	nids = own_programs(ids);
	assert_true(nids >= 3 && in_kernel("kho_dark_exit") >= 1);
	for (int i = 1; i < 3; i++)
		assert_int_equal(write(go[i][1], "g", 1), 1);
	usleep(200000);
	kho_dark_read(d, pids, 3, &policy, &l);
	expect(&l, KHO_GATE_SIGNALS, KHO_GATE_FAIL, 1, "Segmentation fault");
	assert_int_equal(of(&l, KHO_GATE_ERRORS)->verdict, KHO_GATE_FAIL);
	assert_non_null(strstr(of(&l, KHO_GATE_ERRORS)->what, "Bad file descriptor"));
	kho_dark_free(d);
	expect_gone(ids, nids);
	for (int i = 0; i < 3; i++)
		end(pids[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(judged), cmocka_unit_test(threads), cmocka_unit_test(live), cmocka_unit_test(usual) };

	kho_gate_policy_init(&policy);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
