/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Parts of making a plan; for plan*.c only.
 */
#ifndef KHO_PLAN_PARTS_H
#define KHO_PLAN_PARTS_H

#include "orchestrator/plan.h"

/* The engine of that name, of the table. -EINVAL: there is none. */
int kho_plan_engine_find(const struct kho_world *w, const char *name, const struct kho_engine_entry **out, struct kho_err *err) __must_check;

/*
 * Engine by name, or for "auto" the first whose probe does not say no; with its plan, report and
 * reason. None can: the report of the first one is kept and *out is that engine. Negative: unknown
 * name, or a failure.
 */
int kho_plan_choose_engine(struct kho_plan *p, const char *name, struct kho_engine **out,
			   struct kho_err *err) __must_check;

/* What is true of the host whatever the engine: lockdown, IOMMU. Adds to the report. */
int kho_plan_probe_host(struct kho_plan *p, struct kho_err *err) __must_check;

/* A canary's part of the request; no serializer and no workload takes part, but for a shadow's, and nothing follows it. */
int kho_plan_canary(struct kho_plan *p, const struct kho_plan_request *rq, struct kho_err *err) __must_check;
/* Its shadow alone among the workloads, and what becomes of that: to the report. -ENOENT: none is declared by that name. */
int kho_plan_shadow(struct kho_plan *p, struct kho_err *err) __must_check;
/* The same of a canary whose khoctl died: as far as it can be found, and only by name. */
int kho_plan_shadow_recall(struct kho_plan *p, const char *name, struct kho_err *err) __must_check;
/* How long it will stand still, when that is predicted. Adds to the report. */
int kho_plan_shadow_tell(struct kho_plan *p, struct kho_err *err) __must_check;
/* What an engine must be able to do for a canary, and leave to this kernel. Adds to the report of a candidate. */
int kho_plan_canary_engine(const struct kho_plan *p, const struct kho_engine *e, const struct kho_engine_plan *ep, struct kho_report *r);

/* Every serializer's probe. Adds to the report. */
int kho_plan_probe_state(struct kho_plan *p, struct kho_engine *e,
			 struct kho_err *err) __must_check;

/* The length of the blackout, from what the probes have counted and from earlier upgrades. */
int kho_plan_predict(struct kho_plan *p, const struct kho_engine *e, struct kho_err *err) __must_check;

/* What becomes of each workload: a list of objects. */
struct json_object *kho_plan_workloads(const struct kho_plan *p);

#endif
