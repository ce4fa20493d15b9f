/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The outgoing half of the process serializer: what it holds between its operations. There is one
 * upgrade at a time in a process; what must survive the process lies in the image directories.
 */
#ifndef KHO_PROC_OUT_H
#define KHO_PROC_OUT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "state-serializers/proc/criu.h"
#include "state-serializers/proc/img.h"
#include "state-serializers/proc/outside.h"
#include "state-serializers/proc/place.h"
#include "state-serializers/serializer.h"

#define KHO_PROC_SEIZE_S    10
#define KHO_PROC_ROUNDS_MAX 8
#define KHO_PROC_AGAIN_MAX  16 /* with those that are asked for when memory has been written again */
#define KHO_PROC_CONVERGED  (1u << 20) /* bytes: another round does not pay */
#define KHO_PROC_EAGER_PAGES \
	(8u << 8) /* 8 MiB of pages changed since the last round are restored at once */

struct kho_proc_out_wl {
	char *name, *dir; /* images_dir/name */
	pid_t root;
	struct kho_criu criu;
	KhoProc__Place place;		 /* where CRIU works */
	KhoProc__PlanWorkload around;	 /* what the plan says of its namespaces and journal streams; the rest is empty */
	char stream_id[KHO_OUTSIDE_MAX][32]; /* what CRIU calls the streams: "unix[INODE]" */
	char **external; /* all that CRIU is to leave out, by its names */
	size_t nexternal;
	char **mount; /* those of them that are a container's, ours to free */
	size_t nmount;
	int work_fd;
	unsigned rounds;
	uint64_t cleared_us; /* when the last round began: what was written since then is not copied */
	uint64_t dirty_bytes, dirty_us; /* what kho_proc_dirty() has found since then, and when; dirty_us 0: it was not asked */
	bool armed; /* the dump waits one step before seizing */
	pid_t *tree; /* who was there then */
	size_t ntree;
	KhoProc__Affinity **affinity; /* threads that are pinned to CPUs, as frozen */
	size_t naffinity;
	/* under kho_proc_out.lock from freeze on: */
	bool released, seized, dumped, ended;
	bool left; /* by us: its CRIU ends because it finds itself alone, and undoes what it did */
	int result;
	struct kho_err why;
	uint64_t released_us, seized_us, dumped_us;
};

/* Image files on their way to the peer while the dump goes on. */
#define KHO_PROC_QUEUE 256

struct kho_proc_stream {
	struct kho_env *env;
	pthread_t thread;
	bool running;
	int inotify, stop_fd;
	char **dirs; /* by watch - 1 */
	char **prefixes;
	bool *eager; /* page maps of this one go as they are */
	size_t ndirs;
	void *sent; /* names with prefix: a tree of search.h */
	char *queue[KHO_PROC_QUEUE]; /* what is to be sent of dirs[queue_of] */
	size_t nqueue, queue_of;
	struct kho_lazy_sum sum;
	int rc;
	struct kho_err err;
};

struct kho_proc_out {
	struct kho_proc_out_wl *w;
	size_t n;
	uint64_t last_bytes, last_us;	/* of the former round: copied, and how long that took */
	uint64_t first_bytes, first_us; /* of the first one */
	uint64_t all_bytes;		/* of all: the peer keeps them */
	uint64_t paid_bytes;		/* of those that were made because they paid; 0: others were not asked for yet */
	bool mem_track;
	bool copy; /* they go on here: env's copy */
	bool dumping; /* dump_thread was started and not joined */
	pthread_t dump_thread;
	atomic_bool leave; /* it is to end, and another one to take over */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct kho_proc_stream stream;
};

extern struct kho_proc_out kho_proc_out;

/* Operations, see serializer.h */
int kho_proc_preserve(struct kho_env *env, unsigned round, struct kho_blob *out, bool *out_more,
		      struct kho_err *err);
