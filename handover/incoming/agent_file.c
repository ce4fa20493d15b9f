// SPDX-License-Identifier: GPL-2.0-only
/*
 * Files that the other side sends into images_dir.  Each is written under a name of its own beside
 * its place and renamed when it is whole: whoever looks sees the old file, none, or the new one.
 * Names are checked, and no link is followed on the way.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "handover/incoming/agent_impl.h"
#include "lib/cleanup.h"

struct place { /* where a file is being made */
	int dir, fd;
	char tmp[40];
	char *name; /* last component */
};

struct kho_agent_file {
	struct kho_agent_file *next;
	uint64_t id;
	struct place at;
	uint64_t size, digest;
	unsigned users; /* chunks being written now */
	bool doomed;	/* free when the last user is through */
};

static const struct kho_agent_told *told(struct kho_agent *a)
{
	const struct kho_agent_told *t;

	pthread_mutex_lock(&a->lock);
	t = a->told;
	pthread_mutex_unlock(&a->lock);
	return t;
}

/* --- making a file --- */

static void place_done(struct place *p)
{
	if (p->fd >= 0) {
		unlinkat(p->dir, p->tmp, 0);
		close(p->fd);
	}
	if (p->dir >= 0)
		close(p->dir);
	free(p->name);
	*p = (struct place){ .dir = -1, .fd = -1 };
}

/* Make the missing directories on the way to name (its last component is left out). */
static int make_dirs(int root, const char *name, struct kho_err *err)
{
	_cleanup_free_ char *copy = strdup(name);
	_cleanup_close_ int dir = openat(root, ".", O_DIRECTORY | O_PATH | O_CLOEXEC);
	char *part = copy, *slash;

	if (!copy || dir < 0)
		return kho_fail_errno(err, "images directory");
	for (; (slash = strchr(part, '/')); part = slash + 1) {
		int next;

		*slash = '\0';
		if (mkdirat(dir, part, 0700) < 0 && errno != EEXIST)
			return kho_fail_errno(err, "mkdir %s", part);
		next = openat(dir, part, O_DIRECTORY | O_PATH | O_NOFOLLOW | O_CLOEXEC);
		if (next < 0)
			return kho_fail_errno(err, "open directory %s", part);
		close(dir);
		dir = next;
	}
	return 0;
}

/* The directory that name lies in; most often it is there, and one call finds it. */
static int open_dir(int root, const char *name, struct kho_err *err)
{
	const struct open_how how = { .flags = O_DIRECTORY | O_PATH | O_CLOEXEC,
				      .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS };
	const char *slash = strrchr(name, '/');
	_cleanup_free_ char *path = slash ? strndup(name, slash - name) : strdup(".");
	int fd, ret;

	if (!path)
		return kho_fail(err, -ENOMEM, "file name");
	fd = syscall(SYS_openat2, root, path, &how, sizeof(how));
	if (fd < 0 && slash && errno == ENOENT) {
		ret = make_dirs(root, name, err);
		if (ret < 0)
			return ret;
		fd = syscall(SYS_openat2, root, path, &how, sizeof(how));
	}
	return fd < 0 ? kho_fail_errno(err, "open directory %s", path) : fd;
}

static int create(struct place *p, mode_t mode)
{
	const int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC;
	int fd = openat(p->dir, p->tmp, flags, mode);

	if (fd < 0 && errno == EEXIST && !unlinkat(p->dir, p->tmp, 0)) /* of an agent before us */
		fd = openat(p->dir, p->tmp, flags, mode);
	return fd;
}

static int place_open(struct kho_agent *a, const char *name, uint32_t mode, struct place *out,
		      struct kho_err *err)
{
	static _Atomic uint64_t count;
	int ret = kho_link_name_ok(name, err);

	*out = (struct place){ .dir = -1, .fd = -1 };
	if (ret < 0)
		return ret;
	ret = open_dir(told(a)->images_fd, name, err);
	if (ret < 0)
		return kho_wrap(err, "%s", name);
	out->dir = ret;
	out->name = strdup(strrchr(name, '/') ? strrchr(name, '/') + 1 : name);
	snprintf(out->tmp, sizeof(out->tmp), ".part-%" PRIu64, ++count);
	out->fd = out->name ? create(out, mode & 0700) : -1;
	if (out->fd < 0) {
		kho_fail_errno(err, "make %s", name);
		place_done(out);
		return err->code;
	}
	return 0;
}

