// SPDX-License-Identifier: GPL-2.0-only
/*
 * Outgoing side: in which namespaces CRIU has to be, so that it sees none that it would have to
 * carry itself, and the one kind that it is to carry (System V IPC).
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "state-serializers/common.h"
#include "state-serializers/proc/cgroup_filter.h"
#include "state-serializers/proc/container.h"
#include "state-serializers/proc/out.h"
#include "state-serializers/proc/sysv.h"

/* What CRIU is not to dump: somebody else gives it to the restored processes. */
static int name_external(struct kho_proc_out_wl *w, struct kho_err *err)
{
	const KhoProc__PlanWorkload *n = &w->around;

	size_t mounts = n->container ? n->container->n_external + (n->container->net != NULL) : 0;

	w->external = calloc(n->n_inherit + n->n_streams + mounts + 1, sizeof(*w->external));
	w->mount = calloc(mounts + 1, sizeof(*w->mount));
	if (!w->external || !w->mount)
		return kho_fail(err, -ENOMEM, "pre-copy: out of memory");
	for (; w->nmount < mounts; w->nmount++) {
		w->mount[w->nmount] = kho_container_external(n->container, w->nmount);
		if (!w->mount[w->nmount])
			return kho_fail(err, -ENOMEM, "pre-copy: out of memory");
		w->external[w->nexternal++] = w->mount[w->nmount];
	}
	for (size_t i = 0; i < n->n_inherit; i++)
		w->external[w->nexternal++] = n->inherit[i]->key;
	for (size_t i = 0; i < n->n_streams; i++) {
		snprintf(w->stream_id[i], sizeof(w->stream_id[i]), "unix[%llu]",
			 (unsigned long long)n->streams[i]->inode);
		w->external[w->nexternal++] = w->stream_id[i];
	}
	return 0;
}

int kho_proc_place_out(struct kho_env *env, const struct kho_workload *src,
		       struct kho_proc_out_wl *w, struct kho_err *err)
{
	KhoProc__PlanWorkload *n = &w->around;
	int rc = 0;

	kho_proc__place__init(&w->place);
	kho_proc__plan_workload__init(n);
	if (src->container) {
		rc = kho_container_read(env->run_dir, src, &n->container, err);
		if (rc)
			return rc;
		kho_place_join(&w->place, n->container);
		rc = kho_cgroup_read("", src, n, err);
		for (size_t i = 0; !rc && i < n->n_cgroups; i++)
			rc = kho_filter_is_inits(n->cgroups[i]->path) ? 0 : kho_filter_read(n->cgroups[i], err);
		return rc ? rc : name_external(w, err);
	}
	n->uts_ns = kho_ns_differs(src->root, "uts");
	n->user_ns = kho_ns_differs(src->root, "user");
	if (kho_ns_differs(src->root, "mnt"))
		rc = kho_ns_read(src->root, env->run_dir, &n->mount_ns, err);
	for (size_t i = 0; !rc && n->mount_ns && i < src->npids; i++)
		rc = kho_ns_outside(src->pids[i], &n->inherit, &n->n_inherit, err);
	if (n->mount_ns || n->uts_ns)
		w->place.ns_of = src->root;
	w->place.new_ipc = kho_sysv_is_used(src);
	if (!rc)
		rc = kho_outside_collect("", env->run_dir, src, n, err);
	if (!rc)
		rc = kho_cgroup_read("", src, n, err);
	return rc ? rc : name_external(w, err);
}

void kho_proc_place_out_done(struct kho_proc_out_wl *w)
{
	if (w->around.mount_ns)
		kho_proc__namespace__free_unpacked(w->around.mount_ns, NULL);
	for (size_t i = 0; i < w->around.n_inherit; i++)
		kho_proc__inherit__free_unpacked(w->around.inherit[i], NULL);
	free(w->around.inherit);
	kho_outside_plan_done(&w->around);
	kho_cgroup_plan_done(&w->around);
	if (w->around.container)
		kho_proc__container__free_unpacked(w->around.container, NULL);
	while (w->nmount)
		free(w->mount[--w->nmount]);
	free(w->mount);
	w->mount = NULL;
	free(w->external);
	w->external = NULL;
	w->nexternal = 0;
	kho_proc__plan_workload__init(&w->around);
}

int kho_proc_open_images(const struct kho_proc_out_wl *w, const char *images, int *out,
			 struct kho_err *err)
{
	if (!kho_place_is_elsewhere(&w->place))
		return 0;
	*out = open(images, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return *out < 0 ? kho_fail_errno(err, "open %s", images) : 0;
}

/* A tracer that is killed may take its tracees along (docs/limits.md). */
static void spare_from_oom(pid_t pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", pid);
	(void)!kho_write_existing(path, "-1000", NULL);
}

int kho_proc_spawn(struct kho_env *env, struct kho_proc_out_wl *w, struct kho_err *err)
{
	int rc = kho_place_is_elsewhere(&w->place) ? kho_place_spawn(&w->criu, env->run_dir, &w->place, NULL, 0, err)
						   : kho_criu_spawn(&w->criu, env->run_dir, err);

	if (!rc)
		spare_from_oom(w->criu.pid);
	return rc;
}
