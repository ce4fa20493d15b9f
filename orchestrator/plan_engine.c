// SPDX-License-Identifier: GPL-2.0-only
/*
 * The plan's choice of engine, and what engine, host and serializers say.
 */
#include <string.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "orchestrator/plan_parts.h"

static bool is_there(const struct kho_report *r, const struct kho_report_item *it)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->items[i].verdict == it->verdict && !strcmp(r->items[i].area, it->area) &&
		    !strcmp(r->items[i].subject, it->subject))
			return true;
	return false;
}

/* What plan and engine both find out is said once. */
static void move_items(struct kho_report *to, struct kho_report *from)
{
	size_t before = to->n;

	for (size_t i = 0; i < from->n; i++) {
		const struct kho_report_item *it = &from->items[i];

		if (is_there(&(struct kho_report){ .items = to->items, .n = before }, it))
			continue;
		(void)kho_report_add(to, it->verdict, it->area, it->subject, it->fix, "%s",
				     it->what);
	}
	kho_report_done(from);
}

struct candidate {
	struct kho_engine *e;
	struct kho_engine_plan plan;
	struct kho_report report;
	bool can;
};

static void candidate_done(struct candidate *c)
{
	if (c->e)
		c->e->ops->free(c->e);
	kho_engine_plan_done(&c->plan);
	kho_report_done(&c->report);
	*c = (struct candidate){ 0 };
}

/* An engine that cannot even say what is wrong gets an item that says so. */
static int try_engine(const struct kho_plan *p, const struct kho_engine_entry *entry,
		      struct candidate *c)
{
	struct kho_err why = KHO_ERR_INIT;
	int rc = entry->new (&p->request, &c->e, &why);

	if (rc == 0)
		rc = c->e->ops->probe(c->e, &c->plan, &c->report, &why);
	if (rc < 0 &&
	    kho_report_add(&c->report, KHO_V_NO, "engine", entry->name, NULL, "%s", why.msg) < 0)
		return -ENOMEM;
	if (rc == 0 && p->canary.on && kho_plan_canary_engine(p, c->e, &c->plan, &c->report) < 0)
		return -ENOMEM;
	c->can = rc == 0 && kho_report_worst(&c->report) != KHO_V_NO;
	return 0;
}

static int take(struct kho_plan *p, const char *name, const char *reason, struct candidate *c,
		struct kho_engine **out, struct kho_err *err)
{
	p->engine_name = strdup(name);
	p->engine_reason = strdup(reason);
	p->engine_plan = c->plan;
	c->plan = (struct kho_engine_plan){ 0 };
	move_items(&p->report, &c->report);
	*out = steal_ptr(c->e);
	candidate_done(c);
	return p->engine_name && p->engine_reason
		       ? 0
		       : kho_fail(err, -ENOMEM, "choose the engine: out of memory");
}

static int choose_auto(struct kho_plan *p, struct kho_engine **out, struct kho_err *err)
{
	char reason[400] = "";
	size_t len = 0;

	for (const struct kho_engine_entry *en = p->world.engines; en->name; en++) {
		struct candidate c = { 0 };

		if (try_engine(p, en, &c) < 0) {
			candidate_done(&c);
			return kho_fail(err, -ENOMEM, "choose the engine: out of memory");
		}
		if (c.can) {
			len += (size_t)snprintf(reason + len, sizeof(reason) - len,
						"%sthe first that can", len ? "; " : "");
			return take(p, en->name, reason, &c, out, err);
		}
		if (len < sizeof(reason) - 64)
			len += (size_t)snprintf(reason + len, 120, "%snot %s: %.90s",
						len ? "; " : "", en->name, kho_report_first_no(&c.report) ?: "");
		candidate_done(&c);
	}
	/* none can: go on with the first, its report says why */
	if (p->world.engines->name) {
		struct candidate c = { 0 };

		if (try_engine(p, p->world.engines, &c) < 0) {
			candidate_done(&c);
			return kho_fail(err, -ENOMEM, "choose the engine: out of memory");
		}
		return take(p, p->world.engines->name, "none can; this is what the first one lacks",
			    &c, out, err);
	}
	return kho_fail(err, -ENOSYS, "this khoctl has no engine");
}