static int write_at(struct place *p, const void *data, size_t len, uint64_t off,
		    struct kho_err *err)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = pwrite(p->fd, (const uint8_t *)data + done, len - done, off + done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return kho_fail_errno(err, "write %s", p->name);
		done += n;
	}
	return 0;
}

static int place_commit(struct place *p, struct kho_err *err)
{
	if (renameat(p->dir, p->tmp, p->dir, p->name) < 0)
		return kho_fail_errno(err, "rename to %s", p->name);
	close(p->fd);
	p->fd = -1;
	return 0;
}

/* The bytes of a slot, checked; NULL with err. */
static const uint8_t *slot_data(struct kho_agent *a, uint32_t slot, uint32_t bytes, uint64_t sum,
				struct kho_err *err)
{
	const struct kho_agent_told *t = told(a);
	uint64_t off = (uint64_t)slot * t->slot_bytes;

	if (!bytes || bytes > t->slot_bytes || off + bytes > t->bulk_bytes) {
		kho_fail(err, -EPROTO,
			 "slot %" PRIu32 " with %" PRIu32 " bytes is not inside the bulk area",
			 slot, bytes);
		return NULL;
	}
	if (kho_sum64(t->bulk + off, bytes) != sum) {
		kho_fail(err, -EBADMSG,
			 "checksum of slot %" PRIu32 " is wrong: the data changed on its way",
			 slot);
		return NULL;
	}
	return t->bulk + off;
}

/* A file whose bytes are at data, or in its message when that is NULL. */
static int put_whole(struct kho_agent *a, const KhoLink__FilePut *f, const uint8_t *data, struct kho_err *err)
{
	_cleanup_(place_done) struct place at = { .dir = -1, .fd = -1 };
	int ret;

	if (!data && (f->data.len != f->bytes || kho_sum64(f->data.data, f->data.len) != f->sum))
		return kho_fail(err, -EBADMSG, "%s: checksum is wrong: the data changed on its way", f->name);
	ret = place_open(a, f->name, f->mode, &at, err);
	if (!ret)
		ret = write_at(&at, data ? data : f->data.data, f->bytes, 0, err);
	if (!ret)
		ret = place_commit(&at, err);
	return ret;
}

int kho_agent_file_put(struct kho_agent *a, struct kho_request *rq, struct kho_err *err)
{
	const KhoLink__FilePut *f = rq->m->file_put;
	const uint8_t *data = f->has_slot ? slot_data(a, f->slot, f->bytes, f->sum, err) : NULL;

	if (f->has_slot && !data)
		return kho_wrap(err, "%s", f->name);
	return put_whole(a, f, data, err);
}

int kho_agent_file_batch(struct kho_agent *a, struct kho_request *rq, struct kho_err *err)
{
	const KhoLink__FileBatch *b = rq->m->file_batch;
	int ret = 0;

	for (size_t i = 0; !ret && i < b->n_file; i++)
		ret = put_whole(a, b->file[i], NULL, err);
	return ret;
}

/* --- longer files --- */

static void file_free(struct kho_agent_file *f)
{
	place_done(&f->at);
	free(f);
}

static struct kho_agent_file **find(struct kho_agent *a, uint64_t id)
{
	struct kho_agent_file **f = &a->files;

	while (*f && ((*f)->id != id || (*f)->doomed))
		f = &(*f)->next;
	return f;
}

static void unlink_file(struct kho_agent *a, struct kho_agent_file *f)
{
	struct kho_agent_file **at = &a->files;

	while (*at && *at != f)
		at = &(*at)->next;
	if (*at)
		*at = f->next;
}

