// SPDX-License-Identifier: GPL-2.0-only
/*
 * The incoming side: everything that can be made ready before the blackout (worker, page server,
 * kernel facts, numbers of processes), the restore, and its inverse.
 */
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"
#include "state-serializers/common.h"
#include "state-serializers/proc/apparmor.h"
#include "state-serializers/proc/cgroup_filter.h"
#include "state-serializers/proc/container_net.h"
#include "state-serializers/proc/copy.h"
#include "state-serializers/proc/in.h"
#include "state-serializers/proc/phase.h"
#include "state-serializers/proc/place.h"
#include "state-serializers/proc/selftest.h"
#include "state-serializers/proc/tree.h"

#define RESTORE_US 60000000ull
#define CANCEL_US  50000ull /* to look whether it is still wanted */
#define GATE	   "post-restore" /* the notice before the sockets leave repair mode */
#define PID_GAP	   1000 /* numbers that the incoming kernel's own processes leave free above ours */

struct kho_proc_in kho_proc_in;

void kho_proc_in_reset(void)
{
	struct kho_proc_in *in = &kho_proc_in;

	for (size_t i = 0; i < in->n; i++) {
		kho_criu_finish(&in->w[i].criu, 1000000);
		if (in->w[i].work_fd >= 0)
			close(in->w[i].work_fd);
		kho_proc_place_in_done(&in->w[i]);
		free(in->w[i].dir);
	}
	free(in->w);
	if (in->plan)
		kho_proc__plan__free_unpacked(in->plan, NULL);
	if (in->state)
		kho_proc__state__free_unpacked(in->state, NULL);
	*in = (struct kho_proc_in){ 0 };
}

static int32_t highest(const KhoProc__Plan *p)
{
	int32_t max = 0;

	for (size_t i = 0; i < p->n_workloads; i++)
		for (size_t k = 0; k < p->workloads[i]->n_pids; k++)
			if (p->workloads[i]->pids[k] > max)
				max = p->workloads[i]->pids[k];
	return max;
}

static int write_number(const char *name, uint64_t value, struct kho_err *err)
{
	char path[128], text[32];

	snprintf(path, sizeof(path), "/proc/sys/kernel/%s", name);
	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	return kho_write_existing(path, text, err);
}

/* Our own processes get numbers above the workload's; a ceiling as high as it was there comes first. */
static int make_room(const KhoProc__Plan *p, struct kho_err *err)
{
	uint64_t max = (uint64_t)highest(p) + PID_GAP;
	int rc = 0;

	if (p->pid_max > kho_kernel_number("pid_max"))
		rc = write_number("pid_max", p->pid_max, err);
	if (!rc && kho_kernel_number("ns_last_pid") < max &&
	    max + PID_GAP < kho_kernel_number("pid_max"))
		rc = write_number("ns_last_pid", max, err);
	for (size_t i = 0; !rc && i < p->n_workloads; i++)
		for (size_t k = 0; !rc && k < p->workloads[i]->n_pids; k++)
			if (!kill(p->workloads[i]->pids[k], 0) ||
			    kho_pid_state("", p->workloads[i]->pids[k]))
				rc = kho_fail(err, -EEXIST,
					      "pid %d of %s is taken in the incoming kernel; start the workload later in the life of the machine, "
					      "so that it gets a higher number",
					      p->workloads[i]->pids[k], p->workloads[i]->name);
	return rc;
}

static int start_lazy(struct kho_env *env, struct kho_proc_in_wl *w, struct kho_err *err)
{
	char dir[PATH_MAX], progress[PATH_MAX];
	int rc;

	snprintf(dir, sizeof(dir), "%s/lazy", env->run_dir);
	rc = kho_mkdir(dir, err);
	if (rc)
		return rc;
	snprintf(progress, sizeof(progress), "%s/lazy/%s", env->run_dir, w->plan->name);
	return kho_lazy_start(&w->lazy, w->dir, progress, err);
}