int kho_plan_engine_find(const struct kho_world *w, const char *name, const struct kho_engine_entry **out, struct kho_err *err)
{
	const struct kho_engine_entry *en = w->engines;

	while (en->name && strcmp(en->name, name))
		en++;
	if (!en->name)
		return kho_fail(err, -EINVAL, "engine '%s' is unknown; give auto or %s", name, w->engines->name ? w->engines->name : "none");
	*out = en;
	return 0;
}

int kho_plan_choose_engine(struct kho_plan *p, const char *name, struct kho_engine **out,
			   struct kho_err *err)
{
	const struct kho_engine_entry *en;
	struct candidate c = { 0 };
	int rc;

	*out = NULL;
	if (!strcmp(name, "auto"))
		return choose_auto(p, out, err);
	rc = kho_plan_engine_find(&p->world, name, &en, err);
	if (rc < 0)
		return rc;
	if (try_engine(p, en, &c) < 0) {
		candidate_done(&c);
		return kho_fail(err, -ENOMEM, "choose the engine: out of memory");
	}
	return take(p, en->name, "asked for by name", &c, out, err);
}

static bool dir_has_entries(const char *path)
{
	_cleanup_closedir_ DIR *d = opendir(path);
	struct dirent *e;

	while (d && (e = readdir(d)))
		if (e->d_name[0] != '.')
			return true;
	return false;
}

int kho_plan_probe_host(struct kho_plan *p, struct kho_err *err)
{
	_cleanup_free_ char *lockdown = kho_sysroot_path(p->sysroot, "/sys/kernel/security/"
								     "lockdown");
	_cleanup_free_ char *iommu = kho_sysroot_path(p->sysroot, "/sys/class/iommu");
	_cleanup_free_ char *text = NULL;
	int rc;

	if (!lockdown || !iommu)
		return kho_fail(err, -ENOMEM, "probe the host: out of memory");
	if (kho_read_line(lockdown, &text, NULL) < 0 || strstr(text, "[none]"))
		rc = kho_report_add(&p->report, KHO_V_OK, "signature", "lockdown", NULL,
				    "this kernel does not enforce signed images or modules");
	else
		rc = kho_report_add(&p->report, KHO_V_OK, "signature", "lockdown",
				    "enroll the key that signs khoctl.ko (mokutil --import)",
				    "%s: the image is verified by this kernel before use, and "
				    "khoctl.ko must be signed",
				    text);
	if (rc == 0 && !dir_has_entries(iommu))
		rc = kho_report_add(&p->report, KHO_V_OK, "limit", "isolation", NULL,
				    "no IOMMU: the incoming kernel is trusted like this one");
	return rc < 0 ? kho_fail(err, rc, "probe the host: out of memory") : 0;
}

int kho_plan_probe_state(struct kho_plan *p, struct kho_engine *e, struct kho_err *err)
{
	e->env.workloads = &p->workloads;
	e->env.sysroot = p->sysroot;
	e->env.run_dir = p->world.run_dir;
	e->env.disk_store_bytes = p->config.disk_store;
	e->env.copy = p->canary.shadow;
	for (const struct kho_serializer *const *s = p->world.serializers; *s; s++) {
		struct kho_err why = KHO_ERR_INIT;

		if (!(*s)->probe || (*s)->probe(&e->env, &p->report, &why) == 0)
			continue;
		if (kho_report_add(&p->report, KHO_V_NO, (*s)->name, "probe", NULL, "%s", why.msg) <
		    0)
			return kho_fail(err, -ENOMEM, "probe %s: out of memory", (*s)->name);
	}
	return 0;
}
