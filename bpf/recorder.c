// SPDX-License-Identifier: GPL-2.0-only
/*
 * Makes a recording.  See bpf/recorder.h.
 *
 * Programs at each system call cost, little but on every call, so they are there for windows of time only: of each second (of a long recording, of each four)
 * until they have used up its budget; where there is little to do all the time.
 */
#include "bpf/recorder.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "bpf/pinned.h"
#include "bpf/record_proc.h"
#include "bpf/record_programs.h"
#include "lib/cleanup.h"

#define PERIOD_US 1000000u /* a window in each; of a long recording in a longer one, of at most LONG_US ... */
#define LONG_US	  4000000u
#define PERIODS	  10 /* ... while that leaves so many: a rate has one value in each */
#define ASK_US	  1000000u /* whether it shall go on */
#define STEP_US	  20000u /* they are asked so often what they have cost; the least of each period, whatever it costs */
#define ROUNDS	  8	  /* of looking for threads that were made while we looked */
/*
 * What the programs take of a CPU, in ns for each call, all that a request brings with it counted in (switches, packets): redis at full speed on 6.18, in a
 * guest of KVM, takes 18.5 us of CPU for a request without them and 1.4 us more with them at all times, for 2.5 calls that are counted and 6.5 that are not.
 */
#define HIT_NS	  250u
#define MISS_NS	  120u
/*
 * They may take so much of the time that the workloads have a CPU for, or of all CPUs' where that is more. Beside it, to attach and detach them patches the
 * kernel some dozen times, each with interrupts to all CPUs: 3 to 5 thousandths of a CPU where a hypervisor passes those on.
 */
#define OF_WORK	  0.002
#define OF_ALL	  0.001

struct recorder {
	const struct kho_record_target *t;
	size_t n;
	struct kho_record_programs *programs;
	int *roots; /* pidfds of main processes */
	struct kho_recording *out;
	bool (*go_on)(void *arg);
	void *arg;
	uint64_t asked_us, period_us;
	bool stopped;
};

static uint64_t now_us(void)
{
	return kho_now_ns() / 1000;
}

static void add_all(struct recorder *r)
{
	size_t added = 1;

	for (int i = 0; added && i < ROUNDS; i++) {
		added = 0;
		r->out->lost = 0;
		for (size_t t = 0; t < r->n; t++)
			for (size_t p = 0; p < r->t[t].npids; p++)
				added += kho_record_add(r->programs, r->t[t].pids[p], &r->out->lost);
	}
}

/* The processes as the programs know them now; without programs, those that we were told. */
static void procs_now(struct recorder *r, struct kho_record_proc *sum)
{
	const pid_t *pids;
	size_t known = kho_record_procs(r->programs, &pids);

	*sum = (struct kho_record_proc){ 0 };
	for (size_t i = 0; i < known; i++)
		kho_record_proc_add(pids[i], sum);
	if (!*r->out->why[KHO_RECORD_TASKS])
		return;
	for (size_t i = 0; i < r->n; i++)
		for (size_t p = 0; p < r->t[i].npids; p++)
			kho_record_proc_add(r->t[i].pids[p], sum);
}

/* --- a slice --- */

struct reading {
	uint64_t at_us, replies;
	struct kho_record_counts counts;
	struct kho_record_proc proc;
	struct kho_record_tcp tcp;
	bool has_tcp;
};

static int read_all(struct recorder *r, struct reading *out, struct kho_err *err)
{
	int rc;

	*out = (struct reading){ .at_us = now_us() };
	rc = kho_record_read_counts(r->programs, &out->counts, &out->replies, err);
	procs_now(r, &out->proc);
	out->has_tcp = kho_record_tcp_of(r->t[0].pids[0], &out->tcp);
	return rc;
}

/* Counters of processes that have ended are gone. */
static uint64_t more(uint64_t before, uint64_t after)
{
	return after > before ? after - before : 0;
}

static struct kho_slice slice_of(const struct reading *a, const struct reading *b)
{
	bool tcp = a->has_tcp && b->has_tcp;

	return (struct kho_slice){
		.us = b->at_us - a->at_us,
		.replies = more(a->replies, b->replies),
		.switches = more(a->counts.switches, b->counts.switches),
		.cpu_ns = more(a->proc.cpu_ns, b->proc.cpu_ns),
		.faults = more(a->proc.faults, b->proc.faults),
		.segments = tcp ? more(a->tcp.segments, b->tcp.segments) : 0,
		.retrans = tcp ? more(a->tcp.retrans, b->tcp.retrans) : 0,
	};
}

/* Have they used up what a period has for them, when the workloads work as in the window before? */
static bool used_up(struct recorder *r, const struct reading *begin)
{
	const struct kho_slice *last = r->out->n ? &r->out->slices[r->out->n - 1] : NULL;
	double work = last ? OF_WORK * (double)last->cpu_ns / 1000 / (double)last->us : 0;
	double all = OF_ALL * (double)sysconf(_SC_NPROCESSORS_ONLN), may = work > all ? work : all;
	struct kho_record_counts c;

	return kho_record_read_counts(r->programs, &c, NULL, NULL) ||
	       (double)(more(begin->counts.hits, c.hits) * HIT_NS + more(begin->counts.misses, c.misses) * MISS_NS) > may * (double)r->period_us * 1000;
}

