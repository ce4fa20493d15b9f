// SPDX-License-Identifier: GPL-2.0-only
/* The table of steps.  See orchestrator/steps.h. */
#include "orchestrator/steps.h"

#include <string.h>

#include "orchestrator/step_list.h"

const struct kho_step kho_steps[] = {
#define X(name_, run_, undo_, seconds_, flags_, what_) \
	{ #name_, run_, undo_, (seconds_)*1000000ull, flags_, what_ },
#include "orchestrator/steps.def"
#undef X
};

const struct kho_step kho_canary_steps[] = {
#define X(...)
#define BOTH(name_, run_, undo_, seconds_, flags_, what_) { #name_, run_, undo_, (seconds_)*1000000ull, flags_, what_ },
#define CANARY(...) BOTH(__VA_ARGS__)
#include "orchestrator/steps.def"
#undef X
};

const size_t kho_ncanary_steps = sizeof(kho_canary_steps) / sizeof(*kho_canary_steps);

const size_t kho_nsteps = sizeof(kho_steps) / sizeof(*kho_steps);

const char *const kho_step_names[] = {
#define X(name_, run_, undo_, seconds_, flags_, what_) #name_,
#define CANARY(...) X(__VA_ARGS__)
#include "orchestrator/steps.def"
#undef X
	NULL,
};

_Static_assert(sizeof(kho_steps) / sizeof(*kho_steps) == 12, "steps.def and the docs list twelve "
							     "steps");

int kho_step_find_in(const struct kho_step *list, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(list[i].name, name))
			return (int)i;
	return -1;
}

int kho_step_find(const char *name)
{
	return kho_step_find_in(kho_steps, kho_nsteps, name);
}
