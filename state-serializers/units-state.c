// SPDX-License-Identifier: GPL-2.0-only
/*
 * The outgoing side: what systemd knows of a carried service, and of the sockets that start it, in the
 * words in which systemd tells itself when it executes itself anew (`--deserialize`). The lines that
 * depend on the next kernel are added there (units-text.c).
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "state-serializers/units.h"

#define OLDEST 250 /* the words were seen with 257; this much older they were the same */

bool kho_units_is_told(const char *version)
{
	return atoi(version) >= OLDEST;
}

static bool is_set(const char *shown, const char *key)
{
	_cleanup_free_ char *v = kho_units_value(shown, key);

	return v && *v;
}

int kho_units_line(Kho__State *s, const char *key, const char *value)
{
	char *line;

	if (asprintf(&line, "%s=%s", key, value) < 0)
		return -ENOMEM;
	if (!kho_pb_append(&s->line, &s->n_line, line))
		return 0;
	free(line);
	return -ENOMEM;
}

/* What is shown as `from` (if it is) is told as `to`. */
static int tell(Kho__State *s, const char *shown, const char *from, const char *to)
{
	_cleanup_free_ char *v = kho_units_value(shown, from);

	return v && *v && strcmp(v, "[not set]") ? kho_units_line(s, to, v) : 0;
}

/* C escapes, as systemd wants them in what is free text. */
static int tell_escaped(Kho__State *s, const char *shown, const char *from, const char *to)
{
	_cleanup_free_ char *v = kho_units_value(shown, from), *escaped = v && *v ? malloc(strlen(v) * 4 + 1) : NULL;
	char *at = escaped;

	if (!escaped)
		return v && *v ? -ENOMEM : 0;
	for (const unsigned char *p = (unsigned char *)v; *p; p++)
		at += sprintf(at, *p == '\\' || *p == '"' || *p < ' ' || *p == 127 ? "\\x%02x" : "%c", *p);
	return kho_units_line(s, to, escaped);
}

static int stamp(Kho__State *s, const char *shown, const char *from, const char *to)
{
	_cleanup_free_ char *v = kho_units_value(shown, from);
	uint64_t us = kho_units_moment(v);
	Kho__Stamp *t;

	if (!us)
		return 0;
	t = malloc(sizeof(*t));
	if (!t)
		return -ENOMEM;
	kho__stamp__init(t);
	t->us = us;
	if (!kho_pb_set(&t->key, to) && !kho_pb_append(&s->stamp, &s->n_stamp, t))
		return 0;
	kho__stamp__free_unpacked(t, NULL);
	return -ENOMEM;
}

Kho__State *kho_units_state_new(const char *unit, const char *shown)
{
	_cleanup_free_ char *file = kho_units_value(shown, "FragmentPath");
	Kho__State *s = malloc(sizeof(*s));

	if (!s)
		return NULL;
	kho__state__init(s);
	if (kho_pb_set(&s->unit, unit) || kho_pb_set(&s->fragment, file ? file : "") || tell(s, shown, "Result", "result") || tell(s, shown, "InvocationID", "invocation-id") ||
	    tell(s, shown, "SubState", "state") || stamp(s, shown, "StateChangeTimestamp", "state-change-timestamp") ||
	    stamp(s, shown, "InactiveExitTimestamp", "inactive-exit-timestamp") ||
	    stamp(s, shown, "ActiveEnterTimestamp", "active-enter-timestamp") ||
	    stamp(s, shown, "ActiveExitTimestamp", "active-exit-timestamp") ||
	    stamp(s, shown, "InactiveEnterTimestamp", "inactive-enter-timestamp") ||
	    stamp(s, shown, "ConditionTimestamp", "condition-timestamp") || tell(s, shown, "ConditionResult", "condition-result") ||
	    stamp(s, shown, "AssertTimestamp", "assert-timestamp") || tell(s, shown, "AssertResult", "assert-result")) {
		kho__state__free_unpacked(s, NULL);
		return NULL;
	}
	return s;
}

/* --- a service --- */

static bool in_tree(const struct kho_workload *w, long pid)
{
	for (size_t i = 0; i < w->npids; i++)
		if (w->pids[i] == pid)
			return true;
	return pid == w->root || (w->monitor && pid == w->monitor);
}

/* The process that it has, or the one that it had. */
static int exec_status(Kho__State *s, const char *shown, const char *pid)
{
	if (!*pid || !strcmp(pid, "0"))
		return 0;
	if (kho_units_line(s, "main-exec-status-pid", pid) || stamp(s, shown, "ExecMainStartTimestamp", "main-exec-status-start"))
		return -ENOMEM;
	if (!is_set(shown, "ExecMainExitTimestamp"))
		return 0;
	return stamp(s, shown, "ExecMainExitTimestamp", "main-exec-status-exit") ||
			       tell(s, shown, "ExecMainCode", "main-exec-status-code") ||
			       tell(s, shown, "ExecMainStatus", "main-exec-status-status")
		       ? -ENOMEM
		       : 0;
}

