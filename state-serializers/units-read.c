// SPDX-License-Identifier: GPL-2.0-only
/*
 * What systemd knows of the units that are carried, asked through systemctl, long before the freeze;
 * and the verdicts.
 */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/containerd.h"
#include "lib/io.h"
#include "lib/json.h"
#include "lib/spawn.h"
#include "state-serializers/units.h"

#define OUTPUT_MAX (4u << 20)
#define PROPERTIES                                                                                                                 \
	"Id,LoadState,ActiveState,SubState,Type,MainPID,NotifyAccess,TriggeredBy,FragmentPath,InvocationID,"                        \
	"ActiveEnterTimestamp,NFileDescriptorStore,WatchdogUSec,Result,NRestarts,ControlGroup,StatusText,UID,GID,User,"             \
	"DynamicUser,BindsTo,ActiveExitTimestamp,InactiveExitTimestamp,InactiveEnterTimestamp,StateChangeTimestamp,"                \
	"ConditionTimestamp,ConditionResult,AssertTimestamp,AssertResult,ExecMainStartTimestamp,Listen,Accept,NAccepted,"          \
	"NRefused,TimersMonotonic,TimersCalendar,LastTriggerUSec,ExecMainPID,ExecMainExitTimestamp,ExecMainCode,ExecMainStatus,"            \
	"RuntimeDirectory,UnitFileState"

static void unitsp(Kho__Units **u)
{
	if (*u)
		kho__units__free_unpacked(*u, NULL);
}

bool kho_units_systemd(const char *sysroot)
{
	_cleanup_free_ char *dir = kho_sysroot_path(sysroot, "/run/systemd/system"),
			    *comm = kho_sysroot_path(sysroot, "/proc/1/comm"), *text = NULL;

	return dir && comm && kho_exists(dir) && kho_read_line(comm, &text, NULL) >= 0 && !strcmp(text, "systemd");
}

bool kho_unit_of(const struct kho_workload *w, char out[KHO_UNIT_MAX])
{
	struct kho_containerd_name name;
	const char *p = w->unit;

	if (w->container && kho_containerd_name(w->container, &name)) /* containerd's, whose service is started anew */
		return false;
	if (!p && w->cg) { /* the deepest component that is a service */
		for (const char *at = w->cg; at; at = strchr(at + 1, '/')) {
			size_t len = strcspn(at + 1, "/");

			if (len >= KHO_UNIT_MAX)
				return false;
			snprintf(out, KHO_UNIT_MAX, "%.*s", (int)len, at + 1);
			if (kho_unit_name_is_valid(out))
				return true;
		}
		return false;
	}
	if (!p || strlen(p) >= KHO_UNIT_MAX)
		return false;
	strcpy(out, p);
	return true;
}

