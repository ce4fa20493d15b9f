// SPDX-License-Identifier: GPL-2.0-only
/*
 * The plan: facts + configuration + request -> one constant.  Reads only.
 * Choosing the engine is in plan_engine.c, printing in plan_print.c.
 */
#include "orchestrator/plan.h"

#include <string.h>

#include "lib/cleanup.h"
#include "lib/conf.h"
#include "lib/format.h"
#include "lib/io.h"
#include "lib/json.h"
#include "lib/pod.h"
#include "lib/record.h"
#include "orchestrator/converge.h"
#include "orchestrator/plan_parts.h"
#include "orchestrator/record.h"

#define K(name, type, field)                                   \
	{                                                      \
		name, type, offsetof(struct kho_config, field) \
	}
static const struct kho_conf_key config_keys[] = {
	K("engine", KHO_CONF_STRING, engine),
	K("initrd", KHO_CONF_PATH, initrd),
	K("initramfs", KHO_CONF_STRING, initramfs),
	K("cmdline", KHO_CONF_STRING, cmdline),
	K("after-commit", KHO_CONF_STRING, after_commit),
	K("extra-file", KHO_CONF_PATHS, extra_files),
	K("cpus-before-freeze", KHO_CONF_UINT, cpus_before_freeze),
	K("memory", KHO_CONF_SIZE, memory),
	K("precopy-rounds", KHO_CONF_UINT, precopy_rounds),
	K("disk-store", KHO_CONF_SIZE, disk_store),
	K("outgoing-panic", KHO_CONF_STRING, outgoing_panic),
	K("gates", KHO_CONF_BOOL, gates),
	K("gate-limits", KHO_CONF_STRING, gate_limits),
	K("allow-unknown", KHO_CONF_BOOL, allow_unknown),
	K("max-blackout", KHO_CONF_DURATION, max_blackout_us),
	K("max-blackout-wait", KHO_CONF_DURATION, max_blackout_wait_us),
	K("regression", KHO_CONF_DURATION, regression_us),
	K("rollback-on-failure", KHO_CONF_DURATION, rollback_us),
	K("boot-default", KHO_CONF_BOOL, boot_default),
	K("upgrade-on-install", KHO_CONF_BOOL, upgrade_on_install),
	{ 0 },
};

int kho_plan_running(const char *sysroot, char **out, struct kho_err *err)
{
	_cleanup_free_ char *path = kho_sysroot_path(sysroot, "/proc/sys/kernel/osrelease");

	if (!path)
		return kho_fail(err, -ENOMEM, "running release: out of memory");
	return kho_read_line(path, out, err);
}

bool kho_outgoing_panic_is_known(const char *policy)
{
	return !policy || !strcmp(policy, "complete") || !strcmp(policy, "wait");
}

static int check_config(const struct kho_config *c, const char *path, struct kho_err *err)
{
	const char *i = c->initramfs;

	if (!c->precopy_rounds || c->precopy_rounds > 1000)
		return kho_fail(err, -EINVAL, "%s: precopy-rounds: want 1 to 1000", path);
	if (c->disk_store < KHO_DISK_STORE_MIN || c->disk_store > KHO_DISK_STORE_MAX)
		return kho_fail(err, -EINVAL, "%s: disk-store: want 16M to 64G", path);
	if (i && !kho_initramfs_mode_is_known(i))
		return kho_fail(err, -EINVAL, "%s: initramfs = %s: want auto, khoctl or host", path, i);
	if (c->max_blackout_us > INT64_MAX)
		return kho_fail(err, -EINVAL, "%s: max-blackout: want less", path);
	if (c->max_blackout_wait_us > KHO_CONVERGE_WAIT_MAX_US)
		return kho_fail(err, -EINVAL, "%s: max-blackout-wait: want at most 600s", path);
	if (!kho_outgoing_panic_is_known(c->outgoing_panic))
		return kho_fail(err, -EINVAL, "%s: outgoing-panic = %s: want complete or wait", path, c->outgoing_panic);
	if (i && c->initrd && strcmp(i, "auto"))
		return kho_fail(err, -EINVAL, "%s: initramfs = %s and initrd = %s: want one of both", path, i, c->initrd);
	return 0;
}

