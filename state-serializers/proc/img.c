// SPDX-License-Identifier: GPL-2.0-only
/*
 * Records of CRIU's images: after two magic words of four bytes come length-prefixed protobuf
 * messages.
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <fcntl.h>

#include "lib/cleanup.h"
#include "state-serializers/proc/criu_img.pb-c.h"
#include "state-serializers/proc/img.h"
#include "state-serializers/proc/tree.h"

#define MAGIC_COMMON 0x54564319u
#define FD_INETSK    4

int kho_img_walk(const uint8_t *p, size_t len, const char *path,
		 int (*fn)(const uint8_t *, size_t, void *, struct kho_err *), void *arg,
		 struct kho_err *err)
{
	uint32_t magic, n;
	size_t at = 8;

	if (len < at)
		return kho_fail(err, -EBADMSG, "%s: too short for a CRIU image", path);
	memcpy(&magic, p, sizeof(magic));
	if (magic != MAGIC_COMMON)
		return kho_fail(err, -EBADMSG, "%s: not a CRIU image", path);
	while (at < len) {
		int rc;

		if (len - at < sizeof(n))
			return kho_fail(err, -EBADMSG, "%s: cut off at byte %zu", path, at);
		memcpy(&n, p + at, sizeof(n));
		at += sizeof(n);
		if (n > len - at)
			return kho_fail(err, -EBADMSG, "%s: cut off at byte %zu", path, at);
		rc = fn(p + at, n, arg, err);
		if (rc)
			return rc < 0 ? rc : 0;
		at += n;
	}
	return 0;
}

int kho_img_each(const char *path, int (*fn)(const uint8_t *, size_t, void *, struct kho_err *),
		 void *arg, struct kho_err *err)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	uint8_t *p;
	int rc;

	if (fd < 0)
		return kho_fail_errno(err, "open %s", path);
	if (fstat(fd, &st))
		return kho_fail_errno(err, "stat %s", path);
	if (st.st_size == 0)
		return 0;
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	if (p == MAP_FAILED)
		return kho_fail_errno(err, "map %s", path);
	rc = kho_img_walk(p, (size_t)st.st_size, path, fn, arg, err);
	munmap(p, (size_t)st.st_size);
	return rc;
}

static int grow(void *array, size_t n, size_t size)
{
	void **p = array, *bigger;

	if (n & (n - 1)) /* room is always a power of two */
		return 0;
	bigger = realloc(*p, (n ? n * 2 : 1) * size);
	if (!bigger)
		return -ENOMEM;
	*p = bigger;
	return 0;
}

struct threads {
	uint32_t *tid;
	size_t n;
};

struct reader {
	struct kho_img_tree *t;
	struct threads *th; /* as many as tasks */
};

static int take_task(const uint8_t *rec, size_t len, void *arg, struct kho_err *err)
{
	struct reader *r = arg;
	CriuImg__PstreeEntry *e = criu_img__pstree_entry__unpack(NULL, len, rec);
	struct threads th = { 0 };

	if (!e)
		return kho_fail(err, -EBADMSG, "pstree.img: record is not understood");
	th.n = e->n_threads;
	th.tid = calloc(th.n + 1, sizeof(*th.tid));
	if (th.tid && th.n)
		memcpy(th.tid, e->threads, th.n * sizeof(*th.tid));
	if (!th.tid || grow(&r->t->tasks, r->t->ntasks, sizeof(*r->t->tasks)) ||
	    grow(&r->th, r->t->ntasks, sizeof(th))) {
		free(th.tid);
		criu_img__pstree_entry__free_unpacked(e, NULL);
		return kho_fail(err, -ENOMEM, "read pstree.img: out of memory");
	}
	r->th[r->t->ntasks] = th;
	r->t->tasks[r->t->ntasks++] =
		(struct kho_img_task){ .pid = (pid_t)e->pid, .ppid = (pid_t)e->ppid };
	criu_img__pstree_entry__free_unpacked(e, NULL);
	return 0;
}

static int take_core(const uint8_t *rec, size_t len, void *arg, struct kho_err *err)
{
	CriuImg__CoreEntry **out = arg;

	*out = criu_img__core_entry__unpack(NULL, len, rec);
	return *out ? 1 : kho_fail(err, -EBADMSG, "core image: record is not understood");
}

static int read_core(const char *dir, uint32_t tid, struct kho_img_task *t, size_t i,
		     struct kho_err *err)
{
	_cleanup_free_ char *path = NULL;
	CriuImg__CoreEntry *c = NULL;
	int rc;

