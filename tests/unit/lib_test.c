// SPDX-License-Identifier: GPL-2.0-only
/* lib/: parsers, files, versions, workloads; good and bad input. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/conf.h"
#include "lib/fdpass.h"
#include "lib/format.h"
#include "lib/io.h"
#include "lib/json.h"
#include "lib/report.h"
#include "lib/workload.h"

static char dir[64];

static int setup(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/khoctl-lib-test.XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	char cmd[128];

	(void)state;
	snprintf(cmd, sizeof(cmd), "rm -rf '%s'", dir);
	return system(cmd);
}

/* Write text to dir/name, making its directories. */
static void put(const char *name, const char *text)
{
	_cleanup_free_ char *path = kho_sysroot_path(dir, name);
	_cleanup_free_ char *parent = strdup(path);
	struct kho_err err = KHO_ERR_INIT;

	*strrchr(parent, '/') = '\0';
	assert_int_equal(kho_mkdir(parent, &err), 0);
	assert_int_equal(kho_write_file(path, text, strlen(text), &err), 0);
}

static void test_words(void **state)
{
	(void)state;
	assert_true(kho_is_word("7.3.4+deb13-cloud-amd64"));
	assert_false(kho_is_word("") || kho_is_word("7.3 4") || kho_is_word("7.3\n") || kho_is_word("\0337.3") || kho_is_word("7.3\xff"));
}

static void test_sizes(void **state)
{
	static const char *const bad[] = { "",	   "x", "-1", "1 M", "1MB", "1m", "99999999999G",
					   "0x10", "M" };
	uint64_t v;
	char buf[KHO_FORMAT_MAX];

	(void)state;
	assert_true(kho_parse_size("512M", &v));
	assert_int_equal(v, 512ull << 20);
	assert_true(kho_parse_duration("250ms", &v));
	assert_int_equal(v, 250000);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_false(kho_parse_size(bad[i], &v));
	assert_false(kho_parse_duration("2", &v));
	assert_false(kho_parse_duration("2h", &v));
	assert_string_equal(kho_format_bytes(1536 << 10, buf), "1.5 MiB");
	assert_string_equal(kho_format_us(12345, buf), "12.3 ms");
}

static void test_ids(void **state)
{
	uint32_t ids[] = { 3, 0, 1, 8, 2 };
	char out[64];

	(void)state;
	assert_string_equal(kho_format_ids(ids, 5, out, sizeof(out)), "0-3,8");
	assert_string_equal(kho_format_ids(ids, 0, out, sizeof(out)), "-");
	assert_string_equal(kho_format_ids(ids, 5, out, 8), "0-3...");
	assert_true(kho_ids_has("0-3,8", 2) && kho_ids_has("0-3,8", 8));
	assert_false(kho_ids_has("0-3,8", 4) || kho_ids_has("-", 0) || kho_ids_has("", 0));
	assert_true(kho_ids_cover("0-63", "0-3,8") && kho_ids_cover("0-3,8", "8,0-1") && kho_ids_cover("1", ""));
	assert_false(kho_ids_cover("0-3,8", "0-4") || kho_ids_cover("", "0"));
}

static void test_versions(void **state)
{
	static const char *const rising[] = {
		"6.1.0-18-amd64",
		"6.12.9+deb13-amd64",
		"6.12.107+deb13-amd64",
		"7.1-rc1",
		"7.1",
		"7.3.4+deb13-amd64",
		"7.10.1",
	};

	(void)state;
	for (size_t i = 0; i < 7; i++)
		for (size_t j = 0; j < 7; j++)
			assert_int_equal(kho_version_cmp(rising[i], rising[j]) < 0, i < j);
}

