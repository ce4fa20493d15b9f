// SPDX-License-Identifier: GPL-2.0-only
/* Unpacking a kernel image. See vmlinux.h. */
#include "lib/vmlinux.h"

#include <archive.h>
#include <archive_entry.h>
#include <string.h>
#include <unistd.h>

#include "lib/bzimage.h"
#include "lib/cleanup.h"

/* Behind the packed bytes stands their unpacked length, unless the packer (gzip) writes one itself (arch/x86/boot/compressed/Makefile). */
#define TRAILER 4

static void archivep(struct archive **a)
{
	if (*a)
		archive_read_free(*a);
}

static int read_payload(const char *path, uint8_t **out, size_t *out_len, struct kho_err *err)
{
	struct kho_bzimage b;
	_cleanup_close_ int fd = kho_bzimage_open(path, &b, err);
	_cleanup_free_ uint8_t *p = NULL;
	size_t done = 0;

	if (fd < 0)
		return fd;
	p = malloc(b.payload_bytes + 1);
	if (!p)
		return kho_fail(err, -ENOMEM, "%s: out of memory", path);
	while (done < b.payload_bytes) {
		ssize_t n = pread(fd, p + done, b.payload_bytes - done, (off_t)(b.payload_off + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return kho_fail(err, n ? -errno : -ENOEXEC, "%s: its payload cannot be read", path);
		done += (size_t)n;
	}
	*out_len = done;
	*out = steal_ptr(p);
	return 0;
}

/* All that comes out. */
static int take(struct archive *a, uint8_t **out, size_t *len, struct kho_err *err)
{
	size_t room = 0;
	ssize_t n = 1;

	while (n > 0) {
		if (room - *len < (1u << 20)) {
			uint8_t *bigger = room < KHO_VMLINUX_MAX_BYTES ? realloc(*out, room + (32u << 20)) : NULL;

			if (!bigger)
				return kho_fail(err, -EFBIG, "its payload unpacks to more than memory, or %u MiB", KHO_VMLINUX_MAX_BYTES >> 20);
			*out = bigger;
			room += 32u << 20;
		}
		n = archive_read_data(a, *out + *len, room - *len);
		*len += n > 0 ? (size_t)n : 0;
	}
	return n < 0 ? kho_fail(err, -ENOEXEC, "its payload: %s", archive_error_string(a)) : 0;
}

static int unpack(const uint8_t *p, size_t len, uint8_t **out, size_t *out_len, struct kho_err *err)
{
	_cleanup_(archivep) struct archive *a = archive_read_new();
	struct archive_entry *e;

	if (!a)
		return kho_fail(err, -ENOMEM, "out of memory");
	archive_read_support_filter_all(a);
	archive_read_support_format_raw(a);
	if (len > TRAILER && memcmp(p, "\x1f\x8b", 2))
		len -= TRAILER;
	if (archive_read_open_memory(a, p, len) != ARCHIVE_OK || archive_read_next_header(a, &e) < ARCHIVE_WARN)
		return kho_fail(err, -ENOEXEC, "its payload: %s", archive_error_string(a));
	return take(a, out, out_len, err);
}

int kho_vmlinux_unpack(const char *path, uint8_t **out, size_t *out_len, struct kho_err *err)
{
	_cleanup_free_ uint8_t *payload = NULL, *whole = NULL;
	size_t n = 0, len = 0;
	int rc = read_payload(path, &payload, &n, err);

	if (!rc)
		rc = unpack(payload, n, &whole, &len, err);
	if (!rc && (len < 4 || memcmp(whole, "\177ELF", 4)))
		rc = kho_fail(err, -ENOEXEC, "its payload is no ELF file, or packed in a way that is not understood");
	if (rc)
		return kho_wrap(err, "%s", path);
	*out = steal_ptr(whole);
	*out_len = len;
	return 0;
}
