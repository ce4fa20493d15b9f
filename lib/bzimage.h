/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the header of an x86 kernel image (Documentation/arch/x86/boot.rst) tells: for the plan,
 * `image show` and the engines. Whether a sound image can be started is the engine's to decide.
 */
#ifndef KHO_LIB_BZIMAGE_H
#define KHO_LIB_BZIMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

#define KHO_BZIMAGE_SETUP    0x1f1	 /* the setup header's place in the file */
#define KHO_BZIMAGE_ENTRY_64 0x200	 /* 64-bit entry point, from the start of the code */
#define KHO_BZIMAGE_HEAD     (128 << 10) /* all that the header can point to in the setup sectors */

/* What to give instead of an image that does not do; ends a message. */
#define KHO_BZIMAGE_FIX \
	"give the vmlinuz of a 64-bit x86 distribution kernel (/boot/vmlinuz-RELEASE)"
#define KHO_BZIMAGE_DAMAGED "the file is damaged; install the kernel package again"

struct kho_bzimage {
	char release[65];	       /* uname -r: first word of the version string */
	char version[256];	       /* all of it, printable */
	uint16_t protocol;	       /* 0x020f = 2.15 */
	bool entry64;		       /* has a 64-bit entry point (always, once parsed) */
	bool relocatable, above_4g;    /* may lie elsewhere; with its data above 4 GiB */
	bool loaded_high;	       /* a bzImage, no zImage */
	uint32_t header_bytes;	       /* of the setup header, to copy into boot_params */
	uint64_t code_off, code_bytes; /* protected-mode code in the file; inside of it */
	uint64_t payload_off, payload_bytes; /* the packed kernel in the file; inside of the code */
	uint64_t init_size;	       /* memory it needs from its load address on before it has
					  read E820; at least code_bytes */
	uint64_t alignment;	       /* of the load address, as the header says */
	uint64_t pref_address;
	uint64_t file_bytes;
	uint32_t cmdline_max; /* longest command line without its NUL */
};

/*
 * Parse the header, trusting none of it. head: the first len bytes of a file of file_bytes; len is
 * KHO_BZIMAGE_HEAD or more, or all there is. -ENOEXEC: no kernel image, 32-bit, truncated or
 * damaged; the message says which and what would help.
 */
int kho_bzimage_parse(const uint8_t *head, size_t len, uint64_t file_bytes, struct kho_bzimage *out,
		      struct kho_err *err) __must_check;

/* Parse the header of the file at path; messages name it. */
int kho_bzimage_read(const char *path, struct kho_bzimage *out, struct kho_err *err) __must_check;

/* The same; gives the descriptor of the open file (close it), for who wants the rest of it too. */
int kho_bzimage_open(const char *path, struct kho_bzimage *out, struct kho_err *err) __must_check;

#endif
