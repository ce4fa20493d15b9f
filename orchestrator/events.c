// SPDX-License-Identifier: GPL-2.0-only
/* Events.  See orchestrator/events.h. */
#include "orchestrator/events.h"

#include <pthread.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"
#include "lib/json.h"

#define EVENTS_MAX (64u << 20)

struct kho_events {
	pthread_mutex_t lock;
	struct kho_logfile *file;
	kho_event_fn fn;
	void *arg;
	uint64_t begin_us;
};

static struct kho_events *events_new(uint64_t begin_us, kho_event_fn fn, void *arg)
{
	struct kho_events *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	pthread_mutex_init(&e->lock, NULL);
	e->fn = fn;
	e->arg = arg;
	e->begin_us = begin_us;
	return e;
}

int kho_events_create(const char *run_dir, const char *state_dir, kho_event_fn fn, void *arg,
		      struct kho_events **out, struct kho_err *err)
{
	struct kho_events *e = events_new(kho_clock_us(), fn, arg);
	int rc;

	if (!e)
		return kho_fail(err, -ENOMEM, "events: out of memory");
	rc = kho_logfile_create(run_dir, state_dir, KHO_EVENTS_NAME, &e->file, err);
	if (rc < 0) {
		kho_events_free(e);
		return kho_wrap(err, "events");
	}
	*out = e;
	return 0;
}

int kho_events_resume(const char *run_dir, const char *state_dir, uint64_t begin_us,
		      kho_event_fn fn, void *arg, struct kho_events **out, struct kho_err *err)
{
	struct kho_events *e = events_new(begin_us, fn, arg);
	_cleanup_free_ char *path = NULL, *text = NULL;
	struct kho_blob whole = { 0 };
	int rc;

	if (!e || asprintf(&path, "%s/%s", run_dir, KHO_EVENTS_NAME) < 0) {
		kho_events_free(e);
		return kho_fail(err, -ENOMEM, "events: out of memory");
	}
	/* a file that is not there, or a line cut off: events decide nothing */
	if (kho_read_file(path, EVENTS_MAX, &text, &whole.len, NULL) < 0)
		whole.len = 0;
	while (whole.len && text[whole.len - 1] != '\n')
		whole.len--;
	whole.data = text;
	rc = kho_logfile_resume(run_dir, state_dir, KHO_EVENTS_NAME, &whole, &e->file, err);
	if (rc < 0) {
		kho_events_free(e);
		return kho_wrap(err, "events");
	}
	*out = e;
	return 0;
}

struct json_object *kho_event_new(const char *kind)
{
	struct json_object *o = json_object_new_object();

	kho_json_str(o, "event", kind);
	return o;
}

void kho_events_emit(struct kho_events *e, struct json_object *event)
{
	_cleanup_json_ struct json_object *own = event;
	_cleanup_free_ char *line = NULL;
	size_t len;

	kho_json_int(own, "t_us", (int64_t)(kho_clock_us() - e->begin_us));
	line = kho_json_line(own, false, &len);
	if (!line)
		return;
	pthread_mutex_lock(&e->lock);
	(void)!kho_logfile_append(e->file, line, len, false, NULL);
	if (e->fn)
		e->fn(e->arg, line, len);
	pthread_mutex_unlock(&e->lock);
}

struct kho_logfile *kho_events_file(struct kho_events *e)
{
	return e->file;
}

void kho_events_free(struct kho_events *e)
{
	if (!e)
		return;
	kho_logfile_free(e->file);
	pthread_mutex_destroy(&e->lock);
	free(e);
}
