// SPDX-License-Identifier: GPL-2.0-only
/*
 * khoctl watch: looks after the workloads on this kernel for a while, by their own health checks, and with --before by a comparison with how they ran on
 * another one. With --rollback it goes back to the kernel that this one came from when one of them is not well: that is an upgrade, with the
 * state of now. khoctl upgrade --rollback-on-failure and --regression have the new kernel start it when that has become the only one.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bpf/regress.h"
#include "khoctl/cli.h"
#include "khoctl/past.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"
#include "lib/json.h"
#include "orchestrator/health.h"
#include "orchestrator/journal.h"
#include "orchestrator/lock.h"
#include "orchestrator/record.h"

#define FOR_US	  60000000ull
#define EVERY_US  1000000u
#define IN_A_ROW  3 /* a service may be busy for a moment */
#define SETTLE_US 3000000u
#define TRIES	  60
#define BETWEEN_S 5 /* while the new init system still starts, an upgrade may be refused */

/* On the terminal, and in the kernel's log, where it stays when nobody looks. */
static void say(const struct kho_cli *c, const char *text)
{
	_cleanup_close_ int fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	char line[800];
	int n = snprintf(line, sizeof(line), "khoctl: watch: %s\n", text);

	if (fd >= 0 && n > 0)
		(void)!write(fd, line, strlen(line)); /* a log may be missing */
	if (!c->json)
		printf("%s\n", text);
}

/* How the workloads have been, look by look. */
struct looks {
	int bad;	 /* in a row */
	int rc;		 /* negative: nothing is known, and err says why */
	char why[600];	 /* of the last one that was bad */
	struct kho_err err;
};

/* One look; false: that was enough. */
static bool look_once(void *arg)
{
	struct looks *l = arg;
	struct kho_report r = { 0 };
	const char *no;

	l->rc = kho_health_now(kho_cli_world(), &r, &l->err);
	no = l->rc ? NULL : kho_report_first_no(&r);
	l->bad = no ? l->bad + 1 : 0;
	if (no)
		snprintf(l->why, sizeof(l->why), "%s", no);
	kho_report_done(&r);
	return !l->rc && l->bad < IN_A_ROW;
}

/* Watches until the time is up (0), or something has not been well three times in a row (1); negative: nothing is known. */
static int look(struct looks *l, uint64_t for_us)
{
	uint64_t end = kho_clock_us() + for_us;

	while (look_once(l) && (l->bad || kho_clock_us() < end))
		usleep(EVERY_US);
	return l->rc < 0 ? l->rc : l->bad >= IN_A_ROW;
}

/* --- is it as before? --- */

static int save_after(const struct kho_recording *r, struct kho_err *err)
{
	int rc = kho_mkdir(KHO_STATE_DIR, err);

	return rc ? rc : kho_recording_save(r, KHO_STATE_DIR "/" KHO_RECORD_AFTER, err);
}

/* Into the last upgrade's journal, for its report. */
static void note(const struct kho_gate_list *gates, const char *why)
{
	_cleanup_close_ int lock = kho_lock_take(KHO_RUN_DIR, NULL);
	struct json_object *rec;

	if (lock < 0) /* it is another upgrade's by now */
		return;
	rec = json_object_new_object();
	kho_json_str(rec, "rec", "regression");
	kho_json_str(rec, "verdict", kho_gate_verdict_name(kho_gates_worst(gates)));
	kho_json_str(rec, "msg", why);
	kho_json_int(rec, "time", (int64_t)time(NULL));
	json_object_object_add(rec, "gates", kho_gates_json(gates));
	(void)!kho_journal_note(KHO_STATE_DIR, rec, NULL); /* watched by hand: there may be no upgrade */
}

/*
 * Record for as long as before, with the workloads' health looked at meanwhile, and compare. A kernel that has just become the only one is busy with
 * itself for a while; one that is worse is so each time. As look(); why: of a regression, or why nothing is known.
 */