static void test_files(void **state)
{
	_cleanup_free_ char *path = kho_sysroot_path(dir, "a/b/c"), *fifo = kho_sysroot_path(dir, "a/b/fifo");
	struct kho_err err = KHO_ERR_INIT;
	char *text;
	struct stat st;
	size_t len;

	(void)state;
	put("/a/b/c", "one\n");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(kho_read_file(path, 100, &text, &len, &err), 0);
	assert_int_equal(len, 4);
	free(text);
	assert_int_equal(kho_read_line(path, &text, &err), 0);
	assert_string_equal(text, "one");
	free(text);
	assert_int_equal(kho_read_file(path, 3, &text, NULL, &err), -EFBIG);
	assert_int_equal(kho_read_file("/nonexistent/x", 3, &text, NULL, &err), -ENOENT);
	assert_int_equal(err.code, -ENOENT);
	assert_int_equal(kho_mkdir(path, &err), -ENOTDIR);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	assert_int_equal(kho_write_file(fifo, "x", 1, &err), -EINVAL);
	assert_int_equal(stat(fifo, &st), 0);
	assert_true(S_ISFIFO(st.st_mode));
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

static void test_report(void **state)
{
	struct kho_report r = KHO_REPORT_INIT;
	_cleanup_json_ struct json_object *j = NULL;

	(void)state;
	assert_int_equal(kho_report_worst(&r), KHO_V_OK);
	assert_int_equal(kho_report_add(&r, KHO_V_LOSS, "process", "a", NULL, "loses %d", 3), 0);
	assert_int_equal(kho_report_add(&r, KHO_V_OK, "device", "b", "fix", "moves"), 0);
	assert_int_equal(kho_report_worst(&r), KHO_V_LOSS);
	assert_string_equal(r.items[0].what, "loses 3");
	j = kho_json_report(&r);
	assert_string_equal(kho_json_get_str(json_object_array_get_idx(j, 0), "verdict"), "loss");
	kho_report_done(&r);
}

static void test_json(void **state)
{
	struct json_object *o = NULL;
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	assert_int_equal(kho_json_parse("{\"a\": 7, \"b\": \"x\"}", 18, &o, &err), 0);
	assert_int_equal(kho_json_get_int(o, "a"), 7);
	assert_string_equal(kho_json_get_str(o, "b"), "x");
	assert_string_equal(kho_json_get_str(o, "a"), "");
	assert_int_equal(kho_json_get_int(NULL, "a"), 0);
	json_object_put(o);
	assert_int_equal(kho_json_parse("[1]", 3, &o, &err), -EINVAL);
	assert_int_equal(kho_json_parse("{\"a\":", 5, &o, &err), -EINVAL);
	assert_int_equal(kho_json_parse("", 0, &o, &err), -EINVAL);
}

/* What is no UTF-8 (RFC 3629) goes, what is stays; a number that JSON cannot say is a large one. */
static void test_json_text(void **state)
{
	static const struct {
		const char *in, *out;
	} t[] = {
		{ "plain", "plain" },
		{ "\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\xa7", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\xa7" },
		{ "a\xe4" "b", "a?b" },
		{ "cut \xe2\x82", "cut ??" },
		{ "\xc0\x80 \xed\xa0\x80 \xf4\x90\x80\x80 \xff", "?? ??? ???? ?" },
	};
	_cleanup_json_ struct json_object *o = json_object_new_object(), *back = NULL;
	struct kho_err err = KHO_ERR_INIT;
	const char *text;

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		_cleanup_free_ char *s = strdup(t[i].in);

		kho_json_clean(s, strlen(s));
		assert_string_equal(s, t[i].out);
	}
	kho_json_number(o, "ratio", INFINITY);
	kho_json_number(o, "small", 0.5);
	text = json_object_to_json_string(o);
	assert_int_equal(kho_json_parse(text, strlen(text), &back, &err), 0);
	assert_true(json_object_get_double(kho_json_get(back, "ratio")) >= 1e9 && json_object_get_double(kho_json_get(back, "small")) == 0.5);
	assert_null(strstr(text, "nf"));
}

static void test_clock(void **state)
{
	uint64_t a = kho_clock_us(), b = kho_clock_us();

	(void)state;
	assert_true(b >= a);
	kho_clock_set_tsc_khz(2000000);
	a = kho_clock_us();
	b = kho_clock_us();
	assert_true(b >= a);
	kho_clock_set_tsc_khz(0);
}

static void test_fd_pass(void **state)
{
	int sv[2], fd, p[2];
	char text[8];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sv), 0);
	assert_int_equal(pipe(p), 0);
	assert_int_equal(kho_fd_send(sv[0], "with", 4, p[1], 0), 0);
	assert_int_equal(kho_fd_send(sv[0], "out", 3, -1, 0), 0);
	assert_int_equal(kho_fd_recv(sv[1], text, sizeof(text), &fd, 0), 4);
	assert_true(fd >= 0 && fd != p[1]);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(write(fd, "x", 1), 1);
	assert_int_equal(read(p[0], text, sizeof(text)), 1);
	close(fd);
	assert_int_equal(kho_fd_recv(sv[1], text, sizeof(text), &fd, 0), 3);
	assert_int_equal(fd, -1);
	assert_int_equal(kho_fd_recv(sv[1], text, sizeof(text), &fd, MSG_DONTWAIT), -EAGAIN);
	close(sv[1]);
	assert_int_equal(kho_fd_send(sv[0], "x", 1, p[1], 0), -EPIPE);
	close(sv[0]);
	close(p[0]);
	close(p[1]);
}

static void test_descriptors(void **state)
{
	struct rlimit before, l;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	l = (struct rlimit){ 100, before.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &l), 0);
	kho_want_descriptors(200);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &l), 0);
	assert_int_equal(l.rlim_cur, 200);
	assert_int_equal(l.rlim_max, before.rlim_max);
	kho_want_descriptors(50); /* it never takes any */
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &l), 0);
	assert_int_equal(l.rlim_cur, 200);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_sizes), T(test_words),	       T(test_ids),	      T(test_versions),
		T(test_files),	       T(test_workload_good), T(test_workload_bad),
		T(test_workload_none), T(test_workload_tree), T(test_workload_cgroup),
		T(test_names), T(test_workload_unit), T(test_workload_container),
		T(test_report),	       T(test_json), T(test_json_text),
		T(test_clock),	       T(test_fd_pass), T(test_descriptors),
	};

	return cmocka_run_group_tests_name("lib", tests, NULL, NULL);
}
