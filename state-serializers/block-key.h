/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Keys of LUKS: out of the header with libcryptsetup (block-luks.c), and where what opens it may come from (block-key.c).
 */
#ifndef KHO_BLOCK_KEY_H
#define KHO_BLOCK_KEY_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/err.h"

#define KHO_KEY_MAX 512		/* bytes of a volume key: AES-256-XTS has 64 */

struct kho_key {
	unsigned char byte[KHO_KEY_MAX];
	size_t len;
};

/* One line of /etc/crypttab. */
struct kho_crypttab {
	char key_file[512];	/* "": none is named */
	char header[512];
	unsigned long long offset, size; /* of the key in its file; size 0: all of it */
	bool script;		/* a program makes the key */
};

/* The line of a mapping in the text of a crypttab; false: none. */
bool kho_crypttab_find(const char *text, const char *name, struct kho_crypttab *out);

/*
 * Volume key of an active LUKS mapping: by a passphrase or a key file's bytes, or (pass NULL) by a token of its header that needs no question.
 * -EPERM: that does not open it; -ENOPKG: libcryptsetup is not installed. header: a detached one, or "".
 */
int kho_luks_key(const char *name, const char *header, const char *pass, size_t len, struct kho_key *out, struct kho_err *err);

/* Is that the volume key of the mapping? -EPERM: no. */
int kho_luks_verify(const char *name, const char *header, const struct kho_key *key, struct kho_err *err);

#endif
