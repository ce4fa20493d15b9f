// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is left in /run for the systemd of the incoming kernel, so that it ADOPTS what it finds in a
 * unit's cgroup instead of killing it: for its first start each carried unit has a drop-in by which
 * starting it means to read the number of its main process. khoctl-adopt.service, ordered behind
 * them, takes the drop-ins away and has the definitions read again; from then on each unit is what
 * its own file says (watchdog, reload, restart), with the process it had.
 */
#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/json.h"
#include "state-serializers/units.h"

#define SYSTEM	KHO_UNITS_SYSTEM
#define DONE	"khoctl-adopt.service"
#define TARGET	SYSTEM "/multi-user.target.wants"
#define DROP_IN KHO_UNITS_DROP_IN

/* Readable for all, as systemd's own: others look for its sockets below the same directories. */
int kho_units_put(const char *root, const char *name, const char *text, struct kho_err *err)
{
	char path[PATH_MAX];
	int rc;

	if (snprintf(path, sizeof(path), "%s%s", root, name) >= (int)sizeof(path))
		return kho_fail(err, -ENAMETOOLONG, "write %s", name);
	for (char *p = strchr(path + strlen(root) + 1, '/'); p; p = strchr(p + 1, '/')) {
		*p = '\0';
		if (mkdir(path, 0755) == 0)
			chmod(path, 0755);
		*p = '/';
	}
	rc = kho_write_file(path, text, strlen(text), err);
	if (!rc && chmod(path, 0644) < 0)
		rc = kho_fail_errno(err, "%s", path);
	return rc;
}

static int put_link(const char *root, const char *name, const char *target, struct kho_err *err)
{
	_cleanup_free_ char *path = kho_sysroot_path(root, name), *dir = path ? strdup(path) : NULL;

	if (!path || !dir)
		return kho_fail(err, -ENOMEM, "link %s: out of memory", name);
	*strrchr(dir, '/') = '\0';
	mkdir(dir, 0755);
	unlink(path);
	return symlink(target, path) < 0 ? kho_fail_errno(err, "link %s", path) : 0;
}

/* In a unit file a % is written twice. */
static void escape(const char *from, char *to, size_t room)
{
	for (; *from && room > 2; from++, room--) {
		if (*from == '%') {
			*to++ = '%';
			room--;
		}
		*to++ = *from;
	}
	*to = '\0';
}

/* In a command's words a backslash is, too ("x\\x2dy.service"). */
static void escape_word(const char *from, char *to, size_t room)
{
	char once[KHO_UNIT_MAX * 2];

	escape(from, once, sizeof(once));
	for (const char *p = once; *p && room > 2; p++, room--) {
		if (*p == '\\') {
			*to++ = '\\';
			room--;
		}
		*to++ = *p;
	}
	*to = '\0';
}

static int drop_in(const char *root, const char *run_dir, const Kho__Unit *u, struct kho_err *err)
{
	char name[PATH_MAX], pid_file[PATH_MAX], escaped[PATH_MAX], text[2048], pid[16];
	int rc;

	snprintf(pid_file, sizeof(pid_file), "%s/" KHO_UNITS_ADOPT "/%s.pid", run_dir, u->name);
	snprintf(pid, sizeof(pid), "%d\n", u->main_pid);
	rc = kho_units_put(root, pid_file, pid, err);
	if (rc)
		return rc;
	escape(pid_file, escaped, sizeof(escaped));
	/* a control group with controllers for those below it takes no process itself */
	snprintf(text, sizeof(text),
		 "# Made by khoctl, for one start: this unit's processes came from the former kernel.\n"
		 "[Unit]\nConditionPathExists=%s\n[Service]\nType=forking\nPIDFile=%s\n"
		 "ExecCondition=\nExecStartPre=\nExecStart=\nExecStart=+/usr/bin/true\nExecStartPost=\n"
		 "WatchdogSec=0\nTimeoutStartSec=30s\n%s%s%s%s",
		 escaped, escaped, u->container ? "DelegateSubgroup=runtime\n" : "", *u->notify_access ? "NotifyAccess=" : "", u->notify_access,
		 *u->notify_access ? "\n" : "");
	snprintf(name, sizeof(name), SYSTEM "/%s.d/" DROP_IN, u->name);
	rc = kho_units_put(root, name, text, err);
	if (rc || !*u->fragment)
		return rc;
	snprintf(name, sizeof(name), TARGET "/%s", u->name);
	return put_link(root, name, u->fragment, err);
}

static bool ends(const char *s, const char *with)
{
	size_t n = strlen(s), m = strlen(with);

	return n >= m && !strcmp(s + n - m, with);
}

