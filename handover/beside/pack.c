// SPDX-License-Identifier: GPL-2.0-only
/*
 * newc archive of a list of files, through libarchive; optionally through zstd, by two threads more.
 * The files are those of a running system: one that is gone is left out, one that shrank since it
 * was listed is filled up with zeros (the serializer of files carries what changed later).
 */
#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <zstd.h>

#include "handover/beside/files.h"
#include "lib/cleanup.h"
#include "lib/io.h"

int kho_sink_fd(void *arg, const void *data, size_t len)
{
	return kho_write_all(*(const int *)arg, data, len);
}

struct packer {
	struct archive *a;
	struct archive_entry_linkresolver *links;
	ZSTD_CCtx *z; /* NULL: not compressed */
	kho_sink_fn sink;
	void *arg;
	int code; /* first failure of the sink */
	struct kho_err *err;
	char in[1 << 17], out[1 << 17];
};

static int compress(struct packer *p, const void *data, size_t len, ZSTD_EndDirective mode)
{
	ZSTD_inBuffer in = { data, len, 0 };
	size_t left;

	do {
		ZSTD_outBuffer out = { p->out, sizeof(p->out), 0 };

		left = ZSTD_compressStream2(p->z, &out, &in, mode);
		if (ZSTD_isError(left))
			return -EIO;
		if (out.pos && (p->code = p->sink(p->arg, p->out, out.pos)) < 0)
			return p->code;
	} while (mode == ZSTD_e_end ? left != 0 : in.pos < in.size);
	return 0;
}

static la_ssize_t on_write(struct archive *a, void *arg, const void *data, size_t len)
{
	struct packer *p = arg;

	p->code = p->z ? compress(p, data, len, ZSTD_e_continue) : p->sink(p->arg, data, len);
	if (p->code < 0) {
		archive_set_error(a, -p->code, "%s", strerror(-p->code));
		return -1;
	}
	return len;
}

static int failed(struct packer *p, const char *what)
{
	const char *why = archive_error_string(p->a);

	return kho_fail(p->err, p->code < 0 ? p->code : -EIO, "pack %s: %s", what, why ? why : "?");
}

/* Exactly `size` bytes, whatever the file has become. */
static int write_file(struct packer *p, const char *path, uint64_t size)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	while (size) {
		size_t want = size < sizeof(p->in) ? size : sizeof(p->in);
		ssize_t n = fd < 0 ? 0 : read(fd, p->in, want);

		if (n <= 0) {
			memset(p->in, 0, want);
			n = want;
		}
		if (archive_write_data(p->a, p->in, n) != n)
			return failed(p, path);
		size -= n;
	}
	return 0;
}

/* sourcepath of the entry: the file; "" for a synthetic one, whose content is in `data`. */
static int write_entry(struct packer *p, struct archive_entry *e, const char *data)
{
	const char *src = archive_entry_sourcepath(e);
	int64_t size = archive_entry_size(e);

	if (archive_write_header(p->a, e) < ARCHIVE_WARN)
		return failed(p, archive_entry_pathname(e));
	if (archive_entry_filetype(e) != AE_IFREG || !size)
		return 0;
	if (src && *src)
		return write_file(p, src, size);
	return archive_write_data(p->a, data, size) == size ? 0
							    : failed(p, archive_entry_pathname(e));
}

/* 0: described, 1: it is gone */
static int describe(const struct kho_file *f, struct archive_entry *e)
{
	char target[4096];
	struct stat st = {
		.st_mode = f->mode, .st_nlink = 1, .st_rdev = f->rdev, .st_size = f->bytes
	};
	ssize_t n;

	if (f->src && lstat(f->src, &st) < 0)
		return 1;
	if (S_ISSOCK(st.st_mode))
		return 1;
	if (!S_ISREG(st.st_mode))
		st.st_size = 0;
	archive_entry_copy_stat(e, &st);
	archive_entry_set_pathname(e, f->dst);
	archive_entry_copy_sourcepath(e, f->src ? f->src : "");
	if (!S_ISLNK(st.st_mode))
		return 0;
	if (!f->src) {
		archive_entry_set_symlink(e, f->data);
		return 0;
	}
	n = readlink(f->src, target, sizeof(target) - 1);
	if (n < 0)
		return 1;
	target[n] = '\0';
	archive_entry_set_symlink(e, target);
	return 0;
}

