// SPDX-License-Identifier: GPL-2.0-only
/* A short load on each CPU.  See bpf/exercise.h. */
#include "bpf/exercise.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "bpf/pinned.h"
#include "lib/cleanup.h"

#define PERIOD_NS 1000000ull
#define END	  (1ull << 32) /* more than all rounds: the woken thread ends */

struct shared;

struct place { /* of one CPU */
	struct shared *sh;
	struct kho_exercise_cpu r;
	pthread_t sleeper, woken;
	bool sleeps, wakes; /* these threads were made */
	int event;	    /* what the woken one waits for */
	struct place *next; /* whom the sleeper wakes */
};

struct shared {
	atomic_uint users; /* threads that may still look at it, and the caller */
	uint64_t end_ns;
	size_t n;
	struct place place[];
};

static void put(struct shared *sh)
{
	if (atomic_fetch_sub(&sh->users, 1) != 1)
		return;
	for (size_t i = 0; i < sh->n; i++)
		if (sh->place[i].event >= 0)
			close(sh->place[i].event);
	free(sh);
}

static void *sleeper(void *arg)
{
	struct place *p = arg;
	const uint64_t one = 1;

	prctl(PR_SET_TIMERSLACK, 1ul); /* 50 us otherwise, which is not the kernel's being late */
	for (unsigned i = 0; i < KHO_EXERCISE_ROUNDS && kho_now_ns() < p->sh->end_ns; i++) {
		uint64_t due = kho_now_ns() + PERIOD_NS, now;
		struct timespec ts = kho_at_ns(due);

		while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
			;
		now = kho_now_ns();
		kho_hist_add(&p->r.late, now > due ? now - due : 0);
		(void)!write(p->next->event, &one, sizeof(one)); /* nobody there is seen by who counts */
	}
	put(p->sh);
	return NULL;
}

static void *woken(void *arg)
{
	struct place *p = arg;
	uint64_t n = 0;

	while (n < END && (read(p->event, &n, sizeof(n)) > 0 || errno == EINTR))
		;
	put(p->sh);
	return NULL;
}

static int start(pthread_t *out, struct place *p, void *(*run)(void *), bool *made)
{
	int rc;

	atomic_fetch_add(&p->sh->users, 1);
	rc = kho_pinned_start(out, p->r.cpu, run, p);
	*made = !rc;
	if (rc)
		put(p->sh);
	return rc;
}

static int start_all(struct shared *sh, struct kho_err *err)
{
	int rc = 0;

	for (size_t i = 0; i < sh->n && !rc; i++) {
		sh->place[i].event = eventfd(0, EFD_CLOEXEC);
		rc = sh->place[i].event < 0 ? -errno : start(&sh->place[i].woken, &sh->place[i], woken, &sh->place[i].wakes);
	}
	sh->end_ns = kho_now_ns() + KHO_EXERCISE_US * 1000ull;
	for (size_t i = 0; i < sh->n && !rc; i++)
		rc = start(&sh->place[i].sleeper, &sh->place[i], sleeper, &sh->place[i].sleeps);
	return rc ? kho_fail(err, rc, "start a thread on each of %zu CPUs: %s", sh->n, strerror(-rc)) : 0;
}

/* Wait for a thread, if there is one; whether it has come back. */
static bool join(pthread_t t, bool made, uint64_t until_ns)
{
	return !made || kho_pinned_join(t, until_ns);
}

static void join_all(struct shared *sh)
{
	uint64_t until = kho_now_ns() + KHO_EXERCISE_LATE_US * 1000ull;
	const uint64_t end = END;

	for (size_t i = 0; i < sh->n; i++)
		sh->place[i].r.back = join(sh->place[i].sleeper, sh->place[i].sleeps, until);
	for (size_t i = 0; i < sh->n; i++)
		if (sh->place[i].event >= 0)
			(void)!write(sh->place[i].event, &end, sizeof(end)); /* if it fails, the thread is not back in time */
	for (size_t i = 0; i < sh->n; i++)
		sh->place[i].r.back &= join(sh->place[i].woken, sh->place[i].wakes, until);
}

static struct shared *new_shared(const cpu_set_t *cpus)
{
	size_t n = (size_t)CPU_COUNT(cpus), at = 0;
	struct shared *sh = calloc(1, sizeof(*sh) + n * sizeof(sh->place[0]));

	if (!sh)
		return NULL;
	atomic_init(&sh->users, 1);
	sh->n = n;
	for (int cpu = 0; cpu < CPU_SETSIZE && at < n; cpu++)
		if (CPU_ISSET((size_t)cpu, cpus)) {
			sh->place[at] = (struct place){ .sh = sh, .r.cpu = cpu, .event = -1, .next = &sh->place[(at + 1) % n] };
			at++;
		}
	return sh;
}

int kho_exercise(struct kho_exercise_cpu **out, size_t *out_n, struct kho_err *err)
{
	_cleanup_free_ struct kho_exercise_cpu *r = NULL;
	struct shared *sh;
	cpu_set_t cpus;
	int rc;

	if (sched_getaffinity(0, sizeof(cpus), &cpus))
		return kho_fail_errno(err, "which CPUs there are");
	sh = new_shared(&cpus);
	r = sh ? calloc(sh->n, sizeof(*r)) : NULL;
	if (!r) {
		if (sh)
			put(sh);
		return kho_fail(err, -ENOMEM, "load on %d CPUs", CPU_COUNT(&cpus));
	}
	rc = start_all(sh, err);
	join_all(sh);
	*out_n = sh->n;
	for (size_t i = 0; i < sh->n; i++)
		if (sh->place[i].r.back) /* else its threads may still write to it */
			r[i] = sh->place[i].r;
		else
			r[i].cpu = sh->place[i].r.cpu;
	put(sh);
	if (rc < 0)
		return rc;
	*out = steal_ptr(r);
	return 0;
}
