/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How much memory of processes was changed since its soft-dirty bits were cleared, which CRIU does with each round of pre-copy. The bits
 * are read here and never cleared: what CRIU copies next is what is counted. Pages that no dump holds are not counted (of files, and
 * of a kind that has no content of its own).
 */
#ifndef KHO_PROC_DIRTY_H
#define KHO_PROC_DIRTY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/err.h"

/* From cheap to dear. SCAN: the kernel goes over the page tables and names ranges (ioctl PAGEMAP_SCAN, since 6.7). PAGEMAP: 8 bytes are read for each page. */
enum kho_dirty_way { KHO_DIRTY_SCAN, KHO_DIRTY_PAGEMAP, KHO_DIRTY_NWAYS };

/* "PAGEMAP_SCAN", "soft-dirty bits" */
const char *kho_dirty_way_name(enum kho_dirty_way w);

/* Does the running kernel know that way? Tried on a page of this process. -EOPNOTSUPP: no, and why; another failure: it could not be tried. */
int kho_dirty_try(enum kho_dirty_way w, struct kho_err *err) __must_check;

/* The cheapest way that the running kernel knows. -EOPNOTSUPP: none, the kernel keeps no such bits (CONFIG_MEM_SOFT_DIRTY). */
int kho_dirty_choose(enum kho_dirty_way *out, struct kho_err *err) __must_check;

/* One line of /proc/PID/maps, as far as it matters here. */
struct kho_dirty_area {
	uint64_t start, end, pgoff; /* bytes */
	enum { KHO_DIRTY_NONE, KHO_DIRTY_PRIVATE, KHO_DIRTY_SHARED } kind; /* NONE: nothing of it is in a dump */
	uint32_t major, minor;
	uint64_t inode; /* SHARED: with the device, which memory it is */
};

/* false: it is no such line. */
bool kho_dirty_area(const char *line, struct kho_dirty_area *out);

/* What several processes have changed; memory that they share is counted once. */
struct kho_dirty_shared {
	uint32_t major, minor;
	uint64_t inode, npages;
	uint64_t *bits; /* by page of the memory */
};

struct kho_dirty_count {
	uint64_t private_pages;
	struct kho_dirty_shared *shared;
	size_t n;
};

/* Shared pages [from, from + n) of the memory that an area shows are changed. -ENOMEM */
int kho_dirty_mark(struct kho_dirty_count *c, const struct kho_dirty_area *a, uint64_t from, uint64_t n, struct kho_err *err) __must_check;

/*
 * Add what process pid has changed. One that has ended adds nothing. -ETIMEDOUT: at deadline_us (kho_clock_us()) it was not done, the address space is too
 * large for this way.
 */
int kho_dirty_add(struct kho_dirty_count *c, pid_t pid, enum kho_dirty_way w, uint64_t deadline_us, struct kho_err *err) __must_check;

/* All of it. */
uint64_t kho_dirty_bytes(const struct kho_dirty_count *c);
void kho_dirty_count_done(struct kho_dirty_count *c);

#endif
