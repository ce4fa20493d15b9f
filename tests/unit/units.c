// SPDX-License-Identifier: GPL-2.0-only
/*
 * The units serializer below a directory: what it asks and says, and what it leaves for the new systemd.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <ftw.h>
#include <limits.h>
#include <sys/stat.h>

#include "lib/json.h"
#include "state-serializers/files.h"
#include "state-serializers/units.h"
#include "tests/unit/tree.h"

static char dir[64], run[96];
#define OLD "systemd-private-fedcba9876543210fedcba9876543210-redis-server.service-Ab12cd"
#define NEW "systemd-private-0123456789abcdef0123456789abcdef-redis-server.service-Ef34gh"

static int remove_one(const char *p, const struct stat *st, int type, struct FTW *f)
{
	(void)st;
	(void)type;
	(void)f;
	return remove(p);
}

static void put(const char *name, const char *text)
{
	test_put(dir, name, text, strlen(text));
}

static int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/dev/shm/kho-units.XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(run, sizeof(run), "%s/run/khoctl", dir);
	put("/run/systemd/system/.keep", "");
	put("/proc/1/comm", "systemd\n");
	put(KHO_UNITS_SHOWN,
	    "Type=notify\nMainPID=700\nId=redis-server.service\nLoadState=loaded\nActiveState=active\nSubState=running\n"
	    "NotifyAccess=main\nTriggeredBy=\nFragmentPath=/usr/lib/systemd/system/redis-server.service\n"
	    "InvocationID=f00d\nActiveEnterTimestamp=@1700000000\nNFileDescriptorStore=0\nRuntimeDirectory=redis redis/a:b /etc ../x\n\n"
	    "Type=forking\nMainPID=800\nId=postgresql@17-main.service\nLoadState=loaded\nActiveState=active\nSubState=running\n"
	    "NotifyAccess=none\nTriggeredBy=\nFragmentPath=/usr/lib/systemd/system/postgresql@.service\n"
	    "InvocationID=beef\nActiveEnterTimestamp=@1700000001\nNFileDescriptorStore=0\n\n"
	    "Type=simple\nMainPID=900\nId=web.service\nLoadState=loaded\nActiveState=active\nSubState=running\n"
	    "NotifyAccess=none\nTriggeredBy=web.timer web.socket\nFragmentPath=/etc/systemd/system/web.service\n"
	    "InvocationID=cafe\nActiveEnterTimestamp=@1700000002\nNFileDescriptorStore=0\n\n"
	    "Type=simple\nMainPID=0\nId=stopping.service\nLoadState=loaded\nActiveState=deactivating\nSubState=stop\n");
	/* started in another boot than this one */
	put("/proc/700/mountinfo",
	    "90 80 254:0 / / rw,relatime shared:1 - ext4 /dev/mapper/khoctl-0 rw\n"
	    "91 90 0:34 /" OLD "/tmp /tmp rw,nosuid,nodev shared:2 - tmpfs tmpfs rw\n"
	    "92 90 254:0 /var/tmp/" OLD "/tmp /var/tmp rw,relatime shared:3 - ext4 /dev/mapper/khoctl-0 rw\n"
	    "93 90 254:0 /var/tmp/systemd-private-0011-odd\\040name/tmp /x rw,relatime - ext4 /dev/mapper/khoctl-0 rw\n");
	put(KHO_UNITS_RUNNING, "cron.service loaded active running Regular background\n"
			       "redis-server.service loaded active running Store\n"
			       "ssh.service loaded active running Shell\n"
			       "systemd-journald.service loaded active running Journal\n");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return 0;
}

static struct kho_workload all[] = {
	{ .name = (char *)"redis", .unit = (char *)"redis-server.service", .root = 700 },
	/* by a pidfile, but it is a service */
	{ .name = (char *)"pg",
	  .pidfile = (char *)"/run/pg.pid",
	  .cg = (char *)"/system.slice/system-postgresql.slice/postgresql@17-main.service/sub",
	  .root = 801 },
	{ .name = (char *)"web", .unit = (char *)"web.service", .root = 900 },
	{ .name = (char *)"stopping", .unit = (char *)"stopping.service", .root = 1000 },
	{ .name = (char *)"none", .unit = (char *)"none.service", .root = 1001 },
	{ .name = (char *)"loose", .pidfile = (char *)"/run/x.pid", .cg = (char *)"/user.slice/session-1.scope", .root = 1002 },
};
static const struct kho_workload_list list = { all, 6 }, good = { all, 3 };

