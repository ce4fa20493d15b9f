// SPDX-License-Identifier: GPL-2.0-only
/*
 * The outgoing side before the freeze: pre-copy in rounds while everything runs, and the workers that wait one step before seizing.
 * After the last round another one may be asked for: the waiting dumps are called off then, and new ones take their place.
 */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"
#include "lib/patience.h"
#include "state-serializers/proc/out.h"
#include "state-serializers/proc/thaw.h"
#include "state-serializers/proc/tree.h"

#define PRECOPY_US 120000000ull

static void options(CriuRpc__Opts *o, const struct kho_proc_out_wl *w, const char *images, int fd,
		    const char *parent)
{
	*o = (CriuRpc__Opts)CRIU_RPC__OPTS__INIT;
	o->images_dir_fd = fd;
	o->images_dir = fd < 0 ? (char *)images : NULL;
	o->has_work_dir_fd = o->has_pid = o->has_file_locks = o->has_log_level = 1;
	o->work_dir_fd = w->work_fd;
	o->pid = w->root;
	o->file_locks = 1;
	o->has_tcp_established = o->tcp_established = !kho_proc_out.copy;
	/* whoever goes on here keeps them, and they are not even looked at: no lock, no repair mode */
	o->has_tcp_close = o->tcp_close = o->has_tcp_skip_in_flight = o->tcp_skip_in_flight = kho_proc_out.copy;
	o->log_level = 1;
	o->parent_img = (char *)parent;
	o->has_manage_cgroups_mode = o->has_ghost_limit = o->has_network_lock = o->has_timeout = 1;
	o->manage_cgroups_mode = CRIU_RPC__CGROUP_MODE__CG_IGNORE;
	o->ghost_limit = 64u << 20;
	o->network_lock = CRIU_RPC__NETWORK_LOCK__LOCK_SKIP; /* the frozen NIC is the lock; a copy needs none */
	o->timeout = KHO_PROC_SEIZE_S;
	o->external = w->external;
	o->n_external = w->nexternal;
	o->has_ext_unix_sk = o->ext_unix_sk = 1;
}

/* dir/final or dir/pre.N */
static int sub_dir(const struct kho_proc_out_wl *w, int round, char out[PATH_MAX],
		   struct kho_err *err)
{
	if (round < 0)
		snprintf(out, PATH_MAX, "%s/final", w->dir);
	else
		snprintf(out, PATH_MAX, "%s/pre.%d", w->dir, round);
	return kho_mkdir(out, err);
}

static int setup_one(struct kho_env *env, const struct kho_workload *src, struct kho_proc_out_wl *w,
		     struct kho_err *err)
{
	char work[PATH_MAX];
	int rc;

	w->work_fd = -1;
	w->criu = (struct kho_criu)KHO_CRIU_INIT;
	w->root = src->root;
	w->name = strdup(src->name);
	if (!w->name || asprintf(&w->dir, "%s/%s", env->images_dir, src->name) < 0)
		return kho_fail(err, -ENOMEM, "pre-copy: out of memory");
	snprintf(work, sizeof(work), "%s/work", w->dir);
	rc = kho_tree_remove(w->dir, err);
	if (!rc)
		rc = kho_mkdir(work, err);
	if (rc)
		return rc;
	w->work_fd = open(work, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (w->work_fd < 0)
		return kho_fail_errno(err, "open %s", work);
	rc = kho_proc_place_out(env, src, w, err);
	return rc ? rc : kho_proc_spawn(env, w, err);
}

static int setup(struct kho_env *env, struct kho_err *err)
{
	struct kho_proc_out *o = &kho_proc_out;
	struct kho_criu_facts facts;
	int rc;

	kho_proc_out_reset();
	rc = kho_criu_check(env->run_dir, &facts, err);
	if (rc)
		return rc;
	o->mem_track = facts.mem_track;
	o->copy = env->copy;
	o->w = calloc(env->workloads->n + 1, sizeof(*o->w));
	if (!o->w)
		return kho_fail(err, -ENOMEM, "pre-copy: out of memory");
	for (size_t i = 0; !rc && i < env->workloads->n; i++) {
		rc = setup_one(env, &env->workloads->w[i], &o->w[o->n++], err);
		if (rc)
			kho_wrap(err, "workload %s", env->workloads->w[i].name);
	}
	return rc;
}

/* The peer has the pages: what CRIU still looks at is the page maps. */
static int give_pages_back(const char *dir, const char *name, void *arg, struct kho_err *err)
{
	_cleanup_free_ char *path = NULL;
	struct stat st;

	(void)arg;
	(void)err;
	if (strncmp(name, "pages-", 6) || asprintf(&path, "%s/%s", dir, name) < 0)
		return 0;
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && !fstat(fd, &st) && st.st_size)
		fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, st.st_size);
	return 0;
}