/* It writes to descriptor 3: nothing else of ours is open there. */
char *kho_units_ask(const char *const *args)
{
	char *argv[16] = { (char *)"sh", (char *)"-c", (char *)"exec \"$@\" >&3 2>/dev/null", (char *)"sh" };
	char *const envp[] = { (char *)"PATH=/usr/bin:/bin:/usr/sbin:/sbin", (char *)"LC_ALL=C", NULL };
	char *text = malloc(OUTPUT_MAX + 1);
	size_t n = 0, len = 0;
	int p[2], status;
	ssize_t got;
	pid_t pid;

	for (; args[n] && n < 11; n++)
		argv[4 + n] = (char *)args[n];
	if (!text || pipe2(p, O_CLOEXEC)) {
		free(text);
		return NULL;
	}
	if (kho_spawn("/bin/sh", argv, envp, p[1], &pid, NULL))
		pid = 0;
	close(p[1]);
	while (pid && len < OUTPUT_MAX && ((got = read(p[0], text + len, OUTPUT_MAX - len)) > 0 || (got < 0 && errno == EINTR)))
		len += got > 0 ? (size_t)got : 0;
	close(p[0]);
	text[len] = '\0';
	while (pid && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (pid && len)
		return text;
	free(text);
	return NULL;
}

/* The block of lines with Id=unit, out of blocks that are parted by empty lines. */
static char *block_of(const char *text, const char *unit)
{
	while (text && *text) {
		const char *end = strstr(text, "\n\n");
		char *block = end ? strndup(text, (size_t)(end - text)) : strdup(text), *id;

		id = block ? kho_units_value(block, "Id") : NULL;
		if (id && !strcmp(id, unit)) {
			free(id);
			return block;
		}
		free(id);
		free(block);
		text = end ? end + 2 : NULL;
	}
	return NULL;
}

char *kho_units_value(const char *shown, const char *key)
{
	size_t len = strlen(key);

	for (const char *p = shown; p && *p; p = strchr(p, '\n')) {
		p += *p == '\n';
		if (!strncmp(p, key, len) && p[len] == '=')
			return strndup(p + len + 1, strcspn(p + len + 1, "\n"));
	}
	return NULL;
}

char *kho_units_show(const char *sysroot, const char *unit)
{
	const char *args[] = { "systemctl", "show", "--no-pager", "--timestamp=us+utc", "-p", PROPERTIES, "--", unit, NULL };
	_cleanup_free_ char *path = kho_sysroot_path(sysroot, KHO_UNITS_SHOWN), *text = NULL, *load = NULL;
	char *shown;

	if (sysroot && *sysroot)
		shown = path && !kho_read_file(path, OUTPUT_MAX, &text, NULL, NULL) ? block_of(text, unit) : NULL;
	else
		shown = kho_units_ask(args);
	load = kho_units_value(shown, "LoadState");
	if (load && !strcmp(load, "loaded"))
		return shown;
	free(shown);
	return NULL;
}

char *kho_units_show_all(const char *sysroot, const char *pattern)
{
	const char *args[] = { "systemctl", "show", "--no-pager", "--timestamp=us+utc", "-p", PROPERTIES, "--", pattern, NULL };
	_cleanup_free_ char *path = kho_sysroot_path(sysroot, KHO_UNITS_SHOWN);
	char *text = NULL;

	if (!sysroot || !*sysroot)
		return kho_units_ask(args);
	return path && !kho_read_file(path, OUTPUT_MAX, &text, NULL, NULL) ? text : NULL;
}

char *kho_units_running(const char *sysroot)
{
	const char *args[] = { "systemctl", "list-units", "--no-pager", "--plain", "--no-legend", "--full", "--type=service", "--state=running", NULL };
	_cleanup_free_ char *path = kho_sysroot_path(sysroot, KHO_UNITS_RUNNING);
	char *text = NULL, *to;

	if (sysroot && *sysroot)
		text = path && !kho_read_file(path, OUTPUT_MAX, &text, NULL, NULL) ? text : NULL;
	else
		text = kho_units_ask(args);
	to = text;
	/* the first word of each line */
	for (const char *from = text; from && *from; from += *from == '\n') {
		size_t len = strcspn(from, " \n"), line = strcspn(from, "\n");

		memmove(to, from, len);
		to += len;
		*to++ = '\n';
		from += line;
	}
	if (to)
		*to = '\0';
	return text;
}

/* systemd's own version; the number in front is all of it that counts. */
static char *version(const char *sysroot)
{
	const char *args[] = { "systemctl", "show", "--no-pager", "-p", "Version", NULL };
	_cleanup_free_ char *path = kho_sysroot_path(sysroot, KHO_UNITS_MANAGER), *shown = NULL;
	char *v;

	if (!sysroot || !*sysroot)
		shown = kho_units_ask(args);
	else if (!path || kho_read_file(path, OUTPUT_MAX, &shown, NULL, NULL))
		shown = NULL;
	v = kho_units_value(shown, "Version");
	return v ? v : strdup("");
}

bool kho_units_version_is_told(const char *sysroot)
{
	_cleanup_free_ char *v = version(sysroot);

	return v && kho_units_is_told(v);
}

/* "a.socket b.timer" -> a list */
static int split(const char *words, char ***out, size_t *n)
{
	for (size_t len; *(words += strspn(words, " ")); words += len) {
		char *w;

		len = strcspn(words, " ");
		w = strndup(words, len);
		if (!w || kho_pb_append(out, n, w)) {
			free(w);
			return -ENOMEM;
		}
	}
	return 0;
}

static int set_value(char **field, const char *shown, const char *key)
{
	_cleanup_free_ char *v = kho_units_value(shown, key);

	return kho_pb_set(field, v ? v : "");
}

/* An earlier upgrade has kept since when it really runs. */
static int story(const char *run_dir, Kho__Unit *u)
{
	_cleanup_free_ char *path = NULL, *text = NULL;
	_cleanup_json_ struct json_object *o = NULL;
	struct json_object *list;
	size_t len;

	if (asprintf(&path, "%s/" KHO_UNITS_STORY, run_dir) < 0 || kho_read_file(path, OUTPUT_MAX, &text, &len, NULL) ||
	    kho_json_parse(text, len, &o, NULL))
		return 0;
	list = kho_json_get(o, "units");
	for (size_t i = 0; json_object_is_type(list, json_type_array) && i < json_object_array_length(list); i++) {
		struct json_object *e = json_object_array_get_idx(list, i);

		if (strcmp(kho_json_get_str(e, "unit"), u->name) || kho_json_get_int(e, "pid") != u->main_pid)
			continue;
		u->active_since = (uint64_t)kho_json_get_int(e, "active_since");
		u->upgrades = (uint32_t)kho_json_get_int(e, "upgrades");
		return kho_pb_set(&u->first_kernel, kho_json_get_str(e, "first_kernel"));
	}
	return 0;
}

static bool has_dir(const Kho__Unit *u, const char *name)
{
	for (size_t i = 0; i < u->n_private_dir; i++)
		if (!strcmp(u->private_dir[i], name))
			return true;
	return false;
}

/*
 * What is mounted on its /tmp and /var/tmp: directories that systemd named after the boot in which the
 * unit was started, which may lie several kernels back.
 */
static int private_dirs(const char *sysroot, Kho__Unit *u)
{
	_cleanup_free_ char *path = NULL, *text = NULL;
	char *save = NULL;

	if (asprintf(&path, "%s/proc/%d/mountinfo", sysroot ? sysroot : "", u->main_pid) < 0)
		return -ENOMEM;
	if (kho_read_file(path, OUTPUT_MAX, &text, NULL, NULL))
		return 0;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char root[PATH_MAX], *at, *name;

		if (sscanf(line, "%*s %*s %*s %4095s", root) != 1 || !(at = strstr(root, "/" KHO_UNITS_PRIVATE)))
			continue;
		at[1 + strcspn(at + 1, "/")] = '\0';
		if (has_dir(u, at + 1))
			continue;
		name = strdup(at + 1);
		if (!name || kho_pb_append(&u->private_dir, &u->n_private_dir, name)) {
			free(name);
			return -ENOMEM;
		}
	}
	return 0;
}

