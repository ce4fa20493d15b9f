// SPDX-License-Identifier: GPL-2.0-only
/*
 * A stream of newc archives.  See handover/beside/cpio.h.
 */
#include "handover/beside/cpio.h"

#include <string.h>
#include <sys/stat.h>

#include "lib/cleanup.h"

#define TRAILER "TRAILER!!!"

enum { BETWEEN, HEAD, NAME, NAME_PAD, BODY, BODY_PAD };

enum field { MODE = 1, NLINK = 4, FILESIZE = 6, NAMESIZE = 11 };

void kho_cpio_init(struct kho_cpio *c, kho_cpio_fn fn, void *arg)
{
	memset(c, 0, sizeof(*c));
	c->fn = fn;
	c->arg = arg;
}

static int damaged(const struct kho_cpio *c, const char *what, struct kho_err *err)
{
	return kho_fail(err, -EBADMSG, "not a cpio archive at byte %llu (%s)",
			(unsigned long long)c->begin, what);
}

/* Eight hexadecimal digits; false: they are none. */
static bool field(const struct kho_cpio *c, enum field f, uint32_t *out)
{
	const char *p = c->head + 6 + 8 * f;

	*out = 0;
	for (int i = 0; i < 8; i++) {
		char d = p[i];
		unsigned v = d >= '0' && d <= '9'   ? (unsigned)(d - '0')
			     : d >= 'a' && d <= 'f' ? (unsigned)(d - 'a' + 10)
			     : d >= 'A' && d <= 'F' ? (unsigned)(d - 'A' + 10)
						    : 16;

		if (v > 15)
			return false;
		*out = *out << 4 | v;
	}
	return true;
}

static uint64_t padding(uint64_t n)
{
	return -n & 3;
}

static int on_head(struct kho_cpio *c, struct kho_err *err)
{
	uint32_t mode, bytes;

	if (memcmp(c->head, "070701", 6) && memcmp(c->head, "070702", 6))
		return damaged(c, "no magic number", err);
	if (!field(c, MODE, &mode) || !field(c, NLINK, &c->e.nlink) || !field(c, FILESIZE, &bytes) ||
	    !field(c, NAMESIZE, &c->name_len))
		return damaged(c, "a number in the header is none", err);
	if (!c->name_len || c->name_len > PATH_MAX)
		return damaged(c, "length of a name", err);
	if (S_ISLNK(mode) && bytes >= PATH_MAX)
		return damaged(c, "length of a symbolic link", err);
	c->e.mode = mode;
	c->e.bytes = bytes;
	c->left = c->name_len;
	c->have = 0;
	c->state = NAME;
	return 0;
}

static int on_name(struct kho_cpio *c, struct kho_err *err)
{
	const char *name = c->name;

	if (c->name[c->name_len - 1])
		return damaged(c, "a name without an end", err);
	c->is_trailer = !strcmp(name, TRAILER);
	if (c->is_trailer && c->e.bytes)
		return damaged(c, "an end with content", err);
	while (*name == '/' || (name[0] == '.' && name[1] == '/'))
		name++;
	c->e.name = strcmp(name, ".") ? name : "";
	c->left = padding(KHO_CPIO_HEAD + c->name_len);
	c->state = NAME_PAD;
	return 0;
}

static int on_entry(struct kho_cpio *c, struct kho_err *err)
{
	c->state = c->is_trailer ? BETWEEN : HEAD;
	c->have = 0;
	if (c->is_trailer)
		return 0;
	c->entries++;
	c->target[S_ISLNK(c->e.mode) ? c->e.bytes : 0] = '\0';
	c->e.target = c->target;
	c->e.begin = c->begin;
	c->e.end = c->at;
	return c->fn ? c->fn(c->arg, &c->e, err) : 0;
}

/* What is complete leads on, until something is needed. */
static int advance(struct kho_cpio *c, struct kho_err *err)
{
	int ret = 0;

	while (!ret && c->state > HEAD && !c->left) {
		switch (c->state) {
		case NAME:
			ret = on_name(c, err);
			break;
		case NAME_PAD:
			c->left = c->e.bytes;
			c->have = 0;
			c->state = BODY;
			break;
		case BODY:
			c->left = padding(c->e.bytes);
			c->state = BODY_PAD;
			break;
		default:
			ret = on_entry(c, err);
		}
	}
	return ret;
}

static size_t take_some(struct kho_cpio *c, const uint8_t *data, size_t len)
{
	size_t n = len < c->left ? len : (size_t)c->left;

	if (c->state == NAME)
		memcpy(c->name + c->have, data, n);
	else if (c->state == BODY && S_ISLNK(c->e.mode))
		memcpy(c->target + c->have, data, n);
	c->have += n;
	c->left -= n;
	return n;
}

static size_t take_head(struct kho_cpio *c, const uint8_t *data, size_t len)
{
	size_t n = KHO_CPIO_HEAD - c->have;

	n = len < n ? len : n;
	if (!c->have)
		c->begin = c->at;
	memcpy(c->head + c->have, data, n);
	c->have += n;
	return n;
}

int kho_cpio_take(struct kho_cpio *c, const uint8_t *data, size_t len, size_t *out_used,
		  struct kho_err *err)
{
	size_t used = 0;
	int ret = 0;

	while (!ret && used < len) {
		size_t n = 0;

		if (c->state == BETWEEN && !data[used]) {
			n = 1;
		} else if (c->state == BETWEEN) {
			c->begin = c->at;
			if (c->at & 3)
				ret = damaged(c, "not at a multiple of four", err);
			c->state = HEAD;
			c->have = 0;
		} else if (c->state == HEAD) {
			n = take_head(c, data + used, len - used);
		} else {
			n = take_some(c, data + used, len - used);
		}
		used += n;
		c->at += n;
		if (!ret && c->state == HEAD && c->have == KHO_CPIO_HEAD)
			ret = on_head(c, err);
		if (!ret)
			ret = advance(c, err);
		if (out_used && c->state == BETWEEN && c->is_trailer)
			break;
	}
	if (out_used)
		*out_used = used;
	return ret;
}

bool kho_cpio_is_whole(const struct kho_cpio *c)
{
	return c->state == BETWEEN;
}
