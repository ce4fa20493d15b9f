// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which workloads use System V IPC of the system's own namespace. CRIU carries a namespace of that kind or nothing of it, so who
 * uses one object takes copies of all.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "state-serializers/proc/place.h"
#include "state-serializers/proc/sysv.h"

/* semctl()'s last argument, which the caller has to declare */
union sem_arg {
	struct semid_ds *buf;
	struct seminfo *info;
};

struct look {
	const struct kho_workload *w;
	struct kho_sysv *out;
	bool his, known; /* of one object: who has touched it is of the workload; lives */
};

/* A line of maps that shows a segment. */
static bool has_segment(pid_t pid)
{
	_cleanup_free_ char *text = NULL;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	return !kho_read_file(path, 256u << 20, &text, NULL, NULL) && strstr(text, " /SYSV");
}

/* The number is one of our PID namespace; 0: nobody, or somebody who is not in it. */
static void touch(struct look *l, pid_t pid)
{
	for (size_t i = 0; pid > 0 && i < l->w->npids; i++)
		l->his |= l->w->pids[i] == pid;
	l->known |= pid > 0 && (!kill(pid, 0) || errno == EPERM);
}

static void count(struct look *l)
{
	l->out->touched += l->his;
	l->out->unknown += !l->his && !l->known;
	l->his = l->known = false;
}

static void look_at_semaphores(struct look *l)
{
	struct seminfo info;
	struct semid_ds ds;
	int highest = semctl(0, 0, SEM_INFO, (union sem_arg){ .info = &info });

	for (int i = 0; i <= highest; i++) {
		int id = semctl(i, 0, SEM_STAT, (union sem_arg){ .buf = &ds });

		if (id < 0)
			continue;
		for (size_t k = 0; k < ds.sem_nsems; k++)
			touch(l, semctl(id, (int)k, GETPID));
		count(l);
	}
}

static void look_at_queues(struct look *l)
{
	struct msginfo info;
	struct msqid_ds ds;
	int highest = msgctl(0, MSG_INFO, (struct msqid_ds *)&info);

	for (int i = 0; i <= highest; i++) {
		if (msgctl(i, MSG_STAT, &ds) < 0)
			continue;
		touch(l, ds.msg_lspid);
		touch(l, ds.msg_lrpid);
		count(l);
	}
}

static void look_at_segments(struct look *l)
{
	struct shm_info info;
	struct shmid_ds ds;
	int highest = shmctl(0, SHM_INFO, (struct shmid_ds *)&info);

	for (int i = 0; i <= highest; i++) {
		if (shmctl(i, SHM_STAT, &ds) < 0)
			continue;
		touch(l, ds.shm_cpid);
		touch(l, ds.shm_lpid);
		l->known |= ds.shm_nattch > 0; /* maps show by whom */
		count(l);
	}
}

void kho_sysv_look(const struct kho_workload *w, struct kho_sysv *out)
{
	struct look l = { .w = w, .out = out };

	*out = (struct kho_sysv){ 0 };
	for (size_t i = 0; !out->attached && i < w->npids; i++)
		out->attached = has_segment(w->pids[i]);
	look_at_semaphores(&l);
	look_at_queues(&l);
	look_at_segments(&l);
}

bool kho_sysv_is_used(const struct kho_workload *w)
{
	struct kho_sysv s;

	if (kho_ns_differs(w->root, "ipc"))
		return false;
	kho_sysv_look(w, &s);
	return s.attached || s.touched;
}

/* Attached memory has its verdict with the other areas of memory (kho_map_classify()). */
static int say(const struct kho_workload *w, const struct kho_sysv *s, struct kho_report *r)
{
	if (w->container && (s->attached || s->touched))
		return kho_report_add(r, KHO_V_NO, "process", w->name, "give it an IPC namespace of its own (no --ipc=host)",
				      "it uses System V IPC of the system's namespace, which a container cannot take along");
	if (s->touched && !s->attached)
		return kho_report_add(r, KHO_V_LOSS, "process", w->name, NULL,
				      "its System V semaphores, queues and segments are in an IPC namespace of its own afterwards, which "
				      "programs outside of the workload do not see");
	return 0;
}

int kho_sysv_probe(const struct kho_workload_list *l, struct kho_report *r, struct kho_err *err)
{
	struct kho_sysv s = { 0 };
	bool left = false; /* a workload that takes no copies along */
	int rc = 0;

	for (size_t i = 0; !rc && i < l->n; i++) {
		if (kho_ns_differs(l->w[i].root, "ipc"))
			continue;
		kho_sysv_look(&l->w[i], &s);
		r->workload = l->w[i].name;
		rc = say(&l->w[i], &s, r);
		left |= !s.attached && !s.touched;
	}
	r->workload = NULL;
	if (!rc && left && s.unknown)
		rc = kho_report_add(r, KHO_V_LOSS, "process", "System V IPC", "ipcrm what nobody needs any more (ipcs)",
				    "%zu semaphore sets, queues or segments were used last by processes that have ended: a workload that "
				    "would still need one, and has not touched any since it began to run, loses it",
				    s.unknown);
	return rc ? kho_fail(err, -ENOMEM, "report: out of memory") : 0;
}
