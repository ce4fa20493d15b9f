// SPDX-License-Identifier: GPL-2.0-only
/* Making a plan out of a recorded tree: target, modules, workloads, engine; what is wrong is said
 * by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "fake_world.h"
#include "kernel_image.h"
#include "tree.h"
#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/json.h"

static char dir[64];

static void put(const char *name, const void *data, size_t len)
{
	test_put(dir, name, data, len);
}

static void put_text(const char *name, const char *text)
{
	put(name, text, strlen(text));
}

static void put_kernel(const char *release)
{
	uint8_t head[TEST_IMAGE_BYTES];
	char path[128];

	test_image(head, release);
	snprintf(path, sizeof(path), "/boot/vmlinuz-%s", release);
	put(path, head, sizeof(head));
	snprintf(path, sizeof(path), "/lib/modules/%s/modules.dep", release);
	put_text(path, "");
}

static int no_new(const struct kho_engine_request *rq, struct kho_engine **out, struct kho_err *err)
{
	(void)rq;
	(void)out;
	return kho_fail(err, -ENODEV, "this machine has no second engine");
}

static const struct kho_engine_entry engines[] = { { "broken", no_new },
						   { "fake", fake_new },
						   { NULL, NULL } };

static int setup(void **state)
{
	(void)state;
	fake_reset();
	strcpy(dir, "/tmp/khoctl-plan.XXXXXX");
	assert_non_null(mkdtemp(dir));
	put_text("/proc/sys/kernel/osrelease", "6.12.107\n");
	put_text("/proc/100/stat", "100 (redis-server) S 1 1 1 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 100 "
				   "1000 256 1\n");
	put_text("/proc/cpuinfo", "processor\t: 0\napicid\t\t: 0\n\nprocessor\t: 1\napicid\t\t: "
				  "1\n");
	put_text("/proc/meminfo", "MemTotal: 4194304 kB\nMemAvailable: 3145728 kB\n");
	put_text("/proc/iomem", "00100000-ffffffff : System RAM\n");
	put_text("/run/redis.pid", "100");
	put_text("/etc/khoctl/workloads.d/redis.conf", "pidfile = /run/redis.pid\n");
	put_kernel("6.12.107");
	put_kernel("7.3.4");
	put_kernel("7.10.1");
	put_kernel("6.1.9");
	return 0;
}

static int teardown(void **state)
{
	char cmd[128];

	(void)state;
	snprintf(cmd, sizeof(cmd), "rm -rf '%s'", dir);
	return system(cmd);
}

static int make(const char *to, const char *engine, struct kho_plan **p, struct kho_engine **e,
		struct kho_err *err)
{
	struct kho_world w = { fake_serializers, engines, "/nonexistent", "/nonexistent" };
	struct kho_plan_request rq = { .sysroot = dir, .to = to, .engine = engine };

	*p = NULL;
	*e = NULL;
	*err = (struct kho_err)KHO_ERR_INIT;
	return kho_plan_make(&w, &rq, p, e, err);
}

static void done(struct kho_plan *p, struct kho_engine *e)
{
	if (e)
		e->ops->free(e);
	kho_plan_free(p);
}

static void test_latest(void **state)
{
	struct kho_plan *p;
	struct kho_engine *e;
	struct kho_err err;
	_cleanup_json_ struct json_object *j = NULL;

	(void)state;
	put_text("/etc/khoctl/khoctl.conf", "cmdline = quiet\nmemory = 2G\nextra-file = "
					    "/a\nextra-file = /b\ndisk-store = 512M\n"
					    "gates = yes\ngate-limits = wakeup=5000,memory=1\nallow-unknown = yes\n"
					    "max-blackout = 50ms\nmax-blackout-wait = 5s\n"
					    "regression = 10s\nrollback-on-failure = 60s\n");
	assert_int_equal(make("latest", NULL, &p, &e, &err), 0);
	assert_true(p->can);
	assert_string_equal(p->image.release, "7.10.1");
	assert_string_equal(p->engine_name, "fake");
	assert_non_null(strstr(p->engine_reason, "not broken: this machine has no second engine"));
	assert_int_equal(p->request.memory_bytes, 2ull << 30);
	assert_int_equal(e->env.disk_store_bytes, 512 << 20);
	assert_string_equal(p->request.extra_files[1], "/b");
	assert_true(p->gates.ask && p->gates.allow_unknown);
	assert_int_equal(p->gates.limit[KHO_GATE_WAKEUP], 5000);
	assert_int_equal(p->gates.limit[KHO_GATE_MEMORY], 1);
	assert_int_equal(p->gates.limit[KHO_GATE_BLACKOUT], 50000);
	assert_int_equal(p->config.max_blackout_wait_us, 5000000);
	assert_int_equal(p->gates.limit[KHO_GATE_TIMER], kho_gates[KHO_GATE_TIMER].limit);
	/* what the new kernel does: compare with what is recorded here, by the limits as they are here */
	assert_int_equal(p->config.regression_us, 10000000);
	assert_non_null(strstr(p->request.watch, " watch --rollback --for 60000ms --before /nonexistent/regression-before.json"
						 " --gate-limits wakeup=5000,memory=1 --allow-unknown"));
	assert_int_equal(p->workloads.w[0].rss_bytes, 1 << 20);
	assert_int_equal(p->generation, 2);
	j = kho_plan_json(p);
	assert_string_equal(kho_json_get_str(j, "to"), "7.10.1");
	assert_int_equal(json_object_array_length(kho_json_get(j, "steps")), 12);
	done(p, e);
}

