// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which containers are one pod: see pod.h.
 */
#include "lib/pod.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/json.h"
#include "lib/pid.h"

#define SCHEME	  "pod://"
#define CONFIG	  (4u << 20)
#define SHORT_ID  12
#define NAME_MOST 63 /* of a workload */

/* Labels of small letters, digits and "-", with "." between them (RFC 1123, as Kubernetes takes them). */
static bool is_dns(const char *s, size_t len)
{
	static const char alnum[] = "abcdefghijklmnopqrstuvwxyz0123456789";

	if (!len || len >= KHO_POD_NAME_LEN)
		return false;
	for (size_t i = 0; i < len; i++) {
		bool edge = !i || i + 1 == len || s[i - 1] == '.' || s[i + 1] == '.';

		if (!strchr(alnum, s[i]) && (edge || (s[i] != '-' && s[i] != '.')))
			return false;
	}
	return true;
}

bool kho_pod_name(const char *text, struct kho_pod_name *out)
{
	const char *ns = text + strlen(SCHEME), *slash;

	if (strncmp(text, SCHEME, strlen(SCHEME)) || !(slash = strchr(ns, '/')) || !is_dns(ns, (size_t)(slash - ns)) ||
	    !is_dns(slash + 1, strlen(slash + 1)))
		return false;
	snprintf(out->ns, sizeof(out->ns), "%.*s", (int)(slash - ns), ns);
	strcpy(out->name, slash + 1);
	return true;
}

/* Its bundle is a sandbox's of that name: annotations of containerd's CRI plugin (pkg/cri/annotations). */
static bool is_sandbox_of(const char *bundle, const struct kho_pod_name *pod)
{
	_cleanup_json_ struct json_object *o = NULL;
	_cleanup_free_ char *text = NULL;
	struct json_object *notes;
	char path[PATH_MAX];
	size_t len = 0;

	if (snprintf(path, sizeof(path), "%s/config.json", bundle) >= (int)sizeof(path) || kho_read_file(path, CONFIG, &text, &len, NULL) ||
	    kho_json_parse(text, len, &o, NULL))
		return false;
	notes = kho_json_get(o, "annotations");
	return !strcmp(kho_json_get_str(notes, "io.kubernetes.cri.container-type"), "sandbox") &&
	       !strcmp(kho_json_get_str(notes, "io.kubernetes.cri.sandbox-name"), pod->name) &&
	       !strcmp(kho_json_get_str(notes, "io.kubernetes.cri.sandbox-namespace"), pod->ns);
}

static bool runs(const char *sysroot, const struct kho_containerd_name *c, pid_t shim)
{
	pid_t root, monitor;

	return !kho_containerd_pids(sysroot, c, &root, &monitor, NULL) && root && (shim ? monitor == shim : monitor != 0);
}

static DIR *open_tasks(const char *sysroot, const char *ns, char path[PATH_MAX])
{
	return snprintf(path, PATH_MAX, "%s" KHO_CONTAINERD_TASKS "/%s", sysroot ? sysroot : "", ns) < PATH_MAX ? opendir(path) : NULL;
}

/* The next of its tasks; false: there is no other. */
static bool next_task(DIR *d, const char *ns, struct kho_containerd_name *out)
{
	char text[2 * KHO_CONTAINERD_ID_LEN + 16];
	struct dirent *e;

	while (d && (e = readdir(d)))
		if (snprintf(text, sizeof(text), "containerd://%s/%s", ns, e->d_name) < (int)sizeof(text) && kho_containerd_name(text, out))
			return true;
	return false;
}

int kho_pod_find(const char *sysroot, const struct kho_pod_name *pod, char out[KHO_CONTAINERD_ID_LEN], struct kho_err *err)
{
	char dir[PATH_MAX], bundle[PATH_MAX];
	_cleanup_closedir_ DIR *d = open_tasks(sysroot, KHO_CONTAINERD_NAMESPACE, dir);
	struct kho_containerd_name c;

	while (next_task(d, KHO_CONTAINERD_NAMESPACE, &c)) {
		if (snprintf(bundle, sizeof(bundle), "%s/%s", dir, c.id) >= (int)sizeof(bundle) || !is_sandbox_of(bundle, pod) ||
		    !runs(sysroot, &c, 0))
			continue;
		strcpy(out, c.id);
		return 0;
	}
	return kho_fail(err, -ENOENT, "pod %.100s of namespace %.100s: containerd has no such sandbox", pod->name, pod->ns);
}