/* A socket unit would bind what the carried service holds. Its condition is true again when all is adopted. */
static int hold_sockets(const char *root, const char *run_dir, const Kho__Unit *u, struct kho_err *err)
{
	char name[PATH_MAX], text[PATH_MAX + 128], escaped[PATH_MAX];
	int rc = 0;

	for (size_t i = 0; !rc && i < u->n_triggered_by; i++) {
		const char *s = u->triggered_by[i];

		if (!ends(s, ".socket") || strchr(s, '/'))
			continue;
		escape(u->name, escaped, sizeof(escaped));
		snprintf(text, sizeof(text),
			 "# Made by khoctl: the sockets are those of the running service.\n"
			 "[Unit]\nConditionPathExists=!%s/" KHO_UNITS_ADOPT "/%s.pid\n",
			 run_dir, escaped);
		snprintf(name, sizeof(name), SYSTEM "/%s.d/" DROP_IN, s);
		rc = kho_units_put(root, name, text, err);
	}
	return rc;
}

/* Sockets and timers that somebody has started by hand: else the start of the new system would stop them. */
static int want(const char *root, const Kho__State *s, struct kho_err *err)
{
	char name[PATH_MAX];

	if (!*s->fragment || strchr(s->unit, '/') || ends(s->unit, ".service"))
		return 0;
	snprintf(name, sizeof(name), TARGET "/%s", s->unit);
	return put_link(root, name, s->fragment, err);
}

static void remove_drop_in(FILE *f, const char *unit)
{
	char escaped[KHO_UNIT_MAX * 3];

	escape_word(unit, escaped, sizeof(escaped));
	fprintf(f, "ExecStart=-/usr/bin/rm -f \"" SYSTEM "/%s.d/" DROP_IN "\"\n", escaped);
}

/* The service that ends the adoption. One that could not be adopted is started by its own definition. */
static int end_of_adoption(const char *root, const Kho__Units *u, struct kho_err *err)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	char escaped[KHO_UNIT_MAX * 3];
	int rc;

	if (!f)
		return kho_fail_errno(err, "write " DONE);
	fputs("# Made by khoctl.\n[Unit]\nDescription=Units that khoctl has carried go on by their own definitions\n", f);
	for (size_t i = 0; i < u->n_unit; i++) {
		escape(u->unit[i]->name, escaped, sizeof(escaped));
		fprintf(f, "After=%s\n", escaped);
	}
	fputs("[Service]\nType=oneshot\nRemainAfterExit=yes\nTimeoutStartSec=5min\n", f);
	for (size_t i = 0; i < u->n_unit; i++) {
		escape_word(u->unit[i]->name, escaped, sizeof(escaped));
		fprintf(f, "ExecStart=-/usr/bin/rm -f \"" SYSTEM "/%s.d/" DROP_IN "\" \"" TARGET "/%s\"\n", escaped, escaped);
		for (size_t k = 0; k < u->unit[i]->n_triggered_by; k++)
			if (ends(u->unit[i]->triggered_by[k], ".socket"))
				remove_drop_in(f, u->unit[i]->triggered_by[k]);
	}
	for (size_t i = 0; i < u->n_state; i++) {
		escape_word(u->state[i]->unit, escaped, sizeof(escaped));
		if (strlen(u->state[i]->unit) < KHO_UNIT_MAX)
			fprintf(f, "ExecStart=-/usr/bin/rm -f \"" TARGET "/%s\"\n", escaped);
	}
	fputs("ExecStart=/usr/bin/systemctl daemon-reload\n", f);
	for (size_t i = 0; i < u->n_unit; i++) {
		escape_word(u->unit[i]->name, escaped, sizeof(escaped));
		fprintf(f, "ExecStart=-/usr/bin/sh -c 'systemctl is-active -q \"$$1\" || { systemctl reset-failed \"$$1\"; "
			   "systemctl start --no-block \"$$1\"; }' sh \"%s\"\n",
			escaped);
	}
	if (fclose(f))
		return kho_fail(err, -ENOMEM, "write " DONE ": out of memory");
	rc = kho_units_put(root, SYSTEM "/" DONE, text, err);
	return rc ? rc : put_link(root, TARGET "/" DONE, SYSTEM "/" DONE, err);
}

static bool is_used(const Kho__Units *u, const char *name)
{
	for (size_t i = 0; i < u->n_unit; i++)
		for (size_t k = 0; k < u->unit[i]->n_private_dir; k++)
			if (!strcmp(u->unit[i]->private_dir[k], name))
				return true;
	return false;
}

/* One line for a private directory; what means something in such a line stands for any character. */
static void private_line(FILE *f, const char *type, const char *dir, const char *name, const char *below)
{
	fprintf(f, "%s %s/", type, dir);
	for (; *name; name++)
		fputc(isalnum((unsigned char)*name) || strchr(":_.@-", *name) ? *name : '?', f);
	fprintf(f, "%s\n", below);
}

