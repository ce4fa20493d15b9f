// SPDX-License-Identifier: GPL-2.0-only
/*
 * khoctl report: the last upgrade, out of its journal; on whichever kernel has it.
 */
#include <stdio.h>

#include "khoctl/canary.h"
#include "khoctl/text.h"
#include "lib/json.h"
#include "orchestrator/journal.h"
#include "orchestrator/report.h"

int kho_verb_report(const struct kho_cli *c)
{
	_cleanup_json_ struct json_object *records = NULL, *report = NULL;
	struct kho_err err = KHO_ERR_INIT;

	if (kho_journal_read(KHO_RUN_DIR, KHO_STATE_DIR, &records, NULL, &err) < 0)
		return kho_cli_error(c, KHO_EXIT_REFUSED, &err);
	report = kho_report_of_journal(records);
	if (c->json)
		kho_cli_json(json_object_get(report));
	else if (kho_json_get(kho_json_get(report, "canary"), "load"))
		kho_text_canary(kho_json_get(report, "canary"), stdout);
	else
		kho_text_report(report, stdout);
	return KHO_EXIT_OK;
}
