// SPDX-License-Identifier: GPL-2.0-only
/* lib/workload.h: what is said of workloads, good and bad, and who is found by it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/workload.h"
#include "tests/unit/tree.h"

static char dir[64];

static int setup(void **state)
{
	(void)state;
	return test_dir_make(dir, "workload");
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

static int load_conf(const char *text, struct kho_workload_list *l, struct kho_err *err)
{
	put("/etc/khoctl/workloads.d/redis.conf", text);
	return kho_workloads_load(dir, NULL, l, err);
}

static void test_workload_good(void **state)
{
	struct kho_workload_list l;
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	assert_int_equal(load_conf("# c\n\n pidfile = /run/redis.pid\nhealth-tcp = 127.0.0.1:6379\n"
				   "health-send = PING\\r\\n\nhealth-expect=+PONG\nhealth-timeout "
				   "= 3s\n",
				   &l, &err),
			 0);
	assert_int_equal(l.n, 1);
	assert_string_equal(l.w[0].name, "redis");
	assert_string_equal(l.w[0].health_send, "PING\r\n");
	assert_int_equal(l.w[0].health_timeout_us, 3000000);
	kho_workloads_done(&l);
}

static void test_workload_bad(void **state)
{
	static const struct {
		const char *text, *say;
	} bad[] = {
		{ "pidfile\n", "redis.conf:1: 'pidfile': want key = value" },
		{ "\ncolour = red\n", "redis.conf:2: unknown key 'colour'" },
		{ "pidfile = /a\npidfile = /b\n", "redis.conf:2: pidfile is given twice" },
		{ "pidfile = run/x\n", "want an absolute path" },
		{ "pidfile =\n", "the value is missing" },
		{ "health-timeout = 2s\n", "want exactly one of unit, container, pidfile, match, cgroup; "
					  "has 0" },
		{ "pidfile = /a\nmatch = /b\n", "has 2" },
		{ "unit = a.service\ncontainer = b\n", "has 2" },
		{ "unit = redis-server\n", "unit = redis-server: want NAME.service" },
		{ "unit = a/b.service\n", "want NAME.service" },
		{ "unit = postgresql@.service\n", "want NAME.service" },
		{ "container = -x\n", "want the name of a container of podman" },
		{ "container = containerd://a/../b\n", "containerd://NAMESPACE/ID" },
		{ "container = pod://web\n", "or pod://NAMESPACE/NAME" },
		{ "container = pod://web/Shop\n", "or pod://NAMESPACE/NAME" },
		{ "container = pod://web/a..b\n", "or pod://NAMESPACE/NAME" },
		{ "match = /b\nhealth-tcp = 6379\n", "want ADDRESS:PORT" },
		{ "match = /b\nhealth-tcp = a:70000\n", "want ADDRESS:PORT" },
		{ "match = /b\nhealth-send = x\n", "need health-tcp" },
		{ "match = /b\nhealth-timeout = soon\n", "want a time like 2s" },
		{ "match = /b\nhealth-tcp = a:1\nhealth-send = \\q\n", "redis.conf:3: unknown "
								       "escape '\\q'" },
	};
	struct kho_workload_list l;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct kho_err err = KHO_ERR_INIT;

		assert_int_equal(load_conf(bad[i].text, &l, &err), -EINVAL);
		assert_non_null(strstr(err.msg, bad[i].say));
		assert_int_equal(l.n, 0);
	}
	put("/etc/khoctl/workloads.d/Big Name.conf", "match = /b\n");
	assert_int_equal(load_conf("match = /b\n", &l, NULL), -EINVAL);
}

static void test_workload_none(void **state)
{
	struct kho_workload_list l;
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	assert_int_equal(kho_workloads_load("/nonexistent", NULL, &l, &err), 0);
	assert_int_equal(l.n, 0);
	assert_int_equal(kho_workloads_resolve("/nonexistent", &l, &err), 0);
}

#define STAT(pid, name, ppid, rss)                                                                 \
	put("/proc/" #pid "/stat", #pid " (" name ") S " #ppid " 1 1 0 -1 4 0 0 0 0 0 0 0 0 20 0 " \
							       "1 0 100 1000 " #rss " 1\n")

static void test_workload_tree(void **state)
{
	struct kho_workload_list l;
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	STAT(1, "init", 0, 10);
	STAT(100, "re dis) (x", 1, 200);
	STAT(101, "redis-child", 100, 50);
	STAT(102, "grand child", 101, 6);
	STAT(200, "other", 1, 1000);
	put("/run/redis.pid", "100\n");
	assert_int_equal(load_conf("pidfile = /run/redis.pid\n", &l, &err), 0);
	assert_int_equal(kho_workloads_resolve(dir, &l, &err), 0);
	assert_int_equal(l.w[0].root, 100);
	assert_int_equal(l.w[0].npids, 3);
	assert_int_equal(l.w[0].pids[2], 102);
	assert_int_equal(l.w[0].rss_bytes, 256 * 4096);
	put("/run/redis.pid", "4711\n");
	assert_int_equal(kho_workloads_resolve(dir, &l, &err), -ESRCH);
	assert_non_null(strstr(err.msg, "workload redis"));
	put("/run/redis.pid", "12x\n");
	assert_int_equal(kho_workloads_resolve(dir, &l, &err), -EINVAL);
	kho_workloads_done(&l);
}

static void test_workload_cgroup(void **state)
{
	struct kho_workload_list l;
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	STAT(1, "init", 0, 10);
	STAT(100, "a", 1, 1);
	STAT(101, "b", 100, 1);
	put("/proc/1/cgroup", "0::/\n");
	put("/proc/100/cgroup", "0::/khoctl/redis\n");
	put("/proc/101/cgroup", "0::/khoctl/redis/sub\n");
	assert_int_equal(load_conf("cgroup = /khoctl/redis\n", &l, &err), 0);
	assert_int_equal(kho_workloads_resolve(dir, &l, &err), 0);
	assert_int_equal(l.w[0].root, 100);
	STAT(102, "c", 1, 1);
	put("/proc/102/cgroup", "0::/khoctl/redis\n");
	assert_int_equal(kho_workloads_resolve(dir, &l, &err), -ENOTUNIQ);
	kho_workloads_done(&l);
}

static void test_workload_unit(void **state)
{
	struct kho_workload_list l;
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	STAT(1, "systemd", 0, 10);
	STAT(100, "postgres", 1, 1);
	STAT(101, "postgres: check", 100, 1);
	STAT(102, KHO_JOURNAL_COMM, 1, 1);
	STAT(103, "other", 1, 1);
	put("/proc/1/cgroup", "0::/init.scope\n");
	put("/proc/100/cgroup", "1:name=systemd:/a\n0::/system.slice/system-postgresql.slice/"
				"postgresql@17-main.service\n");
	put("/proc/101/cgroup", "0::/system.slice/system-postgresql.slice/"
				"postgresql@17-main.service/sub\n");
	put("/proc/102/cgroup", "0::/system.slice/system-postgresql.slice/"
				"postgresql@17-main.service\n");
	put("/proc/103/cgroup", "0::/system.slice/xpostgresql@17-main.service\n");
	assert_int_equal(load_conf("unit = postgresql@17-main.service\n", &l, &err), 0);
	assert_int_equal(kho_workloads_resolve(dir, &l, &err), 0);
	assert_int_equal(l.w[0].root, 100);
	assert_int_equal(l.w[0].npids, 2);
	assert_string_equal(l.w[0].cg, "/system.slice/system-postgresql.slice/"
				       "postgresql@17-main.service");
	put("/proc/103/cgroup", "0::/system.slice/_postgresql@17-main.service\n");
	assert_int_equal(kho_workloads_resolve(dir, &l, &err), -ENOTUNIQ);
	assert_non_null(strstr(err.msg, "2 processes have no parent in it: "));
	assert_non_null(strstr(err.msg, "100 (postgres)"));
	assert_non_null(strstr(err.msg, "103 (other)"));
	for (const char *p = "100\000101\000103\0"; *p; p += 4) {
		char path[32];

		snprintf(path, sizeof(path), "/proc/%s/cgroup", p);
		put(path, "0::/\n");
	}
	assert_int_equal(kho_workloads_resolve(dir, &l, &err), -ESRCH);
	assert_non_null(strstr(err.msg, "(postgresql@17-main.service) does not run"));
	kho_workloads_done(&l);
}

static void test_names(void **state)
{
	static const char *const units[] = { "a.service", "postgresql@17-main.service",
					     "a\\x2db:c_d.service" };
	static const char *const no_units[] = { ".service",   "a@.service", "@a.service",
						"a/b.service", "a.socket",  "" };
	static const char *const groups[] = { "/", "/a", "/a.b/..c/d" };
	static const char *const no_groups[] = { "", "a", "/a/", "//a", "/a//b", "/../a", "/a/.." };

	(void)state;
	for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++)
		assert_true(kho_unit_name_is_valid(units[i]));
	for (size_t i = 0; i < sizeof(no_units) / sizeof(*no_units); i++)
		assert_false(kho_unit_name_is_valid(no_units[i]));
	for (size_t i = 0; i < sizeof(groups) / sizeof(*groups); i++)
		assert_true(kho_cgroup_path_is_valid(groups[i]));
	for (size_t i = 0; i < sizeof(no_groups) / sizeof(*no_groups); i++)
		assert_false(kho_cgroup_path_is_valid(no_groups[i]));
}

static void test_workload_container(void **state)
{
	static const char id[] =
		"c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00";
	char path[256], text[256];
	struct kho_workload_list l;
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	STAT(1, "systemd", 0, 10);
	STAT(99, "conmon", 1, 1);
	STAT(100, "nginx", 99, 1);
	put("/proc/100/cgroup", "0::/machine.slice/libpod-x.scope/container\n");
	assert_int_equal(load_conf("container = web\n", &l, &err), 0);
	assert_int_equal(kho_workloads_resolve(dir, &l, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "container web"));
	snprintf(text, sizeof(text), "[{\"id\":\"../x\",\"names\":[\"web\"]},7,"
				     "{\"id\":\"%s\",\"names\":[\"a\",\"web\"]}]", id);
	put("/var/lib/containers/storage/overlay-containers/containers.json", text);
	assert_int_equal(kho_workloads_resolve(dir, &l, &err), -ESRCH);
	snprintf(path, sizeof(path),
		 "/run/containers/storage/overlay-containers/%s/userdata/pidfile", id);
	put(path, "100\n");
	assert_int_equal(kho_workloads_resolve(dir, &l, &err), 0);
	assert_int_equal(l.w[0].root, 100);
	assert_string_equal(l.w[0].cg, "/machine.slice/libpod-x.scope/container");
	put(path, "x\n");
	assert_int_equal(kho_workloads_resolve(dir, &l, &err), -EINVAL);
	kho_workloads_done(&l);
}

/* One of several; and none, which leaves nothing. */
static void test_keep(void **state)
{
	struct kho_workload_list l;
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	put("/etc/khoctl/workloads.d/a.conf", "match = /usr/bin/a\n");
	put("/etc/khoctl/workloads.d/z.conf", "match = /usr/bin/z\n");
	assert_int_equal(load_conf("match = /usr/bin/redis-server\n", &l, &err), 0);
	assert_int_equal(l.n, 3);
	assert_true(kho_workloads_keep(&l, "redis"));
	assert_int_equal(l.n, 1);
	assert_string_equal(l.w[0].name, "redis");
	assert_string_equal(l.w[0].match, "/usr/bin/redis-server");
	assert_false(kho_workloads_keep(&l, "redi"));
	assert_int_equal(l.n, 0);
	kho_workloads_done(&l);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_workload_good), T(test_workload_bad), T(test_workload_none), T(test_workload_tree), T(test_workload_cgroup),
		T(test_names), T(test_workload_unit), T(test_workload_container), T(test_keep),
	};

	return cmocka_run_group_tests_name("workload", tests, NULL, NULL);
}