static int make_from(struct kho_plan_request rq, const char *conf, struct kho_plan **p, struct kho_engine **e, struct kho_err *err)
{
	struct kho_world w = { fake_serializers, engines, "/nonexistent", "/nonexistent" };

	put_text("/etc/khoctl/khoctl.conf", conf);
	rq.sysroot = dir;
	rq.to = "latest";
	*p = NULL;
	*e = NULL;
	*err = (struct kho_err)KHO_ERR_INIT;
	return kho_plan_make(&w, &rq, p, e, err);
}

static int make_canary(struct kho_plan_request rq, const char *conf, struct kho_plan **p, struct kho_engine **e, struct kho_err *err)
{
	rq.canary = true;
	return make_from(rq, conf, p, e, err);
}

/* Measured unless khoctl.conf or argv say no; what is asked for in argv is demanded, whatever khoctl.conf says. */
static void test_gates(void **state)
{
	static const struct {
		const char *conf, *limits;
		bool gates, no_gates, ask, demanded;
	} cases[] = {
		{ "", NULL, false, false, true, false },
		{ "", NULL, false, true, false, false },
		{ "", NULL, true, false, true, true },
		{ "gates = yes\n", NULL, false, false, true, false },
		{ "gates = yes\n", NULL, false, true, false, false },
		{ "gates = no\n", NULL, false, false, false, false },
		{ "gates = no\n", NULL, true, false, true, true },
		{ "gates = no\n", "memory=1", false, false, true, true },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct kho_plan_request rq = { .gates = cases[i].gates, .no_gates = cases[i].no_gates, .gate_limits = cases[i].limits };
		struct kho_plan *p;
		struct kho_engine *e;
		struct kho_err err;

		assert_int_equal(make_from(rq, cases[i].conf, &p, &e, &err), 0);
		assert_int_equal(p->gates.ask, cases[i].ask);
		assert_int_equal(p->gates.demanded, cases[i].demanded);
		done(p, e);
		if (!rq.gates && !rq.gate_limits)
			continue;
		rq.no_gates = true;
		assert_int_equal(make_from(rq, cases[i].conf, &p, &e, &err), -EINVAL);
		assert_non_null(strstr(err.msg, "--no-gates"));
	}
}

