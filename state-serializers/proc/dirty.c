// SPDX-License-Identifier: GPL-2.0-only
/* Memory that was changed since the last round of pre-copy.  See state-serializers/proc/dirty.h. */
#include "state-serializers/proc/dirty.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "state-serializers/proc/blocks.h"

/* Documentation/admin-guide/mm/pagemap.rst. The headers of the machine that builds may be older than the kernel that runs. */
struct scan_region {
	uint64_t start, end, categories;
};
struct scan_arg {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
#define SCAN		_IOWR('f', 16, struct scan_arg)
#define SCAN_FILE	(1u << 2)
#define SCAN_PRESENT	(1u << 3)
#define SCAN_SWAPPED	(1u << 4)
#define SCAN_PFNZERO	(1u << 5)
#define SCAN_SOFT_DIRTY (1u << 7)

#define ENTRY_SOFT_DIRTY (1ull << 55)
#define ENTRY_FILE	 (1ull << 61) /* or shared anonymous memory */
#define ENTRY_SWAPPED	 (1ull << 62)
#define ENTRY_PRESENT	 (1ull << 63)

#define REGIONS 512u
#define ENTRIES 8192u

_Static_assert(sizeof(struct scan_arg) == 96 && sizeof(struct scan_region) == 24, "as the kernel has them");

const char *kho_dirty_way_name(enum kho_dirty_way w)
{
	return w == KHO_DIRTY_SCAN ? "PAGEMAP_SCAN" : "soft-dirty bits";
}

/* Memory without a file that processes share; CRIU dumps it with them. Names: mm/shmem.c, ipc/shm.c, mm/memfd.c. */
static bool is_shared_memory(const char *path)
{
	return !strncmp(path, "/dev/zero", 9) || !strncmp(path, "/SYSV", 5) || !strncmp(path, "/memfd:", 7) || !strncmp(path, "/anon_hugepage", 14);
}

bool kho_dirty_area(const char *line, struct kho_dirty_area *out)
{
	char perms[5];
	int path = 0;

	*out = (struct kho_dirty_area){ 0 };
	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %" SCNx32 ":%" SCNx32 " %" SCNu64 " %n", &out->start, &out->end, perms, &out->pgoff,
		   &out->major, &out->minor, &out->inode, &path) != 7 ||
	    !path || strlen(perms) != 4 || out->start >= out->end || (out->start | out->end | out->pgoff) % KHO_PAGE)
		return false;
	line += path;
	if (perms[3] == 's')
		out->kind = is_shared_memory(line) ? KHO_DIRTY_SHARED : KHO_DIRTY_NONE;
	else
		out->kind = *line == '[' && strncmp(line, "[heap]", 6) && strncmp(line, "[stack", 6) && strncmp(line, "[anon", 5) ? KHO_DIRTY_NONE : KHO_DIRTY_PRIVATE;
	return true;
}

/* The entry of the memory that a shows, with room for npages; NULL: out of memory. */
static struct kho_dirty_shared *shared_of(struct kho_dirty_count *c, const struct kho_dirty_area *a, uint64_t npages)
{
	struct kho_dirty_shared *s = NULL;
	size_t had, want = (npages + 63) / 64;
	uint64_t *bits;

	for (size_t i = 0; i < c->n && !s; i++)
		if (c->shared[i].inode == a->inode && c->shared[i].major == a->major && c->shared[i].minor == a->minor)
			s = &c->shared[i];
	if (!s) {
		s = realloc(c->shared, (c->n + 1) * sizeof(*s));
		if (!s)
			return NULL;
		c->shared = s;
		s += c->n++;
		*s = (struct kho_dirty_shared){ .major = a->major, .minor = a->minor, .inode = a->inode };
	}
	had = (s->npages + 63) / 64;
	if (want > had) {
		bits = realloc(s->bits, want * sizeof(*bits));
		if (!bits)
			return NULL;
		memset(bits + had, 0, (want - had) * sizeof(*bits));
		s->bits = bits;
	}
	if (npages > s->npages)
		s->npages = npages;
	return s;
}

int kho_dirty_mark(struct kho_dirty_count *c, const struct kho_dirty_area *a, uint64_t from, uint64_t n, struct kho_err *err)
{
	struct kho_dirty_shared *s = shared_of(c, a, from + n);

	if (!s)
		return kho_fail(err, -ENOMEM, "changed pages: out of memory");
	for (uint64_t i = from; i < from + n; i++)
		s->bits[i / 64] |= 1ull << i % 64;
	return 0;
}

/* Pages from start to end, in area a, are changed. */
static int found(struct kho_dirty_count *c, const struct kho_dirty_area *a, uint64_t start, uint64_t end, struct kho_err *err)
{
	uint64_t n = (end - start) / KHO_PAGE;

	if (a->kind == KHO_DIRTY_SHARED)
		return kho_dirty_mark(c, a, (a->pgoff + (start - a->start)) / KHO_PAGE, n, err);
	c->private_pages += n;
	return 0;
}

/* 1: the process is gone. */
static int gone_or(struct kho_err *err)
{
	return errno == ESRCH || errno == ENOENT ? 1 : kho_fail_errno(err, "read pagemap");
}

static int too_long(uint64_t deadline_us, struct kho_err *err)
{
	return kho_clock_us() < deadline_us ? 0 : kho_fail(err, -ETIMEDOUT, "changed pages: the address space is too large to be looked through");
}

