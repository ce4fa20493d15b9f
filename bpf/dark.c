// SPDX-License-Identifier: GPL-2.0-only
/* The Dark gate.  See bpf/dark.h. */
#include "bpf/dark.h"

#include <bpf/bpf.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bpf/dark.skel.h"
#include "bpf/dark_map.h"
#include "bpf/program.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/pid.h"

#define LOOK_US 2000

struct kho_dark {
	struct dark_bpf *skel;
	struct kho_err why; /* the programs do not work: why */
	uint64_t begin_us;
};

int kho_dark_load(struct kho_dark **out, struct kho_err *err)
{
	struct kho_dark *d = calloc(1, sizeof(*d));

	if (!d)
		return kho_fail(err, -ENOMEM, "gates of the dark");
	d->skel = dark_bpf__open();
	if (!d->skel)
		kho_fail_errno(&d->why, "open the programs");
	else
		(void)!kho_program_load(d->skel->skeleton, &d->why); /* why is told then */
	*out = d;
	return 0;
}

static unsigned usual_of(pid_t pid, const struct kho_gate_usual *usual, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (usual[i].pid == pid)
			return usual[i].percent;
	return 0;
}

void kho_dark_begin(struct kho_dark *d, const pid_t *pids, size_t n, const struct kho_gate_usual *usual, size_t nusual)
{
	d->begin_us = kho_clock_us();
	for (size_t i = 0; i < n && !d->why.code; i++) {
		struct kho_dark_process fresh = { .root = pids[i], .usual = usual_of(pids[i], usual, nusual) };

		if (bpf_map_update_elem(bpf_map__fd(d->skel->maps.processes), &pids[i], &fresh, BPF_ANY))
			kho_fail_errno(&d->why, "look at %zu processes", n);
	}
	if (!d->why.code)
		(void)!kho_program_attach(d->skel->skeleton, &d->why); /* likewise */
}

static bool is_fault(unsigned sig)
{
	switch (sig) {
	case SIGILL:
	case SIGTRAP:
	case SIGABRT:
	case SIGBUS:
	case SIGFPE:
	case SIGKILL: /* for want of memory */
	case SIGSEGV:
	case SIGXCPU:
	case SIGXFSZ:
	case SIGSYS:
		return true;
	default:
		return false;
	}
}

static unsigned percent_of(const struct kho_dark_process *p)
{
	return p->calls ? (unsigned)(p->failed * 100 / p->calls) : 0;
}

void kho_dark_judge(const pid_t *pids, const struct kho_dark_process *of, size_t n, const struct kho_gate_policy *p, struct kho_gate_list *out)
{
	uint64_t calls = 0, failed = 0;
	size_t dead = 0, first = 0, worst = n;
	unsigned most = 0;

	for (size_t i = 0; i < n; i++) {
		unsigned all = percent_of(&of[i]), percent = all > of[i].usual ? all - of[i].usual : 0;

		calls += of[i].calls;
		failed += of[i].failed;
		if (is_fault(of[i].signal) && !dead++)
			first = i;
		if (of[i].failed >= KHO_DARK_STORM && percent >= most) {
			most = percent;
			worst = i;
		}
	}
	if (dead)
		kho_gate_measured(out, p, KHO_GATE_SIGNALS, (int64_t)dead, "process %d: %s", pids[first], strsignal((int)of[first].signal));
	else
		kho_gate_measured(out, p, KHO_GATE_SIGNALS, 0, "of %zu processes", n);
	if (worst < n)
		kho_gate_measured(out, p, KHO_GATE_ERRORS, most, "process %d: %llu calls of %llu (before: %u %%), at last: %s", pids[worst],
				  of[worst].failed, of[worst].calls, of[worst].usual, strerror((int)of[worst].last));
	else
		kho_gate_measured(out, p, KHO_GATE_ERRORS, 0, "%" PRIu64 " of %" PRIu64 " calls failed", failed, calls);
}

/* Not waiting for what must come at once, not held, not half gone. (Of a whole process others know better: it may have been a zombie before.) */
static bool goes_on(pid_t pid, pid_t tid)
{
	char state = kho_pid_state(NULL, tid);

	return !state || (tid == pid && state == 'Z') || !strchr("DtZX", state);
}

