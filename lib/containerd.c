// SPDX-License-Identifier: GPL-2.0-only
/*
 * Containers of containerd: a bundle has the number of the first process; its parent is the shim.
 */
#include "lib/containerd.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "lib/pid.h"

#define SCHEME "containerd://"
#define SHIM   "containerd-shim" /* as its comm is cut off */
#define ALNUM  "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

/* Words of letters and digits, with one of "._-" between them (containerd's pkg/identifiers). */
static bool is_identifier(const char *s, size_t len)
{
	size_t n;

	for (; len; s++, len--) {
		n = strspn(s, ALNUM);
		if (!n || n >= len)
			return n == len;
		if (!strchr("._-", s[n]))
			return false;
		s += n;
		len -= n;
	}
	return false;
}

bool kho_containerd_name(const char *name, struct kho_containerd_name *out)
{
	const char *ns = KHO_CONTAINERD_NAMESPACE, *id = name + strlen(SCHEME), *slash;
	size_t len = strlen(ns);

	if (strncmp(name, SCHEME, strlen(SCHEME)))
		return false;
	slash = strchr(id, '/');
	if (slash) {
		ns = id;
		len = (size_t)(slash - id);
		id = slash + 1;
	}
	if (len >= sizeof(out->ns) || strlen(id) >= sizeof(out->id) || !is_identifier(ns, len) || !is_identifier(id, strlen(id)))
		return false;
	snprintf(out->ns, sizeof(out->ns), "%.*s", (int)len, ns);
	strcpy(out->id, id);
	return true;
}

int kho_containerd_pids(const char *sysroot, const struct kho_containerd_name *name, pid_t *out, pid_t *monitor,
			struct kho_err *err)
{
	char path[PATH_MAX];
	pid_t parent;
	int rc;

	*out = *monitor = 0;
	sysroot = sysroot ? sysroot : "";
	snprintf(path, sizeof(path), "%s" KHO_CONTAINERD_TASKS "/%s/%s/init.pid", sysroot, name->ns, name->id);
	rc = kho_pid_of_file(path, out, err);
	if (rc == -ENOENT)
		return kho_fail(err, rc, "container %s: containerd has no such task in its namespace %s", name->id, name->ns);
	if (rc < 0)
		return kho_wrap(err, "container %s", name->id);
	parent = kho_pid_parent(sysroot, *out);
	*monitor = parent > 1 && kho_pid_is(sysroot, parent, SHIM) ? parent : 0;
	return 0;
}
