// SPDX-License-Identifier: GPL-2.0-only
/* Threads that are pinned to CPUs: who is, who was before CPUs left, and pinned again, here and on the other side; bad input. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/affinity.h"
#include "lib/cleanup.h"
#include "lib/format.h"
#include "lib/io.h"
#include "lib/json.h"
#include "lib/pid.h"
#include "state-serializers/common.h"
#include "state-serializers/proc/in.h"
#include "state-serializers/proc/pinned.h"
#include "tree.h"

static char dir[64];

static int setup(void **state)
{
	(void)state;
	return test_dir_make(dir, "affinity");
}

static int teardown(void **state)
{
	(void)state;
	return test_dir_drop(dir);
}

static void put(const char *name, const char *text)
{
	test_put(dir, name, text, strlen(text));
}

/* --- what is narrow --- */

static bool narrow(const char *all, const char *away, const char *may)
{
	const struct kho_affinity_scope s = { .sysroot = dir, .all = all, .away = away };

	return kho_affinity_is_narrow(&s, 700, may);
}

/* Narrower than what its control group has, which may have it from one further up; other CPUs than there are are no matter. */
static void narrower(void **state)
{
	(void)state;
	put("/proc/700/cgroup", "0::/khotest.slice/khotest-web.service\n");
	assert_false(narrow("", "", "0") || narrow("0-3", "", "0-7"));
	assert_true(narrow("0-3", "", "2-3"));
	put("/sys/devices/system/cpu/isolated", "\n");
	assert_true(narrow("0-3", "", "2-3"));
	put("/sys/devices/system/cpu/isolated", "0\n");
	assert_false(narrow("0-3", "", "1-3"));
	assert_true(narrow("0-3", "", "2-3") && narrow("0-3", "", "0"));
	put("/sys/fs/cgroup/khotest.slice/cpuset.cpus.effective", "2-3\n");
	assert_false(narrow("0-3", "", "2-3"));
	assert_true(narrow("0-3", "", "3"));
	/* all that it has are such */
	put("/sys/devices/system/cpu/isolated", "2-3\n");
	assert_true(narrow("0-3", "", "3"));
	assert_false(narrow("0-3", "", "2-3"));
}

/* What another kernel has for the moment comes back. From those in a control group of its own the kernel takes it meanwhile, pinned or not. */
static void narrower_while_away(void **state)
{
	(void)state;
	put("/proc/700/cgroup", "0::/khotest.slice/khotest-web.service\n");
	assert_true(narrow("0-3", "2-3", "0-1"));
	put("/sys/fs/cgroup/cpuset.cpus.effective", "0-1\n");
	assert_true(narrow("0-3", "2-3", "0-1") && narrow("0-3", "2-3", "1"));
	assert_false(narrow("0-3", "2-3", "0-3"));
	put("/sys/fs/cgroup/khotest.slice/cpuset.cpus.effective", "0-1\n");
	assert_false(narrow("0-3", "2-3", "0-1") || narrow("0-3", "2-3", "0-3"));
	assert_true(narrow("0-3", "2-3", "1"));
	/* one that has CPUs 1 and 2 */
	put("/sys/fs/cgroup/khotest.slice/cpuset.cpus.effective", "1\n");
	assert_false(narrow("0-3", "2-3", "1") || narrow("0-3", "2-3", "1-2"));
	/* in none */
	put("/proc/700/cgroup", "0::/\n");
	assert_true(narrow("0-3", "2-3", "0-1"));
	assert_false(narrow("0-3", "2-3", "0-3"));
}