static int by_scan(struct kho_dirty_count *c, int fd, const struct kho_dirty_area *a, uint64_t deadline_us, struct kho_err *err)
{
	struct scan_region r[REGIONS];
	uint64_t not = a->kind == KHO_DIRTY_SHARED ? SCAN_PFNZERO : SCAN_PFNZERO | SCAN_FILE;
	struct scan_arg arg = { .size = sizeof(arg), .start = a->start, .end = a->end, .vec = (uintptr_t)r, .vec_len = REGIONS,
				.category_inverted = not, .category_mask = not | SCAN_SOFT_DIRTY,
				.category_anyof_mask = SCAN_PRESENT | SCAN_SWAPPED, .return_mask = SCAN_SOFT_DIRTY };
	int rc = 0;

	while (!rc && arg.start < a->end) {
		int n = ioctl(fd, SCAN, &arg);

		if (n < 0)
			return gone_or(err);
		for (int i = 0; !rc && i < n; i++)
			rc = found(c, a, r[i].start, r[i].end, err);
		if (arg.walk_end <= arg.start)
			break;
		arg.start = arg.walk_end;
		if (!rc)
			rc = too_long(deadline_us, err);
	}
	return rc;
}

static bool is_dirty(uint64_t entry, const struct kho_dirty_area *a)
{
	return entry & ENTRY_SOFT_DIRTY && entry & (ENTRY_PRESENT | ENTRY_SWAPPED) && (a->kind == KHO_DIRTY_SHARED || !(entry & ENTRY_FILE));
}

static int by_pagemap(struct kho_dirty_count *c, int fd, const struct kho_dirty_area *a, uint64_t deadline_us, struct kho_err *err)
{
	_cleanup_free_ uint64_t *e = malloc(ENTRIES * sizeof(*e));
	int rc = e ? 0 : kho_fail(err, -ENOMEM, "changed pages: out of memory");

	for (uint64_t at = a->start; !rc && at < a->end;) {
		uint64_t want = (a->end - at) / KHO_PAGE;
		ssize_t got = pread(fd, e, (want < ENTRIES ? want : ENTRIES) * sizeof(*e), (off_t)(at / KHO_PAGE * sizeof(*e)));

		if (got < 0)
			return gone_or(err);
		if (got < (ssize_t)sizeof(*e))
			break;
		for (ssize_t i = 0; !rc && i < got / (ssize_t)sizeof(*e); i++, at += KHO_PAGE)
			if (is_dirty(e[i], a))
				rc = found(c, a, at, at + KHO_PAGE, err);
		if (!rc)
			rc = too_long(deadline_us, err);
	}
	return rc;
}

static int one_area(struct kho_dirty_count *c, int fd, const struct kho_dirty_area *a, enum kho_dirty_way w, uint64_t deadline_us, struct kho_err *err)
{
	if (a->kind == KHO_DIRTY_NONE)
		return 0;
	return w == KHO_DIRTY_SCAN ? by_scan(c, fd, a, deadline_us, err) : by_pagemap(c, fd, a, deadline_us, err);
}

int kho_dirty_add(struct kho_dirty_count *c, pid_t pid, enum kho_dirty_way w, uint64_t deadline_us, struct kho_err *err)
{
	struct kho_dirty_area a;
	_cleanup_free_ char *line = NULL;
	char path[64];
	size_t room = 0;
	int rc = 0;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	_cleanup_fclose_ FILE *f = fd < 0 ? NULL : fopen(path, "re");

	if (!f)
		return errno == ENOENT || errno == ESRCH ? 0 : kho_fail_errno(err, "open %s", path);
	while (!rc && getline(&line, &room, f) > 0)
		if (kho_dirty_area(line, &a))
			rc = one_area(c, fd, &a, w, deadline_us, err);
	return rc == 1 ? 0 : rc;
}

uint64_t kho_dirty_bytes(const struct kho_dirty_count *c)
{
	uint64_t pages = c->private_pages;

	for (size_t i = 0; i < c->n; i++)
		for (uint64_t k = 0; k < (c->shared[i].npages + 63) / 64; k++)
			pages += (uint64_t)__builtin_popcountll(c->shared[i].bits[k]);
	return pages * KHO_PAGE;
}

void kho_dirty_count_done(struct kho_dirty_count *c)
{
	for (size_t i = 0; i < c->n; i++)
		free(c->shared[i].bits);
	free(c->shared);
	*c = (struct kho_dirty_count){ 0 };
}

int kho_dirty_try(enum kho_dirty_way w, struct kho_err *err)
{
	struct kho_dirty_area a = { .kind = KHO_DIRTY_PRIVATE };
	struct kho_dirty_count c = { 0 };
	_cleanup_close_ int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	volatile char *p = fd < 0 ? MAP_FAILED : mmap(NULL, KHO_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int rc;

	if (p == MAP_FAILED)
		return kho_fail_errno(err, "open /proc/self/pagemap");
	*p = 1; /* a page that has just been written has the bit, or no page ever has */
	a.start = (uintptr_t)p;
	a.end = a.start + KHO_PAGE;
	rc = one_area(&c, fd, &a, w, UINT64_MAX, err);
	munmap((void *)(uintptr_t)p, KHO_PAGE);
	/* ENOTTY: before 6.7; EINVAL: it does not know this bit */
	if (rc == -ENOTTY || rc == -EINVAL)
		return kho_fail(err, -EOPNOTSUPP, "this kernel has no %s", kho_dirty_way_name(w));
	if (rc)
		return rc;
	return c.private_pages ? 0 : kho_fail(err, -EOPNOTSUPP, "this kernel does not keep which pages were changed (CONFIG_MEM_SOFT_DIRTY)");
}

int kho_dirty_choose(enum kho_dirty_way *out, struct kho_err *err)
{
	int rc = -EOPNOTSUPP;

	for (int w = 0; w < KHO_DIRTY_NWAYS && rc == -EOPNOTSUPP; w++) {
		rc = kho_dirty_try((enum kho_dirty_way)w, err);
		*out = (enum kho_dirty_way)w;
	}
	return rc;
}
