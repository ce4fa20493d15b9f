// SPDX-License-Identifier: GPL-2.0-only
/*
 * Files into the incoming kernel's tmpfs.  Small ones travel in their message, those of up to one
 * slot of the bulk area in one round trip, longer ones slot by slot: the next slot is filled while
 * the agent empties the former ones.  Holes are skipped.  Where many small ones are sent at once, a message has as
 * many as fit.
 */
#include "handover/link/peer.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "handover/link/peer_impl.h"
#include "lib/cleanup.h"
#include "lib/clock.h"

struct source {
	int fd;
	const char *path, *name;
	uint64_t size;
	uint32_t mode;
	uint64_t deadline_us;
};

/* Exactly len bytes at off; a file that became shorter meanwhile is an error. */
static int read_exact(const struct source *f, void *buf, size_t len, uint64_t off,
		      struct kho_err *err)
{
	for (size_t have = 0; have < len;) {
		ssize_t n = pread(f->fd, (uint8_t *)buf + have, len - have, off + have);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return kho_fail_errno(err, "read %s", f->path);
		if (!n)
			return kho_fail(err, -EIO, "%s became shorter while it was sent", f->path);
		have += n;
	}
	return 0;
}

static int put_inline(struct kho_peer *p, const struct source *f, struct kho_err *err)
{
	_cleanup_free_ uint8_t *data = malloc(f->size + 1);
	KhoLink__FilePut put = KHO_LINK__FILE_PUT__INIT;
	KhoLink__Msg m = KHO_LINK__MSG__INIT;
	int ret;

	if (!data)
		return kho_fail(err, -ENOMEM, "send %s", f->path);
	ret = read_exact(f, data, f->size, 0, err);
	if (ret < 0)
		return ret;
	put.name = (char *)f->name;
	put.mode = f->mode;
	put.data.data = data;
	put.data.len = f->size;
	put.bytes = f->size;
	put.sum = kho_sum64(data, f->size);
	m.body_case = KHO_LINK__MSG__BODY_FILE_PUT;
	m.file_put = &put;
	ret = kho_peer_call(p, &m, f->deadline_us, NULL, err);
	explicit_bzero(data, f->size); /* there may be what a client has sent in it */
	return ret;
}

static int put_slot(struct kho_peer *p, const struct source *f, struct kho_err *err)
{
	KhoLink__FilePut put = KHO_LINK__FILE_PUT__INIT;
	KhoLink__Msg m = KHO_LINK__MSG__INIT;
	int64_t slot = kho_peer_slot_get(p, f->deadline_us, err);
	int ret;

	if (slot < 0)
		return slot;
	ret = read_exact(f, kho_peer_slot_data(p, slot), f->size, 0, err);
	if (ret < 0) {
		kho_peer_slot_put(p, slot);
		return ret;
	}
	put.name = (char *)f->name;
	put.mode = f->mode;
	put.has_slot = true;
	put.slot = slot;
	put.bytes = f->size;
	put.sum = kho_sum64(kho_peer_slot_data(p, slot), f->size);
	m.body_case = KHO_LINK__MSG__BODY_FILE_PUT;
	m.file_put = &put;
	return kho_peer_call_slot(p, &m, slot, f->deadline_us, err);
}

static int send_chunk(struct kho_peer *p, const struct source *f, uint64_t id, uint64_t off,
		      uint32_t len, uint64_t *digest, struct kho_transfer *tr, struct kho_err *err)
{
	KhoLink__FileChunk c = KHO_LINK__FILE_CHUNK__INIT;
	KhoLink__Msg m = KHO_LINK__MSG__INIT;
	int64_t slot;
	int ret = kho_peer_wait_posts(p, tr, KHO_FLIGHT_MAX - 1, f->deadline_us, err);

	if (ret < 0)
		return ret;
	slot = kho_peer_slot_get(p, f->deadline_us, err);
	if (slot < 0)
		return slot;
	ret = read_exact(f, kho_peer_slot_data(p, slot), len, off, err);
	if (ret < 0) {
		kho_peer_slot_put(p, slot);
		return ret;
	}
	c.id = id;
	c.offset = off;
	c.slot = slot;
	c.bytes = len;
	c.sum = kho_sum64(kho_peer_slot_data(p, slot), len);
	*digest = kho_digest_add(*digest, off, len, c.sum);
	m.body_case = KHO_LINK__MSG__BODY_FILE_CHUNK;
	m.file_chunk = &c;
	return kho_peer_post(p, &m, slot, tr, f->deadline_us, err);
}

