// SPDX-License-Identifier: GPL-2.0-only
/* The tables behind everything a user can type.  See khoctl/cli.h. */
#include <stddef.h>

#include "khoctl/cli.h"

const struct kho_verb kho_verbs[] = {
#define X(id, name, fn, args, least, most, help) { name, fn, args, least, most, help },
#include "khoctl/verbs.def"
#undef X
};
_Static_assert(sizeof(kho_verbs) / sizeof(*kho_verbs) == KHO_NVERBS, "verbs.def");

#define V(id) (1u << KHO_VERB_##id)
#define ALL   ((1u << KHO_NVERBS) - 1)
const struct kho_opt kho_opts[] = {
#define X(verbs, name, type, field, metavar, help) \
	{ verbs, name, KHO_OPT_##type, offsetof(struct kho_cli, field), metavar, help },
#include "khoctl/options.def"
#undef X
};
const size_t kho_nopts = sizeof(kho_opts) / sizeof(*kho_opts);

const struct kho_exit_row kho_exits[] = {
#define X(id, number, meaning) { number, meaning },
#include "khoctl/exitcodes.def"
#undef X
};
const size_t kho_nexits = sizeof(kho_exits) / sizeof(*kho_exits);
