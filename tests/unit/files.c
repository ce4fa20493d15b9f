// SPDX-License-Identifier: GPL-2.0-only
/*
 * Files from one temporary directory to another: what has changed, what was deleted, and what somebody puts in the way while they are read.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "state-serializers/common.h"
#include "state-serializers/files.h"

struct world {
	char base[32], from[64], to[64], images[64];
	struct kho_env env;
	struct kho_ramroot f;
	struct kho_err e;
};

static char swapped[PATH_MAX]; /* becomes a link to from/secret before its contents are read; "": nothing does */

static int put_file(struct kho_env *env, const char *local, const char *name, struct kho_err *err)
{
	char path[PATH_MAX], *data = NULL;
	size_t len = 0;

	if (*swapped) {
		assert_int_equal(unlink(swapped), 0);
		assert_int_equal(symlink("../../secret", swapped), 0);
	}
	snprintf(path, sizeof(path), "%s/files", env->images_dir);
	assert_int_equal(kho_mkdir(path, err), 0);
	snprintf(path, sizeof(path), "%s/%s", env->images_dir, name);
	if (kho_read_file(local, 1 << 20, &data, &len, err) < 0)
		return err->code;
	int ret = kho_write_file(path, data, len, err);

	free(data);
	return ret;
}

static const struct kho_env_ops ops = { .put_file = put_file };

static const char *in(const char *root, const char *path)
{
	static char full[2][PATH_MAX];
	static unsigned n;
	char *out = full[n++ % 2];

	snprintf(out, PATH_MAX, "%s%s", root, path);
	return out;
}

static void make_dir(const char *root, const char *path)
{
	const char *full = in(root, path);

	assert_int_equal(mkdir(full, 0755), 0);
	assert_int_equal(chmod(full, 0755), 0);
}