static int prepare_one(struct kho_env *env, struct kho_proc_in_wl *w, bool lazy,
		       struct kho_err *err)
{
	char path[PATH_MAX];
	int rc;

	if (asprintf(&w->dir, "%s/%s", env->images_dir, w->plan->name) < 0)
		return kho_fail(err, -ENOMEM, "prepare %s: out of memory", w->plan->name);
	snprintf(path, sizeof(path), "%s/final", w->dir);
	rc = kho_mkdir(path, err);
	if (rc)
		return rc;
	snprintf(path, sizeof(path), "%s/work", w->dir);
	rc = kho_mkdir(path, err);
	if (rc)
		return rc;
	w->work_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (w->work_fd < 0)
		return kho_fail_errno(err, "open %s", path);
	if (lazy && !w->plan->container && w->plan->rss_bytes >= KHO_PROC_LAZY_MIN)
		rc = start_lazy(env, w, err);
	return rc ? rc : kho_proc_place_in(env, w, err);
}

/* A CRIU that cannot, on this kernel, is found out here and not in the blackout. */
static int selftest(struct kho_env *env, struct kho_err *err)
{
	struct kho_report r = KHO_REPORT_INIT;
	int rc = kho_proc_selftest(env->run_dir, &r, err);

	for (size_t i = 0; !rc && i < r.n; i++)
		if (r.items[i].verdict == KHO_V_NO)
			rc = kho_fail(err, -ENOTSUP, "incoming kernel: %s: %s%s%s",
				      r.items[i].subject, r.items[i].what,
				      r.items[i].fix && *r.items[i].fix ? "; " : "",
				      r.items[i].fix ? r.items[i].fix : "");
	kho_report_done(&r);
	return rc;
}

int kho_proc_prepare(struct kho_env *env, const struct kho_blob *in, struct kho_err *err)
{
	struct kho_proc_in *p = &kho_proc_in;
	struct kho_criu_facts facts;
	int rc;

	kho_proc_in_reset();
	p->plan = kho_proc__plan__unpack(NULL, in->len, in->data);
	if (!p->plan || p->plan->revision != 1)
		return kho_fail(err, -EPROTO, "processes: the plan is not understood");
	if (!p->plan->n_workloads)
		return 0;
	kho_proc_load_modules();
	rc = p->plan->copy ? kho_copy_network(p->plan, err) : 0;
	if (!rc)
		rc = make_room(p->plan, err);
	if (!rc)
		rc = kho_aa_load(p->plan, err);
	if (!rc)
		rc = kho_criu_check(env->run_dir, &facts, err);
	if (!rc && !env->hurry)
		rc = selftest(env, err);
	if (rc)
		return rc;
	p->w = calloc(p->plan->n_workloads, sizeof(*p->w));
	if (!p->w)
		return kho_fail(err, -ENOMEM, "prepare: out of memory");
	rc = kho_outside_bind_names(p->plan, &p->names, err);
	for (size_t i = 0; !rc && i < p->plan->n_workloads; i++) {
		p->w[i] = (struct kho_proc_in_wl){ .plan = p->plan->workloads[i],
						   .criu = KHO_CRIU_INIT,
						   .work_fd = -1,
						   .final_fd = -1,
						   .monitor = KHO_MONITOR_INIT };
		p->n++;
		rc = prepare_one(env, &p->w[i], facts.lazy_pages, err);
	}
	return rc;
}

int kho_proc_unprepare(struct kho_env *env, struct kho_err *err)
{
	struct kho_proc_in *p = &kho_proc_in;
	int first = 0;

	(void)env;
	for (size_t i = 0; i < p->n; i++) {
		int rc;

		kho_criu_kill(&p->w[i].criu);
		kho_lazy_kill(&p->w[i].lazy);
		rc = p->w[i].dir ? kho_tree_remove(p->w[i].dir, first ? NULL : err) : 0;
		if (p->w[i].plan->container && p->w[i].plan->container->net)
			kho_container_net_drop(p->w[i].plan->container->net);
		first = first ? first : rc;
	}
	if (p->names > 0)
		kill(p->names, SIGKILL); /* reaped by who waits for it */
	if (p->plan)
		kho_aa_unload(p->plan);
	kho_proc_in_reset();
	return first;
}

