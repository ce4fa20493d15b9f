// SPDX-License-Identifier: GPL-2.0-only
/*
 * Copying pages of images into a process (userfaultfd).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "state-serializers/proc/blocks.h"
#include "state-serializers/proc/img.h"

#define BLOCK 64u

static uint64_t mask(unsigned first, unsigned n)
{
	return n >= 64 ? ~0ull : ((1ull << n) - 1) << first;
}

static int add_block(struct kho_space *s, struct kho_block b)
{
	if (s->n == s->room) {
		size_t room = s->room ? s->room * 2 : 64;
		struct kho_block *bigger = realloc(s->b, room * sizeof(*s->b));

		if (!bigger)
			return -ENOMEM;
		s->b = bigger;
		s->room = room;
	}
	s->b[s->n++] = b;
	s->pending += (unsigned)__builtin_popcountll(b.todo);
	return 0;
}

static int add_run(struct kho_space *s, uint64_t va, uint64_t nr, uint32_t file, uint64_t off)
{
	int rc = 0;

	while (!rc && nr) {
		uint32_t n = nr < BLOCK ? (uint32_t)nr : BLOCK;

		rc = add_block(
			s,
			(struct kho_block){
				.va = va, .todo = mask(0, n), .file = file, .nr = n, .off = off });
		va += n * KHO_PAGE;
		off += n;
		nr -= n;
	}
	return rc;
}

struct level {
	struct kho_pagemap map;
	size_t at; /* lookups come in rising order */
};

struct chain {
	struct level *l; /* 0: final, then its parents */
	size_t n;
};

/* What is copied from behind the end would be somebody's memory, but not these pages. */
static bool is_in_file(const struct kho_pages_file *f, uint64_t page, uint64_t n)
{
	uint64_t pages = f->len / KHO_PAGE;

	return n <= pages && page <= pages - n;
}

/* Where do the pages [va, va + nr) lie, from this level on? */
static int resolve(struct kho_space *s, struct chain *c, size_t level, uint64_t va, uint64_t nr)
{
	struct level *l = &c->l[level];
	int rc = 0;

	if (level >= c->n)
		return -ENOENT;
	while (l->at && l->map.e[l->at - 1].va + l->map.e[l->at - 1].nr * KHO_PAGE > va)
		l->at--;
	while (!rc && nr) {
		const struct kho_pagemap_entry *e;
		uint64_t skip, n;

		while (l->at < l->map.n && l->map.e[l->at].va + l->map.e[l->at].nr * KHO_PAGE <= va)
			l->at++;
		if (l->at == l->map.n || l->map.e[l->at].va > va)
			return -ENOENT;
		e = &l->map.e[l->at];
		skip = (va - e->va) / KHO_PAGE;
		n = e->nr - skip < nr ? e->nr - skip : nr;
		if (e->flags & KHO_PE_PRESENT)
			rc = is_in_file(&s->files[level], e->off + skip, n)
				     ? add_run(s, va, n, (uint32_t)level, e->off + skip)
				     : -ENOENT;
		else
			rc = resolve(s, c, level + 1, va, n);
		va += n * KHO_PAGE;
		nr -= n;
	}
	return rc;
}

static int open_pages(const char *level_dir, uint32_t id, struct kho_pages_file *out,
		      struct kho_err *err)
{
	_cleanup_free_ char *path = NULL;
	struct stat st;

	*out = (struct kho_pages_file){ .fd = -1 };
	if (asprintf(&path, "%s/pages-%u.img", level_dir, id) < 0)
		return kho_fail(err, -ENOMEM, "open pages: out of memory");
	out->fd = open(path, O_RDWR | O_CLOEXEC);
	if (out->fd < 0 && errno == ENOENT)
		return 0; /* nothing was present at this level */
	if (out->fd < 0 || fstat(out->fd, &st))
		return kho_fail_errno(err, "open %s", path);
	out->len = (size_t)st.st_size;
	if (!out->len)
		return 0;
	out->map = mmap(NULL, out->len, PROT_READ, MAP_SHARED, out->fd, 0);
	if (out->map == MAP_FAILED) {
		out->map = NULL;
		return kho_fail_errno(err, "map %s", path);
	}
	return 0;
}

/* Directory of a level: final, final/parent, final/parent/parent ... */
static char *level_dir(const char *dir, size_t level)
{
	size_t len = strlen(dir) + sizeof("/final") + level * (sizeof("/parent") - 1);
	char *p = malloc(len);

	if (!p)
		return NULL;
	snprintf(p, len, "%s/final", dir);
	while (level--)
		strcat(p, "/parent");
	return p;
}

static int add_level(struct kho_space *s, struct chain *c, const char *dir, pid_t pid,
		     struct kho_err *err)
{
	struct kho_pages_file *files = realloc(s->files, (c->n + 1) * sizeof(*files));
	struct level *l;
	int rc;