static void wanted(void **state)
{
	static const struct {
		const char *was, *now;
		bool narrow;
		const char *wanted;
	} t[] = {
		{ NULL, "0-7", false, NULL }, { NULL, "0", true, "0" },
		{ "3", "0-7", false, "3" },   /* woke up when its CPU was away */
		{ "3", "0-1", false, "3" },   /* is in a control group that has these left */
		{ NULL, "0-1", false, NULL }, /* so is this */
		{ "3", "3", true, "3" },      /* sleeps since then */
		{ "1,3", "1", true, "1,3" },  /* its control group has lost CPU 3 */
		{ "1,3", "1,3", true, "1,3" }, { "1,3", "0", true, "0" }, { "3", "0-1", true, "0-1" },
	};
	const struct kho_affinity_scope s = { .sysroot = "", .all = "0-3", .away = "2-3" };

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		const char *got = kho_affinity_wanted(&s, t[i].was, t[i].now, t[i].narrow);

		if (!got != !t[i].wanted || (got && strcmp(got, t[i].wanted)))
			fail_msg("%zu: %s", i, got ? got : "none");
	}
}

/* --- this process --- */

static char *list_of(pid_t tid)
{
	_cleanup_free_ char *text = NULL;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/status", tid);
	assert_int_equal(kho_read_file(path, 65536, &text, NULL, NULL), 0);
	return kho_status_value(text, "Cpus_allowed_list");
}

static void runs_on(const char *want)
{
	_cleanup_free_ char *list = list_of(getpid());

	assert_non_null(list);
	assert_string_equal(list, want);
}

static cpu_set_t had;
static uint32_t cpus[CPU_SETSIZE]; /* that are in it */
static size_t ncpus;

/* A machine with one CPU, and one where the test itself is pinned, cannot tell. */
static bool can_pin(void)
{
	_cleanup_free_ char *all = kho_affinity_online(""), *now = list_of(getpid());
	const struct kho_affinity_scope s = { .sysroot = "", .all = all, .away = "" };

	ncpus = 0;
	if (!all || !now || kho_affinity_is_narrow(&s, getpid(), now) || sched_getaffinity(0, sizeof(had), &had))
		return false;
	for (uint32_t i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, &had))
			cpus[ncpus++] = i;
	return ncpus > 1;
}

static void unpin(void)
{
	assert_int_equal(sched_setaffinity(0, sizeof(had), &had), 0);
}

static void is_noted(const char *list)
{
	struct kho_affinity a = { 0 };
	struct kho_err err = KHO_ERR_INIT;
	const char *was;

	assert_int_equal(kho_affinity_read("", &a, &err), 0);
	assert_true(a.ncpu > 1 && *a.all);
	was = kho_affinity_was(&a, getpid());
	assert_int_equal(!was, !list);
	if (list)
		assert_string_equal(was, list);
	kho_affinity_done(&a);
}

/* Noted, written down, read again, pinned again. */
static void pinned_again(void **state)
{
	struct kho_affinity_thread one = { .tid = getpid(), .start = kho_pid_start(NULL, getpid()) };
	struct kho_affinity a = { .all = (char *)"", .t = &one, .n = 1 }, b = { 0 };
	struct kho_err err = KHO_ERR_INIT;
	char first[16], second[16];
	struct json_object *rec;
	unsigned n = 7;

	(void)state;
	if (!can_pin())
		skip();
	snprintf(first, sizeof(first), "%u", cpus[0]);
	snprintf(second, sizeof(second), "%u", cpus[1]);
	is_noted(NULL);
	assert_int_equal(kho_affinity_set(getpid(), cpus, 1), 0);
	runs_on(first);
	is_noted(first);
	one.cpus = first;
	rec = kho_affinity_record(&a);
	assert_int_equal(kho_affinity_from_record(rec, &b, &err), 0);
	json_object_put(rec);
	assert_string_equal(kho_affinity_was(&b, getpid()), first);
	free(b.all);
	b.all = kho_affinity_online("");
	unpin();
	assert_int_equal(kho_affinity_put_back(&b, &n, &err), 0);
	assert_int_equal(n, 1);
	runs_on(first);
	/* it has something of its own since then */
	assert_int_equal(kho_affinity_set(getpid(), &cpus[1], 1), 0);
	assert_int_equal(kho_affinity_put_back(&b, &n, &err), 0);
	assert_int_equal(n, 0);
	runs_on(second);
	/* it is another one */
	unpin();
	b.t[0].start++;
	assert_null(kho_affinity_was(&b, getpid()));
	assert_int_equal(kho_affinity_put_back(&b, &n, &err), 0);
	assert_int_equal(n, 0);
	/* CPUs that are not there */
	b.t[0].start--;
	strcpy(b.t[0].cpus, "");
	assert_int_equal(kho_affinity_put_back(&b, &n, &err), 1);
	assert_non_null(strstr(err.msg, "was pinned to CPUs"));
	kho_affinity_done(&b);
}

