// SPDX-License-Identifier: GPL-2.0-only
/*
 * The units serializer: systemd's view of what is carried. PID 1 itself is not carried; the new one
 * reads the units from the same disk, and is told which of them run already, and as which process.
 * Where systemd is not PID 1 it does nothing.
 *
 * Happy path: preserve asks systemd for facts and journald to let go of /var; drain sends the journal
 * of the meantime; tidy leaves in /run what makes the new systemd adopt, and tells PID 1 what that is to read
 * as its own state.  Unhappy path: unpreserve
 * gives /var back to journald.  Nothing of the incoming side has to be taken back: its /run ends with it.
 */
#include <string.h>
#include <sys/utsname.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/patience.h"
#include "state-serializers/units.h"

#define SYNC_US	 5000000  /* in the blackout: rather a gap in the journal */

static struct {
	bool let_go;	    /* outgoing: journald was asked to */
	Kho__Units *facts;  /* incoming */
	Kho__Units *moment; /* incoming: with drain */
} now;

static void unitsp(Kho__Units **u)
{
	if (*u)
		kho__units__free_unpacked(*u, NULL);
	*u = NULL;
}

static int preserve(struct kho_env *env, unsigned round, struct kho_blob *out, bool *out_more, struct kho_err *err)
{
	_cleanup_(unitsp) Kho__Units *u = NULL;
	struct kho_err why = KHO_ERR_INIT;
	int rc;

	*out_more = false;
	if (round)
		return 0;
	rc = kho_units_read(env, "", &u, err);
	if (!rc)
		rc = kho_pb_pack(&u->base, out, err);
	if (rc || !u->systemd || env->root_in_ram)
		return rc;
	now.let_go = true;
	if (kho_units_journald("RelinquishVar", KHO_PATIENCE_US, &why) < 0)
		kho_note(env, "the journal of the time of the upgrade may have gaps: %s", why.msg);
	return 0;
}

static int unpreserve(struct kho_env *env, struct kho_err *err)
{
	int rc = 0;

	(void)env;
	/* by another process than the one that did it, too: to ask once more does no harm */
	if (now.let_go || kho_units_systemd(""))
		rc = kho_units_journald("FlushToVar", KHO_PATIENCE_US, err);
	now.let_go = false;
	return rc == -ENOENT ? 0 : rc;
}

/* All that the carried processes have said is in journald's files before these are copied. */
static int drain(struct kho_env *env, struct kho_blob *out, struct kho_err *err)
{
	Kho__Units u = KHO__UNITS__INIT;
	struct kho_err why = KHO_ERR_INIT;
	uint64_t begin = kho_clock_us();
	int rc;

	if (!now.let_go)
		return 0;
	rc = kho_units_journald("Synchronize", SYNC_US, &why);
	if (!rc)
		rc = kho_units_journal_send(env, &u, &why);
	if (rc)
		kho_note(env, "the journal of the time of the upgrade has a gap: %s", why.msg);
	rc = kho_pb_pack(&u.base, out, err);
	for (size_t i = 0; i < u.n_journal; i++)
		kho__journal_file__free_unpacked(u.journal[i], NULL);
	free(u.journal);
	kho_phase(env, "journal", begin);
	return rc;
}

static int forget(struct kho_env *env, struct kho_err *err)
{
	(void)env;
	(void)err;
	now.let_go = false;
	return 0;
}

/* Credentials first: what the processes' namespaces show of them is a copy of that mount. */
static int prepare(struct kho_env *env, const struct kho_blob *in, struct kho_err *err)
{
	int rc = 0;

	(void)env;
	unitsp(&now.facts);
	unitsp(&now.moment);
	now.facts = kho_pb_unpack(&kho__units__descriptor, in, err);
	for (size_t i = 0; now.facts && !rc && i < now.facts->n_credentials; i++)
		rc = kho_units_credentials_mount(now.facts->credentials[i], err);
	return now.facts ? rc : -EBADMSG;
}

static int unprepare(struct kho_env *env, struct kho_err *err)
{
	(void)env;
	(void)err;
	for (size_t i = 0; now.facts && i < now.facts->n_credentials; i++)
		kho_units_credentials_unmount(now.facts->credentials[i]);
	unitsp(&now.facts);
	unitsp(&now.moment);
	return 0;
}

static int retrieve(struct kho_env *env, const struct kho_blob *in, struct kho_err *err)
{
	(void)env;
	unitsp(&now.moment);
	now.moment = kho_pb_unpack(&kho__units__descriptor, in, err);
	return now.moment ? 0 : -EBADMSG;
}

static int tidy(struct kho_env *env, struct kho_err *err)
{
	struct kho_err one = KHO_ERR_INIT;
	struct utsname un;
	int first = 0;

	uname(&un);
	if (now.facts)
		kho_first_failure(kho_units_write("", kho_new_root(env), env->run_dir, now.facts, un.release, &one), &one, &first, err);
	/* without it the drop-ins alone make the new systemd adopt */
	if (now.facts && now.facts->systemd && !env->root_in_ram)
		kho_first_failure(kho_units_text_give(env, now.facts, &one), &one, &first, err);
	/* the new root has mounts of its own of them, which are its init system's from now on */
	for (size_t i = 0; *kho_new_root(env) && now.facts && i < now.facts->n_credentials; i++)
		kho_units_credentials_unmount(now.facts->credentials[i]);
	if (now.moment)
		kho_first_failure(kho_units_journal_place(env, now.moment, &one), &one, &first, err);
	unitsp(&now.facts);
	unitsp(&now.moment);
	return first;
}

/* the last words of carried processes, then their journal */
static const char *const needs[] = { "proc", NULL };

extern const struct kho_serializer kho_ser_units;
const struct kho_serializer kho_ser_units = {
	.name = "units",
	.order = 55,
	.drain_needs = needs,
	.probe = kho_units_probe,
	.preserve = preserve,
	.unpreserve = unpreserve,
	.drain = drain,
	.forget = forget,
	.prepare = prepare,
	.unprepare = unprepare,
	.retrieve = retrieve,
	.tidy = tidy,
};