static void put(const char *root, const char *path, const char *text, mode_t mode)
{
	int fd = open(in(root, path), O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static bool is_there(const char *root, const char *path)
{
	struct stat st;

	return !lstat(in(root, path), &st);
}

static void has(const char *root, const char *path, const char *text, mode_t mode)
{
	_cleanup_free_ char *got = NULL;
	struct kho_err e = KHO_ERR_INIT;
	struct stat st;

	assert_int_equal(lstat(in(root, path), &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | mode);
	assert_int_equal(kho_read_file(in(root, path), 1 << 20, &got, NULL, &e), 0);
	assert_string_equal(got, text);
}

/* The time between two ticks, by which changes before and after are told apart. */
static int64_t tick(void)
{
	struct timespec ts;

	usleep(50000);
	clock_gettime(CLOCK_REALTIME_COARSE, &ts);
	usleep(50000);
	return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

static void list_new(struct world *w)
{
	if (w->f.list)
		kho__files__free_unpacked(w->f.list, NULL);
	w->f.list = malloc(sizeof(*w->f.list));
	assert_non_null(w->f.list);
	kho__files__init(w->f.list);
}

static void world_new(struct world *w)
{
	*w = (struct world){ .base = "/tmp/kho-files-XXXXXX" };
	assert_non_null(mkdtemp(w->base));
	snprintf(w->from, sizeof(w->from), "%s/from", w->base);
	snprintf(w->to, sizeof(w->to), "%s/to", w->base);
	snprintf(w->images, sizeof(w->images), "%s/images", w->base);
	make_dir(w->from, "");
	make_dir(w->to, "");
	w->env = (struct kho_env){ .ops = &ops, .run_dir = "/nonexistent", .images_dir = w->images };
	w->f = (struct kho_ramroot){ .env = &w->env, .root = w->from };
	list_new(w);
}

static void world_done(struct world *w)
{
	kho__files__free_unpacked(w->f.list, NULL);
	kho_remove_tree(w->base);
}

static void scan(struct world *w, const char *dir, int64_t since)
{
	if (kho_ramroot_scan(&w->f, dir, since, false, &w->e) < 0)
		fail_msg("%s", w->e.msg);
}

static void apply(struct world *w)
{
	if (kho_ramroot_apply(&w->env, w->to, w->f.list, &w->e) < 0)
		fail_msg("%s", w->e.msg);
}

static void files_travel(void **state)
{
	(void)state;
	char longer[40000] = "", target[64] = "";
	struct world w;

	world_new(&w);
	const char *trees[] = { w.from, w.to };

	for (int i = 0; i < 2; i++) {
		make_dir(trees[i], "/var");
		make_dir(trees[i], "/var/d");
		put(trees[i], "/var/d/same", "same", 0600);
		put(trees[i], "/var/d/deleted", "x", 0600);
		put(trees[i], "/changed", "before", 0600);
	}
	int64_t since = tick();

	memset(longer, 'a', sizeof(longer) - 1);
	put(w.from, "/changed", longer, 0640);
	put(w.from, "/var/d/new", "new", 0604);
	assert_int_equal(unlink(in(w.from, "/var/d/deleted")), 0);
	assert_int_equal(symlink("changed", in(w.from, "/link")), 0);
	scan(&w, "", since);
	/* `same` has not travelled; a short one is in the list itself */
	assert_int_equal(w.f.next_image, 1);
	assert_int_equal(w.f.inline_bytes, 3);
	apply(&w);
	has(w.to, "/changed", longer, 0640);
	has(w.to, "/var/d/new", "new", 0604);
	assert_false(is_there(w.to, "/var/d/deleted"));
	assert_true(is_there(w.to, "/var/d/same"));
	assert_true(readlink(in(w.to, "/link"), target, sizeof(target) - 1) == 7);
	assert_string_equal(target, "changed");
	/* a path that would leave the root */
	assert_int_equal(kho_pb_set(&w.f.list->entry[0]->path, "/var/../../etc/x"), 0);
	assert_int_equal(kho_ramroot_apply(&w.env, w.to, w.f.list, &w.e), -EBADMSG);
	world_done(&w);
}

/* Whether dir's entry says what is in it: then the rest is deleted on the other side. */
static bool is_listed(const struct world *w, const char *dir)
{
	bool listed = false;

	for (size_t i = 0; i < w->f.list->n_entry; i++)
		if (!strcmp(w->f.list->entry[i]->path, dir))
			listed = w->f.list->entry[i]->listed;
	return listed;
}

#define TOPS 4
static const char *const tops[TOPS] = { "/tmp", "/dev/shm", "/run", "/run/lock" };

static const char *at_top(int i, const char *name)
{
	static char path[64];

	snprintf(path, sizeof(path), "%s/%s", tops[i], name);
	return path;
}

/* Deleted in the scanned directories themselves between the first look and the last one. */
static void deleted_at_the_top(void **state)
{
	(void)state;
	struct world w;

	world_new(&w);
	make_dir(w.from, "/dev");
	make_dir(w.to, "/dev");
	for (int i = 0; i < TOPS; i++) {
		make_dir(w.from, tops[i]);
		put(w.from, at_top(i, "gone"), "1", 0600);
		put(w.from, at_top(i, "kept"), "2", 0600);
	}
	for (int i = 0; i < TOPS; i++)
		scan(&w, tops[i], 0);
	assert_false(is_listed(&w, "/tmp"));
	apply(&w);
	has(w.to, "/tmp/gone", "1", 0600);
	int64_t since = tick();

	put(w.to, "/run/init", "its own", 0600);
	for (int i = 0; i < TOPS; i++)
		assert_int_equal(unlink(in(w.from, at_top(i, "gone"))), 0);
	list_new(&w);
	for (int i = 0; i < TOPS; i++)
		scan(&w, tops[i], since);
	apply(&w);
	for (int i = 0; i < TOPS; i++) {
		/* /run is the incoming init's as well */
		assert_int_equal(is_there(w.to, at_top(i, "gone")), !strcmp(tops[i], "/run"));
		has(w.to, at_top(i, "kept"), "2", 0600);
	}
	assert_true(is_there(w.to, "/run/init"));
	/* where nothing has changed nothing is said */
	since = tick();
	list_new(&w);
	scan(&w, "/tmp", since);
	assert_int_equal(w.f.list->n_entry, 0);
	world_done(&w);
}

/* Whose directory it is may put a link where a file was that has just been looked at. */
static void contents_are_of_what_was_looked_at(void **state)
{
	(void)state;
	char longer[40000] = "";
	struct world w;

	world_new(&w);
	memset(longer, 'a', sizeof(longer) - 1);
	put(w.from, "/secret", "secret", 0600);
	make_dir(w.from, "/tmp");
	make_dir(w.from, "/tmp/mine");
	put(w.from, "/tmp/mine/x", longer, 0644);
	make_dir(w.to, "/tmp");
	snprintf(swapped, sizeof(swapped), "%s/tmp/mine/x", w.from);
	scan(&w, "/tmp", 0);
	*swapped = '\0';
	apply(&w);
	has(w.to, "/tmp/mine/x", longer, 0644);
	world_done(&w);
}

/* Files that a name leads to only through a link stay; a FIFO is one there, too, and nobody waits for its other end. */
static void links_and_fifos(void **state)
{
	(void)state;
	struct world w;
	struct stat st;

	world_new(&w);
	make_dir(w.from, "/root");
	put(w.from, "/root/secret", "secret", 0644);
	make_dir(w.from, "/tmp");
	make_dir(w.to, "/tmp");
	assert_int_equal(symlink("../root", in(w.from, "/tmp/d")), 0);
	assert_int_equal(kho_ramroot_add(&w.f, "/tmp/d/secret", false, &w.e), 0);
	scan(&w, "/tmp/d", 0);
	assert_int_equal(w.f.list->n_entry, 0);
	assert_int_equal(kho_ramroot_open(&w.f, "/tmp/d/secret"), -ELOOP);

	assert_int_equal(mkfifo(in(w.from, "/tmp/fifo"), 0622), 0);
	assert_int_equal(chmod(in(w.from, "/tmp/fifo"), 0622), 0);
	assert_int_equal(kho_ramroot_open(&w.f, "/tmp/fifo"), -EINVAL);
	scan(&w, "/tmp", 0);
	apply(&w);
	assert_int_equal(lstat(in(w.to, "/tmp/fifo"), &st), 0);
	assert_int_equal(st.st_mode, S_IFIFO | 0622);
	assert_int_equal(lstat(in(w.to, "/tmp/d"), &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	world_done(&w);
}

/* A directory that a later entry of the same list makes a link: the mode that it had is not given to where the link leads. */
static void late_link_gets_nothing(void **state)
{
	(void)state;
	struct world w;
	struct stat st;

	world_new(&w);
	make_dir(w.to, "/tmp");
	make_dir(w.to, "/etc");
	make_dir(w.from, "/tmp");
	make_dir(w.from, "/tmp/d");
	assert_int_equal(chmod(in(w.from, "/tmp/d"), 0777), 0);
	assert_int_equal(kho_ramroot_add(&w.f, "/tmp/d", false, &w.e), 0);
	assert_int_equal(rmdir(in(w.from, "/tmp/d")), 0);
	assert_int_equal(symlink("../etc", in(w.from, "/tmp/d")), 0);
	assert_int_equal(kho_ramroot_add(&w.f, "/tmp/d", false, &w.e), 0);
	assert_int_equal(w.f.list->n_entry, 2);
	apply(&w);
	assert_int_equal(stat(in(w.to, "/etc"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0755);
	world_done(&w);
}

/* Of a copy what is held open counts, once, wherever it lies; nothing is sent for that, and nothing of the kernel's own. */
static void copy_is_measured(void **state)
{
	(void)state;
	struct world w;
	pid_t pid = getpid();
	struct kho_workload one = { .name = (char *)"me", .root = pid, .pids = &pid, .npids = 1 };
	const struct kho_workload_list all = { &one, 1 };
	struct kho_ramroot_sum before = { 0 }, after = { 0 };

	world_new(&w);
	w.env.ops = NULL;
	w.env.workloads = &all;
	w.env.copy = true;
	w.f.root = "";
	w.f.sum = &before;
	assert_int_equal(kho_ramroot_of_workloads(&w.f, INT64_MAX, false, &w.e), 0);
	list_new(&w);
	int fd = open(in(w.from, "/held"), O_RDWR | O_CREAT | O_CLOEXEC, 0600), again = dup(fd);

	assert_true(fd >= 0 && again >= 0);
	assert_int_equal(ftruncate(fd, 3ll << 30), 0);
	w.f.sum = &after;
	assert_int_equal(kho_ramroot_of_workloads(&w.f, INT64_MAX, false, &w.e), 0);
	assert_int_equal(after.n, before.n + 1);
	assert_int_equal(after.bytes, before.bytes + (3ull << 30));
	assert_string_equal(after.largest, in(w.from, "/held"));
	for (size_t i = 0; i < w.f.list->n_entry; i++)
		assert_true(strncmp(w.f.list->entry[i]->path, "/proc/", 6) && !w.f.list->entry[i]->data.len);
	assert_int_equal(w.f.next_image, 0);
	/* and that is too much */
	assert_int_equal(kho_ramroot_copy_fits(&w.env, &w.e), -EFBIG);
	assert_non_null(strstr(w.e.msg, in(w.from, "/held")));
	close(fd);
	close(again);
	world_done(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(files_travel),
		cmocka_unit_test(deleted_at_the_top),
		cmocka_unit_test(contents_are_of_what_was_looked_at),
		cmocka_unit_test(links_and_fifos),
		cmocka_unit_test(late_link_gets_nothing),
		cmocka_unit_test(copy_is_measured),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
