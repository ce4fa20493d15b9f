/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the header of an x86 kernel image (Documentation/arch/x86/boot.rst) tells: for plan and
 * `image show`. Whether the image can be started is the engine's to decide.
 */
#ifndef KHO_LIB_BZIMAGE_H
#define KHO_LIB_BZIMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

struct kho_bzimage {
	char release[65];  /* first word of the version string */
	char version[256]; /* all of it */
	uint16_t protocol; /* 0x020f = 2.15 */
	bool entry64, relocatable, above_4g;
	uint64_t init_size, pref_address;
	uint64_t file_bytes, payload_end; /* setup + protected-mode code, as the header says */
	uint32_t cmdline_max;
};

/* Parse the header. -ENOEXEC: not a kernel image, 32-bit or truncated (the message says which). */
int kho_bzimage_read(const char *path, struct kho_bzimage *out, struct kho_err *err) __must_check;

/* The same on bytes: head = the first len (>= 0x1000 or all) bytes of a file of file_bytes. name is
 * for messages. */
int kho_bzimage_parse(const char *name, const uint8_t *head, size_t len, uint64_t file_bytes,
		      struct kho_bzimage *out, struct kho_err *err) __must_check;

#endif
