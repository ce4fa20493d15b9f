// SPDX-License-Identifier: GPL-2.0-only
/*
 * The initramfs as a carrier: pages go into it while everything runs, the rest behind them, each once; half an archive never stays.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "handover/beside/files.h"
#include "handover/beside/initramfs_write.h"
#include "handover/beside/initrd.h"
#include "handover/kexec/handed.h"
#include "handover/kexec/kexec.h"
#include "tests/unit/tree.h"

#define PRE   "redis/pre.0/pages-1.img"
#define MAP   "redis/pre.0/pagemap-1.img"
#define FINAL "redis/final/pages-1.img"

static char dir[64], pages[300000];
static struct kho_engine *engine;
static struct kho_engine_request rq = { .image = "/nowhere", .sysroot = dir, .run_dir = dir };

static uint64_t size_of(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return (uint64_t)st.st_size;
}

/* Something to stand before all that comes, of a length that is no multiple of 4. */
static void put_root(struct kho_kexec *k)
{
	_cleanup_(kho_files_done) struct kho_files l = { 0 };
	struct kho_err err = KHO_ERR_INIT;
	int fd;

	assert_int_equal(kho_mkdir(k->dir, &err), 0);
	fd = open(k->initrd, O_WRONLY | O_CREAT | O_EXCL | O_APPEND, 0600);
	assert_true(fd >= 0);
	assert_int_equal(kho_files_add_made(&l, "/init", S_IFREG | 0755, "init", 0, &err), 0);
	assert_int_equal(kho_files_close(&l, &err), 0);
	assert_int_equal(kho_files_pack(&l, 1, kho_sink_fd, &fd, &err), 0);
	k->root_bytes = size_of(k->initrd);
	if (k->root_bytes % 4 == 0)
		assert_int_equal(ftruncate(fd, (off_t)++k->root_bytes), 0);
	close(fd);
}

static int setup(void **state)
{
	uint32_t x = 1;

	(void)state;
	for (size_t i = 0; i < sizeof(pages); i++)
		pages[i] = (char)((x = x * 1664525 + 1013904223) >> 24);
	return test_dir_make(dir, "kexec-initrd") || kho_kexec_new(&rq, &engine, NULL);
}

static int teardown(void **state)
{
	(void)state;
	engine->ops->free(engine);
	return test_dir_drop(dir);
}

static void image(const char *name, const void *data, size_t len)
{
	char path[96];

	snprintf(path, sizeof(path), "/images/%s", name);
	test_put(dir, path, data, len);
}

/* How many entries the archives from byte `at` on have of that name: 0 or 1; their number is *out_n. */
static int has(const char *path, uint64_t at, const char *name, size_t *out_n)
{
	struct kho_err err = KHO_ERR_INIT;
	struct kho_initrd in;
	char *data = NULL;
	size_t len = 0;
	int found = 0;

	assert_int_equal(kho_read_file(path, 1 << 24, &data, &len, &err), 0);
	assert_true(len > at);
	memmove(data, data + at, len - at);
	if (kho_initrd_parse((uint8_t *)data, len - at, &in, &err) < 0)
		fail_msg("%s", err.msg);
	for (size_t i = 0; i < in.nentries; i++)
		found += !strcmp(in.entry[i].name, name);
	*out_n = in.nentries;
	kho_initrd_done(&in);
	return found;
}

static void add(struct kho_kexec *k, const char *name, bool copied)
{
	struct kho_err err = KHO_ERR_INIT;

	if (kho_kexec_add_file(k, name, copied, &err) < 0)
		fail_msg("%s", err.msg);
}

/* What is left, as the commit does it. */
static void append_rest(struct kho_kexec *k)
{
	KhoHanded__State s = KHO_HANDED__STATE__INIT;
	KhoHanded__File f[4], *files[4];
	struct kho_err err = KHO_ERR_INIT;
	bool early[4];
	uint64_t bytes = 0;
	char path[96];

	assert_int_equal(kho_kexec_close_files(k, &bytes, &err), 0);
	assert_int_equal(bytes, sizeof(pages) + 3 + 5 + 7);
	assert_int_equal(k->nfiles, 4);
	for (size_t i = 0; i < 4; i++) {
		kho_handed__file__init(&f[i]);
		f[i].name = k->files[i].name;
		early[i] = k->files[i].early;
		files[i] = &f[i];
	}
	s.file = files;
	s.n_file = 4;
	test_put(dir, "/state", "state", 5);
	snprintf(path, sizeof(path), "%s/state", dir);
	assert_int_equal(kho_handed_append(k->initrd, path, &s, k->images_dir, early, 1 | KHO_PACK_ALONE, &err), 0);
}

