// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory that the engine has taken.  It outlives this process (the incoming kernel runs in it), so
 * it is written down in run_dir/beside: `region BASE BYTES` and `extra BASE BYTES` lines.  `khoctl
 * rollback` of another process gives back from there.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "handover/beside/beside.h"
#include "lib/cleanup.h"
#include "lib/io.h"

#define BELOW_4G (1ULL << 32)

static char *record_path(const struct kho_beside *b)
{
	char *path;

	return asprintf(&path, "%s/beside", b->e.req->run_dir) < 0 ? NULL : path;
}

int kho_beside_held_save(const struct kho_beside *b, struct kho_err *err)
{
	_cleanup_free_ char *path = record_path(b), *text = NULL;
	size_t len, i;
	FILE *f = path ? open_memstream(&text, &len) : NULL;

	if (!f)
		return kho_fail(err, -ENOMEM, "record of taken memory: out of memory");
	if (b->region.bytes)
		fprintf(f, "region %" PRIx64 " %" PRIx64 "\n", b->region.base, b->region.bytes);
	for (i = 0; i < b->nextra; i++)
		fprintf(f, "extra %" PRIx64 " %" PRIx64 "\n", b->extra[i].base, b->extra[i].bytes);
	if (fclose(f))
		return kho_fail(err, -ENOMEM, "record of taken memory: out of memory");
	if (!len) {
		if (unlink(path) < 0 && errno != ENOENT)
			return kho_fail_errno(err, "%s", path);
		return 0;
	}
	return kho_write_file(path, text, len, err);
}

int kho_beside_held_load(struct kho_beside *b, struct kho_err *err)
{
	_cleanup_free_ char *path = record_path(b), *text = NULL;
	char *line, *save;

	if (b->region.bytes || b->nextra)
		return 0; /* we know it ourselves */
	if (!path)
		return kho_fail(err, -ENOMEM, "record of taken memory: out of memory");
	if (!kho_exists(path))
		return 0;
	if (kho_read_file(path, 1 << 20, &text, NULL, err) < 0)
		return err ? err->code : -EIO;
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		struct kho_beside_range r = { 0 }, *slot;

		if (sscanf(line, "region %" SCNx64 " %" SCNx64, &r.base, &r.bytes) == 2) {
			b->region = r;
		} else if (sscanf(line, "extra %" SCNx64 " %" SCNx64, &r.base, &r.bytes) == 2) {
			slot = kho_array_add(&b->extra, &b->nextra, sizeof(*slot));
			if (!slot)
				return kho_fail(err, -ENOMEM,
						"record of taken memory: out of memory");
			*slot = r;
		}
	}
	return 0;
}

/* Low memory first: an incoming kernel without any cannot serve devices with 32-bit DMA. */
int kho_beside_take_region(struct kho_beside *b, uint64_t bytes, struct kho_err *err)
{
	uint64_t top = b->m.has_1g_pages ? UINT64_MAX
					 : 16ULL << 30; /* reach of the park code's page tables */
	uint64_t align = b->m.block_bytes;
	int ret, node = b->m.device_node;

	ret = kho_dev_mem_take(b->dev, bytes, align, 0, BELOW_4G, node, &b->region.base, NULL);
	if (ret < 0 && node >= 0)
		ret = kho_dev_mem_take(b->dev, bytes, align, 0, top, node, &b->region.base, NULL);
	if (ret < 0)
		ret = kho_dev_mem_take(b->dev, bytes, align, 0, top, -1, &b->region.base, err);
	if (ret == -ENOMEM)
		return kho_fail(err, ret,
				"no %llu MiB of contiguous memory can be freed for the incoming "
				"kernel; stop what holds memory, or free caches (sysctl "
				"vm.drop_caches=3) and try again",
				(unsigned long long)(bytes >> 20));
	if (ret < 0)
		return ret;
	b->region.bytes = bytes;
	return kho_beside_held_save(b, err);
}

static int add_extra(struct kho_beside *b, uint64_t base, uint64_t bytes, struct kho_err *err)
{
	struct kho_beside_range *r = kho_array_add(&b->extra, &b->nextra, sizeof(*r));

	if (!r) {
		(void)kho_dev_mem_release(b->dev, base, bytes, NULL);
		return kho_fail(err, -ENOMEM, "memory for the workloads: out of memory");
	}
	r->base = base;
	r->bytes = bytes;
	return kho_beside_held_save(b, err);
}

/* In pieces that can be had: a large one that fails costs much more than small ones that do not. */
int kho_beside_take_extra(struct kho_beside *b, uint64_t bytes, struct kho_err *err)
{
	uint64_t block = b->m.block_bytes, missing = bytes, base;
	uint64_t piece =
		(bytes / 64 / block + 4) * block; /* at most 64 ranges when nothing is in the way */
	int ret;

	while (missing) {
		if (piece > missing)
			piece = missing;
		ret = kho_dev_mem_take(b->dev, piece, block, 0, UINT64_MAX, -1, &base, err);
		if (ret == 0) {
			ret = add_extra(b, base, piece, err);
			if (ret < 0)
				return ret;
			missing -= piece;
		} else if (ret != -ENOMEM) {
			return ret;
		} else if (piece == block) {
			return kho_fail(err, -ENOMEM,
					"%llu MiB of memory blocks are needed for the workloads, "
					"%llu MiB of them cannot be freed; stop what is not needed "
					"or add memory",
					(unsigned long long)(bytes >> 20),
					(unsigned long long)(missing >> 20));
		} else {
			piece = (piece / 2 + block - 1) / block * block;
		}
	}
	return 0;
}

/* What cannot be released stays on record. */
int kho_beside_release(struct kho_beside *b, struct kho_err *err)
{
	struct kho_err one = KHO_ERR_INIT;
	size_t i, kept = 0;
	int ret, first = 0;

	for (i = 0; i < b->nextra; i++) {
		ret = kho_dev_mem_release(b->dev, b->extra[i].base, b->extra[i].bytes, &one);
		if (ret < 0 && ret != -ENOENT) {
			kho_first_failure(ret, &one, &first, err);
			b->extra[kept++] = b->extra[i];
		}
	}
	b->nextra = kept;
	if (b->region.bytes) {
		ret = kho_dev_mem_release(b->dev, b->region.base, b->region.bytes, &one);
		if (ret < 0 && ret != -ENOENT)
			kho_first_failure(ret, &one, &first, err);
		else
			b->region.bytes = 0;
	}
	kho_first_failure(kho_beside_held_save(b, &one), &one, &first, err);
	return first;
}
