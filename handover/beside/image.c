// SPDX-License-Identifier: GPL-2.0-only
/*
 * The image that is to be started: it must not mind where it lies, because it is loaded where the
 * region is and not where its header prefers.
 */
#include "handover/beside/image.h"

#include <sys/mman.h>

#include "lib/cleanup.h"

int kho_image_check(const struct kho_bzimage *img, struct kho_err *err)
{
	if (!img->loaded_high)
		return kho_fail(err, -EINVAL, "a zImage, loaded low; " KHO_BZIMAGE_FIX);
	if (!img->relocatable || !img->above_4g)
		return kho_fail(err, -EINVAL,
				"the kernel is not relocatable (CONFIG_RELOCATABLE=n): it can only "
				"run where the running kernel lies; build it with "
				"CONFIG_RELOCATABLE=y");
	if (img->alignment < 4096 || img->alignment > (1u << 30) ||
	    (img->alignment & (img->alignment - 1)))
		return kho_fail(err, -EINVAL,
				"bad kernel_alignment %#llx in its header: " KHO_BZIMAGE_DAMAGED,
				(unsigned long long)img->alignment);
	return 0;
}

int kho_image_open(const char *path, const uint8_t **out_buf, size_t *out_len,
		   struct kho_bzimage *out, struct kho_err *err)
{
	_cleanup_close_ int fd = kho_bzimage_open(path, out, err);
	void *p;

	if (fd < 0)
		return fd;
	if (kho_image_check(out, err) < 0)
		return kho_wrap(err, "%s", path);
	p = mmap(NULL, out->file_bytes, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		return kho_fail_errno(err, "%s: map", path);
	*out_buf = p;
	*out_len = out->file_bytes;
	return 0;
}
