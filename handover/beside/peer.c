// SPDX-License-Identifier: GPL-2.0-only
/*
 * From the first sign of life to the end of this kernel: wait for boot, connect, give CPUs and
 * memory, commit, give the rest, retire.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "handover/beside/beside.h"
#include "handover/beside/record.h"
#include "handover/beside/words.h"
#include "lib/cleanup.h"
#include "lib/clock.h"

#define SECOND 1000000ULL
/* An emulated or overcommitted machine stalls for seconds; a hang costs this much of the blackout.
 */
#define HUNG_US (10 * SECOND)
/* From the entry to its module: 3 s on an idle emulated machine, 60 s seen on an overloaded one. */
#define BOOT_US 120000000ull

static void peer_phase(void *arg, const char *name, uint64_t begin_us, uint64_t end_us)
{
	struct kho_beside *b = arg;

	if (b->e.phase)
		b->e.phase(b->e.event_arg, name, begin_us, end_us);
}

static void peer_note(void *arg, const char *text)
{
	struct kho_beside *b = arg;

	if (b->e.note)
		b->e.note(b->e.event_arg, text);
}

/* What the incoming kernel has said at last: a panic tells some hundred lines more. */
static void last_words(const struct kho_beside *b, char *out, size_t len)
{
	char text[16384];

	text[kho_console_text(b->head, text, sizeof(text) - 1)] = '\0';
	kho_last_words(text, out, len);
}

static int dead(const struct kho_beside *b, const char *how, struct kho_err *err)
{
	char last[300];

	last_words(b, last, sizeof(last));
	return kho_fail(err, -EPIPE, "the incoming kernel %s%s%s%s", how,
			*last ? "; its last message: " : "", last,
			*last ? " (all of them: khoctl log)" : "");
}

static int check_state(const struct kho_beside *b, uint32_t state, struct kho_err *why)
{
	switch (state) {
	case KHO_STATE_PANICKED:
		return dead(b, "has panicked", why);
	case KHO_STATE_HALTED:
		return dead(b, "has halted", why);
	case KHO_STATE_FENCED:
		return dead(b, "was stopped by this kernel", why);
	case KHO_STATE_NONE:
	case KHO_STATE_LOADED:
		return dead(b, "does not run", why);
	default:
		return 0;
	}
}

static int check_alive(const struct kho_beside *b, struct kho_err *why)
{
	const struct kho_ledger *l = kho_beside_ledger(b);
	const volatile struct kho_ledger_side *s;
	uint32_t state;
	uint64_t beat, now;
	int ret;

	if (!l)
		return kho_fail(why, -EPIPE, b->head ? "the incoming kernel has overwritten the ledger" : "there is no incoming kernel");
	s = &l->side[KHO_SIDE_INCOMING];
	state = s->state;
	ret = check_state(b, state, why);
	if (ret < 0 || state < KHO_STATE_RUNNING)
		return ret;
	beat = (unsigned __int128)s->heartbeat_tsc * 1000 / b->info.tsc_khz;
	now = kho_clock_us();
	if (now > beat && now - beat > HUNG_US)
		return dead(b, "hangs: no heartbeat for more than 10 s", why);
	return 0;
}

/*
 * By what this kernel knows of itself; the incoming one's word counts when it was asked, by us or (no peer: this khoctl undoes)
 * by somebody before us. It may have written anything, magic included.
 */
static bool is_committed(const struct kho_beside *b)
{
	const volatile struct kho_ledger *l = (const void *)(b->head + KHO_OFF_LEDGER);
	struct kho_ioc_info now;

	if (kho_dev_info(b->dev, &now, NULL) < 0)
		return false;
	if (now.state >= KHO_STATE_COMMITTED && now.state <= KHO_STATE_RETIRED)
		return true;
	return now.state == KHO_STATE_FROZEN && (b->committing || !b->peer) &&
	       l->side[KHO_SIDE_INCOMING].state == KHO_STATE_COMMITTED;
}

/*
 * The verdict is final: a kernel that was only paused must not go on beside us while all is undone,
 * and what it owns can be taken back only from one that is stopped.  Calls that wait for it end
 * now.  After the commit it is the one that matters, and is left alone.
 */
static void give_up(struct kho_beside *b, const struct kho_err *why)
{
	struct kho_err one = KHO_ERR_INIT;

	if (!b->head || is_committed(b))
		return;
	b->lost = *why;
	if (kho_dev_stop(b->dev, &one) < 0)
		kho_engine_note(&b->e, "%s", one.msg);
	if (b->peer)
		kho_peer_give_up(b->peer, why);
}

