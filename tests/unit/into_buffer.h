/* SPDX-License-Identifier: GPL-2.0-only */
/* A sink that keeps all it is given. */
#ifndef TEST_INTO_BUFFER_H
#define TEST_INTO_BUFFER_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct buffer {
	uint8_t *p;
	size_t n;
};

static int into_buffer(void *arg, const void *data, size_t len)
{
	struct buffer *b = arg;

	b->p = realloc(b->p, b->n + len);
	assert_non_null(b->p);
	memcpy(b->p + b->n, data, len);
	b->n += len;
	return 0;
}

#endif
