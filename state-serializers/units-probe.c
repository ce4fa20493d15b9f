// SPDX-License-Identifier: GPL-2.0-only
/*
 * The verdict on each unit: it moves, it moves and loses something, it is started anew.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/containerd.h"
#include "state-serializers/units.h"

#define CONTAINERD "containerd.service"

static bool is(const char *shown, const char *key, const char *value)
{
	_cleanup_free_ char *v = kho_units_value(shown, key);

	return v && !strcmp(v, value);
}

static long number(const char *shown, const char *key)
{
	_cleanup_free_ char *v = kho_units_value(shown, key);

	return v ? strtol(v, NULL, 10) : 0;
}

static bool ends(const char *s, const char *with)
{
	size_t n = strlen(s), m = strlen(with);

	return n >= m && !strcmp(s + n - m, with);
}

/* The first of "a.timer b.socket" that is a socket whose unit is lost, malloc'd; NULL: none. */
static char *lost_socket(const struct kho_env *env, const char *shown, bool text)
{
	_cleanup_free_ char *by = kho_units_value(shown, "TriggeredBy");
	char *save = NULL;

	for (char *w = by ? strtok_r(by, " ", &save) : NULL; w; w = strtok_r(NULL, " ", &save)) {
		_cleanup_free_ char *socket = ends(w, ".socket") ? kho_units_show(env->sysroot, w) : NULL;

		if (ends(w, ".socket") && !(text && socket && kho_units_socket_is_carried(socket)))
			return strdup(w);
	}
	return NULL;
}

/* How many of its descriptor store are lost. */
static long lost_descriptors(const struct kho_env *env, const struct kho_workload *w, const char *unit, const char *shown, bool text)
{
	long n = number(shown, "NFileDescriptorStore");
	Kho__State *s;

	if (n <= 0 || !text || (env->sysroot && *env->sysroot))
		return n;
	s = kho_units_state_new(unit, shown);
	if (s && !kho_units_kept_read(s, w, shown))
		n -= (long)s->n_kept;
	if (s)
		kho__state__free_unpacked(s, NULL);
	return n;
}

static int judge(struct kho_env *env, const struct kho_workload *w, const char *unit, const char *shown, bool told,
		 struct kho_report *r)
{
	_cleanup_free_ char *type = kho_units_value(shown, "Type"), *bound = kho_units_value(shown, "BindsTo"), *sock = NULL;
	bool text = told && !(bound && *bound);
	long main_pid = number(shown, "MainPID"), lost;
	pid_t carried = w->monitor ? w->monitor : w->root;

	if (!strncmp(unit, "user@", 5))
		return kho_report_add(r, KHO_V_NO, "unit", unit, "remove it from the workloads",
				      "what users run under a systemd of their own is not carried");
	if (!is(shown, "ActiveState", "active") || !(is(shown, "SubState", "running") || (text && is(shown, "SubState", "exited"))))
		return kho_report_add(r, KHO_V_NO, "unit", unit, "wait until it runs, or remove it from the workloads",
				      "it is not running (or just starting, stopping or reloading)");
	if (main_pid && main_pid != carried && !text)
		return kho_report_add(r, KHO_V_LOSS, "unit", unit, NULL,
				      "moves; its main process is then pid %d, the root of its tree, instead of %ld", carried, main_pid);
	sock = lost_socket(env, shown, text);
	if (sock)
		return kho_report_add(r, KHO_V_LOSS, "unit", unit, NULL,
				      "moves with its sockets; %s is not active afterwards until it is started again", sock);
	lost = lost_descriptors(env, w, unit, shown, text);
	if (lost > 0)
		return kho_report_add(r, KHO_V_LOSS, "unit", unit, NULL,
				      "moves; %ld descriptors that systemd keeps for it are lost", lost);
	if (!text)
		return kho_report_add(r, KHO_V_OK, "unit", unit, NULL, "moves, pid %d (Type=%s); adopted as if it was started then",
				      carried, type ? type : "?");
	return kho_report_add(r, KHO_V_OK, "unit", unit, NULL, "moves, pid %ld (Type=%s)", main_pid ? main_pid : carried,
			      type ? type : "?");
}

