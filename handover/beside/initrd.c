// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reading an initramfs as the kernel does (init/initramfs.c): archives, plain or compressed, one
 * behind the other.  See handover/beside/initrd.h.
 *
 * An early part is left out: microcode (loaded by one CPU while its sibling runs another kernel) and
 * ACPI tables (they would replace the synthesized ones).  The kernel looks for both in the plain
 * archives at the front alone.
 */
#include "handover/beside/initrd.h"

#include <archive.h>
#include <archive_entry.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>
#include <zstd.h>

#include "handover/beside/cpio.h"
#include "handover/beside/machine.h"
#include "lib/cleanup.h"
#include "lib/io.h"

#define FILE_MAX (1ull << 30)
#define EARLY	 "kernel/"
#define BLOCK	 (1u << 17)
#define UNPACKED_MAX (4ull << 30)

/* As the kernel knows them (lib/decompress.c). */
static const struct {
	uint8_t magic[2];
	const char *name;
} methods[] = {
	{ { 0x1f, 0x8b }, "gzip" }, { { 0x1f, 0x9e }, "gzip" }, { { 0x42, 0x5a }, "bzip2" }, { { 0x5d, 0x00 }, "lzma" },
	{ { 0xfd, 0x37 }, "xz" },   { { 0x89, 0x4c }, "lzo" },	{ { 0x02, 0x21 }, "lz4" },   { { 0x28, 0xb5 }, "zstd" },
};

static int no_memory(struct kho_err *err)
{
	return kho_fail(err, -ENOMEM, "initrd: out of memory");
}

char *kho_initrd_find(const char *sysroot, const char *release)
{
	/* initramfs-tools; dracut; dracut as SUSE and as Fedora's ostree have it; kernel-install by the loader's specification */
	static const char *const places[][2] = {
		{ "/boot/initrd.img-", "" },	     { "/boot/initramfs-", ".img" }, { "/boot/initrd-", "" },
		{ "/usr/lib/modules/", "/initrd" },  { "/usr/lib/modules/", "/initramfs.img" },
		{ "/boot/*/", "/initrd" },	     { "/efi/*/", "/initrd" },	     { "/boot/efi/*/", "/initrd" },
	};

	for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
		_cleanup_free_ char *path = NULL;
		char name[300], *found = NULL;
		glob_t g = { 0 };

		snprintf(name, sizeof(name), "%s%s%s", places[i][0], release, places[i][1]);
		path = kho_sysroot_path(sysroot, name);
		if (path && glob(path, 0, NULL, &g) == 0)
			found = strdup(g.gl_pathv[0]);
		globfree(&g);
		if (found)
			return found;
	}
	return NULL;
}

struct reader {
	struct kho_initrd *in;
	bool plain;	/* an archive that the kernel also looks into early */
	uint64_t base;	/* of the archive in the file */
	uint64_t kept;	/* up to here pieces are made */
};

static int add_piece(struct kho_initrd *in, uint64_t at, uint64_t bytes, bool pad, struct kho_err *err)
{
	struct kho_initrd_piece *p;

	if (!bytes)
		return 0;
	p = kho_array_add(&in->piece, &in->npieces, sizeof(*p));
	if (!p)
		return no_memory(err);
	*p = (struct kho_initrd_piece){ at, bytes, pad };
	in->packed += bytes;
	return 0;
}

static int keep_entry(struct kho_initrd *in, const struct kho_cpio_entry *e, struct kho_err *err)
{
	struct kho_initrd_entry *n;

	/* inode and directory entry, and pages; two files of one name count twice: too much is safe */
	in->unpacked += 1024 + (S_ISREG(e->mode) ? (e->bytes + 4095) / 4096 * 4096 : 0);
	n = kho_array_add(&in->entry, &in->nentries, sizeof(*n));
	if (!n)
		return no_memory(err);
	n->name = strdup(e->name);
	n->target = S_ISLNK(e->mode) ? strdup(e->target) : NULL;
	n->mode = e->mode;
	n->hard = S_ISREG(e->mode) && e->nlink > 1;
	n->order = in->nentries;
	return n->name && (n->target || !S_ISLNK(e->mode)) ? 0 : no_memory(err);
}

static int on_entry(void *arg, const struct kho_cpio_entry *e, struct kho_err *err)
{
	struct reader *r = arg;
	size_t n = strlen(EARLY);
	int ret;

	if (!r->plain || (strncmp(e->name, EARLY, n) && strcmp(e->name, "kernel")))
		return keep_entry(r->in, e, err);
	/* what lies before it is one piece, and the next one begins behind it */
	r->in->early = true;
	ret = add_piece(r->in, r->kept, r->base + e->begin - r->kept, false, err);
	r->kept = r->base + e->end;
	return ret;
}

