// SPDX-License-Identifier: GPL-2.0-only
/*
 * State on a disk, as files in a directory: what is read is what was put there, or it is refused; where it may lie, the folder and its end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "handover/engine.h"
#include "handover/kexec/disk.h"
#include "tests/unit/tree.h"

#define MIB (1u << 20)

static char dir[64];
static int folder;

static int setup(void **state)
{
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	if (test_dir_make(dir, "kexec-disk"))
		return -1;
	folder = kho_disk_make(dir, &err);
	return folder < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	(void)state;
	close(folder);
	return test_dir_drop(dir);
}

static void path_of(char out[128], const char *name)
{
	snprintf(out, 128, "%s/%s", dir, name);
}

/* Bytes of which zstd makes little (zeros) or nothing. */
static void make(const char *name, size_t size, bool random)
{
	_cleanup_free_ char *data = calloc(1, size + 1);
	uint32_t x = (uint32_t)size * 2654435761u + 1;

	assert_non_null(data);
	for (size_t i = 0; random && i < size; i++)
		data[i] = (char)((x = x * 1103515245 + 12345) >> 16);
	test_put(dir, name, data, size);
}

static void expect_same(const char *a, const char *b)
{
	_cleanup_free_ char *da = NULL, *db = NULL;
	char pa[128], pb[128];
	size_t na = 0, nb = 0;
	struct stat st;

	path_of(pa, a);
	path_of(pb, b);
	assert_int_equal(kho_read_file(pa, 64 * MIB, &da, &na, NULL), 0);
	assert_int_equal(kho_read_file(pb, 64 * MIB, &db, &nb, NULL), 0);
	assert_int_equal(na, nb);
	assert_memory_equal(da, db, na);
	assert_int_equal(stat(pb, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
}

/* Token 1: the file "in". */
static struct kho_disk_file put(size_t size, bool random)
{
	struct kho_err err = KHO_ERR_INIT;
	struct kho_disk_file f;
	char from[128];

	make("/in", size, random);
	path_of(from, "in");
	assert_int_equal(kho_disk_put(folder, 1, from, 0, &f, &err), 0);
	assert_int_equal(f.bytes, size);
	return f;
}

static int get(uint64_t token, const struct kho_disk_file *f, const char *words)
{
	struct kho_err err = KHO_ERR_INIT;
	char to[128];
	int ret;

	path_of(to, "out");
	ret = kho_disk_get(folder, token, f, to, 0, &err);
	assert_int_equal(ret, err.code);
	if (ret < 0) {
		assert_non_null(strstr(err.msg, words));
		assert_false(kho_exists(to));
	}
	/* who only looks hears the same */
	assert_int_equal(kho_disk_get(folder, token, f, NULL, 0, NULL) < 0, ret < 0);
	return ret;
}

static void test_round(void **state)
{
	static const size_t sizes[] = { 0, 1, 4096, MIB - 1, MIB, MIB + 1, 2 * MIB, 3 * MIB + 17 };

	(void)state;
	for (size_t i = 0; i < 2 * sizeof(sizes) / sizeof(*sizes); i++) {
		struct kho_disk_file f = put(sizes[i / 2], i % 2);
		struct stat st;

		assert_int_equal(fstatat(folder, "1.zst", &st, 0), 0);
		assert_int_equal(st.st_size, f.packed);
		assert_int_equal(st.st_mode & 07777, 0600);
		assert_int_equal(get(1, &f, ""), 0);
		expect_same("in", "out");
	}
}

static void change(off_t at, uint8_t by)
{
	_cleanup_close_ int fd = openat(folder, "1.zst", O_RDWR | O_CLOEXEC);
	uint8_t byte;

	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= by;
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
}

/* A bit, anywhere: in a frame's head, in the bytes (random: zstd stores them as they are), at the end. */
static void test_damage(void **state)
{
	struct kho_disk_file f = put(2 * MIB + 100, true);

	(void)state;
	for (int i = 0; i < 16; i++) {
		off_t at = (off_t)(f.packed - 1) * i / 15;

		change(at, (uint8_t)(1 << (i % 8)));
		assert_int_equal(get(1, &f, "1.zst of the state: it is damaged: "), -EBADMSG);
		change(at, (uint8_t)(1 << (i % 8)));
	}
	assert_int_equal(get(1, &f, ""), 0);
}

static void test_length(void **state)
{
	struct kho_disk_file f = put(MIB + 100, true);
	_cleanup_close_ int fd = openat(folder, "1.zst", O_RDWR | O_CLOEXEC);

	(void)state;
	assert_int_equal(pwrite(fd, "x", 1, (off_t)f.packed), 1);
	assert_int_equal(get(1, &f, "there is more of it"), -EBADMSG);
	assert_int_equal(ftruncate(fd, (off_t)f.packed - 1), 0);
	assert_int_equal(get(1, &f, "ends too early"), -EBADMSG);
	assert_int_equal(ftruncate(fd, 100), 0);
	assert_int_equal(get(1, &f, "ends too early"), -EBADMSG);
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(get(1, &f, "ends too early"), -EBADMSG);
}

/* What unpacks, and is something else. */
static void test_other(void **state)
{
	struct kho_disk_file f = put(4 * MIB, false), g = f;

	(void)state;
	/* as small a file may unpack to as much as it likes: what was not there is not written */
	g.bytes = 1000;
	assert_int_equal(get(1, &g, "it is longer than it was"), -EBADMSG);
	g.bytes = MIB + 1;
	assert_int_equal(get(1, &g, "it is longer than it was"), -EBADMSG);
	g = f;
	g.bytes++;
	assert_int_equal(get(1, &g, "ends too early"), -EBADMSG);
	g = f;
	g.digest ^= 1;
	assert_int_equal(get(1, &g, "digest"), -EBADMSG);
	/* pieces in another order */
	f = put(2 * MIB, true);
	{
		_cleanup_free_ char *data = NULL;
		_cleanup_close_ int fd = openat(folder, "1.zst", O_RDWR | O_CLOEXEC);
		size_t len = 0, half;

		assert_int_equal(kho_read_fd(fd, "1.zst", 64 * MIB, &data, &len, NULL), 0);
		half = len / 2;
		assert_int_equal(pwrite(fd, data + half, half, 0), half);
		assert_int_equal(pwrite(fd, data, half, (off_t)half), half);
	}
	assert_int_equal(get(1, &f, "it is damaged"), -EBADMSG);
}

static void test_no_file(void **state)
{
	struct kho_disk_file f = put(100, true);

	(void)state;
	assert_int_equal(get(2, &f, "2.zst"), -ENOENT);
	assert_int_equal(mkdirat(folder, "3.zst", 0700), 0);
	assert_int_equal(get(3, &f, "no file"), -EBADMSG);
	/* nobody is led elsewhere, neither to read nor to write */
	assert_int_equal(symlinkat("1.zst", folder, "4.zst"), 0);
	assert_int_equal(get(4, &f, "4.zst"), -ELOOP);
	{
		struct kho_err err = KHO_ERR_INIT;
		char from[128];

		path_of(from, "in");
		assert_int_equal(kho_disk_put(folder, 4, from, 0, &f, &err), -ELOOP);
		path_of(from, "none");
		assert_int_equal(kho_disk_put(folder, 5, from, 0, &f, &err), -ENOENT);
	}
}

static void test_late(void **state)
{
	struct kho_err err = KHO_ERR_INIT;
	struct kho_disk_file f;
	char from[128];

	(void)state;
	make("/in", 100, true);
	path_of(from, "in");
	assert_int_equal(kho_disk_put(folder, 1, from, 1, &f, &err), -ETIMEDOUT);
	assert_non_null(strstr(err.msg, "too slow"));
	f = put(100, true);
	err = (struct kho_err)KHO_ERR_INIT;
	assert_int_equal(kho_disk_get(folder, 1, &f, NULL, 1, &err), -ETIMEDOUT);
	assert_non_null(strstr(err.msg, "too slow"));
	assert_int_equal(get(1, &f, ""), 0);
}

/* --- place.c --- */

static void test_folder(void **state)
{
	struct kho_err err = KHO_ERR_INIT;
	char path[128], outside[128];
	struct stat st;

	(void)state;
	path_of(path, KHO_CARRY_NAME);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(kho_disk_make(dir, &err), -EEXIST);
	(void)put(100, true);
	assert_int_equal(kho_carry_drop(dir, &err), 0);
	assert_int_equal(lstat(path, &st), -1);
	assert_int_equal(kho_disk_open(dir, &err), -ENOENT);
	/* again, and where there never was one */
	assert_int_equal(kho_carry_drop(dir, &err), 0);
	assert_int_equal(kho_carry_drop("/nowhere/at/all", &err), 0);
	/* a link in its place goes, and nothing else */
	path_of(outside, "outside");
	assert_int_equal(mkdir(outside, 0700), 0);
	make("/outside/file", 3, true);
	assert_int_equal(symlink("outside", path), 0);
	assert_int_equal(kho_disk_open(dir, &err) < 0, 1);
	assert_int_equal(kho_carry_drop(dir, &err), 0);
	assert_int_equal(lstat(path, &st), -1);
	path_of(outside, "outside/file");
	assert_true(kho_exists(outside));
}

static int judged(const char *path, const char *words)
{
	struct kho_err err = KHO_ERR_INIT;
	uint64_t room = 1;
	int ret = kho_disk_judge(path, MIB, &room, &err);

	assert_int_equal(room, 0);
	assert_non_null(strstr(err.msg, words));
	return ret;
}

static void test_judge(void **state)
{
	char path[128];

	(void)state;
	assert_int_equal(judged("/nowhere/at/all", "nowhere"), -ENOENT);
	/* everybody's: as root, and as who owns it */
	assert_int_equal(chmod(dir, 0777), 0);
	assert_int_equal(judged(dir, "must be root's"), -EPERM);
	assert_int_equal(chmod(dir, 0770), 0);
	assert_int_equal(judged(dir, "must be root's"), -EPERM);
	assert_int_equal(chmod(dir, 0700), 0);
	path_of(path, "in");
	make("/in", 1, true);
	assert_int_equal(judged(path, "is no directory"), -ENOTDIR);
	/* below one that is everybody's it could be put away */
	path_of(path, "open");
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(chmod(path, 0777), 0);
	path_of(path, "open/mine");
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(judged(path, "must be root's"), -EPERM);
	/* in memory */
	assert_true(judged("/proc", "/proc") < 0);
}

/* It is never frozen here. */
static void test_thaw(void **state)
{
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	assert_true(kho_disk_thaw(folder, &err) < 0);
	assert_non_null(strstr(err.msg, "file system for the state"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_round, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damage, setup, teardown),
		cmocka_unit_test_setup_teardown(test_length, setup, teardown),
		cmocka_unit_test_setup_teardown(test_other, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_late, setup, teardown),
		cmocka_unit_test_setup_teardown(test_folder, setup, teardown),
		cmocka_unit_test_setup_teardown(test_judge, setup, teardown),
		cmocka_unit_test_setup_teardown(test_thaw, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