void kho_dark_threads(const pid_t *pids, size_t n, const struct kho_gate_policy *p, struct kho_gate_list *out)
{
	uint64_t until = kho_clock_us() + KHO_DARK_PATIENCE_US;
	size_t all = 0, stuck = 0;
	char what[64] = "";

	for (size_t i = 0; i < n; i++) {
		_cleanup_free_ pid_t *tids = NULL;
		size_t nt = kho_pid_threads(pids[i], &tids);

		all += nt;
		for (size_t k = 0; k < nt; k++) {
			while (!goes_on(pids[i], tids[k]) && kho_clock_us() < until)
				usleep(LOOK_US);
			if (!goes_on(pids[i], tids[k]) && !stuck++)
				snprintf(what, sizeof(what), "%d of process %d (%c), ", tids[k], pids[i], kho_pid_state(NULL, tids[k]));
		}
	}
	kho_gate_measured(out, p, KHO_GATE_THREADS, (int64_t)stuck, "%sof %zu in %zu processes", what, all, n);
}

/* All that was counted: pids and numbers, n of them. */
static int counted(struct kho_dark *d, pid_t **out_pids, struct kho_dark_process **out, size_t *n, struct kho_err *err)
{
	int fd = bpf_map__fd(d->skel->maps.processes), key;
	_cleanup_free_ struct kho_dark_process *of = calloc(KHO_DARK_PROCESSES, sizeof(*of));
	_cleanup_free_ pid_t *pids = calloc(KHO_DARK_PROCESSES, sizeof(*pids));
	const int *after = NULL;

	if (!of || !pids)
		return kho_fail(err, -ENOMEM, "what was counted of processes");
	while (*n < KHO_DARK_PROCESSES && !bpf_map_get_next_key(fd, after, &key)) {
		pids[*n] = key;
		after = &pids[*n];
		if (bpf_map_lookup_elem(fd, &key, &of[*n]))
			return kho_fail_errno(err, "read what was counted of process %d", key);
		++*n;
	}
	if (d->skel->bss->lost)
		return kho_fail(err, -ENOSPC, "there are more than %u processes", KHO_DARK_PROCESSES);
	*out_pids = steal_ptr(pids);
	*out = steal_ptr(of);
	return 0;
}

int kho_dark_usual(struct kho_dark *d, struct kho_gate_usual **out, size_t *n, struct kho_err *err)
{
	_cleanup_free_ struct kho_dark_process *of = NULL;
	_cleanup_free_ struct kho_gate_usual *usual = NULL;
	_cleanup_free_ pid_t *pids = NULL;
	size_t nof = 0, k;

	*n = 0;
	if (d->why.code)
		return kho_fail(err, d->why.code, "%s", d->why.msg);
	if (counted(d, &pids, &of, &nof, err) < 0)
		return err->code;
	usual = calloc(nof + 1, sizeof(*usual));
	if (!usual)
		return kho_fail(err, -ENOMEM, "what fails anyway");
	for (size_t i = 0; i < nof; i++) {
		if (of[i].calls < KHO_DARK_USUAL)
			continue;
		for (k = 0; k < *n && usual[k].pid != of[i].root; k++)
			;
		*n += k == *n;
		usual[k].pid = of[i].root;
		if (usual[k].percent < percent_of(&of[i]))
			usual[k].percent = percent_of(&of[i]);
	}
	*out = steal_ptr(usual);
	return 0;
}

void kho_dark_read(struct kho_dark *d, const pid_t *pids, size_t n, const struct kho_gate_policy *p, struct kho_gate_list *out)
{
	_cleanup_free_ struct kho_dark_process *of = NULL;
	_cleanup_free_ pid_t *seen = NULL;
	uint64_t now = kho_clock_us();
	size_t nseen = 0;

	if (!d->begin_us && !d->why.code)
		kho_fail(&d->why, -EINVAL, "nobody has begun to look");
	if (now < d->begin_us + KHO_DARK_US)
		usleep((useconds_t)(d->begin_us + KHO_DARK_US - now));
	*out = (struct kho_gate_list){ 0 };
	kho_dark_threads(pids, n, p, out);
	if (!d->why.code)
		(void)!counted(d, &seen, &of, &nseen, &d->why); /* told just below */
	if (!d->why.code) {
		kho_dark_judge(seen, of, nseen, p, out);
		return;
	}
	kho_gate_unknown(out, p, KHO_GATE_SIGNALS, "%s", d->why.msg);
	kho_gate_unknown(out, p, KHO_GATE_ERRORS, "%s", d->why.msg);
}

void kho_dark_free(struct kho_dark *d)
{
	if (!d)
		return;
	dark_bpf__destroy(d->skel);
	free(d);
}
