// SPDX-License-Identifier: GPL-2.0-only
/* Event lines -> progress and result.  See khoctl/watch.h. */
#include "khoctl/watch.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "khoctl/canary.h"
#include "khoctl/text.h"
#include "lib/json.h"

void kho_watch_init(struct kho_watch *w, const struct kho_cli *c)
{
	*w = (struct kho_watch){
		.c = c,
		.code = -1,
		.progress = { .f = stdout, .live = isatty(1) },
	};
}

static void on_result(struct kho_watch *w, const struct json_object *o)
{
	struct json_object *report = kho_json_get(o, "report");
	int64_t out = kho_json_get_int(o, "outcome_code");

	if (w->code >= 0)
		return;
	w->code = kho_cli_exit((enum kho_outcome)out);
	if (w->c->kernel || (!w->c->json && kho_json_get(report, "canary"))) {
		kho_progress_clear(&w->progress);
		w->code = kho_canary_tell(w->c, o, w->code);
		return;
	}
	if (w->c->json)
		return;
	if (w->ask)
		fputs("\n", stdout);
	else
		kho_progress_clear(&w->progress);
	if (out == KHO_OUT_UPGRADED && report) {
		fputs("\n", stdout);
		kho_text_report(report, stdout);
		return;
	}
	fflush(stdout);
	fprintf(stderr, "khoctl: %s: %s\n", kho_json_get_str(o, "outcome"),
		kho_json_get_str(o, "msg"));
}

static void on_plan(struct kho_watch *w, const struct json_object *o)
{
	const struct json_object *plan = kho_json_get(o, "plan");

	kho_text_verdicts(plan, 1, stdout);
	if (!w->c->kernel)
		kho_text_workloads(plan, false, stdout);
	w->ask = json_object_get_boolean(kho_json_get(o, "confirm"));
	if (w->ask)
		printf("\n%s -> %s. Go on? [y/N] ", kho_json_get_str(plan, "from"),
		       kho_json_get_str(plan, "to"));
	fflush(stdout);
}

void kho_watch_line(struct kho_watch *w, const char *line, size_t len)
{
	_cleanup_json_ struct json_object *o = NULL;
	const char *kind;

	if (kho_json_parse(line, len, &o, NULL) < 0)
		return;
	kind = kho_json_get_str(o, "event");
	/* of a canary only the verdict is wanted */
	if (w->c->json && !w->c->kernel && (strcmp(kind, "result") || w->code < 0)) {
		printf("%.*s\n", (int)len, line);
		fflush(stdout);
	}
	if (!strcmp(kind, "result"))
		on_result(w, o);
	else if (!strcmp(kind, "plan") && !w->c->json)
		on_plan(w, o);
	else if (!w->c->json)
		kho_progress_line(&w->progress, line, len);
}