/* Uncompressed, at `at`; *at behind it. */
static int read_plain(struct kho_initrd *in, size_t *at, struct kho_err *err)
{
	struct reader r = { .in = in, .plain = true, .base = *at, .kept = *at };
	_cleanup_free_ struct kho_cpio *c = malloc(sizeof(*c));
	size_t used;
	int ret;

	if (!c)
		return no_memory(err);
	kho_cpio_init(c, on_entry, &r);
	ret = kho_cpio_take(c, in->data + *at, in->len - *at, &used, err);
	if (!ret && !kho_cpio_is_whole(c))
		ret = kho_fail(err, -EBADMSG, "it is cut off: the archive at byte %zu has no end", *at);
	if (ret < 0)
		return ret;
	*at += used;
	return add_piece(in, r.kept, *at - r.kept, true, err);
}

static struct archive *unpacker(void)
{
	struct archive *a = archive_read_new();

	if (!a)
		return NULL;
	archive_read_support_filter_all(a);
	archive_read_support_format_raw(a);
	archive_read_support_format_empty(a);
	return a;
}

/* All that comes out of a compressed part into the reader. */
static int feed(struct archive *a, struct kho_cpio *c, struct kho_err *err)
{
	struct archive_entry *e;
	const void *block;
	size_t len;
	la_int64_t off;
	int ret = 0, rc = archive_read_next_header(a, &e);

	if (rc == ARCHIVE_EOF)
		return kho_fail(err, -EBADMSG, "nothing is in it");
	while (!ret && rc >= ARCHIVE_WARN) {
		rc = archive_read_data_block(a, &block, &len, &off);
		if (rc == ARCHIVE_EOF)
			break;
		if (rc >= ARCHIVE_WARN)
			ret = kho_cpio_take(c, block, len, NULL, err);
		if (!ret && c->at > UNPACKED_MAX)
			ret = kho_fail(err, -EBADMSG, "it unpacks to more than 4 GiB");
	}
	if (!ret && rc != ARCHIVE_EOF)
		ret = kho_fail(err, -EBADMSG, "%s", archive_error_string(a));
	if (!ret && !kho_cpio_is_whole(c))
		ret = kho_fail(err, -EBADMSG, "it is cut off: the archive in it has no end");
	return ret;
}

/* By zlib itself, which looks at the checksum and knows where the data ends; libarchive does neither. */
static int read_gzip(struct kho_initrd *in, struct kho_cpio *c, size_t at, size_t *out_bytes, struct kho_err *err)
{
	_cleanup_free_ uint8_t *block = malloc(BLOCK);
	z_stream z = { .next_in = in->data + at, .avail_in = (uInt)(in->len - at) };
	int ret = 0, rc = Z_OK;

	if (!block || inflateInit2(&z, 15 + 16) != Z_OK)
		return no_memory(err);
	while (!ret && rc == Z_OK) {
		z.next_out = block;
		z.avail_out = BLOCK;
		rc = inflate(&z, Z_NO_FLUSH);
		if (rc == Z_OK || rc == Z_STREAM_END)
			ret = kho_cpio_take(c, block, BLOCK - z.avail_out, NULL, err);
		if (!ret && c->at > UNPACKED_MAX)
			ret = kho_fail(err, -EBADMSG, "it unpacks to more than 4 GiB");
	}
	*out_bytes = in->len - at - z.avail_in;
	if (!ret && rc != Z_STREAM_END)
		ret = kho_fail(err, -EBADMSG, "%s", z.msg ? z.msg : "it is cut off");
	inflateEnd(&z);
	if (!ret && !kho_cpio_is_whole(c))
		ret = kho_fail(err, -EBADMSG, "it is cut off: the archive in it has no end");
	return ret;
}

static int read_by_libarchive(struct kho_initrd *in, struct kho_cpio *c, size_t at, size_t bytes, struct kho_err *err)
{
	struct archive *a = unpacker();
	int ret;

	if (!a)
		return no_memory(err);
	ret = archive_read_open_memory(a, in->data + at, bytes) < ARCHIVE_WARN
		      ? kho_fail(err, -EBADMSG, "%s", archive_error_string(a))
		      : feed(a, c, err);
	archive_read_free(a);
	return ret;
}