/* A canary: no workload, no serializer, and nothing that khoctl.conf says of what follows an upgrade. */
static void test_canary(void **state)
{
	struct kho_plan *p;
	struct kho_engine *e;
	struct kho_err err;

	(void)state;
	assert_int_equal(make_canary((struct kho_plan_request){ .cpus = 2, .memory = 1ull << 30 }, "after-commit = /bin/x\nrollback-on-failure = 60s\n"
				     "cpus-before-freeze = 7\nengine = broken\ncmdline = quiet\n", &p, &e, &err), 0);
	assert_true(p->can && p->canary.on && p->gates.ask);
	assert_string_equal(p->engine_name, "fake");
	assert_int_equal(p->workloads.n, 0);
	assert_null(p->world.serializers[0]);
	assert_null(p->request.after_commit);
	assert_null(p->request.watch);
	assert_int_equal(p->request.cpus_before_freeze, 2);
	assert_int_equal(p->request.memory_bytes, 1 << 30);
	assert_string_equal(p->request.extra_cmdline, "quiet");
	assert_int_equal(p->canary.mixes, KHO_MIX_BUILT_IN);
	assert_int_equal(p->canary.us, 60000000);
	assert_int_equal(p->canary.rounds, 3); /* of 4 s */
	assert_int_equal(p->canary.slower, KHO_CANARY_SLOWER);
	done(p, e);
	assert_int_equal(make_canary((struct kho_plan_request){ .load = "net", .load_for = "10m", .slower = "20" }, "", &p, &e, &err), 0);
	assert_int_equal(p->canary.rounds, 120); /* of 5 s: Ctrl-C is heard in between */
	assert_int_equal(p->canary.slower, 20);
	assert_int_equal(p->request.cpus_before_freeze, 1);
	done(p, e);
	assert_int_equal(make_canary((struct kho_plan_request){ .load = "/bin/true 1 2", .load_for = "30s" }, "", &p, &e, &err), 0);
	assert_int_equal(p->canary.rounds, 3);
	assert_string_equal(p->canary.command, "/bin/true 1 2");
	assert_string_equal(p->request.program, "/bin/true");
	assert_true(p->can);
	done(p, e);
	assert_int_equal(make_canary((struct kho_plan_request){ .load = "/nowhere/at-all", .engine = "fake" }, "", &p, &e, &err), 0);
	assert_false(p->can);
	assert_int_equal(kho_plan_refusal(p, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.msg, "/nowhere/at-all: there is no such program here"));
	done(p, e);
}

/* With a shadow: that workload alone, and those serializers that can copy; that it is stopped is said before. */
static void test_shadow(void **state)
{
	struct kho_plan *p;
	struct kho_engine *e;
	struct kho_err err;
	bool told = false;

	(void)state;
	put_text("/etc/khoctl/workloads.d/other.conf", "match = /usr/bin/other\n");
	assert_int_equal(make_canary((struct kho_plan_request){ .shadow = "redis" }, "", &p, &e, &err), 0);
	assert_true(p->can && p->canary.on && e->env.copy);
	assert_int_equal(p->workloads.n, 1);
	assert_int_equal(p->workloads.w[0].root, 100);
	assert_ptr_equal(p->world.serializers[0], &ser_beta);
	assert_ptr_equal(p->world.serializers[1], &ser_omega);
	assert_null(p->world.serializers[2]);
	for (size_t i = 0; i < p->report.n; i++)
		told |= p->report.items[i].verdict == KHO_V_LOSS && !strcmp(p->report.items[i].area, "shadow") &&
			strstr(p->report.items[i].what, "stands still while it is copied");
	assert_true(told);
	done(p, e);
	assert_int_equal(make_canary((struct kho_plan_request){ .shadow = "postgres" }, "", &p, &e, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "--shadow postgres: no workload of that name"));
	put_text("/run/redis.pid", "4711");
	assert_int_equal(make_canary((struct kho_plan_request){ .shadow = "redis" }, "", &p, &e, &err), 0);
	assert_false(p->can);
	done(p, e);
}

