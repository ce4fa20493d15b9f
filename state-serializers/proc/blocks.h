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

#define KHO_PAGE 4096ull

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
	pid_t pid;
	int uffd;
	bool gone;	     /* the process is */
	bool shared;	     /* a fork still needs the images */
	struct kho_block *b; /* sorted by va */
	size_t n, room, cursor;
	uint64_t pending; /* pages */
	struct kho_pages_file *files;
	size_t nfiles;
};

/* Everything marked lazy in dir/final for pid, looked up through the chain of parent directories.
 */
struct kho_space *kho_space_load(const char *dir, pid_t pid, int uffd, struct kho_err *err);

/* The same pages for a fork of the process. */
struct kho_space *kho_space_clone(struct kho_space *from, int uffd);
void kho_space_free(struct kho_space *s);

/* A thread waits for the page at va: copy it and up to around - 1 neighbours, or give a page of
 * zeros. */
void kho_space_fault(struct kho_space *s, uint64_t va, unsigned around);

/* Copy the next block that is not complete; gives its place in the images back when nobody needs
 * it. */
void kho_space_fill(struct kho_space *s);

/* [start, end) is not wanted any more. */
void kho_space_drop(struct kho_space *s, uint64_t start, uint64_t end);

/* The process moved [from, from + len) to `to`. */
void kho_space_move(struct kho_space *s, uint64_t from, uint64_t to, uint64_t len);

#endif