static int link_parent(const struct kho_proc_in_wl *w, const char *sub, unsigned round,
		       struct kho_err *err)
{
	char path[PATH_MAX], target[32];

	snprintf(path, sizeof(path), "%s/%s/parent", w->dir, sub);
	snprintf(target, sizeof(target), "../pre.%u", round);
	if (symlink(target, path) && errno != EEXIST)
		return kho_fail_errno(err, "link %s", path);
	return 0;
}

static int link_chain(const struct kho_proc_in_wl *w, struct kho_err *err)
{
	unsigned n = w->state->rounds;
	int rc = n ? link_parent(w, "final", n - 1, err) : 0;

	while (!rc && n > 1) {
		char sub[32];

		n--;
		snprintf(sub, sizeof(sub), "pre.%u", n);
		rc = link_parent(w, sub, n - 1, err);
	}
	return rc;
}

static int ask_restore(const struct kho_env *env, struct kho_proc_in_wl *w, struct kho_err *err)
{
	CriuRpc__Opts o = CRIU_RPC__OPTS__INIT;
	CriuRpc__Req req = CRIU_RPC__REQ__INIT;
	int rc = link_chain(w, err);

	if (!rc)
		rc = kho_proc_place_options(env, w, &o, err);
	if (rc)
		return rc;
	o.has_work_dir_fd = o.has_file_locks = o.has_log_level = o.has_manage_cgroups_mode = 1;
	o.work_dir_fd = w->work_fd;
	o.file_locks = 1;
	o.has_tcp_established = o.tcp_established = !kho_proc_in.plan->copy;
	o.has_tcp_close = o.tcp_close = kho_proc_in.plan->copy;
	o.log_level = 1;
	o.log_file = (char *)"restore.log";
	o.has_notify_scripts = o.notify_scripts = 1;
	o.manage_cgroups_mode = CRIU_RPC__CGROUP_MODE__CG_IGNORE;
	o.has_network_lock = 1;
	o.network_lock = CRIU_RPC__NETWORK_LOCK__LOCK_SKIP;
	o.has_lazy_pages = o.lazy_pages = w->lazy.pid > 0;
	req.type = CRIU_RPC__TYPE__RESTORE;
	req.opts = &o;
	return kho_criu_send(&w->criu, &req, err);
}

/* A CRIU may work for long; whoever waits for it is told when nobody needs it any more. */
static int next_word(struct kho_proc_in_wl *w, CriuRpc__Resp **out, struct kho_err *err)
{
	uint64_t until = kho_clock_us() + RESTORE_US;
	int rc = -ETIMEDOUT;

	while (rc == -ETIMEDOUT && !kho_proc_in.cancelled && kho_clock_us() < until)
		rc = kho_criu_recv(&w->criu, CANCEL_US, out, err);
	return rc && kho_proc_in.cancelled ? kho_fail(err, -ECANCELED, "restore: not needed any more") : rc;
}

/* Hear until CRIU has come to that notice (*pid: what it says with it, or NULL), or to its end (NULL). */
static int hear(struct kho_proc_in_wl *w, const char *notice, pid_t *pid, struct kho_err *err)
{
	char log[PATH_MAX];
	bool there = false;
	int rc = 0;

	snprintf(log, sizeof(log), "%s/work/restore.log", w->dir);
	while (!rc && !there) {
		CriuRpc__Resp *resp = NULL;

		rc = next_word(w, &resp, err);
		if (rc)
			break;
		if (resp->type == CRIU_RPC__TYPE__NOTIFY) {
			there = notice && resp->notify && resp->notify->script && !strcmp(resp->notify->script, notice);
			if (there && pid)
				*pid = resp->notify->pid;
			if (!there)
				rc = kho_criu_answer(&w->criu, true, err);
		} else {
			there = !notice && resp->type == CRIU_RPC__TYPE__RESTORE && resp->success;
			rc = there ? 0 : kho_criu_refused(err, resp, "restore", log);
		}
		criu_rpc__resp__free_unpacked(resp, NULL);
	}
	return rc;
}

