// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the outgoing half tells the incoming one (proc.proto).
 */
#include <stdio.h>
#include <string.h>

#include "lib/cleanup.h"
#include "state-serializers/proc/apparmor.h"
#include "state-serializers/proc/copy.h"
#include "state-serializers/proc/in.h"
#include "state-serializers/proc/img.h"
#include "state-serializers/proc/outside.h"
#include "state-serializers/proc/out.h"
#include "state-serializers/proc/tree.h"
#include "state-serializers/proc.pb-c.h"

static int pack(const ProtobufCMessage *m, struct kho_blob *out, struct kho_err *err)
{
	out->len = protobuf_c_message_get_packed_size(m);
	out->data = malloc(out->len + 1);
	if (!out->data)
		return kho_fail(err, -ENOMEM, "describe processes: out of memory");
	protobuf_c_message_pack(m, out->data);
	return 0;
}

/* Numbers of all processes and threads of the workload. */
static int all_numbers(const struct kho_workload *w, KhoProc__PlanWorkload *p)
{
	for (size_t i = 0; i < w->npids; i++) {
		_cleanup_free_ pid_t *tids = NULL;
		size_t n = kho_pid_threads(w->pids[i], &tids);
		int32_t *bigger = realloc(p->pids, (p->n_pids + n + 1) * sizeof(*bigger));

		if (!bigger)
			return -ENOMEM;
		p->pids = bigger;
		for (size_t k = 0; k < n; k++)
			p->pids[p->n_pids++] = tids[k];
	}
	if (w->monitor) {
		int32_t *bigger = realloc(p->pids, (p->n_pids + 1) * sizeof(*bigger));

		if (!bigger)
			return -ENOMEM;
		p->pids = bigger;
		p->pids[p->n_pids++] = w->monitor;
	}
	return 0;
}

void kho_proc_plan_health(const struct kho_workload *w, KhoProc__PlanWorkload *p)
{
	static char empty[] = "";

	*p = (KhoProc__PlanWorkload)KHO_PROC__PLAN_WORKLOAD__INIT;
	p->name = w->name;
	p->root = w->root;
	p->health_tcp = w->health_tcp ? w->health_tcp : empty;
	p->health_command = w->health_command ? w->health_command : empty;
	p->health_timeout_us = w->health_timeout_us;
	if (w->health_send) {
		p->health_send.data = (uint8_t *)w->health_send;
		p->health_send.len = strlen(w->health_send);
	}
	if (w->health_expect) {
		p->health_expect.data = (uint8_t *)w->health_expect;
		p->health_expect.len = strlen(w->health_expect);
	}
}

static int plan_one(const struct kho_workload *w, KhoProc__PlanWorkload *p)
{
	kho_proc_plan_health(w, p);
	p->rss_bytes = w->rss_bytes;
	return all_numbers(w, p);
}

/* The outgoing side keeps what it has found out; the message only borrows it. */
static void lend(const struct kho_proc_out_wl *from, KhoProc__PlanWorkload *p)
{
	p->mount_ns = from->around.mount_ns;
	p->uts_ns = from->around.uts_ns;
	p->user_ns = from->around.user_ns;
	p->inherit = from->around.inherit;
	p->n_inherit = from->around.n_inherit;
	p->streams = from->around.streams;
	p->n_streams = from->around.n_streams;
	p->cgroups = from->around.cgroups;
	p->n_cgroups = from->around.n_cgroups;
	p->container = from->around.container;
}

int kho_proc_plan_pack(struct kho_env *env, struct kho_blob *out, struct kho_err *err)
{
	size_t n = env->workloads->n;
	_cleanup_free_ KhoProc__PlanWorkload *w = calloc(n + 1, sizeof(*w));
	_cleanup_free_ KhoProc__PlanWorkload **p = calloc(n + 1, sizeof(*p));
	KhoProc__Plan plan = KHO_PROC__PLAN__INIT;
	int rc = w && p ? kho_outside_names("", &plan, err)
			: kho_fail(err, -ENOMEM, "describe processes: out of memory");

	for (size_t i = 0; !rc && i < n; i++) {
		p[i] = &w[i];
		if (plan_one(&env->workloads->w[i], &w[i]))
			rc = kho_fail(err, -ENOMEM, "describe processes: out of memory");
		lend(&kho_proc_out.w[i], &w[i]);
		plan.n_workloads++;
	}
	plan.revision = 1;
	plan.workloads = p;
	plan.pid_max = (uint32_t)kho_kernel_number("pid_max");
	plan.copy = env->copy;
	if (!rc && env->copy)
		rc = kho_copy_addresses(&plan, err);
	if (!rc)
		rc = kho_aa_collect(env->workloads, &plan, err);
	if (!rc)
		rc = pack(&plan.base, out, err);
	kho_aa_collected_done(&plan);
	for (size_t i = 0; i < plan.n_workloads; i++)
		free(w[i].pids);
	kho_outside_names_done(&plan);
	kho_copy_addresses_done(&plan);
	return rc;
}

