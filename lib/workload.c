// SPDX-License-Identifier: GPL-2.0-only
/*
 * Workloads: declaration files.  Finding their processes is in workload_find.c.
 */
#include "lib/workload.h"

#include <dirent.h>
#include <limits.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/conf.h"
#include "lib/containerd.h"
#include "lib/io.h"
#include "lib/pod.h"

#define DEFAULT_DIR	   "/etc/khoctl/workloads.d"
#define DEFAULT_TIMEOUT_US 2000000
#define ALNUM		   "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

#define K(name, type, field)                                     \
	{                                                        \
		name, type, offsetof(struct kho_workload, field) \
	}
static const struct kho_conf_key keys[] = {
	K("unit", KHO_CONF_STRING, unit),
	K("container", KHO_CONF_STRING, container),
	K("pidfile", KHO_CONF_PATH, pidfile),
	K("match", KHO_CONF_PATH, match),
	K("cgroup", KHO_CONF_PATH, cgroup),
	K("health-tcp", KHO_CONF_STRING, health_tcp),
	K("health-send", KHO_CONF_ESCAPED, health_send),
	K("health-expect", KHO_CONF_ESCAPED, health_expect),
	K("health-command", KHO_CONF_PATH, health_command),
	K("health-timeout", KHO_CONF_DURATION, health_timeout_us),
	{ 0 },
};

static void workload_done(struct kho_workload *w)
{
	kho_conf_done(keys, w);
	free(w->name);
	free(w->pids);
	free(w->cg);
}

static bool name_is_valid(const char *name, size_t len)
{
	return len >= 1 && len <= 63 &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-") >= len;
}

static bool tcp_is_valid(const char *s)
{
	const char *colon = strrchr(s, ':');
	char *end;
	unsigned long port;

	if (!colon || colon == s)
		return false;
	port = strtoul(colon + 1, &end, 10);
	return colon[1] && !*end && port >= 1 && port <= 65535;
}

/* What systemd takes for a unit's name; the name of a template alone is no running unit. */
bool kho_unit_name_is_valid(const char *s)
{
	size_t len = strlen(s), stem = len - strlen(".service");
	const char *at = strchr(s, '@');

	return len > strlen(".service") && len < 256 && !strcmp(s + stem, ".service") &&
	       strspn(s, ALNUM ":-_.\\@") == len && *s != '@' && !(at && at + 1 == s + stem);
}

bool kho_cgroup_path_is_valid(const char *s)
{
	if (*s != '/' || strlen(s) >= PATH_MAX)
		return false;
	for (const char *p = s; *p && s[1]; p += strcspn(p, "/")) {
		size_t len = strcspn(++p, "/");

		if (!len || (p[0] == '.' && (len == 1 || (len == 2 && p[1] == '.'))))
			return false;
	}
	return true;
}

static bool container_is_valid(const char *s)
{
	struct kho_containerd_name name;
	struct kho_pod_name pod;
	size_t len = strlen(s);

	return kho_containerd_name(s, &name) || kho_pod_name(s, &pod) || (len < 256 && strspn(s, ALNUM "_.-") == len && !strchr("_.-", *s));
}

static int validate(const char *path, const struct kho_workload *w, struct kho_err *err)
{
	int roots = !!w->unit + !!w->container + !!w->pidfile + !!w->match + !!w->cgroup;

	if (roots != 1)
		return kho_fail(err, -EINVAL,
				"%s: want exactly one of unit, container, pidfile, match, cgroup; "
				"has %d",
				path, roots);
	if (w->unit && !kho_unit_name_is_valid(w->unit))
		return kho_fail(err, -EINVAL, "%s: unit = %s: want NAME.service", path, w->unit);
	if (w->container && !container_is_valid(w->container))
		return kho_fail(err, -EINVAL, "%s: container = %s: want the name of a container of podman's, containerd://NAMESPACE/ID, or pod://NAMESPACE/NAME",
				path, w->container);
	if (w->health_tcp && !tcp_is_valid(w->health_tcp))
		return kho_fail(err, -EINVAL, "%s: health-tcp = %s: want ADDRESS:PORT", path,
				w->health_tcp);
	if ((w->health_send || w->health_expect) && !w->health_tcp)
		return kho_fail(err, -EINVAL, "%s: health-send and health-expect need health-tcp",
				path);
	if (!w->health_timeout_us)
		return kho_fail(err, -EINVAL, "%s: health-timeout must not be zero", path);
	return 0;
}

static int load_one(const char *dir, const char *file, struct kho_workload_list *out,
		    struct kho_err *err)
{
	struct kho_workload w = { .health_timeout_us = DEFAULT_TIMEOUT_US };
	size_t stem = strlen(file) - strlen(".conf");
	_cleanup_free_ char *path = NULL;
	struct kho_workload *bigger;
	int rc;

	if (asprintf(&path, "%s/%s", dir, file) < 0)
		return kho_fail(err, -ENOMEM, "read %s: out of memory", dir);
	if (!name_is_valid(file, stem))
		return kho_fail(err, -EINVAL,
				"%s: the name of a workload is 1 to 63 of a-z 0-9 . _ -", path);
	rc = kho_conf_load(path, keys, &w, err);
	if (rc == 0)
		rc = validate(path, &w, err);
	w.name = strndup(file, stem);
	bigger = realloc(out->w, (out->n + 1) * sizeof(*bigger));
	if (bigger)
		out->w = bigger;
	if (rc == 0 && (!bigger || !w.name))
		rc = kho_fail(err, -ENOMEM, "read %s: out of memory", path);
	if (rc < 0) {
		workload_done(&w);
		return rc;
	}
	out->w[out->n++] = w;
	return 0;
}

static int is_conf(const struct dirent *d)
{
	size_t len = strlen(d->d_name);

	return d->d_name[0] != '.' && len > 5 && !strcmp(d->d_name + len - 5, ".conf");
}

int kho_workloads_load(const char *sysroot, const char *dir, struct kho_workload_list *out,
		       struct kho_err *err)
{
	_cleanup_free_ char *path = kho_sysroot_path(sysroot, dir ? dir : DEFAULT_DIR);
	struct dirent **names;
	int n, rc = 0;

	*out = (struct kho_workload_list){ 0 };
	if (!path)
		return kho_fail(err, -ENOMEM, "read workloads: out of memory");
	n = scandir(path, &names, is_conf, alphasort);
	if (n < 0 && errno == ENOENT)
		return 0;
	if (n < 0)
		return kho_fail_errno(err, "read %s", path);
	for (int i = 0; i < n; i++) {
		if (rc == 0)
			rc = load_one(path, names[i]->d_name, out, err);
		free(names[i]);
	}
	free(names);
	if (rc < 0)
		kho_workloads_done(out);
	return rc;
}

const char *kho_workload_declared(const struct kho_workload *w)
{
	return w->unit	      ? w->unit
	       : w->container ? w->container
	       : w->pidfile   ? w->pidfile
	       : w->match     ? w->match
			      : w->cgroup;
}

bool kho_workloads_keep(struct kho_workload_list *l, const char *name)
{
	size_t kept = 0;

	for (size_t i = 0; i < l->n; i++) {
		if (!kept && !l->w[i].in_pod && !strcmp(l->w[i].name, name))
			l->w[kept++] = l->w[i];
		else
			workload_done(&l->w[i]);
	}
	l->n = kept;
	return kept;
}

void kho_workloads_done(struct kho_workload_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		workload_done(&l->w[i]);
	free(l->w);
	*l = (struct kho_workload_list){ 0 };
}
