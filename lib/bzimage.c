// SPDX-License-Identifier: GPL-2.0-only
/* Header of an x86 kernel image.  See lib/bzimage.h. */
#include "lib/bzimage.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/cleanup.h"

#define HEAD_MAX	 (64u << 10)
#define OFF_SETUP_SECTS	 0x1f1
#define OFF_SYSSIZE	 0x1f4
#define OFF_MAGIC	 0x202
#define OFF_PROTOCOL	 0x206
#define OFF_VERSION	 0x20e
#define OFF_RELOCATABLE	 0x234
#define OFF_XLOADFLAGS	 0x236
#define OFF_CMDLINE_SIZE 0x238
#define OFF_PREF_ADDRESS 0x258
#define OFF_INIT_SIZE	 0x260
#define HEADER_END	 0x268

static uint64_t get(const uint8_t *p, unsigned bytes)
{
	uint64_t v = 0;

	while (bytes--)
		v = v << 8 | p[bytes];
	return v;
}

static int read_version(const char *name, const uint8_t *head, size_t len, struct kho_bzimage *out,
			struct kho_err *err)
{
	size_t off = get(head + OFF_VERSION, 2) + 0x200;
	size_t n, word;

	if (off == 0x200 || off >= len)
		return kho_fail(err, -ENOEXEC, "%s: the kernel image has no version string", name);
	n = strnlen((const char *)head + off, len - off);
	if (n >= sizeof(out->version))
		n = sizeof(out->version) - 1;
	memcpy(out->version, head + off, n);
	word = strcspn(out->version, " \t\n");
	if (!word || word >= sizeof(out->release) || strpbrk(out->version, "/\x1b"))
		return kho_fail(err, -ENOEXEC,
				"%s: the version string of the kernel image is damaged", name);
	memcpy(out->release, out->version, word);
	return 0;
}

int kho_bzimage_parse(const char *name, const uint8_t *head, size_t len, uint64_t file_bytes,
		      struct kho_bzimage *out, struct kho_err *err)
{
	unsigned sects, flags;

	*out = (struct kho_bzimage){ .file_bytes = file_bytes };
	if (len >= 4 && !memcmp(head,
				"\x7f"
				"ELF",
				4))
		return kho_fail(err, -ENOEXEC,
				"%s: an ELF file; give the compressed image "
				"(/boot/vmlinuz-RELEASE)",
				name);
	if (len < OFF_MAGIC + 4 || memcmp(head + OFF_MAGIC, "HdrS", 4))
		return kho_fail(err, -ENOEXEC,
				"%s: not an x86 kernel image; give /boot/vmlinuz-RELEASE", name);
	if (len < HEADER_END)
		return kho_fail(err, -ENOEXEC,
				"%s: the kernel image is truncated in its header (%llu bytes)",
				name, (unsigned long long)file_bytes);
	out->protocol = (uint16_t)get(head + OFF_PROTOCOL, 2);
	if (out->protocol < 0x20c)
		return kho_fail(err, -ENOEXEC, "%s: boot protocol %u.%u is too old (need 2.12)",
				name, out->protocol >> 8, out->protocol & 0xff);
	sects = head[OFF_SETUP_SECTS] ? head[OFF_SETUP_SECTS] : 4;
	out->payload_end = (sects + 1) * 512ull + get(head + OFF_SYSSIZE, 4) * 16;
	flags = (unsigned)get(head + OFF_XLOADFLAGS, 2);
	out->entry64 = flags & 1;
	out->above_4g = flags & 2;
	out->relocatable = head[OFF_RELOCATABLE];
	out->cmdline_max = (uint32_t)get(head + OFF_CMDLINE_SIZE, 4);
	out->pref_address = get(head + OFF_PREF_ADDRESS, 8);
	out->init_size = get(head + OFF_INIT_SIZE, 4);
	if (!out->entry64)
		return kho_fail(err, -ENOEXEC,
				"%s: a 32-bit kernel; khoctl needs a 64-bit one (package "
				"linux-image-amd64)",
				name);
	/* the last 16-byte paragraph may be cut off */
	if (file_bytes + 16 < out->payload_end)
		return kho_fail(err, -ENOEXEC,
				"%s: truncated: %llu bytes, the header says %llu; install the "
				"package again",
				name, (unsigned long long)file_bytes,
				(unsigned long long)out->payload_end);
	return read_version(name, head, len, out, err);
}

int kho_bzimage_read(const char *path, struct kho_bzimage *out, struct kho_err *err)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	_cleanup_free_ uint8_t *head = malloc(HEAD_MAX);
	struct stat st;
	ssize_t n;

	if (!head)
		return kho_fail(err, -ENOMEM, "read %s: out of memory", path);
	if (fd < 0)
		return kho_fail_errno(err, "open %s", path);
	if (fstat(fd, &st) < 0)
		return kho_fail_errno(err, "stat %s", path);
	if (!S_ISREG(st.st_mode))
		return kho_fail(err, -ENOEXEC, "%s: not a file", path);
	n = pread(fd, head, HEAD_MAX, 0);
	if (n < 0)
		return kho_fail_errno(err, "read %s", path);
	return kho_bzimage_parse(path, head, (size_t)n, (uint64_t)st.st_size, out, err);
}
