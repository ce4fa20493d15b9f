// SPDX-License-Identifier: GPL-2.0-only
/* Fuzz target: a file of state as it lies on a disk (handover/kexec/disk.h). Three bytes: how long it was; one: a part of its digest; the rest: the file. */
#include <sys/mman.h>

#include "fuzz.h"
#include "handover/kexec/disk.h"

/* An empty file, or one with these bytes, from its beginning. */
static void fill(int *fd, const void *data, size_t size)
{
	if (*fd < 0)
		*fd = memfd_create("fuzz", MFD_CLOEXEC);
	if (*fd < 0 || ftruncate(*fd, 0) || pwrite(*fd, data, size, 0) != (ssize_t)size || lseek(*fd, 0, SEEK_SET))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int in = -1, out = -1;
	struct kho_disk_file f = { 0 };
	struct kho_err err = KHO_ERR_INIT;
	struct stat st;
	int ret;

	if (size < 4)
		return 0;
	f.bytes = (uint64_t)data[0] | (uint64_t)data[1] << 8 | (uint64_t)(data[2] & 0x3f) << 16;
	f.digest = data[3];
	f.packed = size - 4;
	fill(&in, data + 4, size - 4);
	fill(&out, "", 0);
	ret = kho_disk_unpack(in, &f, out, 0, &err);
	fuzz_check(ret == err.code && (!ret || *err.msg));
	/* whatever is in it */
	fuzz_check(!fstat(out, &st) && (uint64_t)st.st_size <= f.bytes);
	return 0;
}
