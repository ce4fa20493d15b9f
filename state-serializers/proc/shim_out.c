// SPDX-License-Identifier: GPL-2.0-only
/* Outgoing side of a container of containerd: what its shim says of it. See shim.h. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/json.h"
#include "lib/patience.h"
#include "lib/pod.h"
#include "state-serializers/proc/shim.h"
#include "state-serializers/proc/ttrpc.h"

#define RUNC_ROOT "/run/containerd/runc" /* containerd: process.RuncRoot */
#define RUNNING	  2			 /* containerd: types/task.Status */
#define FILE_MAX  (1u << 20)

/* A file of a bundle; "" when there is none. */
static char *of_bundle(const char *bundle, const char *name)
{
	char path[PATH_MAX], *text = NULL;

	snprintf(path, sizeof(path), "%s/%s", bundle, name);
	return kho_read_file(path, FILE_MAX, &text, NULL, NULL) ? strdup("") : text;
}

/* The shim's socket: containerd 2 writes bootstrap.json, older ones the bare address. */
static int read_address(const char *bundle, KhoProc__Shim *s, struct kho_err *err)
{
	_cleanup_free_ char *text = of_bundle(bundle, "bootstrap.json");
	_cleanup_json_ struct json_object *o = NULL;
	const char *address = NULL;
	bool v3 = false;

	if (text && *text) {
		if (kho_json_parse(text, strlen(text), &o, err))
			return kho_wrap(err, "bootstrap.json");
		address = kho_json_get_str(o, "address");
		v3 = kho_json_get_int(o, "version") == 3;
		if (strcmp(kho_json_get_str(o, "protocol"), "ttrpc"))
			return kho_fail(err, -ENOTSUP, "its shim speaks %s, not ttrpc", kho_json_get_str(o, "protocol"));
	} else {
		free(text);
		address = text = of_bundle(bundle, "address");
	}
	if (!address || strncmp(address, "unix:///", 8) || !kho_path_is_plain(address + 7))
		return kho_fail(err, -ENOTSUP, "its shim has no socket that has a path");
	return kho_pb_set(&s->address, address + 7) || kho_pb_set(&s->service, v3 ? "containerd.task.v3.Task" : "containerd.task.v2.Task")
		       ? kho_fail(err, -ENOMEM, "look at its shim: out of memory")
		       : 0;
}

/*
 * A pod's containers have one shim: whether this is the first, how many they are, or which process the first one's is. containerd
 * asks a shim for a further container when both have the same group (its shim's Start), and the socket is the first one's.
 */
static int take_pod(const struct kho_containerd_name *name, KhoProc__Container *c, struct kho_err *err)
{
	char ids[KHO_POD_MAX][KHO_CONTAINERD_ID_LEN], id[KHO_CONTAINERD_ID_LEN];
	struct kho_containerd_name first = *name;
	size_t n = 0;
	pid_t root = 0, shim = 0;
	int rc = kho_pod_first("", c->monitor, id, err);

	if (rc)
		return rc;
	strcpy(first.id, id);
	if (!strcmp(id, name->id)) {
		rc = kho_pod_members("", name->ns, c->monitor, ids, &n, err);
		c->shim->members = (uint32_t)n;
		return rc;
	}
	rc = kho_containerd_pids("", &first, &root, &shim, err);
	if (!rc && (!root || shim != c->monitor))
		rc = kho_fail(err, -ENOTSUP, "the container that its shim was started for (%.20s) does not run", id);
	c->pod = root;
	return rc;
}

int kho_shim_is_as_planned(const KhoProc__Container *c, struct kho_err *err)
{
	char ids[KHO_POD_MAX][KHO_CONTAINERD_ID_LEN];
	size_t n = 0;
	int rc = kho_pod_members("", c->shim->namespace_, c->monitor, ids, &n, err);

	if (!rc && n != c->shim->members)
		rc = kho_fail(err, -EAGAIN, "the pod has %zu containers, and had %u when it was looked at; try again", n, c->shim->members);
	return rc;
}

