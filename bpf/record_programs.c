// SPDX-License-Identifier: GPL-2.0-only
/* The programs of a recording.  See bpf/record_programs.h. */
#include "bpf/record_programs.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include "bpf/block.skel.h"
#include "bpf/pinned.h"
#include "bpf/program.h"
#include "bpf/tasks.skel.h"
#include "bpf/tcp.skel.h"
#include "lib/cleanup.h"
#include "lib/pid.h"

#define LONG_NS 1000000u /* what is under way for less when a window ends is one of many that are over */

struct kho_record_programs {
	struct tasks_bpf *tasks;
	struct block_bpf *block;
	struct tcp_bpf *tcp;
	int ncpus;
	struct kho_hist *room; /* for one histogram of each CPU */
	unsigned window;
	bool on;
	/* for all threads at once: going from one to the next begins anew when that one has just ended */
	int *pids;
	struct kho_record_thread *threads;
};

/* Load one skeleton; what it lacks is said in its part. */
#define START(p, r, name, part, prepare)                                                                         \
	do {                                                                                                     \
		struct kho_err why = KHO_ERR_INIT;                                                               \
		(p)->name = name##_bpf__open();                                                                  \
		if (!(p)->name) {                                                                                \
			(void)kho_fail_errno(&why, "open the programs of " #name);                               \
		} else {                                                                                         \
			prepare;                                                                                 \
			if (!kho_program_start((p)->name->skeleton, &why))                                       \
				break;                                                                           \
			name##_bpf__destroy((p)->name);                                                          \
			(p)->name = NULL;                                                                        \
		}                                                                                                \
		snprintf((r)->why[KHO_RECORD_##part], sizeof((r)->why[KHO_RECORD_##part]), "%.*s",              \
			 (int)sizeof((r)->why[0]) - 1, why.msg);                                                 \
	} while (0)

static void set_kinds(struct tasks_bpf *skel)
{
#define X(id, call)                                           \
	_Static_assert(SYS_##call < KHO_RECORD_CALLS, #call); \
	skel->rodata->kind_of[SYS_##call] = (unsigned char)(KHO_METRIC_##id + 1);
#include "bpf/calls.def"
#undef X
	skel->bss->window = 1;
}

int kho_record_load(struct kho_recording *r, struct kho_record_programs **out, struct kho_err *err)
{
	struct kho_record_programs *p = calloc(1, sizeof(*p));

	if (!p)
		return kho_fail(err, -ENOMEM, "recording");
	p->ncpus = libbpf_num_possible_cpus();
	p->room = p->ncpus > 0 ? calloc((size_t)p->ncpus, sizeof(*p->room)) : NULL;
	p->pids = calloc(KHO_RECORD_THREADS, sizeof(*p->pids));
	p->threads = calloc(KHO_RECORD_THREADS, sizeof(*p->threads));
	if (!p->room || !p->pids || !p->threads) {
		kho_record_unload(p);
		return kho_fail(err, -ENOMEM, "recording");
	}
	p->window = 1;
	p->on = true;
	START(p, r, tasks, TASKS, set_kinds(p->tasks));
	START(p, r, block, BLOCK, p->block->bss->window = 1);
	START(p, r, tcp, TCP, (void)0);
	*out = p;
	return 0;
}

void kho_record_unload(struct kho_record_programs *p)
{
	if (!p)
		return;
	tasks_bpf__destroy(p->tasks);
	block_bpf__destroy(p->block);
	tcp_bpf__destroy(p->tcp);
	free(p->room);
	free(p->pids);
	free(p->threads);
	free(p);
}

/* All threads, into p->pids and p->threads; how many. */
static size_t read_threads(struct kho_record_programs *p)
{
	__u32 n = KHO_RECORD_THREADS, batch;

	if (!p->tasks || (bpf_map_lookup_batch(bpf_map__fd(p->tasks->maps.threads), NULL, &batch, p->pids, p->threads, &n, NULL) && errno != ENOENT))
		return 0;
	return n;
}

/* --- windows --- */

static void detach(struct bpf_link **link)
{
	bpf_link__destroy(*link);
	*link = NULL;
}

static uint64_t waits(uint64_t since, uint64_t now)
{
	return since && now > since ? now - since : 0;
}

static void count_long(struct kho_hist *h, uint64_t since, uint64_t without, uint64_t now)
{
	if (since && now > since + without + LONG_NS)
		kho_hist_add(h, now - since - without);
}

static void threads_under_way(struct kho_record_programs *p, struct kho_recording *r, uint64_t now)
{
	size_t n = read_threads(p);

	for (size_t i = 0; i < n; i++) {
		const struct kho_record_thread *t = &p->threads[i];

		if (t->window != p->window)
			continue;
		if (t->metric < KHO_NMETRICS)
			count_long(&r->times[t->metric], t->call_at, t->waited + waits(t->off_at, now) + waits(t->waits_at, now), now);
		count_long(&r->times[KHO_METRIC_RUNQUEUE], t->waits_at, 0, now);
	}
}

static void requests_under_way(struct kho_record_programs *p, struct kho_recording *r, uint64_t now)
{
	int fd = bpf_map__fd(p->block->maps.under_way);
	struct kho_record_request rq;
	__u64 key, *prev = NULL, next;

	for (unsigned i = 0; i < bpf_map__max_entries(p->block->maps.under_way) && !bpf_map_get_next_key(fd, prev, &next); i++) {
		key = next;
		prev = &key;
		if (!bpf_map_lookup_elem(fd, &key, &rq) && rq.window == p->window)
			count_long(&r->times[KHO_METRIC_BLOCK], rq.at, 0, now);
	}
}

void kho_record_off(struct kho_record_programs *p, struct kho_recording *r)
{
	uint64_t now;

	if (!p->on)
		return;
	p->on = false;
	if (p->tasks) {
		detach(&p->tasks->links.kho_sys_enter);
		detach(&p->tasks->links.kho_sys_exit);
		detach(&p->tasks->links.kho_record_waking);
		detach(&p->tasks->links.kho_record_switch);
	}
	if (p->block)
		block_bpf__detach(p->block);
	if (p->tcp)
		tcp_bpf__detach(p->tcp);
	now = kho_now_ns(); /* as bpf_ktime_get_ns() */
	if (p->tasks)
		threads_under_way(p, r, now);
	if (p->block)
		requests_under_way(p, r, now);
}

int kho_record_on(struct kho_record_programs *p, struct kho_err *err)
{
	int rc = 0;

	p->on = true;
	p->window++;
	if (p->tasks) {
		p->tasks->bss->window = p->window;
		rc = tasks_bpf__attach(p->tasks); /* what is attached stays so */
	}
	if (!rc && p->block) {
		p->block->bss->window = p->window;
		rc = block_bpf__attach(p->block);
	}
	if (!rc && p->tcp)
		rc = tcp_bpf__attach(p->tcp);
	return rc ? kho_fail(err, rc, "recording: the programs cannot be attached again: %s", strerror(-rc)) : 0;
}

/* --- threads --- */

size_t kho_record_add(struct kho_record_programs *p, pid_t tgid, uint64_t *lost)
{
	struct kho_record_thread fresh = { .tgid = tgid };
	_cleanup_closedir_ DIR *d = NULL;
	size_t added = 0;
	char path[32];
	pid_t tid;

	snprintf(path, sizeof(path), "/proc/%d/task", tgid);
	d = p->tasks ? opendir(path) : NULL;
	while ((tid = kho_pid_next(d))) {
		if (!bpf_map_update_elem(bpf_map__fd(p->tasks->maps.threads), &tid, &fresh, BPF_NOEXIST))
			added++;
		else if (errno == E2BIG)
			++*lost;
	}
	return added;
}

size_t kho_record_procs(struct kho_record_programs *p, const pid_t **out)
{
	size_t n = read_threads(p), procs = 0;

	for (size_t i = 0; i < n; i++)
		if (p->threads[i].tgid == p->pids[i])
			p->pids[procs++] = p->pids[i];
	*out = p->pids;
	return procs;
}

/* --- results --- */

/* Sum over the CPUs of one histogram of a map, added. */
static int read_hist(struct kho_record_programs *p, const struct bpf_map *map, __u32 key, struct kho_hist *into, struct kho_err *err)
{
	if (bpf_map_lookup_elem(bpf_map__fd(map), &key, p->room))
		return kho_fail_errno(err, "read a histogram");
	for (int i = 0; i < p->ncpus; i++)
		kho_hist_merge(into, &p->room[i]);
	return 0;
}

int kho_record_read_counts(struct kho_record_programs *p, struct kho_record_counts *out, uint64_t *replies, struct kho_err *err)
{
	_cleanup_free_ struct kho_record_counts *all = calloc((size_t)p->ncpus, sizeof(*all));
	struct kho_hist h = { 0 };
	__u32 zero = 0;
	int rc;

	*out = (struct kho_record_counts){ 0 };
	if (replies)
		*replies = 0;
	if (!all)
		return kho_fail(err, -ENOMEM, "recording");
	if (!p->tasks)
		return 0;
	if (bpf_map_lookup_elem(bpf_map__fd(p->tasks->maps.counts), &zero, all))
		return kho_fail_errno(err, "read the counts");
	for (int i = 0; i < p->ncpus; i++) {
		out->switches += all[i].switches;
		out->lost += all[i].lost;
		out->hits += all[i].hits;
		out->misses += all[i].misses;
	}
	if (!replies)
		return 0;
	rc = read_hist(p, p->tasks->maps.times, KHO_METRIC_WRITE, &h, err);
	if (!rc)
		rc = read_hist(p, p->tasks->maps.times, KHO_METRIC_SEND, &h, err);
	*replies = kho_hist_count(&h);
	return rc;
}

int kho_record_read_times(struct kho_record_programs *p, struct kho_recording *r, struct kho_err *err)
{
	int rc = 0;

	for (int m = 0; !rc && m < KHO_NMETRICS; m++) {
		const struct kho_metric_info *k = &kho_metrics[m];

		if (k->kind == KHO_METRIC_KIND_RATE)
			continue;
		if (k->part == KHO_RECORD_TASKS && p->tasks)
			rc = read_hist(p, p->tasks->maps.times, (__u32)m, &r->times[m], err);
		else if (k->part == KHO_RECORD_BLOCK && p->block)
			rc = read_hist(p, p->block->maps.times, 0, &r->times[m], err);
		else if (k->part == KHO_RECORD_TCP && p->tcp)
			rc = read_hist(p, p->tcp->maps.times, 0, &r->times[m], err);
	}
	return rc;
}
