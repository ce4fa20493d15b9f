// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a test asks for in the environment: KHOCTL_FAULT (lib/fault.h) and KHOCTL_DEADLINE_SECONDS, so that who waits for
 * what will never come has not to wait for minutes.
 */
#include "khoctl/cli.h"

#include <stdlib.h>

#include "orchestrator/steps.h"

#define LANES_MAX 64

int kho_cli_faults(const struct kho_engine *e, struct kho_faults *out, uint64_t *out_cap_us, struct kho_err *err)
{
	const struct kho_serializer *const *s = kho_cli_world()->serializers;
	const char *lanes[LANES_MAX + 1] = { NULL }, *cap = getenv("KHOCTL_DEADLINE_SECONDS");
	const struct kho_fault_names known = {
		.steps = kho_step_names,
		.lanes = lanes,
		.messages = e->ops->link_messages ? e->ops->link_messages() : NULL,
	};

	for (size_t i = 0; s[i] && i < LANES_MAX; i++)
		lanes[i] = s[i]->name;
	*out_cap_us = cap ? strtoull(cap, NULL, 10) * 1000000ull : 0;
	return kho_faults_parse(getenv("KHOCTL_FAULT"), &known, out, err);
}
