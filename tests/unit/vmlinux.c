// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is packed into kernel images: every way of packing, damaged ones, versions of the handover and the configuration in it; and the
 * real kernels of the VM cache.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <archive.h>
#include <archive_entry.h>
#include <glob.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>

#include "kernel_image.h"
#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/kho_abi.h"
#include "lib/vmlinux.h"

#define CODE_OFF 2048

static char path[] = "/tmp/khoctl-vmlinux.XXXXXX";

static size_t pack(int (*filter)(struct archive *), const void *in, size_t len, uint8_t *out, size_t room)
{
	struct archive *a = archive_write_new();
	struct archive_entry *e = archive_entry_new();
	size_t used = 0;

	assert_int_equal(archive_write_set_format_raw(a), ARCHIVE_OK);
	assert_true(filter(a) >= ARCHIVE_WARN);
	archive_write_set_bytes_in_last_block(a, 1);
	assert_int_equal(archive_write_open_memory(a, out, room, &used), ARCHIVE_OK);
	archive_entry_set_filetype(e, AE_IFREG);
	assert_int_equal(archive_write_header(a, e), ARCHIVE_OK);
	assert_int_equal(archive_write_data(a, in, len), len);
	assert_int_equal(archive_write_close(a), ARCHIVE_OK);
	archive_entry_free(e);
	archive_write_free(a);
	return used;
}

/* An image with that payload, and the word behind it that all but gzip have. */
static void put_image(const uint8_t *payload, size_t len, size_t cut)
{
	size_t whole = CODE_OFF + 0x300 + len + 16;
	_cleanup_free_ uint8_t *image = calloc(1, whole + TEST_IMAGE_BYTES);
	struct setup_header *h;

	test_image(image, "7.3.4");
	h = test_image_header(image);
	h->syssize = (uint32_t)((0x300 + len + 16) / 16);
	h->payload_length = (uint32_t)len;
	memcpy(image + CODE_OFF + 0x300, payload, len - cut);
	assert_int_equal(kho_write_file(path, image, whole, NULL), 0);
}

/* Code that does not pack well, and what is to be found in it. */
static uint8_t *kernel(size_t *len)
{
	static const char text[] = "CONFIG_X=y\nCONFIG_KEXEC_HANDOVER=y\n# CONFIG_LIVEUPDATE is not set\n";
	static const char strings[] = "\0kho-v4x\0a kho-v3\0kho-v\0kho-v4\0luo-v5\0my_memfd-v1\0\xffmemfd-v2\0memblock-v1\0IKCFG_ST";
	uint8_t *p = malloc(*len = 300000);
	size_t at = 200000;

	for (size_t i = 0; i < *len; i++)
		p[i] = (uint8_t)random();
	memcpy(p, "\177ELF", 4);
	memcpy(p + at, strings, sizeof(strings) - 1);
	at += sizeof(strings) - 1;
	at += pack(archive_write_add_filter_gzip, text, sizeof(text) - 1, p + at, 10000);
	memcpy(p + at, "IKCFG_ED", 8);
	return p;
}

static void every_way(void **state)
{
	int (*const filters[])(struct archive *) = { archive_write_add_filter_gzip, archive_write_add_filter_bzip2, archive_write_add_filter_lzma,
						     archive_write_add_filter_xz,   archive_write_add_filter_lz4,   archive_write_add_filter_zstd };
	_cleanup_free_ uint8_t *packed = malloc(1 << 20), *plain = NULL;
	size_t len;

	(void)state;
	plain = kernel(&len);
	for (size_t i = 0; i < sizeof(filters) / sizeof(*filters); i++) {
		_cleanup_free_ uint8_t *out = NULL;
		struct kho_err err = KHO_ERR_INIT;
		size_t got = 0, n = pack(filters[i], plain, len, packed, 1 << 20);

		memset(packed + n, 0, 4);
		put_image(packed, i ? n + 4 : n, 0);
		if (kho_vmlinux_unpack(path, &out, &got, &err))
			fail_msg("way %zu: %s", i, err.msg);
		assert_int_equal(got, len);
		assert_memory_equal(out, plain, len);
		put_image(packed, n + 4, n / 2);
		assert_int_equal(kho_vmlinux_unpack(path, &out, &got, &err), -ENOEXEC);
	}
}

static void versions(void **state)
{
	_cleanup_free_ uint8_t *plain = NULL;
	struct kho_abi abi;
	char text[100];
	size_t len;

	(void)state;
	plain = kernel(&len);
	kho_abi_find(plain, len, &abi);
	kho_abi_format(&abi, text, sizeof(text));
	assert_string_equal(text, "kho-v4 luo-v5 memfd-v2 memblock-v1");
	assert_true(abi.config && abi.handover);
	assert_false(abi.liveupdate);
	memset(plain + 200000, 1, 100000);
	kho_abi_find(plain, len, &abi);
	kho_abi_format(&abi, text, sizeof(text));
	assert_string_equal(text, "none");
	assert_false(abi.config || abi.handover);
	for (size_t i = 0; i < 64; i++) /* at the very end, and cut off there */
		kho_abi_find((const uint8_t *)"\0kho-v4\0IKCFG_ST\x1f\x8b\0\0IKCFG_ED", i % 28, &abi);
}

static void real_kernels(void **state)
{
	const char *home = getenv("HOME"), *cache = getenv("XDG_CACHE_HOME");
	char pattern[500];
	glob_t g;

	(void)state;
	snprintf(pattern, sizeof(pattern), "%s%s/khoctl/kernels/*/boot/vmlinuz-*", cache ? cache : home ? home : "", cache ? "" : "/.cache");
	if (glob(pattern, 0, NULL, &g)) {
		print_message("no kernels in the VM cache (make vm-cache)\n");
		skip();
	}
	for (size_t i = 0; i < g.gl_pathc; i++) {
		struct kho_err err = KHO_ERR_INIT;
		struct kho_abi abi;

		if (kho_abi_of_image(g.gl_pathv[i], &abi, &err))
			fail_msg("%s", err.msg);
		if (abi.config)
			assert_int_equal(abi.handover, *abi.kho != '\0');
	}
	globfree(&g);
}

static int set_up(void **state)
{
	int fd = mkstemp(path);

	(void)state;
	return fd < 0 ? -1 : close(fd);
}

static int tear_down(void **state)
{
	(void)state;
	return unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(every_way), cmocka_unit_test(versions), cmocka_unit_test(real_kernels) };

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
