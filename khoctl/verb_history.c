// SPDX-License-Identifier: GPL-2.0-only
/*
 * khoctl history: the chain of kernels of this machine, upgrade by upgrade, the last one (still in the journal) at its end; and
 * the kernel's own record of how it was started, which nobody of us has written: whether both tell the same.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "khoctl/cli.h"
#include "khoctl/past.h"
#include "khoctl/text.h"
#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/json.h"
#include "orchestrator/history.h"

static void __attribute__((format(printf, 2, 3))) note(struct json_object *notes, const char *fmt, ...)
{
	char text[600];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	json_object_array_add(notes, json_object_new_string(text));
}

/* Those before the last one. */
static struct json_object *earlier(const char *sysroot, struct json_object *notes)
{
	_cleanup_free_ char *dir = kho_sysroot_path(sysroot, KHO_STATE_DIR);
	struct json_object *list = NULL;
	struct kho_err err = KHO_ERR_INIT;
	unsigned bad = 0;

	if (!dir || kho_history_load(dir, &list, &bad, &err) < 0) {
		note(notes, "the upgrades before the last one are not known: %s; remove the file, or repair it", err.msg);
		return json_object_new_array();
	}
	if (bad)
		note(notes, "%u line%s of %s/" KHO_HISTORY_NAME " %s damaged, and left out", bad, bad == 1 ? "" : "s", dir, bad == 1 ? "is" : "are");
	return list;
}

/* How far it is, when it has not come to its end. */
static void add_last(const char *sysroot, struct json_object *list)
{
	_cleanup_past_ struct kho_past p;
	_cleanup_json_ struct json_object *last = NULL;

	kho_past_read(&p, sysroot);
	last = p.report ? kho_history_entry(p.report) : NULL;
	if (!last)
		return;
	if (p.state == KHO_PAST_RUNNING && !p.planning)
		kho_json_str(last, "outcome", kho_past_name(p.state));
	else if ((p.state == KHO_PAST_HANDED || p.state == KHO_PAST_WAITING) && !strcmp(kho_json_get_str(last, "outcome"), "interrupted"))
		kho_json_str(last, "outcome", kho_past_name(KHO_PAST_HANDED));
	(void)kho_history_add(list, last);
}

/* What is printed of a line: always the same members, whatever the line has. */
static struct json_object *row(const struct json_object *line)
{
	static const char *const texts[] = { "from", "to", "engine", "outcome", "msg" };
	struct json_object *o = json_object_new_object();

	kho_json_known(o, "time", kho_json_get_int(line, "time"));
	kho_json_int(o, "generation", kho_json_get_int(line, "generation"));
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		kho_json_str(o, texts[i], kho_json_get_str(line, texts[i]));
	kho_json_str(o, "back", *kho_json_get_str(line, "back") ? kho_json_get_str(line, "back") : NULL);
	kho_json_bool(o, "jumps", json_object_get_boolean(kho_json_get(line, "jumps")));
	kho_json_known(o, "blackout_us", kho_json_get_int(line, "blackout_us"));
	return o;
}

/* What the kernel says; NULL: nothing. */
static struct json_object *witness(const char *sysroot, const struct json_object *list, struct json_object *notes)
{
	_cleanup_free_ char *running = NULL;
	struct kho_err err = KHO_ERR_INIT;
	struct kho_kexec_metadata m;
	struct json_object *o;
	char why[400];
	int rc = kho_kexec_metadata_read(sysroot, &m, &err), agrees;

	if (rc < 0)
		note(notes, "the kernel's own record: %s", err.msg);
	if (rc <= 0)
		return NULL;
	o = json_object_new_object();
	kho_json_str(o, "previous_release", m.previous_release);
	kho_json_int(o, "kexec_count", m.kexec_count);
	agrees = kho_plan_running(sysroot, &running, NULL) < 0 ? 0 : kho_history_witness(list, running, &m, why, sizeof(why));
	if (agrees)
		kho_json_bool(o, "agrees", agrees > 0);
	else
		kho_json_str(o, "agrees", NULL);
	if (agrees < 0)
		note(notes, "the kernel's own record is another one: %s", why);
	return o;
}

int kho_verb_history(const struct kho_cli *c)
{
	struct json_object *o = json_object_new_object(), *notes = json_object_new_array(), *rows = json_object_new_array();
	const char *sysroot = c->sysroot ? c->sysroot : "";
	_cleanup_json_ struct json_object *list = earlier(sysroot, notes);

	add_last(sysroot, list);
	for (size_t i = 0; i < json_object_array_length(list); i++)
		json_object_array_add(rows, row(json_object_array_get_idx(list, i)));
	json_object_object_add(o, "upgrades", rows);
	json_object_object_add(o, "kexec_metadata", witness(sysroot, list, notes));
	json_object_object_add(o, "notes", notes);
	if (c->json) {
		kho_cli_json(o);
		return KHO_EXIT_OK;
	}
	kho_text_history(o, stdout);
	json_object_put(o);
	return KHO_EXIT_OK;
}