static void test_early(void **state)
{
	struct kho_kexec *k = kho_kexec_of(engine);
	uint64_t before;
	size_t n;

	(void)state;
	put_root(k);
	k->level = 1;
	image(PRE, "old", 3);
	add(k, PRE, false);
	assert_true(k->files[0].early);
	assert_int_equal(has(k->initrd, 0, "khoctl-handed/images/" PRE, &n), 1);
	/* once more: behind the first one, where it counts */
	image(PRE, pages, sizeof(pages));
	add(k, PRE, false);
	assert_int_equal(k->nfiles, 1);
	assert_true(k->files[0].early && size_of(k->initrd) > sizeof(pages));
	image(MAP, "map", 3);
	add(k, MAP, false);
	image("files/0", "files", 5);
	add(k, "files/0", true);
	before = size_of(k->initrd);
	engine->ops->set_state(engine, KHO_STATE_FROZEN, NULL);
	image(FINAL, "changed", 7);
	add(k, FINAL, false);
	assert_int_equal(size_of(k->initrd), before);
	append_rest(k);
	before = (before + 3) & ~3ULL;
	assert_int_equal(has(k->initrd, before, "khoctl-handed/images/" PRE, &n), 0);
	assert_int_equal(has(k->initrd, before, "khoctl-handed/images/" MAP, &n), 1);
	assert_int_equal(has(k->initrd, before, "khoctl-handed/images/" FINAL, &n), 1);
	assert_int_equal(has(k->initrd, before, "khoctl-handed/images/files/0", &n), 1);
	assert_int_equal(has(k->initrd, before, "khoctl-handed/state", &n), 1);
	assert_int_equal(has(k->initrd, 0, "khoctl-handed/images/" PRE, &n), 1);
	assert_int_equal(has(k->initrd, 0, "init", &n), 1);
	/* undone: the first root is there as it was */
	assert_int_equal(engine->ops->disconnect(engine, NULL), 0);
	assert_int_equal(size_of(k->initrd), k->root_bytes);
}

/* A target that does not say that it unpacks zstd: nothing before the freeze, and then as it is. */
static void test_plain(void **state)
{
	struct kho_kexec *k = kho_kexec_of(engine);

	(void)state;
	put_root(k);
	image(PRE, pages, sizeof(pages));
	add(k, PRE, false);
	assert_false(k->files[0].early);
	assert_int_equal(size_of(k->initrd), k->root_bytes);
}

static void test_whole_or_not(void **state)
{
	struct kho_kexec *k = kho_kexec_of(engine);
	struct kho_err err = KHO_ERR_INIT;
	struct rlimit was, l;
	char path[96];
	size_t n;

	(void)state;
	put_root(k);
	image(PRE, pages, sizeof(pages));
	snprintf(path, sizeof(path), "%s/images/" PRE, dir);
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
	l = (struct rlimit){ k->root_bytes + 200000, was.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &l), 0);
	for (int level = 0; level < 2; level++) {
		assert_true(kho_handed_append_file(k->initrd, path, PRE, level, &err) < 0);
		assert_int_equal(size_of(k->initrd), k->root_bytes);
	}
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
	for (int level = 0; level < 2; level++)
		assert_int_equal(kho_handed_append_file(k->initrd, path, PRE, level, &err), 0);
	assert_int_equal(has(k->initrd, 0, "khoctl-handed/images/" PRE, &n), 1);
	assert_int_equal(n, 6); /* init, the file, and the folders above it */
}

/* What the format cannot hold is refused before anything is written. (The file is all hole.) */
static void test_too_large(void **state)
{
	struct kho_kexec *k = kho_kexec_of(engine);
	struct kho_err err = KHO_ERR_INIT;
	char path[96];

	(void)state;
	put_root(k);
	image(PRE, "x", 1);
	snprintf(path, sizeof(path), "%s/images/" PRE, dir);
	if (truncate(path, 1LL << 32))
		skip();
	assert_int_equal(kho_handed_append_file(k->initrd, path, PRE, 1, &err), -EFBIG);
	assert_int_equal(size_of(k->initrd), k->root_bytes);
}

/* By the target's own configuration. */
static void test_level(void **state)
{
	static const struct {
		const char *text;
		int level;
	} all[] = {
		{ "CONFIG_RD_ZSTD=y\n", 1 }, { "CONFIG_RD_XZ=y\nCONFIG_RD_ZSTD=y", 1 }, { "# CONFIG_RD_ZSTD is not set\n", 0 },
		{ "CONFIG_RD_ZSTD=m\n", 0 }, { "CONFIG_RD_ZSTD_X=y\n", 0 },		{ "X_CONFIG_RD_ZSTD=y\n", 0 },
	};

	(void)state;
	assert_int_equal(kho_kexec_level(dir, "7.3"), 0);
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
		test_put(dir, "/boot/config-7.3", all[i].text, strlen(all[i].text));
		assert_int_equal(kho_kexec_level(dir, "7.3"), all[i].level);
	}
	assert_int_equal(kho_kexec_level(dir, "7"), 0);
	test_put(dir, "/lib/modules/7.4/config", all[0].text, strlen(all[0].text));
	assert_int_equal(kho_kexec_level(dir, "7.4"), 1);
}

/* A root of any size is packed only as the target can unpack it. */
static void test_root_level(void **state)
{
	struct kho_kexec *k = kho_kexec_of(engine);
	_cleanup_free_ const char **files = NULL, **more = NULL;
	struct kho_initramfs_in in;
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	assert_int_equal(kho_kexec_initramfs_in(k, &in, &files, &err), 0);
	assert_int_equal(kho_initramfs_level(&in, 1ull << 30), 0);
	k->level = 1;
	assert_int_equal(kho_kexec_initramfs_in(k, &in, &more, &err), 0);
	assert_int_equal(kho_initramfs_level(&in, 1000), 1);
	/* beside this kernel: by its size */
	in.level = 0;
	assert_int_equal(kho_initramfs_level(&in, 1000), 0);
	assert_int_equal(kho_initramfs_level(&in, 1ull << 30), 1);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_early), T(test_plain), T(test_whole_or_not), T(test_too_large), T(test_level), T(test_root_level),
	};

	return cmocka_run_group_tests_name("kexec_initrd", tests, NULL, NULL);
}
