/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The pages of one process that are still in the images, in blocks of up to 64, and what is done
 * with them: copied in on a fault or in the background, dropped, moved, inherited by a fork.
 */
#ifndef KHO_PROC_BLOCKS_H
#define KHO_PROC_BLOCKS_H

#include <linux/userfaultfd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/err.h"

#define KHO_PAGE	   4096ull
#define KHO_SPACE_AGAIN_US 100000 /* for so long memory that there was not is not asked for */

struct kho_pages_file {
	int fd;
	uint8_t *map;
	size_t len;
};

struct kho_block {
	uint64_t va;
	uint64_t todo; /* bit i: page i is not there yet */
	uint32_t file; /* index */
	uint32_t nr;
	uint64_t off; /* page number in the file */
};

struct kho_space {
	pid_t pid;   /* of a fork: of the process that it descends from, as nobody tells its own */
	char *group; /* of a fork: that one's control group, "" when it is not known; else NULL */
	int uffd;
	bool gone;	     /* the process is */
	bool shared;	     /* a fork still needs the images */
	struct kho_block *b; /* sorted by va */
	size_t n, room, cursor;
	uint64_t pending; /* pages */
	uint64_t again_us; /* there was no memory for a page: nothing is copied in the background before */
	uint64_t hungry, hungry_end; /* then the threads are woken that wait in there */
	struct kho_pages_file *files;
	size_t nfiles;
};

/* Everything marked lazy in dir/final for pid, looked up through the chain of parent directories.
 */
struct kho_space *kho_space_load(const char *dir, pid_t pid, int uffd, struct kho_err *err);

/* The same pages for a fork of the process, which is in it now. NULL: no memory, and uffd is still the caller's. */
struct kho_space *kho_space_clone(struct kho_space *from, int uffd);
void kho_space_free(struct kho_space *s);

/* A thread waits for the page at va: copy it and up to around - 1 neighbours, or give a page of
 * zeros. */
void kho_space_fault(struct kho_space *s, uint64_t va, unsigned around);

/* Look again, after a pause, whether there is memory for those that wait. */
void kho_space_again(struct kho_space *s);

/* Copy the next block that is not complete; gives its place in the images back when nobody needs
 * it. */
void kho_space_fill(struct kho_space *s);

/* [start, end) is not wanted any more. */
void kho_space_drop(struct kho_space *s, uint64_t start, uint64_t end);

/* The process moved [from, from + len) to `to`. */
void kho_space_move(struct kho_space *s, uint64_t from, uint64_t to, uint64_t len);

/* --- pages that cannot be given would read as zeros: better no such process --- */

/* End the process, or, of a fork, the workload. */
void kho_space_end(struct kho_space *s);

/* End the workload: the control group that the process is in, or, where there is none of its own, the process and what descends from it. */
void kho_space_end_all(const struct kho_space *s);

#endif