	if (asprintf(&path, "%s/core-%u.img", dir, tid) < 0)
		return kho_fail(err, -ENOMEM, "read images: out of memory");
	rc = kho_img_each(path, take_core, &c, err);
	if (rc)
		return rc;
	if (!c)
		return kho_fail(err, -EBADMSG, "%s is empty", path);
	if (c->thread_info && c->thread_info->gpregs)
		t->sp[i] = c->thread_info->gpregs->sp;
	if (c->tc) {
		t->state = c->tc->task_state;
		t->stop_signo = c->tc->stop_signo;
	}
	criu_img__core_entry__free_unpacked(c, NULL);
	return 0;
}

static int read_cores(const char *dir, struct kho_img_task *t, const struct threads *th,
		      struct kho_err *err)
{
	int rc = 0;

	t->sp = calloc(th->n + 1, sizeof(*t->sp));
	if (!t->sp)
		return kho_fail(err, -ENOMEM, "read images: out of memory");
	t->nthreads = th->n;
	/* the only one has the process's number; CRIU writes anything there for a zombie */
	if (th->n <= 1)
		return read_core(dir, (uint32_t)t->pid, t, 0, err);
	for (size_t i = 0; !rc && i < th->n; i++)
		rc = read_core(dir, th->tid[i], t, i, err);
	return rc;
}

int kho_img_task_read(const char *dir, pid_t pid, struct kho_img_task *t, struct kho_err *err)
{
	_cleanup_free_ pid_t *tids = NULL;
	size_t n = kho_pid_threads(pid, &tids);
	int rc = 0;

	*t = (struct kho_img_task){ .pid = pid, .nthreads = n };
	if (!n)
		return kho_fail(err, -ESRCH, "pid %d is gone", pid);
	t->sp = calloc(n, sizeof(*t->sp));
	if (!t->sp)
		return kho_fail(err, -ENOMEM, "read images: out of memory");
	for (size_t i = 0; !rc && i < n; i++)
		rc = read_core(dir, (uint32_t)tids[i], t, i, err);
	if (rc) {
		free(t->sp);
		t->sp = NULL;
	}
	return rc;
}

static int take_file(const uint8_t *rec, size_t len, void *arg, struct kho_err *err)
{
	struct kho_img_tree *t = arg;
	CriuImg__FileEntry *f = criu_img__file_entry__unpack(NULL, len, rec);
	int rc = 0;

	if (!f)
		return kho_fail(err, -EBADMSG, "files.img: record is not understood");
	if (f->type == FD_INETSK && f->isk && f->isk->type == 1 /* SOCK_STREAM */) {
		CriuImg__InetSk *s = f->isk;

		rc = grow(&t->tcp, t->ntcp, sizeof(*t->tcp));
		if (!rc)
			t->tcp[t->ntcp++] = (struct kho_img_socket){
				.ino = s->ino,
				.family = s->family,
				.state = s->state,
				.src_port = s->src_port,
				.dst_port = s->dst_port,
				.reuseaddr = s->opts && s->opts->reuseaddr,
			};
	}
	criu_img__file_entry__free_unpacked(f, NULL);
	return rc ? kho_fail(err, rc, "read files.img: out of memory") : 0;
}

int kho_img_tree_read(const char *dir, struct kho_img_tree *out, struct kho_err *err)
{
	_cleanup_free_ char *pstree = NULL, *files = NULL;
	struct reader r = { .t = out };
	int rc;

	*out = (struct kho_img_tree){ 0 };
	if (asprintf(&pstree, "%s/pstree.img", dir) < 0 ||
	    asprintf(&files, "%s/files.img", dir) < 0)
		return kho_fail(err, -ENOMEM, "read images: out of memory");
	rc = kho_img_each(pstree, take_task, &r, err);
	for (size_t i = 0; !rc && i < out->ntasks; i++)
		rc = read_cores(dir, &out->tasks[i], &r.th[i], err);
	if (!rc && !access(files, F_OK))
		rc = kho_img_each(files, take_file, out, err);
	for (size_t i = 0; i < out->ntasks; i++)
		free(r.th[i].tid);
	free(r.th);
	if (rc)
		kho_img_tree_done(out);
	return rc;
}

void kho_img_tree_done(struct kho_img_tree *t)
{
	for (size_t i = 0; i < t->ntasks; i++)
		free(t->tasks[i].sp);
	free(t->tasks);
	free(t->tcp);
	*t = (struct kho_img_tree){ 0 };
}