void kho_beside_give_up(struct kho_beside *b, const struct kho_err *why)
{
	pthread_mutex_lock(&b->lost_lock);
	if (!b->lost.code)
		give_up(b, why);
	pthread_mutex_unlock(&b->lost_lock);
}

bool kho_beside_peer_alive(struct kho_engine *e, struct kho_err *why)
{
	struct kho_beside *b = kho_beside_of(e);
	struct kho_err one = KHO_ERR_INIT;

	pthread_mutex_lock(&b->lost_lock);
	if (b->lost.code < 0)
		one = b->lost;
	else if (check_alive(b, &one) < 0 || (b->peer && kho_peer_lost(b->peer, &one)))
		give_up(b, &one);
	pthread_mutex_unlock(&b->lost_lock);
	if (one.code < 0 && why)
		*why = one;
	return one.code == 0;
}

/* For tests, and for machines where BOOT_US is too short. */
static uint64_t boot_limit_us(void)
{
	const char *s = getenv("KHOCTL_BOOT_SECONDS");
	unsigned long v = s ? strtoul(s, NULL, 10) : 0;

	return v ? v * SECOND : BOOT_US;
}

/* It has ended, in whatever way, before its module could say so. */
static int check_record(const struct kho_beside *b, struct kho_err *err)
{
	char words[300];

	if (!kho_record_read(b->head, words, sizeof(words)))
		return 0;
	return kho_fail(err, -EPIPE,
			"the incoming kernel ended before its khoctl module was loaded%s%s",
			*words ? "; it said: " : "", words);
}

/*
 * Until its module has bound to the region.  What ends it before that is in the error record store;
 * a hang, or a panic before there is such a store, shows only as silence.
 */
static int wait_for_boot(struct kho_beside *b, uint64_t deadline_us, struct kho_err *err)
{
	const struct timespec tick = { 0, 20000000 };
	const struct kho_ledger *l = kho_beside_ledger(b);
	const volatile uint64_t *fault =
		(const volatile uint64_t *)(b->head + KHO_OFF_MAILBOX + KHO_MBOX_FAULT);
	uint64_t begin = b->spawned_us ? b->spawned_us : kho_clock_us();
	const volatile struct kho_ledger_side *s;
	int ret;

	if (!deadline_us || deadline_us > begin + boot_limit_us())
		deadline_us = begin + boot_limit_us();
	if (!l)
		return kho_fail(err, -EINVAL, "connect: there is no incoming kernel");
	s = &l->side[KHO_SIDE_INCOMING];
	while (s->state < KHO_STATE_RUNNING) {
		ret = check_alive(b, err);
		if (!ret)
			ret = check_record(b, err);
		if (ret < 0)
			return ret;
		if (*fault)
			return dead(b, "took an exception before it began to run", err);
		if (kho_clock_us() > deadline_us)
			return kho_fail(err, -ETIMEDOUT,
					"the incoming kernel gives no sign of life after %llu s "
					"(it hangs before its khoctl module is loaded)",
					(unsigned long long)((kho_clock_us() - begin) / SECOND));
		nanosleep(&tick, NULL);
	}
	kho_engine_phase(&b->e, "boot", begin);
	return check_alive(b, err);
}

static int give_cpus(struct kho_beside *b, const uint32_t *ids, size_t n, uint64_t deadline_us,
		     struct kho_err *err)
{
	size_t i;

	for (i = 0; i < n; i++) {
		uint64_t begin = kho_clock_us();
		char name[48];
		int ret = kho_dev_cpu_give(b->dev, ids[i], KHO_PEER_INCOMING, err);

		if (!ret)
			ret = kho_peer_cpu(b->peer, ids[i], true, deadline_us, err);
		if (ret < 0)
			return ret;
		snprintf(name, sizeof(name), "CPU (APIC id %u)", ids[i]);
		kho_engine_phase(&b->e, name, begin);
	}
	return 0;
}

static int give_memory(struct kho_beside *b, uint64_t deadline_us, struct kho_err *err)
{
	uint64_t begin = kho_clock_us();
	int ret = 0;
	size_t i;

	for (i = 0; i < b->nextra && !ret; i++) {
		ret = kho_dev_mem_give(b->dev, b->extra[i].base, b->extra[i].bytes, err);
		if (!ret)
			ret = kho_peer_mem(b->peer, b->extra[i].base, b->extra[i].bytes, true,
					   deadline_us, err);
	}
	if (!ret && b->nextra)
		kho_engine_phase(&b->e, "extra memory", begin);
	return ret;
}

