// SPDX-License-Identifier: GPL-2.0-only
/*
 * Page maps of CRIU's images: which pages lie where, and which of them may come after the blackout.
 * CRIU itself only calls a page lazy when it lies in the last directory, which is the wrong way
 * round for pre-copied memory: the last directory has the pages in use, its parents the bulk.
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "state-serializers/proc/criu_img.pb-c.h"
#include "state-serializers/proc/img.h"

#define PAGE	      4096ull
#define MAGIC_COMMON  0x54564319u
#define MAGIC_PAGEMAP 0x56084025u
#define USER_END      (1ull << 56) /* of the largest address space */
#define AREA_VSYSCALL (1u << 2) /* CRIU's kinds of area that have no memory of their own */
#define AREA_VDSO     (1u << 3)
#define AREA_VVAR     (1u << 12)

struct vma {
	uint64_t start, end;
	bool lazy;
};

struct vmas {
	struct vma *v;
	size_t n;
	struct kho_pagemap hot; /* pages that were changed while pre-copying went on: they will be
				   wanted soon */
};

struct out {
	uint8_t *p;
	size_t len, room;
};

static int add_entry(struct kho_pagemap *m, struct kho_pagemap_entry e)
{
	if (!(m->n & (m->n - 1))) {
		struct kho_pagemap_entry *bigger =
			realloc(m->e, (m->n ? m->n * 2 : 1) * sizeof(*m->e));

		if (!bigger)
			return -ENOMEM;
		m->e = bigger;
	}
	m->e[m->n++] = e;
	return 0;
}

struct pagemap_reader {
	struct kho_pagemap *m;
	bool have_head;
	uint64_t off, end; /* of the last entry */
};

/* Whole pages of user space, in rising order: all that follows relies on it. */
static bool fits(const struct pagemap_reader *r, const struct kho_pagemap_entry *e)
{
	return e->nr && e->va % PAGE == 0 && e->va >= r->end && e->va < USER_END &&
	       e->nr <= (USER_END - e->va) / PAGE;
}

static int take_pagemap(const uint8_t *rec, size_t len, void *arg, struct kho_err *err)
{
	struct pagemap_reader *r = arg;
	struct kho_pagemap_entry e = { 0 };
	CriuImg__PagemapEntry *p;
	CriuImg__PagemapHead *h;

	if (!r->have_head) {
		h = criu_img__pagemap_head__unpack(NULL, len, rec);
		if (!h)
			return kho_fail(err, -EBADMSG, "page map: head is not understood");
		r->m->pages_id = h->pages_id;
		r->have_head = true;
		criu_img__pagemap_head__free_unpacked(h, NULL);
		return 0;
	}
	p = criu_img__pagemap_entry__unpack(NULL, len, rec);
	if (!p)
		return kho_fail(err, -EBADMSG, "page map: entry is not understood");
	e.va = p->vaddr;
	e.nr = p->has_nr_pages ? p->nr_pages : p->compat_nr_pages;
	e.flags = p->has_in_parent && p->in_parent ? KHO_PE_PARENT
		  : p->has_flags		   ? p->flags
						   : KHO_PE_PRESENT;
	e.off = r->off;
	if (!fits(r, &e)) {
		criu_img__pagemap_entry__free_unpacked(p, NULL);
		return kho_fail(err, -EBADMSG, "page map: bad entry, %llu pages at %llx",
				(unsigned long long)e.nr, (unsigned long long)e.va);
	}
	r->end = e.va + e.nr * PAGE;
	if (e.flags & KHO_PE_PRESENT)
		r->off += e.nr;
	criu_img__pagemap_entry__free_unpacked(p, NULL);
	return add_entry(r->m, e) ? kho_fail(err, -ENOMEM, "read page map: out of memory") : 0;
}

int kho_pagemap_read(const char *dir, pid_t pid, struct kho_pagemap *out, struct kho_err *err)
{
	struct pagemap_reader r = { .m = out };
	_cleanup_free_ char *path = NULL;
	int rc;

	*out = (struct kho_pagemap){ 0 };
	if (asprintf(&path, "%s/pagemap-%d.img", dir, pid) < 0)
		return kho_fail(err, -ENOMEM, "read page map: out of memory");
	rc = kho_img_each(path, take_pagemap, &r, err);
	if (rc)
		kho_pagemap_done(out);
	return rc;
}

void kho_pagemap_done(struct kho_pagemap *m)
{
	free(m->e);
	*m = (struct kho_pagemap){ 0 };
}

