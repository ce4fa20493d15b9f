// SPDX-License-Identifier: GPL-2.0-only
/*
 * Incoming side: the place where a workload's CRIU restores it. What can be done before the root is
 * there is done when the worker starts; the rest when it gets its request.
 */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/spawn.h"
#include "state-serializers/common.h"
#include "state-serializers/proc/cgroup_filter.h"
#include "state-serializers/proc/container_net.h"
#include "state-serializers/proc/img.h"
#include "state-serializers/proc/in.h"
#include "state-serializers/proc/place.h"

#define FRESH "own"

static const char *cgroup_of(const struct kho_env *env, const char *name)
{
	for (size_t i = 0; env->workloads && i < env->workloads->n; i++)
		if (!strcmp(env->workloads->w[i].name, name) && env->workloads->w[i].cg)
			return env->workloads->w[i].cg;
	return "";
}

static bool is_shim_plain(const KhoProc__Container *c)
{
	return kho_path_is_plain(c->shim->address) && kho_path_is_plain(c->shim->status) && strlen(c->bundle) < PATH_MAX / 2 &&
	       *c->id && !strchr(c->id, '/') && strlen(c->shim->runtime) < PATH_MAX / 2;
}

/* Absolute, and nowhere else than it says. */
static int check_paths(const KhoProc__PlanWorkload *p, struct kho_err *err)
{
	const KhoProc__Container *c = p->container;

	if (c && (!kho_path_is_plain(c->rootfs) || !kho_path_is_plain(c->bundle) || !kho_path_is_plain(c->exe) ||
		  c->n_pipe > KHO_CONTAINER_PIPES || (c->shim && !is_shim_plain(c)) || c->monitor <= 1 || c->root <= 1 || !c->n_argv))
		return kho_fail(err, -EINVAL, "%s: a container that cannot be", p->name);
	for (size_t i = 0; i < p->n_inherit; i++) {
		const char *s = p->inherit[i]->path;

		if (!kho_path_is_plain(s) || strlen(s) >= PATH_MAX / 2)
			return kho_fail(err, -EINVAL, "%s: a file that cannot be opened for it",
					p->name);
	}
	return 0;
}

/* The monitor of its pod, or one that is none. */
static const struct kho_monitor *first_of(const KhoProc__Container *c)
{
	static const struct kho_monitor none = KHO_MONITOR_INIT;

	for (size_t i = 0; i < kho_proc_in.n; i++) {
		const KhoProc__Container *o = kho_proc_in.w[i].plan->container;

		if (o && o->shim && !o->pod && o->root == c->pod && o->monitor == c->monitor)
			return &kho_proc_in.w[i].monitor;
	}
	return &none;
}

/* Its network, and the one who will be its parent. */
static int container_in(struct kho_env *env, struct kho_proc_in_wl *w, KhoProc__Place *place, struct kho_err *err)
{
	const KhoProc__ContainerNet *net = place->container->net;
	KhoProc__Inherit ns = KHO_PROC__INHERIT__INIT, *inherit = &ns;
	int rc = net ? kho_container_net_make(net, err) : 0;

	if (!rc)
		rc = kho_cgroup_prepare(w->plan, err);
	if (!rc)
		rc = kho_filter_load(w->plan, &w->filters, err);
	if (rc)
		return rc;
	if (net) {
		ns.path = net->path;
		place->inherit = &inherit;
		place->n_inherit = 1;
	}
	if (!place->container->pod)
		return kho_monitor_start(&w->monitor, &w->criu, env->run_dir, place, err);
	kho_place_join(place, place->container);
	return kho_monitor_add(&w->monitor, first_of(place->container), &w->criu, env->run_dir, place, err);
}

int kho_proc_place_in(struct kho_env *env, struct kho_proc_in_wl *w, struct kho_err *err)
{
	KhoProc__Place place = KHO_PROC__PLACE__INIT;
	char stage[PATH_MAX], fresh[PATH_MAX];
	int rc = check_paths(w->plan, err);

	snprintf(stage, sizeof(stage), "%s/stage", env->run_dir);
	if (!rc && (w->plan->mount_ns || w->plan->container))
		rc = kho_mkdir(stage, err);
	if (rc)
		return rc;
	place.cgroup = (char *)cgroup_of(env, w->plan->name);
	place.new_root = (char *)kho_new_root(env);
	place.new_uts = w->plan->uts_ns;
	place.mount_ns = w->plan->mount_ns;
	place.stage = stage;
	snprintf(fresh, sizeof(fresh), "%s/" FRESH, w->dir);
	place.fresh = fresh;
	place.inherit = w->plan->inherit;
	place.n_inherit = w->plan->n_inherit;
	place.container = w->plan->container;
	place.wait = *place.new_root || place.mount_ns || place.container;
	if (place.container)
		return container_in(env, w, &place, err);
	rc = kho_cgroup_prepare(w->plan, err);
	if (!rc)
		rc = kho_outside_start(&w->streams, env->run_dir, w->plan,
			       *place.cgroup ? place.cgroup : NULL, err);
	if (!rc && (kho_place_is_elsewhere(&place) || w->streams.n))
		rc = kho_place_spawn(&w->criu, env->run_dir, &place, w->streams.fds, w->streams.n,
				     err);
	else if (!rc)
		rc = kho_criu_spawn(&w->criu, env->run_dir, err);
	kho_outside_close(&w->streams);
	return rc;
}