int kho_proc_dirty(struct kho_env *env, struct kho_dirty *out, struct kho_err *err);
int kho_proc_unpreserve(struct kho_env *env, struct kho_err *err);
int kho_proc_freeze(struct kho_env *env, struct kho_err *err);
int kho_proc_drain(struct kho_env *env, struct kho_blob *out, struct kho_err *err);
void kho_proc_quiet(struct kho_env *env, bool shifted, struct kho_quiet_list *out);
int kho_proc_unfreeze(struct kho_env *env, struct kho_err *err);
int kho_proc_forget(struct kho_env *env, struct kho_err *err);

/* Threads of root's tree that run or could run: neither traced (CRIU makes them work for it), stopped nor dead. what: the first of them, "PID (STATE)". */
size_t kho_proc_running(pid_t root, char *what, size_t len);

/* A round is over: so much was copied, in that time. */
void kho_proc_copied(struct kho_proc_out *o, uint64_t bytes, uint64_t us);

/* What copying so much in the blackout will take, by the rounds that were made. 0: none was. */
uint64_t kho_proc_copy_us(const struct kho_proc_out *o, uint64_t bytes);

/* So many more rounds that copy as much there is room for: those that are asked for may together copy as much as the first one did. */
unsigned kho_proc_rounds_left(const struct kho_proc_out *o, uint64_t bytes);

/* Why CRIU has refused ("dump", "pre-dump"), by its log; always negative. */
int kho_proc_refused(const struct kho_proc_out_wl *w, const CriuRpc__Resp *resp, const char *what, struct kho_err *err);

/* End the threads and CRIU's workers, and give the memory back; lets CRIU finish what it does. */
void kho_proc_out_reset(void);

/* The blobs: preserve's (who will come, how to check it) and drain's (who was frozen). */
int kho_proc_plan_pack(struct kho_env *env, struct kho_blob *out, struct kho_err *err) __must_check;
int kho_proc_state_pack(struct kho_blob *out, struct kho_err *err) __must_check;

/* Find out where CRIU has to work for this workload, and what the peer must know of it. */
int kho_proc_place_out(struct kho_env *env, const struct kho_workload *src,
		       struct kho_proc_out_wl *w, struct kho_err *err) __must_check;
void kho_proc_place_out_done(struct kho_proc_out_wl *w);

/* Start its worker there. */
int kho_proc_spawn(struct kho_env *env, struct kho_proc_out_wl *w, struct kho_err *err) __must_check;

/* Bring it to the last point before it touches the tree. */
int kho_proc_arm(struct kho_proc_out_wl *w, struct kho_err *err) __must_check;

/* Nothing has been dumped yet, but the tree may be seized: without its client CRIU gives up at its notice and lets the tree go, and a new worker takes its place. */
int kho_proc_call_off(struct kho_env *env, struct kho_proc_out_wl *w, struct kho_err *err) __must_check;

/* The descriptor through which CRIU reaches its images; it has no path to them elsewhere. Else -1. */
int kho_proc_open_images(const struct kho_proc_out_wl *w, const char *images, int *out,
			 struct kho_err *err) __must_check;

/* Wait until no TCP connection of this machine waits to be accepted, or for as long as that may take. */
void kho_proc_wait_accepted(struct kho_env *env);

/* What somebody who finds only the directories needs to know: this tree may be stopped from now on (thaw.h). */
int kho_proc_mark_frozen(const struct kho_proc_out_wl *w, struct kho_err *err) __must_check;

/*
 * Send files of the watched directories as they are closed. Page maps are marked
 * (kho_pagemap_mark()) first, which can be done when the last image of their process is closed; but
 * for those of an eager directory, whose processes have other numbers than in the images.
 */
int kho_proc_stream_start(struct kho_proc_stream *s, struct kho_env *env,
			  struct kho_err *err) __must_check;
int kho_proc_stream_watch(struct kho_proc_stream *s, const char *dir, const char *prefix, bool eager,
			  struct kho_err *err) __must_check;

/* Wait for the thread and send what it has not sent. */
int kho_proc_stream_finish(struct kho_proc_stream *s, struct kho_err *err) __must_check;
void kho_proc_stream_stop(struct kho_proc_stream *s);

/* Send all images of a directory. */
int kho_proc_send_dir(struct kho_env *env, const char *dir, const char *prefix,
		      struct kho_err *err) __must_check;

#endif