	if (files)
		s->files = files;
	l = realloc(c->l, (c->n + 1) * sizeof(*l));
	if (l)
		c->l = l;
	if (!files || !l)
		return kho_fail(err, -ENOMEM, "read page maps: out of memory");
	c->l[c->n] = (struct level){ 0 };
	rc = kho_pagemap_read(dir, pid, &c->l[c->n].map, err);
	if (!rc)
		rc = open_pages(dir, c->l[c->n].map.pages_id, &s->files[c->n], err);
	if (!rc)
		s->nfiles = ++c->n;
	else
		kho_pagemap_done(&c->l[c->n].map);
	return rc;
}

static int load(struct kho_space *s, struct chain *c, const char *dir, struct kho_err *err)
{
	int rc = 0;

	for (size_t level = 0; !rc; level++) {
		_cleanup_free_ char *path = level_dir(dir, level);
		_cleanup_free_ char *map = NULL;

		if (!path || asprintf(&map, "%s/pagemap-%d.img", path, s->pid) < 0)
			return kho_fail(err, -ENOMEM, "read page maps: out of memory");
		if (level && access(map, F_OK))
			break;
		rc = add_level(s, c, path, s->pid, err);
	}
	for (size_t i = 0; !rc && i < c->l[0].map.n; i++) {
		struct kho_pagemap_entry *e = &c->l[0].map.e[i];

		if (e->flags & KHO_PE_LAZY)
			rc = resolve(s, c, 0, e->va, e->nr);
		if (rc)
			kho_fail(err, rc, "pages of pid %d at %llx are missing in the images",
				 s->pid, (unsigned long long)e->va);
	}
	return rc;
}

struct kho_space *kho_space_load(const char *dir, pid_t pid, int uffd, struct kho_err *err)
{
	struct kho_space *s = calloc(1, sizeof(*s));
	struct chain c = { 0 };
	int rc;

	if (!s) {
		kho_fail(err, -ENOMEM, "load pages: out of memory");
		return NULL;
	}
	s->pid = pid;
	s->uffd = uffd;
	rc = load(s, &c, dir, err);
	for (size_t i = 0; i < c.n; i++)
		kho_pagemap_done(&c.l[i].map);
	free(c.l);
	if (!rc)
		return s;
	kho_space_free(s);
	return NULL;
}

void kho_space_free(struct kho_space *s)
{
	for (size_t i = 0; i < s->nfiles; i++) {
		if (s->files[i].map)
			munmap(s->files[i].map, s->files[i].len);
		if (s->files[i].fd >= 0)
			close(s->files[i].fd);
	}
	if (s->uffd >= 0)
		close(s->uffd);
	free(s->files);
	free(s->group);
	free(s->b);
	free(s);
}

static void settle(struct kho_space *s, struct kho_block *b, uint64_t bits)
{
	s->pending -= (unsigned)__builtin_popcountll(b->todo & bits);
	b->todo &= ~bits;
}

static void wake(struct kho_space *s, uint64_t va, uint64_t len)
{
	struct uffdio_range r = { .start = va, .len = len };

	ioctl(s->uffd, UFFDIO_WAKE, &r);
}

/* Nothing is mapped there any more: an event will say so, or has said so. */
static bool drop_page(struct kho_space *s, struct kho_block *b, unsigned i)
{
	settle(s, b, mask(i, 1));
	wake(s, b->va + i * KHO_PAGE, KHO_PAGE);
	return true;
}

/* There may be memory in a moment: nobody asks the kernel all the time. */
static bool starve(struct kho_space *s)
{
	if (!s->again_us)
		s->again_us = kho_clock_us() + KHO_SPACE_AGAIN_US;
	return false;
}

/* The thread at va faults again: after the event that is to be read, or when there may be memory. */
static void ask_later(struct kho_space *s, uint64_t va)
{
	if (!s->again_us) {
		wake(s, va, KHO_PAGE);
		return;
	}
	if (!s->hungry_end || va < s->hungry)
		s->hungry = va;
	if (va + KHO_PAGE > s->hungry_end)
		s->hungry_end = va + KHO_PAGE;
}

void kho_space_again(struct kho_space *s)
{
	if (!s->again_us || kho_clock_us() < s->again_us)
		return;
	if (s->hungry_end)
		wake(s, s->hungry, s->hungry_end - s->hungry);
	s->again_us = s->hungry = s->hungry_end = 0;
}

/* Copy pages [i, i + n) of the block, or only the first ones; false: nothing can be done with it
 * now. */
static bool copy(struct kho_space *s, struct kho_block *b, unsigned i, unsigned n)
{
	struct uffdio_copy c = {
		.dst = b->va + i * KHO_PAGE,
		.src = (uintptr_t)s->files[b->file].map + (b->off + i) * KHO_PAGE,
		.len = n * KHO_PAGE,
	};

	if (!ioctl(s->uffd, UFFDIO_COPY, &c)) {
		settle(s, b, mask(i, n));
		return true;
	}
	if (c.copy > 0) {
		settle(s, b, mask(i, (unsigned)(c.copy / (long long)KHO_PAGE)));
		return true;
	}
	switch (errno) {
	case EAGAIN: /* an event has to be read first */
		return false;
	case EEXIST: /* the first page is there already */
		return drop_page(s, b, i);
	case ESRCH:
	case ENOSPC:
		s->gone = true;
		return false;
	case ENOMEM: /* of the machine, or of its control group */
		return starve(s);
	case ENOENT:
		return n > 1 ? copy(s, b, i, 1) : drop_page(s, b, i);
	default: /* of several pages some may lie in another area; one that cannot be read is lost */
		if (n > 1)
			return copy(s, b, i, 1);
		kho_space_end(s);
		return false;
	}
}

