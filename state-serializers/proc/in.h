/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The incoming half of the process serializer.
 */
#ifndef KHO_PROC_IN_H
#define KHO_PROC_IN_H

#include "state-serializers/proc/criu.h"
#include "state-serializers/proc/lazy.h"
#include "state-serializers/proc/monitor.h"
#include "state-serializers/proc/outside.h"
#include "state-serializers/proc.pb-c.h"
#include "state-serializers/serializer.h"

#define KHO_PROC_LAZY_MIN (16ull << 20) /* resident bytes: below this a plain restore is faster */

struct kho_proc_in_wl {
	char *dir;
	const KhoProc__PlanWorkload *plan;
	const KhoProc__StateWorkload *state; /* NULL before retrieve */
	struct kho_criu criu;
	struct kho_lazy lazy;
	int work_fd;
	int final_fd; /* the images, for a CRIU that is elsewhere; -1 before retrieve */
	struct kho_outside_in streams;
	CriuRpc__InheritFd *inherit, **pinherit;
	char **external; /* mounts of a container */
	size_t nexternal;
	char pipe[KHO_CONTAINER_PIPES][32]; /* CRIU's names of its standard streams */
	struct kho_monitor monitor;
	int *filters; /* of devices, of the plan's control groups (cgroup_filter.h) */
};

struct kho_proc_in {
	KhoProc__Plan *plan;
	KhoProc__State *state;
	struct kho_proc_in_wl *w;
	size_t n;
	uint64_t begin_us; /* of the restore */
	_Atomic bool cancelled;
	pid_t names; /* relay of datagram sockets, 0: none */
};

extern struct kho_proc_in kho_proc_in;

int kho_proc_prepare(struct kho_env *env, const struct kho_blob *in, struct kho_err *err);
int kho_proc_unprepare(struct kho_env *env, struct kho_err *err);
int kho_proc_retrieve(struct kho_env *env, const struct kho_blob *in, struct kho_err *err);
int kho_proc_verify(struct kho_env *env, struct kho_report *r, struct kho_err *err);
size_t kho_proc_restored(struct kho_env *env, pid_t **out);

/* Not of an upgrade: of env's workloads, as they are now. */
int kho_proc_health_now(struct kho_env *env, struct kho_report *r, struct kho_err *err);
void kho_proc_cancel(struct kho_env *env);
int kho_proc_discard(struct kho_env *env, struct kho_err *err);
int kho_proc_finish(struct kho_env *env, struct kho_err *err);
int kho_proc_tidy(struct kho_env *env, struct kho_err *err);

/* End what still works, and give the memory back. */
void kho_proc_in_reset(void);

/* Start the worker for a workload, at its place. */
int kho_proc_place_in(struct kho_env *env, struct kho_proc_in_wl *w, struct kho_err *err)
	__must_check;

/* What CRIU cannot know and is to be told with a restore. */
int kho_proc_place_options(const struct kho_env *env, struct kho_proc_in_wl *w, CriuRpc__Opts *o,
			   struct kho_err *err) __must_check;

/* Each restored process into the cgroup that it had. */
int kho_proc_place_cgroups(const struct kho_proc_in_wl *w, struct kho_err *err) __must_check;
void kho_proc_place_in_done(struct kho_proc_in_wl *w);

/* Kernel modules that CRIU would load with modprobe in the middle of its work; missing ones are
 * fine (built in). */
void kho_proc_load_modules(void);

/* Name, root and health check of w, lent to p (which is initialized). */
void kho_proc_plan_health(const struct kho_workload *w, KhoProc__PlanWorkload *p);

/* The health checks of a workload, within its timeout; adds one item for each. Commands run below new_root. */
int kho_proc_health(const KhoProc__PlanWorkload *w, const char *new_root, struct kho_report *r,
		    struct kho_err *err);

#endif
