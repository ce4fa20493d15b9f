// SPDX-License-Identifier: GPL-2.0-only
/*
 * Containers of podman: containers.json of the storage driver in use says which id a name has (a
 * container with --rm is in the volatile one), pidfiles which process it is and which is its conmon.
 */
#include "lib/container.h"

#include <limits.h>
#include <stdbool.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/json.h"
#include "lib/pid.h"

#define LIST_MAX (16u << 20)

static const char *const drivers[] = { "overlay", "vfs", "btrfs", "zfs" };

static bool is_id(const char *s)
{
	return strlen(s) == KHO_CONTAINER_ID_LEN - 1 && strspn(s, "0123456789abcdef") == strlen(s);
}

static bool has_name(struct json_object *c, const char *name)
{
	struct json_object *names = kho_json_get(c, "names");
	size_t n = json_object_is_type(names, json_type_array) ? json_object_array_length(names)
							       : 0;

	for (size_t i = 0; i < n; i++) {
		const char *s = json_object_get_string(json_object_array_get_idx(names, i));

		if (s && !strcmp(s, name))
			return true;
	}
	return false;
}

static bool look_in(const char *path, const char *name, char out[KHO_CONTAINER_ID_LEN])
{
	_cleanup_free_ char *text = NULL;
	_cleanup_json_ struct json_object *list = NULL;
	size_t n;

	if (kho_read_file(path, LIST_MAX, &text, NULL, NULL))
		return false;
	list = json_tokener_parse(text);
	n = json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
	for (size_t i = 0; i < n; i++) {
		struct json_object *c = json_object_array_get_idx(list, i);
		const char *id;

		if (!json_object_is_type(c, json_type_object) || !has_name(c, name))
			continue;
		id = kho_json_get_str(c, "id");
		if (!is_id(id))
			continue;
		memcpy(out, id, KHO_CONTAINER_ID_LEN);
		return true;
	}
	return false;
}

/* Those of --rm are in a list of their own: on the disk or, with podman's transient store, below /run. */
static const char *const lists[][2] = {
	{ "/var/lib", "containers.json" },
	{ "/var/lib", "volatile-containers.json" },
	{ "/run", "volatile-containers.json" },
};

static const char *find(const char *sysroot, const char *name, char out[KHO_CONTAINER_ID_LEN])
{
	char path[PATH_MAX];

	for (size_t i = 0; i < sizeof(drivers) / sizeof(*drivers); i++)
		for (size_t k = 0; k < sizeof(lists) / sizeof(*lists); k++) {
			snprintf(path, sizeof(path), "%s%s/containers/storage/%s-containers/%s",
				 sysroot, lists[k][0], drivers[i], lists[k][1]);
			if (look_in(path, name, out))
				return drivers[i];
		}
	return NULL;
}

static int not_there(const char *name, struct kho_err *err)
{
	return kho_fail(err, -ENOENT, "container %s: podman's storage has none of that name", name);
}

int kho_container_id(const char *sysroot, const char *name, char out[KHO_CONTAINER_ID_LEN],
		     struct kho_err *err)
{
	return find(sysroot ? sysroot : "", name, out) ? 0 : not_there(name, err);
}

/* A process id out of a file in the container's directory below /run; 0: there is none. */
static int read_pid(const char *sysroot, const char *name, const char *driver, const char *id,
		    const char *file, pid_t *out, struct kho_err *err)
{
	char path[PATH_MAX];
	int rc;

	snprintf(path, sizeof(path), "%s/run/containers/storage/%s-containers/%s/userdata/%s",
		 sysroot, driver, id, file);
	rc = kho_pid_of_file(path, out, err);
	return rc == -ENOENT || !rc ? 0 : kho_wrap(err, "container %s", name);
}

int kho_container_pids(const char *sysroot, const char *name, pid_t *out, pid_t *monitor,
		       struct kho_err *err)
{
	char id[KHO_CONTAINER_ID_LEN];
	const char *driver;
	int rc;

	*out = *monitor = 0;
	sysroot = sysroot ? sysroot : "";
	driver = find(sysroot, name, id);
	if (!driver)
		return not_there(name, err);
	rc = read_pid(sysroot, name, driver, id, "pidfile", out, err);
	return rc ? rc : read_pid(sysroot, name, driver, id, "conmon.pid", monitor, err);
}
