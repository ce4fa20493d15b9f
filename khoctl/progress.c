// SPDX-License-Identifier: GPL-2.0-only
/* Events -> screen.  See khoctl/progress.h. */
#include "khoctl/progress.h"

#include <string.h>

#include "lib/format.h"
#include "lib/json.h"

void kho_progress_clear(struct kho_progress *p)
{
	if (p->live && *p->step)
		fputs("\r\033[K", p->f);
}

static void live_line(struct kho_progress *p)
{
	char t[KHO_FORMAT_MAX];

	if (!p->live || !*p->step)
		return;
	fprintf(p->f, "\r\033[K %s %-9s %8s  %s", p->act, p->step,
		kho_format_us(p->now_us - p->step_begin_us, t), p->detail);
	fflush(p->f);
}

static void on_step(struct kho_progress *p, const struct json_object *o)
{
	const char *step = kho_json_get_str(o, "step"), *msg = kho_json_get_str(o, "msg");
	bool undo = !strcmp(kho_json_get_str(o, "act"), "undo"),
	     ok = kho_json_get_int(o, "rc") >= 0;
	char t[KHO_FORMAT_MAX];

	if (!strcmp(kho_json_get_str(o, "state"), "begin")) {
		snprintf(p->step, sizeof(p->step), "%s", step);
		snprintf(p->act, sizeof(p->act), "%s", undo ? "undo" : "....");
		p->detail[0] = '\0';
		p->step_begin_us = p->now_us;
		return;
	}
	kho_progress_clear(p);
	fprintf(p->f, " %-4s %-9s %8s  %s%s%s\n", ok ? (undo ? "undo" : "ok") : "FAIL", step,
		kho_format_us((uint64_t)kho_json_get_int(o, "us"), t), ok ? p->detail : "",
		ok     ? ""
		: undo ? "in undo: "
		       : "",
		msg);
	p->step[0] = '\0';
}

static void on_progress(struct kho_progress *p, const struct json_object *o)
{
	char a[KHO_FORMAT_MAX], b[KHO_FORMAT_MAX];
	int64_t round = kho_json_get_int(o, "round");

	kho_format_bytes((uint64_t)kho_json_get_int(o, "bytes"), a);
	kho_format_us((uint64_t)kho_json_get_int(o, "us"), b);
	kho_progress_clear(p);
	fprintf(p->f, "      round %lld: %s in %s\n", (long long)round, a, b);
	snprintf(p->detail, sizeof(p->detail), "%lld round%s, last %s", (long long)round + 1,
		 round ? "s" : "", a);
}

/* One line when it is new, the live line in between: it comes once a second while it is waited. */
static void on_converging(struct kho_progress *p, const struct json_object *o)
{
	char now[KHO_FORMAT_MAX], max[KHO_FORMAT_MAX], bytes[KHO_FORMAT_MAX], rate[KHO_FORMAT_MAX], text[sizeof(p->detail)];
	int64_t us = kho_json_get_int(o, "predicted_us"), limit = kho_json_get_int(o, "limit_us"), rounds = kho_json_get_int(o, "rounds");
	bool first = !p->told || rounds != p->rounds || (limit && us <= limit);

	if (!*kho_json_get_str(o, "how"))
		return;
	kho_format_bytes((uint64_t)kho_json_get_int(o, "dirty_bytes"), bytes);
	kho_format_bytes((uint64_t)kho_json_get_int(o, "bytes_per_s"), rate);
	snprintf(text, sizeof(text), "blackout would be about %s now%s%s: %s to copy, %s/s written (by %s)", us ? kho_format_us((uint64_t)us, now) : "(not known)",
		 limit ? ", allowed " : "", limit ? kho_format_us((uint64_t)limit, max) : "", bytes, rate, kho_json_get_str(o, "how"));
	if (first) {
		kho_progress_clear(p);
		fprintf(p->f, "      %s\n", text);
	}
	p->told = true;
	p->rounds = rounds;
	if (p->live)
		snprintf(p->detail, sizeof(p->detail), "%s", text);
}

static void show(struct kho_progress *p, const struct json_object *o)
{
	const char *kind = kho_json_get_str(o, "event");
	char t[KHO_FORMAT_MAX];

	if (!strcmp(kind, "step"))
		on_step(p, o);
	else if (!strcmp(kind, "progress"))
		on_progress(p, o);
	else if (!strcmp(kind, "converging"))
		on_converging(p, o);
	else if (!strcmp(kind, "begin"))
		fprintf(p->f, "%s -> %s, generation %lld, engine %s\n", kho_json_get_str(o, "from"),
			kho_json_get_str(o, "to"), (long long)kho_json_get_int(o, "generation"),
			kho_json_get_str(o, "engine"));
	else if (!strcmp(kind, "note")) {
		kho_progress_clear(p);
		fprintf(p->f, "      %s\n", kho_json_get_str(o, "text"));
	} else if (!strcmp(kind, "phase") && p->live)
		snprintf(p->detail, sizeof(p->detail), "%s %s", kho_json_get_str(o, "name"),
			 kho_format_us((uint64_t)kho_json_get_int(o, "us"), t));
	else if (!strcmp(kind, "blackout")) {
		kho_progress_clear(p);
		fprintf(p->f, "      blackout %s\n",
			kho_format_us((uint64_t)kho_json_get_int(o, "us"), t));
	}
}

void kho_progress_line(struct kho_progress *p, const char *line, size_t len)
{
	_cleanup_json_ struct json_object *o = NULL;

	if (kho_json_parse(line, len, &o, NULL) < 0)
		return;
	p->now_us = (uint64_t)kho_json_get_int(o, "t_us");
	show(p, o);
	live_line(p);
	fflush(p->f);
}

void kho_progress_tick(struct kho_progress *p, uint64_t us)
{
	p->now_us += us;
	live_line(p);
}
