// SPDX-License-Identifier: GPL-2.0-only
/*
 * gen-tables man|completion|docs|guide: a build tool that prints what the tables say; `make check-tables`
 * compares it with the committed files.
 */
#include <stdlib.h>
#include <string.h>

#include "bpf/gate.h"
#include "bpf/load.h"
#include "khoctl/usage.h"
#include "lib/cleanup.h"
#include "lib/io.h"
#include "orchestrator/plan.h"
#include "orchestrator/steps.h"

/* What follows a canary's step. */
static const char *then(size_t step)
{
	return step + 1 == kho_ncanary_steps ? "; then everything is undone" : "";
}

static void man_verbs(FILE *f)
{
	for (int v = 0; v < KHO_NVERBS; v++) {
		fprintf(f, "## %s\n\n*khoctl %s*%s%s", kho_verbs[v].name, kho_verbs[v].name,
			*kho_verbs[v].args ? " " : "", kho_verbs[v].args);
		fprintf(f, " [OPTION...]\n\n%s.\n\n", kho_verbs[v].help);
		for (size_t i = 0; i < kho_nopts; i++) {
			if (!(kho_opts[i].verbs & 1u << v))
				continue;
			fprintf(f, "*--%s*", kho_opts[i].name);
			if (kho_opts[i].metavar)
				fprintf(f, " _%s_", kho_opts[i].metavar);
			fprintf(f, "\n\t%s\n\n", kho_opts[i].help);
		}
	}
}

void kho_usage_man(FILE *f)
{
	fputs("khoctl(8)\n\n# NAME\n\nkhoctl - replace the running kernel without stopping what "
	      "runs on it\n\n# SYNOPSIS\n\n",
	      f);
	for (int v = 0; v < KHO_NVERBS; v++)
		fprintf(f, "*khoctl %s*%s%s [OPTION...]%s\n", kho_verbs[v].name,
			*kho_verbs[v].args ? " " : "", kho_verbs[v].args,
			v + 1 < KHO_NVERBS ? "++" : "");
	fputs("\n# DESCRIPTION\n\n"
	      "khoctl starts the incoming kernel next to the running (outgoing) one, carries the "
	      "declared workloads, their network "
	      "connections, devices and CPUs over to it, and retires the outgoing kernel. Until "
	      "the commit everything can be undone, and "
	      "is undone when anything goes wrong; after it the way back is another upgrade.\n\n"
	      "Workloads are declared in /etc/khoctl/workloads.d, see docs/upgrade-guide.md.\n\n"
	      "On a terminal *khoctl upgrade* shows what will be lost and asks before it begins, "
	      "unless *--yes* is given.\n\n"
	      "The terminal that typed *khoctl upgrade* only watches: the upgrade runs in a "
	      "process of its own, goes on when the terminal is "
	      "lost, and can be watched with *khoctl status --follow*. When the incoming kernel "
	      "has committed, the watching khoctl prints the "
	      "report and exits; about 1.5 seconds later this kernel gives away its last CPUs.\n\n# "
	      "VERBS\n\n",
	      f);
	man_verbs(f);
	fputs("# STEPS\n\nIn this order; *blackout* marks those in which workloads do not "
	      "answer.\n\n",
	      f);
	for (size_t i = 0; i < kho_nsteps; i++)
		fprintf(f, "*%s*%s\n\t%s (deadline %llu s)\n\n", kho_steps[i].name,
			kho_steps[i].flags & KHO_STEP_BLACKOUT ? " (blackout)" : "",
			kho_steps[i].what, (unsigned long long)kho_steps[i].deadline_us / 1000000);
	for (size_t i = 0; i < kho_ncanary_steps; i++)
		if (kho_step_find(kho_canary_steps[i].name) < 0)
			fprintf(f, "*%s* (of a canary, after *%s*%s)\n\t%s (deadline: %llu s, and four times *--for*)\n\n",
				kho_canary_steps[i].name, kho_canary_steps[i - 1].name, then(i), kho_canary_steps[i].what,
				(unsigned long long)kho_canary_steps[i].deadline_us / 1000000);
	fputs("# EXIT STATUS\n\n", f);
	for (size_t i = 0; i < kho_nexits; i++)
		fprintf(f, "*%d*\n\t%s\n\n", kho_exits[i].number, kho_exits[i].meaning);
	fputs("# ENVIRONMENT\n\n*KHOCTL_FAULT*\n\tSTEP[.before|.after|.undo]:fail|hang|kill|panic[,...]: "
	      "make a step fail, for tests of the undo\n\n"
	      "# "
	      "FILES\n\n/etc/khoctl/khoctl.conf\n\tconfiguration\n\n/etc/khoctl/workloads.d/"
	      "NAME.conf\n\twhat must not stop\n\n"
	      "khoctl.service, khoctl-resume.service, khoctl-settled.service, khoctl-check.timer\n\t"
	      "load the module; record what a reset has cut; let the boot loader's default follow; "
	      "a daily *khoctl check*\n\n"
	      "/var/lib/khoctl/journal, events.jsonl, report.json\n\tthe last upgrade; formats in "
	      "docs/formats.md\n\n"
	      "/var/lib/khoctl/history.jsonl\n\tthe upgrades before it\n\n"
	      "/var/lib/khoctl/regression-before.json, regression-after.json\n\trecordings of the last "
	      "upgrade with *--regression*\n\n"
	      "/var/lib/khoctl/dmesg-GENERATION-RELEASE.txt\n\tkernel logs that *khoctl log* "
	      "prints; .prev: what was kept by the same name before\n\n"
	      "/run/khoctl\n\tthe running upgrade\n\n# SEE ALSO\n\n*criu*(8)\n",
	      f);
}