static int read_packed(struct kho_initrd *in, size_t *at, const char *method, struct kho_err *err)
{
	struct reader r = { .in = in };
	_cleanup_free_ struct kho_cpio *c = malloc(sizeof(*c));
	size_t bytes = in->len - *at;
	int ret;

	if (!c)
		return no_memory(err);
	/* of gzip and zstd it is known where they end; all others are the last (and may be followed by zeros) */
	if (!strcmp(method, "zstd")) {
		bytes = ZSTD_findFrameCompressedSize(in->data + *at, bytes);
		if (ZSTD_isError(bytes))
			return kho_fail(err, -EBADMSG, "%s, at byte %zu: %s", method, *at, ZSTD_getErrorName(bytes));
	}
	kho_cpio_init(c, on_entry, &r);
	ret = !strcmp(method, "gzip") ? read_gzip(in, c, *at, &bytes, err) : read_by_libarchive(in, c, *at, bytes, err);
	if (ret < 0)
		return kho_wrap(err, "%s, at byte %zu", method, *at);
	*at += bytes;
	return add_piece(in, *at - bytes, bytes, true, err);
}

static const char *method_at(const struct kho_initrd *in, size_t at)
{
	for (size_t i = 0; in->len - at >= 2 && i < sizeof(methods) / sizeof(*methods); i++)
		if (!memcmp(in->data + at, methods[i].magic, 2))
			return methods[i].name;
	return NULL;
}

static int read_all(struct kho_initrd *in, struct kho_err *err)
{
	size_t at = 0;
	int ret = 0;

	while (!ret && at < in->len) {
		const char *method = method_at(in, at);

		if (!in->data[at])
			at++;
		else if (in->data[at] == '0' && !(at & 3))
			ret = read_plain(in, &at, err);
		else if (method)
			ret = read_packed(in, &at, method, err);
		else
			ret = kho_fail(err, -EBADMSG, "at byte %zu is neither an archive nor a compression that kernels know", at);
	}
	if (!ret && !in->nentries)
		ret = kho_fail(err, -EBADMSG, "it is empty");
	return ret;
}

static int by_name(const void *a, const void *b)
{
	const struct kho_initrd_entry *x = a, *y = b;
	int c = strcmp(x->name, y->name);

	return c ? c : (x->order < y->order) - (x->order > y->order);
}

static void entry_done(struct kho_initrd_entry *e)
{
	free(e->name);
	free(e->target);
}

static void close_entries(struct kho_initrd *in)
{
	size_t kept = 0;

	qsort(in->entry, in->nentries, sizeof(*in->entry), by_name);
	for (size_t i = 0; i < in->nentries; i++) {
		if (kept && !strcmp(in->entry[kept - 1].name, in->entry[i].name))
			entry_done(&in->entry[i]);
		else
			in->entry[kept++] = in->entry[i];
	}
	in->nentries = kept;
}

int kho_initrd_parse(uint8_t *data, size_t len, struct kho_initrd *out, struct kho_err *err)
{
	int ret;

	*out = (struct kho_initrd){ .data = data, .len = len };
	ret = read_all(out, err);
	if (ret < 0) {
		kho_initrd_done(out);
		return ret;
	}
	close_entries(out);
	return 0;
}

int kho_initrd_open(const char *path, struct kho_initrd *out, struct kho_err *err)
{
	char *data = NULL;
	size_t len = 0;

	*out = (struct kho_initrd){ 0 };
	if (kho_read_file(path, FILE_MAX, &data, &len, err) < 0)
		return err ? err->code : -EIO;
	return kho_initrd_parse((uint8_t *)data, len, out, err) < 0 ? kho_wrap(err, "damaged") : 0;
}

int kho_initrd_write(const struct kho_initrd *in, kho_sink_fn sink, void *arg, struct kho_err *err)
{
	/* an unpacker of lz4 takes what follows for a length, unless that is zero */
	static const uint8_t zeros[32];
	uint64_t done = 0;
	int ret = 0;

	for (size_t i = 0; !ret && i < in->npieces; i++) {
		size_t pad = in->piece[i].pad ? 16 + (-(done + in->piece[i].bytes) & 15) : 0;

		ret = sink(arg, in->data + in->piece[i].at, in->piece[i].bytes);
		if (!ret && pad)
			ret = sink(arg, zeros, pad);
		done += in->piece[i].bytes + pad;
	}
	return ret < 0 ? kho_fail(err, ret, "initrd: %s", strerror(-ret)) : 0;
}

void kho_initrd_done(struct kho_initrd *in)
{
	for (size_t i = 0; i < in->nentries; i++)
		entry_done(&in->entry[i]);
	free(in->entry);
	free(in->piece);
	free(in->data);
	*in = (struct kho_initrd){ 0 };
}
