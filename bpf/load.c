// SPDX-License-Identifier: GPL-2.0-only
/*
 * The processes that a load runs in.  See bpf/load.h.
 * Processes, because the caller's memory is locked (each page of a mapping would be there at once), its threads are many, and they
 * can be killed, whatever they do.
 */
#include "bpf/load.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bpf/child.h"
#include "bpf/load_mix.h"
#include "bpf/pinned.h"
#include "lib/cleanup.h"

#define GRACE_NS 20000000000ull /* an emulated machine stalls for seconds, and takes some to load a module */
#define REST_US	 1000 /* after an operation that failed: it must not become a loop */

const struct kho_mix_row kho_mixes[KHO_NMIXES] = {
#define X(id, name, what) { #name, what },
#include "bpf/load.def"
#undef X
};

static const struct kho_mix_ops *const ops[KHO_NMIXES] = {
#define X(id, name, what) &kho_mix_##name,
#include "bpf/load.def"
#undef X
};

int kho_mix_find(const char *name)
{
	for (int i = 0; i < KHO_NMIXES; i++)
		if (!strcmp(kho_mixes[i].name, name))
			return i;
	return -1;
}

int kho_mixes_parse(const char *text, unsigned *out, struct kho_err *err)
{
	_cleanup_free_ char *copy = strdup(text);
	char *at = NULL;

	*out = 0;
	if (!copy)
		return kho_fail(err, -ENOMEM, "load: out of memory");
	if (*text == '/') {
		*out = 1u << KHO_MIX_COMMAND;
		return strlen(text) < KHO_LOAD_COMMAND_MAX ? 0 : kho_fail(err, -EINVAL, "load: a command of %zu characters", strlen(text));
	}
	if (!strcmp(text, "all"))
		*out = KHO_MIX_BUILT_IN;
	for (char *w = *out ? NULL : strtok_r(copy, ",", &at); w; w = strtok_r(NULL, ",", &at)) {
		int mix = kho_mix_find(w);

		if (mix < 0 || mix == KHO_MIX_COMMAND)
			return kho_fail(err, -EINVAL, "load '%s': want all, some of sched,memory,vfs,net,crypto, or a command by its absolute path", w);
		*out |= 1u << mix;
	}
	return *out ? 0 : kho_fail(err, -EINVAL, "load: none is named");
}

void kho_load_add(struct kho_load_result *sum, const struct kho_load_result *r)
{
	if (!sum->known)
		return;
	if (!sum->errors || !r->known)
		snprintf(sum->what, sizeof(sum->what), "%s", r->what);
	sum->known = r->known;
	sum->errors += r->errors;
	kho_hist_merge(&sum->ns, &r->ns);
}

/* --- in processes of its own: one that waits, and one for each CPU --- */

struct shared {
	_Atomic bool over;
	struct kho_load_result sum;
	struct kho_load_result r[]; /* one for each CPU */
};

static void note_error(struct kho_load_result *r, const struct kho_err *err)
{
	if (!r->errors++)
		snprintf(r->what, sizeof(r->what), "%s", err->msg);
}

static void work(struct kho_mix_place *p, struct kho_load_result *r)
{
	const struct kho_mix_ops *o = ops[p->l->mix];
	struct kho_err err = KHO_ERR_INIT;
	uint64_t begin, end;

	if (o->open(p, &err) < 0) {
		snprintf(r->what, sizeof(r->what), "%s", err.msg);
		o->close(p);
		return;
	}
	/* what it needed to begin (a module to be loaded) does not count */
	p->end_ns = kho_now_ns() + p->l->us * 1000;
	for (begin = kho_now_ns(); begin < p->end_ns; begin = end, p->turn++) {
		int rc = o->op(p, &err);

		end = kho_now_ns();
		if (!rc)
			kho_hist_add(&r->ns, end - begin);
		if (rc >= 0)
			continue;
		note_error(r, &err);
		usleep(REST_US);
		end = kho_now_ns();
	}
	o->close(p);
	r->known = true;
	if (!r->errors)
		r->what[0] = '\0'; /* it has not died */
}