static int main_process(Kho__State *s, const struct kho_workload *w, const char *shown)
{
	_cleanup_free_ char *v = kho_units_value(shown, "MainPID"), *last = kho_units_value(shown, "ExecMainPID");
	long pid = v ? strtol(v, NULL, 10) : 0;
	char text[16];

	if (pid <= 0) /* it has none, and needs none */
		return kho_units_line(s, "main-pid-known", "no") || exec_status(s, shown, last ? last : "") ? -ENOMEM : 0;
	snprintf(text, sizeof(text), "%ld", in_tree(w, pid) ? pid : w->root);
	return kho_units_line(s, "main-pid", text) || kho_units_line(s, "main-pid-known", "yes") || exec_status(s, shown, text)
		       ? -ENOMEM
		       : 0;
}

/* 0: none, which is told, too. */
static int watchdog(Kho__State *s, const char *shown)
{
	_cleanup_free_ char *v = kho_units_value(shown, "WatchdogUSec");
	char text[24];
	uint64_t us;

	if (!v || !kho_units_span(v, &us))
		return 0;
	snprintf(text, sizeof(text), "%llu", (unsigned long long)us);
	return kho_units_line(s, "watchdog-original-usec", text);
}

static int dynamic_user(Kho__State *s, const char *shown)
{
	_cleanup_free_ char *is = kho_units_value(shown, "DynamicUser"), *user = kho_units_value(shown, "User"),
			    *uid = kho_units_value(shown, "UID");

	if (!is || strcmp(is, "yes") || !user || !uid)
		return 0;
	s->uid = (uint32_t)strtoul(uid, NULL, 10);
	return s->uid ? kho_pb_set(&s->dynamic_user, user) : 0;
}

/* "/tmp/systemd-private-BOOTID-UNIT-XXXXXX" whose "tmp" is what the service has as base. */
static int private_dir(const char *sysroot, pid_t pid, const char *unit, const char *base, char **field)
{
	_cleanup_free_ char *dir = kho_sysroot_path(sysroot, base), *his = NULL;
	_cleanup_closedir_ DIR *d = dir ? opendir(dir) : NULL;
	struct dirent *e;
	struct stat want, st;
	char path[600];

	if (!d || asprintf(&his, "%s/proc/%d/root%s", sysroot, pid, base) < 0 || stat(his, &want))
		return 0;
	while ((e = readdir(d))) {
		const char *at = strstr(e->d_name, unit);

		snprintf(path, sizeof(path), "%s/tmp", e->d_name);
		if (strncmp(e->d_name, "systemd-private-", 16) || !at || at[-1] != '-' || strlen(at) != strlen(unit) + 7 ||
		    fstatat(dirfd(d), path, &st, AT_SYMLINK_NOFOLLOW) || st.st_dev != want.st_dev || st.st_ino != want.st_ino)
			continue;
		snprintf(path, sizeof(path), "%s/%s", base, e->d_name);
		return kho_pb_set(field, path);
	}
	return 0;
}

/* Both or none: systemd insists. */
static int private_dirs(const char *sysroot, pid_t pid, Kho__State *s)
{
	if (private_dir(sysroot, pid, s->unit, "/tmp", &s->tmp_dir) || private_dir(sysroot, pid, s->unit, "/var/tmp", &s->var_tmp_dir))
		return -ENOMEM;
	if (*s->tmp_dir && *s->var_tmp_dir)
		return 0;
	return kho_pb_set(&s->tmp_dir, "") || kho_pb_set(&s->var_tmp_dir, "") ? -ENOMEM : 0;
}

/* What journald looks at for the unit, beside its messages. */
static int exported(const char *sysroot, Kho__State *s)
{
	static const char *const keys[] = { "invocation", "log-level-max", "log-rate-limit-interval", "log-rate-limit-burst" };
	char target[64], *line;

	for (size_t i = 0; i < KHO_ARRAY_SIZE(keys); i++) {
		_cleanup_free_ char *path = NULL;
		ssize_t n;

		if (asprintf(&path, "%s/run/systemd/units/%s:%s", sysroot, keys[i], s->unit) < 0)
			return -ENOMEM;
		n = readlink(path, target, sizeof(target) - 1);
		if (n <= 0)
			continue;
		target[n] = '\0';
		if (asprintf(&line, "%s=%s", keys[i], target) < 0)
			return -ENOMEM;
		if (kho_pb_append(&s->exported, &s->n_exported, line)) {
			free(line);
			return -ENOMEM;
		}
	}
	return 0;
}

