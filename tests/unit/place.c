// SPDX-License-Identifier: GPL-2.0-only
/*
 * What surrounds restored processes, below directories: limits of control groups as they are read, CPUs, and the
 * contents of file systems of a unit's own, read and made again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "state-serializers/common.h"
#include "state-serializers/proc/place.h"
#include "state-serializers/proc/probe.h"
#include "state-serializers/proc/tree.h"
#include "tests/unit/tree.h"

static char dir[] = "/dev/shm/kho-place.XXXXXX";

static int setup(void **state)
{
	(void)state;
	strcpy(dir + sizeof(dir) - 7, "XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	return kho_tree_remove(dir, NULL);
}

static void put(const char *name, const char *text)
{
	test_put(dir, name, text, strlen(text));
}

static const KhoProc__Cgroup *group(const KhoProc__PlanWorkload *w, const char *path)
{
	for (size_t i = 0; i < w->n_cgroups; i++)
		if (!strcmp(w->cgroups[i]->path, path))
			return w->cgroups[i];
	fail_msg("no %s", path);
	return NULL;
}

/* Those above first, each once; what is as by default is not worth a word. */
static void limits(void **state)
{
	pid_t pids[] = { 700, 701 };
	struct kho_workload w = { .name = (char *)"dyn", .pids = pids, .npids = 2, .root = 700 };
	KhoProc__PlanWorkload out = KHO_PROC__PLAN_WORKLOAD__INIT;
	struct kho_err err = KHO_ERR_INIT;
	const KhoProc__Cgroup *c;

	(void)state;
	put("/proc/700/cgroup", "0::/khotest.slice/khotest-dyn.service\n");
	put("/proc/701/cgroup", "0::/khotest.slice/khotest-dyn.service/inner\n");
	put("/sys/fs/cgroup/cgroup.subtree_control", "cpu io memory pids\n");
	put("/sys/fs/cgroup/khotest.slice/cgroup.subtree_control", "cpu memory pids\n");
	put("/sys/fs/cgroup/khotest.slice/pids.max", "max\n");
	put("/sys/fs/cgroup/khotest.slice/khotest-dyn.service/cgroup.subtree_control", "\n");
	put("/sys/fs/cgroup/khotest.slice/khotest-dyn.service/memory.max", "209715200\n");
	put("/sys/fs/cgroup/khotest.slice/khotest-dyn.service/memory.low", "0\n");
	put("/sys/fs/cgroup/khotest.slice/khotest-dyn.service/cpu.max", "50000 100000\n");
	put("/sys/fs/cgroup/khotest.slice/khotest-dyn.service/cpu.weight", "100\n");
	put("/sys/fs/cgroup/khotest.slice/khotest-dyn.service/io.max", "254:0 rbps=1000\n");
	put("/sys/fs/cgroup/khotest.slice/khotest-dyn.service/inner/pids.max", "77\n");
	assert_int_equal(kho_cgroup_read(dir, &w, &out, &err), 0);
	assert_int_equal(out.n_cgroups, 4);
	assert_string_equal(out.cgroups[0]->path, "/");
	assert_string_equal(out.cgroups[0]->controllers, "cpu io memory pids");
	assert_string_equal(out.cgroups[1]->path, "/khotest.slice");
	assert_int_equal(out.cgroups[1]->n_settings, 0);
	c = group(&out, "/khotest.slice/khotest-dyn.service");
	assert_int_equal(c->n_settings, 2);
	assert_string_equal(c->settings[0]->name, "cpu.max");
	assert_string_equal(c->settings[0]->value, "50000 100000");
	assert_string_equal(c->settings[1]->name, "memory.max");
	c = group(&out, "/khotest.slice/khotest-dyn.service/inner");
	assert_int_equal(c->n_settings, 1);
	assert_string_equal(c->settings[0]->value, "77");
	kho_cgroup_plan_done(&out);
	assert_int_equal(out.n_cgroups, 0);
}

/* A name from the other kernel that leads out is refused before anything is made. */
static void bad_groups(void **state)
{
	KhoProc__Cgroup c = KHO_PROC__CGROUP__INIT, *list = &c;
	KhoProc__PlanWorkload w = KHO_PROC__PLAN_WORKLOAD__INIT;
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	w.cgroups = &list;
	w.n_cgroups = 1;
	c.path = (char *)"/../../etc";
	assert_int_equal(kho_cgroup_prepare(&w, &err), -EINVAL);
}