static int load_config(struct kho_plan *p, struct kho_err *err)
{
	_cleanup_free_ char *path = kho_sysroot_path(p->sysroot, "/etc/khoctl/khoctl.conf");
	int rc;

	p->config.gates = true;
	p->config.precopy_rounds = 30;
	p->config.disk_store = KHO_DISK_STORE_DEFAULT;
	p->config.max_blackout_wait_us = KHO_CONVERGE_WAIT_US;
	if (!path)
		return kho_fail(err, -ENOMEM, "read khoctl.conf: out of memory");
	if (!kho_exists(path))
		return 0;
	rc = kho_conf_load(path, config_keys, &p->config, err);
	return rc < 0 ? rc : check_config(&p->config, path, err);
}

static int find_image(struct kho_plan *p, const char *to, struct kho_err *err)
{
	int rc = kho_plan_target(&p->world, p->sysroot, p->from, to, &p->image_path, err);

	return rc < 0 ? rc : kho_bzimage_read(p->image_path, &p->image, err);
}

static int find_modules(struct kho_plan *p)
{
	static const char *const roots[] = { "/lib/modules", "/usr/lib/modules" };
	_cleanup_free_ char *fix = NULL;

	for (size_t i = 0; i < 2; i++) {
		_cleanup_free_ char *dir = NULL, *dep = NULL;

		if (asprintf(&dir, "%s%s/%s", p->sysroot, roots[i], p->image.release) < 0 ||
		    asprintf(&dep, "%s/modules.dep", dir) < 0)
			return -ENOMEM;
		if (!p->modules_dir)
			p->modules_dir = strdup(dir);
		if (!kho_exists(dep))
			continue;
		free(p->modules_dir);
		p->modules_dir = steal_ptr(dir);
		return 0;
	}
	if (!p->modules_dir || asprintf(&fix, "apt install linux-image-%s", p->image.release) < 0)
		return -ENOMEM;
	return kho_report_add(&p->report, KHO_V_NO, "modules", p->image.release, fix,
			      "no modules for it in %s", p->modules_dir);
}

static int find_workloads(struct kho_plan *p, struct kho_err *err)
{
	struct kho_err why = KHO_ERR_INIT;
	int rc = kho_workloads_load(p->sysroot, NULL, &p->workloads, err);

	if (rc < 0)
		return rc;
	if (!p->workloads.n)
		return kho_report_add(&p->report, KHO_V_LOSS, "workload", "none",
				      "declare them in /etc/khoctl/workloads.d/NAME.conf",
				      "no workload is declared: every process ends with this "
				      "kernel");
	rc = kho_workloads_add_pods(p->sysroot, &p->workloads, &why);
	if (!rc)
		rc = kho_workloads_resolve(p->sysroot, &p->workloads, &why);
	if (rc < 0)
		return kho_report_add(&p->report, KHO_V_NO, "workload", "find", NULL, "%s",
				      why.msg);
	return 0;
}

static int find_generation(struct kho_plan *p, struct kho_err *err)
{
	struct kho_instance_info *list = NULL;
	size_t n = 0;
	int rc = kho_instances(p->sysroot, &list, &n, err);

	if (rc < 0)
		return rc;
	p->generation = 2;
	for (size_t i = 0; i < n; i++)
		if (list[i].self)
			p->generation = list[i].generation + 1;
	kho_instances_free(list, n);
	return 0;
}

static int find_old_image(struct kho_plan *p)
{
	if (asprintf(&p->old_image, "/boot/vmlinuz-%s", p->from) < 0) {
		p->old_image = NULL;
		return -ENOMEM;
	}
	return 0;
}

/* Limits of gates: of the table, of the configuration, of argv. */
static int apply_gates(struct kho_plan *p, const struct kho_plan_request *rq, struct kho_err *err)
{
	uint64_t max = 0;

	kho_gate_policy_init(&p->gates);
	if (p->config.max_blackout_us && !rq->any_blackout)
		p->gates.limit[KHO_GATE_BLACKOUT] = (int64_t)p->config.max_blackout_us;
	p->gates.demanded = rq->gates || rq->gate_limits || p->canary.on;
	if (rq->no_gates && p->gates.demanded)
		return kho_fail(err, -EINVAL, "--no-gates with --gates or --gate-limits: want one of both");
	p->gates.ask = p->gates.demanded || (p->config.gates && !rq->no_gates);
	p->gates.allow_unknown = p->config.allow_unknown || rq->allow_unknown;
	if (p->config.gate_limits && kho_gate_policy_set(&p->gates, p->config.gate_limits, err))
		return kho_wrap(err, "gate-limits in khoctl.conf");
	if (rq->gate_limits && kho_gate_policy_set(&p->gates, rq->gate_limits, err))
		return kho_wrap(err, "--gate-limits");
	if (rq->max_blackout && (!kho_parse_duration(rq->max_blackout, &max) || !max || max > INT64_MAX))
		return kho_fail(err, -EINVAL, "--max-blackout %s: want a time like 50ms", rq->max_blackout);
	if (max)
		p->gates.limit[KHO_GATE_BLACKOUT] = (int64_t)max;
	return 0;
}

