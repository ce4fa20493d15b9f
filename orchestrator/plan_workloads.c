// SPDX-License-Identifier: GPL-2.0-only
/*
 * What becomes of each workload, out of all that was said of it; and how long it will stand still.
 */
#include <stdio.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/json.h"
#include "orchestrator/plan_parts.h"

int kho_plan_predict(struct kho_plan *p, const struct kho_engine *e, struct kho_err *err)
{
	_cleanup_free_ char *dir = kho_sysroot_path(p->sysroot, p->world.state_dir);
	struct kho_sample past[KHO_SAMPLES_MAX];
	bool jumps = e && e->ops->jumps;

	if (!dir)
		return kho_fail(err, -ENOMEM, "predict the blackout: out of memory");
	p->facts = kho_facts_of(&p->report, &p->workloads, e && e->env.root_in_ram);
	kho_predict(&p->facts, jumps, past, kho_samples_load(dir, jumps, past), &p->prediction);
	kho_prediction_basis(&p->prediction, &p->facts, p->basis, sizeof(p->basis));
	return 0;
}

static enum kho_verdict verdict_of(const struct kho_report *r, const char *workload)
{
	enum kho_verdict worst = KHO_V_OK;

	for (size_t i = 0; i < r->n; i++)
		if (!strcmp(r->items[i].workload, workload) && r->items[i].verdict > worst)
			worst = r->items[i].verdict;
	return worst;
}

/* All that is not well, each thing once. */
static struct json_object *why(const struct kho_report *r, const struct kho_workload *w)
{
	struct json_object *list = json_object_new_array();
	const char *workload = w->name;

	if (!w->root)
		json_object_array_add(list, json_object_new_string("does not run"));
	for (size_t i = 0; i < r->n; i++) {
		const struct kho_report_item *it = &r->items[i];
		bool said = strcmp(it->workload, workload) || it->verdict == KHO_V_OK;

		for (size_t k = 0; !said && k < i; k++)
			said = !strcmp(r->items[k].workload, workload) && !strcmp(r->items[k].what, it->what);
		if (!said)
			json_object_array_add(list, json_object_new_string(it->what));
	}
	return list;
}

static const char *kind_of(const struct kho_workload *w)
{
	return w->unit	      ? "unit"
	       : w->container ? "container"
	       : w->pidfile   ? "pidfile"
	       : w->match     ? "match"
			      : "cgroup";
}

static struct json_object *workload_json(const struct kho_plan *p, const struct kho_workload *w)
{
	struct json_object *o = json_object_new_object(), *pids = json_object_new_array();
	enum kho_verdict v = verdict_of(&p->report, w->name);

	kho_json_str(o, "name", w->name);
	kho_json_str(o, "kind", kind_of(w));
	kho_json_str(o, "declared", kho_workload_declared(w));
	kho_json_str(o, "verdict", w->root || v == KHO_V_NO ? kho_verdict_name(v) : "no");
	json_object_object_add(o, "why", why(&p->report, w));
	/* all stop with the first freeze and are seen again when the network is released */
	kho_json_known(o, "predicted_blackout_us", (int64_t)p->prediction.us);
	for (size_t k = 0; k < w->npids; k++)
		json_object_array_add(pids, json_object_new_int(w->pids[k]));
	json_object_object_add(o, "pids", pids);
	kho_json_int(o, "rss_bytes", (int64_t)w->rss_bytes);
	kho_json_str(o, "health", w->health_tcp ? w->health_tcp : w->health_command);
	return o;
}

struct json_object *kho_plan_workloads(const struct kho_plan *p)
{
	struct json_object *list = json_object_new_array();

	for (size_t i = 0; i < p->workloads.n; i++)
		json_object_array_add(list, workload_json(p, &p->workloads.w[i]));
	return list;
}

struct json_object *kho_plan_record(const struct kho_plan *p)
{
	struct json_object *o = json_object_new_object(), *list = json_object_new_array();

	kho_json_str(o, "rec", "plan");
	kho_json_int(o, "predicted_us", (int64_t)p->prediction.us);
	kho_json_str(o, "basis", p->basis);
	json_object_object_add(o, "facts", kho_facts_json(&p->facts));
	/* a shadow's is not moved: its blackout is none of a report's */
	for (size_t i = 0; !p->canary.on && i < p->workloads.n; i++) {
		const struct kho_workload *w = &p->workloads.w[i];
		struct json_object *e = json_object_new_object();

		kho_json_str(e, "name", w->name);
		kho_json_str(e, "kind", kind_of(w));
		kho_json_str(e, "declared", kho_workload_declared(w));
		json_object_array_add(list, e);
	}
	json_object_object_add(o, "workloads", list);
	return o;
}