int kho_pod_first(const char *sysroot, pid_t shim, char out[KHO_CONTAINERD_ID_LEN], struct kho_err *err)
{
	_cleanup_free_ char *text = NULL;
	char path[PATH_MAX];
	size_t len = 0;
	int rc;

	snprintf(path, sizeof(path), "%s/proc/%d/cmdline", sysroot ? sysroot : "", shim);
	rc = kho_read_file(path, 65536, &text, &len, err);
	if (rc)
		return rc;
	for (const char *a = text; a < text + len; a += strlen(a) + 1) {
		const char *value = a + strlen(a) + 1;

		if (strcmp(a, "-id") || value >= text + len || !*value || strlen(value) >= KHO_CONTAINERD_ID_LEN)
			continue;
		strcpy(out, value);
		return 0;
	}
	return kho_fail(err, -EPROTO, "shim %d: its arguments name no container", shim);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(a, b);
}

int kho_pod_members(const char *sysroot, const char *ns, pid_t shim, char (*out)[KHO_CONTAINERD_ID_LEN], size_t *out_n,
		    struct kho_err *err)
{
	char dir[PATH_MAX];
	_cleanup_closedir_ DIR *d = open_tasks(sysroot, ns, dir);
	struct kho_containerd_name c;

	*out_n = 0;
	while (next_task(d, ns, &c)) {
		if (!runs(sysroot, &c, shim))
			continue;
		if (*out_n == KHO_POD_MAX)
			return kho_fail(err, -E2BIG, "shim %d has more than %d containers", shim, KHO_POD_MAX);
		strcpy(out[(*out_n)++], c.id);
	}
	qsort(out, *out_n, sizeof(*out), by_text);
	return 0;
}

/* --- as workloads --- */

static int insert(struct kho_workload_list *l, size_t at, const char *of, const struct kho_containerd_name *c, struct kho_err *err)
{
	struct kho_workload w = { .health_timeout_us = l->w[at].health_timeout_us, .in_pod = true }, *bigger;

	if (asprintf(&w.name, "%.*s.%.*s", NAME_MOST - SHORT_ID - 1, of, SHORT_ID, c->id) < 0 ||
	    asprintf(&w.container, "containerd://%s/%s", c->ns, c->id) < 0 || !(bigger = realloc(l->w, (l->n + 1) * sizeof(*bigger))))
		return kho_fail(err, -ENOMEM, "find the containers of %s: out of memory", of);
	l->w = bigger;
	memmove(&l->w[at + 2], &l->w[at + 1], (l->n - at - 1) * sizeof(*bigger));
	l->w[at + 1] = w;
	l->n++;
	return 0;
}

static int add_members(const char *sysroot, struct kho_workload_list *l, size_t *at, const struct kho_containerd_name *first,
		       struct kho_err *err)
{
	char ids[KHO_POD_MAX][KHO_CONTAINERD_ID_LEN];
	struct kho_containerd_name c = *first;
	pid_t root, shim;
	size_t n, of = *at;
	int rc;

	if (kho_containerd_pids(sysroot, first, &root, &shim, NULL) || !root || !shim)
		return 0;
	rc = kho_pod_members(sysroot, first->ns, shim, ids, &n, err);
	for (size_t i = 0; !rc && i < n; i++) {
		if (!strcmp(ids[i], first->id))
			continue;
		strcpy(c.id, ids[i]);
		rc = insert(l, *at, l->w[of].name, &c, err);
		(*at)++;
	}
	return rc;
}

int kho_workloads_add_pods(const char *sysroot, struct kho_workload_list *l, struct kho_err *err)
{
	int rc = 0;

	for (size_t i = 0; !rc && i < l->n; i++) {
		struct kho_containerd_name c = { KHO_CONTAINERD_NAMESPACE, "" };
		struct kho_pod_name pod;
		char *text;

		if (!l->w[i].container)
			continue;
		if (kho_pod_name(l->w[i].container, &pod)) {
			if (kho_pod_find(sysroot, &pod, c.id, NULL))
				continue;
			if (asprintf(&text, "containerd://%s/%s", c.ns, c.id) < 0)
				return kho_fail(err, -ENOMEM, "find pod %s: out of memory", pod.name);
			free(l->w[i].container);
			l->w[i].container = text;
		} else if (!kho_containerd_name(l->w[i].container, &c)) {
			continue;
		}
		rc = add_members(sysroot, l, &i, &c, err);
	}
	return rc;
}

int kho_workloads_declared(const char *sysroot, struct kho_workload_list *out, struct kho_err *err)
{
	int rc = kho_workloads_load(sysroot, NULL, out, err);

	return rc < 0 ? rc : kho_workloads_add_pods(sysroot, out, err);
}