/* So long, but not beyond end. */
static void pause_us(uint64_t us, uint64_t end)
{
	uint64_t now = now_us();

	if (now < end)
		usleep((useconds_t)(end - now < us ? end - now : us));
}

static bool stopped(struct recorder *r)
{
	if (!r->stopped && r->go_on && now_us() - r->asked_us >= ASK_US) {
		r->asked_us = now_us();
		r->stopped = !r->go_on(r->arg);
	}
	return r->stopped;
}

/* One period: a window, and what is left of it without programs. */
static int period(struct recorder *r, uint64_t end, struct kho_err *err)
{
	uint64_t begin = now_us(), until = begin + r->period_us < end ? begin + r->period_us : end;
	struct reading a, b;
	int rc = read_all(r, &a, err);

	do
		pause_us(STEP_US, until);
	while (!rc && now_us() < until && !stopped(r) && !used_up(r, &a));
	if (!rc)
		rc = read_all(r, &b, err);
	if (rc)
		return rc;
	r->out->slices[r->out->n++] = slice_of(&a, &b);
	if (now_us() >= until)
		return 0;
	kho_record_off(r->programs, r->out);
	while (now_us() < until && !stopped(r))
		pause_us(ASK_US, until);
	return now_us() < end && !r->stopped ? kho_record_on(r->programs, err) : 0;
}

static int periods(struct recorder *r, uint64_t for_us, struct kho_err *err)
{
	uint64_t begin = now_us(), end = begin + for_us;
	size_t room;
	int rc = 0;

	r->period_us = for_us / PERIODS;
	if (r->period_us < PERIOD_US)
		r->period_us = PERIOD_US;
	if (r->period_us > LONG_US)
		r->period_us = LONG_US;
	r->asked_us = begin;
	room = (size_t)(for_us / r->period_us) + 1;
	r->out->slices = calloc(room, sizeof(*r->out->slices));
	if (!r->out->slices)
		return kho_fail(err, -ENOMEM, "recording");
	while (!rc && now_us() < end && r->out->n < room && r->out->n < KHO_RECORDING_SLICES) {
		rc = period(r, end, err);
		if (!rc && stopped(r))
			rc = kho_fail(err, -ECANCELED, "the recording was stopped");
	}
	r->out->us = now_us() - begin;
	return rc;
}

/* --- all of it --- */

static int open_roots(struct recorder *r, struct kho_err *err)
{
	size_t there = 0;

	r->roots = calloc(r->n, sizeof(*r->roots));
	if (!r->roots)
		return kho_fail(err, -ENOMEM, "recording");
	for (size_t i = 0; i < r->n; i++) {
		r->roots[i] = r->t[i].npids ? (int)syscall(SYS_pidfd_open, r->t[i].pids[0], 0) : -1;
		there += r->roots[i] >= 0;
	}
	return there == r->n ? 0 : kho_fail(err, -ESRCH, "recording: a process that was to be looked at is not there");
}

static void count_restarts(struct recorder *r)
{
	for (size_t i = 0; i < r->n; i++) {
		struct pollfd p = { .fd = r->roots[i], .events = POLLIN };

		r->out->restarts += poll(&p, 1, 0) == 1;
	}
}

static int run(struct recorder *r, uint64_t for_us, struct kho_err *err)
{
	struct kho_record_counts counts;
	int rc = open_roots(r, err);

	if (!rc)
		rc = kho_record_load(r->out, &r->programs, err);
	if (rc)
		return rc;
	add_all(r);
	rc = periods(r, for_us, err);
	if (rc)
		return rc;
	kho_record_off(r->programs, r->out);
	rc = kho_record_read_times(r->programs, r->out, err);
	if (!rc)
		rc = kho_record_read_counts(r->programs, &counts, NULL, err);
	r->out->lost += rc ? 0 : counts.lost;
	count_restarts(r);
	return rc;
}

static void head(const struct kho_record_target *t, size_t n, struct kho_recording *out)
{
	struct utsname u = { 0 };
	size_t len = 0;

	uname(&u);
	snprintf(out->kernel, sizeof(out->kernel), "%s", u.release);
	for (size_t i = 0; i < n && len < sizeof(out->workloads); i++)
		len += (size_t)snprintf(out->workloads + len, sizeof(out->workloads) - len, "%s%s", i ? ", " : "", t[i].name);
	out->time = (int64_t)time(NULL);
}

int kho_record(const struct kho_record_target *t, size_t n, uint64_t for_us, bool (*go_on)(void *arg), void *arg, struct kho_recording *out,
	       struct kho_err *err)
{
	struct recorder r = { .t = t, .n = n, .out = out, .go_on = go_on, .arg = arg };
	int rc;

	*out = (struct kho_recording){ 0 };
	if (for_us < KHO_RECORD_MIN_US || for_us > KHO_RECORD_MAX_US)
		return kho_fail(err, -EINVAL, "a recording takes 1 s to %u s", KHO_RECORDING_SLICES);
	if (!n)
		return kho_fail(err, -ESRCH, "recording: there is nothing to look at");
	head(t, n, out);
	rc = run(&r, for_us, err);
	kho_record_unload(r.programs);
	for (size_t i = 0; r.roots && i < n; i++)
		if (r.roots[i] >= 0)
			close(r.roots[i]);
	free(r.roots);
	if (rc)
		kho_recording_done(out);
	return rc;
}
