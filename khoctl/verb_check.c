// SPDX-License-Identifier: GPL-2.0-only
/*
 * khoctl check: the plan's verdicts.  Nothing is touched; but its probes have CRIU dump and restore, may have the kernel verify an image in
 * the slot of kexec, and measure CPUs and memory, all of which would be in the way of an upgrade that runs.
 */
#include <stdio.h>

#include "khoctl/cli.h"
#include "khoctl/text.h"
#include "lib/json.h"

int kho_verb_check(const struct kho_cli *c)
{
	struct kho_plan_request rq = kho_cli_request(c);
	struct kho_err err = KHO_ERR_INIT;
	struct kho_engine *e = NULL;
	struct kho_plan *p = NULL;
	struct json_object *j;
	bool can;
	int rc;

	if (!rq.to)
		rq.to = "latest";
	rc = kho_cli_request_check(c, &rq);
	if (!rc)
		rc = kho_cli_need_no_upgrade(c);
	if (rc)
		return rc;
	rc = kho_plan_make(kho_cli_world(), &rq, &p, &e, &err);
	if (rc < 0)
		return kho_cli_error(c, kho_cli_refusal(rc), &err);
	can = p->can;
	j = kho_plan_json(p);
	if (c->json) {
		kho_cli_json(json_object_get(j));
	} else {
		kho_text_verdicts(j, 0, stdout);
		fputs("\n", stdout);
		kho_text_workloads(j, c->all, stdout);
		printf("\n%s -> %s by engine %s (%s): %s\n", p->from, p->image.release,
		       p->engine_name, p->engine_reason,
		       can ? "can be upgraded" : "CANNOT be upgraded, see the verdicts above");
	}
	json_object_put(j);
	if (e)
		e->ops->free(e);
	kho_plan_free(p);
	return can ? KHO_EXIT_OK : KHO_EXIT_REFUSED;
}
