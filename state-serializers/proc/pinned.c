// SPDX-License-Identifier: GPL-2.0-only
/* Threads that are pinned to CPUs.  See pinned.h. */
#include "state-serializers/proc/pinned.h"

#include <stdlib.h>
#include <string.h>

#include "lib/affinity.h"
#include "lib/cleanup.h"
#include "lib/pid.h"
#include "state-serializers/common.h"
#include "state-serializers/proc/container.h"
#include "state-serializers/proc/in.h"
#include "state-serializers/proc/thaw.h"

struct thread {
	pid_t tid, number; /* ours; that in its PID namespace, which goes from kernel to kernel */
	const char *may;   /* CPUs that it may run on */
};

typedef int thread_fn(void *arg, const struct thread *t);

static int look_at(pid_t tid, thread_fn *fn, void *arg)
{
	_cleanup_free_ char *status = kho_pid_status(NULL, tid), *may = NULL;
	struct thread t = { .tid = tid };

	if (!status)
		return 0;
	t.may = may = kho_status_value(status, "Cpus_allowed_list");
	t.number = kho_pidns_number(status);
	if (!t.number) /* a kernel without PID namespaces */
		t.number = tid;
	return may ? fn(arg, &t) : 0;
}

/* Every thread of root's tree, until fn fails. */
static int each_thread(pid_t root, thread_fn *fn, void *arg)
{
	_cleanup_free_ pid_t *pids = NULL;
	size_t n = kho_proc_tree_live(root, &pids);
	int rc = 0;

	for (size_t i = 0; !rc && i < n; i++) {
		_cleanup_free_ pid_t *tids = NULL;
		size_t nt = kho_pid_threads(pids[i], &tids);

		for (size_t k = 0; !rc && k < nt; k++)
			rc = look_at(tids[k], fn, arg);
	}
	return rc;
}

/* --- outgoing --- */

struct note {
	struct kho_proc_out_wl *w;
	const struct kho_affinity *before;
	struct kho_affinity_scope scope;
};

/* Those that are pinned to the same CPUs are one entry. */
static KhoProc__Affinity *entry_of(const struct note *n, const char *cpus)
{
	struct kho_proc_out_wl *w = n->w;
	KhoProc__Affinity *a;

	for (size_t i = 0; i < w->naffinity; i++)
		if (!strcmp(w->affinity[i]->cpus, cpus))
			return w->affinity[i];
	a = malloc(sizeof(*a));
	if (!a)
		return NULL;
	kho_proc__affinity__init(a);
	a->apicid = calloc(n->before->ncpu, sizeof(*a->apicid));
	if (!a->apicid || kho_pb_set(&a->cpus, cpus) || kho_pb_append(&w->affinity, &w->naffinity, a)) {
		kho_proc__affinity__free_unpacked(a, NULL);
		return NULL;
	}
	a->n_apicid = kho_cpuinfo_apicids(n->before->cpu, n->before->ncpu, cpus, a->apicid);
	return a;
}

static int note_one(void *arg, const struct thread *t)
{
	struct note *n = arg;
	const char *cpus = kho_affinity_wanted(&n->scope, kho_affinity_was(n->before, t->tid), t->may,
					       kho_affinity_is_narrow(&n->scope, t->tid, t->may));
	KhoProc__Affinity *a = cpus ? entry_of(n, cpus) : NULL;
	int32_t *more = a ? reallocarray(a->tid, a->n_tid + 1, sizeof(*more)) : NULL;

	if (!cpus)
		return 0;
	if (!more)
		return -ENOMEM;
	a->tid = more;
	a->tid[a->n_tid++] = t->number;
	return 0;
}

int kho_proc_pinned_note(const struct kho_env *env, struct kho_proc_out *o, struct kho_err *err)
{
	struct note n = { .before = env->affinity };
	_cleanup_free_ char *away = NULL;
	int rc = 0;

	for (size_t i = 0; i < o->n; i++)
		kho_proc_pinned_drop(&o->w[i]);
	if (!n.before || !n.before->ncpu)
		return 0;
	away = kho_affinity_away(n.before);
	n.scope = (struct kho_affinity_scope){ .sysroot = "", .all = n.before->all, .away = away };
	for (size_t i = 0; away && !rc && i < o->n; i++) {
		n.w = &o->w[i];
		rc = each_thread(n.w->root, note_one, &n);
	}
	return !away || rc ? kho_fail(err, -ENOMEM, "who is pinned to CPUs: out of memory") : 0;
}