static void said(const struct kho_report *r, enum kho_verdict v, const char *subject, const char *what)
{
	for (size_t i = 0; i < r->n; i++)
		if (!strcmp(r->items[i].subject, subject)) {
			assert_int_equal(r->items[i].verdict, v);
			assert_non_null(strstr(r->items[i].what, what));
			return;
		}
	fail_msg("nothing is said of %s", subject);
}

static void verdicts(void **state)
{
	struct kho_env env = { .sysroot = dir, .workloads = &list, .run_dir = run };
	struct kho_report r = KHO_REPORT_INIT;
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	assert_int_equal(kho_units_probe(&env, &r, &err), 0);
	assert_int_equal(r.n, 7);
	said(&r, KHO_V_OK, "redis-server.service", "moves, pid 700 (Type=notify)");
	said(&r, KHO_V_LOSS, "postgresql@17-main.service", "its main process is then pid 801");
	said(&r, KHO_V_LOSS, "web.service", "web.socket is not active");
	said(&r, KHO_V_NO, "stopping.service", "not running");
	said(&r, KHO_V_NO, "none.service", "no such unit");
	said(&r, KHO_V_LOSS, "loose", "no service");
	said(&r, KHO_V_LOSS, "others", "2 running services are no workload and are started anew: cron, ssh");
	kho_report_done(&r);
	put("/proc/1/comm", "init\n");
	r = (struct kho_report)KHO_REPORT_INIT;
	assert_int_equal(kho_units_probe(&env, &r, &err), 0);
	assert_int_equal(r.n, 0);
}

static char *text_of(const char *name)
{
	_cleanup_free_ char *path = kho_sysroot_path(dir, name);
	char *text = NULL;

	if (kho_read_file(path, 1 << 16, &text, NULL, NULL))
		return NULL;
	return text;
}

static void has(const char *name, const char *what)
{
	_cleanup_free_ char *text = text_of(name);

	if (!text || !strstr(text, what))
		fail_msg("%s does not say '%s':\n%s", name, what, text ? text : "(not there)");
}

