// SPDX-License-Identifier: GPL-2.0-only
/* A recording, to JSON and back.  See bpf/recording.h. */
#include "bpf/recording.h"

#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/format.h"
#include "lib/io.h"
#include "lib/json.h"

#define FORMAT 1
#define COUNT_MAX (INT64_MAX / 4096) /* of one slot or counter: their sums do not overflow */

const struct kho_metric_info kho_metrics[KHO_NMETRICS] = {
#define X(id, kind, part, floor) { KHO_GATE_##id, KHO_METRIC_KIND_##kind, KHO_RECORD_##part, floor },
#include "bpf/metrics.def"
#undef X
};

static const char *const part_names[KHO_RECORD_NPARTS] = { "tasks", "block", "tcp", "proc" };

/* The members of a slice. */
static const struct {
	const char *name;
	size_t off;
} slice_members[] = {
#define M(name) { #name, offsetof(struct kho_slice, name) }
	M(us), M(replies), M(switches), M(cpu_ns), M(faults), M(segments), M(retrans),
#undef M
};
#define NMEMBERS (sizeof(slice_members) / sizeof(*slice_members))

const char *kho_metric_name(enum kho_metric m)
{
	return kho_gates[kho_metrics[m].gate].name;
}

static struct json_object *hist_json(const struct kho_hist *h)
{
	struct json_object *a = json_object_new_array();

	for (unsigned i = 0; i < KHO_HIST_SLOTS; i++) {
		struct json_object *pair;

		if (!h->slot[i])
			continue;
		pair = json_object_new_array_ext(2);
		json_object_array_add(pair, json_object_new_int64(i));
		json_object_array_add(pair, json_object_new_int64((int64_t)h->slot[i]));
		json_object_array_add(a, pair);
	}
	return a;
}

static struct json_object *slices_json(const struct kho_recording *r)
{
	struct json_object *a = json_object_new_array();

	for (size_t i = 0; i < r->n; i++) {
		struct json_object *o = json_object_new_object();

		for (size_t m = 0; m < NMEMBERS; m++)
			kho_json_int(o, slice_members[m].name, *(const int64_t *)((const char *)&r->slices[i] + slice_members[m].off));
		json_object_array_add(a, o);
	}
	return a;
}

struct json_object *kho_recording_json(const struct kho_recording *r)
{
	struct json_object *o = json_object_new_object(), *unknown = json_object_new_object(), *times = json_object_new_object();

	kho_json_int(o, "format", FORMAT);
	kho_json_str(o, "kernel", r->kernel);
	kho_json_str(o, "workloads", r->workloads);
	kho_json_int(o, "time", r->time);
	kho_json_int(o, "us", (int64_t)r->us);
	kho_json_int(o, "restarts", (int64_t)r->restarts);
	kho_json_int(o, "lost", (int64_t)r->lost);
	for (int p = 0; p < KHO_RECORD_NPARTS; p++)
		if (*r->why[p])
			kho_json_str(unknown, part_names[p], r->why[p]);
	json_object_object_add(o, "unknown", unknown);
	for (int m = 0; m < KHO_NMETRICS; m++)
		if (kho_metrics[m].kind != KHO_METRIC_KIND_RATE && !*r->why[kho_metrics[m].part])
			json_object_object_add(times, kho_metric_name((enum kho_metric)m), hist_json(&r->times[m]));
	json_object_object_add(o, "times_ns", times);
	json_object_object_add(o, "slices", slices_json(r));
	return o;
}

/* A whole number that a counter may have. */
static int number(const struct json_object *v, const char *what, uint64_t max, uint64_t *out, struct kho_err *err)
{
	int64_t n = json_object_is_type(v, json_type_int) ? json_object_get_int64(v) : -1;

	if (n < 0 || (uint64_t)n > max)
		return kho_fail(err, -EINVAL, "recording: %s: want a whole number from 0 to %llu", what, (unsigned long long)max);
	*out = (uint64_t)n;
	return 0;
}

static int text(const struct json_object *o, const char *key, char *out, size_t room, struct kho_err *err)
{
	struct json_object *v = kho_json_get(o, key);
	size_t len = json_object_is_type(v, json_type_string) ? (size_t)json_object_get_string_len(v) : room;

	if (len >= room || strlen(json_object_get_string(v)) != len)
		return kho_fail(err, -EINVAL, "recording: %s: want a text of less than %zu bytes", key, room);
	kho_format_text(out, (const uint8_t *)json_object_get_string(v), len);
	out[len] = '\0';
	for (char *c = out; *c; c++)
		if (*c == '\n' || *c == '\t')
			*c = ' ';
	return 0;
}

/* [[slot, count], ...], slots ascending */
static int hist_parse(struct json_object *a, const char *name, struct kho_hist *h, struct kho_err *err)
{
	uint64_t slot, count, next = 0;
	int rc = 0;

	if (!json_object_is_type(a, json_type_array))
		return kho_fail(err, -EINVAL, "recording: times_ns: %s: want an array", name);
	for (size_t i = 0; !rc && i < json_object_array_length(a); i++) {
		const struct json_object *pair = json_object_array_get_idx(a, i);

		if (!json_object_is_type(pair, json_type_array) || json_object_array_length(pair) != 2)
			return kho_fail(err, -EINVAL, "recording: times_ns: %s: want [slot, count]", name);
		rc = number(json_object_array_get_idx(pair, 0), name, KHO_HIST_SLOTS - 1, &slot, err);
		if (!rc)
			rc = number(json_object_array_get_idx(pair, 1), name, COUNT_MAX, &count, err);
		if (!rc && slot < next)
			rc = kho_fail(err, -EINVAL, "recording: times_ns: %s: slot %llu comes too late", name, (unsigned long long)slot);
		if (!rc) {
			h->slot[slot] = count;
			next = slot + 1;
		}
	}
	return rc;
}