/* Who is pinned is pinned again, unless nobody knows to what. */
static void pinned(void **state)
{
	char cpus[KHO_FORMAT_MAX];

	(void)state;
	put("/proc/700/cgroup", "0::/khotest.slice/khotest-web.service\n");
	put("/proc/700/status", "Name:\tweb\nCpus_allowed:\tff\nCpus_allowed_list:\t0-7\nMems_allowed_list:\t0\n");
	assert_int_equal(kho_probe_pinned(dir, 700, cpus), 0); /* nothing is known of this machine */
	put("/sys/devices/system/cpu/online", "0-3\n");
	assert_int_equal(kho_probe_pinned(dir, 700, cpus), 0);
	put("/proc/700/task/700/status", "Name:\tweb\nCpus_allowed_list:\t0-7\n");
	put("/proc/700/task/701/status", "Name:\tio\nCpus_allowed_list:\t2-3\n");
	assert_int_equal(kho_probe_pinned(dir, 700, cpus), 701);
	assert_string_equal(cpus, "2-3");
	put("/proc/cpuinfo", "processor\t: 0\napicid\t\t: 0\n\nprocessor\t: 1\napicid\t\t: 2\n\nprocessor\t: 2\napicid\t\t: 4\n");
	assert_int_equal(kho_probe_pinned(dir, 700, cpus), 701);
	put("/sys/fs/cgroup/khotest.slice/cpuset.cpus.effective", "2-3\n");
	assert_int_equal(kho_probe_pinned(dir, 700, cpus), 0);
	put("/proc/700/status", "Name:\tweb\nCpus_allowed_list:\t2\n");
	assert_int_equal(kho_probe_pinned(dir, 700, cpus), 0);
	put("/proc/700/status", "Name:\tweb\nCpus_allowed_list:\t3\n");
	assert_int_equal(kho_probe_pinned(dir, 700, cpus), 700);
	assert_string_equal(cpus, "3");
}

static const KhoProc__Node *node(const KhoProc__Mount *m, const char *path)
{
	for (size_t i = 0; i < m->n_nodes; i++)
		if (!strcmp(m->nodes[i]->path, path))
			return m->nodes[i];
	return NULL;
}

/* A tmpfs of which a directory is mounted: what is in it lands below that directory again. */
static void contents(void **state)
{
	KhoProc__Mount m = KHO_PROC__MOUNT__INIT;
	_cleanup_free_ char *text = NULL, *to = kho_sysroot_path(dir, "/to"), *path = NULL;
	struct kho_err err = KHO_ERR_INIT;
	struct stat st;

	(void)state;
	put("/from/tmp/a", "what is in a");
	put("/from/tmp/deep/er/b", "b");
	path = kho_sysroot_path(dir, "/from/tmp/link");
	assert_int_equal(symlink("deep/er/b", path), 0);
	_cleanup_close_ int root = open(dir, O_PATH | O_DIRECTORY);

	m.target = (char *)"/from/tmp";
	m.root = (char *)"/one/tmp";
	assert_int_equal(kho_ns_read_nodes(root, &m, &err), 0);
	assert_int_equal(m.n_nodes, 6);
	assert_string_equal(m.nodes[0]->path, ".");
	assert_int_equal(node(m.nodes ? &m : NULL, "a")->data.len, 12);
	assert_int_equal(mkdir(to, 0700), 0);
	_cleanup_close_ int fs = open(to, O_RDONLY | O_DIRECTORY);

	assert_int_equal(kho_ns_make_nodes(fs, &m, &err), 0);
	free(path);
	path = kho_sysroot_path(dir, "/to/one/tmp/link");
	assert_int_equal(kho_read_file(path, 100, &text, NULL, &err), 0);
	assert_string_equal(text, "b");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	for (size_t i = 0; i < m.n_nodes; i++)
		kho_proc__node__free_unpacked(m.nodes[i], NULL);
	free(m.nodes);
}

/* A process in a mount namespace with one tmpfs, mounted twice at the same place; it ends with its pipe. 0: not here. */
static pid_t mounted_twice(const char *at, int *out_fd)
{
	int ready[2], end[2];
	char c = 0;

	if (pipe(ready) || pipe(end))
		return 0;
	pid_t pid = fork();

	if (!pid) {
		close(end[1]);
		c = unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
		    mount("kho-test", at, "tmpfs", 0, "mode=0755") == 0 && mount(at, at, NULL, MS_BIND, NULL) == 0;
		(void)!write(ready[1], &c, 1);
		(void)!read(end[0], &c, 1);
		_exit(0);
	}
	close(end[0]);
	close(ready[1]);
	(void)!read(ready[0], &c, 1);
	close(ready[0]);
	*out_fd = end[1];
	return c ? pid : 0;
}

/* What is mounted twice at one place is there once, or with each upgrade there would be more. */
static void twice(void **state)
{
	_cleanup_free_ char *at = kho_sysroot_path(dir, "/x");
	KhoProc__Namespace *ns = NULL;
	struct kho_err err = KHO_ERR_INIT;
	size_t n = 0;
	int fd = -1;

	(void)state;
	assert_int_equal(mkdir(at, 0755), 0);
	pid_t pid = mounted_twice(at, &fd);

	if (pid && kho_ns_read(pid, "/run/nothing", &ns, &err) < 0)
		fail_msg("%s", err.msg);
	close(fd);
	wait(NULL);
	if (!pid)
		skip(); /* nobody may make namespaces */
	for (size_t i = 0; i < ns->n_mounts; i++)
		n += !strcmp(ns->mounts[i]->target, at);
	assert_int_equal(n, 1);
	kho_proc__namespace__free_unpacked(ns, NULL);
}

