// SPDX-License-Identifier: GPL-2.0-only
/*
 * load, of a canary: the same loads on both kernels, in turn, round by round; then the canary is measured once more.  What this
 * kernel has loaded of modules for it is unloaded in the undo.
 */
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#include "bpf/spare.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"
#include "lib/json.h"
#include "lib/modload.h"
#include "orchestrator/canary.h"
#include "orchestrator/gates.h"
#include "orchestrator/step_list.h"

#define MODULES_MAX (1u << 20)
#define PASSES	    4 /* of unloading: some need others */

struct run {
	struct kho_upgrade *u;
	struct kho_difference_limits limits;
	cpu_set_t here; /* the CPUs of this kernel */
	uint64_t slice_us;
};

/* --- modules of this kernel --- */

/* Names of those that are loaded; NULL: they cannot be read. */
static struct json_object *loaded(const struct kho_upgrade *u)
{
	_cleanup_free_ char *path = kho_sysroot_path(u->plan->sysroot, "/proc/modules"), *text = NULL;
	struct json_object *list;

	if (!path || kho_read_file(path, MODULES_MAX, &text, NULL, NULL) < 0)
		return NULL;
	list = json_object_new_array();
	for (const char *p = text; *p; p += strcspn(p, "\n"), p += *p == '\n')
		json_object_array_add(list, json_object_new_string_len(p, (int)strcspn(p, " \n")));
	return list;
}

static bool has(struct json_object *list, const char *name)
{
	for (size_t i = 0; i < json_object_array_length(list); i++)
		if (!strcmp(json_object_get_string(json_object_array_get_idx(list, i)), name))
			return true;
	return false;
}

/* Those that the load "crypto" makes the kernel load. */
static bool is_of_load(const char *name)
{
	return !fnmatch("af_alg", name, 0) || !fnmatch("algif_*", name, 0) || !fnmatch("*sha256*", name, 0);
}

static int remember(struct kho_upgrade *u, struct kho_err *err)
{
	struct json_object *rec;

	json_object_put(u->modules);
	u->modules = loaded(u);
	if (!u->modules)
		return 0;
	rec = kho_record_new("modules");
	json_object_object_add(rec, "old", json_object_get(u->modules));
	return kho_journal_add(u->journal, rec, err);
}

/* Those that were not there before; one that somebody else uses by now stays. */
static void unload(struct kho_upgrade *u)
{
	_cleanup_json_ struct json_object *now = loaded(u);

	for (size_t i = 0; now && i < json_object_array_length(now); i++) {
		const char *name = json_object_get_string(json_object_array_get_idx(now, i));

		if (is_of_load(name) && !has(u->modules, name))
			kho_module_unload(name);
	}
}

int kho_undo_load(struct kho_upgrade *u, struct kho_err *err)
{
	(void)err;
	for (unsigned i = 0; u->modules && i < PASSES; i++)
		unload(u);
	json_object_put(u->modules);
	u->modules = NULL;
	return 0;
}

/* --- load --- */

static int on_canary(struct run *r, const struct kho_load *l, struct kho_load_result *out, struct kho_err *err)
{
	struct kho_upgrade *u = r->u;
	uint64_t begin = kho_clock_us();
	char name[48];
	int rc = u->engine->ops->load(u->engine, l, kho_context_stopped, u, out, atomic_load(&u->deadline_us), err);

	snprintf(name, sizeof(name), "load %s, canary", kho_mixes[l->mix].name);
	if (rc < 0)
		return kho_wrap(err, "%s", kho_mixes[l->mix].name);
	kho_context_phase(u, name, begin, kho_clock_us());
	return 0;
}

/* What fails here says nothing of the canary: then there is nothing to compare it with. */
static int on_this_kernel(struct run *r, const struct kho_load *l, struct kho_load_result *out, struct kho_err *err)
{
	uint64_t begin = kho_clock_us();
	struct kho_err why = KHO_ERR_INIT;
	char name[48];
	int rc = kho_load_run(l, &r->here, kho_context_stopped, r->u, out, &why);

	if (rc == -EINTR)
		return kho_fail(err, rc, "%s", why.msg);
	if (rc < 0)
		snprintf(out->what, sizeof(out->what), "%s", why.msg);
	snprintf(name, sizeof(name), "load %s, this kernel", kho_mixes[l->mix].name);
	kho_context_phase(r->u, name, begin, kho_clock_us());
	return 0;
}

static int one_turn(struct run *r, enum kho_mix mix, struct kho_err *err)
{
	struct kho_canary *c = r->u->canary;
	const struct kho_load l = {
		.mix = mix,
		.command = mix == KHO_MIX_COMMAND ? r->u->plan->canary.command : NULL,
		.cpus = c->cpus,
		.us = r->slice_us,
	};
	struct kho_load_result there = { 0 }, here = { 0 };
	int rc = on_canary(r, &l, &there, err);

	if (rc == 0)
		rc = kho_context_check(r->u, err);
	if (rc == 0)
		rc = on_this_kernel(r, &l, &here, err);
	if (rc < 0)
		return rc;
	kho_mix_trial_add(&c->mix[mix], &there, &here, &r->limits);
	return kho_context_check(r->u, err);
}

static int all_turns(struct run *r, struct kho_err *err)
{
	const struct kho_canary_plan *p = &r->u->plan->canary;

	for (unsigned round = 0; round < p->rounds; round++) {
		for (int m = 0; m < KHO_NMIXES; m++) {
			int rc = p->mixes >> m & 1 ? one_turn(r, (enum kho_mix)m, err) : 0;

			if (rc < 0)
				return rc;
		}
		kho_context_note(r->u, "load: round %u of %u", round + 1, p->rounds);
	}
	return 0;
}

/* What is needed here before the first turn. */
static int get_ready(struct run *r, struct kho_err *err)
{
	struct kho_upgrade *u = r->u;
	struct kho_canary *c = u->canary;
	int rc = remember(u, err);

	c->cpus = u->plan->engine_plan.nbefore;
	return rc < 0 ? rc : kho_spare_cpus(c->cpus, &r->here, &c->busy, err);
}

int kho_step_load(struct kho_upgrade *u, struct kho_err *err)
{
	const struct kho_canary_plan *p = &u->plan->canary;
	struct run r = {
		.u = u,
		.limits = kho_canary_limits(p->slower),
		.slice_us = p->us / (unsigned)__builtin_popcount(p->mixes) / p->rounds,
	};
	int rc;

	u->canary->ours = true;
	rc = get_ready(&r, err);
	u->canary->ours = rc < 0;
	if (rc == 0)
		rc = all_turns(&r, err);
	return rc < 0 ? rc : kho_gates_incoming(u, KHO_GATES_READY, "gates", &u->canary->after, err);
}