static int private_lines(FILE *f, const char *carried, const char *dir, const Kho__Units *u, struct kho_err *err)
{
	_cleanup_free_ char *path = kho_sysroot_path(carried, dir);
	_cleanup_closedir_ DIR *d = path ? opendir(path) : NULL;
	struct dirent *e;

	if (!path)
		return kho_fail(err, -ENOMEM, "tmpfiles: out of memory");
	while (d && (e = readdir(d))) {
		if (strncmp(e->d_name, KHO_UNITS_PRIVATE, strlen(KHO_UNITS_PRIVATE)))
			continue;
		if (is_used(u, e->d_name)) {
			private_line(f, "x", dir, e->d_name, "");
			private_line(f, "X", dir, e->d_name, "/tmp");
		} else {
			private_line(f, "R!", dir, e->d_name, "");
		}
	}
	return 0;
}

/*
 * At boot systemd-tmpfiles removes the private directories of services, all of them. Those of carried
 * services are in use: its list is replaced by one that names each that goes, and spares those from
 * removal and ageing.
 */
static int spare_private_tmp(const char *root, const char *carried, const Kho__Units *u, struct kho_err *err)
{
	static const char name[] = "/tmpfiles.d/systemd-tmp.conf";
	_cleanup_free_ char *from = NULL, *shipped = NULL, *text = NULL;
	size_t len = 0;
	char path[64];
	FILE *f;
	int rc;

	if (asprintf(&from, "%s/usr/lib%s", carried, name) < 0)
		return kho_fail(err, -ENOMEM, "write %s: out of memory", name);
	if (kho_read_file(from, 1 << 20, &shipped, NULL, NULL))
		return 0;
	f = open_memstream(&text, &len);
	if (!f)
		return kho_fail_errno(err, "write %s", name);
	fputs("# Made by khoctl from that in /usr/lib: private directories of carried services stay.\n", f);
	rc = private_lines(f, carried, "/tmp", u, err);
	if (!rc)
		rc = private_lines(f, carried, "/var/tmp", u, err);
	for (const char *p = shipped; *p; p += strcspn(p, "\n"), p += *p == '\n')
		if (*p != 'R' || !memmem(p, strcspn(p, "\n"), KHO_UNITS_PRIVATE, strlen(KHO_UNITS_PRIVATE)))
			fprintf(f, "%.*s\n", (int)strcspn(p, "\n"), p);
	if (fclose(f))
		return kho_fail(err, -ENOMEM, "write %s: out of memory", name);
	snprintf(path, sizeof(path), "/run%s", name);
	return rc ? rc : kho_units_put(root, path, text, err);
}

/* For `khoctl status`, and for the next upgrade. */
static int tell_story(const char *root, const char *run_dir, const Kho__Units *u, const char *release, struct kho_err *err)
{
	_cleanup_json_ struct json_object *o = json_object_new_object();
	struct json_object *list = json_object_new_array();
	char path[PATH_MAX];

	for (size_t i = 0; i < u->n_unit; i++) {
		const Kho__Unit *one = u->unit[i];
		struct json_object *e = json_object_new_object();

		kho_json_str(e, "unit", one->name);
		kho_json_int(e, "pid", one->main_pid);
		kho_json_int(e, "active_since", (int64_t)one->active_since);
		kho_json_str(e, "first_kernel", one->first_kernel);
		kho_json_int(e, "upgrades", (int64_t)one->upgrades + 1);
		kho_json_str(e, "former_invocation", one->invocation);
		json_object_array_add(list, e);
	}
	kho_json_str(o, "from", u->release);
	kho_json_str(o, "to", release);
	json_object_object_add(o, "units", list);
	snprintf(path, sizeof(path), "%s/" KHO_UNITS_STORY, run_dir);
	return kho_units_put(root, path, json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN), err);
}

int kho_units_write(const char *root, const char *carried, const char *run_dir, const Kho__Units *u, const char *release,
		    struct kho_err *err)
{
	struct kho_err one = KHO_ERR_INIT;
	bool private_tmp = false;
	int first = 0;

	if (!u->systemd)
		return 0;
	for (size_t i = 0; i < u->n_unit; i++) {
		if (!kho_unit_name_is_valid(u->unit[i]->name) || u->unit[i]->main_pid <= 1)
			return kho_fail(err, -EPROTO, "units: one has no name or process that can be");
		private_tmp |= u->unit[i]->n_private_dir > 0;
		kho_first_failure(drop_in(root, run_dir, u->unit[i], &one), &one, &first, err);
		kho_first_failure(hold_sockets(root, run_dir, u->unit[i], &one), &one, &first, err);
	}
	for (size_t i = 0; i < u->n_state; i++)
		kho_first_failure(want(root, u->state[i], &one), &one, &first, err);
	for (size_t i = 0; i < u->n_timer; i++)
		kho_first_failure(kho_units_timer_write(root, u->timer[i], &one), &one, &first, err);
	if (u->n_unit || u->n_state)
		kho_first_failure(end_of_adoption(root, u, &one), &one, &first, err);
	if (private_tmp)
		kho_first_failure(spare_private_tmp(root, carried, u, &one), &one, &first, err);
	kho_first_failure(tell_story(root, run_dir, u, release, &one), &one, &first, err);
	return first;
}
