// SPDX-License-Identifier: GPL-2.0-only
/*
 * The plan as JSON: the one form that all others are made from.
 */
#include "lib/json.h"
#include "orchestrator/plan.h"
#include "orchestrator/steps.h"

static struct json_object *id_list(const uint32_t *ids, uint32_t n)
{
	struct json_object *list = json_object_new_array();

	for (uint32_t i = 0; i < n; i++)
		json_object_array_add(list, json_object_new_int64(ids[i]));
	return list;
}

static struct json_object *workload_list(const struct kho_workload_list *l)
{
	struct json_object *list = json_object_new_array();

	for (size_t i = 0; i < l->n; i++) {
		struct json_object *o = json_object_new_object();
		struct json_object *pids = json_object_new_array();

		kho_json_str(o, "name", l->w[i].name);
		for (size_t k = 0; k < l->w[i].npids; k++)
			json_object_array_add(pids, json_object_new_int(l->w[i].pids[k]));
		json_object_object_add(o, "pids", pids);
		kho_json_int(o, "rss_bytes", (int64_t)l->w[i].rss_bytes);
		kho_json_str(o, "health",
			     l->w[i].health_tcp ? l->w[i].health_tcp : l->w[i].health_command);
		json_object_array_add(list, o);
	}
	return list;
}

static struct json_object *step_list(void)
{
	struct json_object *list = json_object_new_array();

	for (size_t i = 0; i < kho_nsteps; i++) {
		struct json_object *o = json_object_new_object();

		kho_json_str(o, "name", kho_steps[i].name);
		kho_json_int(o, "deadline_us", (int64_t)kho_steps[i].deadline_us);
		kho_json_bool(o, "blackout", kho_steps[i].flags & KHO_STEP_BLACKOUT);
		kho_json_bool(o, "point_of_no_return", kho_steps[i].flags & KHO_STEP_NO_RETURN);
		kho_json_str(o, "what", kho_steps[i].what);
		json_object_array_add(list, o);
	}
	return list;
}

struct json_object *kho_plan_json(const struct kho_plan *p)
{
	const struct kho_engine_plan *ep = &p->engine_plan;
	struct json_object *o = json_object_new_object(), *cpus = json_object_new_object(),
			   *mem = json_object_new_object();

	kho_json_bool(o, "can", p->can);
	kho_json_str(o, "from", p->from);
	kho_json_str(o, "to", p->image.release);
	kho_json_int(o, "generation", p->generation);
	kho_json_str(o, "image", p->image_path);
	kho_json_str(o, "modules_dir", p->modules_dir);
	kho_json_str(o, "initrd", p->config.initrd);
	kho_json_str(o, "engine", p->engine_name);
	kho_json_str(o, "engine_reason", p->engine_reason);
	kho_json_str(o, "cmdline", ep->cmdline);
	json_object_object_add(cpus, "before_freeze", id_list(ep->apicids_before, ep->nbefore));
	json_object_object_add(cpus, "at_retirement", id_list(ep->apicids_after, ep->nafter));
	json_object_object_add(o, "cpus", cpus);
	kho_json_int(mem, "region_bytes", (int64_t)ep->region_bytes);
	kho_json_int(mem, "bulk_bytes", (int64_t)ep->bulk_bytes);
	kho_json_int(mem, "extra_bytes", (int64_t)ep->extra_bytes);
	kho_json_int(mem, "initrd_bytes", (int64_t)ep->initrd_bytes);
	json_object_object_add(o, "memory", mem);
	json_object_object_add(o, "workloads", workload_list(&p->workloads));
	json_object_object_add(o, "report", kho_json_report(&p->report));
	json_object_object_add(o, "steps", step_list());
	return o;
}