/* argv goes over, or behind, what the configuration says */
static int apply_argv(struct kho_plan *p, const struct kho_plan_request *rq, struct kho_err *err)
{
	char *both;

	if (rq->memory)
		p->config.memory = rq->memory;
	if (!kho_outgoing_panic_is_known(rq->outgoing_panic))
		return kho_fail(err, -EINVAL, "--outgoing-panic %s: want complete or wait", rq->outgoing_panic);
	if (rq->outgoing_panic) {
		free(p->config.outgoing_panic);
		p->config.outgoing_panic = strdup(rq->outgoing_panic);
	}
	if (rq->rollback_on_failure && !kho_parse_duration(rq->rollback_on_failure, &p->config.rollback_us))
		return kho_fail(err, -EINVAL, "--rollback-on-failure %s: want a time like 60s", rq->rollback_on_failure);
	if (rq->regression && !kho_parse_duration(rq->regression, &p->config.regression_us))
		return kho_fail(err, -EINVAL, "--regression %s: want a time like 10s", rq->regression);
	if (!rq->cmdline)
		return 0;
	if (asprintf(&both, "%s%s%s", p->config.cmdline ? p->config.cmdline : "",
		     p->config.cmdline ? " " : "", rq->cmdline) < 0)
		return kho_fail(err, -ENOMEM, "plan: out of memory");
	free(p->config.cmdline);
	p->config.cmdline = both;
	return 0;
}

/* All of that. Nothing of the machine is looked at. */
static int apply_request(struct kho_plan *p, const struct kho_plan_request *rq, struct kho_err *err)
{
	int rc = apply_argv(p, rq, err);

	if (rc == 0 && rq->canary)
		rc = kho_plan_canary(p, rq, err);
	if (rc == 0)
		rc = apply_gates(p, rq, err);
	if (rc == 0 && p->config.regression_us && (p->config.regression_us < KHO_RECORD_LEAST_US || p->config.regression_us > KHO_RECORD_MOST_US))
		rc = kho_fail(err, -EINVAL, "regression: want a time from 1s to 30s");
	if (rc == 0 && rq->state_dir && *rq->state_dir != '/')
		rc = kho_fail(err, -EINVAL, "--state-dir %s: want an absolute path", rq->state_dir);
	return rc;
}

int kho_plan_request_check(const struct kho_world *world, const struct kho_plan_request *rq, struct kho_err *err)
{
	struct kho_plan *p = calloc(1, sizeof(*p)); /* of no configuration: what is wrong then is of argv */
	const struct kho_engine_entry *en;
	int rc;

	if (!p)
		return kho_fail(err, -ENOMEM, "plan: out of memory");
	p->world = *world;
	rc = apply_request(p, rq, err);
	if (rc == 0 && rq->engine && strcmp(rq->engine, "auto"))
		rc = kho_plan_engine_find(world, rq->engine, &en, err);
	kho_plan_free(p);
	return rc;
}

/* Without links: the next kernel looks for it below another root. */
static int find_carry_dir(struct kho_plan *p, const char *dir, struct kho_err *err)
{
	if (!dir)
		return 0;
	p->carry_dir = *p->sysroot ? strdup(dir) : realpath(dir, NULL);
	return p->carry_dir ? 0 : kho_fail_errno(err, "--state-dir %s", dir);
}

/* The limits that it is to compare by, as they are here; its words are split at blanks, and none of these has one. */
static int plan_compare(const struct kho_plan *p, const struct kho_plan_request *rq, char **out)
{
	const char *conf = p->config.gate_limits, *argv = rq->gate_limits;

	return asprintf(out, " --before %s/" KHO_RECORD_BEFORE "%s%s%s%s%s", p->world.state_dir, conf || argv ? " --gate-limits " : "", conf ? conf : "",
			conf && argv ? "," : "", argv ? argv : "", p->gates.allow_unknown ? " --allow-unknown" : "");
}