static int fill_service(const char *sysroot, Kho__State *s, const struct kho_workload *w, const char *shown)
{
	_cleanup_free_ char *cgroup = kho_units_value(shown, "ControlGroup");

	if (main_process(s, w, shown) || tell(s, shown, "NRestarts", "n-restarts") || tell(s, shown, "UID", "ref-uid") ||
	    tell(s, shown, "GID", "ref-gid") || tell_escaped(s, shown, "StatusText", "status-text") || watchdog(s, shown) ||
	    dynamic_user(s, shown) || exported(sysroot, s) || private_dirs(sysroot, w->root, s))
		return -ENOMEM;
	if (kho_pb_set(&s->cgroup, cgroup) || kho_units_line(s, "cgroup", cgroup) || kho_units_line(s, "cgroup-realized", "yes"))
		return -ENOMEM;
	return *sysroot ? 0 : kho_units_kept_read(s, w, shown);
}

/* --- its sockets --- */

/* "0.0.0.0:80 (Stream)" */
static int add_listen(Kho__State *s, const char *text)
{
	static const struct {
		const char *name;
		int type;
	} types[] = { { " (Stream)", SOCK_STREAM }, { " (Datagram)", SOCK_DGRAM }, { " (SequentialPacket)", SOCK_SEQPACKET } };
	const char *paren = strrchr(text, ' ');
	_cleanup_free_ char *address = paren ? strndup(text, (size_t)(paren - text)) : NULL;
	Kho__Listen *l;

	if (!address)
		return -EINVAL;
	l = malloc(sizeof(*l));
	if (!l)
		return -ENOMEM;
	kho__listen__init(l);
	for (size_t i = 0; i < KHO_ARRAY_SIZE(types); i++)
		if (!strcmp(paren, types[i].name))
			l->type = types[i].type;
	if (!kho_pb_set(&l->address, address) && !kho_pb_append(&s->listen, &s->n_listen, l))
		return l->type ? 0 : -EINVAL;
	kho__listen__free_unpacked(l, NULL);
	return -ENOMEM;
}

/* -EINVAL: something that is no such socket (a FIFO, a message queue ...) */
static int listens(Kho__State *s, const char *shown)
{
	int rc = 0;

	for (const char *p = shown; !rc && p && *p; p = strchr(p, '\n')) {
		p += *p == '\n';
		if (!strncmp(p, "Listen=", 7)) {
			_cleanup_free_ char *one = strndup(p + 7, strcspn(p + 7, "\n"));

			rc = one ? add_listen(s, one) : -ENOMEM;
		}
	}
	return rc ? rc : s->n_listen ? 0 : -EINVAL;
}

bool kho_units_socket_is_carried(const char *shown)
{
	_cleanup_free_ char *accept = kho_units_value(shown, "Accept"), *active = kho_units_value(shown, "ActiveState");
	Kho__State s = KHO__STATE__INIT;
	bool is = accept && !strcmp(accept, "no") && active && !strcmp(active, "active") && !listens(&s, shown);

	for (size_t i = 0; i < s.n_listen; i++)
		kho__listen__free_unpacked(s.listen[i], NULL);
	free(s.listen);
	return is;
}

static int read_socket(const char *sysroot, const char *name, const char *service, Kho__Units *u)
{
	_cleanup_free_ char *shown = kho_units_show(sysroot, name);
	Kho__State *s;

	if (!shown || !kho_units_socket_is_carried(shown))
		return 0;
	s = kho_units_state_new(name, shown);
	if (s && !listens(s, shown) && !kho_pb_set(&s->service, service) && !tell(s, shown, "NAccepted", "n-accepted") &&
	    !tell(s, shown, "NRefused", "n-refused") && !kho_pb_append(&u->state, &u->n_state, s))
		return 0;
	if (s)
		kho__state__free_unpacked(s, NULL);
	return -ENOMEM;
}

int kho_units_state_read(const char *sysroot, const struct kho_workload *w, const Kho__Unit *unit, const char *shown, Kho__Units *u)
{
	Kho__State *s;

	if (!kho_units_is_told(u->version) || is_set(shown, "BindsTo") || !is_set(shown, "ControlGroup"))
		return 0; /* it would be stopped when what it is bound to is not there yet */
	s = kho_units_state_new(unit->name, shown);
	if (!s || fill_service(sysroot, s, w, shown) || kho_pb_append(&u->state, &u->n_state, s)) {
		if (s)
			kho__state__free_unpacked(s, NULL);
		return -ENOMEM;
	}
	for (size_t i = 0; i < unit->n_triggered_by; i++) {
		const char *name = unit->triggered_by[i], *dot = strrchr(name, '.');

		if (dot && !strcmp(dot, ".socket") && !strchr(name, '/') && read_socket(sysroot, name, unit->name, u))
			return -ENOMEM;
	}
	return 0;
}