static pid_t start(const struct kho_load *l, int cpu, struct kho_load_result *r)
{
	struct kho_mix_place p = { .l = l, .cpu = cpu, .fd = { -1, -1 } };
	pid_t parent = getpid(), pid = fork();
	cpu_set_t one;

	if (pid)
		return pid;
	kho_child_begin(parent);
	CPU_ZERO(&one);
	CPU_SET((size_t)cpu, &one);
	if (sched_setaffinity(0, sizeof(one), &one) < 0)
		snprintf(r->what, sizeof(r->what), "CPU %d: %s", cpu, strerror(errno));
	else
		work(&p, r);
	_exit(0);
}

/* Each CPU has a process, and so memory, of its own: else they would wait for each other most of the time. */
static void run_all(const struct kho_load *l, const cpu_set_t *on, struct shared *s)
{
	unsigned n = 0;

	for (int cpu = 0; cpu < CPU_SETSIZE && n < l->cpus; cpu++)
		if (CPU_ISSET((size_t)cpu, on)) {
			snprintf(s->r[n].what, sizeof(s->r[n].what), "its process on CPU %d has died", cpu);
			if (start(l, cpu, &s->r[n]) < 0)
				snprintf(s->r[n].what, sizeof(s->r[n].what), "no process for CPU %d: %s", cpu, strerror(errno));
			n++;
		}
	while (wait(NULL) > 0 || errno == EINTR)
		;
	s->sum.known = true;
	for (unsigned i = 0; i < n; i++)
		kho_load_add(&s->sum, &s->r[i]);
	if (!s->sum.known || s->sum.errors || kho_hist_count(&s->sum.ns))
		return;
	s->sum.known = false;
	snprintf(s->sum.what, sizeof(s->sum.what), "not one operation was over in %llu ms", (unsigned long long)l->us / 1000);
}

static void __attribute__((noreturn)) child(const struct kho_load *l, const cpu_set_t *on, struct shared *s, pid_t parent)
{
	kho_child_lead(parent);
	run_all(l, on, s);
	s->over = true;
	_exit(0);
}

/* --- its caller --- */

int kho_load_run(const struct kho_load *l, const cpu_set_t *on, bool (*stop)(void *arg), void *arg, struct kho_load_result *out,
		 struct kho_err *err)
{
	const char *name = (unsigned)l->mix < KHO_NMIXES ? kho_mixes[l->mix].name : "?";
	struct shared *s;
	size_t bytes;
	pid_t pid, self = getpid();
	cpu_set_t mine;
	int rc;

	*out = (struct kho_load_result){ 0 };
	if ((unsigned)l->mix >= KHO_NMIXES || (l->mix == KHO_MIX_COMMAND) != (l->command != NULL))
		return kho_fail(err, -EINVAL, "load: there is no such one");
	if (!on && sched_getaffinity(0, sizeof(mine), &mine))
		return kho_fail_errno(err, "load %s: which CPUs there are", name);
	on = on ? on : &mine;
	if (!l->cpus || l->cpus > (unsigned)CPU_COUNT(on))
		return kho_fail(err, -EINVAL, "load %s on %u CPUs, there are %d", name, l->cpus, CPU_COUNT(on));
	bytes = sizeof(*s) + l->cpus * sizeof(s->r[0]);
	s = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (s == MAP_FAILED)
		return kho_fail_errno(err, "load %s", name);
	pid = fork();
	if (!pid)
		child(l, on, s, self);
	rc = pid < 0 ? kho_fail_errno(err, "load %s: fork", name) : kho_child_wait(pid, kho_now_ns() + l->us * 1000 + GRACE_NS, stop, arg, err);
	if (rc < 0)
		kho_wrap(err, "load %s", name);
	else if (s->over)
		*out = s->sum;
	else
		snprintf(out->what, sizeof(out->what), "its process was killed");
	munmap(s, bytes);
	return rc;
}
