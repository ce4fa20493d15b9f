/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * For all fuzz targets: input in pieces, and a directory in RAM for readers that want files.  A
 * target aborts when what must hold does not hold; the sanitizers see to the rest.
 */
#ifndef KHO_TESTS_FUZZ_H
#define KHO_TESTS_FUZZ_H

#include <fcntl.h>
#include <ftw.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fuzz_in {
	const uint8_t *data;
	size_t size;
};

/* The next piece: a 16-bit length (little endian), bytes; the last one may be cut short. */
static inline struct fuzz_in fuzz_piece(struct fuzz_in *in)
{
	struct fuzz_in p = { in->data, 0 };

	if (in->size < 2) {
		in->size = 0;
		return p;
	}
	p.size = (size_t)(in->data[0] | in->data[1] << 8);
	p.data = in->data + 2;
	in->size -= 2;
	if (p.size > in->size)
		p.size = in->size;
	in->data = p.data + p.size;
	in->size -= p.size;
	return p;
}

static inline int fuzz_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static char fuzz_path[64];

static inline void fuzz_cleanup(void)
{
	nftw(fuzz_path, fuzz_remove, 16, FTW_DEPTH | FTW_PHYS);
}

/* The directory; made once, removed at the end. */
static inline const char *fuzz_dir(void)
{
	if (!*fuzz_path) {
		strcpy(fuzz_path, "/dev/shm/khoctl-fuzz.XXXXXX");
		if (!mkdtemp(fuzz_path))
			abort();
		atexit(fuzz_cleanup);
	}
	return fuzz_path;
}

/* Write a file below it (name: "a/b"), with its directories. */
static inline void fuzz_put(const char *name, const void *data, size_t size)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", fuzz_dir(), name);
	for (char *slash = strchr(path + strlen(fuzz_path) + 1, '/'); slash;
	     slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		mkdir(path, 0700);
		*slash = '/';
	}
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	close(fd);
}

/* What must hold. */
static inline void fuzz_check(bool holds)
{
	if (!holds)
		abort();
}

#endif
