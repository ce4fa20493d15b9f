// SPDX-License-Identifier: GPL-2.0-only
/*
 * Files in memory.  See lib/memfd.h.
 */
#include "lib/memfd.h"

#include <errno.h>

int kho_memfd(const char *name, unsigned flags, struct kho_err *err)
{
	int fd = memfd_create(name, MFD_CLOEXEC | (flags & MFD_EXEC ? 0 : MFD_NOEXEC_SEAL) | flags);

	if (fd < 0 && errno == EINVAL) /* before Linux 6.3 all can be executed, and nothing is said of it */
		fd = memfd_create(name, MFD_CLOEXEC | (flags & ~MFD_EXEC));
	if (fd >= 0)
		return fd;
	if (errno == EACCES && flags & MFD_EXEC)
		return kho_fail(err, -EACCES,
				"%s: nothing that is in memory alone may be executed here (vm.memfd_noexec=2); sysctl vm.memfd_noexec=1 allows it", name);
	return kho_fail_errno(err, "make the file %s in memory", name);
}
