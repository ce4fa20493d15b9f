// SPDX-License-Identifier: GPL-2.0-only
/*
 * Header of an x86 kernel image. Every refusal says what the file is instead and what to give; the
 * checks go from "not a kernel at all" to details. See lib/bzimage.h.
 */
#include "lib/bzimage.h"

#include <ctype.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/cleanup.h"

/* offsets in the file */
#define H_SETUP_SECTS  0x1f1
#define H_SYSSIZE      0x1f4
#define H_BOOT_FLAG    0x1fe
#define H_JUMP	       0x200
#define H_MAGIC	       0x202
#define H_PROTOCOL     0x206
#define H_VERSION      0x20e
#define H_LOADFLAGS    0x211
#define H_ALIGNMENT    0x230
#define H_RELOCATABLE  0x234
#define H_XLOADFLAGS   0x236
#define H_CMDLINE_SIZE 0x238
#define H_PAYLOAD_OFF  0x248
#define H_PAYLOAD_LEN  0x24c
#define H_PREF_ADDRESS 0x258
#define H_INIT_SIZE    0x260
#define H_END	       0x268 /* end of what protocol 2.12 defines */

#define LOADED_HIGH   0x01
#define XLF_KERNEL_64 0x01
#define XLF_ABOVE_4G  0x02

static uint64_t get(const uint8_t *p, unsigned bytes)
{
	uint64_t v = 0;

	while (bytes--)
		v = v << 8 | p[bytes];
	return v;
}

/* What it is instead, for files that people do mix up with a vmlinuz. */
static const char *guess(const uint8_t *b, size_t len)
{
	if (len >= 4 && !memcmp(b, "\177ELF", 4))
		return "an ELF file (vmlinux?)";
	if (len >= 2 && !memcmp(b, "\x1f\x8b", 2))
		return "a gzip file";
	if (len >= 4 && !memcmp(b, "\x28\xb5\x2f\xfd", 4))
		return "a zstd file";
	if (len >= 5 && !memcmp(b, "\3757zXZ", 5))
		return "an xz file";
	if (len >= 5 && !memcmp(b, "07070", 5))
		return "a cpio archive (initrd?)";
	if (len >= 64 && get(b + 0x38, 4) == 0x644d5241)
		return "an arm64 kernel";
	return "not an x86 kernel image";
}

static int check_magic(const uint8_t *b, size_t len, struct kho_bzimage *out, struct kho_err *err)
{
	if (!len)
		return kho_fail(err, -ENOEXEC, "the file is empty; " KHO_BZIMAGE_FIX);
	if (len < H_JUMP || get(b + H_BOOT_FLAG, 2) != 0xaa55)
		return kho_fail(err, -ENOEXEC, "%s; " KHO_BZIMAGE_FIX, guess(b, len));
	if (len < H_END)
		return kho_fail(err, -ENOEXEC,
				"truncated in its header; install the kernel package again");
	if (memcmp(b + H_MAGIC, "HdrS", 4))
		return kho_fail(err, -ENOEXEC,
				"a boot sector without a Linux boot protocol "
				"header; " KHO_BZIMAGE_FIX);
	out->protocol = (uint16_t)get(b + H_PROTOCOL, 2);
	if (out->protocol < 0x020c)
		return kho_fail(err, -ENOEXEC,
				"boot protocol %u.%02u is too old (2.12, Linux 3.8, is needed); "
				"give a newer kernel",
				out->protocol >> 8, out->protocol & 0xff);
	return 0;
}

static int read_flags(const uint8_t *b, struct kho_bzimage *out, struct kho_err *err)
{
	unsigned xlf = (unsigned)get(b + H_XLOADFLAGS, 2);

	out->entry64 = xlf & XLF_KERNEL_64;
	out->above_4g = xlf & XLF_ABOVE_4G;
	out->relocatable = b[H_RELOCATABLE];
	out->loaded_high = b[H_LOADFLAGS] & LOADED_HIGH;
	if (!out->entry64)
		return kho_fail(err, -ENOEXEC,
				"a 32-bit kernel (no 64-bit entry point); " KHO_BZIMAGE_FIX);
	return 0;
}