static int talk(struct kho_beside *b, uint64_t deadline_us, struct kho_err *err)
{
	const struct kho_engine_request *req = b->e.req;
	struct kho_peer_setup setup = {
		.workloads = req->workloads,
		.after_commit = req->after_commit,
		.watch = req->watch,
		.run_dir = req->run_dir,
		.images_dir = b->images_dir,
		/* no disk goes there: what a copy of a workload has of a root is what its initramfs has */
		.root_in_ram = b->m.root_in_ram || req->devices_stay,
		.pid_floor = kho_pid_range(req->workloads),
		.phase = peer_phase,
		.note = peer_note,
		.event_arg = b,
		.faults = &b->faults,
	};
	int ret;

	b->bulk = kho_dev_map(b->dev, b->layout.bulk_base, b->layout.bulk_bytes, true, err);
	if (!b->bulk)
		return err ? err->code : -EIO;
	ret = kho_peer_connect(&b->peer, b->bulk, b->layout.bulk_bytes, &setup, deadline_us, err);
	if (ret < 0) {
		struct kho_err why = KHO_ERR_INIT;

		if (check_alive(b, &why) < 0 && err) /* says more than "no answer" */
			*err = why;
		return err ? err->code : ret;
	}
	kho_engine_note(&b->e, "connected to %s", kho_peer_release(b->peer));
	return 0;
}

/* What remains here is one CPU that the peer is to take first: this kernel's boot CPU. */
static int last_cpu(struct kho_beside *b, struct kho_err *err)
{
	_cleanup_free_ struct kho_cpu_info *cpus = NULL;
	size_t n = 0;
	int ret = kho_dev_cpus(b->dev, &cpus, &n, err);

	for (size_t i = 0; !ret && i < n; i++)
		if (!cpus[i].cpu) {
			free(b->after);
			b->after = malloc(sizeof(*b->after));
			b->nafter = b->after ? 1 : 0;
			if (b->after)
				b->after[0] = cpus[i].apicid;
		}
	return ret < 0 || b->nafter ? ret : kho_fail(err, -ENODEV, "the boot CPU is not known");
}

int kho_beside_reconnect(struct kho_engine *e, uint64_t deadline_us, struct kho_err *err)
{
	struct kho_beside *b = kho_beside_of(e);
	const struct kho_ledger *l;
	int ret = kho_beside_map_head(b, err);

	l = ret < 0 ? NULL : kho_beside_ledger(b);
	if (!l)
		return ret < 0 ? ret : kho_fail(err, -ENOENT, "there is no incoming kernel");
	b->layout.bulk_base = l->bulk_base;
	b->layout.bulk_bytes = l->bulk_bytes;
	ret = last_cpu(b, err);
	if (ret < 0)
		return ret;
	/* whose khoctl died before it could say so */
	if (l->side[KHO_SIDE_OUTGOING].state < KHO_STATE_COMMITTED)
		(void)kho_dev_state(b->dev, KHO_STATE_COMMITTED, NULL);
	return talk(b, deadline_us, err);
}

int kho_beside_connect(struct kho_engine *e, uint64_t deadline_us, struct kho_err *err)
{
	struct kho_beside *b = kho_beside_of(e);
	int ret = wait_for_boot(b, deadline_us, err);

	if (!ret)
		ret = talk(b, deadline_us, err);
	if (ret < 0)
		return ret;
	ret = kho_beside_ask_faults(b, err);
	if (!ret)
		ret = give_cpus(b, b->before + 1, b->nbefore - 1, deadline_us, err);
	return ret < 0 ? ret : give_memory(b, deadline_us, err);
}

/* CPUs and memory come back when it is stopped; it may do so itself if it still listens. */
int kho_beside_disconnect(struct kho_engine *e, struct kho_err *err)
{
	struct kho_beside *b = kho_beside_of(e);

	(void)err;
	if (b->peer) {
		if (kho_beside_peer_alive(e, NULL))
			(void)kho_peer_abandon(b->peer, kho_clock_us() + 2 * SECOND, NULL);
		kho_peer_close(b->peer);
		b->peer = NULL;
	}
	return 0;
}

int kho_beside_load(struct kho_engine *e, const struct kho_load *l, bool (*stop)(void *arg), void *arg, struct kho_load_result *out,
		    uint64_t deadline_us, struct kho_err *err)
{
	struct kho_beside *b = kho_beside_of(e);

	if (!b->peer)
		return kho_fail(err, -ENOTCONN, "load: not connected to the incoming kernel");
	return kho_peer_load(b->peer, l, stop, arg, out, deadline_us, err);
}

