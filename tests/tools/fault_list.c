// SPDX-License-Identifier: GPL-2.0-only
/*
 * The list of faults that tests/vm/t-faults.sh makes strike, one after the other, made from the tables: steps, serializers,
 * messages of the link, places and kinds (lib/faults.def). What of it makes no sense, and why, is said here.
 *
 *   fault-list [spread]	lines of: what must come of it, options ("-": none), KHOCTL_FAULT; separated by tabs
 *   fault-list why		what was left out, and why
 *   fault-list words		places and kinds
 *
 * What must come of it: refused, undone, killed (khoctl is; khoctl rollback undoes), again (an undo failed; khoctl rollback does the
 * rest), upgraded.  Options: peer (the incoming kernel must be started with khoctl.fault=1), cap (something is waited for in vain:
 * KHOCTL_DEADLINE_SECONDS).
 */
#include <fnmatch.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handover/link/fault.h"
#include "handover/link/wire.h"
#include "lib/fault.h"
#include "orchestrator/steps.h"
#include "state-serializers/serializer.h"

#define BATCH 7 /* that all let the upgrade go on: in one */

struct rule {
	const char *pattern; /* of fnmatch(3), with its extensions */
	const char *text;
};

/* Left out, and why: the first that matches. */
static const struct rule without[] = {
	{ "*:panic", "this kernel ends for good, with a machine for each: tests/vm/t-takeover.sh" },
	{ "@(preflight|reserve|spawn).*:peer-*", "nobody is there who could be asked" },
	{ "handshake.@(before|undo):peer-*", "nobody is there who could be asked" },
	{ "*:peer-@(warn|leak)", "an upgrade goes on; who looks for it: tests/vm/t-canary.sh" },
	{ "link.@(load|replay)*", "is sent by khoctl canary alone" },
	{ "*.after:!(kill)", "the same moment as the next step's .before; for a killed khoctl it differs by a record in the journal" },
	{ "retire.after:kill", "this kernel has ended" },
	{ "@(settle|retire).before:@(fail|hang|kill)", "after the commit: the workload runs on the other kernel, this one has to be ended by a person" },
	{ "*.signed:kill", "the workload runs on the other kernel, this one has to be ended by a person: tests/vm/t-takeover.sh" },
	{ "@(commit|settle).after:kill", "after the commit: the workload runs on the other kernel, this one has to be ended by a person" },
	{ "@(settle|retire).before:peer-!(kill|stop)", "after the commit: how the other kernel ends is how a kernel ends" },
	{ "*.undo:!(fail|hang|kill|int|term|peer-panic|peer-stop)", "how the other kernel ends makes no difference to an undo" },
	{ "!(precopy|freeze|shift).before:criu", "no CRIU of this kernel works then" },
	{ "shift.before:criu", "its work may be over by then, and nobody needs it any more" },
	{ "!(proc).@(freeze|drain|retrieve):criu", "no CRIU of this kernel works for that" },
	{ "proc.retrieve:criu", "no CRIU of this kernel works for that" },
	{ "!(shift|restore).before:peer-criu", "it waits for a restore, which is in shift and restore" },
	{ "*.@(freeze|drain|retrieve):!(fail|kill|criu|peer-panic)", "what stops an upgrade between its steps does so in them; those differ the most" },
	{ "*.@(finish|tidy):!(peer-kill|peer-stop)", "after the commit: how the other kernel ends is how a kernel ends; a killed khoctl: tests/vm/t-takeover.sh" },
	{ "!(netdev|proc|units).@(finish|tidy):*", "these differ the most" },
	{ "units.finish:*", "nothing is done then" },
	{ "link.@(hello|setup.reply)*", "said before anybody can be asked for a fault of it" },
	{ "link.fault*", "asks for faults itself" },
	{ "link.reply*", "replies go by the name of what they answer" },
	{ "link.@(knock|bye|note|phase|file_abort).reply*", "is not answered" },
	{ "link.!(op*|file_*)@*", "is sent in one step only" },
	{ "link.file_@(begin|chunk|end)*@*", "only of files longer than 1 MiB; redis has none left when it was copied before" },
	{ "link.file_abort*@*", "is sent when a file was not taken" },
	{ "link.op*@@(preflight|reserve|spawn|handshake|probe|precopy)*", "the first one is sent in precopy" },
	{ "link.op*@retire*", "the last one is sent in settle" },
	{ "link.file_*@!(freeze:*)", "files are sent in precopy, the first one there, and from freeze on, when depends on the dump" },
};