/* All the parts must lie in the file, and the kernel must have room to unpack itself. */
static int read_sizes(const uint8_t *b, struct kho_bzimage *out, struct kho_err *err)
{
	uint64_t payload_off = get(b + H_PAYLOAD_OFF, 4), payload_len = get(b + H_PAYLOAD_LEN, 4);
	uint64_t sects = b[H_SETUP_SECTS] ? b[H_SETUP_SECTS] : 4;

	out->header_bytes = H_MAGIC + b[H_JUMP + 1] - KHO_BZIMAGE_SETUP;
	if (out->header_bytes < H_END - KHO_BZIMAGE_SETUP - 4)
		return kho_fail(err, -ENOEXEC,
				"its boot protocol header is cut short (%u "
				"bytes): " KHO_BZIMAGE_DAMAGED,
				out->header_bytes);
	out->code_off = (sects + 1) * 512;
	out->code_bytes = get(b + H_SYSSIZE, 4) * 16;
	/* the file may end inside the last paragraph of 16 bytes */
	if (out->code_off + out->code_bytes > out->file_bytes + 15)
		return kho_fail(err, -ENOEXEC,
				"truncated: %llu bytes, its header promises %llu; install the "
				"kernel package again (is the file system full?)",
				(unsigned long long)out->file_bytes,
				(unsigned long long)(out->code_off + out->code_bytes));
	if (out->code_bytes > KHO_BZIMAGE_ENTRY_64 &&
	    out->code_off + out->code_bytes > out->file_bytes)
		out->code_bytes = out->file_bytes - out->code_off;
	if (out->code_bytes <= KHO_BZIMAGE_ENTRY_64 || !payload_len ||
	    payload_off > out->code_bytes || payload_len > out->code_bytes - payload_off)
		return kho_fail(err, -ENOEXEC,
				"its payload lies outside of the file: " KHO_BZIMAGE_DAMAGED);
	out->payload_off = out->code_off + payload_off;
	out->payload_bytes = payload_len;
	out->init_size = get(b + H_INIT_SIZE, 4);
	if (out->init_size < out->code_bytes)
		return kho_fail(err, -ENOEXEC,
				"init_size %llu is smaller than its code: " KHO_BZIMAGE_DAMAGED,
				(unsigned long long)out->init_size);
	out->alignment = get(b + H_ALIGNMENT, 4);
	out->pref_address = get(b + H_PREF_ADDRESS, 8);
	out->cmdline_max = (uint32_t)get(b + H_CMDLINE_SIZE, 4);
	return 0;
}

static bool is_release(const char *s, size_t len)
{
	if (!len || len >= sizeof(((struct kho_bzimage *)0)->release) ||
	    !isdigit((unsigned char)*s))
		return false;
	while (len--)
		if (!isgraph((unsigned char)s[len]) || s[len] == '/')
			return false;
	return true;
}

static int read_version(const uint8_t *b, size_t len, struct kho_bzimage *out, struct kho_err *err)
{
	size_t room = len < out->code_off ? len : out->code_off; /* the setup sectors */
	size_t off = get(b + H_VERSION, 2) + H_JUMP, i, word;

	if (off != H_JUMP && off < room) {
		for (i = 0; i < room - off && i < sizeof(out->version) - 1 && isprint(b[off + i]);
		     i++)
			out->version[i] = (char)b[off + i];
		word = strcspn(out->version, " ");
		if (i < room - off && strchr(word < i ? " " : "\n", b[off + word]) &&
		    is_release(out->version, word)) {
			memcpy(out->release, out->version, word);
			return 0;
		}
	}
	out->version[0] = '\0';
	return kho_fail(err, -ENOEXEC,
			"its header tells no kernel release: no distribution "
			"kernel; " KHO_BZIMAGE_FIX);
}

int kho_bzimage_parse(const uint8_t *head, size_t len, uint64_t file_bytes, struct kho_bzimage *out,
		      struct kho_err *err)
{
	int ret;

	*out = (struct kho_bzimage){ .file_bytes = file_bytes };
	ret = check_magic(head, len, out, err);
	if (!ret)
		ret = read_flags(head, out, err);
	if (!ret)
		ret = read_sizes(head, out, err);
	if (!ret)
		ret = read_version(head, len, out, err);
	return ret;
}

int kho_bzimage_open(const char *path, struct kho_bzimage *out, struct kho_err *err)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	_cleanup_free_ uint8_t *head = malloc(KHO_BZIMAGE_HEAD);
	struct stat st;
	ssize_t n;

	if (fd < 0 && errno == ENOENT)
		return kho_fail(err, -ENOENT,
				"%s: no such file; install the target kernel first (apt install "
				"linux-image-...)",
				path);
	if (fd < 0 || fstat(fd, &st) < 0)
		return kho_fail_errno(err, "%s", path);
	if (!S_ISREG(st.st_mode))
		return kho_fail(err, -ENOEXEC, "%s: not a file; " KHO_BZIMAGE_FIX, path);
	if (!head)
		return kho_fail(err, -ENOMEM, "%s: out of memory", path);
	n = pread(fd, head, KHO_BZIMAGE_HEAD, 0);
	if (n < 0)
		return kho_fail_errno(err, "%s", path);
	if (kho_bzimage_parse(head, (size_t)n, (uint64_t)st.st_size, out, err) < 0)
		return kho_wrap(err, "%s", path);
	return steal_fd(fd);
}

int kho_bzimage_read(const char *path, struct kho_bzimage *out, struct kho_err *err)
{
	_cleanup_close_ int fd = kho_bzimage_open(path, out, err);

	return fd < 0 ? fd : 0;
}
