// SPDX-License-Identifier: GPL-2.0-only
/* Files over the link. */
#include "tests/unit/link_file.h"

#include "lib/io.h"

static void sizes(void **state)
{
	static const size_t all[] = { 0,
				      1,
				      4095,
				      KHO_INLINE_MAX,
				      KHO_INLINE_MAX + 1,
				      KHO_SLOT_BYTES,
				      KHO_SLOT_BYTES + 1,
				      5 * KHO_SLOT_BYTES + 3,
				      40 * KHO_SLOT_BYTES };
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		make_file("f", all[i], 0, 0);
		if (put("f", "redis/1/f", 20000, &err))
			fail_msg("%zu: %s", all[i], err.msg);
		expect_same("f", "redis/1/f");
	}
	assert_int_equal(fx.peer->nfree, fx.peer->nslots);
}

static void holes(void **state)
{
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	make_file("h", 30 << 20, 1 << 20, 29 << 20);
	assert_int_equal(put("h", "h", 20000, &err), 0);
	expect_same("h", "h");
	make_file("all", 30 << 20, 0, 30 << 20);
	assert_int_equal(put("all", "all", 20000, &err), 0);
	expect_same("all", "all");
}

/* As CRIU writes them: hundreds of small ones, some that are longer, an empty one. */
static void batches(void **state)
{
	enum { N = 700 };
	char *names[N], missing[] = "missing";
	struct kho_err err = KHO_ERR_INIT;
	uint64_t bytes = 0, want = 0;

	(void)state;
	for (size_t i = 0; i < N; i++) {
		size_t len = i == 350 ? 2 * KHO_SLOT_BYTES : i % 100 == 99 ? KHO_INLINE_MAX + i : i * 7 % (KHO_BATCH_FILE + 1);

		if (asprintf(&names[i], "b%zu", i) < 0)
			fail();
		make_file(names[i], len, 0, 0);
		want += len;
	}
	if (kho_peer_put_files(fx.peer, fx.dir, "batch/final", names, N, 20000000, &bytes, &err))
		fail_msg("%s", err.msg);
	assert_int_equal(bytes, want);
	for (size_t i = 0; i < N; i++) {
		char remote[64];

		snprintf(remote, sizeof(remote), "batch/final/%s", names[i]);
		expect_same(names[i], remote);
	}
	free(names[9]);
	names[9] = missing;
	assert_int_equal(kho_peer_put_files(fx.peer, fx.dir, "batch/final", names, N, 20000000, &bytes, &err), -ENOENT);
	assert_int_equal(kho_peer_put_files(fx.peer, fx.dir, "..", names, 1, 20000000, &bytes, &err), -EINVAL);
	assert_int_equal(fx.peer->nfree, fx.peer->nslots);
	for (size_t i = 0; i < N; i++)
		if (names[i] != missing)
			free(names[i]);
}

static void *put_many(void *arg)
{
	struct kho_err err = KHO_ERR_INIT;
	char name[32];

	for (int i = 0; i < 5; i++) {
		snprintf(name, sizeof(name), "many/%d-%d", (int)(intptr_t)arg, i);
		if (put(i % 2 ? "small" : "big", name, 30000, &err))
			return strdup(err.msg);
	}
	return NULL;
}

static void many_at_once(void **state)
{
	pthread_t t[6];

	(void)state;
	make_file("big", 9 << 20, 0, 0);
	make_file("small", 30000, 0, 0);
	for (intptr_t i = 0; i < 6; i++)
		pthread_create(&t[i], NULL, put_many, (void *)i);
	for (int i = 0; i < 6; i++) {
		void *ret;

		pthread_join(t[i], &ret);
		if (ret)
			fail_msg("%s", (char *)ret);
	}
	expect_same("big", "many/3-4");
	expect_same("small", "many/5-3");
}

static void bad_files(void **state)
{
	struct kho_err err = KHO_ERR_INIT;
	char path[200], outside[200];

	(void)state;
	make_file("f", 100, 0, 0);
	assert_int_equal(put("f", "../f", 1000, &err), -EINVAL);
	assert_int_equal(put("f", "/f", 1000, &err), -EINVAL);
	assert_int_equal(put("nope", "f", 1000, &err), -ENOENT);
	path_in(path, sizeof(path), fx.dir, "fifo");
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(put("fifo", "f", 1000, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "no regular file"));
	/* a link on the way in the images directory is not followed */
	path_in(path, sizeof(path), fx.images, "link");
	path_in(outside, sizeof(outside), fx.dir, "lib");
	assert_int_equal(symlink(outside, path), 0);
	assert_int_equal(put("f", "link/f", 1000, &err), -ELOOP);
	/* a directory in the place of the file */
	path_in(path, sizeof(path), fx.images, "dir");
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(put("f", "dir", 1000, &err), -EISDIR);
}

/* What a replay is told: how many bytes the recording has, of which process the network is. */
static int f_replay(int fd, pid_t of, struct kho_replay_result *out, struct kho_err *err)
{
	struct stat st;

	if (fstat(fd, &st) || st.st_mode & 077)
		return kho_fail(err, -EPROTO, "others can read it");
	*out = (struct kho_replay_result){ .known = true, .timed = true, .requests = (uint64_t)st.st_size, .replies = (uint64_t)of, .late = 1ull << 40 };
	out->ns.slot[17] = 3;
	snprintf(out->what, sizeof(out->what), "why\x01");
	return 0;
}

/* A recording of requests is a file that is gone before it is sent; the network is that of the first process that was restored. */
static void replay(void **state)
{
	struct kho_err err = KHO_ERR_INIT;
	struct kho_replay_result r;
	char path[300];

	(void)state;
	start_agent();
	assert_int_equal(connect_peer(&err), 0);
	assert_int_equal(kho_peer_replay(fx.peer, NULL, NULL, &r, in_ms(1000), &err), -ENOSYS);
	fx.conf.replay = f_replay;
	assert_int_equal(kho_peer_replay(fx.peer, NULL, NULL, &r, in_ms(1000), &err), -ENOENT);
	make_file("f", 4712, 0, 0);
	assert_int_equal(put("f", KHO_REPLAY_FILE, 1000, &err), 0);
	assert_int_equal(kho_peer_replay(fx.peer, NULL, NULL, &r, in_ms(1000), &err), -ESRCH);
	path_in(path, sizeof(path), fx.images, KHO_REPLAY_FILE);
	assert_false(kho_exists(path));
	assert_int_equal(f_op("s1", "retrieve", NULL, 0, 1000, &err), 0);
	assert_int_equal(put("f", KHO_REPLAY_FILE, 1000, &err), 0);
	assert_int_equal(kho_peer_replay(fx.peer, NULL, NULL, &r, in_ms(1000), &err), 0);
	assert_true(r.known && r.timed && r.requests == 4712 && r.replies == 4711 && !r.late);
	assert_int_equal(kho_hist_count(&r.ns), 3);
	assert_string_equal(r.what, "why?");
	assert_false(kho_exists(path));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(sizes, setup_both, teardown),
		cmocka_unit_test_setup_teardown(holes, setup_both, teardown),
		cmocka_unit_test_setup_teardown(batches, setup_both, teardown),
		cmocka_unit_test_setup_teardown(many_at_once, setup_both, teardown),
		cmocka_unit_test_setup_teardown(bad_files, setup_both, teardown),
		cmocka_unit_test_setup_teardown(replay, setup_bare, teardown),
	};

	return cmocka_run_group_tests_name("link_files", tests, NULL, NULL);
}
