// SPDX-License-Identifier: GPL-2.0-only
/*
 * khoctl status: from lock and journal, no daemon needed.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "khoctl/cli.h"
#include "khoctl/past.h"
#include "khoctl/watch.h"
#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/json.h"
#include "orchestrator/lock.h"

#define TICK_US 100000

/*
 * The units that came from a former kernel, as the upgrade's serializer of units has kept them, and
 * whether each still runs as the process that it was. NULL: there are none.
 */
static struct json_object *carried_units(void)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_json_ struct json_object *o = NULL;
	struct json_object *list;
	size_t len;

	if (kho_read_file(KHO_RUN_DIR "/units.json", 4u << 20, &text, &len, NULL) ||
	    kho_json_parse(text, len, &o, NULL))
		return NULL;
	list = kho_json_get(o, "units");
	if (!json_object_is_type(list, json_type_array))
		return NULL;
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *u = json_object_array_get_idx(list, i);
		_cleanup_free_ char *cgroup = NULL;
		char path[64];

		snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)kho_json_get_int(u, "pid"));
		kho_json_bool(u, "running", !kho_read_file(path, 65536, &cgroup, NULL, NULL) &&
						    strstr(cgroup, kho_json_get_str(u, "unit")));
	}
	return json_object_get(list);
}

static void print_units(void)
{
	_cleanup_json_ struct json_object *list = carried_units();

	for (size_t i = 0; list && i < json_object_array_length(list); i++) {
		struct json_object *u = json_object_array_get_idx(list, i);
		time_t since = (time_t)kho_json_get_int(u, "active_since");
		bool running = json_object_get_boolean(kho_json_get(u, "running"));
		int n = (int)kho_json_get_int(u, "upgrades");
		char at[32] = "";
		struct tm tm;

		if (gmtime_r(&since, &tm))
			strftime(at, sizeof(at), "%F %T UTC", &tm);
		printf("%s: %s pid %d, active since %s (started on %s, %d upgrade%s)\n",
		       kho_json_get_str(u, "unit"), running ? "still" : "no longer",
		       (int)kho_json_get_int(u, "pid"), at, kho_json_get_str(u, "first_kernel"), n,
		       n == 1 ? "" : "s");
	}
}

static struct json_object *gather(const struct kho_past *p)
{
	struct json_object *o = json_object_new_object(), *units;
	bool known = p->report && !p->planning, running = p->state == KHO_PAST_RUNNING;

	kho_json_str(o, "state", kho_past_name(p->state));
	if (known) {
		kho_json_str(o, "from", kho_json_get_str(p->report, "from"));
		kho_json_str(o, "to", kho_json_get_str(p->report, "to"));
		kho_json_bool(o, "canary", kho_json_get(p->report, "canary"));
	}
	if (running)
		kho_json_int(o, "pid", p->pid);
	if (running || p->state == KHO_PAST_INTERRUPTED || p->state == KHO_PAST_HANDED) {
		kho_json_str(o, "step", p->step);
		kho_json_bool(o, "undoing", p->undoing);
	}
	kho_json_str(o, "outcome", known && !running ? kho_json_get_str(p->report, "outcome") : "");
	kho_json_str(o, "msg", known && !running ? kho_json_get_str(p->report, "msg") : "");
	if (p->state == KHO_PAST_REBOOTED)
		kho_json_str(o, "lost", p->lost);
	kho_json_str(o, "next", kho_past_advice(p));
	units = carried_units();
	if (units)
		json_object_object_add(o, "units", units);
	return o;
}

static void print_state(const struct kho_past *p)
{
	const char *msg = p->report ? kho_json_get_str(p->report, "msg") : "";

	if (p->state == KHO_PAST_RUNNING)
		printf("%s step %s (pid %d)", p->undoing ? "being undone," : "running,", p->step,
		       p->pid);
	else if (p->state == KHO_PAST_INTERRUPTED)
		printf("INTERRUPTED: khoctl died in %sstep %s", p->undoing ? "the undo of " : "",
		       p->step);
	else if (p->state == KHO_PAST_HANDED)
		printf("committed, and then khoctl died in step %s", p->step);
	else if (p->state == KHO_PAST_WAITING)
		printf("committed, this kernel has taken over; %s has not ended yet", kho_json_get_str(p->report, "from"));
	else if (p->state == KHO_PAST_REBOOTED)
		printf("interrupted by a restart of the machine; nothing is left to undo%s%s",
		       *p->lost ? "; " : "", p->lost);
	else
		printf("%s%s%s", kho_json_get_str(p->report, "outcome"), *msg ? ": " : "", msg);
}

static void print(const struct kho_past *p)
{
	const char *next = kho_past_advice(p);

	if (p->state == KHO_PAST_NONE) {
		puts("no upgrade has been run");
		return;
	}
	if (p->report && !p->planning)
		printf(kho_json_get(p->report, "canary") ? "canary beside %s: %s: " : "%s -> %s: ", kho_json_get_str(p->report, "from"),
		       kho_json_get_str(p->report, "to"));
	print_state(p);
	printf("%s%s\n", *next ? "; next: " : "", next);
}

/* Its khoctl is planning: the events in the file are those of the upgrade before it. false: it has ended without one of its own. */
static bool wait_for_plan(void)
{
	for (pid_t pid = 0;; usleep(TICK_US)) {
		_cleanup_past_ struct kho_past p;

		kho_past_read(&p, "");
		if (!p.planning)
			return p.pid || (pid && p.author == pid);
		pid = p.pid;
	}
}

/* events.jsonl in RAM grows until the result; a new upgrade begins a new file. */
static int follow(struct kho_watch *w)
{
	_cleanup_fclose_ FILE *f = NULL;
	_cleanup_free_ char *line = NULL;
	size_t room = 0;
	char step[32];

	if (!wait_for_plan())
		return -1;
	f = fopen(KHO_RUN_DIR "/events.jsonl", "re");
	while (f && w->code < 0) {
		bool held = kho_lock_holder(KHO_RUN_DIR, step);
		ssize_t n;

		/* who has given up the lock has written all before */
		while (w->code < 0 && (n = getline(&line, &room, f)) > 0)
			kho_watch_line(w, line, (size_t)n - (line[n - 1] == '\n'));
		if (!held)
			break;
		clearerr(f);
		usleep(TICK_US);
		if (!w->c->json && w->code < 0)
			kho_progress_tick(&w->progress, TICK_US);
	}
	return w->code;
}

int kho_verb_status(const struct kho_cli *c)
{
	_cleanup_past_ struct kho_past p;
	struct kho_watch w;

	if (c->after_boot) {
		int rc = kho_after_boot(c);

		if (rc)
			return rc;
	}
	kho_past_read(&p, "");
	if (p.hidden)
		return kho_cli_need_root(c, "status");
	if (c->follow && p.state == KHO_PAST_RUNNING) {
		kho_watch_init(&w, c);
		if (follow(&w) >= 0)
			return w.code;
		/* it ended without a result */
		kho_past_done(&p);
		kho_past_read(&p, "");
	}
	if (c->json) {
		kho_cli_json(gather(&p));
	} else {
		print(&p);
		print_units();
	}
	if (!c->follow)
		return KHO_EXIT_OK;
	return p.state == KHO_PAST_INTERRUPTED || p.state == KHO_PAST_HANDED ? KHO_EXIT_PERSON : KHO_EXIT_OK;
}
