// SPDX-License-Identifier: GPL-2.0-only
/*
 * What crun keeps of a container in its file "status": JSON, and in a string of it the standard streams that the
 * container was made with, as a list in JSON.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/json.h"
#include "state-serializers/common.h"
#include "state-serializers/proc/container.h"

#define STREAMS "external_descriptors"
#define START	"process-start-time"

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

int kho_container_pipes(const char *text, size_t len, KhoProc__Container *c, struct kho_err *err)
{
	_cleanup_json_ struct json_object *o = NULL, *list = NULL;
	int rc = kho_json_parse(text, len, &o, err);

	if (rc)
		return kho_wrap(err, "crun's status");
	list = json_tokener_parse(kho_json_get_str(o, STREAMS));
	if (!json_object_is_type(list, json_type_array))
		return kho_fail(err, -ENOTSUP, "crun's status tells nothing of the container's standard streams");
	for (size_t i = 0; i < KHO_CONTAINER_PIPES && i < json_object_array_length(list); i++) {
		const char *s = json_object_get_string(json_object_array_get_idx(list, i));
		unsigned long long inode;

		if (s && sscanf(s, "pipe:[%llu]", &inode) == 1 && add_pipe(c, (uint32_t)i, inode))
			return kho_fail(err, -ENOMEM, "crun's status: out of memory");
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
		return kho_wrap(err, "crun's status");
	kho_json_int(o, START, start);
	list = json_tokener_parse(kho_json_get_str(o, STREAMS));
	for (size_t i = 0; json_object_is_type(list, json_type_array) && i < c->n_pipe; i++) {
		snprintf(pipe, sizeof(pipe), "pipe:[%llu]", (unsigned long long)inodes[i]);
		json_object_array_put_idx(list, c->pipe[i]->number, json_object_new_string(pipe));
	}
	if (list)
		kho_json_str(o, STREAMS, json_object_to_json_string_ext(list, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
	*out = strdup(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
	return *out ? 0 : kho_fail(err, -ENOMEM, "crun's status: out of memory");
}
