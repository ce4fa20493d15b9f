// SPDX-License-Identifier: GPL-2.0-only
/* Records of a journal.  See lib/record.h. */
#include "lib/record.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "lib/json.h"

uint32_t kho_crc32(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint32_t crc = ~0u;

	while (len--) {
		crc ^= *p++;
		for (int k = 0; k < 8; k++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
	}
	return ~crc;
}

char *kho_record_encode(struct json_object *record, size_t *out_len)
{
	size_t len;
	const char *text = json_object_to_json_string_length(
		record, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &len);
	uint32_t head[2] = { htole32((uint32_t)len), htole32(kho_crc32(text, len)) };
	char *buf = malloc(len + 8);

	if (!buf)
		return NULL;
	memcpy(buf, head, 8);
	memcpy(buf + 8, text, len);
	*out_len = len + 8;
	return buf;
}

struct json_object *kho_record_new(const char *kind)
{
	struct json_object *o = json_object_new_object();

	kho_json_str(o, "rec", kind);
	return o;
}

const struct json_object *kho_record_find(const struct json_object *records, const char *kind)
{
	for (size_t i = 0; i < json_object_array_length(records); i++) {
		const struct json_object *o = json_object_array_get_idx(records, i);

		if (!strcmp(kho_json_get_str(o, "rec"), kind))
			return o;
	}
	return NULL;
}