static int ask(struct kho_proc_out_wl *w, const CriuRpc__Req *req, const char *what,
	       struct kho_err *err)
{
	CriuRpc__Resp *resp = NULL;
	int rc = kho_criu_send(&w->criu, req, err);

	if (!rc)
		rc = kho_criu_recv(&w->criu, PRECOPY_US, &resp, err);
	if (!rc && !resp->success)
		rc = kho_proc_refused(w, resp, what, err);
	if (resp)
		criu_rpc__resp__free_unpacked(resp, NULL);
	return rc;
}

static int pre_dump(struct kho_env *env, struct kho_proc_out_wl *w, uint64_t *out_bytes,
		    struct kho_err *err)
{
	CriuRpc__Req req = CRIU_RPC__REQ__INIT;
	char dir[PATH_MAX], parent[32], prefix[PATH_MAX];
	CriuRpc__Opts opts;
	uint64_t begin = kho_clock_us();
	_cleanup_close_ int images = -1;
	int rc = sub_dir(w, (int)w->rounds, dir, err);

	if (!rc)
		rc = kho_proc_open_images(w, dir, &images, err);
	if (rc)
		return rc;
	snprintf(parent, sizeof(parent), "../pre.%u", w->rounds - 1);
	snprintf(prefix, sizeof(prefix), "%s/pre.%u", w->name, w->rounds);
	options(&opts, w, dir, images, w->rounds ? parent : NULL);
	opts.has_track_mem = opts.track_mem = 1;
	opts.log_file = (char *)"pre-dump.log";
	req.type = CRIU_RPC__TYPE__PRE_DUMP;
	req.opts = &opts;
	rc = ask(w, &req, "pre-dump", err);
	if (rc)
		return rc;
	env->ops->phase(env, "pre-dump", begin, kho_clock_us());
	begin = kho_clock_us();
	*out_bytes += kho_dir_pages_bytes(dir);
	rc = kho_proc_send_dir(env, dir, prefix, err);
	if (rc)
		return rc;
	env->ops->phase(env, "pre-copy send", begin, kho_clock_us());
	w->rounds++;
	return env->in_place ? 0 : kho_dir_each(dir, give_pages_back, NULL, err);
}

/* Wait for the notice `script`; anything else that asks is told to go on. */
static int until_notice(struct kho_proc_out_wl *w, const char *script, struct kho_err *err)
{
	for (;;) {
		CriuRpc__Resp *resp = NULL;
		bool there = false;
		int rc = kho_criu_recv(&w->criu, KHO_PATIENCE_US, &resp, err);

		if (rc)
			return rc;
		if (resp->type != CRIU_RPC__TYPE__NOTIFY)
			rc = kho_proc_refused(w, resp, "dump", err);
		else if (resp->notify && resp->notify->script &&
			 !strcmp(resp->notify->script, script))
			there = true;
		else
			rc = kho_criu_answer(&w->criu, true, err);
		criu_rpc__resp__free_unpacked(resp, NULL);
		if (rc || there)
			return rc;
	}
}