static void bad_sets(void **state)
{
	static const uint32_t far[] = { 65535, 65536, UINT32_MAX };

	(void)state;
	assert_int_equal(kho_affinity_set(getpid(), NULL, 0), -EINVAL);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(kho_affinity_set(getpid(), &far[i], 1), -EINVAL);
}

static void record(const char *text, size_t want)
{
	_cleanup_json_ struct json_object *rec = NULL;
	struct kho_affinity a = { 0 };
	struct kho_err err = KHO_ERR_INIT;

	assert_int_equal(kho_json_parse(text, strlen(text), &rec, &err), 0);
	assert_int_equal(kho_affinity_from_record(rec, &a, &err), 0);
	assert_int_equal(a.n, want);
	kho_affinity_done(&a);
}

static void bad_records(void **state)
{
	struct kho_affinity a = { 0 };
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	assert_int_equal(kho_affinity_from_record(NULL, &a, &err), 0);
	assert_true(!a.n && !*a.all);
	kho_affinity_done(&a);
	record("{}", 0);
	record("{\"cpus\":7,\"threads\":\"0-3\"}", 0);
	record("{\"threads\":[1,\"2\",null,[],{}]}", 0);
	record("{\"threads\":[{\"tid\":0,\"start\":1,\"cpus\":\"0\"},{\"tid\":-1,\"start\":1,\"cpus\":\"0\"}]}", 0);
	record("{\"threads\":[{\"tid\":4294967296,\"start\":1,\"cpus\":\"0\"}]}", 0);
	record("{\"threads\":[{\"tid\":1,\"start\":-1,\"cpus\":\"0\"},{\"tid\":1,\"cpus\":\"0\"}]}", 0);
	record("{\"threads\":[{\"tid\":9,\"start\":1,\"cpus\":\"0\"},{\"tid\":8,\"start\":1,\"cpus\":[0]},{\"tid\":9,\"start\":1,\"cpus\":\"0\"}]}", 3);
}

/* --- carried by the serializer --- */

/* The state as the incoming half gets it, with these of the process root. */
static KhoProc__State *told(pid_t root, KhoProc__Affinity **affinity, size_t n)
{
	KhoProc__StateWorkload w = KHO_PROC__STATE_WORKLOAD__INIT, *list = &w;
	KhoProc__State s = KHO_PROC__STATE__INIT, *out;
	struct kho_err err = KHO_ERR_INIT;
	struct kho_blob b = { 0 };

	w.name = (char *)"test";
	w.root = root;
	w.affinity = affinity;
	w.n_affinity = n;
	s.workloads = &list;
	s.n_workloads = 1;
	assert_int_equal(kho_pb_pack(&s.base, &b, &err), 0);
	out = kho_pb_unpack(&kho_proc__state__descriptor, &b, &err);
	assert_non_null(out);
	kho_blob_done(&b);
	return out;
}

static void is_carried(const struct kho_env *env, struct kho_proc_out_wl *w, const char *list)
{
	struct kho_proc_out out = { .w = w, .n = 1 };
	struct kho_err err = KHO_ERR_INIT;

	assert_int_equal(kho_proc_pinned_note(env, &out, &err), 0);
	assert_int_equal(w->naffinity, 1);
	assert_string_equal(w->affinity[0]->cpus, list);
	assert_int_equal(w->affinity[0]->n_apicid, 1);
	assert_int_equal(w->affinity[0]->n_tid, 1);
	assert_int_equal(w->affinity[0]->tid[0], getpid());
}

