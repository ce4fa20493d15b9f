/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Files in a test's own directory, which stands for / or for a state directory.
 */
#ifndef KHO_TESTS_TREE_H
#define KHO_TESTS_TREE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/io.h"

/* A directory of the test's own below /tmp; and gone again. 0, or not. */
static inline int test_dir_make(char dir[64], const char *name)
{
	snprintf(dir, 64, "/tmp/khoctl-%s-test.XXXXXX", name);
	return mkdtemp(dir) ? 0 : -1;
}

static inline int test_dir_drop(const char *dir)
{
	kho_remove_tree(dir);
	return kho_exists(dir);
}

/* Write root + name, and the directories it needs. Include cmocka.h first. */
static inline void test_put(const char *root, const char *name, const void *data, size_t len)
{
	_cleanup_free_ char *path = kho_sysroot_path(root, name);
	_cleanup_free_ char *parent = strdup(path);
	struct kho_err err = KHO_ERR_INIT;

	*strrchr(parent, '/') = '\0';
	assert_int_equal(kho_mkdir(parent, &err), 0);
	assert_int_equal(kho_write_file(path, data, len, &err), 0);
}

#endif