static int compare(const struct kho_recording *before, const struct kho_gate_policy *p, struct looks *l)
{
	_cleanup_free_ struct kho_regress *g = malloc(sizeof(*g));
	struct kho_err why = KHO_ERR_INIT;
	int rc = g ? look(l, SETTLE_US) : kho_fail(&l->err, -ENOMEM, "compare: out of memory");

	for (int i = 0; !rc && i < IN_A_ROW; i++) {
		_cleanup_recording_ struct kho_recording after = { 0 };

		rc = kho_record_declared(NULL, before->us, look_once, l, &after, &l->err);
		if (rc == -ECANCELED)
			return l->rc < 0 ? l->rc : 1;
		if (!rc)
			rc = save_after(&after, &l->err);
		if (rc)
			break;
		kho_regress(before, &after, p, g);
		why = (struct kho_err)KHO_ERR_INIT;
		if (!kho_gates_decide(&g->gates, p, &why) || kho_gates_worst(&g->gates) != KHO_GATE_FAIL)
			break;
	}
	if (rc)
		return rc;
	note(&g->gates, why.msg);
	snprintf(l->why, sizeof(l->why), "%s", why.msg);
	return why.code && kho_gates_worst(&g->gates) == KHO_GATE_FAIL;
}

static int go_back(const struct kho_cli *c)
{
	struct kho_cli again = kho_cli_way_back(c, "previous");
	int code = KHO_EXIT_REFUSED;

	again.yes = true;
	/* the limits were for the comparison; and this kernel is the one that is not good */
	again.gate_limits = NULL;
	again.no_gates = true;
	for (int i = 0; i < TRIES; i++) {
		code = kho_verb_upgrade(&again);
		if (code != KHO_EXIT_REFUSED && code != KHO_EXIT_BUSY)
			break;
		sleep(BETWEEN_S);
	}
	return code;
}

/* All that was asked for. As look(). */
static int watch(const struct kho_cli *c, const struct kho_gate_policy *p, uint64_t for_us, struct looks *l)
{
	_cleanup_recording_ struct kho_recording before = { 0 };
	int rc = c->before ? kho_recording_load(c->before, &before, &l->err) : 0;

	if (!rc && c->before)
		rc = compare(&before, p, l);
	if (!rc && c->before)
		say(c, *l->why ? l->why : "the workloads run no worse than before");
	/* what cannot be compared is no reason not to look whether they are well */
	if (rc < 0 && c->rollback) {
		say(c, l->err.msg);
		l->err = (struct kho_err)KHO_ERR_INIT;
		l->rc = rc = 0;
	}
	return rc ? rc : look(l, for_us);
}

int kho_verb_watch(const struct kho_cli *c)
{
	struct looks l = { 0 };
	struct kho_gate_policy p;
	char text[700];
	uint64_t for_us = FOR_US;
	int rc;

	if (c->watch_for && !kho_parse_duration(c->watch_for, &for_us)) {
		kho_fail(&l.err, -EINVAL, "--for %s: want a time like 60s", c->watch_for);
		return kho_cli_error(c, KHO_EXIT_USAGE, &l.err);
	}
	if (kho_cli_gate_policy(c, &p, &l.err))
		return kho_cli_error(c, KHO_EXIT_USAGE, &l.err);
	if (kho_cli_need_root(c, "watch"))
		return KHO_EXIT_REFUSED;
	rc = watch(c, &p, for_us, &l);
	if (rc < 0)
		return kho_cli_error(c, kho_cli_refusal(rc), &l.err);
	if (!rc)
		return kho_cli_tell(c, KHO_EXIT_OK, "well", "all workloads, for as long as was asked");
	snprintf(text, sizeof(text), "%s%s", l.why, c->rollback ? "; going back to the kernel before" : "");
	say(c, text);
	if (!c->rollback)
		return kho_cli_tell(c, KHO_EXIT_PERSON, "not well", "khoctl rollback --yes goes back to the kernel before");
	return go_back(c);
}
