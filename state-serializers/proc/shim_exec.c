// SPDX-License-Identifier: GPL-2.0-only
/* How a containerd shim is executed, and what it is told. See shim.h. */
#include "state-serializers/proc/shim.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/json.h"
#include "lib/spawn.h"
#include "state-serializers/common.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* "[DIR:]REST", each element of a former upgrade left out. */
char *kho_shim_path(const char *path, const char *runtime)
{
	const char *slash = strrchr(runtime, '/');
	size_t room = strlen(KHO_SHIM_DIR) + strlen(runtime) + strlen(path) + 4;
	char *out = calloc(1, room), *p = out;

	if (!out)
		return NULL;
	p += sprintf(p, "%s", KHO_SHIM_DIR);
	if (slash > runtime)
		p += sprintf(p, ":%.*s", (int)(slash - runtime), runtime);
	for (const char *w = path; *w;) {
		size_t len = strcspn(w, ":");

		if (len && (len != strlen(KHO_SHIM_DIR) || strncmp(w, KHO_SHIM_DIR, len)))
			p += sprintf(p, ":%.*s", (int)len, w);
		w += len + (w[len] == ':');
	}
	return out;
}

KhoCtd__Options *kho_shim_options(const char *text, const char *runtime, struct kho_err *err)
{
	KhoCtd__Options *o = malloc(sizeof(*o));
	_cleanup_json_ struct json_object *j = NULL;

	if (!o) {
		kho_fail(err, -ENOMEM, "tell the shim: out of memory");
		return NULL;
	}
	kho_ctd__options__init(o);
	if (*text && kho_json_parse(text, strlen(text), &j, err)) {
		kho_wrap(err, "options.json");
		free(o);
		return NULL;
	}
	o->no_pivot_root = json_object_get_boolean(kho_json_get(j, "no_pivot_root"));
	o->no_new_keyring = json_object_get_boolean(kho_json_get(j, "no_new_keyring"));
	o->systemd_cgroup = json_object_get_boolean(kho_json_get(j, "systemd_cgroup"));
	o->io_uid = (uint32_t)kho_json_get_int(j, "io_uid");
	o->io_gid = (uint32_t)kho_json_get_int(j, "io_gid");
	if (kho_pb_set(&o->binary_name, runtime) || kho_pb_set(&o->root, kho_json_get_str(j, "root")) ||
	    kho_pb_set(&o->shim_cgroup, kho_json_get_str(j, "shim_cgroup")) || kho_pb_set(&o->criu_path, kho_json_get_str(j, "criu_path")) ||
	    kho_pb_set(&o->criu_image_path, kho_json_get_str(j, "criu_image_path")) ||
	    kho_pb_set(&o->criu_work_path, kho_json_get_str(j, "criu_work_path"))) {
		kho_ctd__options__free_unpacked(o, NULL);
		kho_fail(err, -ENOMEM, "tell the shim: out of memory");
		return NULL;
	}
	return o;
}

int kho_shim_listen(const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	_cleanup_close_ int sk = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(sa.sun_path))
		return -ENAMETOOLONG;
	strcpy(sa.sun_path, path);
	(void)!unlink(path); /* it may not be there */
	if (sk < 0 || bind(sk, (struct sockaddr *)&sa, sizeof(sa)) || chmod(path, 0600) || listen(sk, 4096))
		return -errno;
	return steal_fd(sk);
}

/* As its "start" action leaves it to the process that it forks: containerd's pkg/shim/util_unix.go. */
static int make_socket(const char *path)
{
	_cleanup_free_ char *dir = strdup(path);
	_cleanup_close_ int sk = -1;

	if (!dir)
		return -1;
	*strrchr(dir, '/') = '\0';
	(void)!kho_make_dirs(dir, 0711, NULL);
	sk = kho_shim_listen(path);
	/* our control socket is in its place: they differ, and the copy stays open over exec */
	return sk >= 0 && dup2(sk, KHO_SPAWN_FD) == KHO_SPAWN_FD ? 0 : -1;
}

int kho_shim_exec(const KhoProc__Container *c)
{
	char **argv = calloc(c->n_argv + 1, sizeof(*argv)), **envp = calloc(c->n_envp + 2, sizeof(*envp));
	const char *path = DEFAULT_PATH;
	_cleanup_free_ char *value = NULL;
	size_t n = 0;

	for (size_t i = 0; envp && i < c->n_envp; i++)
		if (!strncmp(c->envp[i], "PATH=", 5))
			path = c->envp[i] + 5;
		else
			envp[n++] = c->envp[i];
	value = kho_shim_path(path, c->shim->runtime);
	if (!argv || !envp || !value || asprintf(&envp[n], "PATH=%s", value) < 0 || chdir(c->bundle) || make_socket(c->shim->address))
		return 126;
	for (size_t i = 0; i < c->n_argv; i++)
		argv[i] = c->argv[i];
	execve(c->exe, argv, envp);
	return 127;
}
