// SPDX-License-Identifier: GPL-2.0-only
/* Making a plan out of a recorded tree: target, modules, workloads, engine; what is wrong is said
 * by name. */
#include "plan_rig.h"

static int make(const char *to, const char *engine, struct kho_plan **p, struct kho_engine **e, struct kho_err *err)
{
	return make_request((struct kho_plan_request){ .to = to, .engine = engine }, p, e, err);
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
					    T(test_refusals), T(test_for_undo) };

	return cmocka_run_group_tests_name("plan", tests, NULL, NULL);
}