/* A limit that this kernel does not take is told, and no reason to go back. */
static void limit(struct kho_env *env, const struct kho_proc_in_wl *w)
{
	struct kho_err err = KHO_ERR_INIT;

	if (kho_cgroup_limit(w->plan, &err))
		env->ops->note(env, "workload %s: %s", w->plan->name, err.msg);
}

/*
 * Containers come behind, as the numbers of their further processes are what is free, and must not be others'. Of a pod's the first one
 * makes the namespaces that the further ones enter.
 */
enum turn { PLAIN, CONTAINER, FURTHER, ANY };

static bool is_turn(const struct kho_proc_in_wl *w, enum turn turn)
{
	const KhoProc__Container *c = w->plan->container;

	return w->state && (turn == ANY || turn == (!c ? PLAIN : c->pod ? FURTHER : CONTAINER));
}

typedef int turn_fn(struct kho_env *env, struct kho_proc_in_wl *w, struct kho_err *err);

static int for_turn(struct kho_env *env, enum turn turn, turn_fn *fn, struct kho_err *err)
{
	int rc = 0;

	for (size_t i = 0; !rc && i < kho_proc_in.n; i++) {
		struct kho_proc_in_wl *w = &kho_proc_in.w[i];

		rc = is_turn(w, turn) ? fn(env, w, err) : 0;
		if (rc)
			kho_wrap(err, "workload %s", w->plan->name);
	}
	return rc;
}

/* All of it is made, and does not run yet. */
static int reach_gate(struct kho_env *env, struct kho_proc_in_wl *w, struct kho_err *err)
{
	(void)env;
	return hear(w, GATE, NULL, err);
}

/* CRIU has done its work with the control groups, and none of them runs yet. */
static int release(struct kho_env *env, struct kho_proc_in_wl *w, struct kho_err *err)
{
	int rc = kho_filter_attach(w->plan, w->filters, err);

	if (w->plan->container)
		kho_container_settled(w->plan->container, kho_new_root(env));
	limit(env, w);
	return rc ? rc : kho_criu_answer(&w->criu, true, err);
}

static int resumed(struct kho_env *env, struct kho_proc_in_wl *w, struct kho_err *err)
{
	int rc = hear(w, NULL, NULL, err);

	if (rc)
		return rc;
	kho_proc_resumed(env, w->plan->name, kho_proc_in.begin_us, kho_clock_us());
	return kho_proc_place_cgroups(w, err);
}

/* CRIU is about to fork the first process. */
static int reach_fork(struct kho_env *env, struct kho_proc_in_wl *w, struct kho_err *err)
{
	(void)env;
	return hear(w, "pre-restore", NULL, err);
}

/*
 * The first process of a container has the number 1 in its namespace; outside it gets the next one.
 * podman and crun know it by that, so that it must be the one it had: nobody else may start a process
 * meanwhile, so all others wait for an answer of ours.
 */
static int fork_root(struct kho_env *env, struct kho_proc_in_wl *w, struct kho_err *err)
{
	pid_t want = w->plan->container->root, pid = 0;
	int rc = write_number("ns_last_pid", (uint64_t)want - 1, err);

	(void)env;
	if (!rc)
		rc = kho_criu_answer(&w->criu, true, err);
	if (!rc)
		rc = hear(w, "setup-namespaces", &pid, err);
	if (!rc && pid != want) {
		(void)!kho_criu_answer(&w->criu, false, NULL);
		rc = kho_fail(err, -EAGAIN, "its first process would have number %d instead of %d; try again",
			      pid, want);
	}
	return rc;
}

