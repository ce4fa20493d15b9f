// SPDX-License-Identifier: GPL-2.0-only
/* --help, out of the tables.  See khoctl/usage.h. */
#include "khoctl/usage.h"

void kho_usage_all(FILE *f)
{
	fputs("khoctl: replace the running kernel without stopping what runs on it\n\nUsage: "
	      "khoctl VERB [OPTION...]\n\n",
	      f);
	for (int i = 0; i < KHO_NVERBS; i++)
		fprintf(f, "  %-9s %s\n", kho_verbs[i].name, kho_verbs[i].help);
	fputs("\nkhoctl VERB --help prints its options. Exit codes:\n\n", f);
	for (size_t i = 0; i < kho_nexits; i++)
		fprintf(f, "  %d  %s\n", kho_exits[i].number, kho_exits[i].meaning);
}

void kho_usage_verb(FILE *f, enum kho_verb_id v)
{
	fprintf(f, "Usage: khoctl %s%s%s [OPTION...]\n\n%s\n\n", kho_verbs[v].name,
		*kho_verbs[v].args ? " " : "", kho_verbs[v].args, kho_verbs[v].help);
	for (size_t i = 0; i < kho_nopts; i++) {
		char left[64];

		if (!(kho_opts[i].verbs & 1u << v))
			continue;
		snprintf(left, sizeof(left), "--%s%s%s", kho_opts[i].name,
			 kho_opts[i].metavar ? " " : "",
			 kho_opts[i].metavar ? kho_opts[i].metavar : "");
		fprintf(f, "  %-20s %s\n", left, kho_opts[i].help);
	}
}
