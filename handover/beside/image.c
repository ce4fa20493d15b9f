// SPDX-License-Identifier: GPL-2.0-only
/*
 * bzImage checks, after Documentation/arch/x86/boot.rst.  Every refusal says what the file is
 * instead and what to give; the order of the checks goes from "not a kernel at all" to details.
 */
#include "handover/beside/image.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "lib/cleanup.h"

/* offsets in the file */
#define H_SETUP_SECTS  0x1f1
#define H_SYSSIZE      0x1f4
#define H_BOOT_FLAG    0x1fe
#define H_JUMP	       0x200
#define H_MAGIC	       0x202
#define H_VERSION      0x206
#define H_KVER	       0x20e
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

#define FIX "give the vmlinuz of a 64-bit x86 distribution kernel (/boot/vmlinuz-RELEASE)"

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
	if (len >= 6 && !memcmp(b, "\3757zXZ", 5))
		return "an xz file";
	if (len >= 6 && !memcmp(b, "07070", 5))
		return "a cpio archive (initrd?)";
	if (len >= 64 && get(b + 0x38, 4) == 0x644d5241)
		return "an arm64 kernel";
	return "no Linux kernel image";
}

static int check_magic(const uint8_t *b, size_t len, struct kho_image *out, struct kho_err *err)
{
	if (!len)
		return kho_fail(err, -EINVAL, "the file is empty; " FIX);
	if (len < H_END || get(b + H_BOOT_FLAG, 2) != 0xaa55)
		return kho_fail(err, -EINVAL, "%s; " FIX, guess(b, len));
	if (memcmp(b + H_MAGIC, "HdrS", 4))
		return kho_fail(err, -EINVAL,
				"%s: a boot sector without a Linux boot protocol header; " FIX,
				guess(b, len));
	out->protocol = get(b + H_VERSION, 2);
	if (out->protocol < 0x020c)
		return kho_fail(err, -EINVAL,
				"boot protocol %u.%02u is too old (2.12, Linux 3.8, is needed); "
				"give a newer kernel",
				out->protocol >> 8, out->protocol & 0xff);
	return 0;
}

static int check_flags(const uint8_t *b, struct kho_image *out, struct kho_err *err)
{
	unsigned xlf = get(b + H_XLOADFLAGS, 2);

	if (!(xlf & XLF_KERNEL_64))
		return kho_fail(err, -EINVAL, "a 32-bit kernel (no 64-bit entry point); " FIX);
	if (!(b[H_LOADFLAGS] & LOADED_HIGH))
		return kho_fail(err, -EINVAL, "a zImage, loaded low; " FIX);
	if (!b[H_RELOCATABLE] || !(xlf & XLF_ABOVE_4G))
		return kho_fail(err, -EINVAL,
				"the kernel is not relocatable (CONFIG_RELOCATABLE=n): it can only "
				"run where the running kernel lies; build it with "
				"CONFIG_RELOCATABLE=y");
	out->alignment = get(b + H_ALIGNMENT, 4);
	if (out->alignment < 4096 || out->alignment > (1u << 30) ||
	    (out->alignment & (out->alignment - 1)))
		return kho_fail(err, -EINVAL,
				"bad kernel_alignment %#llx in its header: the file is damaged; "
				"install the kernel package again",
				(unsigned long long)out->alignment);
	return 0;
}

/* All the parts must lie in the file, and the kernel must have room to unpack itself. */
static int check_sizes(const uint8_t *b, size_t len, struct kho_image *out, struct kho_err *err)
{
	uint64_t payload_off = get(b + H_PAYLOAD_OFF, 4), payload_len = get(b + H_PAYLOAD_LEN, 4);
	uint64_t sects = b[H_SETUP_SECTS] ? b[H_SETUP_SECTS] : 4;

	out->header_bytes = H_MAGIC + b[H_JUMP + 1] - H_SETUP_SECTS;
	if (out->header_bytes < H_END - H_SETUP_SECTS - 4)
		return kho_fail(err, -EINVAL,
				"its boot protocol header is cut short (%u bytes): the file is "
				"damaged; install the kernel package again",
				out->header_bytes);
	out->code_off = (sects + 1) * 512;
	out->code_bytes = get(b + H_SYSSIZE, 4) * 16;
	if (out->code_off + out->code_bytes > len)
		return kho_fail(err, -EINVAL,
				"truncated: %zu bytes, its header promises %llu; install the "
				"kernel package again (is the file system full?)",
				len, (unsigned long long)(out->code_off + out->code_bytes));
	if (out->code_bytes <= KHO_IMAGE_ENTRY_64 || !payload_len ||
	    payload_off > out->code_bytes || payload_len > out->code_bytes - payload_off)
		return kho_fail(err, -EINVAL,
				"its payload lies outside of the file: the file is damaged; "
				"install the kernel package again");
	out->init_size = get(b + H_INIT_SIZE, 4);
	if (out->init_size < out->code_bytes)
		return kho_fail(err, -EINVAL,
				"init_size %llu is smaller than its code: the file is damaged; "
				"install the kernel package again",
				(unsigned long long)out->init_size);
	out->pref_address = get(b + H_PREF_ADDRESS, 8);
	out->cmdline_max = get(b + H_CMDLINE_SIZE, 4);
	return 0;
}

static int find_release(const uint8_t *b, struct kho_image *out, struct kho_err *err)
{
	uint64_t off = get(b + H_KVER, 2), i;

	/* relative to 0x200; inside the setup sectors, which check_sizes has seen */
	if (off && off + 0x200 < out->code_off) {
		const uint8_t *s = b + off + 0x200;
		uint64_t room = out->code_off - off - 0x200;

		for (i = 0;
		     i < room && i < sizeof(out->release) - 1 && isgraph(s[i]) && s[i] != '/'; i++)
			out->release[i] = s[i];
		out->release[i] = '\0';
		if (i && i < room && (s[i] == ' ' || s[i] == '\0') && isdigit(s[0]))
			return 0;
	}
	out->release[0] = '\0';
	return kho_fail(err, -EINVAL,
			"its header tells no kernel release: no distribution kernel; " FIX);
}

int kho_image_parse(const uint8_t *buf, size_t len, struct kho_image *out, struct kho_err *err)
{
	int ret;

	memset(out, 0, sizeof(*out));
	ret = check_magic(buf, len, out, err);
	if (!ret)
		ret = check_flags(buf, out, err);
	if (!ret)
		ret = check_sizes(buf, len, out, err);
	if (!ret)
		ret = find_release(buf, out, err);
	return ret;
}

int kho_image_open(const char *path, const uint8_t **out_buf, size_t *out_len,
		   struct kho_image *out, struct kho_err *err)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *p;
	int ret;

	if (fd < 0 && errno == ENOENT)
		return kho_fail(err, -ENOENT,
				"%s: no such file; install the target kernel first (apt install "
				"linux-image-...)",
				path);
	if (fd < 0 || fstat(fd, &st) < 0)
		return kho_fail_errno(err, "%s", path);
	if (!S_ISREG(st.st_mode))
		return kho_fail(err, -EINVAL, "%s: not a file; " FIX, path);
	if (!st.st_size)
		return kho_fail(err, -EINVAL, "%s: the file is empty; " FIX, path);
	p = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		return kho_fail_errno(err, "%s: map", path);
	ret = kho_image_parse(p, st.st_size, out, err);
	if (ret < 0) {
		munmap(p, st.st_size);
		return kho_wrap(err, "%s", path);
	}
	*out_buf = p;
	*out_len = st.st_size;
	return 0;
}