static int take_mm(const uint8_t *rec, size_t len, void *arg, struct kho_err *err)
{
	struct vmas *v = arg;
	CriuImg__MmEntry *mm = criu_img__mm_entry__unpack(NULL, len, rec);

	if (!mm)
		return kho_fail(err, -EBADMSG, "memory map: record is not understood");
	v->v = calloc(mm->n_vmas + 1, sizeof(*v->v));
	for (size_t i = 0; v->v && i < mm->n_vmas; i++) {
		const CriuImg__VmaEntry *e = mm->vmas[i];

		if (e->start % PAGE || e->end % PAGE || e->start >= e->end) {
			criu_img__mm_entry__free_unpacked(mm, NULL);
			return kho_fail(err, -EBADMSG, "memory map: bad area");
		}
		v->v[v->n++] = (struct vma){
			.start = e->start,
			.end = e->end,
			.lazy = (e->flags & MAP_ANONYMOUS) && (e->flags & MAP_PRIVATE) &&
				!(e->flags & MAP_LOCKED) && !(e->flags & MAP_HUGETLB) &&
				!(e->status & (AREA_VDSO | AREA_VVAR | AREA_VSYSCALL))
		};
	}
	criu_img__mm_entry__free_unpacked(mm, NULL);
	return v->v ? 1 : kho_fail(err, -ENOMEM, "read memory map: out of memory");
}

static bool is_stack_top(const struct kho_img_task *t, uint64_t va)
{
	for (size_t i = 0; i < t->nthreads; i++)
		if ((t->sp[i] & ~(PAGE - 1)) == va)
			return true;
	return false;
}

static int by_address(const void *a, const void *b)
{
	const struct kho_pagemap_entry *x = a, *y = b;

	return x->va < y->va ? -1 : x->va > y->va;
}

/* The parents but the first one, which has everything, tell what changed. */
static int read_hot(const char *dir, pid_t pid, struct vmas *vs, struct kho_err *err)
{
	_cleanup_free_ char *at = NULL;
	int rc = 0;

	if (asprintf(&at, "%s/parent", dir) < 0)
		return kho_fail(err, -ENOMEM, "read page maps: out of memory");
	while (!rc) {
		_cleanup_free_ char *next = NULL;
		struct kho_pagemap m;

		if (asprintf(&next, "%s/parent", at) < 0)
			return kho_fail(err, -ENOMEM, "read page maps: out of memory");
		if (access(next, F_OK) || kho_pagemap_read(at, pid, &m, NULL))
			break;
		for (size_t i = 0; !rc && i < m.n; i++)
			if (m.e[i].flags & KHO_PE_PRESENT && add_entry(&vs->hot, m.e[i]))
				rc = kho_fail(err, -ENOMEM, "read page maps: out of memory");
		kho_pagemap_done(&m);
		free(at);
		at = next;
		next = NULL;
	}
	if (vs->hot.n)
		qsort(vs->hot.e, vs->hot.n, sizeof(*vs->hot.e), by_address);
	return rc;
}

/* Is va hot? *end is moved down to where that changes. */
static bool is_hot(const struct vmas *vs, uint64_t va, uint64_t *end)
{
	size_t lo = 0, hi = vs->hot.n;

	while (lo < hi) { /* the first one that begins behind va */
		size_t mid = (lo + hi) / 2;

		if (vs->hot.e[mid].va <= va)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo < vs->hot.n && vs->hot.e[lo].va < *end)
		*end = vs->hot.e[lo].va;
	/* rounds overlap: look back over a few */
	for (size_t back = 1; back <= lo && back <= 8; back++) {
		const struct kho_pagemap_entry *e = &vs->hot.e[lo - back];

		if (e->va + e->nr * PAGE > va) {
			if (e->va + e->nr * PAGE < *end)
				*end = e->va + e->nr * PAGE;
			return true;
		}
	}
	return false;
}

/* How many pages from va on are of one kind, and of which; v is moved on to the area of va. */
static uint64_t run_length(const struct vmas *vs, size_t *v, const struct kho_img_task *t,
			   uint64_t va, uint64_t nr, bool *out_lazy)
{
	uint64_t end = va + nr * PAGE;

	while (*v < vs->n && vs->v[*v].end <= va)
		++*v;
	*out_lazy = false;
	if (*v == vs->n)
		return nr;
	if (va < vs->v[*v].start)
		return ((end < vs->v[*v].start ? end : vs->v[*v].start) - va) / PAGE;
	if (end > vs->v[*v].end)
		end = vs->v[*v].end;
	if (!vs->v[*v].lazy)
		return (end - va) / PAGE;
	if (is_stack_top(t, va))
		return 1;
	for (size_t i = 0; i < t->nthreads; i++) {
		uint64_t top = t->sp[i] & ~(PAGE - 1);

		if (top > va && top < end)
			end = top;
	}
	*out_lazy = !is_hot(vs, va, &end);
	return (end - va) / PAGE;
}

