// SPDX-License-Identifier: GPL-2.0-only
/* A kernel's own record of the kexec that it came by.  See lib/kexec_metadata.h. */
#include "lib/kexec_metadata.h"

#include <string.h>

#include "lib/cleanup.h"
#include "lib/format.h"
#include "lib/io.h"

#define PATH	    "/sys/kernel/debug/kho/in/sub_fdts/kexec-metadata"
#define VERSION	    1
#define LONGEST	    4096 /* the kernel's is 73 bytes; a later one may be longer */

/* As the kernel lays it out, in the machine's own byte order. */
struct layout {
	uint32_t version;
	char previous_release[65]; /* __NEW_UTS_LEN + 1 */
	uint32_t kexec_count;
} __attribute__((packed));
_Static_assert(sizeof(struct layout) == 73, "struct kho_kexec_metadata");

int kho_kexec_metadata_parse(const void *bytes, size_t len, struct kho_kexec_metadata *out, struct kho_err *err)
{
	struct layout l;

	if (len < sizeof(l.version))
		return kho_fail(err, -EBADMSG, "kexec-metadata: %zu bytes", len);
	memcpy(&l.version, bytes, sizeof(l.version));
	if (l.version != VERSION)
		return 0;
	if (len < sizeof(l))
		return kho_fail(err, -EBADMSG, "kexec-metadata: %zu bytes, %zu are wanted", len, sizeof(l));
	memcpy(&l, bytes, sizeof(l));
	if (!memchr(l.previous_release, '\0', sizeof(l.previous_release)) || !kho_is_word(l.previous_release))
		return kho_fail(err, -EBADMSG, "kexec-metadata: what should be a release is none");
	memcpy(out->previous_release, l.previous_release, sizeof(out->previous_release));
	out->kexec_count = l.kexec_count;
	return 1;
}

int kho_kexec_metadata_read(const char *sysroot, struct kho_kexec_metadata *out, struct kho_err *err)
{
	_cleanup_free_ char *path = kho_sysroot_path(sysroot, PATH), *bytes = NULL;
	size_t len;
	int rc;

	if (!path)
		return kho_fail(err, -ENOMEM, "kexec-metadata: out of memory");
	rc = kho_read_file(path, LONGEST, &bytes, &len, err);
	if (rc == -ENOENT)
		return 0;
	return rc < 0 ? rc : kho_kexec_metadata_parse(bytes, len, out, err);
}
