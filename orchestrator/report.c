// SPDX-License-Identifier: GPL-2.0-only
/* The report of one upgrade.  See orchestrator/report.h. */
#include "orchestrator/report.h"

#include <stdio.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/json.h"

struct digest {
	struct json_object *phases, *gates, *losses;
	int64_t blackout_begin, blackout_end, precopy_bytes, rounds, step_begin;
	const char *outcome, *msg;
	const struct json_object *regression; /* the last comparison with the kernel before; NULL: none */
	const char *back; /* why the kernel that was jumped to was given up; NULL: it was not */
	const struct json_object *plan; /* NULL: not recorded */
	struct json_object *converging; /* the last look before the freeze; NULL: none */
};

static void add_phase(struct digest *d, const char *name, int64_t begin, int64_t us)
{
	struct json_object *o = json_object_new_object();

	kho_json_str(o, "name", name);
	kho_json_int(o, "us", us);
	kho_json_int(o, "at_us", begin);
	json_object_array_add(d->phases, o);
}

static void add_step(struct digest *d, struct json_object *rec)
{
	char name[48];

	if (strcmp(kho_json_get_str(rec, "act"), "run"))
		return;
	if (!strcmp(kho_json_get_str(rec, "state"), "begin")) {
		d->step_begin = kho_json_get_int(rec, "at_us");
		return;
	}
	snprintf(name, sizeof(name), "step %s", kho_json_get_str(rec, "step"));
	add_phase(d, name, d->step_begin, kho_json_get_int(rec, "at_us") - d->step_begin);
}

static void add_gates(struct digest *d, const struct json_object *measured)
{
	for (size_t i = 0; json_object_is_type(measured, json_type_array) && i < json_object_array_length(measured); i++)
		json_object_array_add(d->gates, json_object_get(json_object_array_get_idx(measured, i)));
}

static void digest(struct digest *d, struct json_object *out, struct json_object *rec)
{
	const char *kind = kho_json_get_str(rec, "rec");

	if (!strcmp(kind, "begin")) {
		kho_json_str(out, "from", kho_json_get_str(rec, "from"));
		kho_json_str(out, "to", kho_json_get_str(rec, "to"));
		kho_json_int(out, "generation", kho_json_get_int(rec, "generation"));
		kho_json_str(out, "engine", kho_json_get_str(rec, "engine"));
		kho_json_bool(out, "jumps", json_object_get_boolean(kho_json_get(rec, "jumps")));
		kho_json_str(out, "old_image", kho_json_get_str(rec, "old_image"));
		kho_json_known(out, "time", kho_json_get_int(rec, "time"));
		if (json_object_get_boolean(kho_json_get(rec, "canary")))
			json_object_object_add(out, "canary", json_object_new_object());
	} else if (!strcmp(kind, "plan")) {
		d->plan = rec;
	} else if (!strcmp(kind, "phase")) {
		add_phase(d, kho_json_get_str(rec, "name"), kho_json_get_int(rec, "begin_us"),
			  kho_json_get_int(rec, "us"));
	} else if (!strcmp(kind, "step")) {
		add_step(d, rec);
	} else if (!strcmp(kind, "precopy")) {
		d->rounds++;
		d->precopy_bytes += kho_json_get_int(rec, "bytes");
	} else if (!strcmp(kind, "converging")) {
		d->converging = rec;
	} else if (!strcmp(kind, "gates")) {
		add_gates(d, kho_json_get(rec, "gates"));
	} else if (!strcmp(kind, "blackout")) {
		d->blackout_begin = kho_json_get_int(rec, "begin_us");
		d->blackout_end = kho_json_get_int(rec, "end_us");
	} else if (!strcmp(kind, "canary")) {
		json_object_object_add(out, "canary", json_object_get(kho_json_get(rec, "canary")));
	} else if (!strcmp(kind, "back")) {
		d->back = kho_json_get_str(rec, "why");
	} else if (!strcmp(kind, "regression")) {
		d->regression = rec;
	} else if (!strcmp(kind, "loss")) {
		json_object_array_add(d->losses, json_object_new_string(kho_json_get_str(rec, "what")));
	} else if (!strcmp(kind, "reset")) {
		d->msg = kho_json_get_str(rec, "lost");
	} else if (!strcmp(kind, "end")) {
		d->outcome = kho_json_get_str(rec, "outcome");
		d->msg = kho_json_get_str(rec, "msg");
	}
}