/* This program, on the kernel to come. */
static int plan_watch(struct kho_plan *p, const struct kho_plan_request *rq, struct kho_err *err)
{
	_cleanup_free_ char *compare = NULL;
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (!p->config.rollback_us && !p->config.regression_us)
		return 0;
	if (n <= 0)
		return kho_fail_errno(err, "read /proc/self/exe");
	self[n] = '\0';
	if (p->config.regression_us && plan_compare(p, rq, &compare) < 0)
		return kho_fail(err, -ENOMEM, "plan: out of memory");
	return asprintf(&p->watch, "%s watch%s --for %llums%s", self, p->config.rollback_us ? " --rollback" : "",
			(unsigned long long)p->config.rollback_us / 1000, compare ? compare : "") < 0
		       ? kho_fail(err, -ENOMEM, "plan: out of memory")
		       : 0;
}

static void fill_request(struct kho_plan *p)
{
	p->request = (struct kho_engine_request){
		.image = p->image_path,
		.release = p->image.release,
		.initrd = p->config.initrd,
		.initramfs = p->config.initramfs,
		.modules_dir = p->modules_dir,
		.extra_cmdline = p->config.cmdline ? p->config.cmdline : "",
		.extra_files = (const char *const *)p->config.extra_files,
		.program = p->canary.program,
		.devices_stay = p->canary.on,
		.after_commit = p->config.after_commit,
		.watch = p->watch,
		.workloads = &p->workloads,
		.cpus_before_freeze = (unsigned)p->config.cpus_before_freeze,
		.memory_bytes = p->config.memory,
		.sysroot = p->sysroot,
		.run_dir = p->world.run_dir,
		.state_dir = p->world.state_dir,
		.carry_dir = p->carry_dir,
	};
}

static int gather(struct kho_plan *p, const struct kho_plan_request *rq, struct kho_err *err)
{
	int rc = load_config(p, err);

	if (rc == 0)
		rc = apply_request(p, rq, err);
	if (rc == 0)
		rc = find_carry_dir(p, rq->state_dir, err);
	if (rc == 0)
		rc = plan_watch(p, rq, err);
	if (rc == 0)
		rc = kho_plan_running(p->sysroot, &p->from, err);
	if (rc == 0)
		rc = find_image(p, rq->to, err);
	if (rc == 0)
		rc = find_modules(p) < 0 ? kho_fail(err, -ENOMEM, "plan: out of memory") : 0;
	if (rc == 0 && !p->canary.on)
		rc = find_workloads(p, err);
	if (rc == 0 && p->canary.shadow)
		rc = kho_plan_shadow(p, err);
	if (rc == 0)
		rc = find_generation(p, err);
	if (rc == 0)
		rc = find_old_image(p) < 0 ? kho_fail(err, -ENOMEM, "plan: out of memory") : 0;
	/* for the journal: if this upgrade is undone, there is still a way back from the running kernel */
	if (rc == 0 && kho_plan_target(&p->world, p->sysroot, p->from, "previous", &p->previous_image, NULL) < 0)
		p->previous_image = NULL;
	return rc;
}

int kho_plan_make(const struct kho_world *world, const struct kho_plan_request *rq,
		  struct kho_plan **out, struct kho_engine **out_engine, struct kho_err *err)
{
	struct kho_plan *p = calloc(1, sizeof(*p));
	const char *engine;
	int rc;

	if (!p)
		return kho_fail(err, -ENOMEM, "plan: out of memory");
	p->world = *world;
	p->sysroot = strdup(rq->sysroot ? rq->sysroot : "");
	rc = p->sysroot ? gather(p, rq, err) : kho_fail(err, -ENOMEM, "plan: out of memory");
	if (rc == 0) {
		fill_request(p);
		engine = rq->engine ? rq->engine : p->config.engine && !p->canary.on ? p->config.engine : "auto";
		rc = kho_plan_choose_engine(p, engine, out_engine, err);
	}
	if (rc == 0)
		rc = kho_plan_probe_host(p, err);
	if (rc == 0 && *out_engine)
		rc = kho_plan_probe_state(p, *out_engine, err);
	if (rc == 0 && (!p->canary.on || p->canary.shadow))
		rc = kho_plan_predict(p, *out_engine, err);
	if (rc == 0 && !p->canary.on)
		rc = kho_converge_check(p, err);
	if (rc == 0 && p->canary.shadow)
		rc = kho_plan_shadow_tell(p, err);
	if (rc < 0) {
		if (*out_engine)
			(*out_engine)->ops->free(*out_engine);
		*out_engine = NULL;
		kho_plan_free(p);
		return rc;
	}
	p->can = *out_engine && kho_report_worst(&p->report) != KHO_V_NO;
	*out = p;
	return 0;
}

