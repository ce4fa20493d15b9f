/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A bzImage: is it a kernel that the beside engine can start, and where are its parts.  Works on a
 * byte buffer and trusts none of it.
 */
#ifndef KHO_BESIDE_IMAGE_H
#define KHO_BESIDE_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

#define KHO_IMAGE_ENTRY_64 0x200 /* 64-bit entry point, from the start of the protected-mode code \
				  */

struct kho_image {
	uint16_t protocol;	       /* boot protocol, 0x020c = 2.12 */
	uint32_t header_bytes;	       /* of the setup header at 0x1f1, to copy into boot_params */
	uint64_t code_off, code_bytes; /* protected-mode code in the file */
	uint64_t init_size; /* memory the kernel needs from its load address on before it has read
			       E820 */
	uint64_t alignment; /* of the load address */
	uint64_t pref_address;
	uint32_t cmdline_max; /* longest command line without its NUL */
	char release[65];     /* uname -r */
};

/* Check buf and describe it. -EINVAL: not usable, the message says why and what would help. */
int kho_image_parse(const uint8_t *buf, size_t len, struct kho_image *out, struct kho_err *err);

/* Map the file read-only (*out_buf, munmap it) and parse it. */
int kho_image_open(const char *path, const uint8_t **out_buf, size_t *out_len,
		   struct kho_image *out, struct kho_err *err);

#endif
