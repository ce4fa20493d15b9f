// SPDX-License-Identifier: GPL-2.0-only
/*
 * Files of images on a disk. Each is a series of zstd frames, one for each MiB, so that `zstd -d` unpacks it, too. See handover/kexec/disk.h.
 */
#include "handover/kexec/disk.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include "handover/link/wire.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"

#define LEVEL	   1
#define PIECE	   (1u << 20) /* what a frame and a part of the digest are of */
#define WINDOW_LOG 21	      /* no frame of ours looks back further than it is long */
#define PACE	   (64u << 20) /* written and not synced: at most so much, or who syncs at the end waits for all of it */

static void name_of(uint64_t token, char name[32])
{
	snprintf(name, 32, "%llu.zst", (unsigned long long)token);
}

/* until_us 0: there is time. */
static int in_time(uint64_t until_us, struct kho_err *err)
{
	if (!until_us || kho_clock_us() <= until_us)
		return 0;
	return kho_fail(err, -ETIMEDOUT, "the disk is too slow for what is left to write in the blackout, and to read again");
}

/* --- pack --- */

struct pack {
	ZSTD_CCtx *z;
	char *in, *out;
	size_t room; /* of out */
	uint64_t unsynced;
};

static void pack_done(struct pack *p)
{
	ZSTD_freeCCtx(p->z);
	if (p->in)
		explicit_bzero(p->in, PIECE);
	free(p->in);
	free(p->out);
}

static int pack_new(struct pack *p, struct kho_err *err)
{
	p->room = ZSTD_compressBound(PIECE);
	p->z = ZSTD_createCCtx();
	p->in = malloc(PIECE);
	p->out = malloc(p->room);
	if (!p->z || !p->in || !p->out)
		return kho_fail(err, -ENOMEM, "pack: out of memory");
	ZSTD_CCtx_setParameter(p->z, ZSTD_c_compressionLevel, LEVEL);
	ZSTD_CCtx_setParameter(p->z, ZSTD_c_checksumFlag, 1);
	return 0;
}