/* Where the system has what pid sees at target; "": nowhere. */
static void from_of(pid_t pid, const char *target, char from[PATH_MAX])
{
	KhoProc__Namespace *ns = NULL;
	struct kho_err err = KHO_ERR_INIT;

	strcpy(from, "?");
	if (kho_ns_read(pid, "/run/nothing", &ns, &err) < 0) {
		fprintf(stderr, "%s\n", err.msg);
		return;
	}
	for (size_t i = 0; i < ns->n_mounts; i++)
		if (!strcmp(ns->mounts[i]->target, target))
			snprintf(from, PATH_MAX, "%s", ns->mounts[i]->from);
	kho_proc__namespace__free_unpacked(ns, NULL);
}

/* In a process of its own: a "unit" binds one of our directories, then we mount something over that. 77: not here. */
static int cover(const char *dir_of_ours, const char *at)
{
	char before[PATH_MAX], after[PATH_MAX], c = 0;
	int ready[2], end[2];

	if (pipe(ready) || pipe(end) || unshare(CLONE_NEWUSER | CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return 77;
	pid_t pid = fork();

	if (!pid) {
		close(end[1]);
		c = unshare(CLONE_NEWNS) == 0 && mount(dir_of_ours, at, NULL, MS_BIND, NULL) == 0;
		(void)!write(ready[1], &c, 1);
		(void)!read(end[0], &c, 1);
		_exit(0);
	}
	close(ready[1]);
	if (read(ready[0], &c, 1) != 1 || !c)
		return 77;
	from_of(pid, at, before);
	if (mount("kho-test", dir_of_ours, "tmpfs", 0, "mode=0755"))
		return 77;
	from_of(pid, at, after);
	close(end[1]);
	waitpid(pid, NULL, 0);
	return strcmp(before, dir_of_ours) ? 1 : *after ? 2 : 0;
}

/* What the system has mounted over a directory since is not what a unit sees that has it from before. */
static void covered(void **state)
{
	_cleanup_free_ char *ours = kho_sysroot_path(dir, "/ours"), *at = kho_sysroot_path(dir, "/at");
	int status;

	(void)state;
	assert_int_equal(mkdir(ours, 0755) | mkdir(at, 0755), 0);
	pid_t pid = fork();

	if (!pid)
		_exit(cover(ours, at));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(status, 0);
}

/*
 * In a process of its own, which leaves the new namespace with its end. 0: an overlay that is not there is not made of what is, and not made
 * a second time of its directories.
 */
static int build_without(const char *at, const char *stage)
{
	_cleanup_free_ char *lower = kho_sysroot_path(dir, "/lower"), *upper = kho_sysroot_path(dir, "/upper"), *work = kho_sysroot_path(dir, "/work");
	char super[3 * PATH_MAX];

	KhoProc__Mount root = KHO_PROC__MOUNT__INIT, m = KHO_PROC__MOUNT__INIT, *mounts[] = { &root, &m };
	KhoProc__Namespace ns = KHO_PROC__NAMESPACE__INIT;
	struct kho_err err = KHO_ERR_INIT;

	root.target = root.from = root.root = m.root = (char *)"/";
	root.type = (char *)"ext4";
	m.target = m.from = (char *)at;
	m.type = (char *)"overlay";
	root.options = m.options = root.super = (char *)"";
	snprintf(super, sizeof(super), "rw,lowerdir=%s,upperdir=%s,workdir=%s", lower, upper, work);
	m.super = super;
	if (mkdir(lower, 0755) || mkdir(upper, 0755) || mkdir(work, 0755))
		return 4;
	ns.mounts = mounts;
	ns.n_mounts = 2;
	if (kho_ns_build(&ns, "", stage, &err) < 0) {
		fprintf(stderr, "%s\n", err.msg);
		return 2;
	}
	return access(at, F_OK) ? 0 : 3; /* (the new tree has no /dev/shm) */
}

static void no_overlay(void **state)
{
	_cleanup_free_ char *at = kho_sysroot_path(dir, "/merged"), *stage = kho_sysroot_path(dir, "/stage"), *used = kho_sysroot_path(dir, "/work/work");
	int status;

	(void)state;
	if (geteuid())
		skip();
	assert_int_equal(mkdir(at, 0755) | mkdir(stage, 0755), 0);
	if (!fork())
		_exit(build_without(at, stage));
	wait(&status);
	assert_int_equal(status, 0);
	assert_int_not_equal(access(used, F_OK), 0); /* what an overlay makes first */
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = { T(limits), T(bad_groups), T(pinned), T(contents), T(twice), T(covered), T(no_overlay) };

	return cmocka_run_group_tests_name("place", tests, NULL, NULL);
}