static bool is_carried(struct kho_env *env, const char *unit)
{
	char name[KHO_UNIT_MAX];

	for (size_t i = 0; env->workloads && i < env->workloads->n; i++)
		if (kho_unit_of(&env->workloads->w[i], name) && !strcmp(name, unit))
			return true;
	return false;
}

/* systemd's own are there again before anything else, and not worth a word. */
static bool is_own(const char *unit)
{
	return !strncmp(unit, "systemd-", 8) || !strncmp(unit, "user@", 5) || !strncmp(unit, "getty@", 6) ||
	       !strncmp(unit, "serial-getty@", 13);
}

static int others(struct kho_env *env, struct kho_report *r)
{
	_cleanup_free_ char *running = kho_units_running(env->sysroot);
	char list[300] = "", *save = NULL;
	size_t n = 0, len = 0;

	for (char *u = running ? strtok_r(running, "\n", &save) : NULL; u; u = strtok_r(NULL, "\n", &save)) {
		if (is_own(u) || is_carried(env, u))
			continue;
		if (kho_report_restarted(r, u))
			return -ENOMEM;
		if (++n && len + strlen(u) + 8 < sizeof(list))
			len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%.*s", len ? ", " : "",
						(int)(strlen(u) - strlen(".service")), u);
		else if (len + 5 < sizeof(list) && !ends(list, "..."))
			len += (size_t)snprintf(list + len, sizeof(list) - len, " ...");
	}
	return n ? kho_report_add(r, KHO_V_LOSS, "unit", "others", "list them in /etc/khoctl/workloads.d: unit = NAME.service",
				  "%zu running service%s no workload and %s started anew: %s", n, n == 1 ? " is" : "s are",
				  n == 1 ? "is" : "are", list)
		 : 0;
}

/* A task of containerd's is in no unit; containerd itself finds it by what lies below /run when it is started anew. */
static int judge_containerd(struct kho_env *env, const struct kho_workload *w, struct kho_report *r)
{
	_cleanup_free_ char *shown = kho_units_show(env->sysroot, CONTAINERD), *state = kho_units_value(shown, "UnitFileState");

	return state && strcmp(state, "enabled")
		       ? kho_report_add(r, KHO_V_LOSS, "unit", w->name, "systemctl enable " CONTAINERD,
					CONTAINERD " is not enabled: the container moves, and nobody starts containerd to look after it")
		       : kho_report_add(r, KHO_V_OK, "unit", w->name, NULL, "containerd finds it when it is started anew");
}

int kho_units_probe(struct kho_env *env, struct kho_report *r, struct kho_err *err)
{
	bool told;
	int rc = 0;

	if (!kho_units_systemd(env->sysroot))
		return 0;
	told = kho_units_version_is_told(env->sysroot);
	for (size_t i = 0; !rc && env->workloads && i < env->workloads->n; i++) {
		const struct kho_workload *w = &env->workloads->w[i];
		_cleanup_free_ char *shown = NULL;
		struct kho_containerd_name ctd;
		char name[KHO_UNIT_MAX];

		r->workload = w->name;
		if (!kho_unit_of(w, name)) {
			if (w->container && kho_containerd_name(w->container, &ctd))
				rc = judge_containerd(env, w, r);
			else
				rc = w->container ? kho_report_add(r, KHO_V_NO, "unit", w->name,
							   "make it a service: a file NAME.container in /etc/containers/systemd",
							   "its conmon is in no service, and the new systemd would not know it")
					  : kho_report_add(r, KHO_V_LOSS, "unit", w->name, "run it as a service",
							   "moves; it is no service, and the new systemd does not know it");
			continue;
		}
		shown = kho_units_show(env->sysroot, name);
		rc = shown ? judge(env, w, name, shown, told, r)
			   : kho_report_add(r, KHO_V_NO, "unit", name, "systemctl daemon-reload, or restart it as a unit that has a file",
					    "systemd knows no such unit");
	}
	r->workload = NULL;
	if (!rc)
		rc = others(env, r);
	return rc ? kho_fail(err, rc, "report: out of memory") : 0;
}