/* What must come of it: the first that matches. */
static const struct rule wanted[] = {
	{ "*.undo:@(fail|hang)", "again" },
	{ "*:kill", "killed" },
	{ "preflight.before:*", "refused" },
	{ "@(settle|retire).before:@(int|term|peer-kill|peer-stop)", "upgraded" },
	{ "*.@(finish|tidy):*", "upgraded" },
	/* sent in an undo, or by one that does not listen for answers, or asked twice, or seen in the ledger */
	{ "link.@(bye|abandon|file_abort)*", "undone" },
	{ "link.@(knock|note|phase|echo|retiring)*:drop", "upgraded" },
	{ "link.commit.reply:drop", "upgraded" },
	{ "link.op*@@(commit|settle):drop", "upgraded" },
	{ "*:drop", "undone" },
	{ "*:@(dup|late)", "upgraded" },
	{ "*", "undone" },
};

/* What else has to happen so that there is one. */
static const struct rule cause[] = {
	{ "*.undo:*", "restore.after:fail" },
	{ "link.@(bye|abandon)*", "precopy.after:fail" },
	{ "link.file_abort:*", "link.file_chunk:drop" },
	{ "link.echo*", "link.op.reply:late" },
	{ "*", "" },
};

static const struct rule option[] = {
	{ "link.file_abort:*", "cap" },
	{ "*.undo:hang", "cap" },
	{ "*:hang", "cap" },
	{ "*:peer-*", "peer" },
	{ "link.@(note|phase):*", "peer" },
	{ "link.echo*", "peer" },
	{ "link.@(abandon|commit|retiring).reply*:drop", "peer" },
	{ "link.@(knock|note|phase|bye|abandon|commit|retiring)*:drop", "-" },
	{ "link.*.reply*:drop", "peer,cap" },
	{ "link.*:drop", "cap" },
	{ "link.*.reply*", "peer" },
	{ "*", "-" },
};

/* A spread of them for make test, beside those of t-undo.sh: one of each kind of bad luck, in different places. */
static const char *const spread[] = {
	"handshake.before:kill", "precopy.before:criu",	  "freeze.before:int",	 "freeze.after:kill",
	"proc.drain:criu",	 "block.retrieve:kill",	  "netdev.drain:fail",	 "restore.before:peer-criu",
	"shift.before:peer-kill", "commit.before:kill", "freeze.undo:kill",	 "link.commit:drop",
	"link.commit.reply:drop,link.setup:dup,link.op:late,link.cpu.reply:dup,link.retiring:drop",
};

struct entry {
	char faults[400], name[KHO_FAULT_NAME_MAX];
	const char *want, *options;
};

static struct entry *list;
static size_t nlist;
static bool say_why;

static const char *rule_for(const struct rule *r, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (fnmatch(r[i].pattern, name, FNM_EXTMATCH) == 0)
			return r[i].text;
	return NULL;
}
#define RULE(table, name) rule_for(table, sizeof(table) / sizeof(*(table)), name)

static void add(const char *name)
{
	const char *why = RULE(without, name), *also = RULE(cause, name);
	struct entry *e;

	if (why) {
		if (say_why)
			printf("%-40s %s\n", name, why);
		return;
	}
	list = realloc(list, (nlist + 1) * sizeof(*list));
	if (!list)
		exit(1);
	e = &list[nlist++];
	snprintf(e->name, sizeof(e->name), "%s", name);
	snprintf(e->faults, sizeof(e->faults), "%s%s%s", name, *also ? "," : "", also);
	e->want = RULE(wanted, name);
	e->options = RULE(option, name);
	/* what goes on goes on although somebody waits for a while */
	if (!strcmp(e->want, "upgraded"))
		e->options = strstr(e->options, "peer") ? "peer" : "-";
}

/* Every kind at this place of NAME. from: "@STEP" or "" */
static void kinds(const char *name, unsigned place, bool named, const char *from)
{
	for (unsigned k = 1; k < KHO_FAULT_NKINDS; k++) {
		char text[KHO_FAULT_NAME_MAX];

		if (!(kho_fault_kinds[k].where & kho_fault_places[place].where))
			continue;
		snprintf(text, sizeof(text), "%s%s%s%s:%s", name, named ? "." : "", named ? kho_fault_places[place].name : "", from,
			 kho_fault_kinds[k].name);
		add(text);
	}
}

static void messages(void)
{
	for (const char *const *m = kho_msg_names(); *m; m++)
		for (unsigned p = 0; p < KHO_FAULT_NPLACES; p++) {
			char name[KHO_FAULT_NAME_MAX], from[40];

			if (!(kho_fault_places[p].where & KHO_AT_LINK))
				continue;
			snprintf(name, sizeof(name), KHO_FAULT_LINK "%s", *m);
			kinds(name, p, p == KHO_FAULT_REPLY, "");
			for (size_t i = 0; i < kho_nsteps; i++) {
				snprintf(from, sizeof(from), "@%s", kho_steps[i].name);
				kinds(name, p, p == KHO_FAULT_REPLY, from);
			}
		}
}