int kho_beside_replay(struct kho_engine *e, bool (*stop)(void *arg), void *arg, struct kho_replay_result *out, uint64_t deadline_us,
		      struct kho_err *err)
{
	struct kho_beside *b = kho_beside_of(e);

	if (!b->peer)
		return kho_fail(err, -ENOTCONN, "replay: not connected to the incoming kernel");
	return kho_peer_replay(b->peer, stop, arg, out, deadline_us, err);
}

int kho_beside_entrust(struct kho_engine *e, const char *const *names, const struct kho_blob *record, bool complete,
		       struct kho_err *err)
{
	struct kho_beside *b = kho_beside_of(e);

	if (!b->peer)
		return kho_fail(err, -ENOTCONN, "entrust: not connected to the incoming kernel");
	return kho_peer_entrust(b->peer, names, record, complete, kho_clock_us() + 10 * SECOND, err);
}

static bool has_signed(const struct kho_ledger *l)
{
	return *(const volatile uint32_t *)&l->side[KHO_SIDE_INCOMING].state == KHO_STATE_COMMITTED;
}

/* Only a peer that has not signed makes this fail: an answer may be lost, its state in the ledger
 * is not. */
int kho_beside_commit(struct kho_engine *e, const struct kho_blob *record, struct kho_err *err)
{
	struct kho_beside *b = kho_beside_of(e);
	const struct kho_ledger *l = kho_beside_ledger(b);
	struct kho_err one = KHO_ERR_INIT;
	int ret;

	if (!b->peer || !l)
		return kho_fail(err, -ENOTCONN, "commit: not connected to the incoming kernel");
	b->committing = true;
	ret = kho_peer_commit(b->peer, record, kho_clock_us() + 10 * SECOND, &one);
	/* one that was slow must not sign while all is undone here */
	if (ret == -ETIMEDOUT && !has_signed(l))
		kho_beside_give_up(b, &one);
	if (ret < 0 && !has_signed(l)) {
		if (err)
			*err = one;
		return ret;
	}
	(void)kho_dev_state(b->dev, KHO_STATE_COMMITTED, NULL);
	return 0;
}

/*
 * Disks and NICs that no serializer carried: quiet, and the incoming kernel's to take.  Whatever
 * fails is told; a function that still masters the bus makes the retirement fail.
 */
static void give_functions(struct kho_beside *b, const struct kho_ledger *l)
{
	const struct kho_ledger_pci *pci;
	size_t n, i;

	pci = kho_ledger_entries(l, KHO_LEDGER_BYTES, &l->pci, sizeof(*pci), &n);
	for (i = 0; i < n; i++) {
		struct kho_pci_addr a = { pci[i].segment, pci[i].bus, pci[i].devfn };
		struct kho_err one = KHO_ERR_INIT;
		int ret;

		if (pci[i].bridge || pci[i].owner != KHO_OWNER_OUTGOING)
			continue;
		ret = kho_dev_pci_quiesce(b->dev, a, NULL, &one);
		if (!ret || ret == -ENXIO) /* ENXIO: it has no driver */
			ret = kho_dev_pci_give(b->dev, a, KHO_PEER_INCOMING, NULL, &one);
		if (ret < 0 && ret != -ENODEV) /* ENODEV: this kernel never had it */
			kho_engine_note(&b->e, "%s", one.msg);
	}
}

int kho_beside_shift_rest(struct kho_engine *e, struct kho_err *err)
{
	struct kho_beside *b = kho_beside_of(e);
	const struct kho_ledger *l = kho_beside_ledger(b);

	if (!b->peer || !l)
		return kho_fail(err, -ENOTCONN,
				"give the other devices: not connected to the incoming kernel");
	give_functions(b, l);
	return 0;
}

int kho_beside_retire(struct kho_engine *e, struct kho_err *err)
{
	struct kho_beside *b = kho_beside_of(e);
	int ret = -ETIMEDOUT;

	if (!b->peer || !b->nafter)
		return kho_fail(err, -ENOTCONN, "retire: not connected to the incoming kernel");
	/* twice: a kernel that stays because a message was lost would have to be ended by a person */
	for (int i = 0; ret < 0 && i < 2; i++)
		ret = kho_peer_retiring(b->peer, b->after[b->nafter - 1], kho_clock_us() + 15 * SECOND, err);
	return ret < 0 ? ret : kho_dev_retire(b->dev, err);
}