static void test_canary_refused(void **state)
{
	static const struct {
		struct kho_plan_request rq;
		const char *says;
	} bad[] = {
		{ { .load = "shced" }, "load 'shced'" },       { { .load_for = "soon" }, "--for soon" },
		{ { .load_for = "100ms" }, "at least 1500 ms" }, { { .load_for = "1441m" }, "at most a day" },
		{ { .slower = "a lot" }, "--slower a lot" },   { { .slower = "-1" }, "--slower -1" },
		{ { .slower = "10001" }, "0 to 10000" },       { { .cpus = 5000 }, "--cpus" },
		{ { .load = "/bin/true", .load_for = "31m" }, "at most 30 minutes" },
	};
	struct kho_plan *p;
	struct kho_engine *e;
	struct kho_err err;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		if (make_canary(bad[i].rq, "", &p, &e, &err) != -EINVAL || !strstr(err.msg, bad[i].says))
			fail_msg("%s: %s", bad[i].says, err.msg);
	}
	/* by an engine that has no kernel beside this one there is none */
	assert_int_equal(make_canary((struct kho_plan_request){ .engine = "broken" }, "", &p, &e, &err), 0);
	assert_false(p->can);
	done(p, e);
}

/* What argv alone is wrong in; what the machine lacks, or its configuration says, is no matter. */
static void test_request_check(void **state)
{
	static const struct {
		struct kho_plan_request rq;
		const char *says; /* NULL: it can be */
	} t[] = {
		{ { .to = "/nowhere", .engine = "broken", .regression = "10s", .max_blackout = "50ms" }, NULL },
		{ { .engine = "auto", .canary = true, .load = "/nowhere/at-all", .load_for = "30s" }, NULL },
		{ { .engine = "warp" }, "engine 'warp' is unknown" },
		{ { .regression = "31s" }, "from 1s to 30s" },
		{ { .max_blackout = "0ms" }, "--max-blackout 0ms" },
		{ { .gates = true, .no_gates = true }, "--no-gates" },
		{ { .canary = true, .slower = "much" }, "--slower much" },
	};
	struct kho_world w = { fake_serializers, engines, "/nonexistent", "/nonexistent" };

	(void)state;
	put_text("/etc/khoctl/khoctl.conf", "memory = lots\n");
	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		struct kho_err err = KHO_ERR_INIT;

		assert_int_equal(kho_plan_request_check(&w, &t[i].rq, &err), t[i].says ? -EINVAL : 0);
		assert_true(!t[i].says || strstr(err.msg, t[i].says));
	}
}

static void test_no_other(void **state)
{
	char cmd[128];
	struct kho_plan *p;
	struct kho_engine *e;
	struct kho_err err;

	(void)state;
	snprintf(cmd, sizeof(cmd), "rm %s/boot/vmlinuz-7* %s/boot/vmlinuz-6.1.9", dir, dir);
	assert_int_equal(system(cmd), 0);
	assert_int_equal(make("latest", NULL, &p, &e, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "no other kernel"));
}

static void test_bad_target(void **state)
{
	struct kho_plan *p;
	struct kho_engine *e;
	struct kho_err err;

	(void)state;
	assert_int_equal(make("/etc/passwd", NULL, &p, &e, &err), -ENOEXEC);
	assert_int_equal(make("/boot/nothing", NULL, &p, &e, &err), -ENOENT);
	assert_int_equal(make("/boot/vmlinuz-7.3.4", "warp", &p, &e, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "engine 'warp' is unknown"));
	put_text("/etc/khoctl/khoctl.conf", "memory = lots\n");
	assert_int_equal(make("/boot/vmlinuz-7.3.4", NULL, &p, &e, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "khoctl.conf:1:"));
	put_text("/etc/khoctl/khoctl.conf", "disk-store = 1M\n");
	assert_int_equal(make("/boot/vmlinuz-7.3.4", NULL, &p, &e, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "want 16M to 64G"));
	put_text("/etc/khoctl/khoctl.conf", "initramfs = mine\n");
	assert_int_equal(make("/boot/vmlinuz-7.3.4", NULL, &p, &e, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "initramfs = mine: want auto, khoctl or host"));
	put_text("/etc/khoctl/khoctl.conf", "gate-limits = wakeup=soon\n");
	assert_int_equal(make("/boot/vmlinuz-7.3.4", NULL, &p, &e, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "gate-limits in khoctl.conf: limit 'wakeup=soon': want a whole number"));
	put_text("/etc/khoctl/khoctl.conf", "max-blackout = soon\n");
	assert_int_equal(make("/boot/vmlinuz-7.3.4", NULL, &p, &e, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "khoctl.conf:1: max-blackout"));
	put_text("/etc/khoctl/khoctl.conf", "max-blackout = 50ms\nmax-blackout-wait = 601s\n");
	assert_int_equal(make("/boot/vmlinuz-7.3.4", NULL, &p, &e, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "max-blackout-wait: want at most 600s"));
	put_text("/etc/khoctl/khoctl.conf", "regression = 31s\n");
	assert_int_equal(make("/boot/vmlinuz-7.3.4", NULL, &p, &e, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "regression: want a time from 1s to 30s"));
	put_text("/etc/khoctl/khoctl.conf", "outgoing-panic = maybe\n");
	assert_int_equal(make("/boot/vmlinuz-7.3.4", NULL, &p, &e, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "outgoing-panic = maybe: want complete or wait"));
	put_text("/etc/khoctl/khoctl.conf", "initramfs = host\ninitrd = /boot/x\n");
	assert_int_equal(make("/boot/vmlinuz-7.3.4", NULL, &p, &e, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "want one of both"));
	put_text("/etc/khoctl/khoctl.conf", "disk-store = 65G\n");
	assert_int_equal(make("/boot/vmlinuz-7.3.4", NULL, &p, &e, &err), -EINVAL);
}