static int take_state(const KhoCtd__StateResponse *r, const KhoProc__Container *c, KhoProc__Shim *s, struct kho_err *err)
{
	if (r->status != RUNNING || (pid_t)r->pid != c->root)
		return kho_fail(err, -ENOTSUP, "its shim does not call it running");
	if (r->terminal)
		return kho_fail(err, -ENOTSUP, "the container has a terminal");
	if (strstr(r->stdout, "://") && strncmp(r->stdout, "file://", 7) && strncmp(r->stdout, "fifo://", 7))
		return kho_fail(err, -ENOTSUP, "what it says goes to a program of the shim's (%.60s)", r->stdout);
	return kho_pb_set(&s->stdin, r->stdin) || kho_pb_set(&s->stdout, r->stdout) || kho_pb_set(&s->stderr, r->stderr)
		       ? kho_fail(err, -ENOMEM, "look at its shim: out of memory")
		       : 0;
}

static int ask_state(const char *id, const KhoProc__Container *c, KhoProc__Shim *s, struct kho_err *err)
{
	struct kho_ttrpc t = KHO_TTRPC_INIT;
	KhoCtd__StateRequest q = KHO_CTD__STATE_REQUEST__INIT;
	KhoCtd__StateResponse *r = NULL;
	int rc;

	t.service = s->service;
	t.ns = s->namespace_;
	q.id = (char *)id;
	rc = kho_ttrpc_connect(&t, s->address, err);
	if (!rc)
		rc = kho_ttrpc_call(&t, "State", &q.base, &kho_ctd__state_response__descriptor, KHO_PATIENCE_US, &r, err);
	kho_ttrpc_close(&t);
	if (!rc)
		rc = take_state(r, c, s, err);
	if (r)
		kho_ctd__state_response__free_unpacked(r, NULL);
	return rc;
}

/* Where the runtime keeps what it knows of the container: runc, or crun in its place. */
static int find_status(const struct kho_containerd_name *name, KhoProc__Shim *s, struct kho_err *err)
{
	static const char *const files[] = { "state.json", "status" };
	_cleanup_json_ struct json_object *o = NULL;
	const char *root = RUNC_ROOT;
	char path[PATH_MAX];

	if (*s->options && kho_json_parse(s->options, strlen(s->options), &o, err))
		return kho_wrap(err, "options.json");
	if (o && *kho_json_get_str(o, "root"))
		root = kho_json_get_str(o, "root");
	for (size_t i = 0; i < KHO_ARRAY_SIZE(files); i++) {
		if (snprintf(path, sizeof(path), "%s/%s/%s/%s", root, name->ns, name->id, files[i]) < (int)sizeof(path) && kho_exists(path))
			return kho_pb_set(&s->status, path) ? kho_fail(err, -ENOMEM, "look at its shim: out of memory") : 0;
	}
	return kho_fail(err, -ENOTSUP, "its runtime is neither runc nor crun (nothing of theirs below %s)", root);
}

int kho_shim_read(const struct kho_containerd_name *name, KhoProc__Container *c, struct kho_err *err)
{
	char bundle[PATH_MAX];
	KhoProc__Shim *s = c->shim = malloc(sizeof(*s));
	int rc;

	if (!s)
		return kho_fail(err, -ENOMEM, "look at its shim: out of memory");
	kho_proc__shim__init(s);
	snprintf(bundle, sizeof(bundle), KHO_CONTAINERD_TASKS "/%s/%s", name->ns, name->id);
	_cleanup_free_ char *options = of_bundle(bundle, "options.json"), *runtime = of_bundle(bundle, "runtime");

	if (!options || !runtime || kho_pb_set(&c->bundle, bundle) || kho_pb_set(&s->namespace_, name->ns) ||
	    kho_pb_set(&s->options, options) || kho_pb_set(&s->runtime, runtime))
		return kho_fail(err, -ENOMEM, "look at its shim: out of memory");
	rc = read_address(bundle, s, err);
	if (!rc)
		rc = take_pod(name, c, err);
	if (!rc)
		rc = ask_state(name->id, c, s, err);
	return rc ? rc : find_status(name, s, err);
}