static struct kho_block *find(struct kho_space *s, uint64_t va)
{
	size_t lo = 0, hi = s->n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (s->b[mid].va + s->b[mid].nr * KHO_PAGE <= va)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < s->n && s->b[lo].va <= va ? &s->b[lo] : NULL;
}

static void zero(struct kho_space *s, uint64_t va)
{
	struct uffdio_zeropage z = { .range = { .start = va, .len = KHO_PAGE } };

	if (!ioctl(s->uffd, UFFDIO_ZEROPAGE, &z))
		return;
	if (errno == EEXIST)
		wake(s, va, KHO_PAGE);
	else if (errno == EAGAIN || (errno == ENOMEM && !starve(s)))
		ask_later(s, va);
}

void kho_space_fault(struct kho_space *s, uint64_t va, unsigned around)
{
	struct kho_block *b = find(s, va);
	unsigned i, first, end;

	if (!b || !(b->todo & mask((unsigned)((va - b->va) / KHO_PAGE), 1))) {
		zero(s, va);
		return;
	}
	i = (unsigned)((va - b->va) / KHO_PAGE);
	first = i;
	while (first && i - first < around / 2 && (b->todo & mask(first - 1, 1)))
		first--;
	end = i + 1;
	while (end < b->nr && end - first < around && (b->todo & mask(end, 1)))
		end++;
	/* The page itself may stay behind when the copy stops early or there is an event to read:
	 * the fault is then asked for again by copying it alone once more. */
	copy(s, b, first, end - first);
	if (b->todo & mask(i, 1) && !copy(s, b, i, 1))
		ask_later(s, va);
}

static void give_back(struct kho_space *s, const struct kho_block *b)
{
	if (!s->shared && s->files[b->file].fd >= 0)
		fallocate(s->files[b->file].fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			  (off_t)(b->off * KHO_PAGE), (off_t)(b->nr * KHO_PAGE));
}

void kho_space_fill(struct kho_space *s)
{
	if (!s->pending || s->gone || s->again_us)
		return;
	for (size_t tried = 0; tried <= s->n; tried++) {
		struct kho_block *b;
		unsigned first, n = 0;

		if (s->cursor >= s->n)
			s->cursor = 0;
		b = &s->b[s->cursor];
		if (!b->todo) {
			s->cursor++;
			continue;
		}
		first = (unsigned)__builtin_ctzll(b->todo);
		while (first + n < b->nr && (b->todo & mask(first + n, 1)))
			n++;
		if (copy(s, b, first, n) && !b->todo)
			give_back(s, b);
		return;
	}
}

void kho_space_drop(struct kho_space *s, uint64_t start, uint64_t end)
{
	for (size_t k = 0; k < s->n; k++) {
		struct kho_block *b = &s->b[k];

		for (unsigned i = 0; i < b->nr && b->va < end && b->va + b->nr * KHO_PAGE > start;
		     i++)
			if (b->va + i * KHO_PAGE >= start && b->va + i * KHO_PAGE < end)
				settle(s, b, mask(i, 1));
	}
}

static int by_va(const void *a, const void *b)
{
	const struct kho_block *x = a, *y = b;

	return x->va < y->va ? -1 : x->va > y->va;
}

void kho_space_move(struct kho_space *s, uint64_t from, uint64_t to, uint64_t len)
{
	size_t n = s->n;

	for (size_t k = 0; k < n; k++) {
		struct kho_block b = s->b[k];
		uint64_t bits = 0;

		if (b.va >= from + len || b.va + b.nr * KHO_PAGE <= from)
			continue;
		for (unsigned i = 0; i < b.nr; i++)
			if (b.va + i * KHO_PAGE >= from && b.va + i * KHO_PAGE < from + len)
				bits |= b.todo & mask(i, 1);
		settle(s, &s->b[k], bits);
		/* one block of its own for each page: a move within a block is rare, and order is
		 * by address */
		for (unsigned i = 0; i < b.nr; i++)
			if (bits & mask(i, 1) &&
			    add_block(s, (struct kho_block){ .va = b.va + i * KHO_PAGE - from + to,
							     .todo = 1,
							     .file = b.file,
							     .nr = 1,
							     .off = b.off + i }))
				kho_space_end(s); /* for want of memory */
	}
	/* what was complete or moved away no longer names an address */
	n = 0;
	for (size_t k = 0; k < s->n; k++)
		if (s->b[k].todo)
			s->b[n++] = s->b[k];
	s->n = n;
	qsort(s->b, s->n, sizeof(*s->b), by_va);
}