/* What was said of a workload is told with it; and what ends with this kernel, and for how long. */
static void test_workloads(void **state)
{
	struct kho_plan *p;
	struct kho_engine *e;
	struct kho_err err;
	struct json_object *j, *w, *why;

	(void)state;
	fake.judge = true;
	assert_int_equal(make("latest", NULL, &p, &e, &err), 0);
	j = kho_plan_json(p);
	w = json_object_array_get_idx(kho_json_get(j, "workloads"), 0);
	assert_string_equal(kho_json_get_str(w, "name"), "redis");
	assert_string_equal(kho_json_get_str(w, "kind"), "pidfile");
	assert_string_equal(kho_json_get_str(w, "declared"), "/run/redis.pid");
	assert_string_equal(kho_json_get_str(w, "verdict"), "loss");
	why = kho_json_get(w, "why");
	assert_int_equal(json_object_array_length(why), 1);
	assert_string_equal(json_object_get_string(json_object_array_get_idx(why, 0)), "moves; its socket does not");
	assert_int_equal(json_object_array_length(kho_json_get(j, "restarted")), 1);
	assert_true(kho_json_get_int(j, "predicted_blackout_us") > 0);
	assert_int_equal(kho_json_get_int(w, "predicted_blackout_us"), kho_json_get_int(j, "predicted_blackout_us"));
	assert_non_null(strstr(p->basis, "estimated; self-test: 100.0 ms, processes: 1 with 1.0 MiB, PCI functions: 0, mounts: 2"));
	json_object_put(j);
	done(p, e);
	/* nothing was measured */
	fake.judge = false;
	assert_int_equal(make("latest", NULL, &p, &e, &err), 0);
	j = kho_plan_json(p);
	assert_null(kho_json_get(j, "predicted_blackout_us"));
	w = json_object_array_get_idx(kho_json_get(j, "workloads"), 0);
	assert_string_equal(kho_json_get_str(w, "verdict"), "ok");
	json_object_put(j);
	done(p, e);
	put_text("/run/redis.pid", "4711");
	assert_int_equal(make("latest", NULL, &p, &e, &err), 0);
	j = kho_plan_json(p);
	w = json_object_array_get_idx(kho_json_get(j, "workloads"), 0);
	assert_string_equal(kho_json_get_str(w, "verdict"), "no");
	json_object_put(j);
	done(p, e);
}

/* What forbids the upgrade is in the plan's report, with its fix. */
static void refused(const char *engine, const char *area, const char *what)
{
	struct kho_plan *p;
	struct kho_engine *e;
	struct kho_err err;
	bool found = false;

	assert_int_equal(make("/boot/vmlinuz-7.3.4", engine, &p, &e, &err), 0);
	assert_false(p->can);
	for (size_t i = 0; i < p->report.n; i++)
		found |= p->report.items[i].verdict == KHO_V_NO &&
			 !strcmp(p->report.items[i].area, area) &&
			 strstr(p->report.items[i].what, what);
	assert_true(found);
	done(p, e);
}

