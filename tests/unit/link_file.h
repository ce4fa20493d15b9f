/* SPDX-License-Identifier: GPL-2.0-only */
/* Files on one side of the link, and what has become of them on the other. */
#ifndef TESTS_LINK_FILE_H
#define TESTS_LINK_FILE_H

#include "tests/unit/link_fixture.h"

static inline void path_in(char *out, size_t room, const char *dir, const char *name)
{
	snprintf(out, room, "%s/%s", dir, name);
}

static inline void make_file(const char *name, size_t size, uint64_t hole_from, uint64_t hole_to)
{
	uint8_t block[4096];
	char path[200];
	uint32_t x = size * 2654435761u + 1;
	int fd;

	path_in(path, sizeof(path), fx.dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0640);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, size), 0);
	for (uint64_t at = 0; at < size; at += sizeof(block)) {
		size_t n = size - at < sizeof(block) ? size - at : sizeof(block);

		for (size_t i = 0; i < sizeof(block); i++)
			block[i] = (x = x * 1103515245 + 12345) >> 16;
		if (at < hole_from || at >= hole_to)
			assert_int_equal(pwrite(fd, block, n, at), n);
	}
	close(fd);
}

static inline void expect_same(const char *local, const char *name)
{
	char a[200], b[200];
	struct stat sa, sb;
	uint8_t *pa, *pb;
	int fa, fb;

	path_in(a, sizeof(a), fx.dir, local);
	path_in(b, sizeof(b), fx.images, name);
	fa = open(a, O_RDONLY);
	fb = open(b, O_RDONLY);
	assert_true(fa >= 0 && fb >= 0);
	fstat(fa, &sa);
	fstat(fb, &sb);
	assert_int_equal(sa.st_size, sb.st_size);
	assert_int_equal(sb.st_mode & 0777, 0600);
	assert_true(sb.st_blocks <= sa.st_blocks + 16);
	if (sa.st_size) {
		pa = mmap(NULL, sa.st_size, PROT_READ, MAP_SHARED, fa, 0);
		pb = mmap(NULL, sb.st_size, PROT_READ, MAP_SHARED, fb, 0);
		assert_int_equal(memcmp(pa, pb, sa.st_size), 0);
		munmap(pa, sa.st_size);
		munmap(pb, sa.st_size);
	}
	close(fa);
	close(fb);
}

static inline int put(const char *local, const char *name, unsigned ms, struct kho_err *err)
{
	char path[200];

	path_in(path, sizeof(path), fx.dir, local);
	return kho_peer_put_file(fx.peer, path, name, in_ms(ms), err);
}

#endif
