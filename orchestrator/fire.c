// SPDX-License-Identifier: GPL-2.0-only
/* Faults made to strike.  See orchestrator/fire.h. */
#include "orchestrator/fire.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/fault_criu.h"
#include "lib/io.h"
#include "lib/json.h"

#define CRIU_MS	 60000
#define HEARD_MS 2000
#define PEER_US	 300000

void kho_fault_struck(void *arg, const char *name)
{
	struct kho_upgrade *u = arg;
	struct json_object *rec = kho_record_new("fault");
	_cleanup_free_ char *path = NULL;
	char line[KHO_FAULT_NAME_MAX + 40];

	kho_json_str(rec, "fault", name);
	kho_json_int(rec, "at_us", (int64_t)kho_clock_us());
	(void)!kho_journal_add(u->journal, rec, NULL);
	/* what strikes when the operator has been told the result is found there */
	path = kho_sysroot_path(u->plan->sysroot, "/dev/kmsg");
	snprintf(line, sizeof(line), "khoctl: " KHO_FAULT_FIRED "%s", name);
	if (path)
		(void)!kho_write_existing(path, line, NULL);
	kho_context_note(u, KHO_FAULT_FIRED "%s", name);
}

/* A hang that ends when the runner says so, as a call that respects its deadline would. */
static int hang(struct kho_upgrade *u, const struct kho_fault *f, struct kho_err *err)
{
	while (!atomic_load(&u->stop) && kho_clock_us() < atomic_load(&u->deadline_us))
		usleep(10000);
	return kho_fail(err, -ETIMEDOUT, "injected hang (%s)", f->name);
}

static int fire_peer(struct kho_upgrade *u, const struct kho_fault *f, struct kho_err *err)
{
	const struct kho_engine_ops *ops = u->engine->ops;
	int rc;

	if (!ops->peer_fault)
		return kho_fail(err, -ENOSYS, "this engine has no faults of the peer");
	rc = ops->peer_fault(u->engine, kho_fault_peer(f->kind), err);
	if (rc < 0)
		return rc;
	kho_fault_struck(u, f->name);
	/* it answers before it does it: at this place, not a little later */
	usleep(PEER_US);
	return 0;
}

static void *kill_criu(void *arg)
{
	struct kho_upgrade *u = arg;

	if (kho_fault_kill_criu(CRIU_MS, &u->criu_fault_over, NULL) == 0)
		kho_fault_struck(u, u->criu_fault->name);
	return NULL;
}

/* It waits for one beside the step; one such fault for an upgrade. */
static int fire_criu(struct kho_upgrade *u, const struct kho_fault *f, struct kho_err *err)
{
	int rc;

	if (u->criu_fault)
		return kho_fail(err, -EBUSY, "%s: a CRIU is killed once in an upgrade", f->name);
	u->criu_fault = f;
	rc = pthread_create(&u->criu_fault_thread, NULL, kill_criu, u);
	if (rc)
		u->criu_fault = NULL;
	return rc ? kho_fail(err, -rc, "%s: thread: %s", f->name, strerror(rc)) : 0;
}

/* And it is heard before this goes on, where it can still be: the runner looks at its pipe now and then. */
static int press(struct kho_upgrade *u, int sig)
{
	kill(getpid(), sig);
	for (int i = 0; i < HEARD_MS / 10; i++) {
		if (atomic_load(&u->stop) || atomic_load(&u->undoing) || atomic_load(&u->committed))
			break;
		usleep(10000);
	}
	return 0;
}

int kho_fault_fire(struct kho_upgrade *u, const char *at, enum kho_fault_place place, struct kho_err *err)
{
	const struct kho_fault *f = kho_fault_at(&u->opt->faults, at, place);

	if (!f)
		return 0;
	if (kho_fault_peer(f->kind))
		return fire_peer(u, f, err);
	if (f->kind == KHO_FAULT_CRIU)
		return fire_criu(u, f, err);
	/* told before: some do not come back */
	kho_fault_struck(u, f->name);
	switch (f->kind) {
	default:
		return 0;
	case KHO_FAULT_FAIL:
		return kho_fail(err, -EIO, "injected failure (%s)", f->name);
	case KHO_FAULT_HANG:
		return hang(u, f, err);
	case KHO_FAULT_KILL:
		return kill(getpid(), SIGKILL);
	case KHO_FAULT_INT:
		return press(u, SIGINT);
	case KHO_FAULT_TERM:
		return press(u, SIGTERM);
	case KHO_FAULT_PANIC:
		return kho_write_existing("/proc/sysrq-trigger", "c", err);
	}
}

int kho_fault_arm(struct kho_upgrade *u, const char *step, struct kho_err *err)
{
	const struct kho_faults *all = &u->opt->faults;
	const struct kho_engine_ops *ops = u->engine->ops;
	int rc = 0;

	for (size_t i = 0; i < all->n && rc == 0; i++) {
		if (!(kho_fault_places[all->f[i].place].where & KHO_AT_LINK) || strcmp(all->f[i].from, step))
			continue;
		rc = ops->link_fault ? ops->link_fault(u->engine, &all->f[i], err)
				     : kho_fail(err, -ENOSYS, "this engine has no link");
	}
	return rc;
}

void kho_fault_done(struct kho_upgrade *u)
{
	if (!u->criu_fault)
		return;
	atomic_store(&u->criu_fault_over, true);
	pthread_join(u->criu_fault_thread, NULL);
	u->criu_fault = NULL;
}
