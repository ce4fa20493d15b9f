// SPDX-License-Identifier: GPL-2.0-only
/*
 * The reader of kernel images, and what the beside engine wants of one: real kernels, and damaged
 * copies of the smallest image there is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <glob.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "handover/beside/image.h"
#include "kernel_image.h"
#include "lib/bzimage.h"
#include "lib/cleanup.h"
#include "lib/io.h"

#define RELEASE "6.12.107+deb13-cloud-amd64"

/* The reader refuses it, or, where that takes it, the engine; with a fix. */
static void refused(const uint8_t *b, size_t len, uint64_t file_bytes, const char *says)
{
	struct kho_err err = KHO_ERR_INIT;
	struct kho_bzimage img;
	int rc = kho_bzimage_parse(b, len, file_bytes, &img, &err);

	if (rc == 0)
		assert_int_equal(kho_image_check(&img, &err), -EINVAL);
	else
		assert_int_equal(rc, -ENOEXEC);
	if (!strstr(err.msg, says) || !strchr(err.msg, ';'))
		fail_msg("'%s' does not say '%s', or no fix", err.msg, says);
}

static void test_good(void **state)
{
	struct kho_err err = KHO_ERR_INIT;
	uint8_t b[TEST_IMAGE_BYTES];
	struct kho_bzimage img;

	(void)state;
	test_image(b, RELEASE);
	assert_int_equal(kho_bzimage_parse(b, sizeof(b), sizeof(b), &img, &err), 0);
	assert_int_equal(kho_image_check(&img, &err), 0);
	assert_string_equal(img.release, RELEASE);
	assert_string_equal(img.version, RELEASE " (someone@somewhere) #1 SMP");
	assert_int_equal(img.code_off, 4 * 512);
	assert_int_equal(img.code_bytes, 0x800);
	assert_int_equal(img.header_bytes, 0x202 + 0x6a - 0x1f1);
	assert_int_equal(img.init_size, 0x200000);
	assert_true(img.entry64 && img.relocatable && img.above_4g);
	/* cut off in the last paragraph: the code ends with the file */
	assert_int_equal(kho_bzimage_parse(b, sizeof(b), sizeof(b) - 15, &img, &err), 0);
	assert_int_equal(img.code_bytes, 0x800 - 15);
}

static void test_refused(void **state)
{
	uint8_t b[TEST_IMAGE_BYTES];
	struct setup_header *h = test_image_header(b);

	(void)state;
#define WITH(change, says)                              \
	do {                                            \
		test_image(b, RELEASE);                 \
		change;                                 \
		refused(b, sizeof(b), sizeof(b), says); \
	} while (0)
	WITH(h->boot_flag = 0, "not an x86 kernel image");
	WITH(memcpy(b, "\177ELF", 4); h->boot_flag = 0, "ELF");
	WITH(h->header = 0x12345678, "without a Linux boot protocol header");
	WITH(h->version = 0x020b, "too old");
	WITH(h->xloadflags = 2, "32-bit");
	WITH(h->xloadflags = 1, "not relocatable");
	WITH(h->loadflags = 0, "zImage");
	WITH(h->relocatable_kernel = 0, "not relocatable");
	WITH(h->kernel_alignment = 3, "kernel_alignment");
	WITH(h->syssize *= 2, "truncated");
	WITH(h->payload_length = 1 << 30, "payload");
	WITH(h->syssize = 0, "payload");
	WITH(h->init_size = 100, "init_size");
	WITH(h->jump = 0x10eb, "cut short");
	WITH(h->kernel_version = 0, "no kernel release");
	WITH(h->kernel_version = 0xffff, "no kernel release");
	WITH(b[TEST_IMAGE_VERSION] = ' ', "no kernel release");
	WITH(b[TEST_IMAGE_VERSION + 3] = '/', "no kernel release");
	WITH(b[TEST_IMAGE_VERSION + 3] = '\x1b', "no kernel release");
	WITH(memset(b + TEST_IMAGE_VERSION, '6', 0x200), "no kernel release");
#undef WITH
	test_image(b, RELEASE);
	refused(b, 0, 0, "empty");
	refused(b, 100, 100, "not an x86 kernel image");
	refused(b, 0x240, 0x240, "truncated");
	refused(b, sizeof(b), sizeof(b) - 16, "truncated");
}

static void test_files(void **state)
{
	struct kho_err err = KHO_ERR_INIT;
	struct kho_bzimage img;

	(void)state;
	assert_int_equal(kho_bzimage_read("/", &img, &err), -ENOEXEC);
	assert_int_equal(kho_bzimage_read("/nowhere/vmlinuz", &img, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "apt install"));
}

/* The kernels of the VM cache, when it is there. */
static void test_real(void **state)
{
	const char *home = getenv("HOME");
	char pattern[256];
	glob_t g = { 0 };

	(void)state;
	snprintf(pattern, sizeof(pattern), "%s/.cache/khoctl/kernels/*/boot/vmlinuz-*",
		 home ? home : "/root");
	if (glob(pattern, 0, NULL, &g)) {
		print_message("no kernels in the VM cache (make vm-cache)\n");
		skip();
	}
	for (size_t i = 0; i < g.gl_pathc; i++) {
		struct kho_err err = KHO_ERR_INIT;
		struct kho_bzimage img, head;
		const uint8_t *buf;
		size_t len;

		if (kho_image_open(g.gl_pathv[i], &buf, &len, &img, &err) < 0)
			fail_msg("%s", err.msg);
		assert_string_equal(img.release, strstr(g.gl_pathv[i], "vmlinuz-") + 8);
		assert_true(img.init_size > len);
		assert_true(img.code_off + img.code_bytes <= len);
		refused(buf, len / 2, len / 2, "truncated");
		/* the head alone tells the same */
		assert_int_equal(kho_bzimage_read(g.gl_pathv[i], &head, &err), 0);
		assert_memory_equal(&head, &img, sizeof(img));
		munmap((void *)buf, len);
	}
	globfree(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_real),
	};

	return cmocka_run_group_tests_name("bzimage", tests, NULL, NULL);
}