/* What is in file systems of its own, for the worker, which will make them. */
static int write_fresh(const struct kho_proc_in_wl *w, struct kho_err *err)
{
	KhoProc__Namespace ns = KHO_PROC__NAMESPACE__INIT;
	struct kho_blob b = { 0 };
	char path[PATH_MAX];
	int rc;

	if (!w->state->n_own)
		return 0;
	snprintf(path, sizeof(path), "%s/" FRESH, w->dir);
	ns.mounts = w->state->own;
	ns.n_mounts = w->state->n_own;
	rc = kho_pb_pack(&ns.base, &b, err);
	if (!rc)
		rc = kho_write_file(path, b.data, b.len, err);
	kho_blob_done(&b);
	return rc;
}

static void give(struct kho_proc_in_wl *w, size_t i, char *key)
{
	w->inherit[i] = (CriuRpc__InheritFd)CRIU_RPC__INHERIT_FD__INIT;
	w->inherit[i].key = key;
	w->inherit[i].fd = KHO_SPAWN_FD + 1 + (int)i;
	w->pinherit[i] = &w->inherit[i];
}

/* Of a container: its pipes, its root, and what is mounted in it, at the stage. */
static int container_options(struct kho_proc_in_wl *w, const char *stage, CriuRpc__Opts *o, struct kho_err *err)
{
	const KhoProc__Container *c = w->plan->container;

	w->external = calloc(c->n_external + 1, sizeof(*w->external));
	if (!w->external)
		return kho_fail(err, -ENOMEM, "restore: out of memory");
	for (; w->nexternal < c->n_external; w->nexternal++)
		if (asprintf(&w->external[w->nexternal], "mnt[khoctl-%zu]:%s/%zu", w->nexternal, stage,
			     w->nexternal) < 0)
			return kho_fail(err, -ENOMEM, "restore: out of memory");
	for (size_t i = 0; i < c->n_pipe; i++) {
		snprintf(w->pipe[i], sizeof(w->pipe[i]), "pipe:[%llu]", (unsigned long long)c->pipe[i]->inode);
		give(w, i, w->pipe[i]);
	}
	if (c->net)
		give(w, c->n_pipe, (char *)KHO_CONTAINER_NET);
	o->inherit_fd = w->pinherit;
	o->n_inherit_fd = c->n_pipe + (c->net != NULL);
	o->external = w->external;
	o->n_external = w->nexternal;
	o->root = c->rootfs;
	return 0;
}

int kho_proc_place_options(const struct kho_env *env, struct kho_proc_in_wl *w, CriuRpc__Opts *o,
			   struct kho_err *err)
{
	size_t n = w->streams.n + w->plan->n_inherit + (w->plan->container ? w->plan->container->n_pipe + 1 : 0);
	char final[PATH_MAX], stage[PATH_MAX];

	snprintf(final, sizeof(final), "%s/final", w->dir);
	if (w->plan->user_ns && kho_img_same_user_ns(final, w->state->root, err))
		return err ? err->code : -EIO;
	if (w->plan->container && kho_img_drop_masters(final, err))
		return err ? err->code : -EIO;
	if (write_fresh(w, err))
		return err ? err->code : -EIO;
	w->final_fd = open(final, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (w->final_fd < 0)
		return kho_fail_errno(err, "open %s", final);
	o->images_dir_fd = w->final_fd; /* where CRIU is, it may have no path */
	w->inherit = calloc(n + 1, sizeof(*w->inherit));
	w->pinherit = calloc(n + 1, sizeof(*w->pinherit));
	if (!w->inherit || !w->pinherit)
		return kho_fail(err, -ENOMEM, "restore: out of memory");
	snprintf(stage, sizeof(stage), "%s/stage", env->run_dir);
	if (w->plan->container)
		return container_options(w, stage, o, err);
	/* in the order in which the worker has them */
	for (size_t i = 0; i < w->streams.n; i++)
		give(w, i, w->streams.keys[i]);
	for (size_t i = 0; i < w->plan->n_inherit; i++)
		give(w, w->streams.n + i, w->plan->inherit[i]->key);
	o->has_ext_unix_sk = o->ext_unix_sk = 1;
	o->inherit_fd = w->pinherit;
	o->n_inherit_fd = n;
	return 0;
}

int kho_proc_place_cgroups(const struct kho_proc_in_wl *w, struct kho_err *err)
{
	int rc = 0;

	for (size_t i = 0; !rc && i < w->state->n_tasks; i++) {
		const KhoProc__Task *t = w->state->tasks[i];
		_cleanup_free_ char *is = NULL;

		if (t->zombie || !*t->cgroup || !(is = kho_cgroup_of("", t->pid)) ||
		    !strcmp(is, t->cgroup))
			continue;
		rc = kho_cgroup_enter(t->cgroup, t->pid, err);
	}
	return rc;
}

void kho_proc_place_in_done(struct kho_proc_in_wl *w)
{
	if (w->final_fd >= 0)
		close(w->final_fd);
	w->final_fd = -1;
	free(w->inherit);
	free(w->pinherit);
	while (w->nexternal)
		free(w->external[--w->nexternal]);
	free(w->external);
	w->external = NULL;
	kho_monitor_stop(&w->monitor);
	kho_filter_done(w->plan, &w->filters);
	w->inherit = NULL;
	w->pinherit = NULL;
}