struct state_one {
	KhoProc__StateWorkload msg;
	KhoProc__Task *tasks;
	KhoProc__Task **ptasks;
	KhoProc__Listener *listeners;
	KhoProc__Listener **plisteners;
};

static void state_one_done(struct state_one *s)
{
	for (size_t i = 0; s->tasks && i < s->msg.n_tasks; i++)
		if (s->tasks[i].cgroup != protobuf_c_empty_string)
			free(s->tasks[i].cgroup);
	free(s->tasks);
	free(s->ptasks);
	free(s->listeners);
	free(s->plisteners);
	for (size_t i = 0; i < s->msg.n_own; i++)
		kho_proc__mount__free_unpacked(s->msg.own[i], NULL);
	free(s->msg.own);
}

/* Numbers of a container's processes mean nothing outside of it, but for that of the first. */
static void only_root(const struct kho_proc_out_wl *w, struct kho_img_tree *t)
{
	if (!w->around.container || !t->ntasks)
		return;
	while (t->ntasks > 1)
		free(t->tasks[--t->ntasks].sp);
	t->tasks[0].pid = w->root;
}

static int describe(const struct kho_img_tree *t, struct state_one *s)
{
	s->tasks = calloc(t->ntasks + 1, sizeof(*s->tasks));
	s->ptasks = calloc(t->ntasks + 1, sizeof(*s->ptasks));
	s->listeners = calloc(t->ntcp + 1, sizeof(*s->listeners));
	s->plisteners = calloc(t->ntcp + 1, sizeof(*s->plisteners));
	if (!s->tasks || !s->ptasks || !s->listeners || !s->plisteners)
		return -ENOMEM;
	for (size_t i = 0; i < t->ntasks; i++) {
		s->tasks[i] = (KhoProc__Task)KHO_PROC__TASK__INIT;
		s->tasks[i].pid = t->tasks[i].pid;
		s->tasks[i].zombie = t->tasks[i].state == 2;
		s->tasks[i].stopped = t->tasks[i].state == 3;
		s->tasks[i].cgroup = kho_cgroup_of("", t->tasks[i].pid);
		if (!s->tasks[i].cgroup)
			s->tasks[i].cgroup = (char *)protobuf_c_empty_string;
		s->ptasks[i] = &s->tasks[i];
	}
	for (size_t i = 0; i < t->ntcp; i++) {
		KhoProc__Listener *l = &s->listeners[s->msg.n_listeners];

		if (t->tcp[i].state != KHO_TCP_LISTEN)
			continue;
		*l = (KhoProc__Listener)KHO_PROC__LISTENER__INIT;
		l->family = t->tcp[i].family;
		l->port = t->tcp[i].src_port;
		s->plisteners[s->msg.n_listeners++] = l;
	}
	s->msg.n_tasks = t->ntasks;
	s->msg.tasks = s->ptasks;
	s->msg.listeners = s->plisteners;
	return 0;
}

static int state_one(const struct kho_proc_out_wl *w, struct state_one *s, struct kho_err *err)
{
	_cleanup_free_ char *final = NULL;
	struct kho_img_tree t;
	int rc;

	s->msg = (KhoProc__StateWorkload)KHO_PROC__STATE_WORKLOAD__INIT;
	s->msg.name = w->name;
	s->msg.root = w->root;
	s->msg.rounds = w->rounds;
	s->msg.affinity = w->affinity;
	s->msg.n_affinity = w->naffinity;
	if (asprintf(&final, "%s/final", w->dir) < 0)
		return kho_fail(err, -ENOMEM, "describe processes: out of memory");
	rc = kho_img_tree_read(final, &t, err);
	if (rc)
		return rc;
	only_root(w, &t);
	if (describe(&t, s))
		rc = kho_fail(err, -ENOMEM, "describe processes: out of memory");
	kho_img_tree_done(&t);
	if (!rc && w->around.mount_ns)
		rc = kho_ns_read_own(w->root, w->around.mount_ns, &s->msg.own, &s->msg.n_own, err);
	return rc;
}

int kho_proc_state_pack(struct kho_blob *out, struct kho_err *err)
{
	size_t n = kho_proc_out.n;
	_cleanup_free_ struct state_one *s = calloc(n + 1, sizeof(*s));
	_cleanup_free_ KhoProc__StateWorkload **p = calloc(n + 1, sizeof(*p));
	KhoProc__State state = KHO_PROC__STATE__INIT;
	int rc = s && p ? 0 : kho_fail(err, -ENOMEM, "describe processes: out of memory");

	for (size_t i = 0; !rc && i < n; i++) {
		p[i] = &s[i].msg;
		rc = state_one(&kho_proc_out.w[i], &s[i], err);
		if (rc)
			kho_wrap(err, "workload %s", kho_proc_out.w[i].name);
	}
	state.revision = 1;
	state.n_workloads = n;
	state.workloads = p;
	if (!rc)
		rc = pack(&state.base, out, err);
	for (size_t i = 0; s && i < n; i++)
		state_one_done(&s[i]);
	return rc;
}