int kho_agent_file_begin(struct kho_agent *a, struct kho_request *rq, struct kho_err *err)
{
	const KhoLink__FileBegin *b = rq->m->file_begin;
	struct kho_agent_file *f = calloc(1, sizeof(*f));
	int ret;

	if (!f)
		return kho_fail(err, -ENOMEM, "%s", b->name);
	f->id = b->id;
	f->size = b->size;
	ret = place_open(a, b->name, b->mode, &f->at, err);
	if (ret < 0) {
		free(f);
		return ret;
	}
	if (ftruncate(f->at.fd, b->size) < 0) {
		ret = kho_fail_errno(err, "%s: %" PRIu64 " bytes", b->name, b->size);
		file_free(f);
		return ret;
	}
	pthread_mutex_lock(&a->lock);
	if (*find(a, b->id)) {
		ret = kho_fail(err, -EPROTO, "transfer %" PRIu64 " is already there", b->id);
	} else {
		f->next = a->files;
		a->files = f;
	}
	pthread_mutex_unlock(&a->lock);
	if (ret)
		file_free(f);
	return ret;
}

/* Leave a chunk; the last one out of a doomed file frees it. */
static void leave(struct kho_agent *a, struct kho_agent_file *f, const KhoLink__FileChunk *c,
		  int ret)
{
	bool last;

	pthread_mutex_lock(&a->lock);
	if (!ret)
		f->digest = kho_digest_add(f->digest, c->offset, c->bytes, c->sum);
	last = !--f->users && f->doomed;
	if (last)
		unlink_file(a, f);
	pthread_mutex_unlock(&a->lock);
	if (last)
		file_free(f);
}

int kho_agent_file_chunk(struct kho_agent *a, struct kho_request *rq, struct kho_err *err)
{
	const KhoLink__FileChunk *c = rq->m->file_chunk;
	struct kho_agent_file *f;
	const uint8_t *data;
	int ret;

	pthread_mutex_lock(&a->lock);
	f = *find(a, c->id);
	if (f)
		f->users++;
	pthread_mutex_unlock(&a->lock);
	if (!f)
		return kho_fail(err, -ESTALE, "transfer %" PRIu64 " is not there (any more)",
				c->id);
	data = slot_data(a, c->slot, c->bytes, c->sum, err);
	if (!data)
		ret = err->code;
	else if (c->offset > f->size || c->bytes > f->size - c->offset)
		ret = kho_fail(err, -EPROTO, "%s: data behind the end that was announced",
			       f->at.name);
	else
		ret = write_at(&f->at, data, c->bytes, c->offset, err);
	leave(a, f, c, ret);
	return ret;
}

int kho_agent_file_end(struct kho_agent *a, struct kho_request *rq, struct kho_err *err)
{
	const KhoLink__FileEnd *e = rq->m->file_end;
	struct kho_agent_file **at, *f = NULL;
	int ret = 0;

	pthread_mutex_lock(&a->lock);
	at = find(a, e->id);
	if (!*at) {
		ret = kho_fail(err, -ESTALE, "transfer %" PRIu64 " is not there (any more)", e->id);
	} else if ((*at)->users) {
		ret = kho_fail(err, -EPROTO,
			       "transfer %" PRIu64 " was ended before its data had come", e->id);
	} else {
		f = *at;
		*at = f->next;
	}
	pthread_mutex_unlock(&a->lock);
	if (!f)
		return ret;
	if (f->size != e->size || f->digest != e->digest)
		ret = kho_fail(err, -EBADMSG, "%s: digest is wrong: not all of it has come",
			       f->at.name);
	else
		ret = place_commit(&f->at, err);
	file_free(f);
	return ret;
}

static void drop(struct kho_agent *a, bool all, uint64_t id)
{
	struct kho_agent_file *gone = NULL;

	pthread_mutex_lock(&a->lock);
	for (struct kho_agent_file **at = &a->files; *at;) {
		struct kho_agent_file *f = *at;

		if (!all && f->id != id) {
			at = &f->next;
		} else if (f->users) {
			f->doomed = true;
			at = &f->next;
		} else {
			*at = f->next;
			f->next = gone;
			gone = f;
		}
	}
	pthread_mutex_unlock(&a->lock);
	while (gone) {
		struct kho_agent_file *f = gone;

		gone = f->next;
		file_free(f);
	}
}

int kho_agent_file_abort(struct kho_agent *a, struct kho_request *rq, struct kho_err *err)
{
	(void)err;
	drop(a, false, rq->m->file_abort->id);
	return 0;
}

void kho_agent_files_drop(struct kho_agent *a)
{
	drop(a, true, 0);
}