static int times_parse(const struct json_object *o, struct kho_recording *r, struct kho_err *err)
{
	const struct json_object *times = kho_json_get(o, "times_ns"), *unknown = kho_json_get(o, "unknown");
	int rc = 0;

	if (!json_object_is_type(times, json_type_object) || !json_object_is_type(unknown, json_type_object))
		return kho_fail(err, -EINVAL, "recording: times_ns and unknown: want objects");
	for (int p = 0; !rc && p < KHO_RECORD_NPARTS; p++) {
		if (!json_object_object_get_ex(unknown, part_names[p], NULL))
			continue;
		rc = text(unknown, part_names[p], r->why[p], sizeof(r->why[p]), err);
		if (!rc && !*r->why[p])
			rc = kho_fail(err, -EINVAL, "recording: unknown: %s without a reason", part_names[p]);
	}
	for (int m = 0; !rc && m < KHO_NMETRICS; m++)
		if (kho_metrics[m].kind != KHO_METRIC_KIND_RATE && !*r->why[kho_metrics[m].part])
			rc = hist_parse(kho_json_get(times, kho_metric_name((enum kho_metric)m)), kho_metric_name((enum kho_metric)m), &r->times[m], err);
	return rc;
}

static int slices_parse(const struct json_object *o, struct kho_recording *r, struct kho_err *err)
{
	struct json_object *a = kho_json_get(o, "slices");
	size_t n = json_object_is_type(a, json_type_array) ? json_object_array_length(a) : SIZE_MAX;
	int rc = 0;

	if (n > KHO_RECORDING_SLICES)
		return kho_fail(err, -EINVAL, "recording: slices: want an array of at most %u", KHO_RECORDING_SLICES);
	r->slices = calloc(n + 1, sizeof(*r->slices));
	if (!r->slices)
		return kho_fail(err, -ENOMEM, "recording");
	for (; !rc && r->n < n; r->n++)
		for (size_t m = 0; !rc && m < NMEMBERS; m++)
			rc = number(kho_json_get(json_object_array_get_idx(a, r->n), slice_members[m].name), slice_members[m].name, COUNT_MAX,
				    (uint64_t *)((char *)&r->slices[r->n] + slice_members[m].off), err);
	return rc;
}

static int parse(const struct json_object *o, struct kho_recording *r, struct kho_err *err)
{
	uint64_t format = 0, when = 0;
	int rc = number(kho_json_get(o, "format"), "format", COUNT_MAX, &format, err);

	if (!rc && format != FORMAT)
		return kho_fail(err, -EINVAL, "recording: format %llu, and this khoctl reads %d", (unsigned long long)format, FORMAT);
	if (!rc)
		rc = text(o, "kernel", r->kernel, sizeof(r->kernel), err);
	if (!rc && !kho_is_word(r->kernel))
		rc = kho_fail(err, -EINVAL, "recording: kernel: that is no release");
	if (!rc)
		rc = text(o, "workloads", r->workloads, sizeof(r->workloads), err);
	if (!rc)
		rc = number(kho_json_get(o, "time"), "time", COUNT_MAX, &when, err);
	r->time = (int64_t)when;
	if (!rc)
		rc = number(kho_json_get(o, "us"), "us", COUNT_MAX, &r->us, err);
	if (!rc)
		rc = number(kho_json_get(o, "restarts"), "restarts", COUNT_MAX, &r->restarts, err);
	if (!rc)
		rc = number(kho_json_get(o, "lost"), "lost", COUNT_MAX, &r->lost, err);
	if (!rc)
		rc = times_parse(o, r, err);
	return rc ? rc : slices_parse(o, r, err);
}

int kho_recording_parse(const char *data, size_t len, struct kho_recording *out, struct kho_err *err)
{
	_cleanup_json_ struct json_object *o = NULL;
	int rc = kho_json_parse(data, len, &o, err);

	*out = (struct kho_recording){ 0 };
	if (!rc)
		rc = parse(o, out, err);
	if (rc)
		kho_recording_done(out);
	return rc;
}

int kho_recording_save(const struct kho_recording *r, const char *path, struct kho_err *err)
{
	_cleanup_json_ struct json_object *o = kho_recording_json(r);
	const char *data = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);

	return kho_write_file(path, data, strlen(data), err);
}

int kho_recording_load(const char *path, struct kho_recording *out, struct kho_err *err)
{
	_cleanup_free_ char *data = NULL;
	size_t len = 0;
	int rc = kho_read_file(path, KHO_RECORDING_BYTES, &data, &len, err);

	*out = (struct kho_recording){ 0 };
	if (rc)
		return rc;
	rc = kho_recording_parse(data, len, out, err);
	return rc ? kho_wrap(err, "%s", path) : 0;
}

void kho_recording_done(struct kho_recording *r)
{
	free(r->slices);
	*r = (struct kho_recording){ 0 };
}