static int pack_one(struct packer *p, const struct kho_file *f)
{
	struct archive_entry *e = archive_entry_new(), *more = NULL;
	int ret = 0;

	if (!e)
		return kho_fail(p->err, -ENOMEM, "pack %s: out of memory", f->dst);
	if (describe(f, e) == 0) {
		if (f->src) /* hard links: the content goes with the last one */
			archive_entry_linkify(p->links, &e, &more);
		if (e)
			ret = write_entry(p, e, f->data);
		if (!ret && more)
			ret = write_entry(p, more, NULL);
	}
	archive_entry_free(more);
	archive_entry_free(e);
	return ret;
}

/* Files with links that are not in the list. */
static int pack_rest(struct packer *p)
{
	int ret = 0;

	while (!ret) {
		struct archive_entry *e = NULL, *more = NULL;

		archive_entry_linkify(p->links, &e, &more);
		if (!e)
			return 0;
		ret = write_entry(p, e, NULL);
		archive_entry_free(e);
	}
	return ret;
}

static int zstd_open(struct packer *p, int level)
{
	bool alone = level & KHO_PACK_ALONE;

	p->z = ZSTD_createCCtx();
	if (!p->z)
		return kho_fail(p->err, -ENOMEM, "pack: out of memory");
	ZSTD_CCtx_setParameter(p->z, ZSTD_c_compressionLevel, level & ~KHO_PACK_ALONE);
	if (!alone) /* ignored by a library without threads */
		ZSTD_CCtx_setParameter(p->z, ZSTD_c_nbWorkers, 2);
	return 0;
}

static int packer_open(struct packer *p, int level)
{
	int ret;

	p->a = archive_write_new();
	p->links = archive_entry_linkresolver_new();
	if (!p->a || !p->links)
		return kho_fail(p->err, -ENOMEM, "pack: out of memory");
	ret = level ? zstd_open(p, level) : 0;
	if (ret < 0)
		return ret;
	archive_entry_linkresolver_set_strategy(p->links, ARCHIVE_FORMAT_CPIO_SVR4_NOCRC);
	archive_write_add_filter_none(p->a);
	archive_write_set_bytes_per_block(p->a, 1 << 17);
	archive_write_set_bytes_in_last_block(p->a, 1);
	if (archive_write_set_format_cpio_newc(p->a) != ARCHIVE_OK ||
	    archive_write_open(p->a, p, NULL, on_write, NULL) != ARCHIVE_OK)
		return failed(p, "initramfs");
	return 0;
}

static void packer_done(struct packer *p)
{
	if (p->a)
		archive_write_free(p->a);
	if (p->links)
		archive_entry_linkresolver_free(p->links);
	ZSTD_freeCCtx(p->z);
	free(p);
}

/*
 * A small archive is packed three times as fast without zstd (seen: 7 s against 20 s for 150 MiB on
 * a loaded TCG machine, boot time the same); a large one would take too much of the region. (Of what
 * kexec loads the kernels make digests of each byte, in the blackout: see handover/kexec/engine.c.)
 */
int kho_files_level(uint64_t archive_bytes)
{
	return archive_bytes <= 256u << 20 ? 0 : 1;
}

/* Seen with roots of these sizes: modules and kernel images do not shrink. */
uint64_t kho_files_packed(uint64_t archive_bytes, int level)
{
	return level ? archive_bytes / 100 * 72 : archive_bytes;
}

int kho_files_pack(const struct kho_files *l, int level, kho_sink_fn sink, void *arg,
		   struct kho_err *err)
{
	struct packer *p = calloc(1, sizeof(*p));
	size_t i;
	int ret;

	if (!p)
		return kho_fail(err, -ENOMEM, "pack: out of memory");
	p->sink = sink;
	p->arg = arg;
	p->err = err;
	ret = packer_open(p, level);
	for (i = 0; i < l->n && !ret; i++)
		ret = pack_one(p, &l->f[i]);
	if (!ret)
		ret = pack_rest(p);
	if (!ret && archive_write_close(p->a) != ARCHIVE_OK)
		ret = failed(p, "initramfs");
	if (!ret && p->z && compress(p, NULL, 0, ZSTD_e_end) < 0)
		ret = kho_fail(err, p->code < 0 ? p->code : -EIO,
			       "pack initramfs: compression failed");
	packer_done(p);
	return ret;
}
