/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One record of a journal (docs/formats.md): length, CRC-32, JSON text.  Both sides of an upgrade write them.
 */
#ifndef KHO_LIB_RECORD_H
#define KHO_LIB_RECORD_H

#include <stddef.h>
#include <stdint.h>

#include <json-c/json.h>

/* CRC-32 (IEEE) of the bytes. */
uint32_t kho_crc32(const void *data, size_t len);

/* The record's bytes, malloc'd, *out_len of them; NULL: out of memory. */
char *kho_record_encode(struct json_object *record, size_t *out_len);

/* A record {"rec": kind}, to be filled. */
struct json_object *kho_record_new(const char *kind);

/* The first of that kind in an array of records, which owns it; NULL: there is none. */
const struct json_object *kho_record_find(const struct json_object *records, const char *kind);

#endif
