// SPDX-License-Identifier: GPL-2.0-only
/*
 * The control groups (version 2) of processes that are restored.  Paths come from the other kernel
 * and are looked at before they are used.  Their limits hold from before the network is let in; the
 * init system that owns them sets them again from its own files.
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/workload.h"
#include "state-serializers/common.h"
#include "state-serializers/proc/place.h"

#define CGROUPS "/sys/fs/cgroup"

int kho_cgroup_make(const char *cg, struct kho_err *err)
{
	char path[PATH_MAX];

	if (!*cg)
		return 0;
	if (!kho_cgroup_path_is_valid(cg) ||
	    snprintf(path, sizeof(path), CGROUPS "%s", cg) >= (int)sizeof(path))
		return kho_fail(err, -EINVAL, "\"%.200s\" is no path of a control group", cg);
	return kho_make_dirs(path, 0755, err) ? kho_wrap(err, "make control group") : 0;
}

int kho_cgroup_enter(const char *cg, pid_t pid, struct kho_err *err)
{
	char path[PATH_MAX], text[16];
	int rc = kho_cgroup_make(cg, err);

	if (rc || !*cg)
		return rc;
	snprintf(path, sizeof(path), CGROUPS "%s/cgroup.procs", cg);
	snprintf(text, sizeof(text), "%d", pid);
	return kho_write_existing(path, text, err);
}

/* --- limits and weights --- */

/* Only those that mean the same on any kernel: no devices, no CPU numbers. */
static const struct {
	const char *name, *value; /* by default */
} settings[] = {
	{ "cpu.weight", "100" },       { "cpu.idle", "0" },	 { "cpu.max", "max 100000" },
	{ "memory.min", "0" },	       { "memory.low", "0" },	 { "memory.high", "max" },
	{ "memory.max", "max" },       { "memory.swap.max", "max" }, { "memory.oom.group", "0" },
	{ "pids.max", "max" },	       { "io.weight", "default 100" },
};

static int read_setting(const char *dir, size_t i, KhoProc__Cgroup *c)
{
	_cleanup_free_ char *path = NULL, *value = NULL;
	KhoProc__CgroupSetting *s;

	if (asprintf(&path, "%s/%s", dir, settings[i].name) < 0)
		return -ENOMEM;
	if (kho_read_line(path, &value, NULL) < 0 || !strcmp(value, settings[i].value))
		return 0;
	s = malloc(sizeof(*s));
	if (!s)
		return -ENOMEM;
	kho_proc__cgroup_setting__init(s);
	if (!kho_pb_set(&s->name, settings[i].name) && !kho_pb_set(&s->value, value) &&
	    !kho_pb_append(&c->settings, &c->n_settings, s))
		return 0;
	kho_proc__cgroup_setting__free_unpacked(s, NULL);
	return -ENOMEM;
}

static int read_group(const char *sysroot, const char *cg, KhoProc__PlanWorkload *out)
{
	_cleanup_free_ char *dir = NULL, *path = NULL, *controllers = NULL;
	KhoProc__Cgroup *c;
	int rc;

	for (size_t i = 0; i < out->n_cgroups; i++)
		if (!strcmp(out->cgroups[i]->path, cg))
			return 0;
	if (asprintf(&dir, "%s" CGROUPS "%s", sysroot, cg) < 0 ||
	    asprintf(&path, "%s/cgroup.subtree_control", dir) < 0)
		return -ENOMEM;
	c = malloc(sizeof(*c));
	if (!c)
		return -ENOMEM;
	kho_proc__cgroup__init(c);
	rc = kho_pb_set(&c->path, cg);
	if (!rc && kho_read_line(path, &controllers, NULL) >= 0)
		rc = kho_pb_set(&c->controllers, controllers);
	for (size_t i = 0; !rc && i < KHO_ARRAY_SIZE(settings); i++)
		rc = read_setting(dir, i, c);
	if (!rc)
		rc = kho_pb_append(&out->cgroups, &out->n_cgroups, c);
	if (rc)
		kho_proc__cgroup__free_unpacked(c, NULL);
	return rc;
}

/* From the top. */
static int read_groups_of(const char *sysroot, pid_t pid, KhoProc__PlanWorkload *out)
{
	_cleanup_free_ char *cg = kho_cgroup_of(sysroot, pid);
	int rc;

	if (!cg || !strcmp(cg, "/"))
		return 0;
	rc = read_group(sysroot, "/", out);
	for (char *p = cg[0] ? strchr(cg + 1, '/') : NULL; !rc && p; p = strchr(p + 1, '/')) {
		*p = '\0';
		rc = read_group(sysroot, cg, out);
		*p = '/';
	}
	return rc ? rc : read_group(sysroot, cg, out);
}

int kho_cgroup_read(const char *sysroot, const struct kho_workload *w, KhoProc__PlanWorkload *out,
		    struct kho_err *err)
{
	int rc = 0;

	for (size_t i = 0; !rc && i < w->npids; i++)
		rc = read_groups_of(sysroot, w->pids[i], out);
	return rc ? kho_fail(err, rc, "control groups of %s: out of memory", w->name) : 0;
}

void kho_cgroup_plan_done(KhoProc__PlanWorkload *w)
{
	for (size_t i = 0; i < w->n_cgroups; i++)
		kho_proc__cgroup__free_unpacked(w->cgroups[i], NULL);
	free(w->cgroups);
	w->cgroups = NULL;
	w->n_cgroups = 0;
}

/* One by one: what cannot be had must not cost the others. */
static void add_controllers(const KhoProc__Cgroup *c)
{
	_cleanup_free_ char *copy = strdup(c->controllers);
	char path[PATH_MAX], word[64], *save = NULL;

	snprintf(path, sizeof(path), CGROUPS "%s/cgroup.subtree_control", c->path);
	for (char *w = copy ? strtok_r(copy, " ", &save) : NULL; w; w = strtok_r(NULL, " ", &save)) {
		snprintf(word, sizeof(word), "+%s", w);
		(void)!kho_write_existing(path, word, NULL); /* the limits that miss it say so */
	}
}

int kho_cgroup_prepare(const KhoProc__PlanWorkload *w, struct kho_err *err)
{
	int rc = 0;

	for (size_t i = 0; !rc && i < w->n_cgroups; i++) {
		rc = strcmp(w->cgroups[i]->path, "/") ? kho_cgroup_make(w->cgroups[i]->path, err) : 0;
		if (!rc && kho_cgroup_path_is_valid(w->cgroups[i]->path))
			add_controllers(w->cgroups[i]);
	}
	return rc;
}

static bool is_known(const char *name)
{
	for (size_t i = 0; i < KHO_ARRAY_SIZE(settings); i++)
		if (!strcmp(settings[i].name, name))
			return true;
	return false;
}

int kho_cgroup_limit(const KhoProc__PlanWorkload *w, struct kho_err *err)
{
	int first = 0;

	for (size_t i = 0; i < w->n_cgroups; i++) {
		const KhoProc__Cgroup *c = w->cgroups[i];

		for (size_t k = 0; kho_cgroup_path_is_valid(c->path) && k < c->n_settings; k++) {
			struct kho_err one = KHO_ERR_INIT;
			char path[PATH_MAX];

			if (!is_known(c->settings[k]->name) ||
			    snprintf(path, sizeof(path), CGROUPS "%s/%s", c->path, c->settings[k]->name) >=
				    (int)sizeof(path))
				continue;
			kho_first_failure(kho_write_existing(path, c->settings[k]->value, &one), &one,
					  &first, err);
		}
	}
	return first;
}