static int put_record(struct out *o, const ProtobufCMessage *msg)
{
	uint32_t len = (uint32_t)protobuf_c_message_get_packed_size(msg);

	if (o->len + sizeof(len) + len > o->room) {
		size_t room = o->room * 2 + len + 4096;
		uint8_t *bigger = realloc(o->p, room);

		if (!bigger)
			return -ENOMEM;
		o->p = bigger;
		o->room = room;
	}
	memcpy(o->p + o->len, &len, sizeof(len));
	protobuf_c_message_pack(msg, o->p + o->len + sizeof(len));
	o->len += sizeof(len) + len;
	return 0;
}

static int put_head(struct out *o, uint32_t pages_id)
{
	static const uint32_t magic[2] = { MAGIC_COMMON, MAGIC_PAGEMAP };
	CriuImg__PagemapHead h = CRIU_IMG__PAGEMAP_HEAD__INIT;

	o->room = 4096;
	o->p = malloc(o->room);
	if (!o->p)
		return -ENOMEM;
	memcpy(o->p, magic, sizeof(magic));
	o->len = sizeof(magic);
	h.pages_id = pages_id;
	return put_record(o, &h.base);
}

static int put_entry(struct out *o, uint64_t va, uint64_t nr, uint32_t flags)
{
	CriuImg__PagemapEntry e = CRIU_IMG__PAGEMAP_ENTRY__INIT;

	e.vaddr = va;
	e.has_nr_pages = e.has_flags = 1;
	e.nr_pages = nr;
	e.flags = flags;
	return put_record(o, &e.base);
}

static int mark(struct out *o, const struct kho_pagemap *m, const struct vmas *vs,
		const struct kho_img_task *t, bool changed_lazy, struct kho_lazy_sum *sum)
{
	size_t v = 0;
	int rc = 0;

	for (size_t i = 0; !rc && i < m->n; i++) {
		uint64_t va = m->e[i].va, left = m->e[i].nr;

		while (!rc && left) {
			uint32_t flags = m->e[i].flags & ~KHO_PE_LAZY;
			bool lazy;
			uint64_t nr = run_length(vs, &v, t, va, left, &lazy);

			if (lazy && ((flags & KHO_PE_PARENT) || changed_lazy))
				flags |= KHO_PE_LAZY;
			*(flags & KHO_PE_LAZY ? &sum->lazy_pages : &sum->eager_pages) += nr;
			rc = put_entry(o, va, nr, flags);
			va += nr * PAGE;
			left -= nr;
		}
	}
	return rc;
}

static int rewrite(const char *dir, const struct kho_img_task *t, const struct kho_pagemap *m,
		   const struct vmas *vs, bool changed_lazy, struct kho_lazy_sum *sum,
		   struct kho_err *err)
{
	_cleanup_free_ char *path = NULL;
	struct out o = { 0 };
	int rc = put_head(&o, m->pages_id);

	if (!rc)
		rc = mark(&o, m, vs, t, changed_lazy, sum);
	if (!rc && asprintf(&path, "%s/pagemap-%d.img", dir, t->pid) < 0)
		rc = -ENOMEM;
	if (rc)
		rc = kho_fail(err, rc, "write page map of pid %d: out of memory", t->pid);
	else
		rc = kho_write_file(path, o.p, o.len, err);
	free(o.p);
	return rc;
}

static uint64_t present(const struct kho_pagemap *m)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < m->n; i++)
		if (m->e[i].flags & KHO_PE_PRESENT)
			sum += m->e[i].nr;
	return sum;
}

int kho_pagemap_mark(const char *dir, const struct kho_img_task *t, uint64_t eager_max,
		     struct kho_lazy_sum *sum, struct kho_err *err)
{
	_cleanup_free_ char *mm_path = NULL;
	struct kho_pagemap m;
	struct vmas vs = { 0 };
	uint64_t changed;
	int rc = kho_pagemap_read(dir, t->pid, &m, err);

	if (rc)
		return rc;
	if (asprintf(&mm_path, "%s/mm-%d.img", dir, t->pid) < 0)
		rc = kho_fail(err, -ENOMEM, "read memory map: out of memory");
	if (!rc)
		rc = kho_img_each(mm_path, take_mm, &vs, err);
	if (!rc)
		rc = read_hot(dir, t->pid, &vs, err);
	changed = present(&m);
	if (changed + present(&vs.hot) > eager_max)
		kho_pagemap_done(&vs.hot);
	if (!rc)
		rc = rewrite(dir, t, &m, &vs, changed > eager_max, sum, err);
	free(vs.v);
	kho_pagemap_done(&vs.hot);
	kho_pagemap_done(&m);
	return rc;
}
