// SPDX-License-Identifier: GPL-2.0-only
/*
 * preflight: nothing that the plan's report forbids, and the image is still the one that was
 * planned with. With `regression` the workloads are recorded here: nothing has been done yet, so this is how they run.
 */
#include <inttypes.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "orchestrator/context.h"
#include "orchestrator/record.h"
#include "orchestrator/step_list.h"

static bool go_on(void *arg)
{
	return !kho_context_check(arg, NULL);
}

static uint64_t samples(const struct kho_recording *r)
{
	uint64_t n = 0;

	for (int m = 0; m < KHO_NMETRICS; m++)
		n += kho_hist_count(&r->times[m]);
	return n;
}

/* What is not known now will not be known later: that is said before anything is done. */
static int all_known(const struct kho_recording *r, const struct kho_gate_policy *p, struct kho_err *err)
{
	for (int i = 0; !p->allow_unknown && i < KHO_RECORD_NPARTS; i++)
		if (*r->why[i])
			return kho_fail(err, -EOPNOTSUPP, "%s; --allow-unknown goes on without it", r->why[i]);
	return 0;
}

static int record(struct kho_upgrade *u, struct kho_err *err)
{
	_cleanup_recording_ struct kho_recording r = { 0 };
	const struct kho_plan *p = u->plan;
	_cleanup_free_ char *path = NULL;
	uint64_t begin = kho_clock_us();
	int rc = kho_record_workloads(&p->workloads, p->config.regression_us, go_on, u, &r, err);

	if (rc == -ECANCELED)
		return kho_context_check(u, err);
	if (!rc)
		rc = all_known(&r, &p->gates, err);
	if (!rc && asprintf(&path, "%s/" KHO_RECORD_BEFORE, p->world.state_dir) < 0)
		rc = kho_fail(err, -ENOMEM, "out of memory");
	if (!rc)
		rc = kho_recording_save(&r, path, err);
	if (rc)
		return kho_wrap(err, "regression");
	kho_context_phase(u, "record", begin, kho_clock_us());
	kho_context_note(u, "regression: %s recorded for %.1f s, %" PRIu64 " samples", r.workloads, (double)r.us / 1e6, samples(&r));
	return 0;
}

int kho_step_preflight(struct kho_upgrade *u, struct kho_err *err)
{
	struct kho_bzimage now;
	int rc = kho_plan_refusal(u->plan, err);

	if (rc == 0)
		rc = kho_bzimage_read(u->plan->image_path, &now, err);
	if (rc < 0)
		return rc;
	if (strcmp(now.version, u->plan->image.version) ||
	    now.file_bytes != u->plan->image.file_bytes)
		return kho_fail(err, -ESTALE, "%s has changed since the plan was made; try again",
				u->plan->image_path);
	return u->plan->config.regression_us ? record(u, err) : 0;
}