static const struct json_object *phase_of(const struct digest *d, const char *what, const char *workload)
{
	char name[96];

	snprintf(name, sizeof(name), "%s %s", what, workload);
	for (size_t i = 0; i < json_object_array_length(d->phases); i++) {
		const struct json_object *o = json_object_array_get_idx(d->phases, i);

		if (!strcmp(kho_json_get_str(o, "name"), name))
			return o;
	}
	return NULL;
}

/* What a workload had written since the last round, just before the freeze; or NULL. */
static const struct json_object *dirty_of(const struct digest *d, const char *workload)
{
	const struct json_object *list = kho_json_get(d->converging, "workloads");

	for (size_t i = 0; json_object_is_type(list, json_type_array) && i < json_object_array_length(list); i++) {
		const struct json_object *o = json_object_array_get_idx(list, i);

		if (!strcmp(kho_json_get_str(o, "name"), workload))
			return o;
	}
	return NULL;
}

/* What the plan counted, and what was still to be copied just before the freeze. */
static struct json_object *facts(const struct digest *d)
{
	struct json_object *counted = kho_json_get(d->plan, "facts"), *o = NULL;

	if (!counted || json_object_deep_copy(counted, &o, NULL) < 0)
		return NULL;
	if (json_object_get_boolean(kho_json_get(d->converging, "known")))
		kho_json_int(o, "copy_us", kho_json_get_int(d->converging, "copy_us"));
	return o;
}

/* The last look before the freeze: what was predicted then, of what. */
static struct json_object *converging(const struct digest *d)
{
	static const char *const keep[] = { "predicted_us", "limit_us", "dirty_bytes", "bytes_per_s", "copy_us", "how", "rounds", "look_us", "waited_us" };
	struct json_object *o = d->converging ? json_object_new_object() : NULL;

	for (size_t i = 0; o && i < sizeof(keep) / sizeof(*keep); i++)
		json_object_object_add(o, keep[i], json_object_get(kho_json_get(d->converging, keep[i])));
	return o;
}

/* A workload's own blackout: from the moment it was stopped until it runs again; and until it is seen again. */
static struct json_object *workload(const struct digest *d, const struct json_object *planned)
{
	const char *name = kho_json_get_str(planned, "name");
	const struct json_object *stop = phase_of(d, "stop", name), *resume = phase_of(d, "resume", name);
	int64_t begin = kho_json_get_int(stop, "at_us"),
		end = kho_json_get_int(resume, "at_us") + kho_json_get_int(resume, "us");
	struct json_object *o = json_object_new_object();

	kho_json_str(o, "name", name);
	kho_json_str(o, "kind", kho_json_get_str(planned, "kind"));
	kho_json_str(o, "declared", kho_json_get_str(planned, "declared"));
	kho_json_known(o, "predicted_blackout_us", kho_json_get_int(d->plan, "predicted_us"));
	kho_json_known(o, "dirty_bytes", kho_json_get_int(dirty_of(d, name), "dirty_bytes"));
	kho_json_known(o, "dirty_bytes_per_s", kho_json_get_int(dirty_of(d, name), "bytes_per_s"));
	kho_json_known(o, "stopped_us", stop && resume ? end - begin : 0);
	kho_json_known(o, "blackout_us",
		       stop && resume && d->blackout_end ? (end > d->blackout_end ? end : d->blackout_end) - begin : 0);
	return o;
}

