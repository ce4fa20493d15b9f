// SPDX-License-Identifier: GPL-2.0-only
/*
 * The incoming side: what the new systemd reads with `--switched-root --deserialize`, as if it had been
 * the init system before. Carried services are running for it from the start, with their processes,
 * sockets, users and times; everything else is started as at any boot.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/memfd.h"
#include "state-serializers/units.h"

#define EXPORTED "/run/systemd/units"
#define GRACE_US 300000000ull

struct text {
	struct kho_env *env;
	const Kho__Units *u;
	FILE *f;
	uint64_t real, mono; /* now */
};

static uint64_t now_us(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static bool is_line(const char *s)
{
	return *s && !strchr(s, '\n');
}

static bool is_unit(const char *s)
{
	size_t n = strlen(s);

	return n && n < KHO_UNIT_MAX && !strpbrk(s, "/\n") && strchr(s, '.');
}

static bool ends(const char *s, const char *with)
{
	size_t n = strlen(s), m = strlen(with);

	return n >= m && !strcmp(s + n - m, with);
}

/* What was before this kernel's boot has no place on its monotonic clock: then the first moment of it. */
static uint64_t monotonic(const struct text *t, uint64_t real)
{
	uint64_t ago = t->real > real ? t->real - real : 0;

	return t->mono > ago ? t->mono - ago : 1;
}

static void stamps(struct text *t, const Kho__State *s)
{
	bool timer = ends(s->unit, ".timer");

	for (size_t i = 0; i < s->n_stamp; i++) {
		const Kho__Stamp *st = s->stamp[i];
		/* OnActiveSec= of a timer (units-timer.c) counts from this, and from now */
		bool now = timer && !strcmp(st->key, "inactive-exit-timestamp");

		if (is_line(st->key))
			fprintf(t->f, "%s=%llu %llu\n", st->key, (unsigned long long)st->us,
				(unsigned long long)(now ? t->mono : monotonic(t, st->us)));
	}
}

/* Give init a descriptor; *number is what it is there. */
static int give(struct text *t, int fd, int *number, struct kho_err *err)
{
	*number = t->env->ops->to_init(t->env, fd, false, err);
	return *number < 0 ? *number : 0;
}

static void lines(struct text *t, const Kho__State *s)
{
	fprintf(t->f, "%s\n", s->unit);
	for (size_t i = 0; i < s->n_line; i++)
		if (is_line(s->line[i]))
			fprintf(t->f, "%s\n", s->line[i]);
	stamps(t, s);
}

/* --- what journald looks at --- */

static void export(struct text *t, const Kho__State *s)
{
	static const struct {
		const char *name, *key;
	} known[] = { { "invocation", "exported-invocation-id" },
		      { "log-level-max", "exported-log-level-max" },
		      { "log-rate-limit-interval", "exported-log-rate-limit-interval" },
		      { "log-rate-limit-burst", "exported-log-rate-limit-burst" } };
	char path[PATH_MAX];

	for (size_t i = 0; i < s->n_exported; i++) {
		const char *eq = strchr(s->exported[i], '=');

		for (size_t k = 0; eq && k < KHO_ARRAY_SIZE(known); k++) {
			if (strlen(known[k].name) != (size_t)(eq - s->exported[i]) ||
			    strncmp(known[k].name, s->exported[i], strlen(known[k].name)))
				continue;
			snprintf(path, sizeof(path), EXPORTED "/%s:%s", known[k].name, s->unit);
			(void)!kho_make_dirs(EXPORTED, 0755, NULL);
			unlink(path);
			if (!symlink(eq + 1, path))
				fprintf(t->f, "%s=yes\n", known[k].key);
		}
	}
}

/* --- units --- */

static void kept(struct text *t, const Kho__State *s)
{
	struct kho_err err = KHO_ERR_INIT;
	int number;

	for (size_t i = 0; i < s->n_kept; i++) {
		_cleanup_close_ int fd = kho_units_hold_kept(s->kept[i]);

		if (fd >= 0 && is_line(s->kept[i]->name) && !strpbrk(s->kept[i]->name, "\"\\") && !give(t, fd, &number, &err))
			fprintf(t->f, "fd-store-fd=%d \"%s\" 1\n", number, s->kept[i]->name);
		else
			kho_note(t->env, "%s: descriptor %s of its store is lost", s->unit, s->kept[i]->name);
	}
}

/* WatchdogSec=: its time begins again with its next sign of life, which waits until the new systemd hears it. */
static bool is_watched(const Kho__State *s)
{
	for (size_t i = 0; i < s->n_line; i++)
		if (!strncmp(s->line[i], "watchdog-original-usec=", 23))
			return s->line[i][23] != '0';
	return false;
}

static void service(struct text *t, const Kho__State *s)
{
	lines(t, s);
	if (is_watched(s))
		fprintf(t->f, "watchdog-timestamp=%llu %llu\n", (unsigned long long)t->real,
			(unsigned long long)t->mono + GRACE_US);
	export(t, s);
	kept(t, s);
	fputc('\n', t->f);
}

static const char *cgroup_of(const Kho__Units *u, const char *unit)
{
	for (size_t i = 0; i < u->n_state; i++)
		if (!strcmp(u->state[i]->unit, unit))
			return u->state[i]->cgroup;
	return "";
}

/* All its sockets, or it is left as it is: without one of them systemd would take it for broken. */
static int sockets(struct text *t, const Kho__State *s, int *numbers, struct kho_err *err)
{
	const char *cgroup = cgroup_of(t->u, s->service);
	int fds[KHO_UNITS_LISTEN_MAX], rc = 0;
	size_t n = 0;

	for (; !rc && n < s->n_listen; n++) {
		fds[n] = is_line(s->listen[n]->address) ? kho_units_hold_socket(cgroup, s->listen[n]) : -1;
		if (fds[n] < 0) {
			rc = kho_fail(err, -ENOENT, "%s: %s does not listen at %s any more", s->unit, s->service, s->listen[n]->address);
			break;
		}
	}
	for (size_t i = 0; i < n; i++) {
		if (!rc)
			rc = give(t, fds[i], &numbers[i], err);
		close(fds[i]);
	}
	return rc;
}

static void socket_unit(struct text *t, const Kho__State *s)
{
	int numbers[KHO_UNITS_LISTEN_MAX];
	struct kho_err err = KHO_ERR_INIT;

	if (!*s->service || s->n_listen > KHO_UNITS_LISTEN_MAX || sockets(t, s, numbers, &err)) {
		kho_note(t->env, "%s stays inactive until it is started: %s", s->unit, err.msg);
		return;
	}
	lines(t, s);
	for (size_t i = 0; i < s->n_listen; i++)
		fprintf(t->f, "socket=%d %d %s\n", numbers[i], s->listen[i]->type, s->listen[i]->address);
	fputc('\n', t->f);
}

/* --- what systemd has for all units together --- */

static void head(struct text *t, struct kho_err *err)
{
	struct kho_err one = KHO_ERR_INIT;
	int sv[2], number[2], first = 0;

	for (size_t i = 0; i < t->u->n_state; i++) {
		const Kho__State *s = t->u->state[i];

		/* the one assertion that a wrong text could break there: both or none */
		if (is_line(s->tmp_dir) && is_line(s->var_tmp_dir) && !strchr(s->tmp_dir, ' ') && is_unit(s->unit))
			fprintf(t->f, "exec-runtime=%s tmp-dir=%s var-tmp-dir=%s\n", s->unit, s->tmp_dir, s->var_tmp_dir);
		if (!*s->dynamic_user)
			continue;
		if (kho_units_hold_user(s->dynamic_user, s->uid, sv, &one)) {
			kho_first_failure(one.code, &one, &first, err);
			continue;
		}
		if (!give(t, sv[0], &number[0], &one) && !give(t, sv[1], &number[1], &one))
			fprintf(t->f, "dynamic-user=%s %d %d\n", s->dynamic_user, number[0], number[1]);
		close(sv[0]);
		close(sv[1]);
	}
	fputc('\n', t->f);
}

static int write_all(struct text *t, struct kho_err *err)
{
	head(t, err);
	for (size_t i = 0; i < t->u->n_state; i++) {
		const Kho__State *s = t->u->state[i];

		if (!is_unit(s->unit))
			continue;
		if (ends(s->unit, ".socket")) {
			socket_unit(t, s);
		} else if (ends(s->unit, ".timer")) {
			lines(t, s);
			fputc('\n', t->f);
		} else if (ends(s->unit, ".service")) {
			service(t, s);
		}
	}
	return ferror(t->f) ? kho_fail(err, -EIO, "write systemd's state") : 0;
}

int kho_units_text_give(struct kho_env *env, const Kho__Units *u, struct kho_err *err)
{
	struct text t = { .env = env, .u = u, .real = now_us(CLOCK_REALTIME), .mono = now_us(CLOCK_MONOTONIC) };
	_cleanup_close_ int fd = -1;
	int rc;

	if (!kho_units_is_told(u->version) || !u->n_state || !env->ops || !env->ops->to_init)
		return 0;
	fd = kho_memfd("systemd-state", 0, err);
	if (fd < 0)
		return kho_wrap(err, "systemd's state");
	_cleanup_fclose_ FILE *f = fdopen(dup(fd), "w");

	if (!f)
		return kho_fail_errno(err, "systemd's state");
	t.f = f;
	rc = write_all(&t, err);
	if (!rc && fflush(f))
		rc = kho_fail_errno(err, "systemd's state");
	if (!rc && lseek(fd, 0, SEEK_SET))
		rc = kho_fail_errno(err, "systemd's state");
	if (!rc && (rc = env->ops->to_init(env, fd, true, err)) > 0)
		rc = 0;
	return rc;
}