static void make_list(void)
{
	for (size_t i = 0; i < kho_nsteps; i++)
		for (unsigned p = 0; p < KHO_FAULT_NPLACES; p++) {
			unsigned where = kho_fault_places[p].where;

			if (where & KHO_AT_STEP || (where & KHO_AT_UNDO && kho_steps[i].undo) ||
			    (where & KHO_AT_SIGN && !strcmp(kho_steps[i].name, KHO_STEP_SIGNS)))
				kinds(kho_steps[i].name, p, true, "");
		}
	for (const struct kho_serializer *const *s = kho_serializers; *s; s++)
		for (unsigned p = 0; p < KHO_FAULT_NPLACES; p++)
			if (kho_fault_places[p].where & (KHO_AT_LANE | KHO_AT_END))
				kinds((*s)->name, p, true, "");
	messages();
}

static bool batchable(const struct entry *e)
{
	return !strcmp(e->want, "upgraded") && !strncmp(e->name, KHO_FAULT_LINK, strlen(KHO_FAULT_LINK));
}

/* What a fault of a message waits for: "op@shift", whether the request or the reply. */
static void waits_for(const char *name, char out[KHO_FAULT_NAME_MAX])
{
	const char *message = name + strlen(KHO_FAULT_LINK), *from = strchr(name, '@'), *colon = strchr(name, ':');

	snprintf(out, KHO_FAULT_NAME_MAX, "%.*s%.*s", (int)strcspn(message, ".:@"), message,
		 from && from < colon ? (int)(colon - from) : 0, from ? from : "");
}

/* No two that wait for the same message in a batch: the second would meet another one. */
static bool fits(const struct entry *batch, const struct entry *e, size_t n)
{
	char all[sizeof(batch->faults)], mine[KHO_FAULT_NAME_MAX], its[KHO_FAULT_NAME_MAX], *save, *word;

	if (n >= BATCH)
		return false;
	waits_for(e->name, mine);
	snprintf(all, sizeof(all), "%s", batch->faults);
	for (word = strtok_r(all, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
		waits_for(word, its);
		if (!strcmp(mine, its))
			return false;
	}
	return true;
}

static void join_batches(void)
{
	for (size_t i = 0; i < nlist; i++) {
		size_t n = 1;

		if (!batchable(&list[i]))
			continue;
		for (size_t j = i + 1; j < nlist; j++) {
			char both[2 * sizeof(list[i].faults)];

			if (!batchable(&list[j]) || !fits(&list[i], &list[j], n))
				continue;
			snprintf(both, sizeof(both), "%s,%s", list[i].faults, list[j].faults);
			snprintf(list[i].faults, sizeof(list[i].faults), "%s", both);
			if (strcmp(list[j].options, "-"))
				list[i].options = list[j].options;
			memmove(&list[j], &list[j + 1], (--nlist - j) * sizeof(*list));
			j--;
			n++;
		}
	}
}

static void words(void)
{
	for (unsigned p = 0; p < KHO_FAULT_NPLACES; p++)
		printf(".%s\n", kho_fault_places[p].name);
	for (unsigned k = 1; k < KHO_FAULT_NKINDS; k++)
		printf(":%-14s %s\n", kho_fault_kinds[k].name, kho_fault_kinds[k].what);
}

static bool in_batch(const struct entry *e, const char *name)
{
	const char *at = strstr(e->faults, name);

	return at && (at == e->faults || at[-1] == ',') && (!at[strlen(name)] || at[strlen(name)] == ',');
}

/* The line that it is in, be it in a batch of others. */
static const struct entry *line_of(const char *name)
{
	for (size_t j = 0; j < nlist; j++)
		if (in_batch(&list[j], name))
			return &list[j];
	fprintf(stderr, "fault-list: '%s' is not in the list\n", name);
	return NULL;
}

static int print_spread(void)
{
	for (size_t i = 0; i < sizeof(spread) / sizeof(*spread); i++) {
		const struct entry *e = NULL;
		char copy[400], *save, *word;
		bool several = strchr(spread[i], ',');

		snprintf(copy, sizeof(copy), "%s", spread[i]);
		for (word = strtok_r(copy, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
			e = line_of(word);
			if (!e)
				return 1;
		}
		printf("%s\t%s\t%s\n", e->want, several ? "peer" : e->options, several ? spread[i] : e->faults);
	}
	return 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	say_why = !strcmp(what, "why");
	if (!strcmp(what, "words")) {
		words();
		return 0;
	}
	make_list();
	join_batches();
	if (!strcmp(what, "spread"))
		return print_spread();
	for (size_t i = 0; i < nlist && !say_why; i++)
		printf("%s\t%s\t%s\n", list[i].want, list[i].options, list[i].faults);
	return 0;
}