static void add_plan(const struct digest *d, struct json_object *out)
{
	struct json_object *list = json_object_new_array(), *planned = kho_json_get(d->plan, "workloads");

	kho_json_known(out, "predicted_blackout_us", kho_json_get_int(d->plan, "predicted_us"));
	kho_json_str(out, "predicted_basis", d->plan ? kho_json_get_str(d->plan, "basis") : NULL);
	json_object_object_add(out, "converging", converging(d));
	json_object_object_add(out, "facts", facts(d));
	for (size_t i = 0; json_object_is_type(planned, json_type_array) && i < json_object_array_length(planned); i++)
		json_object_array_add(list, workload(d, json_object_array_get_idx(planned, i)));
	json_object_object_add(out, "workloads", list);
}

/* Did the workloads run as before? */
static void add_regression(const struct digest *d, struct json_object *out)
{
	struct json_object *o = d->regression ? json_object_new_object() : NULL;

	if (o) {
		kho_json_str(o, "verdict", kho_json_get_str(d->regression, "verdict"));
		kho_json_str(o, "msg", kho_json_get_str(d->regression, "msg"));
		json_object_object_add(o, "gates", json_object_get(kho_json_get(d->regression, "gates")));
	}
	json_object_object_add(out, "regression", o);
}

/* Times of phases count from the first freeze, so that two reports can be laid side by side. */
static void shift_phases(struct digest *d)
{
	for (size_t i = 0; i < json_object_array_length(d->phases); i++) {
		struct json_object *o = json_object_array_get_idx(d->phases, i);

		if (d->blackout_begin)
			kho_json_int(o, "at_us", kho_json_get_int(o, "at_us") - d->blackout_begin);
		else
			json_object_object_del(o, "at_us");
	}
}

struct json_object *kho_report_of_journal(struct json_object *records)
{
	struct json_object *out = json_object_new_object(), *pre = json_object_new_object();
	struct digest d = { .phases = json_object_new_array(),
			    .gates = json_object_new_array(),
			    .losses = json_object_new_array(),
			    .outcome = "interrupted",
			    .msg = "" };

	for (size_t i = 0; i < json_object_array_length(records); i++)
		digest(&d, out, json_object_array_get_idx(records, i));
	add_plan(&d, out);
	shift_phases(&d);
	kho_json_known(out, "blackout_us", d.blackout_end ? d.blackout_end - d.blackout_begin : 0);
	/* the floor is measured by whoever has something to compare with: make demo, make bench */
	kho_json_str(out, "floor_us", NULL);
	kho_json_str(out, "ratio", NULL);
	json_object_object_add(out, "phases", d.phases);
	kho_json_int(pre, "rounds", d.rounds);
	kho_json_int(pre, "bytes", d.precopy_bytes);
	json_object_object_add(out, "precopy", pre);
	json_object_object_add(out, "gates", d.gates);
	json_object_object_add(out, "losses", d.losses);
	kho_json_str(out, "outcome", d.outcome);
	kho_json_str(out, "msg", d.msg);
	kho_json_str(out, "back", d.back);
	add_regression(&d, out);
	return out;
}

bool kho_report_led_to(const struct json_object *report, int64_t generation, const char *release)
{
	return generation > 1 && generation == kho_json_get_int(report, "generation") && !strcmp(kho_json_get_str(report, "to"), release);
}

void kho_report_taken_over(struct json_object *report)
{
	kho_json_str(report, "outcome", "upgraded");
	kho_json_str(report, "msg", "the outgoing kernel fell before it had sent its last words");
}

int kho_report_save(const char *state_dir, struct json_object *report, struct kho_err *err)
{
	size_t len;
	_cleanup_free_ char *text = kho_json_line(report, true, &len), *path = NULL;

	if (!text || asprintf(&path, "%s/report.json", state_dir) < 0)
		return kho_fail(err, -ENOMEM, "save the report: out of memory");
	return kho_write_file(path, text, len, err);
}