static Kho__Unit *read_unit(const char *sysroot, const char *run_dir, const char *name, const char *shown, const struct kho_workload *w,
			    const char *release)
{
	_cleanup_free_ char *since = kho_units_value(shown, "ActiveEnterTimestamp"), *by = kho_units_value(shown, "TriggeredBy");
	Kho__Unit *u = malloc(sizeof(*u));

	if (!u)
		return NULL;
	kho__unit__init(u);
	u->main_pid = w->monitor ? w->monitor : w->root;
	u->container = w->container != NULL;
	u->active_since = kho_units_moment(since) / 1000000;
	if (kho_pb_set(&u->name, name) || kho_pb_set(&u->first_kernel, release) || set_value(&u->type, shown, "Type") ||
	    set_value(&u->invocation, shown, "InvocationID") || set_value(&u->notify_access, shown, "NotifyAccess") ||
	    set_value(&u->fragment, shown, "FragmentPath") || split(by ? by : "", &u->triggered_by, &u->n_triggered_by) ||
	    private_dirs(sysroot, u) || story(run_dir, u)) {
		kho__unit__free_unpacked(u, NULL);
		return NULL;
	}
	return u;
}

static int read_all(struct kho_env *env, const char *sysroot, Kho__Units *u, const char *release)
{
	for (size_t i = 0; env->workloads && i < env->workloads->n; i++) {
		const struct kho_workload *w = &env->workloads->w[i];
		_cleanup_free_ char *shown = NULL;
		char name[KHO_UNIT_MAX];
		Kho__Unit *one;

		if (!kho_unit_of(w, name))
			continue;
		shown = kho_units_show(sysroot, name);
		one = shown ? read_unit(sysroot, env->run_dir, name, shown, w, release) : NULL;
		if (shown && (!one || kho_pb_append(&u->unit, &u->n_unit, one) || kho_units_state_read(sysroot, w, one, shown, u) ||
			      (!*sysroot && kho_units_credentials_read(name, u))))
			return -ENOMEM;
	}
	return 0;
}

int kho_units_read(struct kho_env *env, const char *sysroot, Kho__Units **out, struct kho_err *err)
{
	_cleanup_free_ char *v = NULL;
	_cleanup_(unitsp) Kho__Units *u = malloc(sizeof(*u));
	struct utsname un;

	if (!u)
		return kho_fail(err, -ENOMEM, "units: out of memory");
	kho__units__init(u);
	uname(&un);
	u->systemd = kho_units_systemd(sysroot);
	v = u->systemd ? version(sysroot) : NULL;
	if (kho_pb_set(&u->version, v ? v : "") || kho_pb_set(&u->release, un.release) ||
	    (u->systemd && (read_all(env, sysroot, u, un.release) || kho_units_timers_read(sysroot, u))))
		return kho_fail(err, -ENOMEM, "units: out of memory");
	*out = steal_ptr(u);
	return 0;
}