int kho_proc_arm(struct kho_proc_out_wl *w, struct kho_err *err)
{
	CriuRpc__Req req = CRIU_RPC__REQ__INIT;
	char dir[PATH_MAX], parent[32];
	CriuRpc__Opts opts;
	_cleanup_close_ int images = -1;
	int rc = sub_dir(w, -1, dir, err);

	if (!rc)
		rc = kho_proc_open_images(w, dir, &images, err);
	if (rc)
		return rc;
	snprintf(parent, sizeof(parent), "../pre.%u", w->rounds - 1);
	options(&opts, w, dir, images, w->rounds ? parent : NULL);
	opts.has_track_mem = opts.track_mem = w->rounds > 0;
	opts.has_leave_stopped = opts.leave_stopped = 1;
	opts.has_notify_scripts = opts.notify_scripts = 1;
	opts.log_file = (char *)"dump.log";
	req.type = CRIU_RPC__TYPE__DUMP;
	req.opts = &opts;
	rc = kho_criu_send(&w->criu, &req, err);
	if (!rc)
		rc = until_notice(w, "pre-dump", err);
	if (rc)
		return kho_wrap(err, "prepare the dump of %s", w->name);
	w->armed = true;
	free(w->tree);
	w->ntree = kho_proc_tree_live(w->root, &w->tree);
	return kho_proc_mark_frozen(w, err);
}

static int arm_all(struct kho_env *env, struct kho_err *err)
{
	struct kho_proc_out *o = &kho_proc_out;
	int rc = 0;

	kho_proc_stream_stop(&o->stream);
	for (size_t i = 0; !rc && i < o->n; i++) {
		char dir[PATH_MAX], prefix[PATH_MAX];

		rc = kho_proc_arm(&o->w[i], err);
		if (rc)
			break;
		snprintf(dir, sizeof(dir), "%s/final", o->w[i].dir);
		snprintf(prefix, sizeof(prefix), "%s/final", o->w[i].name);
		rc = kho_proc_stream_watch(&o->stream, dir, prefix, o->w[i].around.container, err);
	}
	if (!rc && o->n)
		rc = kho_proc_stream_start(&o->stream, env, err);
	return rc;
}

int kho_proc_call_off(struct kho_env *env, struct kho_proc_out_wl *w, struct kho_err *err)
{
	w->armed = false;
	kho_criu_finish(&w->criu, KHO_PATIENCE_US);
	return kho_proc_spawn(env, w, err);
}

/* Another round after all. */
static int disarm_all(struct kho_env *env, struct kho_err *err)
{
	struct kho_proc_out *o = &kho_proc_out;
	int rc = 0;

	kho_proc_wait_accepted(env);
	for (size_t i = 0; !rc && i < o->n; i++)
		if (o->w[i].armed)
			rc = kho_proc_call_off(env, &o->w[i], err);
	return rc;
}

int kho_proc_preserve(struct kho_env *env, unsigned round, struct kho_blob *out, bool *out_more,
		      struct kho_err *err)
{
	struct kho_proc_out *o = &kho_proc_out;
	uint64_t bytes = 0, begin;
	int rc = round ? disarm_all(env, err) : setup(env, err);

	if (!rc && !round)
		rc = kho_proc_plan_pack(env, out, err);
	begin = kho_clock_us();
	for (size_t i = 0; !rc && o->mem_track && i < o->n; i++) {
		o->w[i].cleared_us = kho_clock_us();
		rc = pre_dump(env, &o->w[i], &bytes, err);
		if (rc)
			kho_wrap(err, "workload %s", o->w[i].name);
	}
	if (rc)
		return rc;
	if (o->n && o->mem_track)
		env->ops->note(env, "round %u: %.1f MiB", round, (double)bytes / (1 << 20));
	*out_more = o->n && o->mem_track && !env->last_round && bytes > KHO_PROC_CONVERGED &&
		    round + 1 < KHO_PROC_ROUNDS_MAX && (!round || bytes <= o->last_bytes / 4 * 3);
	kho_proc_copied(o, bytes, kho_clock_us() - begin);
	return *out_more ? 0 : arm_all(env, err);
}
