// SPDX-License-Identifier: GPL-2.0-only
/*
 * Timers. Those that go by the calendar know by themselves when it is their turn, if they are told when
 * it was last. Those that count from the boot, or from something that happened since, would begin
 * anew: for the time of the next kernel a drop-in says how long each has still to wait.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "state-serializers/units.h"

struct now {
	uint64_t mono, real;
};

static uint64_t now_us(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static int add_text(char ***list, size_t *n, const char *key, const char *value)
{
	char *text;

	if (asprintf(&text, "%s=%s", key, value) < 0)
		return -ENOMEM;
	if (!kho_pb_append(list, n, text))
		return 0;
	free(text);
	return -ENOMEM;
}

static int add_elapse(Kho__Timer *t, uint64_t us)
{
	uint64_t *more = realloc(t->elapse_us, (t->n_elapse_us + 1) * sizeof(*more));

	if (!more)
		return -ENOMEM;
	t->elapse_us = more;
	t->elapse_us[t->n_elapse_us++] = us;
	return 0;
}

/* "{ KEY=VALUE ; next_elapse=WHEN }" into its parts; they are written into. */
static bool parse(char *text, char **key, char **value, char **next)
{
	char *semi = strstr(text, " ; next_elapse="), *end = strstr(text, " }"), *eq = strchr(text, '=');

	if (strncmp(text, "{ ", 2) || !semi || !end || !eq || eq > semi || end < semi)
		return false;
	*semi = *end = *eq = '\0';
	*key = text + 2;
	*value = eq + 1;
	*next = semi + strlen(" ; next_elapse=");
	return true;
}

/*
 * One that counts: what elapses later on does so once, at the same moment; "each time" ones stay as they are, too. If
 * nobody knows when (its unit runs just now, and ends with this kernel), the whole time once.
 */
static int monotonic(Kho__Timer *t, char *text, const struct now *now)
{
	static const struct {
		const char *shown, *set; /* set: repeats */
	} keys[] = { { "OnUnitActiveUSec", "OnUnitActiveSec" },
		     { "OnUnitInactiveUSec", "OnUnitInactiveSec" },
		     { "OnActiveUSec", NULL },
		     { "OnBootUSec", NULL },
		     { "OnStartupUSec", NULL } };
	uint64_t span, elapse;
	char *key, *value, *next, us[32];

	if (!parse(text, &key, &value, &next) || !kho_units_span(value, &span))
		return -EINVAL;
	for (size_t i = 0; i < KHO_ARRAY_SIZE(keys); i++) {
		bool later = kho_units_span(next, &elapse) && elapse > now->mono;

		if (strcmp(keys[i].shown, key))
			continue;
		snprintf(us, sizeof(us), "%lluus", (unsigned long long)span);
		if (keys[i].set && add_text(&t->setting, &t->n_setting, keys[i].set, us))
			return -ENOMEM;
		return later	     ? add_elapse(t, now->real + (elapse - now->mono))
		       : keys[i].set ? add_elapse(t, now->real + span)
				     : 0;
	}
	return -EINVAL;
}

static int calendar(Kho__Timer *t, char *text)
{
	char *key, *value, *next;

	if (!parse(text, &key, &value, &next) || strcmp(key, "OnCalendar"))
		return -EINVAL;
	return add_text(&t->setting, &t->n_setting, key, value);
}

/* *counts: there is one that does not go by the calendar. -EINVAL: one that is not understood. */
static int times(Kho__Timer *t, const char *shown, const struct now *now, bool *counts)
{
	int rc = 0;

	for (const char *p = shown; !rc && p && *p; p = strchr(p, '\n')) {
		_cleanup_free_ char *line = NULL;

		p += *p == '\n';
		line = strndup(p, strcspn(p, "\n"));
		if (!line)
			return -ENOMEM;
		if (!strncmp(line, "TimersMonotonic=", 16)) {
			*counts = true;
			rc = monotonic(t, line + 16, now);
		} else if (!strncmp(line, "TimersCalendar=", 15)) {
			rc = calendar(t, line + 15);
		}
	}
	return rc;
}

static int read_times(const char *name, const char *shown, const struct now *now, Kho__Units *u)
{
	Kho__Timer *t = malloc(sizeof(*t));
	bool counts = false;
	int rc;

	if (!t)
		return -ENOMEM;
	kho__timer__init(t);
	rc = kho_pb_set(&t->unit, name);
	if (!rc)
		rc = times(t, shown, now, &counts);
	if (!rc && counts && (t->n_setting || t->n_elapse_us)) /* else nothing of it is to come */
		rc = kho_pb_append(&u->timer, &u->n_timer, t);
	else
		kho__timer__free_unpacked(t, NULL);
	return rc == -EINVAL ? 0 : rc;
}