/* A whole piece, or what is left of the file; negative: -errno. */
static ssize_t read_piece(int fd, char *buf)
{
	size_t len = 0;

	while (len < PIECE) {
		ssize_t n = read(fd, buf + len, PIECE - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			break;
		len += (size_t)n;
	}
	return (ssize_t)len;
}

static int put_piece(struct pack *p, size_t n, int out, struct kho_disk_file *f, struct kho_err *err)
{
	size_t len = ZSTD_compress2(p->z, p->out, p->room, p->in, n);
	int ret;

	if (ZSTD_isError(len))
		return kho_fail(err, -EIO, "pack: %s", ZSTD_getErrorName(len));
	f->digest = kho_digest_add(f->digest, f->bytes, (uint32_t)n, kho_sum64(p->in, n));
	f->bytes += n;
	f->packed += len;
	ret = kho_write_all(out, p->out, len);
	if (ret < 0)
		return kho_fail(err, ret, "write: %s", strerror(-ret));
	p->unsynced += len;
	if (p->unsynced < PACE)
		return 0;
	p->unsynced = 0;
	return fdatasync(out) ? kho_fail_errno(err, "sync") : 0;
}

static int pack_all(int in, int out, uint64_t until_us, struct kho_disk_file *f, struct kho_err *err)
{
	_cleanup_(pack_done) struct pack p = { 0 };
	int ret = pack_new(&p, err);
	ssize_t n;

	*f = (struct kho_disk_file){ 0 };
	while (!ret && (n = read_piece(in, p.in)) != 0) {
		if (n < 0)
			return kho_fail(err, (int)n, "read: %s", strerror((int)-n));
		ret = put_piece(&p, (size_t)n, out, f, err);
		if (!ret)
			ret = in_time(until_us, err);
	}
	return ret;
}

int kho_disk_put(int folder, uint64_t token, const char *from, uint64_t until_us, struct kho_disk_file *out, struct kho_err *err)
{
	_cleanup_close_ int in = open(from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW), to = -1;
	char name[32];
	int ret;

	if (in < 0)
		return kho_fail_errno(err, "%s", from);
	name_of(token, name);
	to = openat(folder, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (to < 0)
		return kho_fail_errno(err, "make %s for the state", name);
	ret = pack_all(in, to, until_us, out, err);
	return ret < 0 ? kho_wrap(err, "%s as %s", from, name) : 0;
}

/* --- unpack --- */

struct unpack {
	ZSTD_DCtx *z;
	char *in, *out;
	size_t room; /* of in */
	const struct kho_disk_file *want;
	struct kho_disk_file got;
	int to;
};

static void unpack_done(struct unpack *u)
{
	ZSTD_freeDCtx(u->z);
	if (u->out)
		explicit_bzero(u->out, PIECE);
	free(u->in);
	free(u->out);
}

static int unpack_new(struct unpack *u, struct kho_err *err)
{
	u->room = ZSTD_DStreamInSize();
	u->z = ZSTD_createDCtx();
	u->in = malloc(u->room);
	u->out = malloc(PIECE);
	if (!u->z || !u->in || !u->out)
		return kho_fail(err, -ENOMEM, "unpack: out of memory");
	ZSTD_DCtx_setParameter(u->z, ZSTD_d_windowLogMax, WINDOW_LOG);
	return 0;
}

static int damaged(const struct unpack *u, const char *what, struct kho_err *err)
{
	return kho_fail(err, -EBADMSG, "it is damaged: %s, at %llu of %llu bytes", what, (unsigned long long)u->got.bytes,
			(unsigned long long)u->want->bytes);
}

/* What is in out: a piece, or the last one. */
static int take_piece(struct unpack *u, size_t len, struct kho_err *err)
{
	int ret;

	if (len > u->want->bytes - u->got.bytes)
		return damaged(u, "it is longer than it was", err);
	u->got.digest = kho_digest_add(u->got.digest, u->got.bytes, (uint32_t)len, kho_sum64(u->out, len));
	ret = u->to >= 0 ? kho_write_all(u->to, u->out, len) : 0;
	if (ret < 0)
		return kho_fail(err, ret, "write: %s", strerror(-ret));
	u->got.bytes += len;
	return 0;
}

/* n more bytes as they lie on the disk; o is what has come out of them and makes no whole piece yet. */
static int feed(struct unpack *u, size_t n, ZSTD_outBuffer *o, struct kho_err *err)
{
	ZSTD_inBuffer i = { u->in, n, 0 };
	bool full;

	do {
		size_t rc = ZSTD_decompressStream(u->z, o, &i);
		int ret;

		if (ZSTD_isError(rc))
			return damaged(u, ZSTD_getErrorName(rc), err);
		full = o->pos == o->size;
		ret = full ? take_piece(u, o->pos, err) : 0;
		if (ret < 0)
			return ret;
		if (full)
			o->pos = 0;
	} while (i.pos < i.size || full); /* full: there may be more inside */
	return 0;
}

static int unpack_all(struct unpack *u, int fd, uint64_t until_us, struct kho_err *err)
{
	ZSTD_outBuffer o = { u->out, PIECE, 0 };
	ssize_t n;
	int ret = 0;

	while (!ret && (n = read(fd, u->in, u->room)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return kho_fail_errno(err, "read");
		u->got.packed += (uint64_t)n;
		if (u->got.packed > u->want->packed)
			return damaged(u, "there is more of it than was written", err);
		ret = feed(u, (size_t)n, &o, err);
		if (!ret)
			ret = in_time(until_us, err);
	}
	if (!ret && o.pos)
		ret = take_piece(u, o.pos, err);
	return ret;
}

int kho_disk_unpack(int fd, const struct kho_disk_file *f, int out, uint64_t until_us, struct kho_err *err)
{
	_cleanup_(unpack_done) struct unpack u = { .want = f, .to = out };
	int ret = unpack_new(&u, err);

	if (!ret)
		ret = unpack_all(&u, fd, until_us, err);
	if (ret < 0)
		return ret;
	if (u.got.bytes != f->bytes || u.got.packed != f->packed)
		return damaged(&u, "it ends too early", err);
	return u.got.digest == f->digest ? 0 : damaged(&u, "its digest is another one", err);
}

int kho_disk_get(int folder, uint64_t token, const struct kho_disk_file *f, const char *to, uint64_t until_us, struct kho_err *err)
{
	_cleanup_close_ int in = -1, out = -1;
	struct stat st;
	char name[32];
	int ret;

	name_of(token, name);
	in = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (in < 0 || fstat(in, &st))
		return kho_fail_errno(err, "%s of the state", name);
	if (!S_ISREG(st.st_mode))
		return kho_fail(err, -EBADMSG, "%s of the state is no file", name);
	if (to)
		out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (to && out < 0)
		return kho_fail_errno(err, "%s", to);
	/* what this kernel has of it in memory tells nothing of the disk; and it is read once */
	(void)!posix_fadvise(in, 0, 0, POSIX_FADV_DONTNEED);
	ret = kho_disk_unpack(in, f, out, until_us, err);
	(void)!posix_fadvise(in, 0, 0, POSIX_FADV_DONTNEED);
	if (ret < 0 && to)
		(void)!unlink(to);
	return ret < 0 ? kho_wrap(err, "%s of the state", name) : 0;
}
