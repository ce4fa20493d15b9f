// SPDX-License-Identifier: GPL-2.0-only
/*
 * The plan as JSON: the one form that all others are made from.
 */
#include "lib/json.h"
#include "orchestrator/plan_parts.h"
#include "orchestrator/steps.h"

static struct json_object *restarted_list(const struct kho_report *r)
{
	struct json_object *list = json_object_new_array();

	for (size_t i = 0; i < r->nrestarted; i++)
		json_object_array_add(list, json_object_new_string(r->restarted[i]));
	return list;
}

static struct json_object *prediction(const struct kho_plan *p)
{
	static const char *const names[KHO_NPARTS] = { "freeze", "shift", "jump", "restore", "commit" };
	struct json_object *o = json_object_new_object(), *parts = json_object_new_object();

	kho_json_str(o, "basis", p->basis);
	kho_json_int(o, "upgrades", p->prediction.upgrades);
	json_object_object_add(o, "facts", kho_facts_json(&p->facts));
	for (int i = 0; i < KHO_NPARTS && p->prediction.us; i++)
		if (i != KHO_PART_JUMP || p->prediction.jumps)
			kho_json_int(parts, names[i], (int64_t)p->prediction.part_us[i]);
	json_object_object_add(o, "parts_us", parts);
	return o;
}

static struct json_object *id_list(const uint32_t *ids, uint32_t n)
{
	struct json_object *list = json_object_new_array();

	for (uint32_t i = 0; i < n; i++)
		json_object_array_add(list, json_object_new_int64(ids[i]));
	return list;
}

static struct json_object *step_list(const struct kho_step *steps, size_t n)
{
	struct json_object *list = json_object_new_array();

	for (size_t i = 0; i < n; i++) {
		struct json_object *o = json_object_new_object();

		kho_json_str(o, "name", steps[i].name);
		kho_json_int(o, "deadline_us", (int64_t)steps[i].deadline_us);
		kho_json_bool(o, "blackout", steps[i].flags & KHO_STEP_BLACKOUT);
		kho_json_bool(o, "point_of_no_return", steps[i].flags & KHO_STEP_NO_RETURN);
		kho_json_str(o, "what", steps[i].what);
		json_object_array_add(list, o);
	}
	return list;
}

struct json_object *kho_plan_json(const struct kho_plan *p)
{
	const struct kho_engine_plan *ep = &p->engine_plan;
	struct json_object *o = json_object_new_object(), *cpus = json_object_new_object(),
			   *mem = json_object_new_object(), *init = json_object_new_object();

	kho_json_bool(o, "can", p->can);
	kho_json_known(o, "predicted_blackout_us", (int64_t)p->prediction.us);
	json_object_object_add(o, "prediction", prediction(p));
	kho_json_str(o, "from", p->from);
	kho_json_str(o, "to", p->image.release);
	kho_json_int(o, "generation", p->generation);
	kho_json_str(o, "image", p->image_path);
	kho_json_str(o, "modules_dir", p->modules_dir);
	kho_json_str(o, "initrd", p->config.initrd);
	kho_json_str(init, "from", ep->initramfs);
	kho_json_str(init, "path", ep->initramfs_path);
	kho_json_str(init, "reason", ep->initramfs_reason);
	json_object_object_add(o, "initramfs", init);
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
	json_object_object_add(o, "workloads", kho_plan_workloads(p));
	json_object_object_add(o, "restarted", restarted_list(&p->report));
	json_object_object_add(o, "report", kho_json_report(&p->report));
	if (p->canary.on)
		kho_json_bool(o, "canary", true);
	json_object_object_add(o, "steps", p->canary.on ? step_list(kho_canary_steps, kho_ncanary_steps) : step_list(kho_steps, kho_nsteps));
	return o;
}
