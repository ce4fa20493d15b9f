/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A tree that was dumped, or was to be, goes on where it is: by its images, or, where they cannot be read (CRIU was
 * killed, its disk was full), by what /proc says of it.
 */
#ifndef KHO_PROC_THAW_H
#define KHO_PROC_THAW_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "lib/err.h"
#include "state-serializers/proc/img.h"

/* What lies in the file "frozen" beside the images: this tree may be stopped. */
struct kho_proc_mark {
	pid_t root, monitor; /* monitor: of a container; 0: none */
	pid_t *stopped;      /* those that were stopped before anybody touched them */
	size_t nstopped;
};

#define KHO_PROC_MARK "frozen"

/* Write it for the tree of root; pids: n of kho_proc_tree_live(). */
int kho_proc_mark_write(const char *path, pid_t root, pid_t monitor, const pid_t *pids, size_t n, struct kho_err *err) __must_check;
/* One that cannot be read has root 0. Free with kho_proc_mark_done(). */
void kho_proc_mark_read(const char *path, struct kho_proc_mark *m);
void kho_proc_mark_done(struct kho_proc_mark *m);

/* root and all its descendants, as /proc shows them, parents first; malloc'd. Number; 0: it is gone. */
size_t kho_proc_tree_live(pid_t root, pid_t **out);

/*
 * Its CRIU has died in the middle of a dump, and the kernel lets its tracees run: with connections in repair mode, where a read fails and a server hangs up.
 * They stand still until one of the two below; known: who was there before, malloc'd or NULL, is stopped first, then whoever is there now.
 */
void kho_proc_stop(pid_t root, const pid_t *known, size_t n_known);

/*
 * Nobody may still be dumping it: wait until the CRIU of a khoctl that died lets the tree go, which it does when it
 * finds itself alone; one that does not is killed.
 */
void kho_proc_wait_untraced(pid_t root);

/* TCP sockets of the tree leave repair mode, processes that ran before run. All is done; the first failure. */
int kho_proc_thaw_images(const struct kho_img_tree *t, struct kho_err *err) __must_check;
int kho_proc_thaw_live(const struct kho_proc_mark *m, struct kho_err *err) __must_check;

#endif