void kho_usage_completion(FILE *f)
{
	fputs("# bash completion for khoctl; made from its tables by "
	      "gen-tables\n_khoctl()\n{\n\tlocal cur=${COMP_WORDS[COMP_CWORD]} "
	      "prev=${COMP_WORDS[COMP_CWORD-1]} opts=\n\n\tif [ \"$COMP_CWORD\" -eq 1 ]; "
	      "then\n\t\tmapfile -t COMPREPLY < <(compgen -W \"",
	      f);
	for (int v = 0; v < KHO_NVERBS; v++)
		fprintf(f, "%s ", kho_verbs[v].name);
	fputs("help\" -- \"$cur\")\n\t\treturn\n\tfi\n\tcase $prev in\n\t--to | --kernel)\n"
	      "\t\tmapfile -t COMPREPLY < <(compgen -W \"latest previous "
	      "$(cd /boot && compgen -G 'vmlinuz-*' | sed s/vmlinuz-//)\" -- \"$cur\"; compgen -f -- "
	      "\"$cur\")\n\t\treturn ;;\n"
	      "\t--sysroot)\n\t\tmapfile -t COMPREPLY < <(compgen -d -- \"$cur\")\n\t\treturn ;;\n"
	      "\tshow | --before | --svg | --junit)\n\t\tmapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n\t\treturn ;;\n"
	      "\t--hold-before)\n\t\tmapfile -t COMPREPLY < <(compgen -W \"",
	      f);
	for (int i = 0; i <= kho_step_find(KHO_STEP_HELD); i++)
		fprintf(f, "%s%s", i ? " " : "", kho_steps[i].name);
	fputs("\" -- \"$cur\")\n\t\treturn ;;\n\t--engine)\n\t\tmapfile -t COMPREPLY < <(compgen -W \"auto", f);
	for (const struct kho_engine_entry *e = kho_engines; e->name; e++)
		fprintf(f, " %s", e->name);
	fputs("\" -- \"$cur\")\n\t\treturn ;;\n\tesac\n\tcase ${COMP_WORDS[1]} in\n", f);
	for (int v = 0; v < KHO_NVERBS; v++) {
		fprintf(f, "\t%s) opts=\"%s", kho_verbs[v].name, v == KHO_VERB_IMAGE ? "show" : "");
		for (size_t i = 0; i < kho_nopts; i++)
			if (kho_opts[i].verbs & 1u << v)
				fprintf(f, " --%s", kho_opts[i].name);
		fputs("\" ;;\n", f);
	}
	fputs("\tesac\n\tmapfile -t COMPREPLY < <(compgen -W \"$opts\" -- \"$cur\")\n"
	      "\tcase ${COMP_WORDS[1]} in\n\trecord | compare) mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -f -- \"$cur\") ;;\n"
	      "\tesac\n}\ncomplete -F _khoctl khoctl\n",
	      f);
}

