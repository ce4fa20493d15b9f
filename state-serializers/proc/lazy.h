/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Memory on demand: after a restore the pages that were copied before the freeze are still in the
 * images; a small process of ours serves them (userfaultfd) and fills the rest in the background.
 */
#ifndef KHO_PROC_LAZY_H
#define KHO_PROC_LAZY_H

#include <stdint.h>
#include <sys/types.h>

#include "lib/err.h"

struct kho_lazy {
	pid_t pid; /* 0: none */
};

/*
 * Start the server for the images in dir; its socket is made in dir/work, where CRIU looks for it,
 * and accepts at once. progress_path: a file with "pid remaining_bytes total_bytes" while it runs;
 * when all is filled, and it was told to (kho_lazy_fill), it removes dir and that file and ends.
 */
int kho_lazy_start(struct kho_lazy *l, const char *dir, const char *progress_path,
		   struct kho_err *err) __must_check;

/* -EIO: it has ended and had not served all pages, so that those left would read as zeros. 0: it lives, is through, or there is none. */
int kho_lazy_look(const struct kho_lazy *l, struct kho_err *err) __must_check;

/* After commit: fill what nobody has asked for yet; until then the images stay whole. Without this call
 * it begins when the caller of kho_lazy_start has ended. */
void kho_lazy_fill(struct kho_lazy *l);

/* End it (restored processes must be dead: their missing pages would read as zeros) and reap it. */
void kho_lazy_kill(struct kho_lazy *l);

struct kho_lazy_progress {
	pid_t pid;
	uint64_t remaining, total; /* bytes */
};

/* Read a progress file: 1 and *out when a server runs, 0 when there is none. */
int kho_lazy_progress_read(const char *path, struct kho_lazy_progress *out);

#endif