/* All data of the file, extent by extent. A file system without SEEK_DATA has one extent. */
static int send_extents(struct kho_peer *p, const struct source *f, uint64_t id, uint64_t *digest,
			struct kho_transfer *tr, struct kho_err *err)
{
	uint64_t pos = 0;

	while (pos < f->size) {
		off_t data = lseek(f->fd, pos, SEEK_DATA), hole;
		uint64_t end;

		if (data < 0 && errno == ENXIO)
			break;
		if (data < 0)
			data = pos;
		hole = lseek(f->fd, data, SEEK_HOLE);
		end = hole < 0 || (uint64_t)hole > f->size ? f->size : (uint64_t)hole;
		for (pos = data; pos < end;) {
			uint32_t len = end - pos < p->slot_bytes ? end - pos : p->slot_bytes;
			int ret = send_chunk(p, f, id, pos, len, digest, tr, err);

			if (ret < 0)
				return ret;
			pos += len;
		}
	}
	return 0;
}

static int end_file(struct kho_peer *p, const struct source *f, uint64_t id, uint64_t digest,
		    struct kho_err *err)
{
	KhoLink__FileEnd e = KHO_LINK__FILE_END__INIT;
	KhoLink__Msg m = KHO_LINK__MSG__INIT;

	e.id = id;
	e.size = f->size;
	e.digest = digest;
	m.body_case = KHO_LINK__MSG__BODY_FILE_END;
	m.file_end = &e;
	return kho_peer_call(p, &m, f->deadline_us, NULL, err);
}

static void abort_file(struct kho_peer *p, uint64_t id)
{
	KhoLink__FileAbort a = KHO_LINK__FILE_ABORT__INIT;
	KhoLink__Msg m = KHO_LINK__MSG__INIT;

	a.id = id;
	m.body_case = KHO_LINK__MSG__BODY_FILE_ABORT;
	m.file_abort = &a;
	/*
	 * best effort, at once: a ring that is full now belongs to a peer that reads nothing anyway
	 */
	(void)!kho_stream_send(&p->s, &m, 0, 1, NULL);
}

static int put_stream(struct kho_peer *p, const struct source *f, struct kho_err *err)
{
	KhoLink__FileBegin b = KHO_LINK__FILE_BEGIN__INIT;
	KhoLink__Msg m = KHO_LINK__MSG__INIT;
	struct kho_transfer tr = { 0 };
	uint64_t digest = 0;
	int ret;

	pthread_mutex_lock(&p->lock);
	b.id = p->next_transfer++;
	pthread_mutex_unlock(&p->lock);
	b.name = (char *)f->name;
	b.mode = f->mode;
	b.size = f->size;
	m.body_case = KHO_LINK__MSG__BODY_FILE_BEGIN;
	m.file_begin = &b;
	ret = kho_peer_post(p, &m, -1, &tr, f->deadline_us, err);
	if (!ret)
		ret = send_extents(p, f, b.id, &digest, &tr, err);
	if (!ret)
		ret = kho_peer_wait_posts(p, &tr, 0, f->deadline_us, err);
	kho_peer_drop_posts(p, &tr);
	if (!ret)
		ret = end_file(p, f, b.id, digest, err);
	if (ret < 0)
		abort_file(p, b.id);
	return ret;
}

static int open_source(struct source *f, struct kho_err *err)
{
	struct stat st;

	/* O_NONBLOCK: a FIFO must be refused below, not waited for */
	f->fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (f->fd < 0)
		return kho_fail_errno(err, "open %s", f->path);
	if (fstat(f->fd, &st) < 0)
		return kho_fail_errno(err, "stat %s", f->path);
	if (!S_ISREG(st.st_mode))
		return kho_fail(err, -EINVAL, "%s is no regular file", f->path);
	f->size = st.st_size;
	f->mode = st.st_mode & 0777;
	return 0;
}

static int put_source(struct kho_peer *p, const struct source *f, struct kho_err *err)
{
	if (f->size <= KHO_INLINE_MAX)
		return put_inline(p, f, err);
	return f->size <= p->slot_bytes ? put_slot(p, f, err) : put_stream(p, f, err);
}

