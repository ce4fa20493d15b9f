/* SPDX-License-Identifier: GPL-2.0-only */
/* Frames of the lab's line: see frame.h. Used by both ends, allocates nothing. */
#include <string.h>

#include "tests/vm/frame.h"

static uint32_t crc32_of(uint32_t crc, const uint8_t *p, size_t n)
{
	static uint32_t table[256];

	if (!table[1])
		for (uint32_t i = 0; i < 256; i++) {
			uint32_t c = i;

			for (int k = 0; k < 8; k++)
				c = c & 1 ? 0xedb88320u ^ (c >> 1) : c >> 1;
			table[i] = c;
		}
	crc = ~crc;
	while (n--)
		crc = table[(crc ^ *p++) & 0xff] ^ (crc >> 8);
	return ~crc;
}

size_t lab_frame(uint8_t *out, uint32_t epoch, uint32_t id, enum lab_type type, const void *data, size_t len)
{
	struct lab_header h = { LAB_MAGIC, epoch, id, (uint16_t)len, (uint8_t)type, 0, 0 };

	memcpy(out, &h, sizeof(h));
	if (len)
		memcpy(out + sizeof(h), data, len);
	h.crc = crc32_of(0, out, sizeof(h) + len);
	memcpy(out, &h, sizeof(h));
	return sizeof(h) + len;
}

static void drop(struct lab_rx *rx, size_t n)
{
	rx->n -= n;
	memmove(rx->buf, rx->buf + n, rx->n);
}

int lab_next(struct lab_rx *rx, struct lab_header *h, uint8_t *data)
{
	static const uint32_t magic = LAB_MAGIC;
	size_t at = 0;

	while (rx->n - at >= sizeof(*h)) {
		struct lab_header zero;

		if (memcmp(rx->buf + at, &magic, sizeof(magic))) {
			at++;
			continue;
		}
		memcpy(h, rx->buf + at, sizeof(*h));
		if (h->len > LAB_DATA) {
			at++;
			continue;
		}
		if (rx->n - at < sizeof(*h) + h->len)
			break;
		memcpy(data, rx->buf + at + sizeof(*h), h->len);
		zero = *h;
		zero.crc = 0;
		if (crc32_of(crc32_of(0, (const uint8_t *)&zero, sizeof(zero)), data, h->len) == h->crc) {
			drop(rx, at + sizeof(*h) + h->len);
			return 1;
		}
		at++;
	}
	drop(rx, at);
	return 0;
}