static int recall(struct kho_plan *p, const struct json_object *begin, struct kho_err *err)
{
	const char *carry_dir = kho_json_get_str(begin, "state_dir"), *shadow = kho_json_get_str(begin, "shadow");
	int rc = 0;

	p->carry_dir = *carry_dir ? strdup(carry_dir) : NULL;
	p->sysroot = strdup("");
	p->image_path = strdup(kho_json_get_str(begin, "image"));
	p->from = strdup(kho_json_get_str(begin, "from"));
	p->old_image = strdup(kho_json_get_str(begin, "old_image"));
	p->engine_name = strdup(kho_json_get_str(begin, "engine"));
	p->engine_reason = strdup("recorded");
	p->generation = (uint32_t)kho_json_get_int(begin, "generation");
	snprintf(p->image.release, sizeof(p->image.release), "%s", kho_json_get_str(begin, "to"));
	if (!p->sysroot || !p->image_path || !p->from || !p->old_image || !p->engine_name ||
	    !p->engine_reason || (*carry_dir && !p->carry_dir))
		return kho_fail(err, -ENOMEM, "recall the plan: out of memory");
	(void)!load_config(p, NULL);
	p->canary.on = json_object_get_boolean(kho_json_get(begin, "canary"));
	if (p->canary.on && *shadow)
		rc = kho_plan_shadow_recall(p, shadow, err);
	else if (p->canary.on)
		p->world.serializers = kho_no_serializers;
	else if (!kho_workloads_declared(p->sysroot, &p->workloads, NULL))
		(void)!kho_workloads_resolve(p->sysroot, &p->workloads, NULL);
	fill_request(p);
	return rc;
}

int kho_plan_for_undo(const struct kho_world *world, struct json_object *records,
		      struct kho_plan **out, struct kho_engine **out_engine, struct kho_err *err)
{
	const struct json_object *begin = kho_record_find(records, "begin");
	const struct kho_engine_entry *en = world->engines;
	struct kho_plan *p;
	int rc;

	if (!begin)
		return kho_fail(err, -EBADMSG, "the journal does not say what was begun");
	p = calloc(1, sizeof(*p));
	if (!p)
		return kho_fail(err, -ENOMEM, "recall the plan: out of memory");
	p->world = *world;
	rc = recall(p, begin, err);
	while (rc == 0 && en->name && strcmp(en->name, p->engine_name))
		en++;
	if (rc == 0 && !en->name)
		rc = kho_fail(err, -EINVAL, "this khoctl has no engine '%s'", p->engine_name);
	if (rc == 0)
		rc = en->new (&p->request, out_engine, err);
	if (rc < 0) {
		kho_plan_free(p);
		return rc;
	}
	*out = p;
	return 0;
}

int kho_plan_refusal(const struct kho_plan *p, struct kho_err *err)
{
	for (size_t i = 0; i < p->report.n; i++) {
		const struct kho_report_item *it = &p->report.items[i];

		if (it->verdict == KHO_V_NO)
			return kho_fail(err, -EOPNOTSUPP, "%s %s: %s%s%s", it->area, it->subject,
					it->what, *it->fix ? "; " : "", it->fix);
	}
	return 0;
}

void kho_plan_free(struct kho_plan *p)
{
	if (!p)
		return;
	kho_conf_done(config_keys, &p->config);
	kho_workloads_done(&p->workloads);
	kho_engine_plan_done(&p->engine_plan);
	kho_report_done(&p->report);
	free(p->sysroot);
	free(p->image_path);
	free(p->modules_dir);
	free(p->from);
	free(p->old_image);
	free(p->watch);
	free(p->canary.command);
	free(p->canary.program);
	free(p->canary.shadow);
	free(p->canary.copiers);
	free(p->previous_image);
	free(p->carry_dir);
	free(p->engine_name);
	free(p->engine_reason);
	free(p);
}