void kho_proc_pinned_drop(struct kho_proc_out_wl *w)
{
	for (size_t i = 0; i < w->naffinity; i++)
		kho_proc__affinity__free_unpacked(w->affinity[i], NULL);
	free(w->affinity);
	w->affinity = NULL;
	w->naffinity = 0;
}

/* --- incoming --- */

static KhoProc__State *kept;

struct number {
	int32_t tid;
	const KhoProc__Affinity *a;
};

struct pin {
	struct number *of; /* n of them, sorted */
	size_t n;
	const struct kho_cpuinfo *cpu; /* ncpu of them */
	size_t ncpu;
	uint32_t *room; /* for as many */
	struct kho_affinity_scope scope;
	unsigned lost;
	struct kho_err why; /* the first of them */
};

static int by_number(const void *x, const void *y)
{
	const struct number *a = x, *b = y;

	return a->tid < b->tid ? -1 : a->tid > b->tid;
}

static int pin_one(void *arg, const struct thread *t)
{
	struct pin *p = arg;
	const struct number key = { .tid = t->number }, *is = bsearch(&key, p->of, p->n, sizeof(*p->of), by_number);
	size_t n;
	int rc;

	/* pinned already: by itself, since it is here */
	if (!is || kho_affinity_is_narrow(&p->scope, t->tid, t->may))
		return 0;
	n = kho_cpuinfo_cpus(p->cpu, p->ncpu, is->a->apicid, is->a->n_apicid, p->room);
	rc = kho_affinity_set(t->tid, p->room, n);
	if (rc && rc != -ESRCH && !p->lost++)
		kho_fail(&p->why, rc, "thread %d was pinned to CPUs %.64s of the former kernel: %s", t->tid, is->a->cpus,
			 n ? strerror(-rc) : "this one has none of them");
	return 0;
}

static int pin_workload(const KhoProc__StateWorkload *w, const struct pin *with, struct kho_err *err)
{
	_cleanup_free_ struct number *of = NULL;
	struct pin p = *with;
	size_t n = 0;

	for (size_t i = 0; i < w->n_affinity; i++)
		n += w->affinity[i]->n_tid;
	if (!n || w->root <= 1)
		return 0;
	p.of = of = calloc(n, sizeof(*of));
	if (!of)
		return kho_fail(err, -ENOMEM, "%s: threads that were pinned to CPUs: out of memory", w->name);
	for (size_t i = 0; i < w->n_affinity; i++)
		for (size_t k = 0; k < w->affinity[i]->n_tid; k++)
			of[p.n++] = (struct number){ .tid = w->affinity[i]->tid[k], .a = w->affinity[i] };
	qsort(of, p.n, sizeof(*of), by_number);
	(void)each_thread(w->root, pin_one, &p);
	return p.lost ? kho_fail(err, p.why.code, "%s: threads that run on all CPUs now: %u; the first: %s", w->name, p.lost, p.why.msg) : 0;
}

void kho_proc_pinned_keep(KhoProc__State *s)
{
	if (kept)
		kho_proc__state__free_unpacked(kept, NULL);
	kept = s;
}

static bool anybody(const KhoProc__State *s)
{
	for (size_t i = 0; s && i < s->n_workloads; i++)
		if (s->workloads[i]->n_affinity)
			return true;
	return false;
}

int kho_proc_cpus(struct kho_env *env, struct kho_err *err)
{
	/* tidied or not */
	const KhoProc__State *s = kept ? kept : kho_proc_in.state;
	_cleanup_free_ struct kho_cpuinfo *cpu = NULL;
	_cleanup_free_ uint32_t *room = NULL;
	_cleanup_free_ char *all = NULL;
	struct kho_err one = KHO_ERR_INIT;
	struct pin p = { .scope = { .sysroot = "", .away = "" } };
	int first = anybody(s) ? kho_cpuinfo_read("", &cpu, &p.ncpu, err) : 0;

	(void)env;
	if (first || !cpu)
		return first;
	all = kho_affinity_online("");
	room = calloc(p.ncpu, sizeof(*room));
	if (!all || !room)
		return kho_fail(err, -ENOMEM, "threads that were pinned to CPUs: out of memory");
	p.cpu = cpu;
	p.room = room;
	p.scope.all = all;
	for (size_t i = 0; i < s->n_workloads; i++)
		kho_first_failure(pin_workload(s->workloads[i], &p, &one), &one, &first, err);
	kho_proc_pinned_keep(NULL);
	return first;
}
