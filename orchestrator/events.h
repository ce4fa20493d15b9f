/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Events: one JSON object a line, to a callback and to events.jsonl.  The progress display, the
 * report and whoever watches are all made from them.  Fields: docs/formats.md.
 */
#ifndef KHO_EVENTS_H
#define KHO_EVENTS_H

#include <json-c/json.h>
#include <stdint.h>

#include "lib/err.h"
#include "orchestrator/logfile.h"

#define KHO_EVENTS_NAME "events.jsonl"

struct kho_events;

/* line ends with \n; called from several threads, one at a time. */
typedef void (*kho_event_fn)(void *arg, const char *line, size_t len);

int kho_events_create(const char *run_dir, const char *state_dir, kho_event_fn fn, void *arg,
		      struct kho_events **out, struct kho_err *err) __must_check;
/* Go on in the file of an upgrade that began at begin_us and whose process has died; the disk is
 * away. */
int kho_events_resume(const char *run_dir, const char *state_dir, uint64_t begin_us,
		      kho_event_fn fn, void *arg, struct kho_events **out,
		      struct kho_err *err) __must_check;
/* Emit (takes the reference); adds "t_us". What cannot be written is dropped: events decide
 * nothing. */
void kho_events_emit(struct kho_events *e, struct json_object *event);
/* New object {"event": kind}. */
struct json_object *kho_event_new(const char *kind);
struct kho_logfile *kho_events_file(struct kho_events *e);
void kho_events_free(struct kho_events *e);

#endif