static int go_on(struct kho_env *env, struct kho_proc_in_wl *w, struct kho_err *err)
{
	(void)env;
	return kho_criu_answer(&w->criu, true, err);
}

static struct kho_proc_in_wl *prepared(const char *name)
{
	for (size_t i = 0; i < kho_proc_in.n; i++)
		if (!strcmp(kho_proc_in.w[i].plan->name, name))
			return &kho_proc_in.w[i];
	return NULL;
}

/* Which of those that were prepared were frozen: as a rule all. */
static int find_states(struct kho_err *err)
{
	const KhoProc__State *s = kho_proc_in.state;

	for (size_t i = 0; i < s->n_workloads; i++) {
		struct kho_proc_in_wl *w = prepared(s->workloads[i]->name);

		if (!w)
			return kho_fail(err, -EPROTO, "workload %s was not prepared", s->workloads[i]->name);
		w->state = s->workloads[i];
	}
	return 0;
}

static int ask(struct kho_env *env, struct kho_proc_in_wl *w, struct kho_err *err)
{
	const KhoProc__Container *c = w->plan->container;
	int rc = c && c->net ? kho_container_net_connect(c->net, err) : 0;

	return rc ? rc : ask_restore(env, w, err);
}

/* All CRIUs that can get ready at once do so; first processes are forked one by one; then all go on. */
static int make_all(struct kho_env *env, struct kho_err *err)
{
	static const struct {
		enum turn turn;
		turn_fn *fn;
	} acts[] = {
		{ PLAIN, ask },		  { CONTAINER, ask },	   { PLAIN, reach_gate },     { CONTAINER, reach_fork },
		{ CONTAINER, fork_root }, { FURTHER, ask },	   { FURTHER, reach_fork },   { FURTHER, fork_root },
		{ CONTAINER, go_on },	  { FURTHER, go_on },	   { CONTAINER, reach_gate }, { FURTHER, reach_gate },
	};
	int rc = 0;

	for (size_t i = 0; !rc && i < KHO_ARRAY_SIZE(acts); i++)
		rc = for_turn(env, acts[i].turn, acts[i].fn, err);
	return rc;
}

int kho_proc_retrieve(struct kho_env *env, const struct kho_blob *in, struct kho_err *err)
{
	struct kho_proc_in *p = &kho_proc_in;
	int rc;

	p->begin_us = kho_clock_us();
	p->state = kho_proc__state__unpack(NULL, in->len, in->data);
	if (!p->state || p->state->revision != 1)
		return kho_fail(err, -EPROTO, "processes: the state is not understood");
	rc = find_states(err);
	if (!rc)
		rc = make_all(env, err);
	/*
	 * Sockets of two workloads may be connected with each other: the first that speaks must find the other
	 * one there, or the kernel answers it with a reset. So no one's leave repair mode before all are made.
	 */
	if (!rc)
		rc = for_turn(env, ANY, release, err);
	if (!rc)
		rc = for_turn(env, ANY, resumed, err);
	if (!rc && p->n)
		env->ops->phase(env, "criu restore", p->begin_us, kho_clock_us());
	return rc;
}

int kho_proc_finish(struct kho_env *env, struct kho_err *err)
{
	struct kho_proc_in *p = &kho_proc_in;
	int first = 0;

	(void)env;
	for (size_t i = 0; i < p->n; i++) {
		int rc = 0;

		kho_criu_finish(&p->w[i].criu, 1000000);
		if (p->w[i].lazy.pid > 0)
			kho_lazy_fill(&p->w[i].lazy); /* removes the images when it is through */
		else
			rc = kho_tree_remove(p->w[i].dir, first ? NULL : err);
		first = first ? first : rc;
	}
	return first;
}