static void carried(void **state)
{
	struct kho_affinity before = { 0 };
	struct kho_env env = { .sysroot = "" };
	struct kho_proc_out_wl w = { .name = (char *)"test", .root = getpid() };
	struct kho_proc_out out = { .w = &w, .n = 1 };
	struct kho_err err = KHO_ERR_INIT;
	char first[16], second[16];

	(void)state;
	if (!can_pin())
		skip();
	snprintf(first, sizeof(first), "%u", cpus[0]);
	snprintf(second, sizeof(second), "%u", cpus[1]);
	assert_int_equal(kho_affinity_set(getpid(), cpus, 1), 0);
	assert_int_equal(kho_proc_pinned_note(&env, &out, &err), 0);
	assert_int_equal(w.naffinity, 0); /* nobody has noted what CPUs there are */
	assert_int_equal(kho_affinity_read("", &before, &err), 0);
	env.affinity = &before;
	is_carried(&env, &w, first);
	/* the kernel gives it all CPUs when that one leaves */
	unpin();
	is_carried(&env, &w, first);
	kho_proc_pinned_keep(told(getpid(), w.affinity, w.naffinity));
	assert_int_equal(kho_proc_cpus(&env, &err), 0);
	runs_on(first);
	/* once */
	unpin();
	assert_int_equal(kho_proc_cpus(&env, &err), 0);
	assert_true(can_pin());
	/* nothing was tidied yet */
	kho_proc_in.state = told(getpid(), w.affinity, w.naffinity);
	assert_int_equal(kho_proc_cpus(&env, &err), 0);
	runs_on(first);
	/* it has something of its own by then */
	assert_int_equal(kho_affinity_set(getpid(), &cpus[1], 1), 0);
	assert_int_equal(kho_proc_cpus(&env, &err), 0);
	runs_on(second);
	is_carried(&env, &w, second);
	kho_proc__state__free_unpacked(kho_proc_in.state, NULL);
	kho_proc_in.state = NULL;
	unpin();
	kho_proc_pinned_drop(&w);
	kho_affinity_done(&before);
}

/* CPUs that are not here, numbers that are nobody's, an older khoctl's state without all that. */
static void bad_state(void **state)
{
	int32_t tids[] = { INT32_MAX, -1, getpid(), 0, getpid() };
	KhoProc__Affinity a = KHO_PROC__AFFINITY__INIT, *list = &a;
	struct kho_env env = { .sysroot = "" };
	struct kho_err err = KHO_ERR_INIT;
	uint32_t ids[1000];

	(void)state;
	if (!can_pin())
		skip();
	memset(ids, 0xff, sizeof(ids));
	a.cpus = (char *)"2-3";
	a.tid = tids;
	a.n_tid = 5;
	for (a.n_apicid = 0; a.n_apicid <= 1000; a.n_apicid += 1000) {
		a.apicid = ids;
		kho_proc_pinned_keep(told(getpid(), &list, 1));
		assert_int_equal(kho_proc_cpus(&env, &err), -EINVAL);
		assert_non_null(strstr(err.msg, "test: threads that run on all CPUs now: 1; the first: "));
		assert_non_null(strstr(err.msg, "was pinned to CPUs 2-3 of the former kernel: this one has none of them"));
	}
	a.n_apicid = 0;
	kho_proc_pinned_keep(told(1, &list, 1));
	assert_int_equal(kho_proc_cpus(&env, &err), 0);
	a.n_tid = 0;
	kho_proc_pinned_keep(told(getpid(), &list, 1));
	assert_int_equal(kho_proc_cpus(&env, &err), 0);
	kho_proc_pinned_keep(told(getpid(), NULL, 0));
	assert_int_equal(kho_proc_cpus(&env, &err), 0);
	kho_proc_pinned_keep(NULL);
	assert_true(can_pin());
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = { T(narrower), T(narrower_while_away), T(wanted), T(pinned_again), T(bad_sets), T(bad_records), T(carried),
					    T(bad_state) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
