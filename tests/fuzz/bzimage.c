// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fuzz target: the reader of kernel images, given the file or its beginning.  Input: a header;
 * its first byte, which the reader does not look at, says how much longer the file is.
 */
#include "fuzz.h"
#include "handover/beside/image.h"
#include "lib/bzimage.h"
#include "lib/kho_abi.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kho_err err = KHO_ERR_INIT;
	uint64_t bytes = size + ((uint64_t)(size ? data[0] : 0) << 16);
	struct kho_bzimage img;
	struct kho_abi abi;
	char text[120];

	kho_abi_find(data, size, &abi);
	kho_abi_format(&abi, text, sizeof(text));
	fuzz_check(*text);
	if (kho_bzimage_parse(data, size, bytes, &img, &err) < 0) {
		fuzz_check(err.code && *err.msg);
		return 0;
	}
	fuzz_check(*img.release && !strchr(img.release, '/') &&
		   img.code_bytes > KHO_BZIMAGE_ENTRY_64);
	fuzz_check(img.code_off + img.code_bytes <= bytes && img.init_size >= img.code_bytes);
	fuzz_check(img.payload_off >= img.code_off && img.payload_off + img.payload_bytes <= img.code_off + img.code_bytes);
	fuzz_check(KHO_BZIMAGE_SETUP + img.header_bytes <= bytes);
	(void)!kho_image_check(&img, &err);
	return 0;
}
