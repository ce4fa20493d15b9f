/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The smallest kernel image whose header passes: for tests that need a file to name as a target,
 * and to be damaged by those of the reader.
 */
#ifndef KHO_TESTS_KERNEL_IMAGE_H
#define KHO_TESTS_KERNEL_IMAGE_H

#include <asm/bootparam.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define TEST_IMAGE_BYTES   0x1000
#define TEST_IMAGE_VERSION 0x600 /* where its version string is */

static inline struct setup_header *test_image_header(uint8_t *image)
{
	return (struct setup_header *)(image + 0x1f1);
}

/* 3 + 1 sectors of setup, 2 KiB of code; the payload is zeros. */
static inline void test_image(uint8_t image[TEST_IMAGE_BYTES], const char *release)
{
	struct setup_header h = { .setup_sects = 3,
				  .syssize = 0x800 / 16,
				  .boot_flag = 0xaa55,
				  .jump = 0x6aeb,
				  .header = 0x53726448,
				  .version = 0x020f,
				  .kernel_version = TEST_IMAGE_VERSION - 0x200,
				  .loadflags = 1,
				  .kernel_alignment = 0x200000,
				  .relocatable_kernel = 1,
				  .xloadflags = 0x3,
				  .cmdline_size = 2047,
				  .payload_offset = 0x300,
				  .payload_length = 1000,
				  .pref_address = 0x1000000,
				  .init_size = 0x200000 };

	memset(image, 0, TEST_IMAGE_BYTES);
	memcpy(test_image_header(image), &h, sizeof(h));
	snprintf((char *)image + TEST_IMAGE_VERSION, 128, "%s (someone@somewhere) #1 SMP", release);
}

#endif