void kho_usage_docs(FILE *f)
{
	fputs("# Verbs, steps, exit codes\n\nMade from the tables by `gen-tables docs`; `make "
	      "check-tables` keeps it true.\n\n"
	      "| verb | what it does | options |\n|---|---|---|\n",
	      f);
	for (int v = 0; v < KHO_NVERBS; v++) {
		fprintf(f, "| `%s%s%s` | %s |", kho_verbs[v].name, *kho_verbs[v].args ? " " : "",
			kho_verbs[v].args, kho_verbs[v].help);
		for (size_t i = 0; i < kho_nopts; i++)
			if (kho_opts[i].verbs & 1u << v)
				fprintf(f, " `--%s`", kho_opts[i].name);
		fputs(" |\n", f);
	}
	fputs("\n| step | what it does | deadline | undo | blackout |\n|---|---|---|---|---|\n", f);
	for (size_t i = 0; i < kho_nsteps; i++)
		fprintf(f, "| %s | %s | %llu s | %s | %s |\n", kho_steps[i].name, kho_steps[i].what,
			(unsigned long long)kho_steps[i].deadline_us / 1000000,
			kho_steps[i].undo			  ? "yes"
			: kho_steps[i].flags & KHO_STEP_NO_RETURN ? "none: committed"
								  : "nothing to undo",
			kho_steps[i].flags & KHO_STEP_BLACKOUT ? "yes" : "");
	for (size_t i = 0; i < kho_ncanary_steps; i++)
		if (kho_step_find(kho_canary_steps[i].name) < 0)
			fprintf(f, "| %s (of a canary, after %s%s) | %s | %llu s, and four times `--for` | yes | |\n",
				kho_canary_steps[i].name, kho_canary_steps[i - 1].name, then(i), kho_canary_steps[i].what,
				(unsigned long long)kho_canary_steps[i].deadline_us / 1000000);
	fputs("\n| exit code | meaning |\n|---|---|\n", f);
	for (size_t i = 0; i < kho_nexits; i++)
		fprintf(f, "| %d | %s |\n", kho_exits[i].number, kho_exits[i].meaning);
}

static void gates_table(FILE *f)
{
	char limit[KHO_GATE_TEXT];

	fputs("| gate | what is measured | where, in step | limit | it proves |\n|---|---|---|---|---|\n", f);
	for (int i = 0; i < KHO_NGATES; i++) {
		const struct kho_gate_result r = { .gate = (enum kho_gate_id)i, .limit = kho_gates[i].limit };

		fprintf(f, "| %s: %s | %s | %s, %s | %s | %s |\n", kho_gates[i].gate, kho_gates[i].name, kho_gates[i].metric,
			kho_gates[i].where, kho_gates[i].when, kho_gate_limit_text(&r, limit), kho_gates[i].proves);
	}
}

static void loads_table(FILE *f)
{
	fputs("| load | one operation |\n|---|---|\n", f);
	for (int i = 0; i < KHO_NMIXES; i++)
		fprintf(f, "| %s | %s |\n", i == KHO_MIX_COMMAND ? "`/path/to/program ARGUMENTS`" : kho_mixes[i].name, kho_mixes[i].what);
}

/* The guide as it is, with what lies between two marks made anew. */
void kho_usage_guide(FILE *f)
{
	static const struct {
		const char *begin, *end;
		void (*print)(FILE *f);
	} parts[] = {
		{ "<!-- gates: made by make tables -->\n", "<!-- end of gates -->\n", gates_table },
		{ "<!-- loads: made by make tables -->\n", "<!-- end of loads -->\n", loads_table },
	};
	_cleanup_free_ char *text = NULL;
	struct kho_err err = KHO_ERR_INIT;
	const char *at, *from, *to;

	if (kho_read_file("docs/upgrade-guide.md", 1u << 20, &text, NULL, &err)) {
		fprintf(stderr, "%s\n", err.msg);
		exit(1);
	}
	at = text;
	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++, at = to) {
		from = strstr(at, parts[i].begin);
		to = from ? strstr(from, parts[i].end) : NULL;
		if (!to) {
			fprintf(stderr, "docs/upgrade-guide.md: missing, or not in this order: %s", parts[i].begin);
			exit(1);
		}
		fprintf(f, "%.*s", (int)(from + strlen(parts[i].begin) - at), at);
		parts[i].print(f);
	}
	fputs(at, f);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*print)(FILE *f);
	} kinds[] = {
		{ "man", kho_usage_man },
		{ "completion", kho_usage_completion },
		{ "docs", kho_usage_docs },
		{ "guide", kho_usage_guide },
	};

	for (size_t i = 0; argc == 2 && i < sizeof(kinds) / sizeof(*kinds); i++) {
		if (strcmp(argv[1], kinds[i].name))
			continue;
		kinds[i].print(stdout);
		return 0;
	}
	fputs("usage: gen-tables man|completion|docs|guide\n", stderr);
	return 1;
}
