// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a runtime keeps of a container, JSON: crun's file "status", which has the standard streams that the container was
 * made with as a list in JSON in a string, and runc's "state.json", which has the list itself.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/json.h"
#include "state-serializers/common.h"
#include "state-serializers/proc/container.h"

#define STREAMS "external_descriptors"

/* When the first process started, as crun and runc call it. */
static const char *const starts[] = { "process-start-time", "init_process_start" };

static int add_pipe(KhoProc__Container *c, uint32_t number, uint64_t inode)
{
	KhoProc__StandardPipe *p = malloc(sizeof(*p));

	if (!p)
		return -ENOMEM;
	kho_proc__standard_pipe__init(p);
	p->number = number;
	p->inode = inode;
	return kho_pb_append(&c->pipe, &c->n_pipe, p);
}

static struct json_object *streams_of(struct json_object *o)
{
	struct json_object *list = kho_json_get(o, STREAMS);

	return json_object_is_type(list, json_type_array) ? json_object_get(list)
							  : json_tokener_parse(kho_json_get_str(o, STREAMS));
}

void kho_container_status_path(const KhoProc__Container *c, char out[PATH_MAX])
{
	if (c->shim) {
		snprintf(out, PATH_MAX, "%s", c->shim->status);
		return;
	}
	snprintf(out, PATH_MAX, "/run/runc/%s/state.json", c->id);
	if (!kho_exists(out))
		snprintf(out, PATH_MAX, "/run/crun/%s/status", c->id);
}

int kho_container_pipes(const char *text, size_t len, KhoProc__Container *c, struct kho_err *err)
{
	_cleanup_json_ struct json_object *o = NULL, *list = NULL;
	int rc = kho_json_parse(text, len, &o, err);

	if (rc)
		return kho_wrap(err, "the runtime's state");
	list = streams_of(o);
	if (!json_object_is_type(list, json_type_array))
		return kho_fail(err, -ENOTSUP, "the runtime's state tells nothing of the container's standard streams");
	for (size_t i = 0; i < KHO_CONTAINER_PIPES && i < json_object_array_length(list); i++) {
		const char *s = json_object_get_string(json_object_array_get_idx(list, i));
		unsigned long long inode;

		if (s && sscanf(s, "pipe:[%llu]", &inode) == 1 && add_pipe(c, (uint32_t)i, inode))
			return kho_fail(err, -ENOMEM, "the runtime's state: out of memory");
	}
	return 0;
}

int64_t kho_stat_start(const char *stat)
{
	const char *p = strrchr(stat, ')');

	for (int field = 2; p && field < 22; field++)
		p = strchr(p + 1, ' ');
	return p ? strtoll(p, NULL, 10) : 0;
}

int kho_container_status(const char *text, size_t len, const KhoProc__Container *c, int64_t start,
			 const uint64_t *inodes, char **out, struct kho_err *err)
{
	_cleanup_json_ struct json_object *o = NULL, *list = NULL;
	char pipe[32];
	int rc = kho_json_parse(text, len, &o, err);

	if (rc)
		return kho_wrap(err, "the runtime's state");
	for (size_t i = 0; i < KHO_ARRAY_SIZE(starts); i++)
		if (kho_json_get(o, starts[i]))
			kho_json_int(o, starts[i], start);
	list = streams_of(o);
	for (size_t i = 0; json_object_is_type(list, json_type_array) && i < c->n_pipe; i++) {
		snprintf(pipe, sizeof(pipe), "pipe:[%llu]", (unsigned long long)inodes[i]);
		json_object_array_put_idx(list, c->pipe[i]->number, json_object_new_string(pipe));
	}
	if (list && json_object_is_type(kho_json_get(o, STREAMS), json_type_string))
		kho_json_str(o, STREAMS, json_object_to_json_string_ext(list, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
	*out = strdup(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
	return *out ? 0 : kho_fail(err, -ENOMEM, "the runtime's state: out of memory");
}