static void source_done(struct source *f)
{
	if (f->fd >= 0)
		close(f->fd);
}

int kho_peer_put_file(struct kho_peer *p, const char *local, const char *name, uint64_t deadline_us,
		      struct kho_err *err)
{
	_cleanup_(source_done) struct source f = { .fd = -1, .path = local, .name = name, .deadline_us = deadline_us };
	int ret = kho_link_name_ok(name, err);

	if (ret < 0)
		return ret;
	ret = open_source(&f, err);
	if (!ret)
		ret = put_source(p, &f, err);
	return ret < 0 ? kho_wrap(err, "send %s", name) : 0;
}

/* --- many small ones --- */

struct batch {
	KhoLink__FilePut *put[KHO_BATCH_FILES];
	size_t n;
	uint64_t bytes;
};

static void batch_clear(struct batch *b)
{
	for (size_t i = 0; i < b->n; i++)
		kho_link__file_put__free_unpacked(b->put[i], NULL);
	b->n = b->bytes = 0;
}

static int batch_send(struct kho_peer *p, struct batch *b, uint64_t deadline_us, struct kho_err *err)
{
	KhoLink__FileBatch batch = KHO_LINK__FILE_BATCH__INIT;
	KhoLink__Msg m = KHO_LINK__MSG__INIT;
	int ret;

	if (!b->n)
		return 0;
	batch.file = b->put;
	batch.n_file = b->n;
	m.body_case = KHO_LINK__MSG__BODY_FILE_BATCH;
	m.file_batch = &batch;
	ret = kho_peer_call(p, &m, deadline_us, NULL, err);
	batch_clear(b);
	return ret;
}

static int batch_add(struct batch *b, const struct source *f, struct kho_err *err)
{
	KhoLink__FilePut *put = malloc(sizeof(*put));
	int ret;

	if (!put)
		return kho_fail(err, -ENOMEM, "send %s", f->path);
	kho_link__file_put__init(put);
	b->put[b->n++] = put;
	put->name = strdup(f->name);
	put->data.data = malloc(f->size + 1);
	if (!put->name || !put->data.data)
		return kho_fail(err, -ENOMEM, "send %s", f->path);
	ret = read_exact(f, put->data.data, f->size, 0, err);
	put->data.len = put->bytes = f->size;
	put->mode = f->mode;
	put->sum = kho_sum64(put->data.data, f->size);
	b->bytes += f->size;
	return ret;
}

static int put_one(struct kho_peer *p, struct batch *b, struct source *f, uint64_t timeout_us, struct kho_err *err)
{
	int ret = kho_link_name_ok(f->name, err);

	if (!ret)
		ret = open_source(f, err);
	if (ret < 0)
		return ret;
	f->deadline_us = kho_clock_us() + timeout_us + f->size;
	if (f->size > KHO_BATCH_FILE)
		return put_source(p, f, err);
	if (b->n == KHO_BATCH_FILES || b->bytes + f->size > KHO_INLINE_MAX)
		ret = batch_send(p, b, f->deadline_us, err);
	return ret ? ret : batch_add(b, f, err);
}

int kho_peer_put_files(struct kho_peer *p, const char *dir, const char *prefix, char *const *names, size_t n,
		       uint64_t timeout_us, uint64_t *out_bytes, struct kho_err *err)
{
	_cleanup_(batch_clear) struct batch b = { .n = 0 };
	int ret = 0;

	*out_bytes = 0;
	for (size_t i = 0; !ret && i < n; i++) {
		_cleanup_free_ char *local = NULL, *remote = NULL;
		_cleanup_(source_done) struct source f = { .fd = -1 };

		if (asprintf(&local, "%s/%s", dir, names[i]) < 0 || asprintf(&remote, "%s/%s", prefix, names[i]) < 0)
			return kho_fail(err, -ENOMEM, "send %s", names[i]);
		f.path = local;
		f.name = remote;
		ret = put_one(p, &b, &f, timeout_us, err);
		*out_bytes += f.size;
		if (ret < 0)
			return kho_wrap(err, "send %s", remote);
	}
	ret = batch_send(p, &b, kho_clock_us() + timeout_us, err);
	return ret < 0 ? kho_wrap(err, "send files of %s", prefix) : 0;
}
