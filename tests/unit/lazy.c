// SPDX-License-Identifier: GPL-2.0-only
/*
 * The page server without pages (userfaultfd is root's): until it is told that all is committed the images stay whole, and with them the way back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "state-serializers/proc/lazy.h"

#define RESTORED 0x52535446u /* what CRIU sends when all processes are there */

static char dir[] = "/tmp/khoctl-lazy.XXXXXX", images[64], progress[64];

static int make_dir(void **state)
{
	char path[96];

	(void)state;
	strcpy(dir + sizeof(dir) - 7, "XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(images, sizeof(images), "%s/w", dir);
	snprintf(progress, sizeof(progress), "%s/progress", dir);
	snprintf(path, sizeof(path), "%s/work", images);
	return kho_mkdir(path, NULL);
}

static int remove_dir(void **state)
{
	(void)state;
	kho_remove_tree(dir);
	return 0;
}

/* Started, and everything restored. */
static int serve(struct kho_lazy *l)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	_cleanup_close_ int sk = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const uint32_t word = RESTORED;

	if (sk < 0 || kho_lazy_start(l, images, progress, NULL))
		return -1;
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/work/lazy-pages.socket", images);
	if (connect(sk, (struct sockaddr *)&sun, sizeof(sun)) || send(sk, &word, sizeof(word), 0) != sizeof(word))
		return -1;
	for (int i = 0; i < 500 && !kho_exists(progress); i++)
		usleep(10000);
	return kho_exists(progress) ? 0 : -1;
}

static bool is_removed(const char *path)
{
	for (int i = 0; i < 500 && kho_exists(path); i++)
		usleep(10000);
	return !kho_exists(path);
}

static void stays_until_told(void **state)
{
	struct kho_lazy l = { 0 };

	(void)state;
	assert_int_equal(serve(&l), 0);
	usleep(500000);
	assert_true(kho_exists(images));
	assert_true(kho_exists(progress));
	kho_lazy_fill(&l);
	assert_true(is_removed(images));
	assert_true(is_removed(progress));
}

/* Nobody is there who would tell: it waits no longer. */
static void agent_has_ended(void **state)
{
	pid_t agent = fork();
	int status = 0;

	(void)state;
	if (!agent) {
		struct kho_lazy l = { 0 };
		int ret = serve(&l);

		_exit(ret ? 1 : 0);
	}
	assert_int_equal(waitpid(agent, &status, 0), agent);
	assert_int_equal(status, 0);
	assert_true(is_removed(images));
	assert_true(is_removed(progress));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(stays_until_told, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(agent_has_ended, make_dir, remove_dir),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
