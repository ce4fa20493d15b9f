/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Blobs of serializers: protobuf messages -> JSON and text, by their descriptors alone.
 */
#ifndef KHO_BLOB_H
#define KHO_BLOB_H

#include <json-c/json.h>
#include <stddef.h>
#include <stdio.h>

#include "lib/err.h"

/* The serializer that a file is of, by its name (NAME, NAME.x or NAME-x); NULL: of none. */
const char *kho_blob_serializer(const char *path);

/*
 * Bytes -> {"kind": "blob", "serializer", "message", "bytes", "fields"}. What is no message of that
 * serializer: -EBADMSG. A message with more fields than this khoctl knows has "unknown_fields".
 */
int kho_blob_show(const char *serializer, const void *data, size_t len, struct json_object **out,
		  struct kho_err *err) __must_check;

/* "path.to[0].member  value" lines, one for each scalar; nothing in it can move a terminal. */
void kho_blob_text(const struct json_object *o, FILE *f);

#endif