static void test_refusals(void **state)
{
	char cmd[128];

	(void)state;
	fake.probe_no = true;
	refused(NULL, "process", "io_uring");
	fake.probe_no = false;
	fake.engine_no = true;
	refused("fake", "memory", "1 GiB");
	/* none can: the first one's report */
	refused(NULL, "engine", "no second engine");
	fake.engine_no = false;
	/* a blackout that is too long however little is written, and one that nobody knows */
	fake.judge = true;
	put_text("/etc/khoctl/khoctl.conf", "max-blackout = 1ms\nallow-unknown = yes\n");
	refused(NULL, "blackout", "at the least, and 1.0 ms is allowed (estimated");
	put_text("/etc/khoctl/khoctl.conf", "max-blackout = 60s\n");
	refused(NULL, "blackout", "60.00 s is allowed, and the blackout is not known");
	put_text("/etc/khoctl/khoctl.conf", "");
	fake.judge = false;
	put_text("/run/redis.pid", "4711");
	refused(NULL, "workload", "does not run");
	snprintf(cmd, sizeof(cmd), "rm -r %s/lib/modules/7.3.4", dir);
	assert_int_equal(system(cmd), 0);
	refused(NULL, "modules", "no modules");
}

/* A plan to undo with is made of the journal; nothing is probed, and nothing needs to be there
 * still. */
static void test_for_undo(void **state)
{
	static const char text[] = "[{\"rec\":\"begin\",\"from\":\"6.12.107\",\"to\":\"7.3.4\","
				   "\"generation\":2,"
				   "\"engine\":\"fake\",\"image\":\"/none\",\"old_image\":\"/boot/"
				   "old\"}]";
	_cleanup_json_ struct json_object *records = json_tokener_parse(text);
	struct kho_world w = { fake_serializers, engines, "/nonexistent", "/nonexistent" };
	struct kho_engine *e = NULL;
	struct kho_plan *p = NULL;
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	assert_int_equal(kho_plan_for_undo(&w, records, &p, &e, &err), 0);
	assert_non_null(e);
	assert_string_equal(p->engine_name, "fake");
	assert_string_equal(p->image.release, "7.3.4");
	assert_int_equal(p->report.n, 0);
	done(p, e);
	kho_json_str(json_object_array_get_idx(records, 0), "engine", "gone");
	p = NULL;
	e = NULL;
	assert_int_equal(kho_plan_for_undo(&w, records, &p, &e, &err), -EINVAL);
	kho_json_str(json_object_array_get_idx(records, 0), "rec", "step");
	assert_int_equal(kho_plan_for_undo(&w, records, &p, &e, &err), -EBADMSG);
	assert_null(p);
	/* of a canary: its steps, no serializer, no workload */
	kho_json_str(json_object_array_get_idx(records, 0), "rec", "begin");
	kho_json_str(json_object_array_get_idx(records, 0), "engine", "fake");
	kho_json_bool(json_object_array_get_idx(records, 0), "canary", true);
	assert_int_equal(kho_plan_for_undo(&w, records, &p, &e, &err), 0);
	assert_true(p->canary.on && !p->world.serializers[0]);
	assert_int_equal(p->workloads.n, 0);
	done(p, e);
	/* and of one with a shadow: who may have stopped it */
	kho_json_str(json_object_array_get_idx(records, 0), "shadow", "redis");
	assert_int_equal(kho_plan_for_undo(&w, records, &p, &e, &err), 0);
	assert_string_equal(p->canary.shadow, "redis");
	assert_ptr_equal(p->world.serializers[0], &ser_beta);
	done(p, e);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = { T(test_latest), T(test_workloads), T(test_no_other), T(test_bad_target),
					    T(test_refusals), T(test_for_undo), T(test_gates), T(test_canary), T(test_shadow), T(test_canary_refused),
					    T(test_request_check) };

	return cmocka_run_group_tests_name("plan", tests, NULL, NULL);
}
