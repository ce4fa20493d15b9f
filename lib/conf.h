/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Configuration files: `key = value` lines, # comments, blank lines.  Every error says FILE:LINE.
 */
#ifndef KHO_LIB_CONF_H
#define KHO_LIB_CONF_H

#include <stddef.h>

#include "lib/err.h"

enum kho_conf_type {
	KHO_CONF_STRING,   /* char *: strdup'd, not empty */
	KHO_CONF_ESCAPED,  /* char *: C escapes (\r \n \t \\ \" \xHH) resolved; no NUL */
	KHO_CONF_PATH,	   /* char *: absolute path */
	KHO_CONF_DURATION, /* uint64_t: microseconds ("2s", "250ms") */
	KHO_CONF_SIZE,	   /* uint64_t: bytes ("512M") */
	KHO_CONF_UINT,	   /* uint64_t */
	KHO_CONF_BOOL,	   /* bool: "yes" or "no" */
	KHO_CONF_PATHS,	   /* char **: NULL-terminated; the key may be repeated */
};

/* One allowed key; the value goes to offset `off` of the object. End of table: key == NULL. */
struct kho_conf_key {
	const char *key;
	enum kho_conf_type type;
	size_t off;
};

/*
 * Parse path (shown in errors as it is) into *object. Unknown key, second use of a key, bad value,
 * line without
 * '=': -EINVAL "FILE:LINE: ...". A file that is not there: -ENOENT.
 */
int kho_conf_load(const char *path, const struct kho_conf_key *keys, void *object,
		  struct kho_err *err) __must_check;

/* Free the strings of *object. */
void kho_conf_done(const struct kho_conf_key *keys, void *object);

#endif