static void adoption(void **state)
{
	struct kho_env env = { .sysroot = dir, .workloads = &good, .run_dir = run };
	_cleanup_free_ char *conf = NULL, *link = kho_sysroot_path(dir, "/run/systemd/system/multi-user.target.wants/postgresql@17-main.service");
	struct kho_err err = KHO_ERR_INIT;
	Kho__Units *u = NULL;
	char target[PATH_MAX] = "";
	struct stat st;

	(void)state;
	put("/sysroot/usr/lib/tmpfiles.d/systemd-tmp.conf", "# x\nx /tmp/systemd-private-%b-*\nR! /tmp/systemd-private-*\n"
							     "R! /var/tmp/systemd-private-*\nr! /var/lib/x\n");
	put("/sysroot/tmp/" OLD "/tmp/.keep", "");
	put("/sysroot/tmp/" NEW "/tmp/.keep", "");
	put("/sysroot/var/tmp/" OLD "/tmp/.keep", "");
	put("/sysroot/var/tmp/systemd-private-55-a b%c/tmp/.keep", "");
	put("/sysroot/var/tmp/other/.keep", "");
	assert_int_equal(kho_units_read(&env, dir, &u, &err), 0);
	assert_int_equal(u->n_unit, 3);
	assert_int_equal(u->unit[0]->n_private_dir, 2);
	assert_string_equal(u->unit[0]->private_dir[0], OLD);
	assert_true(u->systemd);
	assert_int_equal(u->unit[0]->active_since, 1700000000);
	assert_int_equal(u->unit[1]->main_pid, 801);
	assert_int_equal(u->unit[2]->n_triggered_by, 2);
	conf = kho_sysroot_path(dir, "/sysroot");
	assert_int_equal(kho_units_write(dir, conf, "/run/khoctl", u, "7.3", &err), 0);

	has("/run/khoctl/adopt/redis-server.service.pid", "700\n");
	has("/run/systemd/system/redis-server.service.d/khoctl.conf", "PIDFile=/run/khoctl/adopt/redis-server.service.pid\n");
	has("/run/systemd/system/redis-server.service.d/khoctl.conf", "ExecStart=\nExecStart=+/usr/bin/true\n");
	has("/run/systemd/system/redis-server.service.d/khoctl.conf", "NotifyAccess=main\n");
	has("/run/systemd/system/postgresql@17-main.service.d/khoctl.conf", "Type=forking\n");
	has("/run/systemd/system/web.socket.d/khoctl.conf", "ConditionPathExists=!/run/khoctl/adopt/web.service.pid\n");
	assert_null(text_of("/run/systemd/system/web.timer.d/khoctl.conf"));
	has("/run/systemd/system/khoctl-adopt.service", "After=postgresql@17-main.service\n");
	has("/run/systemd/system/khoctl-adopt.service", "web.socket.d/khoctl.conf");
	assert_true(readlink(link, target, sizeof(target) - 1) > 0);
	assert_string_equal(target, "/usr/lib/systemd/system/postgresql@.service");
	has("/run/tmpfiles.d/systemd-tmp.conf", "x /var/tmp/" OLD "\nX /var/tmp/" OLD "/tmp\n");
	has("/run/tmpfiles.d/systemd-tmp.conf", "x /tmp/" OLD "\n");
	has("/run/tmpfiles.d/systemd-tmp.conf", "R! /tmp/" NEW "\n");
	has("/run/tmpfiles.d/systemd-tmp.conf", "R! /var/tmp/systemd-private-55-a?b?c\n");
	has("/run/tmpfiles.d/systemd-tmp.conf", "x /tmp/systemd-private-%b-*\n");
	has("/run/tmpfiles.d/systemd-tmp.conf", "r! /var/lib/x\n");
	free(conf);
	conf = text_of("/run/tmpfiles.d/systemd-tmp.conf");
	assert_null(strstr(conf, "R! /tmp/systemd-private-*"));
	assert_null(strstr(conf, "other"));
	free(conf);
	/* what systemd and others have to pass through is open to them */
	conf = kho_sysroot_path(dir, "/run/systemd/system/web.socket.d");
	assert_int_equal(stat(conf, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0755);
	kho__units__free_unpacked(u, NULL);
}

/* The next upgrade knows since when it really runs. */
static void story(void **state)
{
	struct kho_env env = { .sysroot = dir, .workloads = &good, .run_dir = run };
	struct kho_err err = KHO_ERR_INIT;
	Kho__Units *u = NULL;

	(void)state;
	put("/run/khoctl/units.json", "{\"units\":[{\"unit\":\"redis-server.service\",\"pid\":700,\"active_since\":1500000000,"
				      "\"first_kernel\":\"6.1\",\"upgrades\":2},"
				      "{\"unit\":\"web.service\",\"pid\":1,\"active_since\":1,\"upgrades\":9}]}");
	assert_int_equal(kho_units_read(&env, dir, &u, &err), 0);
	assert_int_equal(u->unit[0]->active_since, 1500000000);
	assert_int_equal(u->unit[0]->upgrades, 2);
	assert_string_equal(u->unit[0]->first_kernel, "6.1");
	/* another process: it was restarted since */
	assert_int_equal(u->unit[2]->active_since, 1700000002);
	assert_int_equal(u->unit[2]->upgrades, 0);
	assert_int_equal(kho_units_write(dir, "", "/run/khoctl", u, "7.3", &err), 0);
	has("/run/khoctl/units.json", "\"active_since\":1500000000,\"first_kernel\":\"6.1\",\"upgrades\":3");
	free(u->unit[0]->name);
	u->unit[0]->name = strdup("../x.service");
	assert_int_equal(kho_units_write(dir, "", "/run/khoctl", u, "7.3", &err), -EPROTO);
	kho__units__free_unpacked(u, NULL);
}

static void runtime_directories(void **state)
{
	struct kho_err err = KHO_ERR_INIT;
	char **dirs = NULL;
	size_t n = 0;

	(void)state;
	assert_int_equal(kho_ramroot_runtime_dirs(dir, &list, &dirs, &n, &err), 0);
	assert_int_equal(n, 2);
	assert_string_equal(dirs[0], "/run/redis");
	assert_string_equal(dirs[1], "/run/redis/a");
	for (size_t i = 0; i < n; i++)
		free(dirs[i]);
	free(dirs);
}

/* The lab's Debian machine, as systemctl described it. */
static void recorded(void **state)
{
	struct kho_workload w[] = {
		{ .name = (char *)"redis", .unit = (char *)"redis-server.service", .root = 675 },
		{ .name = (char *)"pg", .unit = (char *)"postgresql@17-main.service", .root = 400 },
		{ .name = (char *)"nginx", .unit = (char *)"nginx.service", .root = 381 },
		{ .name = (char *)"flush", .unit = (char *)"systemd-journal-flush.service", .root = 1 },
	};
	const struct kho_workload_list l = { w, 4 };
	struct kho_env env = { .sysroot = "tests/sysroots/host-units", .workloads = &l, .run_dir = run };
	struct kho_report r = KHO_REPORT_INIT;
	struct kho_err err = KHO_ERR_INIT;
	Kho__Units *u = NULL;

	(void)state;
	assert_int_equal(kho_units_probe(&env, &r, &err), 0);
	assert_int_equal(r.n, 5);
	said(&r, KHO_V_OK, "redis-server.service", "moves, pid 675 (Type=notify)");
	said(&r, KHO_V_OK, "postgresql@17-main.service", "moves, pid 400 (Type=forking)");
	said(&r, KHO_V_OK, "nginx.service", "moves");
	said(&r, KHO_V_NO, "systemd-journal-flush.service", "not running");
	said(&r, KHO_V_LOSS, "others", "started anew: cron, dbus, lab-agent, ssh");
	kho_report_done(&r);
	assert_int_equal(kho_units_read(&env, env.sysroot, &u, &err), 0);
	assert_int_equal(u->n_unit, 4);
	assert_string_equal(u->unit[1]->fragment, "/usr/lib/systemd/system/postgresql@.service");
	assert_string_equal(u->unit[0]->notify_access, "main");
	kho__units__free_unpacked(u, NULL);
}

/* A container's unit is known by its conmon, and has control groups below its own. */
static void container(void **state)
{
	struct kho_workload w[] = {
		{ .name = (char *)"box",
		  .container = (char *)"box",
		  .cg = (char *)"/system.slice/web.service/libpod-payload-1",
		  .root = 905,
		  .monitor = 900 },
		{ .name = (char *)"loose",
		  .container = (char *)"loose",
		  .cg = (char *)"/machine.slice/libpod-2.scope/container",
		  .root = 907,
		  .monitor = 906 },
	};
	const struct kho_workload_list l = { w, 2 };
	struct kho_env env = { .sysroot = dir, .workloads = &l, .run_dir = run };
	struct kho_report r = KHO_REPORT_INIT;
	struct kho_err err = KHO_ERR_INIT;
	Kho__Units *u = NULL;

	(void)state;
	assert_int_equal(kho_units_probe(&env, &r, &err), 0);
	said(&r, KHO_V_LOSS, "web.service", "web.socket is not active");
	said(&r, KHO_V_NO, "loose", "its conmon is in no service");
	kho_report_done(&r);
	assert_int_equal(kho_units_read(&env, dir, &u, &err), 0);
	assert_int_equal(u->n_unit, 1);
	assert_int_equal(u->unit[0]->main_pid, 900);
	assert_int_equal(kho_units_write(dir, "", "/run/khoctl", u, "7.3", &err), 0);
	has("/run/khoctl/adopt/web.service.pid", "900\n");
	has("/run/systemd/system/web.service.d/khoctl.conf", "DelegateSubgroup=runtime\n");
	kho__units__free_unpacked(u, NULL);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = { T(verdicts), T(adoption), T(story), T(runtime_directories),
					    T(recorded), T(container) };

	return cmocka_run_group_tests_name("units", tests, NULL, NULL);
}
