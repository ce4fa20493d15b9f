// SPDX-License-Identifier: GPL-2.0-only
/*
 * preflight: nothing that the plan's report forbids, and the image is still the one that was
 * planned with.
 */
#include <string.h>

#include "orchestrator/context.h"
#include "orchestrator/step_list.h"

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
	return 0;
}
