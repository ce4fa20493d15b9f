/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Reading CRIU's images: the tree that was dumped, its sockets, its memory map.  Used for undo, for
 * what the incoming side must find after a restore, and to mark what may be restored lazily.
 */
#ifndef KHO_PROC_IMG_H
#define KHO_PROC_IMG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/err.h"

#define KHO_PE_PARENT  (1u << 0)
#define KHO_PE_LAZY    (1u << 1)
#define KHO_PE_PRESENT (1u << 2)

/* Call fn with each record of an image file; a negative result of fn ends the walk and is returned
 * (err filled by fn). */
int kho_img_each(const char *path,
		 int (*fn)(const uint8_t *rec, size_t len, void *arg, struct kho_err *err),
		 void *arg, struct kho_err *err) __must_check;

/* The same with the bytes of the file path (for messages). */
int kho_img_walk(const uint8_t *p, size_t len, const char *path,
		 int (*fn)(const uint8_t *rec, size_t len, void *arg, struct kho_err *err),
		 void *arg, struct kho_err *err) __must_check;

struct kho_img_task {
	pid_t pid, ppid;
	unsigned state;	     /* 1 alive, 2 dead, 3 stopped */
	unsigned stop_signo; /* 0: not known */
	uint64_t *sp;	     /* stack pointer of each thread */
	size_t nthreads;
};

struct kho_img_socket {
	uint32_t ino, family, state, src_port, dst_port;
	bool reuseaddr;
};

struct kho_img_tree {
	struct kho_img_task *tasks; /* root first */
	size_t ntasks;
	struct kho_img_socket *tcp; /* TCP sockets */
	size_t ntcp;
};

#define KHO_TCP_ESTABLISHED 1
#define KHO_TCP_LISTEN	    10

/* What was dumped into dir. */
int kho_img_tree_read(const char *dir, struct kho_img_tree *out, struct kho_err *err) __must_check;
void kho_img_tree_done(struct kho_img_tree *t);

/* One process alone, while it is stopped here: its threads are those in /proc. Free t->sp. */
int kho_img_task_read(const char *dir, pid_t pid, struct kho_img_task *t,
		      struct kho_err *err) __must_check;

struct kho_pagemap_entry {
	uint64_t va, nr;
	uint32_t flags; /* KHO_PE_* */
	uint64_t off;	/* page number in the pages file, for present ones */
};

struct kho_pagemap {
	uint32_t pages_id; /* pages-ID.img */
	struct kho_pagemap_entry *e;
	size_t n;
};

/* dir/pagemap-PID.img; -ENOENT when there is none. */
int kho_pagemap_read(const char *dir, pid_t pid, struct kho_pagemap *out,
		     struct kho_err *err) __must_check;
void kho_pagemap_done(struct kho_pagemap *m);

struct kho_lazy_sum {
	uint64_t eager_pages, lazy_pages;
};

/*
 * Rewrite dir/pagemap-PID.img so that pages which were copied before the freeze (they lie in a
 * parent directory) may be restored lazily, and the few that were changed since, or while
 * pre-copying went on (the ones in use), come at once; if more than eager_max pages were changed
 * they may be lazy too. Stack tops and areas that cannot be served on demand stay as they are.
 */
int kho_pagemap_mark(const char *dir, const struct kho_img_task *t, uint64_t eager_max,
		     struct kho_lazy_sum *sum, struct kho_err *err) __must_check;

/*
 * Make CRIU restore the root process in the user namespace that CRIU itself is in: its images (in
 * dir) are told that it had been so, too.
 */
int kho_img_same_user_ns(const char *dir, pid_t root, struct kho_err *err) __must_check;

/* In dir: external mounts that were slaves of the system's are restored as private ones. */
int kho_img_drop_masters(const char *dir, struct kho_err *err) __must_check;

#endif