static int read_state(const char *name, const char *shown, Kho__Units *u)
{
	_cleanup_free_ char *last = kho_units_value(shown, "LastTriggerUSec");
	uint64_t us = kho_units_moment(last);
	char text[24];
	Kho__State *s;

	if (!kho_units_is_told(u->version))
		return 0;
	s = kho_units_state_new(name, shown);
	if (!s)
		return -ENOMEM;
	/* what it has started ends with this kernel */
	for (size_t i = 0; i < s->n_line; i++)
		if (!strcmp(s->line[i], "state=running"))
			strcpy(s->line[i], "state=waiting");
	snprintf(text, sizeof(text), "%llu", (unsigned long long)us);
	if ((us && kho_units_line(s, "last-trigger-realtime", text)) || kho_pb_append(&u->state, &u->n_state, s)) {
		kho__state__free_unpacked(s, NULL);
		return -ENOMEM;
	}
	return 0;
}

static int read_timer(const char *shown, const struct now *now, Kho__Units *u)
{
	_cleanup_free_ char *name = kho_units_value(shown, "Id"), *state = kho_units_value(shown, "SubState"),
			    *file = kho_units_value(shown, "FragmentPath");
	const char *dot = name ? strrchr(name, '.') : NULL;

	/* transient ones (systemd-run) have no file that stays */
	if (!dot || strcmp(dot, ".timer") || strchr(name, '/') || !state || !*state || !strcmp(state, "dead") ||
	    !strcmp(state, "failed") || !file || !*file || !strncmp(file, "/run/systemd/transient/", 23))
		return 0;
	return read_state(name, shown, u) || read_times(name, shown, now, u) ? -ENOMEM : 0;
}

int kho_units_timers_read(const char *sysroot, Kho__Units *u)
{
	_cleanup_free_ char *all = kho_units_show_all(sysroot, "*.timer"), *path = kho_sysroot_path(sysroot, "/proc/uptime"),
			    *uptime = NULL;
	struct now now = { now_us(CLOCK_MONOTONIC), now_us(CLOCK_REALTIME) };

	if (*sysroot && path && kho_read_line(path, &uptime, NULL) >= 0)
		now.mono = (uint64_t)(strtod(uptime, NULL) * 1000000);

	for (char *p = all; p && *p;) {
		char *end = strstr(p, "\n\n");

		if (end)
			*end = '\0';
		if (read_timer(p, &now, u))
			return -ENOMEM;
		p = end ? end + 2 : NULL;
	}
	return 0;
}

/* The inverse is the end of this boot: /run ends with it, and each upgrade writes anew. */
int kho_units_timer_write(const char *root, const Kho__Timer *t, struct kho_err *err)
{
	uint64_t now = now_us(CLOCK_REALTIME);
	_cleanup_free_ char *text = NULL;
	size_t len = 0, n = strlen(t->unit);
	char name[PATH_MAX];
	FILE *f;

	if (strchr(t->unit, '/') || n < 7 || n >= KHO_UNIT_MAX || strcmp(t->unit + n - 6, ".timer"))
		return kho_fail(err, -EPROTO, "units: a timer has no name that can be");
	f = open_memstream(&text, &len);
	if (!f)
		return kho_fail_errno(err, "write the times of %s", t->unit);
	fputs("# Made by khoctl, until the next boot: the time that is left goes on.\n[Timer]\nOnBootSec=\n", f);
	for (size_t i = 0; i < t->n_setting; i++)
		if (!strchr(t->setting[i], '\n'))
			fprintf(f, "%s\n", t->setting[i]);
	for (size_t i = 0; i < t->n_elapse_us; i++)
		fprintf(f, "OnActiveSec=%lluus\n", (unsigned long long)(t->elapse_us[i] > now ? t->elapse_us[i] - now : 0));
	if (fclose(f))
		return kho_fail(err, -ENOMEM, "write the times of %s: out of memory", t->unit);
	snprintf(name, sizeof(name), KHO_UNITS_SYSTEM "/%s.d/" KHO_UNITS_DROP_IN, t->unit);
	return kho_units_put(root, name, text, err);
}
